/* SPDX-License-Identifier: Apache-2.0 */
/* log/log_wire.h : requests to log-servers and their answers as bytes (proto/log.def). Pure. Records are verified when
 * they are taken from bytes. */
#pragma once
#include "base/buf.h"
#include "log/log_server.h"

/* The head of a request; records of a store follow it as they are. */
void log_wire_request(const struct ls_req *r, struct buf *out);
/* log_wire_take_request() - @kind by the message's type; allocates a request of that kind with everything but `done`.
 * Records of a store: *ret_records (n of them, references and the array are the caller's). RS_ECORRUPT. */
int log_wire_take_request(enum ls_kind kind, struct slice in, struct ls_req **ret, struct bytes ***ret_records,
                          struct err *err) RS_WARN_UNUSED;
/* The head of an answer; records of a GET follow it: *ret_parts, @n of them, borrowed from the request. */
void log_wire_answer(const struct ls_req *r, const struct ls_reply *reply, struct buf *out, struct bytes ***ret_parts,
                     size_t *ret_n);
/* log_wire_take_answer() - fills @r and *ret. RS_ECORRUPT: nothing in @r was changed. */
int log_wire_take_answer(struct ls_req *r, struct slice in, struct ls_reply *ret, struct err *err) RS_WARN_UNUSED;
