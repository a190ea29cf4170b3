/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/fake_invoker.h"

#include <inttypes.h>
#include <stdio.h>

#include "meta/schema.h"

static void say(struct invoker *inv, struct invoker_owner *o, const char *what, const struct invocation_id *id) {
    inv->owner = o ? o : inv->owner;
    buf_putf(&inv->said, "%s%s", inv->said.len ? " " : "", what);
    if (id)
        buf_putf(&inv->said, " %" PRIu64, get_u64be(id->raw + 16));
}

const char *fake_invoker_said(struct invoker *inv, char text[512]) {
    (void)snprintf(text, 512, SLICE_FMT, SLICE_ARG(buf_slice(&inv->said)));
    buf_clear(&inv->said);
    return text;
}

void invoker_set_schema(struct invoker *inv, struct schema *s) {
    inv->schema_version = s->version;
}
void invoker_invoke(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id, uint64_t start_lsn) {
    say(inv, o, "invoke", id);
    buf_putf(&inv->said, "@%" PRIu64, start_lsn);
}
void invoker_abort(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id) {
    say(inv, o, "abort", id);
}
void invoker_abort_all(struct invoker *inv, struct invoker_owner *o) {
    say(inv, o, "abort-all", NULL);
}
void invoker_notify(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id, uint32_t index,
                    uint16_t type, struct slice payload) {
    say(inv, o, "notify", id);
}
void invoker_ack(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id, uint32_t command_index) {
    say(inv, o, "ack", id);
}
void invoker_retry_now(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id) {
    say(inv, o, "retry", id);
}
void invoker_read_again(struct invoker *inv, struct invoker_owner *o, const struct invocation_id *id) {
    say(inv, o, "read-again", id);
}
void invoker_owner_writable(struct invoker *inv) {
    say(inv, NULL, "writable", NULL);
}
