/* SPDX-License-Identifier: Apache-2.0 */
/* query/remote.c : a query's requests to other nodes. The query's thread waits while the loop makes the call. Single
 * rows that are read one after the other in key order, as the columns of invocations are, come from a piece that was
 * fetched ahead. */
#include "query/remote.h"
#include "loop/ask.h"
#include "proto/scan.gen.h"
#include "worker/partition.h"

#include <string.h>

struct ahead { /* rows of one table of one partition, fetched ahead of single reads */
    uint32_t partition;
    uint8_t table; /* first byte of the keys; 0: empty */
    size_t want;   /* rows to fetch next time */
    struct buf bytes, lower;
    struct ahead_row {
        size_t at, key_len, value_len;
    } rows[256];
    size_t n, next;
    bool whole; /* nothing follows in the table */
};

struct attempts_call {
    struct fabric_call call;
    struct remote *r;
};

struct remote {
    struct loop *loop;
    struct fabric *fabric;
    uint8_t id[REMOTE_QUERY_BYTES];
    struct node_id *leaders; /* by partition; id 0: read here */
    size_t n;
    struct node_id *nodes; /* the different ones among them */
    size_t n_nodes;
    struct ahead ahead[3];
    unsigned next_ahead;
    /* on the loop */
    bool canceled;
    struct ask *asking;
    struct attempts_call *attempts;
    size_t waiting;
    remote_attempt_fn each;
    void (*attempts_done)(void *arg);
    void *attempts_arg;
};

struct remote *remote_new(struct loop *l, struct fabric *f, struct worker *w) {
    struct remote *r = xnew(struct remote);
    struct node_id self = f ? fabric_self(f) : (struct node_id){0};

    r->loop = l;
    r->fabric = f;
    r->n = worker_partitions(w);
    r->leaders = xnewn(struct node_id, r->n + 1);
    r->nodes = xnewn(struct node_id, r->n + 1);
    loop_random(l, r->id, sizeof r->id);
    for (size_t i = 0; f && i < r->n; i++) {
        struct partition_info info;
        size_t k = 0;

        worker_partition_info(w, i, &info);
        if (info.role == PARTITION_LEADER || !info.leader.id || info.leader.id == self.id)
            continue;
        r->leaders[i] = info.leader;
        while (k < r->n_nodes && !node_id_eq(r->nodes[k], info.leader))
            k++;
        if (k == r->n_nodes)
            r->nodes[r->n_nodes++] = info.leader;
    }
    return r->n_nodes ? r : remote_free(r);
}

static void drop_attempts(struct remote *r) {
    for (size_t i = 0; r->attempts && i < r->n_nodes; i++)
        fabric_call_drop(r->fabric, &r->attempts[i].call);
    free(TAKE(r->attempts));
}

struct remote *remote_free(struct remote *r) {
    struct qs_end m;
    struct buf b = {0};

    if (!r)
        return NULL;
    drop_attempts(r);
    m = (struct qs_end){.query = slice_of(r->id, sizeof r->id)};
    qs_end_encode(&m, &b);
    for (size_t i = 0; i < r->n_nodes; i++) {
        const struct fabric_message msg = {.service = SERVICE_REMOTE_SCAN, .type = REMOTE_END, .head = buf_slice(&b)};

        fabric_send(r->fabric, &(struct fabric_dest){.node = r->nodes[i]}, LANE_SQL, &msg);
    }
    buf_done(&b);
    for (size_t i = 0; i < ARRAY_SIZE(r->ahead); i++) {
        buf_done(&r->ahead[i].bytes);
        buf_done(&r->ahead[i].lower);
    }
    free(r->leaders);
    free(r->nodes);
    free(r);
    return NULL;
}

bool remote_has(const struct remote *r, uint32_t partition) {
    return r && partition < r->n && r->leaders[partition].id;
}

void remote_forget(struct remote *r, uint32_t partition) {
    r->leaders[partition] = (struct node_id){0};
}

/* ---- one request, from the query's thread ---- */

struct ask {
    struct loop_ask ask;
    struct fabric_call call;
    struct remote *r;
    uint32_t partition;
    struct buf request;
    struct bytes *frame; /* of the answer */
    struct slice reply;
    int status;
    struct err err;
};

static void answer(struct ask *a) {
    a->r->asking = NULL;
    loop_ask_answer(&a->ask);
}

