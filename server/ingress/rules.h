/* SPDX-License-Identifier: Apache-2.0 */
/* ingress/rules.h : what a handler accepts as input and which content type its output gets (spec ingress.md §5). Pure.
 */
#pragma once
#include "base/err.h"
#include "base/slice.h"

struct schema_handler;

/* @content_type: data NULL when the request has none. RS_EINVAL: the message says which rule failed. */
int ingress_check_input(const struct schema_handler *h, struct slice content_type, struct slice body,
                        struct err *err) RS_WARN_UNUSED;
/* The output's content type, or NULL for no header. */
const char *ingress_output_type(const struct schema_handler *h, bool empty);
