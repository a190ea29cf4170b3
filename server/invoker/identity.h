/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/identity.h : proves to deployments that a request comes from this cluster: a short-lived JWT, signed with
 * Ed25519 (service-protocol.md §12).
 *
 * Immutable once made: any thread may sign with it. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct request_identity;

/* The headers of a signed request. */
#define REQUEST_IDENTITY_SCHEME_HEADER "x-restate-signature-scheme"
#define REQUEST_IDENTITY_SCHEME "v1"
#define REQUEST_IDENTITY_TOKEN_HEADER "x-restate-jwt-v1"

/* request_identity_new() - @pem: a private Ed25519 key, PKCS#8 in PEM. @expiration_s: a token is valid from so long
 * before it is made until so long after. Returns 0; RS_EINVAL when @pem is no such key. */
int request_identity_new(struct slice pem, uint64_t expiration_s, struct request_identity **ret,
                         struct err *err) RS_WARN_UNUSED;
struct request_identity *request_identity_free(struct request_identity *id); /* NULL is fine; returns NULL */

/* request_identity_key() - the public half as SDKs are given it: `publickeyv1_` and base58. */
const char *request_identity_key(const struct request_identity *id);

/* request_identity_sign() - appends the token for a request to @path (without the deployment's base path) at @now_s,
 * unix time, to @ret. Returns 0 or RS_EIO (the crypto library failed). */
int request_identity_sign(const struct request_identity *id, struct slice path, uint64_t now_s, struct buf *ret,
                          struct err *err) RS_WARN_UNUSED;
