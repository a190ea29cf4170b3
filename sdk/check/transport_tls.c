/* SPDX-License-Identifier: Apache-2.0 */
/* transport_tls.c : suite tls, for plugins with the options ca-file, cert-file, key-file, client-auth, min-version: who
 * is let in, who is not and with which sentence, and certificates changed while connections live. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport_certs.h"
#include "transport_check.h"

#define SECOND UINT64_C(1000000000)
#define DAY INT64_C(86400)

/* A config of files in c->dir; NULL: the option is left out. */
struct options {
    const char *ca, *cert, *client_auth, *min_version, *skip_verify;
};

static rs_node *config_of(const struct transport_check *t, const struct options *o) {
    rs_error err = {.struct_size = sizeof(err)};
    rs_node *config = node_parse("{}", 2, &err);
    char path[512];

    if (!config)
        abort();
    (void)snprintf(path, sizeof(path), "%s/%s.pem", t->c->dir, o->ca ? o->ca : "");
    if (o->ca)
        (void)node_set(config, "ca-file", path);
    (void)snprintf(path, sizeof(path), "%s/%s.pem", t->c->dir, o->cert ? o->cert : "");
    if (o->cert)
        (void)node_set(config, "cert-file", path);
    (void)snprintf(path, sizeof(path), "%s/%s.key", t->c->dir, o->cert ? o->cert : "");
    if (o->cert)
        (void)node_set(config, "key-file", path);
    if (o->client_auth)
        (void)node_set(config, "client-auth", o->client_auth);
    if (o->min_version)
        (void)node_set(config, "min-version", o->min_version);
    if (o->skip_verify)
        (void)node_set(config, "insecure-skip-verify", o->skip_verify);
    return config;
}

static int start(struct transport_check *t, const struct options *o, void **ret) {
    rs_error err = {.struct_size = sizeof(err)};
    rs_node *config = config_of(t, o);
    int r = t->plugin->check(&t->host.host, config, &err);

    if (r == RS_OK)
        r = t->plugin->init(&t->host.host, config, ret, &err);
    if (r < 0)
        tap_diag("%s", err.msg);
    node_free(config);
    return r;
}

static void count_stop(void *arg, int status, const rs_error *err) {
    (void)status;
    (void)err;
    ++*(unsigned *)arg;
}

/* A server and a client instance with configs of their own, and one connection between them. */
struct duel {
    struct server s;
    struct end a, b;
    void *server, *client, *kept; /* kept: the instance of the test */
};

static int duel(struct transport_check *t, struct duel *d, const struct options *server, const struct options *client,
                const char *name) {
    rs_conn_opts opts = {.struct_size = sizeof(opts), .server_name = name};

    *d = (struct duel){.a = {.pull = 1}, .b = {.pull = 1}, .kept = t->self};
    if (start(t, server, &d->server) < 0 || start(t, client, &d->client) < 0)
        return -1;
    t->self = d->server;
    d->a.self = d->client;
    d->s.ends[0] = &d->b;
    if (check_listen(t, &d->s, NULL) < 0 || check_connect(t, &d->a, d->s.uri, &opts) < 0)
        return -1;
    for (int i = 0; i < 5000 && !(d->b.closed || (d->a.ready && d->b.ready)); i++)
        (void)transport_turn(&t->host, 1);
    transport_settle(&t->host);
    return 0;
}

static int peace(struct transport_check *t, struct duel *d) {
    unsigned stops = 0;

    check_unpair(&d->a, d->b.t ? &d->b : NULL);
    t->ops->listener_close(d->s.listener);
    t->plugin->stop(d->client, count_stop, &stops);
    t->plugin->stop(d->server, count_stop, &stops);
    if (transport_run(&t->host, &stops, 2) < 0)
        return -1;
    transport_settle(&t->host);
    t->plugin->fini(d->client);
    t->plugin->fini(d->server);
    t->self = d->kept;
    return 0;
}

static const struct options good = {.ca = "ca", .cert = "node", .client_auth = "require"};

