/* SPDX-License-Identifier: Apache-2.0 */
/* worker/snapshot_serve.c : snapshots for other nodes. The first request of a token makes the stream, in a nameless
 * file; the others get its pieces. */
#include "snapshot/object_store.h"
#include "worker/peer_internal.h"
#include "worker/snapshots.h"

#include <unistd.h>

#define IDLE_NS 30000000000ull

struct serving {
    struct list link; /* of worker.snapshots.serving */
    struct job job;
    struct worker *w;
    struct node_id to;
    uint64_t token;
    struct store_view *view; /* of the first request */
    struct store_table *table;
    struct snapshot_info info;
    int fd;
    bool working, ended;
    struct timer idle;
    struct fabric_request *req;
    uint64_t offset;
    struct bytes *piece;
    int status;
};

static void serving_free(struct serving *s) {
    struct worker *w = s->w;

    timer_stop(w->params.loop, &s->idle);
    list_remove(&s->link);
    w->snapshots.n_serving--;
    if (s->fd >= 0)
        (void)close(s->fd);
    (void)bytes_unref(s->piece);
    free(s);
    snapshots_done_one(w);
}

static void on_idle(void *arg) {
    serving_free(arg);
}

static void refuse(struct worker *w, struct fabric_request *take, uint32_t code) {
    _cleanup_buf_ struct buf head = {0};

    pp_piece_encode(&(struct pp_piece){.code = code}, &head);
    fabric_reply(w->params.fabric, take, buf_slice(&head), NULL, 0);
}

static int read_piece(struct serving *s) {
    size_t len = (size_t)MIN(s->info.size - s->offset, (uint64_t)SNAPSHOT_PIECE);
    size_t at = 0;

    s->piece = bytes_new(len);
    while (at < len) {
        ssize_t n = pread(s->fd, s->piece->data + at, len - at, (off_t)(s->offset + at));

        if (n <= 0)
            return RS_EIO;
        at += (size_t)n;
    }
    return 0;
}

static void run(struct job *j) {
    struct serving *s = CONTAINER_OF(j, struct serving, job);

    s->status = 0;
    if (s->view) {
        s->status = nameless_file(s->w->params.snapshots.tmp_dir, &s->fd, NULL);
        if (s->status == 0)
            s->status = snapshot_export(s->w, s->view, s->table, s->info.partition, s->fd, &s->info, NULL);
        s->view = store_view_free(s->view);
    }
    if (s->status == 0)
        s->status = read_piece(s);
}

static void answer(struct serving *s) {
    _cleanup_buf_ struct buf head = {0};
    struct pp_piece m = {.token = s->token, .offset = s->offset};

    m.last = s->offset + s->piece->len == s->info.size;
    pp_piece_encode(&m, &head);
    peer_put_last(&head, 5, s->piece->len);
    fabric_reply(s->w->params.fabric, TAKE(s->req), buf_slice(&head), &s->piece, s->piece->len ? 1 : 0);
    s->ended = s->ended || m.last;
    s->piece = bytes_unref(s->piece);
}

static void ran(struct job *j) {
    struct serving *s = CONTAINER_OF(j, struct serving, job);

    s->working = false;
    if (!s->req)
        s->ended = true;
    else if (s->status < 0)
        refuse(s->w, TAKE(s->req), PEER_NOT_FOUND);
    else
        answer(s);
    if (s->ended || s->status < 0)
        serving_free(s);
    else
        timer_set(s->w->params.loop, &s->idle, IDLE_NS);
}

static void submit(struct serving *s) {
    s->working = true;
    s->job = (struct job){.run = run, .done = ran};
    exec_submit(s->w->params.snapshots.exec, s->w->params.loop, &s->job);
}

static void on_view(void *arg, int status, struct store_view *take_view, const struct err *err) {
    struct serving *s = arg;

    s->view = take_view;
    if (status == 0 && s->req) {
        submit(s);
        return;
    }
    s->view = store_view_free(s->view);
    if (s->req)
        refuse(s->w, TAKE(s->req), PEER_NOT_FOUND);
    serving_free(s);
}

static bool may_serve(const struct partition *p, lsn_t min_lsn) {
    return p && (p->role == PARTITION_LEADER || p->role == PARTITION_FOLLOWER || p->role == PARTITION_CANDIDATE) &&
           sm_applied(p->sm) >= MAX(min_lsn, LSN_OLDEST);
}

static void first(struct worker *w, const struct pp_fetch *m, struct fabric_request *take) {
    struct partition *p = w->routes[m->partition].p;
    struct serving *s;

    if (!w->params.snapshots.exec || !may_serve(p, m->min_lsn)) {
        refuse(w, take, PEER_NOT_FOUND);
        return;
    }
    if (w->snapshots.n_serving >= SNAPSHOTS_AT_ONCE) {
        fabric_reply_status(w->params.fabric, take, RPC_LOAD_SHEDDING);
        return;
    }
    s = xnew(struct serving);
    *s = (struct serving){.w = w, .to = take->from, .table = p->table, .fd = -1, .working = true, .req = take};
    s->info.partition = m->partition;
    s->token = loop_random_u64(w->params.loop) | 1;
    timer_init(&s->idle, on_idle, s);
    list_push_back(&w->snapshots.serving, &s->link);
    w->snapshots.n_serving++;
    w->snapshots.busy++;
    store_barrier(p->store, on_view, s);
}

static struct serving *find(struct worker *w, struct node_id to, uint64_t token) {
    LIST_FOREACH (l, &w->snapshots.serving) {
        struct serving *s = LIST_ENTRY(l, struct serving, link);

        if (s->token == token && node_id_eq(s->to, to) && !s->working)
            return s;
    }
    return NULL;
}

static void next(struct worker *w, const struct pp_fetch *m, struct fabric_request *take) {
    struct serving *s = find(w, take->from, m->token);

    if (!s || m->offset >= s->info.size) {
        refuse(w, take, PEER_BEGIN_AGAIN);
        return;
    }
    timer_stop(w->params.loop, &s->idle);
    s->req = take;
    s->offset = m->offset;
    submit(s);
}

void snapshot_serve(struct worker *w, struct fabric_request *take) {
    struct arena a = {0};
    struct pp_fetch m;

    if (pp_fetch_decode(&m, take->payload, &a, NULL) < 0 || m.partition >= w->n || !take->from.id)
        fabric_reply_status(w->params.fabric, take, RPC_MESSAGE_UNRECOGNIZED);
    else if (m.token)
        next(w, &m, take);
    else
        first(w, &m, take);
    arena_done(&a);
}

void snapshot_serve_stop(struct worker *w) {
    LIST_FOREACH_SAFE (l, &w->snapshots.serving) {
        struct serving *s = LIST_ENTRY(l, struct serving, link);

        if (s->req)
            fabric_reply_status(w->params.fabric, TAKE(s->req), RPC_SERVICE_STOPPED);
        if (!s->working)
            serving_free(s);
    }
}
