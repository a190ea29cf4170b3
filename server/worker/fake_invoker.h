/* SPDX-License-Identifier: Apache-2.0 */
/* worker/fake_invoker.h : (tests) invoker/invoker.h that only writes down what it was told; the test makes the effects.
 * fake_invoker.c comes before the invoker library in the link, which is then not taken. */
#pragma once
#include "base/buf.h"
#include "invoker/invoker.h"

struct invoker {
    struct buf said; /* "invoke 1@7 abort 1 ...": call, last 8 bytes of the invocation id, start LSN of an invoke */
    struct invoker_owner *owner; /* who called last */
    uint64_t schema_version;
};
/* Everything since the last time; in @text. */
const char *fake_invoker_said(struct invoker *inv, char text[512]);
