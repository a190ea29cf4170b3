/* SPDX-License-Identifier: Apache-2.0 */
/* transport_certs.h : certificates for the TLS suites, made while they run (EC P-256, PEM files). */
#pragma once
#include <stdint.h>

/* Makes <dir>/<name>.pem and <dir>/<name>.key. issuer: name of an earlier one in dir, NULL: signed by itself and a CA.
 * san: as "DNS:localhost,IP:127.0.0.1", NULL: none. Valid from now + from_s until now + until_s. 0, or -1. */
int certs_make(const char *dir, const char *name, const char *issuer, const char *common_name, const char *san,
               int64_t from_s, int64_t until_s);
/* Puts a passphrase on <dir>/<name>.key. 0, or -1. */
int certs_lock_key(const char *dir, const char *name);
/* SHA-256 of <dir>/<name>.pem in DER. 0, or -1. */
int certs_sha256(const char *dir, const char *name, uint8_t ret[32]);

/* A TLS client of OpenSSL's own on a connected socket, to do what no plugin does. */
struct raw_tls;
/* max_version: 12 or 13. alive() is called while the handshake waits, to let the server work. NULL: refused. */
struct raw_tls *raw_tls_connect(int fd, int max_version, void (*alive)(void *arg), void *arg);
int raw_tls_write(struct raw_tls *r, const void *data, int len);
void raw_tls_cut(struct raw_tls *r); /* frees it, without the end of the stream; fd stays open */
