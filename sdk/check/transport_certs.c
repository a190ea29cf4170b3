/* SPDX-License-Identifier: Apache-2.0 */
#include "transport_certs.h"

#ifdef HAVE_OPENSSL
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static X509 *read_cert(const char *dir, const char *name) {
    char path[512];
    X509 *cert = NULL;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s.pem", dir, name);
    if ((f = fopen(path, "re"))) {
        cert = PEM_read_X509(f, NULL, NULL, NULL);
        (void)fclose(f);
    }
    return cert;
}

static EVP_PKEY *read_key(const char *dir, const char *name) {
    char path[512];
    EVP_PKEY *key = NULL;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s.key", dir, name);
    if ((f = fopen(path, "re"))) {
        key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
        (void)fclose(f);
    }
    return key;
}

static int write_pair(const char *dir, const char *name, X509 *cert, EVP_PKEY *key) {
    char path[512];
    FILE *f;
    int ok;

    (void)snprintf(path, sizeof(path), "%s/%s.pem", dir, name);
    if (!(f = fopen(path, "we")))
        return -1;
    ok = PEM_write_X509(f, cert) == 1;
    ok = fclose(f) == 0 && ok;
    (void)snprintf(path, sizeof(path), "%s/%s.key", dir, name);
    if (!(f = fopen(path, "we")))
        return -1;
    ok = PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && ok;
    ok = fclose(f) == 0 && ok;
    return ok ? 0 : -1;
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    int ok;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&ctx);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

int certs_make(const char *dir, const char *name, const char *issuer, const char *common_name, const char *san,
               int64_t from_s, int64_t until_s) {
    static long serial = 1;
    X509 *cert = X509_new(), *ca = issuer ? read_cert(dir, issuer) : NULL;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *ca_key = issuer ? read_key(dir, issuer) : NULL;
    X509_NAME *subject = X509_NAME_new();
    int ok = cert && key && subject && (!issuer || (ca && ca_key));

    ok = ok && X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
    ok = ok && X509_set_version(cert, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
    ok = ok && X509_gmtime_adj(X509_getm_notBefore(cert), (long)from_s);
    ok = ok && X509_gmtime_adj(X509_getm_notAfter(cert), (long)until_s);
    ok = ok && X509_set_subject_name(cert, subject) && X509_set_pubkey(cert, key);
    ok = ok && X509_set_issuer_name(cert, ca ? X509_get_subject_name(ca) : subject);
    ok = ok && add_extension(cert, ca ? ca : cert, NID_basic_constraints, issuer ? "CA:FALSE" : "critical,CA:TRUE");
    ok = ok && (!san || add_extension(cert, ca ? ca : cert, NID_subject_alt_name, san));
    ok = ok && X509_sign(cert, ca_key ? ca_key : key, EVP_sha256()) > 0;
    ok = ok && write_pair(dir, name, cert, key) == 0;
    X509_NAME_free(subject);
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return ok ? 0 : -1;
}

int certs_sha256(const char *dir, const char *name, uint8_t ret[32]) {
    X509 *cert = read_cert(dir, name);
    int ok = cert && X509_digest(cert, EVP_sha256(), ret, NULL) == 1;

    X509_free(cert);
    return ok ? 0 : -1;
}

int certs_lock_key(const char *dir, const char *name) {
    unsigned char pass[] = "secret";
    EVP_PKEY *key = read_key(dir, name);
    char path[512];
    FILE *f;
    int ok;

    (void)snprintf(path, sizeof(path), "%s/%s.key", dir, name);
    f = key ? fopen(path, "we") : NULL;
    ok = f && PEM_write_PrivateKey(f, key, EVP_aes_256_cbc(), pass, sizeof(pass) - 1, NULL, NULL) == 1;
    if (f)
        ok = fclose(f) == 0 && ok;
    EVP_PKEY_free(key);
    return ok ? 0 : -1;
}

struct raw_tls {
    SSL_CTX *ctx;
    SSL *ssl;
};

struct raw_tls *raw_tls_connect(int fd, int max_version, void (*alive)(void *arg), void *arg) {
    struct raw_tls *r = calloc(1, sizeof(*r));
    int done = 0;

    if (!r)
        abort();
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    r->ctx = SSL_CTX_new(TLS_client_method());
    (void)SSL_CTX_set_max_proto_version(r->ctx, max_version == 12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    r->ssl = SSL_new(r->ctx);
    (void)SSL_set_fd(r->ssl, fd);
    for (int i = 0; i < 2000 && done != 1; i++) {
        int e;
        done = SSL_connect(r->ssl);
        e = SSL_get_error(r->ssl, done);
        if (done != 1 && e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
            break;
        alive(arg);
    }
    if (done == 1)
        return r;
    raw_tls_cut(r);
    return NULL;
}

int raw_tls_write(struct raw_tls *r, const void *data, int len) {
    return SSL_write(r->ssl, data, len) == len ? 0 : -1;
}

void raw_tls_cut(struct raw_tls *r) {
    SSL_free(r->ssl);
    SSL_CTX_free(r->ctx);
    free(r);
}

#else
int certs_make(const char *dir, const char *name, const char *issuer, const char *common_name, const char *san,
               int64_t from_s, int64_t until_s) {
    (void)dir;
    (void)name;
    (void)issuer;
    (void)common_name;
    (void)san;
    (void)from_s;
    (void)until_s;
    return -1;
}

int certs_sha256(const char *dir, const char *name, uint8_t ret[32]) {
    (void)dir;
    (void)name;
    (void)ret;
    return -1;
}

int certs_lock_key(const char *dir, const char *name) {
    (void)dir;
    (void)name;
    return -1;
}

struct raw_tls *raw_tls_connect(int fd, int max_version, void (*alive)(void *arg), void *arg) {
    (void)fd;
    (void)max_version;
    (void)alive;
    (void)arg;
    return NULL;
}

int raw_tls_write(struct raw_tls *r, const void *data, int len) {
    (void)r;
    (void)data;
    (void)len;
    return -1;
}

void raw_tls_cut(struct raw_tls *r) {
    (void)r;
}
#endif
