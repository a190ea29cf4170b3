/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/send.c : what an attempt sends behind Start: the journal, read from the owner piece by piece as the SDK takes
 * it, then what is appended to it.
 *
 * What is queued up to invoker.share is covered by the memory every attempt has; more is taken from the pool and given
 * back as the queue falls to that again. Notifications that find no memory stay where they are, in the journal. */
#include "invoker/invoker_internal.h"

#include <stdio.h>

enum { PIECE_BYTES = 256 << 10 }; /* queued at a time, and one entry of any size */

static void send_frame(struct attempt *a, uint16_t type, struct slice payload) {
    uint8_t small[SP_FRAME_HEADER_BYTES + 1024];
    size_t part = payload.len <= 1024 ? payload.len : 0;

    sp_frame_header_put(small, type, 0, (uint32_t)payload.len);
    if (part)
        memcpy(small + SP_FRAME_HEADER_BYTES, payload.data, part);
    (void)http_stream_write_copy(a->stream, slice_of(small, SP_FRAME_HEADER_BYTES + part));
    if (payload.len > part)
        (void)http_stream_write_copy(a->stream, payload);
}

static void send_notification(struct attempt *a, uint16_t type, struct slice payload) {
    struct sp_propose_run_completion_ack ack = {0};
    struct sp_notification n;
    struct buf out = {0};

    if (type != SP_RUN_COMPLETION || a->protocol < 7) {
        send_frame(a, type, payload);
    } else if (sp_notification_decode(&n, payload, &a->inv->arena, NULL) == 0) {
        ack.completion_id = n.completion_id;
        sp_propose_run_completion_ack_encode(&ack, &out);
        send_frame(a, SP_PROPOSE_RUN_COMPLETION_ACK, buf_slice(&out));
        buf_done(&out);
    }
}

/* Memory for @n more bytes in the queue becomes out_spare. False: not now; attempt_writable() or attempt_out_granted()
 * follows if @wait. */
static bool get_memory(struct attempt *a, size_t n, bool wait) {
    size_t queued = http_stream_queued(a->stream), more;

    if (queued + n <= a->inv->share || a->out_spare >= n)
        return true;
    more = n - a->out_spare;
    if (!mem_take(&a->claim, more) && (!wait || queued > a->inv->share || !attempt_take_or_wait(a, &a->out_wait, more)))
        return false;
    a->out_spare += more;
    return true;
}

/* Memory of what left the queue goes back. */
static void settle(struct attempt *a) {
    size_t queued = a->stream ? http_stream_queued(a->stream) : 0;
    size_t needed = queued > a->inv->share ? MIN(queued, a->out_held) : 0;

    mem_give(&a->claim, a->out_held - needed);
    a->out_held = needed;
}

/* @n bytes for which get_memory() said yes are queued next. */
static void put_in_queue(struct attempt *a, size_t n) {
    settle(a);
    if (http_stream_queued(a->stream) + n <= a->inv->share)
        return;
    a->out_spare -= n;
    a->out_held += n;
}

static int send_entry(void *arg, uint32_t index, uint16_t type, struct slice payload) {
    struct attempt *a = arg;
    bool replay = index < a->replay;

    if (replay || sp_type_is_notification(type)) { /* other entries behind the replay came from the SDK itself */
        size_t n = SP_FRAME_HEADER_BYTES + payload.len;

        if (http_stream_queued(a->stream) >= PIECE_BYTES)
            return 1;
        a->out_need = n;
        if (!get_memory(a, n, true))
            return 1;
        a->out_need = 0;
        put_in_queue(a, n);
        if (replay)
            send_frame(a, type, payload);
        else
            send_notification(a, type, payload);
    }
    a->sent = index + 1;
    return 0;
}

void attempt_send_journal(struct attempt *a) {
    struct invocation *in = a->in;
    struct err err = {0};
    uint32_t before = a->sent;
    int r;

    if (!in || !a->stream || a->sent >= a->upto || a->reading_cold || mem_waits(&a->out_wait))
        return;
    if (a->out_need && !get_memory(a, a->out_need, true)) /* before it is read once more */
        return;
    r = in->owner->entries(in->owner, &in->id, a->sent, a->upto, send_entry, a, &err);
    a->reading_cold = r == RS_EAGAIN;
    if (a->reading_cold)
        return; /* invoker_read_again() follows: the memory is kept for what is being fetched */
    if (r < 0) {
        (void)snprintf(a->broken, sizeof a->broken, "%s", err.msg);
        timer_set(a->inv->loop, &a->abort, 0);
        return;
    }
    mem_give(&a->claim, a->out_spare);
    a->out_spare = 0;
    settle(a);
    if (r == 0)
        a->sent = a->upto;
    if (r == 0 && a->request_ended)
        http_stream_end(a->stream);
    else if (a->sent != before)
        attempt_keep_alive(a);
}

void attempt_writable(struct attempt *a) {
    settle(a);
    attempt_send_journal(a);
}

void attempt_rows_came(struct attempt *a) {
    a->reading_cold = false;
    attempt_send_journal(a);
}

void attempt_out_granted(struct attempt *a, size_t n) {
    a->out_spare += n;
    attempt_send_journal(a);
}

void attempt_notify(struct attempt *a, uint32_t index, uint16_t type, struct slice payload) {
    bool direct = a->sent == a->upto;
    size_t n = SP_FRAME_HEADER_BYTES + payload.len;

    if (index < a->upto || !a->bidi || a->request_ended || !a->stream)
        return;
    a->upto = index + 1;
    if (direct && get_memory(a, n, false)) {
        put_in_queue(a, n);
        send_notification(a, type, payload);
        a->sent = a->upto;
        attempt_keep_alive(a);
    } else {
        attempt_send_journal(a);
    }
}

void attempt_ack(struct attempt *a, uint32_t command_index) {
    struct sp_command_ack ack = {.command_index = command_index};
    struct buf out = {0};

    if (a->request_ended || !a->stream)
        return;
    sp_command_ack_encode(&ack, &out);
    send_frame(a, SP_COMMAND_ACK, buf_slice(&out));
    buf_done(&out);
}

void attempt_end_request(struct attempt *a) {
    if (a->request_ended)
        return;
    a->request_ended = true;
    timer_stop(a->inv->loop, &a->inactivity);
    if (a->stream && a->sent == a->upto)
        http_stream_end(a->stream);
    if (a->in)
        timer_set(a->inv->loop, &a->abort, a->abort_ns);
}
