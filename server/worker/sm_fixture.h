/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_fixture.h : for tests, the fuzzer and the benchmark of the state machine: a table in memory, records made
 * by hand, and a checker of the invariants of execution.md §28. Not part of the server. */
#pragma once
#include "base/buf.h"
#include "proto/command.h"
#include "proto/record.h"
#include "proto/service.h"
#include "worker/state_machine.h"
#include "worker/tables.h"

struct mem_row {
    struct bytes *key, *value;
};
struct mem_table { /* sorted by key */
    struct mem_row *rows;
    size_t n, cap;
    uint64_t random; /* xorshift state */
    unsigned cold;   /* one read in so many answers RS_EAGAIN; 0: none */
    struct sm_reader reader;
};
void mem_table_init(struct mem_table *t);
void mem_table_done(struct mem_table *t);
void mem_table_put(struct mem_table *t, struct slice key, struct slice value);
void mem_table_del(struct mem_table *t, struct slice key);
uint64_t mem_random(struct mem_table *t);

struct fixture {
    struct mem_table t;
    struct sm *sm;
    struct sm_writes w;
    struct sm_actions a; /* of the last record */
    struct arena scratch;
    lsn_t lsn;
    uint64_t now_ms, epoch, seq;
    unsigned reruns;     /* records that met RS_EAGAIN */
    struct buf recorded; /* every record applied, one after the other, when @record is set */
    bool record;
};
void fixture_init(struct fixture *f, uint64_t first_key, uint64_t last_key);
void fixture_done(struct fixture *f);
/* Apply a record (whole bytes), again after RS_EAGAIN, and merge. Returns what sm_apply() returned last. */
int fixture_apply_record(struct fixture *f, struct slice record);
/* ... a command as a self-proposal of the leader @f->epoch. */
int fixture_apply(struct fixture *f, enum command_kind kind, struct slice payload);
int fixture_apply_header(struct fixture *f, const struct record_header *h, struct slice payload);
#define FX(f, kind, name, ...)                                                                                         \
    ({                                                                                                                 \
        struct cmd_##name fx_m_ = {__VA_ARGS__};                                                                       \
        struct buf fx_b_ = {0};                                                                                        \
        int fx_r_;                                                                                                     \
        cmd_##name##_encode(&fx_m_, &fx_b_);                                                                           \
        fx_r_ = fixture_apply((f), (kind), buf_slice(&fx_b_));                                                         \
        buf_done(&fx_b_);                                                                                              \
        fx_r_;                                                                                                         \
    })
uint64_t fixture_hash(struct fixture *f);
/* A message of the SDK, encoded into f->scratch. */
#define SP_BYTES(f, name, ...)                                                                                         \
    ({                                                                                                                 \
        struct sp_##name sp_m_ = {__VA_ARGS__};                                                                        \
        struct buf sp_b_ = {0};                                                                                        \
        struct slice sp_s_;                                                                                            \
        sp_##name##_encode(&sp_m_, &sp_b_);                                                                            \
        sp_s_ = arena_copy(&(f)->scratch, buf_slice(&sp_b_));                                                          \
        buf_done(&sp_b_);                                                                                              \
        sp_s_;                                                                                                         \
    })
const struct sm_action *fixture_action(const struct fixture *f, enum sm_action_type type, size_t nth); /* or NULL */
size_t fixture_actions(const struct fixture *f, enum sm_action_type type);
/* fixture_check() - NULL, or what is wrong with the tables. Static or in @why. */
const char *fixture_check(struct fixture *f, char why[256]);
