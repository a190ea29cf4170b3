/* SPDX-License-Identifier: Apache-2.0 */
/* transport_stream.c : suite stream: bytes arrive, all, in order, whatever the sizes and speeds. */
#include <stdlib.h>
#include <string.h>

#include "transport_check.h"

enum { MESSAGE = 97, BULK = 3 << 20 };

/* A server, and one pair of ends that closes at the end of the test. */
struct fixture {
    struct server s;
    struct end a, b;
};

static int up(struct transport_check *t, struct fixture *f, unsigned pull) {
    *f = (struct fixture){.a = {.pull = pull}, .b = {.pull = pull}};
    return check_listen(t, &f->s, NULL) < 0 || check_pair(&f->s, &f->a, &f->b, NULL) < 0 ? -1 : 0;
}

static int down(struct transport_check *t, struct fixture *f) {
    check_unpair(&f->a, &f->b);
    t->ops->listener_close(f->s.listener);
    f->s.listener = NULL;
    transport_settle(&t->host);
    return f->a.closed == 1 && f->b.closed == 1 ? 0 : -1;
}

static int peers_are_named(struct transport_check *t) {
    struct fixture f;
    rs_peer small = {.struct_size = offsetof(rs_peer, identity)};

    EXPECT(up(t, &f, 1) == 0);
    EXPECT(f.a.peer.address[0] && f.b.peer.address[0]);
    EXPECT(strstr(f.s.uri, f.a.peer.address));
    small.identity[0] = 'x';
    EXPECT(t->ops->peer(f.a.conn, &small) == RS_OK);
    EXPECT(strcmp(small.address, f.a.peer.address) == 0 && small.identity[0] == 'x');
    EXPECT(down(t, &f) == 0);
    EXPECT(f.a.status == RS_OK && f.b.status == RS_OK);
    return 0;
}

/* Both ends send at once, in pieces of every size; the reader takes odd pieces. */
static int bulk_in_both_directions(struct transport_check *t) {
    struct fixture f;
    unsigned char *data = malloc(2 * BULK), *half[2];
    struct end *from[2], *to[2];
    size_t sent[2] = {0, 0};
    int r = 0;

    EXPECT(data);
    check_fill(data, 2 * BULK, 7);
    half[0] = data;
    half[1] = data + BULK;
    EXPECT(up(t, &f, 1) == 0);
    from[0] = to[1] = &f.a;
    from[1] = to[0] = &f.b;
    f.a.chunk = 40001;
    f.b.chunk = 70000;
    for (size_t piece = 1; !r && (sent[0] < BULK || sent[1] < BULK); piece = piece * 5 % 200003) {
        for (int i = 0; i < 2; i++) {
            size_t left = BULK - sent[i];
            int64_t n = left ? check_write(from[i], half[i] + sent[i], piece < left ? piece : left) : 0;
            if (n > 0)
                sent[i] += (size_t)n;
            else if (n < 0 && n != RS_EAGAIN)
                r = __LINE__;
        }
        (void)transport_turn(&t->host, 0);
    }
    EXPECT(r == 0);
    for (int i = 0; i < 2; i++) {
        EXPECT(check_received(to[i], BULK) == 0);
        EXPECT(to[i]->len == BULK && memcmp(to[i]->data, half[i], BULK) == 0);
    }
    free(data);
    EXPECT(down(t, &f) == 0);
    return 0;
}

static int a_message_cut_at_every_byte(struct transport_check *t) {
    struct fixture f;
    unsigned char message[MESSAGE];

    EXPECT(up(t, &f, 1) == 0);
    for (size_t cut = 0; cut <= MESSAGE; cut++) {
        check_fill(message, sizeof(message), (unsigned)cut);
        f.b.len = 0;
        f.b.chunk = cut % 3 == 0 ? 1 : cut;
        EXPECT(check_send(&f.a, message, cut) == 0);
        if (cut % 2)
            EXPECT(check_received(&f.b, cut) == 0);
        EXPECT(check_send(&f.a, message + cut, MESSAGE - cut) == 0);
        EXPECT(check_received(&f.b, MESSAGE) == 0);
        EXPECT(f.b.len == MESSAGE && memcmp(f.b.data, message, MESSAGE) == 0);
    }
    EXPECT(down(t, &f) == 0);
    return 0;
}

