/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_seen.c : which commands the state machines met in a whole run of seeds, beside all that there are.
 *
 * What there is is asked, not listed: the state machine says which kinds of records it does not know, the service
 * protocol which types are commands of an SDK. A kind that is added without a workload fails the test. */
#include "sim.h"

#include <stdio.h>
#include <sys/mman.h>

#include "proto/command.h"
#include "proto/record.h"
#include "proto/service.h"
#include "worker/state_machine.h"

struct seen *seen_new(void) {
    void *p = mmap(NULL, sizeof(struct seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ASSERT(p != MAP_FAILED);
    return p;
}

static void count(uint64_t *n) {
    (void)__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

void seen_record(struct seen *s, const struct record_view *r) {
    struct arena a = {0};
    struct cmd_invoker_effect m;

    if (r->header.kind < SEEN_KINDS)
        count(&s->kinds[r->header.kind]);
    if (r->header.kind == CMD_INVOKER_EFFECT && cmd_invoker_effect_decode(&m, r->payload, &a, NULL) == 0)
        for (size_t i = 0; i < m.n_effects; i++)
            if (m.effects[i].kind == EFFECT_COMMAND && m.effects[i].type - SP_INPUT < SEEN_ENTRIES)
                count(&s->entries[m.effects[i].type - SP_INPUT]);
    arena_done(&a);
}

/* ---- what there is ---- */

static int no_row(void *arg, struct slice key, struct slice *ret, struct err *err) {
    return RS_ENOENT;
}
static int no_rows(void *arg, struct slice lower, struct slice upper, bool reverse, sm_each_fn each, void *each_arg,
                   struct err *err) {
    return 0;
}

static bool kind_exists(uint16_t kind) {
    struct sm_params p = {.last_key = UINT64_MAX, .version = "0.1.0"};
    struct sm_reader reader = {.get = no_row, .scan = no_rows};
    struct record_view r = {.header = {.kind = kind, .keys = RECORD_KEYS_NONE}};
    struct sm_writes writes = {0};
    struct sm_actions actions = {0};
    struct sm *sm;
    int status;

    ASSERT(sm_open(&p, &reader, &sm, NULL) == 0);
    status = sm_apply(sm, 1, &r, &reader, &writes, &actions, NULL);
    sm_writes_done(&writes);
    sm_actions_done(&actions);
    (void)sm_free(sm);
    return status != RS_EUNSUPPORTED;
}

static bool entry_exists(uint16_t type) {
    return sp_type_is_command(type) && sp_type_allowed_from_sdk(type);
}

bool seen_everything(const struct seen *s) {
    unsigned missing = 0, kinds = 0, entries = 0;

    for (uint16_t k = 0; k < SEEN_KINDS; k++) {
        bool exists = kind_exists(k);

        kinds += exists;
        missing += exists && !s->kinds[k];
        if (exists && !s->kinds[k])
            (void)printf("no record of kind %u (enum command_kind) was applied\n", k);
    }
    for (uint16_t e = 0; e < SEEN_ENTRIES; e++) {
        bool exists = entry_exists(SP_INPUT + e);

        entries += exists;
        missing += exists && !s->entries[e];
        if (exists && !s->entries[e])
            (void)printf("no command %s of an SDK was applied\n", sp_type_name(SP_INPUT + e));
    }
    (void)printf("%u kinds of records, %u commands of SDKs, %u of them not seen\n", kinds, entries, missing);
    return !missing;
}