static int both_ends_prove_their_name(struct transport_check *t) {
    const struct options client = {.ca = "ca", .cert = "other-node"};
    struct duel d;
    uint8_t node[32], other[32];

    EXPECT(certs_make(t->c->dir, "other-node", "ca", "other", "DNS:other.example", -DAY, DAY) == 0);
    EXPECT(certs_sha256(t->c->dir, "node", node) == 0 && certs_sha256(t->c->dir, "other-node", other) == 0);
    EXPECT(duel(t, &d, &good, &client, "node.example") == 0);
    EXPECT(d.a.ready && d.b.ready);
    EXPECT(strcmp(d.a.peer.identity, "node.example") == 0 && strcmp(d.b.peer.identity, "other.example") == 0);
    EXPECT(memcmp(d.a.peer.cert_sha256, node, 32) == 0 && memcmp(d.b.peer.cert_sha256, other, 32) == 0);
    EXPECT(strncmp(d.a.peer.security, "TLSv1.3", 7) == 0);
    EXPECT(check_send(&d.a, "hello", 5) == 0 && check_received(&d.b, 5) == 0);
    EXPECT(peace(t, &d) == 0);
    return 0;
}

static int an_ip_address_is_a_name_too(struct transport_check *t) {
    struct duel d;

    EXPECT(duel(t, &d, &good, &good, NULL) == 0);
    EXPECT(d.a.ready && strcmp(d.a.peer.identity, "node.example") == 0); /* its first DNS name */
    EXPECT(peace(t, &d) == 0);
    return 0;
}

static int a_common_name_serves_when_there_is_no_other(struct transport_check *t) {
    const struct options client = {.ca = "ca", .cert = "cn-only"};
    struct duel d;

    EXPECT(certs_make(t->c->dir, "cn-only", "ca", "cn.example", NULL, -DAY, DAY) == 0);
    EXPECT(duel(t, &d, &good, &client, "localhost") == 0);
    EXPECT(d.b.ready && strcmp(d.b.peer.identity, "cn.example") == 0);
    EXPECT(strcmp(d.a.peer.identity, "localhost") == 0);
    EXPECT(peace(t, &d) == 0);
    return 0;
}

/* The client refuses: it never was ready, and the server heard of it. */
static int client_refuses(struct transport_check *t, const struct options *server, const struct options *client,
                          const char *name) {
    struct duel d;

    EXPECT(duel(t, &d, server, client, name) == 0);
    EXPECT(!d.a.ready && d.a.closed && d.a.status == RS_EPERM && d.a.error[0]);
    EXPECT(!(d.a.err_flags & RS_ERR_RETRYABLE));
    EXPECT(!d.b.ready && d.b.closed && d.b.status < 0 && d.b.error[0]);
    EXPECT(peace(t, &d) == 0);
    return 0;
}

static int a_wrong_server_name_is_refused(struct transport_check *t) {
    return client_refuses(t, &good, &good, "somebody.example");
}

static int a_server_of_another_ca_is_refused(struct transport_check *t) {
    const struct options client = {.ca = "ca2", .cert = "node"};

    EXPECT(certs_make(t->c->dir, "ca2", NULL, "another ca", NULL, -DAY, DAY) == 0);
    return client_refuses(t, &good, &client, "node.example");
}

static int an_expired_server_is_refused(struct transport_check *t) {
    const struct options server = {.ca = "ca", .cert = "old"};

    EXPECT(certs_make(t->c->dir, "old", "ca", "old", "DNS:node.example", -2 * DAY, -DAY) == 0);
    return client_refuses(t, &server, &good, "node.example");
}

static int a_server_of_the_future_is_refused(struct transport_check *t) {
    const struct options server = {.ca = "ca", .cert = "young"};

    EXPECT(certs_make(t->c->dir, "young", "ca", "young", "DNS:node.example", DAY, 2 * DAY) == 0);
    return client_refuses(t, &server, &good, "node.example");
}

/* The server refuses. With TLS 1.3 the client may believe in the connection until it reads. */
static int server_refuses(struct transport_check *t, const struct options *server, const struct options *client) {
    struct duel d;

    EXPECT(duel(t, &d, server, client, "node.example") == 0);
    EXPECT(!d.b.ready && d.b.closed && d.b.status == RS_EPERM && d.b.error[0]);
    EXPECT(d.a.closed || d.a.failed);
    EXPECT(d.a.len == 0);
    EXPECT(peace(t, &d) == 0);
    EXPECT(d.a.status < 0 && d.a.error[0]);
    return 0;
}

