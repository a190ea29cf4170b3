/* SPDX-License-Identifier: Apache-2.0 */
/* transport_contract.c : suite lifecycle: threads, callbacks, limits of the host, stop. Every test of every suite also
 * checks that callbacks come on their loop, never inside an op, and closed() once and last. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "transport_check.h"

#define SECOND UINT64_C(1000000000)

static void close_listener(struct transport_check *t, struct server *s) {
    if (s->listener)
        t->ops->listener_close(s->listener);
    s->listener = NULL;
    transport_settle(&t->host);
}

/* Turns until the client saw its connection end, one way or the other. */
static int ends(struct transport_check *t, struct end *e) {
    for (int i = 0; i < 5000 && !e->eof && !e->failed && !e->closed; i++)
        (void)transport_turn(&t->host, 1);
    return e->eof || e->failed || e->closed ? 0 : -1;
}

static int not_attached_means_closed(struct transport_check *t) {
    struct server s = {.refuse = 1};
    struct end a = {.pull = 1};

    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_connect(t, &a, s.uri, NULL) == 0);
    EXPECT(transport_run(&t->host, &s.accepted, 1) == 0);
    EXPECT(ends(t, &a) == 0);
    check_unpair(&a, NULL);
    close_listener(t, &s);
    return 0;
}

static int a_connection_moves_to_another_loop(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end a = {.pull = 1}, b = {.pull = 1};
    unsigned char data[100000];

    check_fill(data, sizeof(data), 1);
    s.attach_to = transport_loop_new(&t->host);
    a.loop = transport_loop_new(&t->host);
    t->fds = process_fds(); /* the loops' own descriptors are not the plugin's */
    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_pair(&s, &a, &b, NULL) == 0);
    EXPECT(check_send(&a, data, sizeof(data)) == 0 && check_received(&b, sizeof(data)) == 0);
    EXPECT(check_send(&b, data, sizeof(data)) == 0 && check_received(&a, sizeof(data)) == 0);
    EXPECT(memcmp(a.data, data, sizeof(data)) == 0 && memcmp(b.data, data, sizeof(data)) == 0);
    check_unpair(&a, &b);
    close_listener(t, &s);
    return 0;
}

static int a_listener_may_be_closed_inside_accepted(struct transport_check *t) {
    struct server s = {.close_after = 1};
    struct end first = {.pull = 1}, second = {.pull = 1}, b = {.pull = 1};

    s.ends[0] = &b;
    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_connect(t, &first, s.uri, NULL) == 0);
    EXPECT(check_connect(t, &second, s.uri, NULL) == 0);
    EXPECT(transport_run(&t->host, &b.ready, 1) == 0);
    transport_settle(&t->host);
    EXPECT(s.accepted == 1);
    EXPECT((first.closed || first.eof || first.failed) + (second.closed || second.eof || second.failed) == 1);
    check_unpair(&first, &second);
    check_unpair(&b, NULL);
    EXPECT(t->host.watches == 0);
    return 0;
}

static int connections_outlive_their_listener(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end a = {.pull = 1}, b = {.pull = 1};

    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_pair(&s, &a, &b, NULL) == 0);
    close_listener(t, &s);
    EXPECT(check_send(&a, "still", 5) == 0 && check_received(&b, 5) == 0);
    check_unpair(&a, &b);
    return 0;
}

static int incomplete_events_are_refused(struct transport_check *t) {
    struct server s = {.next = 0};
    rs_conn_events events = {.struct_size = sizeof(events)};
    rs_error err = {.struct_size = sizeof(err)};
    rs_conn *conn = NULL;

    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(t->ops->connect(t->self, t->loop, s.uri, NULL, &events, NULL, &conn, &err) == RS_EINVAL);
    EXPECT(err.msg[0] && !conn);
    close_listener(t, &s);
    return 0;
}

static int stop_ends_what_is_open(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end a = {.pull = 1}, b = {.pull = 1}, c = {.pull = 1}, d = {.pull = 1};

    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_pair(&s, &a, &b, NULL) == 0);
    s.ends[s.next] = &d;
    d.t = t;
    EXPECT(check_connect(t, &c, s.uri, NULL) == 0);
    EXPECT(check_close(t) == 0); /* with everything open, and one under way */
    EXPECT(a.closed == 1 && a.status == RS_ECANCELED && b.closed == 1 && c.closed == 1);
    EXPECT(!d.ready || d.closed == 1);
    free(a.data);
    free(b.data);
    t->fds = process_fds(); /* open again for the end of the test */
    return check_open(t, t->c, t->config, t->base) < 0 ? __LINE__ : 0;
}

