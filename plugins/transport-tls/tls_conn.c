/* SPDX-License-Identifier: Apache-2.0 */
/* tls_conn.c : TLS as a medium of restate/helper/sockets.h.
 *
 * OpenSSL reads and writes the socket through a BIO of ours. Its write side takes every record whole: what the socket
 * does not take is held (at most HOLD_MAX) and sent before anything else. So SSL_write() is never half done, the host
 * may offer the rest of its bytes in any shape, and reading never waits for writing. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls.h"

#define RECORD_MAX 16384u
#define HOLD_MAX (4u * RECORD_MAX) /* one record, alerts and key updates; a peer that makes us owe more is cut off */

struct tls_conn {
    struct rs_conn base; /* first member */
    SSL *ssl;
    unsigned char *held;
    size_t held_at, held_len; /* held[held_at, held_len) is to be sent */
    uint8_t verified;         /* the peer's certificate was asked for and checked */
};

static struct tls_conn *of(struct rs_conn *base) {
    return (struct tls_conn *)(void *)base;
}

static int bio_write(BIO *bio, const char *data, int len) {
    struct tls_conn *c = BIO_get_data(bio);
    struct iovec iov = {.iov_len = (size_t)len};
    size_t rest, kept = c->held_len - c->held_at;
    unsigned char *held;
    int64_t n = 0;

    BIO_clear_retry_flags(bio);
    if (kept == 0) {
        memcpy(&iov.iov_base, &data, sizeof(data));
        n = sockets_send(&c->base, &iov, 1);
        if (n == RS_EAGAIN)
            n = 0;
        if (n < 0)
            return -1;
        if (n == len)
            return len;
    }
    rest = (size_t)len - (size_t)n;
    if (kept + rest > HOLD_MAX || !(held = malloc(kept + rest))) {
        (void)sockets_broken(&c->base, RS_ENOMEM, 0, "the peer makes us owe too many bytes");
        return -1;
    }
    if (kept)
        memcpy(held, c->held + c->held_at, kept);
    memcpy(held + kept, data + n, rest);
    free(c->held);
    c->held = held;
    c->held_at = 0;
    c->held_len = kept + rest;
    sockets_hold(&c->base);
    return len;
}

static int bio_read(BIO *bio, char *buf, int len) {
    struct tls_conn *c = BIO_get_data(bio);
    int64_t n;

    BIO_clear_retry_flags(bio);
    n = sockets_recv(&c->base, buf, (size_t)len);
    if (n == RS_EAGAIN)
        BIO_set_retry_read(bio);
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return n < 0 ? -1 : (int)n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr) {
    (void)num;
    (void)ptr;
    if (cmd == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return cmd == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_bio_method(void) {
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "restate");

    if (m && (BIO_meth_set_write(m, bio_write) != 1 || BIO_meth_set_read(m, bio_read) != 1 ||
              BIO_meth_set_ctrl(m, bio_ctrl) != 1)) {
        BIO_meth_free(m);
        return NULL;
    }
    return m;
}

int tls_alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                    unsigned in_len, void *arg) {
    const struct tls_conn *c = SSL_get_app_data(ssl);
    const struct sockets_opts *o = c->base.opts;
    unsigned char *chosen;

    (void)arg;
    if (o->alpn_len == 0)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto(&chosen, out_len, o->alpn, (unsigned)o->alpn_len, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* The name to ask for and to verify: as the host says, else from the URI. */
static int client_names(struct tls_conn *c, const struct tls_context *x) {
    const struct sockets_opts *o = c->base.opts;
    const char *name = o->server_name[0] ? o->server_name : o->host;
    char bare[sizeof(o->host)];
    unsigned char ip[sizeof(struct in6_addr)];
    size_t n = strcspn(name, "%"); /* the scope of an IPv6 address is nobody's name */
    int is_ip;

    memcpy(bare, name, n);
    if (n > 1 && bare[n - 1] == '.')
        n--;
    bare[n] = '\0';
    is_ip = inet_pton(AF_INET, bare, ip) == 1 || inet_pton(AF_INET6, bare, ip) == 1;
    if (!is_ip && SSL_set_tlsext_host_name(c->ssl, bare) != 1)
        return -1;
    if (o->alpn_len > 0 && SSL_set_alpn_protos(c->ssl, o->alpn, (unsigned)o->alpn_len) != 0)
        return -1;
    if (x->skip_verify)
        return 0;
    SSL_set_hostflags(c->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (is_ip)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), bare) == 1 ? 0 : -1;
    return SSL_set1_host(c->ssl, bare) == 1 ? 0 : -1;
}

static int tls_open(struct rs_conn *base, rs_error *err) {
    struct tls_conn *c = of(base);
    struct tls *t = (struct tls *)(void *)base->self;
    const rs_host *host = base->self->host;
    struct tls_context x;
    BIO *bio;
    int mode = SSL_VERIFY_NONE;

    ERR_clear_error();
    pthread_mutex_lock(&t->lock);
    x = t->context;
    c->ssl = SSL_new(x.ssl);
    pthread_mutex_unlock(&t->lock);
    bio = c->ssl ? BIO_new(t->bio) : NULL;
    if (!bio)
        return sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    SSL_set_bio(c->ssl, bio, bio);
    if (SSL_set_app_data(c->ssl, c) != 1)
        return sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
    X509_VERIFY_PARAM_set_time(SSL_get0_param(c->ssl), (time_t)(host->wall_ns(host) / 1000000000u));
    if (base->server) {
        SSL_set_accept_state(c->ssl);
        if (x.client_auth != TLS_CLIENT_AUTH_NONE)
            mode = SSL_VERIFY_PEER;
        if (x.client_auth == TLS_CLIENT_AUTH_REQUIRE)
            mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    } else {
        SSL_set_connect_state(c->ssl);
        if (client_names(c, &x) < 0)
            return sockets_error(err, RS_EINVAL, 0, 0, "\"%.100s\" cannot be the name of a server",
                                 base->opts->server_name[0] ? base->opts->server_name : base->opts->host);
        if (!x.skip_verify)
            mode = SSL_VERIFY_PEER;
    }
    c->verified = mode != SSL_VERIFY_NONE;
    SSL_set_verify(c->ssl, mode, NULL);
    return RS_OK;
}

static int is_certificate_alert(int reason) {
    switch (reason - SSL_AD_REASON_OFFSET) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return 1;
    default:
        return 0;
    }
}

