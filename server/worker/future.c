/* SPDX-License-Identifier: Apache-2.0 */
/* worker/future.c : post-order walk with an explicit stack; the pruned tree is built on the way up. */
#include "worker/future.h"

struct frame {
    struct frame *parent;
    const struct cmd_future *f;
    size_t at; /* next child of f->nested */
    /* what is left of f */
    uint32_t *completions, *signals;
    struct slice *names;
    struct cmd_future *nested;
    size_t n_completions, n_signals, n_names, n_nested;
    bool complete, resume;
    enum future_result result; /* when complete */
};

struct eval {
    future_lookup_fn lookup;
    void *arg;
    struct arena *a;
    size_t leaves;
};

static enum future_result leaf_result(enum notification_variant v) {
    switch (v) {
    case VARIANT_VOID:
    case VARIANT_VALUE:
    case VARIANT_INVOCATION_ID:
    case VARIANT_STATE_KEYS:
        return FUTURE_SUCCESS;
    case VARIANT_FAILURE:
        return FUTURE_FAILURE;
    case VARIANT_UNKNOWN:
        break;
    }
    return FUTURE_EITHER;
}

static void finish(struct frame *fr, enum future_result r) {
    fr->complete = true;
    fr->result = r;
}

/* A child has @r (not pending). It is dropped from what is left, or it decides the frame. */
static void child_done(struct frame *fr, enum future_result r) {
    switch (fr->f->combinator) {
    case FUTURE_FIRST_COMPLETED:
        finish(fr, r);
        break;
    case FUTURE_ALL_COMPLETED:
        break;
    case FUTURE_FIRST_SUCCEEDED_OR_ALL_FAILED:
        if (r == FUTURE_SUCCESS)
            finish(fr, r);
        else if (r == FUTURE_EITHER)
            fr->resume = true;
        break;
    case FUTURE_ALL_SUCCEEDED_OR_FIRST_FAILED:
        if (r == FUTURE_FAILURE)
            finish(fr, r);
        else if (r == FUTURE_EITHER)
            fr->resume = true;
        break;
    default:
        finish(fr, FUTURE_EITHER);
        break;
    }
}

static void all_children_seen(struct frame *fr) {
    if (fr->n_completions + fr->n_signals + fr->n_names + fr->n_nested)
        return;
    switch (fr->f->combinator) {
    case FUTURE_ALL_COMPLETED:
    case FUTURE_ALL_SUCCEEDED_OR_FIRST_FAILED:
        finish(fr, FUTURE_SUCCESS);
        break;
    case FUTURE_FIRST_SUCCEEDED_OR_ALL_FAILED:
        finish(fr, FUTURE_FAILURE);
        break;
    default:
        break;
    }
}

static int leaf(struct eval *e, struct frame *fr, enum notification_kind kind, uint32_t number, struct slice name) {
    enum notification_variant v = VARIANT_UNKNOWN;
    int r = e->lookup(e->arg, kind, number, name, &v);

    e->leaves++;
    if (r < 0)
        return r;
    if (r)
        child_done(fr, leaf_result(v));
    return r;
}

static int leaves(struct eval *e, struct frame *fr) {
    const struct cmd_future *f = fr->f;
    int r;

    for (size_t i = 0; i < f->n_completions && !fr->complete && !fr->resume; i++) {
        if ((r = leaf(e, fr, NOTIFICATION_COMPLETION, f->completions[i], SLICE_NULL)) < 0)
            return r;
        if (!r)
            fr->completions[fr->n_completions++] = f->completions[i];
    }
    for (size_t i = 0; i < f->n_signals && !fr->complete && !fr->resume; i++) {
        if ((r = leaf(e, fr, NOTIFICATION_SIGNAL, f->signals[i], SLICE_NULL)) < 0)
            return r;
        if (!r)
            fr->signals[fr->n_signals++] = f->signals[i];
    }
    for (size_t i = 0; i < f->n_names && !fr->complete && !fr->resume; i++) {
        if ((r = leaf(e, fr, NOTIFICATION_NAME, 0, f->names[i])) < 0)
            return r;
        if (!r)
            fr->names[fr->n_names++] = f->names[i];
    }
    return 0;
}

static int push(struct eval *e, const struct cmd_future *f, struct frame **top) {
    struct frame *fr = arena_new(e->a, struct frame);

    fr->parent = *top;
    fr->f = f;
    fr->completions = arena_alloc(e->a, f->n_completions * sizeof *fr->completions + 1);
    fr->signals = arena_alloc(e->a, f->n_signals * sizeof *fr->signals + 1);
    fr->names = arena_alloc(e->a, f->n_names * sizeof *fr->names + 1);
    fr->nested = arena_alloc(e->a, f->n_nested * sizeof *fr->nested + 1);
    *top = fr;
    return leaves(e, fr);
}

static struct cmd_future rest_of(const struct frame *fr) {
    return (struct cmd_future){
        .completions = fr->completions,
        .n_completions = fr->n_completions,
        .signals = fr->signals,
        .n_signals = fr->n_signals,
        .names = fr->names,
        .n_names = fr->n_names,
        .nested = fr->nested,
        .n_nested = fr->n_nested,
        .combinator = fr->f->combinator,
    };
}

int future_eval(const struct cmd_future *f, future_lookup_fn lookup, void *arg, struct arena *a,
                struct cmd_future *ret) {
    struct eval e = {.lookup = lookup, .arg = arg, .a = a};
    struct frame *top = NULL;
    int r = push(&e, f, &top);

    while (r >= 0) {
        struct frame *fr = top, *parent = fr->parent;

        if (fr->resume)
            return 1;
        if (!fr->complete && fr->at < fr->f->n_nested) {
            r = push(&e, &fr->f->nested[fr->at++], &top);
            continue;
        }
        if (!fr->complete)
            all_children_seen(fr);
        if (!parent) {
            if (fr->complete || !e.leaves)
                return 1;
            *ret = rest_of(fr);
            return 0;
        }
        if (fr->complete)
            child_done(parent, fr->result);
        else
            parent->nested[parent->n_nested++] = rest_of(fr);
        top = parent;
    }
    return r;
}
