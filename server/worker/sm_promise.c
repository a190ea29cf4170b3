/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_promise.c : durable promises of workflow keys. First completion wins; those who wait get a response like
 * that of a call. Waiting invocations that are gone are harmless: their response finds nobody. */
#include "worker/sm_internal.h"

enum { PROMISE_OPEN = 0, PROMISE_DONE = 1, LISTENER_BYTES = INVOCATION_ID_BYTES + 4 };

/* @rest: state byte and what follows; data NULL: no row. */
static int promise_row(struct apply *ap, const struct object_key *o, struct slice name, struct table_key *k,
                       struct slice *rest) {
    struct slice row;
    int r;

    key_object(k, T_PROMISE, o, name);
    r = ap->through->get(ap->through->arg, table_key_slice(k), &row, ap->err);
    if (r == RS_ENOENT) {
        *rest = SLICE_NULL;
        return 0;
    }
    if (r < 0 || (r = object_value_rest(row, o, name, "promise", rest, ap->err)) < 0)
        return r;
    return rest->len ? 0 : row_corrupt(ap->err, "promise");
}

static int done_result(struct apply *ap, struct slice rest, struct cmd_result *ret) {
    if (cmd_result_decode(ret, slice_from(rest, 1), ap->a, NULL) < 0)
        return row_corrupt(ap->err, "promise");
    return 0;
}

static struct slice present(struct slice name) {
    return name.data ? name : SLICE_EMPTY;
}

int promise_get(struct apply *ap, struct inv *inv, struct slice name, uint32_t completion_id) {
    struct cmd_result result;
    struct table_key k;
    struct slice rest, row;
    uint8_t *p;
    int r;

    name = present(name);
    if ((r = promise_row(ap, &inv->object, name, &k, &rest)) < 0)
        return r;
    if (rest.data && rest.data[0] == PROMISE_DONE) {
        if ((r = done_result(ap, rest, &result)) < 0)
            return r;
        return journal_complete(ap, inv, SP_GET_PROMISE_COMPLETION, completion_id, &result);
    }
    p = object_value_new(&ap->w->arena, &inv->object, name, (rest.len ? rest.len : 1) + LISTENER_BYTES, &row);
    if (rest.len)
        memcpy(p, rest.data, rest.len);
    else
        p[0] = PROMISE_OPEN;
    p += rest.len ? rest.len : 1;
    memcpy(p, inv->id.raw, INVOCATION_ID_BYTES);
    put_u32le(p + INVOCATION_ID_BYTES, completion_id);
    stage_put(ap->w, table_key_slice(&k), row);
    return 0;
}

int promise_peek(struct apply *ap, struct inv *inv, struct slice name, uint32_t completion_id) {
    struct cmd_result result;
    struct table_key k;
    struct slice rest;
    int r = promise_row(ap, &inv->object, present(name), &k, &rest);

    if (r < 0)
        return r;
    if (!rest.data || rest.data[0] != PROMISE_DONE)
        return journal_complete(ap, inv, SP_PEEK_PROMISE_COMPLETION, completion_id, NULL);
    if ((r = done_result(ap, rest, &result)) < 0)
        return r;
    if (!result.failure && !result.value.data)
        result.value = SLICE_EMPTY;
    return journal_complete(ap, inv, SP_PEEK_PROMISE_COMPLETION, completion_id, &result);
}

static void notify_listeners(struct apply *ap, struct slice listeners, const struct cmd_result *result) {
    for (; listeners.len >= LISTENER_BYTES; listeners = slice_from(listeners, LISTENER_BYTES)) {
        struct cmd_response *m = arena_new(ap->a, struct cmd_response);
        struct cmd_result *copy = arena_new(ap->a, struct cmd_result);
        struct invocation_id id;

        memcpy(id.raw, listeners.data, INVOCATION_ID_BYTES);
        *copy = *result;
        m->caller = arena_copy(ap->a, invocation_id_slice(&id));
        m->completion_id = get_u32le(listeners.data + INVOCATION_ID_BYTES);
        m->result = copy;
        send_response(ap, &id, m);
    }
}

int promise_complete(struct apply *ap, struct inv *inv, struct slice name, const struct cmd_result *result,
                     uint32_t completion_id) {
    struct table_key k;
    struct slice rest, row;
    uint8_t *p;
    int r;

    name = present(name);
    if ((r = promise_row(ap, &inv->object, name, &k, &rest)) < 0)
        return r;
    if (rest.data && rest.data[0] == PROMISE_DONE)
        return journal_complete(ap, inv, SP_COMPLETE_PROMISE_COMPLETION, completion_id,
                                failure_result(ap, 409, "promise was already completed"));
    notify_listeners(ap, slice_from(rest, 1), result);
    row = SM_ENCODE(ap->a, cmd_result, result, 0);
    {
        struct slice value;

        p = object_value_new(&ap->w->arena, &inv->object, name, 1 + row.len, &value);
        p[0] = PROMISE_DONE;
        if (row.len)
            memcpy(p + 1, row.data, row.len);
        stage_put(ap->w, table_key_slice(&k), value);
    }
    return journal_complete(ap, inv, SP_COMPLETE_PROMISE_COMPLETION, completion_id, NULL);
}

int promise_delete_all(struct apply *ap, const struct object_key *o) {
    struct table_key prefix;

    key_object(&prefix, T_PROMISE, o, SLICE_NULL);
    return delete_prefix(ap, table_key_slice(&prefix));
}
