/* SPDX-License-Identifier: Apache-2.0 */
#include "control/requests.h"

void control_answer(struct fabric *f, struct fabric_request *take, const struct ctl_response *m) {
    _cleanup_buf_ struct buf out = {0};

    ctl_response_encode(m, &out);
    fabric_reply(f, take, buf_slice(&out), NULL, 0);
}

static struct ctl_response of_status(int status, const struct err *err) {
    return (struct ctl_response){.code = (uint32_t)-status,
                                 .message = status < 0 ? slice_str(err && err->msg[0] ? err->msg : err_name(status))
                                                       : SLICE_NULL};
}

void control_answer_status(struct fabric *f, struct fabric_request *take, int status, const struct err *err) {
    struct ctl_response m = of_status(status, err);

    control_answer(f, take, &m);
}

void control_wait_init(struct control_wait *w, struct list *waits, struct fabric *f, struct fabric_request *r) {
    w->fabric = f;
    w->request = r;
    list_push_back(waits, &w->link);
}

void control_wait_answer(struct control_wait *w, const struct ctl_response *m) {
    if (!w->request)
        return;
    list_remove(&w->link);
    control_answer(w->fabric, TAKE(w->request), m);
}

void control_wait_status(struct control_wait *w, int status, const struct err *err) {
    struct ctl_response m = of_status(status, err);

    control_wait_answer(w, &m);
}

void control_waits_stop(struct list *waits) {
    LIST_FOREACH_SAFE (l, waits) {
        struct control_wait *w = LIST_ENTRY(l, struct control_wait, link);

        list_remove(&w->link);
        fabric_reply_status(w->fabric, TAKE(w->request), RPC_SERVICE_STOPPED);
    }
}