static int a_client_without_certificate_is_refused(struct transport_check *t) {
    const struct options client = {.ca = "ca"};

    return server_refuses(t, &good, &client);
}

static int a_client_of_another_ca_is_refused(struct transport_check *t) {
    const struct options client = {.ca = "ca", .cert = "stranger"};
    const struct options request = {.ca = "ca", .cert = "node", .client_auth = "request"};

    EXPECT(certs_make(t->c->dir, "ca2", NULL, "another ca", NULL, -DAY, DAY) == 0);
    EXPECT(certs_make(t->c->dir, "stranger", "ca2", "stranger", "DNS:node.example", -DAY, DAY) == 0);
    EXPECT(server_refuses(t, &request, &client) == 0);
    return server_refuses(t, &good, &client);
}

static int an_expired_client_is_refused(struct transport_check *t) {
    const struct options client = {.ca = "ca", .cert = "old"};

    EXPECT(certs_make(t->c->dir, "old", "ca", "old", "DNS:node.example", -2 * DAY, -DAY) == 0);
    return server_refuses(t, &good, &client);
}

static int clients_without_certificate_have_no_name(struct transport_check *t) {
    const struct options client = {.ca = "ca"};
    const char *const modes[] = {"none", "request"};
    static const uint8_t zero[32];

    for (int i = 0; i < 2; i++) {
        const struct options server = {.ca = "ca", .cert = "node", .client_auth = modes[i]};
        struct duel d;
        EXPECT(duel(t, &d, &server, &client, "node.example") == 0);
        EXPECT(d.a.ready && d.b.ready && !d.b.peer.identity[0] && memcmp(d.b.peer.cert_sha256, zero, 32) == 0);
        EXPECT(peace(t, &d) == 0);
    }
    return 0;
}

static int an_unverified_server_has_no_name(struct transport_check *t) {
    const struct options client = {.skip_verify = "true"};
    const struct options server = {.cert = "node"};
    struct duel d;

    if (!strstr(t->plugin->config_schema, "insecure-skip-verify"))
        return CHECK_SKIP;
    EXPECT(duel(t, &d, &server, &client, "somebody.example") == 0);
    EXPECT(d.a.ready && !d.a.peer.identity[0]);
    EXPECT(peace(t, &d) == 0);
    return 0;
}