static int vectors_of_many_parts(struct transport_check *t) {
    enum { PARTS = 2500 };
    struct fixture f;
    unsigned char data[2 * PARTS];
    struct iovec iov[PARTS];
    size_t len = 0, sent = 0;

    check_fill(data, sizeof(data), 3);
    for (size_t i = 0; i < PARTS; i++) {
        iov[i] = (struct iovec){.iov_base = data + len, .iov_len = i % 3 == 0 ? 0 : i % 3};
        len += iov[i].iov_len;
    }
    EXPECT(up(t, &f, 1) == 0);
    EXPECT(t->ops->write(f.a.conn, iov, 1) == 0); /* nothing offered */
    for (size_t at = 0; sent < len;) {
        int64_t n = t->ops->write(f.a.conn, iov + at, (int)(PARTS - at));
        EXPECT(n > 0 || n == RS_EAGAIN);
        if (n > 0) {
            sent += (size_t)n;
            for (; n > 0 && (size_t)n >= iov[at].iov_len; at++)
                n -= (int64_t)iov[at].iov_len;
            if (n > 0) {
                iov[at].iov_base = (unsigned char *)iov[at].iov_base + n;
                iov[at].iov_len -= (size_t)n;
            }
        }
        (void)transport_turn(&t->host, 1);
    }
    EXPECT(check_received(&f.b, len) == 0);
    EXPECT(f.b.len == len && memcmp(f.b.data, data, len) == 0);
    EXPECT(down(t, &f) == 0);
    return 0;
}

/* Write until the medium is full: at most LIMIT bytes of data, in order. Returns how many were taken. */
static size_t stuff(struct end *e, const unsigned char *data, size_t len, int *full) {
    size_t sent = 0;

    *full = 0;
    while (sent < len && !*full) {
        size_t piece = len - sent < 30011 ? len - sent : 30011;
        int64_t n = check_write(e, data + sent, piece);
        if (n > 0)
            sent += (size_t)n;
        *full = n < (int64_t)piece;
    }
    return sent;
}

static int a_full_medium_takes_a_part_and_calls_back(struct transport_check *t) {
    enum { MUCH = 64 << 20 };
    struct fixture f;
    unsigned char *data = malloc(MUCH);
    size_t sent = 0;
    unsigned wakes;
    int full;

    EXPECT(data);
    check_fill(data, MUCH, 5);
    EXPECT(up(t, &f, 0) == 0);      /* nobody reads */
    for (int i = 0; i < 200; i++) { /* what is under way settles only after a while */
        int64_t n;
        f.a.writable = 0;
        sent += stuff(&f.a, data + sent, MUCH - sent, &full);
        transport_settle(&t->host);
        transport_settle(&t->host);
        if (f.a.writable)
            continue;
        n = check_write(&f.a, data + sent, 1);
        EXPECT(n == 1 || n == RS_EAGAIN);
        if (n == RS_EAGAIN)
            break;
        sent++;
    }
    EXPECT(full && sent > 0 && sent < MUCH && f.a.writable == 0);
    EXPECT(f.b.readable == 1); /* once, however much waits */
    wakes = t->host.events;
    transport_settle(&t->host);
    transport_settle(&t->host);
    EXPECT(f.a.writable == 0 && f.b.readable == 1);
    EXPECT(t->host.events <= wakes + 2); /* and no spinning */
    f.b.pull = 1;
    check_pull(&f.b);
    EXPECT(transport_run(&t->host, &f.a.writable, 1) == 0);
    EXPECT(check_send(&f.a, data + sent, 100000) == 0);
    sent += 100000;
    EXPECT(check_received(&f.b, sent) == 0);
    EXPECT(f.b.len == sent && memcmp(f.b.data, data, sent) == 0);
    free(data);
    EXPECT(down(t, &f) == 0);
    return 0;
}

