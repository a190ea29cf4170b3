/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions.h"
#include <stdlib.h>

void sm_actions_clear(struct sm_actions *a) {
    a->n = 0;
    arena_clear(&a->arena);
}

void sm_actions_done(struct sm_actions *a) {
    free(a->items);
    arena_done(&a->arena);
    *a = (struct sm_actions){0};
}

const char *sm_action_name(enum sm_action_type type) {
    switch (type) {
    case SM_ACTION_INVOKE:
        return "invoke";
    case SM_ACTION_ABORT:
        return "abort";
    case SM_ACTION_RETRY_NOW:
        return "retry-now";
    case SM_ACTION_ACK_COMMAND:
        return "ack-command";
    case SM_ACTION_FORWARD_NOTIFICATION:
        return "forward-notification";
    case SM_ACTION_NEW_OUTBOX:
        return "new-outbox";
    case SM_ACTION_OUTBOX_TRUNCATED:
        return "outbox-truncated";
    case SM_ACTION_REGISTER_TIMER:
        return "register-timer";
    case SM_ACTION_DELETE_TIMER:
        return "delete-timer";
    case SM_ACTION_INGRESS_RESPONSE:
        return "ingress-response";
    case SM_ACTION_INGRESS_SUBMITTED:
        return "ingress-submitted";
    case SM_ACTION_ADMIN_RESPONSE:
        return "admin-response";
    case SM_ACTION_LEADER_ANNOUNCED:
        return "leader-announced";
    case SM_ACTION_DURABILITY:
        return "durability";
    case SM_ACTION_VERSION_BARRIER:
        return "version-barrier";
    case SM_ACTION_CHECKSUM:
        return "checksum";
    case SM_ACTION_TRACE_START:
        return "trace-start";
    case SM_ACTION_TRACE_END:
        return "trace-end";
    }
    return "unknown";
}

const char *sm_outcome_name(enum sm_outcome outcome) {
    static const char *const names[] = {
        [SM_OK] = "ok",
        [SM_APPENDED] = "appended",
        [SM_DONE] = "done",
        [SM_ACCEPTED] = "accepted",
        [SM_ALREADY_PAUSED] = "already paused",
        [SM_NOT_FOUND] = "not found",
        [SM_ALREADY_COMPLETED] = "already completed",
        [SM_NOT_COMPLETED] = "not completed",
        [SM_NOT_RUNNING] = "not running",
        [SM_NOT_STARTED] = "not started",
        [SM_COMPLETED] = "completed",
        [SM_STILL_RUNNING] = "still running",
        [SM_DEPLOYMENT_NOT_FOUND] = "deployment not found",
        [SM_INCOMPATIBLE_DEPLOYMENT] = "incompatible deployment",
        [SM_CANNOT_CHANGE_DEPLOYMENT] = "cannot change the deployment",
        [SM_MISSING_INPUT] = "missing input",
        [SM_UNSUPPORTED] = "unsupported",
        [SM_JOURNAL_INDEX_OUT_OF_RANGE] = "journal index out of range",
        [SM_JOURNAL_COPY_RANGE_INVALID] = "journal copy range invalid",
    };

    return (size_t)outcome < ARRAY_SIZE(names) && names[outcome] ? names[outcome] : "unknown";
}