/* What OpenSSL's last failure means: code and sentence in err. */
static int explain(struct tls_conn *c, rs_error *err) {
    unsigned long e = ERR_peek_error();
    int reason = ERR_GET_REASON(e);
    const char *who = c->base.server ? "the client" : c->base.opts->host, *text = e ? ERR_reason_error_string(e) : NULL;
    long verify = SSL_get_verify_result(c->ssl);

    if (c->base.error)
        return sockets_error(err, c->base.error->code, c->base.error->flags, c->base.error->native, "%s",
                             c->base.error->msg);
    if (!e || ERR_GET_LIB(e) != ERR_LIB_SSL)
        return e ? sockets_error(err, RS_EIO, 0, 0, "TLS with %.100s failed: %s", who, text ? text : "unknown reason")
                 : sockets_error(err, RS_ECLOSED, 0, 0, "%.100s cut the connection", who);
    if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return sockets_error(err, RS_ECLOSED, 0, 0, "%.100s cut the connection", who);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return sockets_error(err, RS_EPERM, 0, (int)verify, "the certificate of %.100s is not accepted: %s", who,
                             X509_verify_cert_error_string(verify));
    if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return sockets_error(err, RS_EPERM, 0, 0, "%.100s showed no certificate", who);
    if (is_certificate_alert(reason))
        return sockets_error(err, RS_EPERM, 0, 0, "%.100s refused us: %s", who, text ? text : "by an alert");
    return sockets_error(err, RS_EIO, 0, 0, "TLS with %.100s failed: %s", who, text ? text : "unknown reason");
}

static int tls_handshake(struct rs_conn *base, rs_error *err) {
    struct tls_conn *c = of(base);
    int r;

    ERR_clear_error();
    r = SSL_do_handshake(c->ssl);
    if (r == 1)
        return RS_OK;
    if (SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ && !base->error)
        return RS_EAGAIN;
    return explain(c, err);
}

static int tls_pending(struct rs_conn *base) {
    return SSL_has_pending(of(base)->ssl);
}

/* The stream broke: record why. */
static int broken(struct tls_conn *c) {
    rs_error err = {.struct_size = sizeof(err)};
    int code = explain(c, &err);

    return sockets_broken(&c->base, code, err.native, "%s", err.msg);
}

static int64_t tls_read(struct rs_conn *base, void *buf, size_t len) {
    struct tls_conn *c = of(base);
    size_t n;
    int r;

    ERR_clear_error();
    if (SSL_read_ex(c->ssl, buf, len, &n) == 1)
        return (int64_t)n;
    r = SSL_get_error(c->ssl, 0);
    if (r == SSL_ERROR_WANT_READ)
        return RS_EAGAIN;
    if (r == SSL_ERROR_ZERO_RETURN)
        return 0;
    return broken(c);
}