static void on_answer(struct fabric_call *c, enum rpc_status s, struct node_id from, struct slice reply,
                      struct bytes *frame, const struct err *why) {
    struct ask *a = CONTAINER_OF(c, struct ask, call);
    struct node_id to = a->r->leaders[a->partition];

    if (s == RPC_OK) {
        a->frame = bytes_ref(frame);
        a->reply = reply;
    } else {
        a->status = err_set(&a->err, RS_EAGAIN, "partition %u cannot be read on node " NODE_ID_FMT ": %s", a->partition,
                            NODE_ID_ARG(to), why ? why->msg : rpc_status_str(s));
    }
    answer(a);
}

static void make_call(void *arg) {
    struct ask *a = arg;
    const struct fabric_dest to = {.node = a->r->leaders[a->partition]};
    const struct fabric_message m = {
        .service = SERVICE_REMOTE_SCAN, .type = REMOTE_SCAN, .head = buf_slice(&a->request)};

    if (a->r->canceled) {
        a->status = err_set(&a->err, RS_ECANCELED, "canceled");
        answer(a);
        return;
    }
    a->r->asking = a;
    a->call = (struct fabric_call){.done = on_answer};
    fabric_call(a->r->fabric, &a->call, &to, LANE_SQL, &m, loop_now_ns(a->r->loop) + REMOTE_CALL_NS);
}

void remote_cancel(struct remote *r) {
    struct ask *a;

    if (!r)
        return;
    r->canceled = true;
    a = r->asking;
    if (a) {
        fabric_call_drop(r->fabric, &a->call);
        a->status = err_set(&a->err, RS_ECANCELED, "canceled");
        answer(a);
    }
    if (r->attempts) {
        drop_attempts(r);
        r->attempts_done(r->attempts_arg);
    }
}

/* *ret_frame holds what @ret points into; the caller drops it. */
static int fetch(struct remote *r, uint32_t partition, struct slice lower, struct slice upper, size_t max_rows,
                 struct arena *arena, struct qs_rows *ret, struct bytes **ret_frame, struct err *err) {
    const struct qs_scan m = {.query = slice_of(r->id, sizeof r->id),
                              .partition = partition,
                              .lower = lower,
                              .upper = upper,
                              .max_rows = (uint32_t)max_rows};
    struct ask a = {.r = r, .partition = partition};
    int rc;

    qs_scan_encode(&m, &a.request);
    loop_ask(r->loop, &a.ask, make_call, &a);
    buf_done(&a.request);
    rc = a.status;
    if (rc == 0)
        rc = qs_rows_decode(ret, a.reply, arena, &a.err);
    if (rc == 0 && ret->code)
        rc = err_set(&a.err, -(int)MIN(ret->code, 100u), SLICE_FMT, SLICE_ARG(ret->message));
    if (rc < 0) {
        (void)bytes_unref(a.frame);
        if (err)
            *err = a.err;
        return rc;
    }
    *ret_frame = a.frame;
    return 0;
}

int remote_scan(struct remote *r, uint32_t partition, struct slice lower, struct slice upper, size_t max_rows,
                sm_each_fn each, void *arg, struct err *err) {
    struct buf next = {0};
    int rc = 0;
    bool more = true;

    while (rc == 0 && more) {
        struct arena a = {0};
        struct bytes *frame = NULL;
        struct qs_rows m = {0};

        rc = fetch(r, partition, next.len ? buf_slice(&next) : lower, upper, max_rows, &a, &m, &frame, err);
        for (size_t i = 0; rc == 0 && i < m.n_rows; i++)
            rc = each(arg, m.rows[i].key, m.rows[i].value);
        more = m.more && m.n_rows;
        if (rc == 0 && more) {
            buf_clear(&next);
            buf_put_slice(&next, m.rows[m.n_rows - 1].key);
            buf_put_u8(&next, 0);
        }
        (void)bytes_unref(frame);
        arena_done(&a);
    }
    buf_done(&next);
    return rc;
}

/* ---- single rows ---- */

static struct slice ahead_key(const struct ahead *h, size_t i) {
    return slice_of(h->bytes.data + h->rows[i].at, h->rows[i].key_len);
}

static struct ahead *find_ahead(struct remote *r, uint32_t partition, uint8_t table) {
    struct ahead *h;

    for (size_t i = 0; i < ARRAY_SIZE(r->ahead); i++)
        if (r->ahead[i].table == table && r->ahead[i].partition == partition)
            return &r->ahead[i];
    for (size_t i = 0; i < ARRAY_SIZE(r->ahead); i++) /* the same table of another partition: it is scanned through */
        if (r->ahead[i].table == table) {
            h = &r->ahead[i];
            h->n = 0;
            h->whole = false;
            h->partition = partition;
            buf_clear(&h->lower);
            return h;
        }
    h = &r->ahead[r->next_ahead++ % ARRAY_SIZE(r->ahead)];
    h->partition = partition;
    h->table = table;
    h->want = 1;
    h->n = 0;
    h->whole = false;
    buf_clear(&h->lower);
    return h;
}