static int a_slow_reader_is_called_once_and_loses_nothing(struct transport_check *t) {
    struct fixture f;
    unsigned char data[50000], got[sizeof(data)];
    size_t len = 0;
    unsigned wakes;

    check_fill(data, sizeof(data), 9);
    EXPECT(up(t, &f, 0) == 0);
    EXPECT(check_send(&f.a, data, 20000) == 0);
    EXPECT(transport_run(&t->host, &f.b.readable, 1) == 0);
    EXPECT(check_read(&f.b, got, 10) == 10); /* and stops */
    len = 10;
    EXPECT(check_send(&f.a, data + 20000, 30000) == 0);
    transport_settle(&t->host);
    wakes = t->host.events;
    transport_settle(&t->host);
    EXPECT(f.b.readable == 1);
    EXPECT(t->host.events <= wakes + 1);
    while (len < sizeof(data)) { /* goes on by itself */
        int64_t n = check_read(&f.b, got + len, 777 < sizeof(data) - len ? 777 : sizeof(data) - len);
        EXPECT(n > 0 || n == RS_EAGAIN);
        if (n == RS_EAGAIN)
            EXPECT(transport_run(&t->host, &f.b.readable, f.b.readable + 1) == 0);
        else
            len += (size_t)n;
    }
    EXPECT(memcmp(got, data, sizeof(data)) == 0);
    EXPECT(check_read(&f.b, got, 1) == RS_EAGAIN);
    EXPECT(check_send(&f.a, "x", 1) == 0);
    EXPECT(transport_run(&t->host, &f.b.readable, f.b.readable + 1) == 0);
    EXPECT(check_read(&f.b, got, 1) == 1 && got[0] == 'x');
    EXPECT(down(t, &f) == 0);
    return 0;
}

static int half_close_leaves_the_other_direction(struct transport_check *t) {
    struct fixture f;
    unsigned char *data = malloc(BULK), byte;

    EXPECT(data);
    check_fill(data, BULK, 11);
    EXPECT(up(t, &f, 1) == 0);
    EXPECT(check_send(&f.a, data, 1000) == 0);
    EXPECT(check_shutdown(&f.a) == RS_OK);
    EXPECT(check_shutdown(&f.a) == RS_OK);
    EXPECT(transport_run(&t->host, &f.b.eof, 1) == 0);
    EXPECT(f.b.len == 1000);
    EXPECT(check_read(&f.b, &byte, 1) == 0 && check_read(&f.b, &byte, 1) == 0); /* for ever */
    EXPECT(check_send(&f.b, data, BULK) == 0);
    EXPECT(check_received(&f.a, BULK) == 0);
    EXPECT(f.a.len == BULK && memcmp(f.a.data, data, BULK) == 0 && f.a.eof == 0);
    EXPECT(check_shutdown(&f.b) == RS_OK);
    EXPECT(transport_run(&t->host, &f.a.eof, 1) == 0);
    free(data);
    EXPECT(down(t, &f) == 0);
    EXPECT(f.a.status == RS_OK && f.b.status == RS_OK);
    return 0;
}

static int writing_after_shutdown_fails(struct transport_check *t) {
    struct fixture f;
    int64_t n;

    EXPECT(up(t, &f, 1) == 0);
    EXPECT(check_shutdown(&f.a) == RS_OK);
    n = check_write(&f.a, "x", 1);
    EXPECT(n < 0 && n != RS_EAGAIN);
    EXPECT(down(t, &f) == 0);
    return 0;
}

static int closing_sends_what_was_taken(struct transport_check *t) {
    struct fixture f;
    unsigned char *data = malloc(BULK * 4);
    size_t sent;
    int full;

    EXPECT(data);
    check_fill(data, BULK * 4, 13);
    EXPECT(up(t, &f, 0) == 0);
    sent = stuff(&f.a, data, BULK * 4, &full);
    check_end(&f.a, 0);
    check_end(&f.a, 0);
    transport_settle(&t->host);
    f.b.pull = 1;
    check_pull(&f.b);
    EXPECT(transport_run(&t->host, &f.b.eof, 1) == 0);
    EXPECT(f.b.len == sent && memcmp(f.b.data, data, sent) == 0);
    free(data);
    EXPECT(down(t, &f) == 0);
    EXPECT(f.a.status == RS_OK);
    return 0;
}