static int dialling_is_refused_when_memory_is_short(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end a = {.pull = 1}, b = {.pull = 1}, c = {.pull = 1};

    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_pair(&s, &a, &b, NULL) == 0);
    EXPECT(t->host.charged > 0);
    t->host.charge_limit = t->host.charged;
    EXPECT(check_connect(t, &c, s.uri, NULL) == RS_ENOMEM);
    EXPECT(check_send(&a, "works", 5) == 0 && check_received(&b, 5) == 0);
    t->host.charge_limit = 0;
    check_unpair(&a, &b);
    EXPECT(t->host.charged == 0);
    close_listener(t, &s);
    return 0;
}

static int accepting_waits_when_memory_is_short(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end a = {.pull = 1}, b = {.pull = 1}, c = {.pull = 1}, d = {.pull = 1}, e = {.pull = 1};
    unsigned wakes;

    EXPECT(check_listen(t, &s, NULL) == 0);
    EXPECT(check_pair(&s, &a, &b, NULL) == 0);
    t->host.charge_limit = t->host.charged + t->host.charged / 2; /* room for the client's end only */
    EXPECT(check_connect(t, &c, s.uri, NULL) == 0);
    transport_settle(&t->host);
    EXPECT(s.accepted == 1);
    wakes = t->host.events;
    transport_settle(&t->host);
    EXPECT(t->host.events <= wakes + 2); /* no spinning */
    t->host.charge_limit = 0;
    transport_host_skip(&t->host, SECOND);
    transport_settle(&t->host);
    check_unpair(&c, NULL);
    EXPECT(check_pair(&s, &d, &e, NULL) == 0); /* accepts again */
    check_unpair(&a, &b);
    check_unpair(&d, &e);
    close_listener(t, &s);
    return 0;
}

static int accepting_waits_when_descriptors_are_out(struct transport_check *t) {
    struct server s = {.next = 0};
    struct end b = {.pull = 1};
    struct rlimit old, none;
    unsigned wakes;
    int fd, r;

    if (!check_is_ip(t))
        return CHECK_SKIP;
    s.ends[0] = &b;
    EXPECT(check_listen(t, &s, NULL) == 0);
    fd = check_raw_socket(check_port(s.uri));
    EXPECT(fd >= 0 && getrlimit(RLIMIT_NOFILE, &old) == 0);
    none = old;
    none.rlim_cur = (rlim_t)fd + 1;
    EXPECT(setrlimit(RLIMIT_NOFILE, &none) == 0);
    transport_settle(&t->host);
    r = s.accepted == 0;
    wakes = t->host.events;
    transport_settle(&t->host);
    EXPECT(setrlimit(RLIMIT_NOFILE, &old) == 0);
    EXPECT(r && t->host.events <= wakes + 2);
    EXPECT(t->host.warnings >= 1);
    transport_host_skip(&t->host, SECOND);
    EXPECT(transport_run(&t->host, &s.accepted, 1) == 0);
    (void)close(fd);
    transport_settle(&t->host);
    check_unpair(&b, NULL);
    close_listener(t, &s);
    return 0;
}

int suite_lifecycle(struct check *c) {
    static const struct transport_test tests[] = {
        {"not attached means closed", not_attached_means_closed},
        {"a connection moves to another loop", a_connection_moves_to_another_loop},
        {"a listener may be closed inside accepted", a_listener_may_be_closed_inside_accepted},
        {"connections outlive their listener", connections_outlive_their_listener},
        {"incomplete events are refused", incomplete_events_are_refused},
        {"stop ends what is open", stop_ends_what_is_open},
        {"dialling is refused when memory is short", dialling_is_refused_when_memory_is_short},
        {"accepting waits when memory is short", accepting_waits_when_memory_is_short},
        {"accepting waits when descriptors are out", accepting_waits_when_descriptors_are_out},
    };

    check_tests(c, tests, sizeof(tests) / sizeof(tests[0]));
    return 0;
}
