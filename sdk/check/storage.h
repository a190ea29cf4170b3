/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/check/storage.h : shared by the storage suites: a store with its tables, and comparing it with a model. */
#pragma once
#include "check.h"
#include "model.h"

struct opened {
    rs_store *store;
    rs_table *table[MODEL_TABLES];
};

/* Opens (creates) @dir with the tables "t0".. Return: 0 or the plugin's error in err; nothing stays open then. */
int opened_open(struct check *c, void *self, const char *dir, uint32_t durability, struct opened *ret, rs_error *err);
void opened_close(struct check *c, struct opened *o);

/* Compares all rows of a view with the model, forwards. Return: NULL or what differs (static text). */
const char *view_differs(struct check *c, rs_view *v, const struct opened *o, const struct model *m);
/* Same for a new view. */
const char *store_differs(struct check *c, const struct opened *o, const struct model *m);
/* Writes one batch: key and value in the first table. Return: what write() returned. */
int put_one(struct check *c, const struct opened *o, const char *key, const char *value, uint32_t flags, rs_error *err);
/* Whether the key has this value (NULL: is absent) in a new view. */
bool has_one(struct check *c, const struct opened *o, const char *key, const char *value);
