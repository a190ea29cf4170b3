/* SPDX-License-Identifier: Apache-2.0 */
/* worker/tables_internal.h : value codecs that only the state machine and tables_read.c use. */
#pragma once
#include "worker/tables.h"

int row_corrupt(struct err *err, const char *what);                     /* RS_ECORRUPT */
int row_version(struct slice value, const char *what, struct err *err); /* 0, RS_ECORRUPT, RS_EUNSUPPORTED */
struct slice fsm_hot_encode(const struct fsm_hot *f, struct arena *a);
/* journal_entry_encode() - the value; *ret_payload is the payload inside it. */
struct slice journal_entry_encode(const struct journal_entry *e, struct arena *a, struct slice *ret_payload);

/* object_value_new() - a value of tables 20 to 23 with room for @len bytes; returns where they go. */
uint8_t *object_value_new(struct arena *a, const struct object_key *o, struct slice last, size_t len,
                          struct slice *ret);
/* object_value_rest() - what follows the full strings. */
int object_value_rest(struct slice value, const struct object_key *o, struct slice last, const char *what,
                      struct slice *ret, struct err *err);
/* Values of named notifications: version byte and the full name. */
size_t name_value_head(struct slice name);
uint8_t *name_value_put(uint8_t *p, struct slice name);
/* scan_prefix() - all rows whose key begins with @prefix. */
int scan_prefix(struct sm_reader *r, struct slice prefix, bool reverse, sm_each_fn each, void *arg, struct err *err);
