/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_outbox.c : messages to other invocations. Those to this partition are applied in the same step, first in,
 * first out, as long as no older one for this partition waits in the outbox; the others become outbox rows. */
#include "worker/sm_internal.h"

static bool goes_direct(struct apply *ap, const struct invocation_id *to) {
    if (!(ap->features >> SM_FEATURE_DIRECT_MESSAGES & 1) || !key_is_local(ap, invocation_id_pk(to)) ||
        ap->fsm.outbox_local || ap->direct >= LIMIT_DIRECT_MESSAGES)
        return false;
    ap->direct++;
    return true;
}

static struct message *enqueue(struct apply *ap, enum command_kind kind) {
    struct message *m = arena_new(ap->a, struct message);

    m->kind = kind;
    *ap->queue_tail = m;
    ap->queue_tail = &m->next;
    return m;
}

/* @row: the encoded command behind 11 bytes of room. */
static void put_outbox(struct apply *ap, const struct invocation_id *to, enum command_kind kind, struct slice row) {
    uint8_t *p = (uint8_t *)(uintptr_t)row.data;
    uint64_t seq = ap->fsm.outbox_tail++, pk = invocation_id_pk(to);
    struct table_key k;

    p[0] = TABLE_VERSION;
    put_u16le(p + 1, (uint16_t)kind);
    put_u64le(p + 3, pk);
    key_outbox(&k, seq);
    stage_put(ap->w, table_key_slice(&k), row);
    if (key_is_local(ap, pk))
        ap->fsm.outbox_local++;
    act(ap, SM_ACTION_NEW_OUTBOX, NULL)->seq = seq;
}

enum { OUTBOX_HEAD = 11 };

void send_invoke(struct apply *ap, const struct invocation_id *to, const struct cmd_invoke *m) {
    if (goes_direct(ap, to))
        enqueue(ap, CMD_INVOKE)->invoke = m;
    else
        put_outbox(ap, to, CMD_INVOKE, SM_ENCODE(ap->a, cmd_invoke, m, OUTBOX_HEAD));
}

void send_response(struct apply *ap, const struct invocation_id *to, const struct cmd_response *m) {
    if (goes_direct(ap, to))
        enqueue(ap, CMD_RESPONSE)->response = m;
    else
        put_outbox(ap, to, CMD_RESPONSE, SM_ENCODE(ap->a, cmd_response, m, OUTBOX_HEAD));
}

void send_terminate(struct apply *ap, const struct invocation_id *to, const struct cmd_terminate *m) {
    if (goes_direct(ap, to))
        enqueue(ap, CMD_TERMINATE)->terminate = m;
    else
        put_outbox(ap, to, CMD_TERMINATE, SM_ENCODE(ap->a, cmd_terminate, m, OUTBOX_HEAD));
}

void send_attach(struct apply *ap, const struct invocation_id *to, const struct cmd_attach *m) {
    if (goes_direct(ap, to))
        enqueue(ap, CMD_ATTACH)->attach = m;
    else
        put_outbox(ap, to, CMD_ATTACH, SM_ENCODE(ap->a, cmd_attach, m, OUTBOX_HEAD));
}

void send_signal(struct apply *ap, const struct invocation_id *to, const struct cmd_signal *m) {
    if (goes_direct(ap, to))
        enqueue(ap, CMD_SIGNAL)->signal = m;
    else
        put_outbox(ap, to, CMD_SIGNAL, SM_ENCODE(ap->a, cmd_signal, m, OUTBOX_HEAD));
}

int apply_queue(struct apply *ap) {
    int r = 0;

    for (const struct message *m = ap->queue; m && r >= 0; m = m->next) {
        switch (m->kind) {
        case CMD_INVOKE:
            r = apply_invoke(ap, m->invoke);
            break;
        case CMD_RESPONSE:
            r = apply_response(ap, m->response);
            break;
        case CMD_TERMINATE:
            r = apply_terminate(ap, m->terminate);
            break;
        case CMD_ATTACH:
            r = apply_attach(ap, m->attach);
            break;
        case CMD_SIGNAL:
            r = apply_signal(ap, m->signal);
            break;
        default:
            UNREACHABLE("only these are sent");
        }
    }
    return r < 0 ? r : 0;
}

int apply_truncate_outbox(struct apply *ap, const struct cmd_truncate_outbox *m) {
    uint64_t until = MIN(add_ms(m->seq, 1), ap->fsm.outbox_tail), pk;
    struct table_key k;
    struct slice command;
    uint16_t kind;
    int r;

    if (until <= ap->fsm.outbox_head)
        return 0;
    for (uint64_t seq = ap->fsm.outbox_head; seq < until; seq++) {
        if (ap->fsm.outbox_local) { /* otherwise the rows need not be read */
            r = tables_outbox_get(ap->through, seq, &pk, &kind, &command, ap->err);
            if (r < 0 && r != RS_ENOENT)
                return r;
            if (r == 0 && key_is_local(ap, pk))
                ap->fsm.outbox_local--;
        }
        key_outbox(&k, seq);
        stage_del(ap->w, table_key_slice(&k));
    }
    ap->fsm.outbox_head = until;
    act(ap, SM_ACTION_OUTBOX_TRUNCATED, NULL)->seq = until - 1;
    return 0;
}
