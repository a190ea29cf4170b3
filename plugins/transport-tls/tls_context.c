/* SPDX-License-Identifier: Apache-2.0 */
/* tls_context.c : config to SSL_CTX.
 *
 * One context serves both directions; the side decides at SSL_new(). Sessions are never resumed: connections live long,
 * and every one of them proves its certificate against the CA list in force when it was made. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "tls.h"

static int option(const rs_host *host, const rs_node *config, const char *key, const char **ret, rs_error *err) {
    const rs_node *node = config ? host->node_get(config, key) : NULL;

    return node ? host->node_str(node, ret, err) : RS_OK;
}

int tls_config_read(const rs_host *host, const rs_node *config, struct tls_config *ret, rs_error *err) {
    struct tls_config c = {.client_auth = TLS_CLIENT_AUTH_NONE, .min_version = TLS1_2_VERSION};
    const char *client_auth = "none", *min_version = "1.2";
    const rs_node *skip = config ? host->node_get(config, "insecure-skip-verify") : NULL;
    int r;

    if ((r = option(host, config, "ca-file", &c.ca_file, err)) < 0 ||
        (r = option(host, config, "cert-file", &c.cert_file, err)) < 0 ||
        (r = option(host, config, "key-file", &c.key_file, err)) < 0 ||
        (r = option(host, config, "client-auth", &client_auth, err)) < 0 ||
        (r = option(host, config, "min-version", &min_version, err)) < 0 ||
        (r = skip ? host->node_bool(skip, &c.skip_verify, err) : RS_OK) < 0)
        return r;
    if (strcmp(client_auth, "request") == 0)
        c.client_auth = TLS_CLIENT_AUTH_REQUEST;
    else if (strcmp(client_auth, "require") == 0)
        c.client_auth = TLS_CLIENT_AUTH_REQUIRE;
    else if (strcmp(client_auth, "none") != 0)
        return sockets_error(err, RS_EINVAL, 0, 0, "client-auth must be none, request or require, not %.40s",
                             client_auth);
    if (strcmp(min_version, "1.3") == 0)
        c.min_version = TLS1_3_VERSION;
    else if (strcmp(min_version, "1.2") != 0)
        return sockets_error(err, RS_EINVAL, 0, 0, "min-version must be 1.2 or 1.3, not %.40s", min_version);
    if (!c.cert_file != !c.key_file)
        return sockets_error(err, RS_EINVAL, 0, 0, "cert-file and key-file need each other");
    if (c.client_auth != TLS_CLIENT_AUTH_NONE && !c.cert_file)
        return sockets_error(err, RS_EINVAL, 0, 0, "client-auth is for listening, which needs cert-file and key-file");
    if (c.client_auth != TLS_CLIENT_AUTH_NONE && !c.ca_file)
        return sockets_error(err, RS_EINVAL, 0, 0, "client-auth needs a ca-file to verify clients against");
    *ret = c;
    return RS_OK;
}

static int readable(const char *option_name, const char *path, rs_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC), code;

    if (fd >= 0) {
        (void)close(fd);
        return RS_OK;
    }
    code = errno == ENOENT ? RS_ENOENT : errno == EACCES ? RS_EPERM : RS_EIO;
    return sockets_error(err, code, 0, errno, "cannot read %s %.120s: %s", option_name, path, strerror(errno));
}

static int refuse(const char *option_name, const char *path, rs_error *err) {
    unsigned long e = ERR_peek_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;

    return sockets_error(err, RS_EINVAL, 0, 0, "%s %.120s cannot be used: %s", option_name, path,
                         reason ? reason : "it does not have the right content");
}

static int no_passphrase(char *buf, int size, int writing, void *arg) {
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1; /* the default asks on the terminal */
}

static int load_pair(const rs_host *host, SSL_CTX *ssl, const struct tls_config *c, rs_error *err) {
    time_t now = (time_t)(host->wall_ns(host) / 1000000000u);
    int r;

    if ((r = readable("cert-file", c->cert_file, err)) < 0 || (r = readable("key-file", c->key_file, err)) < 0)
        return r;
    if (SSL_CTX_use_certificate_chain_file(ssl, c->cert_file) != 1)
        return refuse("cert-file", c->cert_file, err);
    if (SSL_CTX_use_PrivateKey_file(ssl, c->key_file, SSL_FILETYPE_PEM) != 1)
        return ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH
                   ? sockets_error(err, RS_EINVAL, 0, 0, "key-file %.100s is not the key of cert-file %.100s",
                                   c->key_file, c->cert_file)
                   : refuse("key-file", c->key_file, err);
    if (SSL_CTX_check_private_key(ssl) != 1)
        return refuse("key-file", c->key_file, err);
    if (X509_cmp_time(X509_get0_notAfter(SSL_CTX_get0_certificate(ssl)), &now) < 0)
        host->log(host, RS_LOG_WARN, "own certificate has expired", NULL, 0);
    return RS_OK;
}

