/* SPDX-License-Identifier: Apache-2.0 */
/* meta/raft_wire.h : Raft messages as bytes (proto/metadata.def). Pure. */
#pragma once
#include "base/buf.h"
#include "meta/raft.h"

void raft_msg_encode(const struct raft_msg *m, struct buf *out);
/* raft_msg_decode() - what @ret owns is freed by raft_msg_done(). RS_ECORRUPT. */
int raft_msg_decode(struct slice in, struct raft_msg *ret, struct err *err) RS_WARN_UNUSED;
