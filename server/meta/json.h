/* SPDX-License-Identifier: Apache-2.0 */
/* meta/json.h : reading and writing metadata values as JSON (spec cluster.md §3.2): compact, keys sorted; integers that
 * may exceed 2^63-1 are decimal strings, and readers take numbers or strings. Readers of fields return RS_ECORRUPT and
 * name the field. */
#pragma once
#include <jansson.h>
#include "base/buf.h"
#include "base/err.h"

int json_parse(struct slice text, const char *what, json_t **ret, struct err *err) RS_WARN_UNUSED; /* an object */
void json_write(const json_t *v, struct buf *out);
int json_parse_u64(struct slice s, uint64_t *ret) RS_WARN_UNUSED; /* decimal digits only; RS_EINVAL */

/* Missing (or null) fields leave *ret alone when @needed is false. */
int json_field_u64(const json_t *o, const char *name, bool needed, uint64_t *ret, struct err *err) RS_WARN_UNUSED;
int json_field_u32(const json_t *o, const char *name, bool needed, uint32_t *ret, struct err *err) RS_WARN_UNUSED;
int json_field_str(const json_t *o, const char *name, bool needed, char **ret,
                   struct err *err) RS_WARN_UNUSED; /* a copy */
int json_field_obj(const json_t *o, const char *name, bool needed, json_t **ret,
                   struct err *err) RS_WARN_UNUSED; /* borrowed */
int json_field_arr(const json_t *o, const char *name, bool needed, json_t **ret,
                   struct err *err) RS_WARN_UNUSED; /* borrowed */

/* The value of a u64 that may be large: a decimal string. */
json_t *json_u64_str(uint64_t v);
json_t *json_u64(uint64_t v); /* an integer; above 2^63-1 a decimal string */
/* A string from outside; invalid UTF-8 becomes "". */
json_t *json_text(const char *s);
static inline void json_put(json_t *o, const char *name, json_t *take) {
    (void)json_object_set_new(o, name, take);
}
static inline void json_putp(json_t **j) {
    json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_putp)