static bool covers(const struct ahead *h, struct slice key) {
    return h->lower.len && slice_cmp(key, buf_slice(&h->lower)) >= 0 &&
           (h->whole || (h->n && slice_cmp(key, ahead_key(h, h->n - 1)) <= 0));
}

static int keep_row(void *arg, struct slice key, struct slice value) {
    struct ahead *h = arg;

    if (h->n == MIN(h->want, ARRAY_SIZE(h->rows)) || (h->n && h->bytes.len >= REMOTE_MAX_BYTES)) {
        h->whole = false;
        return 1;
    }
    h->rows[h->n++] = (struct ahead_row){h->bytes.len, key.len, value.len};
    buf_put_slice(&h->bytes, key);
    buf_put_slice(&h->bytes, value);
    return 0;
}

int remote_get(struct remote *r, uint32_t partition, struct slice key, struct buf *ret, struct err *err) {
    struct ahead *h = find_ahead(r, partition, key.data[0]);
    uint8_t upper = (uint8_t)(key.data[0] + 1);

    if (!covers(h, key)) {
        int rc;

        h->n = h->next = 0;
        h->whole = true;
        buf_clear(&h->bytes);
        buf_clear(&h->lower);
        buf_put_slice(&h->lower, key);
        rc = remote_scan(r, partition, key, slice_of(&upper, 1), h->want + 1, keep_row, h, err);
        if (rc < 0) {
            buf_clear(&h->lower);
            return rc;
        }
        h->want = MIN(h->want * 8, ARRAY_SIZE(h->rows));
    }
    if (h->next >= h->n || slice_cmp(ahead_key(h, h->next), key) > 0)
        h->next = 0;
    for (; h->next < h->n; h->next++) {
        int c = slice_cmp(ahead_key(h, h->next), key);

        if (c > 0)
            break;
        if (c == 0) {
            const struct ahead_row *row = &h->rows[h->next];

            buf_clear(ret);
            buf_put(ret, h->bytes.data + row->at + row->key_len, row->value_len);
            return 0;
        }
    }
    return RS_ENOENT;
}

/* ---- attempts ---- */

static void give_attempts(struct remote *r, struct slice reply) {
    struct arena a = {0};
    struct qs_attempts m;

    if (qs_attempts_decode(&m, reply, &a, NULL) == 0)
        for (size_t i = 0; i < m.n_attempts; i++) {
            const struct qs_attempt *q = &m.attempts[i];
            struct query_attempt t = {.in_flight = q->in_flight,
                                      .retry_count = q->retry_count,
                                      .last_start_ms = q->last_start_ms,
                                      .next_retry_ms = q->next_retry_ms,
                                      .deployment = q->deployment};

            if (invocation_id_from_raw(q->id, &t.id, NULL) < 0)
                continue;
            t.has_failure = q->failure.len && cmd_event_decode(&t.failure, q->failure, &a, NULL) == 0;
            r->each(r->attempts_arg, &t);
        }
    arena_done(&a);
}

static void on_attempts(struct fabric_call *c, enum rpc_status s, struct node_id from, struct slice reply,
                        struct bytes *frame, const struct err *why) {
    struct remote *r = CONTAINER_OF(c, struct attempts_call, call)->r;

    if (s == RPC_OK)
        give_attempts(r, reply);
    if (--r->waiting == 0) {
        free(TAKE(r->attempts));
        r->attempts_done(r->attempts_arg);
    }
}

void remote_attempts(struct remote *r, remote_attempt_fn each, void (*done)(void *arg), void *arg) {
    const struct fabric_message m = {.service = SERVICE_REMOTE_SCAN, .type = REMOTE_ATTEMPTS};

    r->each = each;
    r->attempts_done = done;
    r->attempts_arg = arg;
    r->waiting = r->n_nodes;
    r->attempts = xnewn(struct attempts_call, r->n_nodes);
    for (size_t i = 0; i < r->n_nodes; i++) {
        r->attempts[i] = (struct attempts_call){.call = {.done = on_attempts}, .r = r};
        fabric_call(r->fabric, &r->attempts[i].call, &(struct fabric_dest){.node = r->nodes[i]}, LANE_SQL, &m,
                    loop_now_ns(r->loop) + REMOTE_CALL_NS);
    }
}
