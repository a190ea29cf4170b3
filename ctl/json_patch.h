/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/json_patch.h : JSON Patch (RFC 6902) on jansson values. Pure. */
#pragma once
#include <jansson.h>
#include "base/err.h"

/* json_patch() - carry out the operations of @patch one after the other; *@io may become another value. On failure *@io
 * is what the operations before the failing one made of it. RS_EINVAL: not a patch, or it does not fit; RS_EEXIST: a
 * `test` found another value. */
int json_patch(json_t **io, const json_t *patch, struct err *err) RS_WARN_UNUSED;
