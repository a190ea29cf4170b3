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
    uint64_t first_key, last_key;
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

/* ---- short forms for tests ---- */

#define FX_DAY_MS UINT64_C(86400000)
struct slice fx_id(struct fixture *f, const char *key, uint64_t n); /* an invocation id in the partition of @key */
struct fx_invoke {
    uint32_t type; /* 0: exclusive object handler */
    const char *key, *handler, *request, *submit, *idempotency_key;
    uint64_t at_ms, retention_ms, journal_ms;
    struct slice caller; /* sink: an invocation */
    uint32_t completion_id;
    struct slice trace; /* context, proto/trace_context.h */
};
/* A call of service "S", argument "in"; @request (16 characters) is sink and source. */
int fx_invoke(struct fixture *f, struct slice id, struct fx_invoke o);
int fx_effects(struct fixture *f, struct slice id, const struct cmd_effect *effects, size_t n);
#define FX_EFFECTS(f, id, ...)                                                                                         \
    fx_effects((f), (id), (const struct cmd_effect[]){__VA_ARGS__},                                                    \
               sizeof((const struct cmd_effect[]){__VA_ARGS__}) / sizeof(struct cmd_effect))
struct cmd_effect fx_pinned(uint32_t protocol);
struct cmd_effect fx_command(uint32_t type, struct slice payload);
struct cmd_effect fx_output(struct fixture *f, const char *value);
struct cmd_effect fx_end(void);
struct cmd_effect fx_suspend(const struct cmd_future *future);
struct cmd_effect fx_call(struct fixture *f, uint32_t type, struct slice callee, uint32_t target_type, const char *key,
                          uint32_t id_completion, uint32_t completion, uint64_t at_ms); /* of service "S" */
int fx_signal(struct fixture *f, struct slice id, uint32_t index, const char *name, const char *value);
int fx_terminate(struct fixture *f, struct slice id, uint32_t flavor); /* asked by FX_ADMIN */
#define FX_ADMIN "admin-request-id"
enum sm_outcome fx_outcome(const struct fixture *f); /* of the admin answer of the last record; 0: none */
struct inv_header fx_header(struct fixture *f, struct slice id);
enum inv_status fx_status(struct fixture *f, struct slice id);
/* The entries of a journal as text: "Input Output ~Signal": notifications have a tilde. In f->scratch. */
const char *fx_journal(struct fixture *f, struct slice id);
/* All actions of the last record as text, names only. In f->scratch. */
const char *fx_actions(struct fixture *f);
struct slice fx_state(struct fixture *f, const char *key, const char *state_key); /* data NULL: none */
size_t fx_rows(struct fixture *f, enum table_code table);