/* Does @dir hold certificates under the hashes of their subjects ("5ed36f99.0")? */
static int hashed_dir(const char *dir) {
    DIR *d = opendir(dir);
    int found = 0;

    for (struct dirent *e; d && !found && (e = readdir(d));)
        found =
            strlen(e->d_name) == 10 && strspn(e->d_name, "0123456789abcdef") == 8 && strcmp(e->d_name + 8, ".0") == 0;
    if (d)
        (void)closedir(d);
    return found;
}

static int load_ca(SSL_CTX *ssl, const char *ca_file, rs_error *err) {
    int r;

    if (!ca_file || strcmp(ca_file, "system") == 0) {
        /* a directory of hashed names is read certificate by certificate when one is needed; parsing the whole bundle
         * would cost every start and every idle node. SSL_CERT_FILE names a bundle that is wanted. */
        int by_hash = !getenv(X509_get_default_cert_file_env()) && hashed_dir(X509_get_default_cert_dir());

        if ((by_hash ? SSL_CTX_set_default_verify_dir(ssl) : SSL_CTX_set_default_verify_paths(ssl)) != 1)
            return refuse("ca-file", "system", err);
        return RS_OK;
    }
    r = readable("ca-file", ca_file, err);
    if (r < 0)
        return r;
    if (SSL_CTX_load_verify_file(ssl, ca_file) != 1)
        return refuse("ca-file", ca_file, err);
    return RS_OK;
}

int tls_context_init(const rs_host *host, const struct tls_config *c, struct tls_context *ret, rs_error *err) {
    SSL_CTX *ssl;
    int r = RS_OK;

    ERR_clear_error();
    if (!(ssl = SSL_CTX_new(TLS_method())))
        return sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    if (SSL_CTX_set_min_proto_version(ssl, c->min_version) != 1)
        r = sockets_error(err, RS_EINVAL, 0, 0, "this OpenSSL does not offer the min-version");
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    (void)SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ssl, 1); /* one recv per record instead of two */
    SSL_CTX_set_alpn_select_cb(ssl, tls_alpn_select, NULL);
    if (r == RS_OK && c->cert_file)
        r = load_pair(host, ssl, c, err);
    if (r == RS_OK)
        r = load_ca(ssl, c->ca_file, err);
    if (r < 0) {
        SSL_CTX_free(ssl);
        return r;
    }
    *ret = (struct tls_context){
        .ssl = ssl, .client_auth = c->client_auth, .skip_verify = c->skip_verify, .has_cert = c->cert_file != NULL};
    return RS_OK;
}

void tls_context_done(struct tls_context *x) {
    SSL_CTX_free(x->ssl);
    x->ssl = NULL;
}

/* A name that is safe to print and to compare: printable ASCII and no NUL inside. */
static int plain_name(const unsigned char *name, int n, char *buf, size_t len) {
    if (n <= 0 || (size_t)n >= len)
        return 0;
    for (int i = 0; i < n; i++)
        if (name[i] <= 0x20 || name[i] >= 0x7f)
            return 0;
    memcpy(buf, name, (size_t)n);
    buf[n] = '\0';
    return 1;
}

void tls_cert_name(X509 *cert, char *buf, size_t len) {
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const X509_NAME *subject = X509_get_subject_name(cert);
    int found = 0, at;

    buf[0] = '\0';
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS)
            found = plain_name(ASN1_STRING_get0_data(name->d.dNSName), ASN1_STRING_length(name->d.dNSName), buf, len);
    }
    GENERAL_NAMES_free(names);
    at = found ? -1 : X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0) {
        const ASN1_STRING *cn = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
        (void)plain_name(ASN1_STRING_get0_data(cn), ASN1_STRING_length(cn), buf, len);
    }
}
