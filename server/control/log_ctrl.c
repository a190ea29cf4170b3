/* SPDX-License-Identifier: Apache-2.0 */
#include "control/log_ctrl.h"

#include <inttypes.h>
#include "control/cluster_ctrl.h"
#include "control/requests.h"
#include "log/log.h"
#include "meta/logs_config.h"

#define ASK_NS 8000000000u
enum { ASKS_MAX = 64 };

struct log_ctrl {
    struct loop *loop;
    struct fabric *fabric;
    struct meta *meta;
    struct log_node *node;
    struct list waits, asks;
    unsigned n;
};

struct log_ask { /* a question with a handle of its own on the log */
    struct list link;
    struct control_wait w;
    struct log_ctrl *c;
    struct log *log;
    uint32_t log_id;
    struct timer timer; /* no answer in time; afterwards: the handle is closed outside of its callbacks */
};

static void ask_free(struct log_ask *a) {
    timer_stop(a->c->loop, &a->timer);
    list_remove(&a->link);
    (void)log_close(a->log);
    a->c->n--;
    free(a);
}

static void on_timer(void *arg) {
    struct log_ask *a = arg;
    struct err err;

    (void)err_set(&err, RS_ETIMEDOUT, "log %" PRIu32 ": not enough log-servers answer", a->log_id);
    control_wait_status(&a->w, RS_ETIMEDOUT, &err);
    ask_free(a);
}

static void answered(struct log_ask *a, int status, lsn_t lsn, const struct err *err) {
    struct ctl_response m = {.lsn = lsn};
    struct log_info info;

    log_info(a->log, &info);
    m.sealed = info.sealed;
    m.segment = info.tail_index;
    if (status < 0)
        control_wait_status(&a->w, status, err);
    else
        control_wait_answer(&a->w, &m);
    timer_set(a->c->loop, &a->timer, 0);
}

static void on_tail(void *arg, int status, lsn_t tail, const struct err *err) {
    answered(arg, status, tail, err);
}

static void on_trimmed(void *arg, int status, const struct err *err) {
    struct log_ask *a = arg;

    answered(a, status, log_trim_point(a->log), err);
}

static struct log_ask *ask_new(struct log_ctrl *c, struct fabric_request *r, uint32_t log_id) {
    struct log_ask *a = xnew(struct log_ask);

    a->c = c;
    a->log_id = log_id;
    a->log = log_open(c->node, log_id, NULL, NULL);
    control_wait_init(&a->w, &c->waits, c->fabric, r);
    list_push_back(&c->asks, &a->link);
    timer_init(&a->timer, on_timer, a);
    timer_set(c->loop, &a->timer, ASK_NS);
    c->n++;
    return a;
}

/* The log must exist, and for a seal its tail segment be the one meant. */
static int check(const struct log_ctrl *c, const struct ctl_request *m, bool segment, struct err *err) {
    _cleanup_(logs_config_freep) struct logs_config *config = NULL;
    const struct chain *ch;
    struct bytes *value;
    int r = meta_get(c->meta, META_KEY_LOGS, NULL, &value);

    if (r == 0)
        r = logs_config_parse(bytes_slice(value), &config, err);
    else
        (void)err_set(err, r, "the logs configuration is not known here");
    if (r < 0)
        return r;
    ch = logs_config_chain(config, m->log_id);
    if (!ch)
        return err_set(err, RS_ENOENT, "there is no log %" PRIu32, m->log_id);
    if (segment && m->segment && chain_tail(ch)->index != m->segment - 1)
        return err_set(err, RS_EINVAL, "the tail segment of log %" PRIu32 " is %" PRIu32 ", not %" PRIu32, m->log_id,
                       chain_tail(ch)->index, m->segment - 1);
    return 0;
}

static void describe(struct log_ctrl *c, struct fabric_request *r, uint32_t log_id) {
    struct log *log = log_open(c->node, log_id, NULL, NULL);
    struct ctl_response m = {.lsn = log_trim_point(log)};

    (void)log_close(log);
    control_answer(c->fabric, r, &m);
}

void log_ctrl_handle(struct log_ctrl *c, struct fabric_request *take, const struct ctl_request *m) {
    char reason[160] = "";
    struct log_ask *a;
    struct err err = {0};
    int r = check(c, m, take->type == CLUSTER_SEAL, &err);

    if (r == 0 && c->n >= ASKS_MAX)
        r = err_set(&err, RS_EAGAIN, "too many requests about logs wait");
    if (r < 0) {
        control_answer_status(c->fabric, take, r, &err);
        return;
    }
    if (take->type == CLUSTER_DESCRIBE) {
        describe(c, take, m->log_id);
        return;
    }
    a = ask_new(c, take, m->log_id);
    if (take->type == CLUSTER_FIND_TAIL) {
        log_find_tail(a->log, on_tail, a);
    } else if (take->type == CLUSTER_TRIM) {
        log_trim(a->log, m->lsn, on_trimmed, a);
    } else {
        (void)snprintf(reason, sizeof reason, SLICE_FMT, SLICE_ARG(slice_sub(m->key, 0, sizeof reason - 1)));
        log_seal(a->log, false, reason[0] ? reason : "restatectl", on_tail, a);
    }
}

struct log_ctrl *log_ctrl_new(struct loop *loop, struct fabric *f, struct meta *m, struct log_node *n) {
    struct log_ctrl *c = xnew(struct log_ctrl);

    c->loop = loop;
    c->fabric = f;
    c->meta = m;
    c->node = n;
    list_init(&c->waits);
    list_init(&c->asks);
    return c;
}

struct log_ctrl *log_ctrl_free(struct log_ctrl *c) {
    if (!c)
        return NULL;
    control_waits_stop(&c->waits);
    while (!list_empty(&c->asks))
        ask_free(LIST_ENTRY(c->asks.next, struct log_ask, link));
    free(c);
    return NULL;
}
