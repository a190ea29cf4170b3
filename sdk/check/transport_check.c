/* SPDX-License-Identifier: Apache-2.0 */
/* transport_check.c : ends, servers and instances of transport_check.h. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport_certs.h"
#include "transport_check.h"

int check_open(struct transport_check *t, struct check *c, const rs_node *config, const char *base) {
    rs_error err = {.struct_size = sizeof(err)};
    int r;

    *t = (struct transport_check){.c = c, .plugin = &c->plugin, .ops = &c->ops.transport, .config = config};
    (void)snprintf(t->base, sizeof(t->base), "%s", base);
    transport_host_init(&t->host);
    t->loop = transport_loop_new(&t->host);
    t->fds = process_fds();
    r = t->plugin->check(&t->host.host, config, &err);
    if (r == RS_OK)
        r = t->plugin->init(&t->host.host, config, &t->self, &err);
    if (r < 0) {
        transport_fault(&t->host, err.msg);
        transport_host_done(&t->host);
    }
    return r;
}

static void stopped(void *arg, int status, const rs_error *err) {
    struct transport_check *t = arg;

    (void)status;
    (void)err;
    t->stopped++;
}

int check_close(struct transport_check *t) {
    t->plugin->stop(t->self, stopped, t);
    if (transport_run(&t->host, &t->stopped, 1) < 0) {
        transport_fault(&t->host, "stop() was never done");
        return -1;
    }
    transport_settle(&t->host);
    if (t->stopped != 1)
        transport_fault(&t->host, "stop() was done more than once");
    t->plugin->fini(t->self);
    while (__atomic_load_n(&t->host.workers, __ATOMIC_ACQUIRE) > 0)
        (void)usleep(1000);
    if (t->host.watches)
        transport_fault(&t->host, "a watch leaked");
    if (t->host.timers)
        transport_fault(&t->host, "a timer leaked");
    if (t->host.charged)
        transport_fault(&t->host, "charged bytes were not given back");
    if (process_fds() != t->fds)
        transport_fault(&t->host, "a descriptor leaked");
    transport_host_done(&t->host);
    return t->host.fault[0] ? -1 : 0;
}

static void enter(struct end *e, const rs_conn *conn) {
    transport_callback(&e->t->host, e->loop);
    if (e->closed)
        transport_fault(&e->t->host, "a callback came after closed()");
    if (e->conn && e->conn != conn)
        transport_fault(&e->t->host, "a callback names another connection");
}

static void on_ready(void *arg, rs_conn *conn) {
    struct end *e = arg;

    enter(e, conn);
    e->conn = conn;
    if (e->ready++)
        transport_fault(&e->t->host, "ready() came twice");
    e->peer.struct_size = sizeof(e->peer);
    if (e->t->ops->peer(conn, &e->peer) < 0)
        transport_fault(&e->t->host, "peer() failed in ready()");
}

static void on_readable(void *arg, rs_conn *conn) {
    struct end *e = arg;

    enter(e, conn);
    if (!e->ready)
        transport_fault(&e->t->host, "readable() came before ready()");
    e->readable++;
    if (e->pull)
        check_pull(e);
}

static void on_writable(void *arg, rs_conn *conn) {
    struct end *e = arg;

    enter(e, conn);
    e->writable++;
}

static void on_closed(void *arg, rs_conn *conn, int status, const rs_error *err) {
    struct end *e = arg;

    enter(e, conn);
    e->closed++;
    e->status = status;
    if (err) {
        (void)snprintf(e->error, sizeof(e->error), "%s", err->msg);
        e->err_flags = err->flags;
    }
    if ((status < 0) != (err != NULL))
        transport_fault(&e->t->host, "closed() with a status must come with an error, and only then");
    e->conn = NULL;
}

static const rs_conn_events end_events = {.struct_size = sizeof(rs_conn_events),
                                          .ready = on_ready,
                                          .readable = on_readable,
                                          .writable = on_writable,
                                          .closed = on_closed};

static void on_accepted(void *arg, rs_conn *conn) {
    struct server *s = arg;
    struct end *e = s->next < 64 ? s->ends[s->next++] : NULL;
    int r;

    transport_callback(&s->t->host, s->t->loop);
    s->accepted++;
    if (!s->listener)
        transport_fault(&s->t->host, "accepted() came after listener_close()");
    if (s->close_after) {
        s->t->ops->listener_close(s->listener);
        s->listener = NULL;
    }
    if (!e || s->refuse)
        return;
    e->t = s->t;
    e->loop = s->attach_to ? s->attach_to : s->t->loop;
    s->t->host.in_op++;
    r = s->t->ops->attach(conn, e->loop, &end_events, e);
    s->t->host.in_op--;
    if (r < 0)
        transport_fault(&s->t->host, "attach() failed");
}

int check_listen(struct transport_check *t, struct server *s, const rs_conn_opts *opts) {
    rs_error err = {.struct_size = sizeof(err)};
    int r;

    s->t = t;
    t->host.in_op++;
    r = t->ops->listen(t->self, t->loop, t->base, opts, on_accepted, s, &s->listener, &err);
    t->host.in_op--;
    if (r == RS_OK)
        r = t->ops->listener_uri(s->listener, s->uri, sizeof(s->uri));
    if (r < 0)
        transport_fault(&t->host, err.msg[0] ? err.msg : "listen() failed");
    return r;
}

int check_connect(struct transport_check *t, struct end *e, const char *uri, const rs_conn_opts *opts) {
    rs_error err = {.struct_size = sizeof(err)};
    int r;

    e->t = t;
    if (!e->loop)
        e->loop = t->loop;
    t->host.in_op++;
    r = t->ops->connect(e->self ? e->self : t->self, e->loop, uri, opts, &end_events, e, &e->conn, &err);
    t->host.in_op--;
    if (r < 0) {
        (void)snprintf(e->error, sizeof(e->error), "%s", err.msg);
        if (!err.msg[0])
            transport_fault(&t->host, "connect() failed without a sentence");
    }
    return r;
}

int check_pair(struct server *s, struct end *client, struct end *server, const rs_conn_opts *opts) {
    s->ends[s->next] = server;
    if (check_connect(s->t, client, s->uri, opts) < 0 || transport_run(&s->t->host, &client->ready, 1) < 0 ||
        transport_run(&s->t->host, &server->ready, 1) < 0) {
        transport_fault(&s->t->host, client->error[0] ? client->error : "no connection came about");
        return -1;
    }
    return 0;
}

void check_unpair(struct end *a, struct end *b) {
    struct end *both[] = {a, b};

    for (int i = 0; i < 2; i++)
        if (both[i] && both[i]->conn)
            check_end(both[i], 0);
    for (int i = 0; i < 2; i++) {
        if (!both[i] || !both[i]->t)
            continue;
        if (transport_run(&both[i]->t->host, &both[i]->closed, 1) < 0)
            transport_fault(&both[i]->t->host, "closed() never came");
        free(both[i]->data);
        both[i]->data = NULL;
        both[i]->room = 0;
    }
}

int64_t check_read(struct end *e, void *buf, size_t len) {
    int64_t r;

    e->t->host.in_op++;
    r = e->t->ops->read(e->conn, buf, len);
    e->t->host.in_op--;
    return r;
}

int64_t check_write(struct end *e, const void *data, size_t len) {
    struct iovec iov = {.iov_len = len};
    int64_t r;

    memcpy(&iov.iov_base, &data, sizeof(data));
    e->t->host.in_op++;
    r = e->t->ops->write(e->conn, &iov, 1);
    e->t->host.in_op--;
    return r;
}

int check_shutdown(struct end *e) {
    int r;

    e->t->host.in_op++;
    r = e->t->ops->shutdown(e->conn);
    e->t->host.in_op--;
    return r;
}

void check_end(struct end *e, int abort) {
    e->t->host.in_op++;
    e->t->ops->close(e->conn, abort);
    e->t->host.in_op--;
}

void check_pull(struct end *e) {
    size_t chunk = e->chunk ? e->chunk : 65536;

    for (;;) {
        int64_t r;
        if (e->room < e->len + chunk) {
            e->room = 2 * (e->len + chunk);
            e->data = realloc(e->data, e->room);
        }
        if (!e->data)
            abort();
        r = check_read(e, e->data + e->len, chunk);
        if (r > 0) {
            e->len += (unsigned long long)r;
            continue;
        }
        if (r == 0)
            e->eof++;
        else if (r != RS_EAGAIN)
            e->failed++;
        return;
    }
}

int check_send(struct end *e, const void *data, size_t len) {
    const unsigned char *p = data;

    while (len > 0) {
        unsigned before = e->writable;
        int64_t r = check_write(e, p, len);
        if (r > 0) {
            p += r;
            len -= (size_t)r;
        }
        if (r == 0 || (r < 0 && r != RS_EAGAIN))
            return -1;
        if (len > 0 && transport_run(&e->t->host, &e->writable, before + 1) < 0)
            return -1;
    }
    return 0;
}

int check_received(struct end *e, size_t len) {
    for (int quiet = 0; e->len < len && quiet < 3000;)
        quiet = transport_turn(&e->t->host, 1) ? 0 : quiet + 1;
    return e->len >= len ? 0 : -1;
}

void check_fill(unsigned char *buf, size_t len, unsigned seed) {
    uint32_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        buf[i] = (unsigned char)x;
    }
}

int check_is_ip(const struct transport_check *t) {
    return strstr(t->base, "://127.0.0.1:") && !(t->plugin->caps & RS_TRANSPORT_LOCAL_ONLY);
}

unsigned check_port(const char *uri) {
    const char *colon = strrchr(uri, ':');

    return colon ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
}

int check_raw_socket(unsigned port) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        return -1;
    r = port ? connect(fd, (struct sockaddr *)&sa, sizeof(sa)) : bind(fd, (struct sockaddr *)&sa, sizeof(sa));
    if (r == 0)
        return fd;
    (void)close(fd);
    return -1;
}

unsigned check_raw_port(int fd) {
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t len = sizeof(sa);

    return getsockname(fd, (struct sockaddr *)&sa, &len) == 0 ? ntohs(sa.sin_port) : 0;
}

rs_node *check_config(struct check *c) {
    rs_error err = {.struct_size = sizeof(err)};
    rs_node *config = node_parse("{}", 2, &err);
    char path[512];

    if (!config)
        return NULL;
    for (size_t i = 0; i < node_count(c->config); i++)
        if (node_kind(node_child(c->config, i)) == NODE_SCALAR)
            (void)node_set(config, node_key_at(c->config, i), node_scalar(node_child(c->config, i)));
    if (node_count(config) > 0 || !strstr(c->plugin.config_schema, "\"ca-file\""))
        return config;
    if (certs_make(c->dir, "ca", NULL, "check ca", NULL, -3600, 3600) < 0 ||
        certs_make(c->dir, "node", "ca", "node", "DNS:node.example,DNS:localhost,IP:127.0.0.1", -3600, 3600) < 0) {
        node_free(config);
        return NULL;
    }
    (void)snprintf(path, sizeof(path), "%s/ca.pem", c->dir);
    (void)node_set(config, "ca-file", path);
    (void)snprintf(path, sizeof(path), "%s/node.pem", c->dir);
    (void)node_set(config, "cert-file", path);
    (void)snprintf(path, sizeof(path), "%s/node.key", c->dir);
    (void)node_set(config, "key-file", path);
    (void)node_set(config, "client-auth", "require");
    return config;
}

static void run_test(struct check *c, const rs_node *config, const char *scheme, const struct transport_test *test) {
    struct transport_check t;
    char base[96];
    int r;

    if (strcmp(scheme, "unix") == 0)
        (void)snprintf(base, sizeof(base), "unix:%s/socket", c->dir);
    else
        (void)snprintf(base, sizeof(base), "%s://127.0.0.1:0", scheme);
    if (check_open(&t, c, config, base) < 0) {
        (void)tap_ok(c->tap, false, "%s: the plugin starts", scheme);
        tap_diag("%s", t.host.fault);
        return;
    }
    r = test->run(&t);
    if (r == CHECK_SKIP)
        tap_skip(c->tap, test->name, "does not apply");
    else if (!tap_ok(c->tap, r == 0, "%s: %s", scheme, test->name))
        tap_diag("line %d; %s", r, t.host.fault);
    if (r != 0 && r != CHECK_SKIP)
        exit(1); /* what the test left open cannot be taken apart */
    if (!tap_ok(c->tap, check_close(&t) == 0, "%s: %s: nothing leaks, no callback is out of place", scheme, test->name))
        tap_diag("%s", t.host.fault);
}

void check_tests(struct check *c, const struct transport_test *tests, size_t n) {
    char schemes[64], *save = NULL;
    rs_node *config = check_config(c);

    if (!tap_ok(c->tap, config != NULL, "a configuration can be made"))
        return;
    (void)snprintf(schemes, sizeof(schemes), "%s", c->ops.transport.schemes);
    for (char *scheme = strtok_r(schemes, ",", &save); scheme; scheme = strtok_r(NULL, ",", &save))
        for (size_t i = 0; i < n; i++)
            run_test(c, config, scheme, &tests[i]);
    node_free(config);
}