/* The next record's worth of bytes: in place when one part has them, else put together in buf. */
static size_t next_record(const struct iovec **iov, int *n, size_t *at, unsigned char *buf, const void **ret) {
    size_t len = 0, part = (*iov)->iov_len - *at;

    if (part >= RECORD_MAX || *n == 1) {
        len = part < RECORD_MAX ? part : RECORD_MAX;
        *ret = (const unsigned char *)(*iov)->iov_base + *at;
        *at += len;
        return len;
    }
    while (*n > 0 && len < RECORD_MAX) {
        part = (*iov)->iov_len - *at;
        if (part > RECORD_MAX - len)
            part = RECORD_MAX - len;
        if (part)
            memcpy(buf + len, (const unsigned char *)(*iov)->iov_base + *at, part);
        len += part;
        *at += part;
        if (*at == (*iov)->iov_len) {
            ++*iov;
            --*n;
            *at = 0;
        }
    }
    *ret = buf;
    return len;
}

static int64_t tls_write(struct rs_conn *base, const struct iovec *iov, int n, size_t total) {
    struct tls_conn *c = of(base);
    unsigned char buf[RECORD_MAX];
    size_t taken = 0, at = 0;

    while (taken < total && !base->holding) {
        const void *data;
        size_t len = next_record(&iov, &n, &at, buf, &data), done = 0;
        ERR_clear_error();
        if (SSL_write_ex(c->ssl, data, len, &done) != 1)
            return broken(c);
        taken += len;
    }
    return taken ? (int64_t)taken : RS_EAGAIN;
}

static int tls_flush(struct rs_conn *base) {
    struct tls_conn *c = of(base);
    struct iovec iov;
    int64_t n;

    while (c->held_at < c->held_len) {
        iov = (struct iovec){.iov_base = c->held + c->held_at, .iov_len = c->held_len - c->held_at};
        n = sockets_send(base, &iov, 1);
        if (n < 0)
            return (int)n;
        c->held_at += (size_t)n;
    }
    free(c->held);
    c->held = NULL;
    c->held_at = c->held_len = 0;
    return RS_OK;
}

static int tls_shutdown(struct rs_conn *base) {
    struct tls_conn *c = of(base);

    ERR_clear_error();
    return SSL_shutdown(c->ssl) < 0 ? broken(c) : RS_OK;
}

static void tls_peer(struct rs_conn *base, rs_peer *ret) {
    struct tls_conn *c = of(base);
    const struct sockets_opts *o = base->opts;
    const char *version = SSL_get_version(c->ssl), *cipher = SSL_get_cipher_name(c->ssl);
    const unsigned char *alpn = NULL;
    X509 *cert = SSL_get1_peer_certificate(c->ssl);
    unsigned char ip[sizeof(struct in6_addr)];
    unsigned alpn_len = 0;

    if (strlen(version) + strlen(cipher) + 2 <= sizeof(ret->security)) {
        memcpy(ret->security, version, strlen(version));
        ret->security[strlen(version)] = ' ';
        memcpy(ret->security + strlen(version) + 1, cipher, strlen(cipher));
    } else {
        memcpy(ret->security, version, strlen(version));
    }
    SSL_get0_alpn_selected(c->ssl, &alpn, &alpn_len);
    if (alpn_len > 0 && alpn_len < sizeof(ret->alpn))
        memcpy(ret->alpn, alpn, alpn_len);
    if (!cert)
        return;
    (void)X509_digest(cert, EVP_sha256(), ret->cert_sha256, NULL);
    if (c->verified && SSL_get_verify_result(c->ssl) == X509_V_OK) {
        const char *asked = base->server ? "" : o->server_name[0] ? o->server_name : o->host;
        if (asked[0] && inet_pton(AF_INET, asked, ip) != 1 && !strchr(asked, ':'))
            memcpy(ret->identity, asked, strlen(asked));
        else
            tls_cert_name(cert, ret->identity, sizeof(ret->identity));
    }
    X509_free(cert);
}

static void tls_end(struct rs_conn *base, int abort) {
    struct tls_conn *c = of(base);

    if (!abort && base->state == SOCKETS_HANDSHAKE)
        (void)tls_flush(base); /* the alert that says why; what the socket does not take now is dropped */
    SSL_free(c->ssl);
    c->ssl = NULL;
    free(c->held);
    c->held = NULL;
    ERR_clear_error();
}

static int tls_listenable(struct sockets *s, rs_error *err) {
    struct tls *t = (struct tls *)(void *)s;
    int has_cert;

    pthread_mutex_lock(&t->lock);
    has_cert = t->context.has_cert;
    pthread_mutex_unlock(&t->lock);
    return has_cert ? RS_OK
                    : sockets_error(err, RS_EUNSUPPORTED, 0, 0, "listening on tls:// needs cert-file and key-file");
}

const struct sockets_medium tls_medium = {
    .scheme = "tls",
    .conn_size = sizeof(struct tls_conn),
    .conn_charge = 32768, /* state of a quiet connection and its share of the buffers of busy ones */
    .listenable = tls_listenable,
    .open = tls_open,
    .handshake = tls_handshake,
    .pending = tls_pending,
    .read = tls_read,
    .write = tls_write,
    .flush = tls_flush,
    .shutdown = tls_shutdown,
    .peer = tls_peer,
    .end = tls_end,
};
