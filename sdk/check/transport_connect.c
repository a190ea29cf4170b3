/* SPDX-License-Identifier: Apache-2.0 */
/* transport_connect.c : suite connect: what cannot be dialled or listened on is refused, by a status and a sentence. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport_check.h"

#define SECOND UINT64_C(1000000000)

/* The URI of the scheme with another host and port. */
static const char *uri_of(const struct transport_check *t, const char *rest, char buf[160]) {
    (void)snprintf(buf, 160, "%.*s%s", (int)strcspn(t->base, ":"), t->base, rest);
    return buf;
}

static int bad_uris_get_a_sentence(struct transport_check *t) {
    static const char *const bad[] = {
        "", ":", "x", "/", "nosuchscheme://127.0.0.1:1", "127.0.0.1:80", "://127.0.0.1:80"};
    static const char *const bad_ip[] = {"://",
                                         "://:80",
                                         "://127.0.0.1",
                                         "://127.0.0.1:",
                                         "://127.0.0.1:http",
                                         "://127.0.0.1:65536",
                                         "://127.0.0.1:99999999999999999999",
                                         "://127.0.0.1:-1",
                                         "://127.0.0.1:80/path",
                                         "://127.0.0.1:80?x",
                                         "://user@127.0.0.1:80",
                                         "://::1:80",
                                         "://[::1:80",
                                         "://[::1]",
                                         "://[]:80",
                                         "://[zz]:80",
                                         "://a b:80"};
    char buf[160], longest[600];
    rs_listener *l = NULL;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) + sizeof(bad_ip) / sizeof(bad_ip[0]); i++) {
        size_t at = i - sizeof(bad) / sizeof(bad[0]);
        const char *uri = i < sizeof(bad) / sizeof(bad[0]) ? bad[i] : uri_of(t, bad_ip[at], buf);
        struct end e = {.pull = 0};
        rs_error err = {.struct_size = sizeof(err)};
        if (uri == buf && !check_is_ip(t))
            continue;
        if (check_connect(t, &e, uri, NULL) != RS_EINVAL || !e.error[0] || e.conn) {
            tap_diag("dialled: %s", uri);
            return __LINE__;
        }
        if (t->ops->listen(t->self, t->loop, uri, NULL, NULL, NULL, &l, &err) != RS_EINVAL || !err.msg[0] || l) {
            tap_diag("listened on: %s", uri);
            return __LINE__;
        }
    }
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    memcpy(longest, t->base, strcspn(t->base, "/") + 1);
    EXPECT(check_connect(t, &(struct end){.pull = 0}, longest, NULL) == RS_EINVAL);
    if (check_is_ip(t))
        EXPECT(check_connect(t, &(struct end){.pull = 0}, t->base, NULL) == RS_EINVAL); /* port 0 */
    return 0;
}

static int nobody_listens(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end e = {.pull = 0};

    EXPECT(check_listen(t, &s, NULL) == 0);
    t->ops->listener_close(s.listener);
    s.listener = NULL;
    transport_settle(&t->host);
    EXPECT(check_connect(t, &e, s.uri, NULL) == 0);
    EXPECT(e.closed == 0);
    EXPECT(transport_run(&t->host, &e.closed, 1) == 0);
    EXPECT(e.ready == 0 && (e.status == RS_ECLOSED || e.status == RS_ENOENT));
    EXPECT(e.error[0] && (e.err_flags & RS_ERR_RETRYABLE));
    return 0;
}

