/* SPDX-License-Identifier: Apache-2.0 */
/* transport_tls.c : tls://host:port, TLS 1.2 and 1.3 with OpenSSL 3. The descriptor and the instance.
 *
 * Sockets, listeners and readiness come from the helper sources restate/helper/sockets.h; tls_conn.c is their medium.
 */
#include <openssl/err.h>
#include <stdlib.h>

#include "tls.h"

static int tls_check(const rs_host *host, const rs_node *config, rs_error *err) {
    struct tls_config c;

    return tls_config_read(host, config, &c, err);
}

static int tls_init(const rs_host *host, const rs_node *config, void **ret_self, rs_error *err) {
    struct tls_config c;
    struct tls *t;
    int r;

    r = tls_config_read(host, config, &c, err);
    if (r < 0)
        return r;
    if (!(t = calloc(1, sizeof(*t))))
        return sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
    if (!(t->bio = tls_bio_method())) {
        free(t);
        return sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
    }
    r = tls_context_init(host, &c, &t->context, err);
    if (r < 0) {
        BIO_meth_free(t->bio);
        free(t);
        return r;
    }
    sockets_init(&t->sockets, host, &tls_medium);
    (void)pthread_mutex_init(&t->lock, NULL);
    *ret_self = t;
    return RS_OK;
}

static int tls_reload(void *self, const rs_node *config, rs_error *err) {
    struct tls *t = self;
    struct tls_config c;
    struct tls_context fresh, old;
    int r;

    r = tls_config_read(t->sockets.host, config, &c, err);
    if (r == RS_OK)
        r = tls_context_init(t->sockets.host, &c, &fresh, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->lock);
    old = t->context;
    t->context = fresh;
    pthread_mutex_unlock(&t->lock);
    tls_context_done(&old); /* connections hold the SSL_CTX they were made from */
    return RS_OK;
}

static void tls_fini(void *self) {
    struct tls *t = self;

    sockets_done(&t->sockets);
    tls_context_done(&t->context);
    BIO_meth_free(t->bio);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

static const rs_transport_ops tls_ops = {
    .struct_size = sizeof(rs_transport_ops),
    .schemes = "tls",
    .listen = sockets_listen,
    .listener_uri = sockets_listener_uri,
    .listener_close = sockets_listener_close,
    .attach = sockets_attach,
    .connect = sockets_connect,
    .read = sockets_read,
    .write = sockets_write,
    .shutdown = sockets_shutdown,
    .peer = sockets_peer,
    .stats = sockets_stats,
    .close = sockets_close,
    .reload = tls_reload,
};

static const char tls_schema[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"ca-file\":{\"type\":\"string\",\"default\":\"system\",\"description\":\"PEM file with the CAs that peers are "
    "verified against, or system for those of this machine\"},"
    "\"cert-file\":{\"type\":\"string\",\"description\":\"PEM file with our certificate and its chain; needed to "
    "listen, "
    "shown to servers that ask\"},"
    "\"key-file\":{\"type\":\"string\",\"description\":\"PEM file with the key of cert-file, without passphrase\"},"
    "\"client-auth\":{\"type\":\"string\",\"enum\":[\"none\",\"request\",\"require\"],\"default\":\"none\","
    "\"description\":\"whether clients are asked for a certificate; one that is shown must verify\"},"
    "\"min-version\":{\"type\":\"string\",\"enum\":[\"1.2\",\"1.3\"],\"default\":\"1.2\",\"description\":\"oldest "
    "version of "
    "TLS to speak\"},"
    "\"insecure-skip-verify\":{\"type\":\"boolean\",\"default\":false,\"description\":\"dial servers without verifying "
    "their certificate; for tests only\"}}}";

static const rs_plugin tls_plugin = {
    .magic = RS_ABI_MAGIC,
    .struct_size = sizeof(rs_plugin),
    .abi_major = RS_ABI_MAJOR,
    .kind = RS_KIND_TRANSPORT,
    .caps = RS_TRANSPORT_PEER_AUTH | RS_TRANSPORT_ENCRYPTED | RS_TRANSPORT_RELOAD,
    .name = "tls",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .config_schema = tls_schema,
    .ops = &tls_ops,
    .check = tls_check,
    .init = tls_init,
    .stop = sockets_stop,
    .fini = tls_fini,
};

const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor) {
    (void)host_minor;
    return host_major == RS_ABI_MAJOR ? &tls_plugin : NULL;
}
