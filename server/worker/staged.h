/* SPDX-License-Identifier: Apache-2.0 */
/* worker/staged.h : the writes of one record on top of a reader: what the record wrote, it reads. */
#pragma once
#include "worker/state_machine.h"

/* stage_put() - copies the key; @value stays where it is until the writes are merged. */
void stage_put(struct sm_writes *w, struct slice key, struct slice value);
void stage_del(struct sm_writes *w, struct slice key);
/* stage_find() - the write of @key, or NULL. */
const struct sm_write *stage_find(const struct sm_writes *w, struct slice key);

struct staged_reader {
    struct sm_writes *writes;
    struct sm_reader *base;
    struct arena *scratch;   /* of scans */
    struct sm_reader reader; /* reads @writes first, then @base */
};
void staged_reader_init(struct staged_reader *s, struct sm_writes *writes, struct sm_reader *base,
                        struct arena *scratch);
