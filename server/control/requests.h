/* SPDX-License-Identifier: Apache-2.0 */
/* control/requests.h : what the services for tools share: answers, and requests that wait for something.
 *
 * One loop. */
#pragma once
#include "base/list.h"
#include "net/fabric.h"
#include "proto/control.gen.h"

/* control_answer() - encodes @m. */
void control_answer(struct fabric *f, struct fabric_request *take, const struct ctl_response *m);
/* control_answer_status() - code and text of a failure; status 0: an empty answer. */
void control_answer_status(struct fabric *f, struct fabric_request *take, int status, const struct err *err);

/* A request whose answer takes a while. It is linked until it is answered or its service closes. */
struct control_wait {
    struct list link;
    struct fabric *fabric;
    struct fabric_request *request; /* NULL: answered */
};
void control_wait_init(struct control_wait *w, struct list *waits, struct fabric *f, struct fabric_request *r);
/* control_wait_answer() - once; later ones are ignored. */
void control_wait_answer(struct control_wait *w, const struct ctl_response *m);
void control_wait_status(struct control_wait *w, int status, const struct err *err);
/* control_waits_stop() - everything that waits is answered that the service stopped; the memory stays the owners'. */
void control_waits_stop(struct list *waits);
