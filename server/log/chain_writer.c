/* SPDX-License-Identifier: Apache-2.0 */
#include "log/chain_writer.h"

#define BATCH_MAX 1024u

/* A write outlives the writer: the answer finds out by @w being NULL. */
struct chain_cas {
    struct chain_writer *w;
};

static void flush(void *arg);

static void answer(struct chain_writer *w, struct list *ops, int status, const struct err *err) {
    while (!list_empty(ops)) {
        struct chain_op *op = LIST_ENTRY(list_pop_front(ops), struct chain_op, link);
        int r = status < 0 ? status : MIN(op->status, 0);

        op->done(op, r, r == 0 ? NULL : status < 0 ? err : &op->err);
    }
}

static void requeue(struct chain_writer *w) {
    struct list all = LIST_INIT(all);

    list_splice(&all, &w->writing);
    list_splice(&all, &w->queue);
    list_splice(&w->queue, &all);
}

static void cas_done(void *arg, int status, uint32_t version, const struct err *err) {
    const struct chain_cas *c = arg;
    struct chain_writer *w = c->w;

    if (!w)
        return;
    w->cas = NULL;
    w->cas_running = false;
    w->next = logs_config_free(w->next);
    if (status == RS_EEXIST || status == RS_ETIMEDOUT) {
        requeue(w);
        w->wait_newer = w->current && w->current->version < version;
    } else {
        struct list ops = LIST_INIT(ops);

        list_splice(&ops, &w->writing);
        answer(w, &ops, status, err);
    }
    if (!list_empty(&w->queue))
        loop_hook_arm(w->loop, &w->flush);
}

/* Returns whether anything changed. */
static bool apply_queue(struct chain_writer *w) {
    bool changed = false;
    size_t n = 0;

    w->next = logs_config_copy(w->current);
    while (!list_empty(&w->queue) && n++ < BATCH_MAX) {
        struct chain_op *op = LIST_ENTRY(list_pop_front(&w->queue), struct chain_op, link);

        op->err = (struct err){0};
        op->status = chain_apply(w->next, op, &op->err);
        changed = changed || op->status > 0;
        list_push_back(&w->writing, &op->link);
    }
    return changed;
}

static void flush(void *arg) {
    struct chain_writer *w = arg;
    struct list ops = LIST_INIT(ops);

    if (w->cas_running || w->wait_newer || !w->current || list_empty(&w->queue))
        return;
    if (!apply_queue(w)) {
        w->next = logs_config_free(w->next);
        list_splice(&ops, &w->writing);
        answer(w, &ops, 0, NULL);
        return;
    }
    w->next->version = w->current->version + 1;
    buf_clear(&w->next_text);
    logs_config_encode(w->next, &w->next_text);
    w->cas = xnew(struct chain_cas);
    w->cas->w = w;
    w->cas_running = true;
    meta_cas_take(w->meta, META_KEY_LOGS, w->current->version, buf_slice(&w->next_text), 0, cas_done, w->cas);
}

static void value_changed(void *arg, const char *key, uint32_t version, struct bytes *value) {
    struct chain_writer *w = arg;
    struct logs_config *c = NULL, *old;

    if (strcmp(key, META_KEY_LOGS) != 0)
        return;
    if (w->next && w->next->version == version && slice_eq(bytes_slice(value), buf_slice(&w->next_text)))
        c = TAKE(w->next); /* my own write: no need to parse it */
    else if (logs_config_parse(bytes_slice(value), &c, NULL) < 0)
        return; /* of a newer server perhaps; what is known stays in force */
    c->version = version;
    old = w->current;
    w->current = c;
    w->wait_newer = false;
    w->changed(w->arg);
    (void)logs_config_free(old);
    if (!list_empty(&w->queue))
        loop_hook_arm(w->loop, &w->flush);
}

void chain_writer_init(struct chain_writer *w, struct loop *loop, struct meta *meta, void (*changed)(void *arg),
                       void *arg) {
    struct bytes *value;

    *w = (struct chain_writer){.loop = loop, .meta = meta, .changed = changed, .arg = arg};
    list_init(&w->queue);
    list_init(&w->writing);
    loop_hook_init(&w->flush, flush, w);
    w->watch = (struct meta_watch){.changed = value_changed, .arg = w};
    if (meta_get(meta, META_KEY_LOGS, NULL, &value) == 0 &&
        logs_config_parse(bytes_slice(value), &w->current, NULL) < 0)
        w->current = NULL; /* the caller finds out why */
    meta_watch(meta, &w->watch, META_KEY_LOGS);
}

void chain_writer_done(struct chain_writer *w) {
    meta_unwatch(&w->watch);
    loop_hook_disarm(&w->flush);
    if (w->cas)
        w->cas->w = NULL;
    w->next = logs_config_free(w->next);
    w->current = logs_config_free(w->current);
    buf_done(&w->next_text);
}

void chain_writer_submit(struct chain_writer *w, struct chain_op *op) {
    ASSERT(op->done);
    list_push_back(&w->queue, &op->link);
    loop_hook_arm(w->loop, &w->flush);
}

void chain_writer_cancel(struct chain_writer *w, struct chain_op *op) {
    list_remove(&op->link);
}
