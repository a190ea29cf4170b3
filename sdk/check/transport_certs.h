/* SPDX-License-Identifier: Apache-2.0 */
/* transport_certs.h : certificates for the TLS suites, made while they run (EC P-256, PEM files). */
#pragma once
#include <stdint.h>

/* Makes <dir>/<name>.pem and <dir>/<name>.key. issuer: name of an earlier one in dir, NULL: signed by itself and a CA.
 * san: as "DNS:localhost,IP:127.0.0.1", NULL: none. Valid from now + from_s until now + until_s. 0, or -1. */
int certs_make(const char *dir, const char *name, const char *issuer, const char *common_name, const char *san,
               int64_t from_s, int64_t until_s);
/* SHA-256 of <dir>/<name>.pem in DER. 0, or -1. */
int certs_sha256(const char *dir, const char *name, uint8_t ret[32]);