static int an_abort_reaches_the_peer(struct transport_check *t) {
    struct fixture f;

    EXPECT(up(t, &f, 1) == 0);
    EXPECT(check_send(&f.a, "hello", 5) == 0);
    EXPECT(check_received(&f.b, 5) == 0);
    check_end(&f.a, 1);
    for (int i = 0; i < 1000 && !f.b.eof && !f.b.failed; i++)
        (void)transport_turn(&t->host, 1);
    EXPECT(f.b.eof || f.b.failed);
    EXPECT(transport_run(&t->host, &f.a.closed, 1) == 0);
    EXPECT(f.a.status == RS_OK);
    EXPECT(down(t, &f) == 0);
    return 0;
}

static int ops_after_close_are_refused(struct transport_check *t) {
    struct fixture f;
    unsigned char byte;

    EXPECT(up(t, &f, 1) == 0);
    check_end(&f.a, 0);
    EXPECT(check_read(&f.a, &byte, 1) < 0 && check_write(&f.a, "x", 1) < 0 && check_shutdown(&f.a) < 0);
    EXPECT(f.a.closed == 0); /* posted, not inline */
    EXPECT(down(t, &f) == 0);
    return 0;
}

static void count(void *arg, const char *name, uint64_t value) {
    uint64_t *sum = arg;

    if (strcmp(name, "bytes_read") == 0)
        sum[0] = value;
    if (strcmp(name, "bytes_written") == 0)
        sum[1] = value;
}

static int stats_count_bytes(struct transport_check *t) {
    struct fixture f;
    uint64_t a[2] = {0, 0}, b[2] = {0, 0};

    EXPECT(up(t, &f, 1) == 0);
    EXPECT(check_send(&f.a, "hello", 5) == 0);
    EXPECT(check_received(&f.b, 5) == 0);
    EXPECT(t->ops->stats(f.a.conn, count, a) == RS_OK && t->ops->stats(f.b.conn, count, b) == RS_OK);
    EXPECT(a[0] == 0 && a[1] == 5 && b[0] == 5 && b[1] == 0);
    EXPECT(down(t, &f) == 0);
    return 0;
}

static int many_connections_at_once(struct transport_check *t) {
    enum { MANY = 60 };
    struct server s = {.next = 0};
    static struct end a[MANY], b[MANY];
    unsigned char who;

    memset(a, 0, sizeof(a));
    memset(b, 0, sizeof(b));
    EXPECT(check_listen(t, &s, NULL) == 0);
    for (unsigned i = 0; i < MANY; i++) {
        s.ends[i] = &b[i];
        b[i].pull = a[i].pull = 1;
        EXPECT(check_connect(t, &a[i], s.uri, NULL) == 0);
    }
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT(transport_run(&t->host, &a[i].ready, 1) == 0 && transport_run(&t->host, &b[i].ready, 1) == 0);
        who = (unsigned char)i;
        EXPECT(check_send(&b[i], &who, 1) == 0);
    }
    for (unsigned i = 0; i < MANY; i++)
        EXPECT(check_received(&a[i], 1) == 0);
    for (unsigned i = 0; i < MANY; i++)
        check_unpair(&a[i], &b[i]);
    t->ops->listener_close(s.listener);
    transport_settle(&t->host);
    return 0;
}

int suite_stream(struct check *c) {
    static const struct transport_test tests[] = {
        {"both ends are ready and named", peers_are_named},
        {"megabytes in both directions at once", bulk_in_both_directions},
        {"a message cut at every byte", a_message_cut_at_every_byte},
        {"vectors of many parts", vectors_of_many_parts},
        {"a full medium takes a part and calls back", a_full_medium_takes_a_part_and_calls_back},
        {"a slow reader is called once and loses nothing", a_slow_reader_is_called_once_and_loses_nothing},
        {"half-close leaves the other direction", half_close_leaves_the_other_direction},
        {"writing after shutdown fails", writing_after_shutdown_fails},
        {"closing sends what was taken", closing_sends_what_was_taken},
        {"an abort reaches the peer", an_abort_reaches_the_peer},
        {"ops after close are refused", ops_after_close_are_refused},
        {"stats count bytes", stats_count_bytes},
        {"many connections at once", many_connections_at_once},
    };

    check_tests(c, tests, sizeof(tests) / sizeof(tests[0]));
    return 0;
}
