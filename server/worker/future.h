/* SPDX-License-Identifier: Apache-2.0 */
/* worker/future.h : what a suspended invocation waits for: evaluation and pruning of future trees (execution.md §11).
 */
#pragma once
#include "base/arena.h"
#include "proto/command.gen.h"
#include "worker/tables.h"

enum future_result { FUTURE_PENDING = 0, FUTURE_SUCCESS, FUTURE_FAILURE, FUTURE_EITHER };
enum future_combinator {
    FUTURE_UNKNOWN = 0, /* also every number this program does not know: any child wakes */
    FUTURE_FIRST_COMPLETED = 1,
    FUTURE_ALL_COMPLETED = 2,
    FUTURE_FIRST_SUCCEEDED_OR_ALL_FAILED = 3,
    FUTURE_ALL_SUCCEEDED_OR_FIRST_FAILED = 4,
};

/* Whether a notification is there: 1 and its variant, 0 not there, negative: an error that ends the evaluation. */
typedef int (*future_lookup_fn)(void *arg, enum notification_kind kind, uint32_t number, struct slice name,
                                enum notification_variant *ret);

/* future_eval() - evaluate @f.
 * Return: 1 resume; 0 still pending, and *ret is @f without the children that no longer matter (in @a, strings borrowed
 * from @f): none of its leaves is there, so that later notifications can be evaluated alone. A future without any leaf
 * resumes: nothing could ever wake it. Negative: from @lookup. No recursion. */
int future_eval(const struct cmd_future *f, future_lookup_fn lookup, void *arg, struct arena *a,
                struct cmd_future *ret);
