/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_random.h : random but plausible commands for a small world of keys and invocations: what clients, leaders,
 * SDKs and operators might send at the given state of a fixture, and now and then something impossible. */
#pragma once
#include "worker/sm_fixture.h"

struct sm_random {
    uint64_t state;    /* of the generator; never 0 */
    uint32_t next_id;  /* completion ids already given */
    uint64_t last_key; /* keys up to here are local */
};
uint64_t sm_random_next(struct sm_random *r);
/* sm_random_step() - apply one record to @f; returns what the fixture returned. */
int sm_random_step(struct sm_random *r, struct fixture *f);