static int names_are_looked_up(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end a = {.pull = 0}, b = {.pull = 0};
    char uri[160], port[32];

    if (!check_is_ip(t))
        return CHECK_SKIP;
    EXPECT(check_listen(t, &s, NULL) == 0);
    (void)snprintf(port, sizeof(port), "://localhost:%u", check_port(s.uri));
    (void)snprintf(s.uri, sizeof(s.uri), "%s", uri_of(t, port, uri));
    EXPECT(check_pair(&s, &a, &b, NULL) == 0);
    check_unpair(&a, &b);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

static int a_name_that_is_none_fails(struct transport_check *t) {
    struct end e = {.pull = 0};
    char uri[160];

    if (!check_is_ip(t))
        return CHECK_SKIP;
    EXPECT(check_connect(t, &e, uri_of(t, "://no..such..name:80", uri), NULL) == 0);
    EXPECT(transport_run(&t->host, &e.closed, 1) == 0);
    EXPECT(e.ready == 0 && e.status < 0 && e.error[0]);
    return 0;
}

static int closing_cancels_a_connect(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end a = {.pull = 0}, b = {.pull = 0}, named = {.pull = 0};
    char uri[160];

    s.ends[0] = &b;
    b.t = t;
    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_connect(t, &a, s.uri, NULL) == 0);
    check_end(&a, 0);
    if (check_is_ip(t)) { /* in the middle of the look-up */
        EXPECT(check_connect(t, &named, uri_of(t, "://localhost:1", uri), NULL) == 0);
        check_end(&named, 1);
        EXPECT(transport_run(&t->host, &named.closed, 1) == 0);
        EXPECT(named.ready == 0 && named.status == RS_OK);
    }
    EXPECT(transport_run(&t->host, &a.closed, 1) == 0);
    EXPECT(a.ready == 0 && a.status == RS_OK);
    transport_settle(&t->host);
    if (b.conn)
        check_unpair(&b, NULL);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

/* A listening socket whose queue is full answers nobody. */
static int connecting_times_out(struct transport_check *t) {
    rs_conn_opts opts = {.struct_size = sizeof(opts), .connect_timeout_ns = 60 * SECOND};
    struct end e = {.pull = 0};
    int listener, fill[4];
    char uri[160], rest[48];

    if (!check_is_ip(t))
        return CHECK_SKIP;
    listener = check_raw_socket(0);
    EXPECT(listener >= 0 && listen(listener, 0) == 0);
    (void)snprintf(rest, sizeof(rest), "://127.0.0.1:%u", check_raw_port(listener));
    fill[0] = check_raw_socket(check_raw_port(listener));
    EXPECT(fill[0] >= 0);
    EXPECT(check_connect(t, &e, uri_of(t, rest, uri), &opts) == 0);
    transport_settle(&t->host);
    if (t->host.timers == 0 || e.ready) { /* another kernel, another queue */
        check_unpair(&e, NULL);
        (void)close(listener);
        (void)close(fill[0]);
        return CHECK_SKIP;
    }
    transport_host_skip(&t->host, 59 * SECOND);
    transport_settle(&t->host);
    EXPECT(e.closed == 0);
    transport_host_skip(&t->host, 2 * SECOND);
    EXPECT(transport_run(&t->host, &e.closed, 1) == 0);
    EXPECT(e.ready == 0 && e.status == RS_ETIMEDOUT && (e.err_flags & RS_ERR_RETRYABLE));
    (void)close(listener);
    (void)close(fill[0]);
    return 0;
}

static int two_listeners_on_one_address_are_refused(struct transport_check *t) {
    struct server s = {.next = 0};
    rs_listener *second = NULL;
    rs_error err = {.struct_size = sizeof(err)};

    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(t->ops->listen(t->self, t->loop, s.uri, NULL, NULL, NULL, &second, &err) == RS_EEXIST);
    EXPECT(err.msg[0] && !second);
    t->ops->listener_close(s.listener);
    s.listener = NULL;
    transport_settle(&t->host);
    (void)snprintf(t->base, sizeof(t->base), "%.95s", s.uri); /* free again */
    EXPECT(check_listen(t, &s, NULL) == 0);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

static int the_uri_needs_room(struct transport_check *t) {
    struct server s = {.next = 0};
    char small[8];

    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(t->ops->listener_uri(s.listener, small, sizeof(small)) == RS_ETOOBIG);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

static int ipv6_addresses_stand_in_brackets(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end a = {.pull = 0}, b = {.pull = 0};
    char uri[160];
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rs_conn_opts opts = {.struct_size = sizeof(opts), .server_name = "localhost"};
    rs_error err = {.struct_size = sizeof(err)};
    rs_listener *l = NULL;

    if (probe >= 0)
        (void)close(probe);
    if (!check_is_ip(t) || probe < 0)
        return CHECK_SKIP;
    if (t->ops->listen(t->self, t->loop, uri_of(t, "://[::1]:0", uri), NULL, NULL, NULL, &l, &err) < 0)
        return CHECK_SKIP; /* no such address here */
    t->ops->listener_close(l);
    (void)snprintf(t->base, sizeof(t->base), "%.90s", uri);
    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_pair(&s, &a, &b, &opts) == 0);
    EXPECT(strncmp(b.peer.address, "[::1]:", 6) == 0);
    check_unpair(&a, &b);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

static int socket_files_come_and_go(struct transport_check *t) {
    const char *path = t->base + strlen("unix:");
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct server s = {.next = 0};
    struct end a = {.pull = 0}, b = {.pull = 0};
    rs_error err = {.struct_size = sizeof(err)};
    rs_listener *l = NULL;
    struct stat st;
    FILE *f;
    int fd;

    if (strncmp(t->base, "unix:/", 6) != 0)
        return CHECK_SKIP;
    memcpy(sa.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    (void)close(fd); /* as if its process had died */
    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_pair(&s, &a, &b, NULL) == 0);
    check_unpair(&a, &b);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    EXPECT(lstat(path, &st) < 0);
    EXPECT((f = fopen(path, "we")) && fclose(f) == 0); /* not ours to remove */
    EXPECT(t->ops->listen(t->self, t->loop, t->base, NULL, NULL, NULL, &l, &err) == RS_EEXIST);
    EXPECT(lstat(path, &st) == 0 && S_ISREG(st.st_mode));
    EXPECT(unlink(path) == 0);
    EXPECT(check_connect(t, &a, t->base, NULL) == 0);
    a = (struct end){.t = t, .loop = t->loop, .conn = a.conn};
    EXPECT(transport_run(&t->host, &a.closed, 1) == 0);
    EXPECT(a.status == RS_ENOENT);
    return 0;
}

int suite_connect(struct check *c) {
    static const struct transport_test tests[] = {
        {"bad URIs get a sentence", bad_uris_get_a_sentence},
        {"nobody listens", nobody_listens},
        {"names are looked up", names_are_looked_up},
        {"a name that is none fails", a_name_that_is_none_fails},
        {"closing cancels a connect", closing_cancels_a_connect},
        {"connecting times out", connecting_times_out},
        {"two listeners on one address are refused", two_listeners_on_one_address_are_refused},
        {"the URI needs room", the_uri_needs_room},
        {"IPv6 addresses stand in brackets", ipv6_addresses_stand_in_brackets},
        {"socket files come and go", socket_files_come_and_go},
    };

    check_tests(c, tests, sizeof(tests) / sizeof(tests[0]));
    return 0;
}
