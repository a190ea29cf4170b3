/* SPDX-License-Identifier: Apache-2.0 */
/* meta/fake_meta.h : (tests) a metadata provider that is a map in memory. Writes are answered at the end of the turn,
 * or not at all. */
#pragma once
#include "meta/meta.h"

struct fake_meta {
    struct meta m; /* first */
    struct list waiting;
    struct loop_hook hook;
    bool stuck; /* no quorum: nothing is answered */
    int refuse; /* negative: every write fails with this code */
};
struct fake_meta *fake_meta_new(struct loop *loop); /* freed by meta_free() */
void fake_meta_go_on(struct fake_meta *f);          /* no longer stuck: answer what waits */
