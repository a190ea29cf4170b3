/* SPDX-License-Identifier: Apache-2.0 */
/* tls.h : what the files of transport-tls share.
 *
 * transport_tls.c is the descriptor and the instance; tls_context.c turns the config into an SSL_CTX; tls_conn.c is the
 * medium: handshake, records, names. */
#pragma once
#include <openssl/ssl.h>
#include <restate/helper/sockets.h>

enum { TLS_CLIENT_AUTH_NONE, TLS_CLIENT_AUTH_REQUEST, TLS_CLIENT_AUTH_REQUIRE };

/* The options as read; strings belong to the config. */
struct tls_config {
    const char *ca_file, *cert_file, *key_file; /* NULL: not given */
    int client_auth, min_version;               /* TLS1_2_VERSION, TLS1_3_VERSION */
    int32_t skip_verify;
};

/* What connections are made from; replaced as a whole by reload(). */
struct tls_context {
    SSL_CTX *ssl;
    int client_auth;
    int32_t skip_verify; /* servers are not verified; clients still are */
    int has_cert;
};

struct tls {
    struct sockets sockets; /* first member: the self of the helper */
    BIO_METHOD *bio;
    pthread_mutex_t lock; /* guards context; taken once per connection */
    struct tls_context context;
};

/* Read and check the options without opening any file. Errors: RS_EINVAL. */
int tls_config_read(const rs_host *host, const rs_node *config, struct tls_config *ret, rs_error *err);
/* Read the files. Errors: RS_ENOENT, RS_EPERM, RS_EIO a file cannot be read; RS_EINVAL it is not what it should be. */
int tls_context_init(const rs_host *host, const struct tls_config *config, struct tls_context *ret, rs_error *err);
void tls_context_done(struct tls_context *x);

/* The first DNS name of a certificate, else its common name; "" if neither is plain text. */
void tls_cert_name(X509 *cert, char *buf, size_t len);

extern const struct sockets_medium tls_medium;
BIO_METHOD *tls_bio_method(void); /* NULL: out of memory */
int tls_alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                    unsigned in_len, void *arg);