static int protocols(struct transport_check *t, const char *const *client, const char *const *server,
                     const char *expected) {
    rs_conn_opts co = {.struct_size = sizeof(co), .alpn = client}, so = {.struct_size = sizeof(so), .alpn = server};
    struct server s = {.next = 0};
    struct end a = {.pull = 1}, b = {.pull = 1};

    s.ends[0] = &b;
    EXPECT(check_listen(t, &s, &so) == 0);
    EXPECT(check_connect(t, &a, s.uri, &co) == 0);
    for (int i = 0; i < 5000 && !(b.closed || (a.ready && b.ready)); i++)
        (void)transport_turn(&t->host, 1);
    transport_settle(&t->host);
    if (expected)
        EXPECT(a.ready && b.ready && strcmp(a.peer.alpn, expected) == 0 && strcmp(b.peer.alpn, expected) == 0);
    else
        EXPECT(!a.ready && a.closed && a.status < 0 && a.error[0] && !b.ready && b.closed);
    check_unpair(&a, &b);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

static int protocols_are_agreed_on(struct transport_check *t) {
    static const char *const both[] = {"h2", "http/1.1", NULL}, *const turned[] = {"http/1.1", "h2", NULL},
                             *const one[] = {"http/1.1", NULL}, *const other[] = {"restate", NULL};
    static const char *const too_long[] = {"a-name-of-sixteen", NULL};
    rs_conn_opts bad = {.struct_size = sizeof(bad), .alpn = too_long};
    int r;

    if ((r = protocols(t, turned, both, "h2")) || (r = protocols(t, one, both, "http/1.1")) ||
        (r = protocols(t, other, both, NULL)) || (r = protocols(t, NULL, both, "")) ||
        (r = protocols(t, both, NULL, "")))
        return r;
    EXPECT(check_connect(t, &(struct end){.pull = 0}, "tls://127.0.0.1:1", &bad) == RS_EINVAL);
    return 0;
}

static void alive(void *arg) {
    struct transport_check *t = arg;

    (void)transport_turn(&t->host, 1);
}

/* A client of OpenSSL's own against a server of version; returns whether it got in. */
static int old_client(struct transport_check *t, const char *min_version, int client_version, int *ret) {
    const struct options server = {.cert = "node", .min_version = min_version};
    struct server s = {.next = 0};
    struct end b = {.pull = 1};
    void *kept = t->self, *self = NULL;
    struct raw_tls *raw;
    unsigned stops = 0;
    int fd;

    EXPECT(start(t, &server, &self) == 0);
    t->self = self;
    s.ends[0] = &b;
    EXPECT(check_listen(t, &s, NULL) == 0);
    fd = check_raw_socket(check_port(s.uri));
    EXPECT(fd >= 0);
    raw = raw_tls_connect(fd, client_version, alive, t);
    *ret = raw != NULL;
    transport_settle(&t->host);
    EXPECT(raw ? b.ready : b.closed);
    if (raw) {
        EXPECT(raw_tls_write(raw, "hello", 5) == 0);
        EXPECT(check_received(&b, 5) == 0);
        raw_tls_cut(raw);
    }
    (void)close(fd);
    if (raw) { /* a cut is no end */
        EXPECT(transport_run(&t->host, &b.failed, 1) == 0 && b.eof == 0);
        check_unpair(&b, NULL);
        EXPECT(b.status == RS_ECLOSED);
    }
    free(b.data);
    t->ops->listener_close(s.listener);
    t->plugin->stop(self, count_stop, &stops);
    EXPECT(transport_run(&t->host, &stops, 1) == 0);
    transport_settle(&t->host);
    t->plugin->fini(self);
    t->self = kept;
    return 0;
}

static int old_versions_are_refused_and_cuts_are_seen(struct transport_check *t) {
    int in, r;

    if ((r = old_client(t, "1.2", 12, &in)))
        return r;
    EXPECT(in);
    if ((r = old_client(t, "1.3", 13, &in)))
        return r;
    EXPECT(in);
    if ((r = old_client(t, "1.3", 12, &in)))
        return r;
    EXPECT(!in);
    return 0;
}

static int a_client_that_does_not_speak_tls_is_refused(struct transport_check *t) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct server s = {.next = 0};
    struct end b = {.pull = 1};
    int fd;

    s.ends[0] = &b;
    EXPECT(check_listen(t, &s, NULL) == 0);
    fd = check_raw_socket(check_port(s.uri));
    EXPECT(fd >= 0 && send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == sizeof(request) - 1);
    EXPECT(transport_run(&t->host, &b.closed, 1) == 0);
    EXPECT(!b.ready && b.status < 0 && b.error[0]);
    (void)close(fd);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

static int silent_peers_time_out(struct transport_check *t) {
    rs_conn_opts opts = {.struct_size = sizeof(opts), .handshake_timeout_ns = 30 * SECOND};
    struct server s = {.next = 0};
    struct end a = {.pull = 1}, b = {.pull = 1}, gone = {.pull = 1};
    int client, vanishing, listener = check_raw_socket(0);
    char uri[64];

    EXPECT(listener >= 0 && listen(listener, 8) == 0);
    s.ends[0] = &b;
    s.ends[1] = &gone;
    EXPECT(check_listen(t, &s, &opts) == 0);
    client = check_raw_socket(check_port(s.uri));
    EXPECT(client >= 0 && transport_run(&t->host, &s.accepted, 1) == 0);
    vanishing = check_raw_socket(check_port(s.uri));
    EXPECT(vanishing >= 0 && close(vanishing) == 0);
    (void)snprintf(uri, sizeof(uri), "tls://127.0.0.1:%u", check_raw_port(listener));
    EXPECT(check_connect(t, &a, uri, &opts) == 0);
    transport_settle(&t->host);
    EXPECT(gone.closed && gone.status == RS_ECLOSED);
    EXPECT(!a.closed && !b.closed);
    transport_host_skip(&t->host, 31 * SECOND);
    transport_settle(&t->host);
    EXPECT(a.closed && a.status == RS_ETIMEDOUT && b.closed && b.status == RS_ETIMEDOUT);
    (void)close(client);
    (void)close(listener);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

static int reload(struct transport_check *t, const struct options *o, char msg[240]) {
    rs_error err = {.struct_size = sizeof(err)};
    rs_node *config = config_of(t, o);
    int r = t->ops->reload(t->self, config, &err);

    (void)snprintf(msg, 240, "%s", err.msg);
    node_free(config);
    return r;
}

static int write_file(const struct transport_check *t, const char *name, const char *text) {
    char path[512];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", t->c->dir, name);
    f = fopen(path, "we");
    return f && fputs(text, f) >= 0 && fclose(f) == 0 ? 0 : -1;
}

static int a_broken_reload_changes_nothing(struct transport_check *t) {
    static const struct options bad[] = {
        {.ca = "missing", .cert = "node"},
        {.ca = "ca", .cert = "missing"},
        {.ca = "ca", .cert = "garbage"},
        {.ca = "garbage", .cert = "node"},
        {.ca = "ca", .cert = "mismatch"},
        {.ca = "ca", .cert = "locked"},
        {.ca = "ca", .cert = "node", .client_auth = "sometimes"},
        {.ca = "ca", .cert = "node", .min_version = "1.9"},
        {.cert = "node", .client_auth = "require"},
        {.ca = "ca", .client_auth = "require"},
    };
    uint8_t before[32];
    struct server s = {.next = 0};
    struct end a = {.pull = 1}, b = {.pull = 1};
    char msg[240];

    if (!(t->plugin->caps & RS_TRANSPORT_RELOAD))
        return CHECK_SKIP;
    EXPECT(write_file(t, "garbage.pem", "not a certificate\n") == 0 &&
           write_file(t, "garbage.key", "nor a key\n") == 0);
    EXPECT(certs_make(t->c->dir, "locked", "ca", "locked", NULL, -DAY, DAY) == 0);
    EXPECT(certs_lock_key(t->c->dir, "locked") == 0);
    EXPECT(certs_make(t->c->dir, "mismatch2", "ca", "m", NULL, -DAY, DAY) == 0);
    EXPECT(certs_make(t->c->dir, "mismatch", "ca", "m", NULL, -DAY, DAY) == 0);
    {
        char from[512], to[512];
        (void)snprintf(from, sizeof(from), "%s/mismatch2.key", t->c->dir);
        (void)snprintf(to, sizeof(to), "%s/mismatch.key", t->c->dir);
        EXPECT(rename(from, to) == 0);
    }
    EXPECT(certs_sha256(t->c->dir, "node", before) == 0);
    EXPECT(check_listen(t, &s, NULL) == 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        msg[0] = '\0';
        if (reload(t, &bad[i], msg) >= 0 || !msg[0]) {
            tap_diag("reload %zu was not refused", i);
            return __LINE__;
        }
    }
    EXPECT(check_pair(&s, &a, &b, NULL) == 0);
    EXPECT(memcmp(a.peer.cert_sha256, before, 32) == 0);
    check_unpair(&a, &b);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

/* Four connections carry bytes all the time while the certificate changes and others are made. */
static int certificates_change_under_load(struct transport_check *t) {
    enum { LIVE = 4, ROUNDS = 12, PIECE = 100000 };
    struct server s = {.next = 0};
    static struct end a[LIVE], b[LIVE];
    unsigned char *data = malloc(PIECE);
    uint8_t sha[32];
    char msg[240];

    if (!(t->plugin->caps & RS_TRANSPORT_RELOAD)) {
        free(data);
        return CHECK_SKIP;
    }
    EXPECT(data);
    check_fill(data, PIECE, 21);
    memset(a, 0, sizeof(a));
    memset(b, 0, sizeof(b));
    EXPECT(check_listen(t, &s, NULL) == 0);
    for (int i = 0; i < LIVE; i++) {
        a[i].pull = b[i].pull = 1;
        EXPECT(check_pair(&s, &a[i], &b[i], NULL) == 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        const char *name = round % 2 ? "node" : "fresh";
        const struct options o = {.ca = "ca", .cert = name, .client_auth = "require"};
        struct end x = {.pull = 1}, y = {.pull = 1};
        if (!(round % 2))
            EXPECT(certs_make(t->c->dir, "fresh", "ca", "fresh", "IP:127.0.0.1", -DAY, DAY) == 0);
        EXPECT(certs_sha256(t->c->dir, name, sha) == 0);
        for (int i = 0; i < LIVE; i++)
            (void)check_write(&a[i], data, 0);
        EXPECT(reload(t, &o, msg) == RS_OK);
        EXPECT(check_pair(&s, &x, &y, NULL) == 0);
        EXPECT(memcmp(x.peer.cert_sha256, sha, 32) == 0);
        for (int i = 0; i < LIVE; i++) {
            EXPECT(check_send(&a[i], data, PIECE) == 0 && check_send(&b[i], data, PIECE) == 0);
            EXPECT(check_received(&b[i], PIECE) == 0 && check_received(&a[i], PIECE) == 0);
            EXPECT(memcmp(a[i].data, data, PIECE) == 0 && memcmp(b[i].data, data, PIECE) == 0);
            a[i].len = b[i].len = 0;
        }
        check_unpair(&x, &y);
    }
    for (int i = 0; i < LIVE; i++)
        check_unpair(&a[i], &b[i]);
    free(data);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

static int listening_needs_a_certificate(struct transport_check *t) {
    const struct options o = {.ca = "ca"};
    rs_error err = {.struct_size = sizeof(err)};
    rs_listener *l = NULL;
    void *self = NULL;
    unsigned stops = 0;

    EXPECT(start(t, &o, &self) == 0);
    EXPECT(t->ops->listen(self, t->loop, t->base, NULL, NULL, NULL, &l, &err) == RS_EUNSUPPORTED);
    EXPECT(err.msg[0] && !l);
    t->plugin->stop(self, count_stop, &stops);
    EXPECT(transport_run(&t->host, &stops, 1) == 0);
    t->plugin->fini(self);
    return 0;
}

int suite_tls(struct check *c) {
    static const struct transport_test tests[] = {
        {"both ends prove their name", both_ends_prove_their_name},
        {"an IP address is a name too", an_ip_address_is_a_name_too},
        {"a common name serves when there is no other", a_common_name_serves_when_there_is_no_other},
        {"a wrong server name is refused", a_wrong_server_name_is_refused},
        {"a server of another CA is refused", a_server_of_another_ca_is_refused},
        {"an expired server is refused", an_expired_server_is_refused},
        {"a server of the future is refused", a_server_of_the_future_is_refused},
        {"a client without certificate is refused", a_client_without_certificate_is_refused},
        {"a client of another CA is refused", a_client_of_another_ca_is_refused},
        {"an expired client is refused", an_expired_client_is_refused},
        {"clients without certificate have no name", clients_without_certificate_have_no_name},
        {"an unverified server has no name", an_unverified_server_has_no_name},
        {"protocols are agreed on", protocols_are_agreed_on},
        {"old versions are refused and cuts are seen", old_versions_are_refused_and_cuts_are_seen},
        {"a client that does not speak TLS is refused", a_client_that_does_not_speak_tls_is_refused},
        {"silent peers time out", silent_peers_time_out},
        {"a broken reload changes nothing", a_broken_reload_changes_nothing},
        {"certificates change under load", certificates_change_under_load},
        {"listening needs a certificate", listening_needs_a_certificate},
    };

    if (!strstr(c->plugin.config_schema, "\"ca-file\"") || node_count(c->config) > 0)
        return CHECK_SKIP;
    check_tests(c, tests, sizeof(tests) / sizeof(tests[0]));
    return 0;
}
