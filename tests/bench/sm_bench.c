/* SPDX-License-Identifier: Apache-2.0 */
/* tests/bench/sm_bench.c : CPU time of sm_apply() alone for the two records of a counter call (architecture.md §15: 5
 * us each). Merging into the test's table is not counted. Prints JSON. */
#include <stdio.h>
#include <time.h>
#include "worker/sm_fixture.h"

static uint64_t cpu_ns(void) {
    struct timespec ts;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct work {
    struct fixture f;
    struct cmd_target target;
    struct cmd_sink sink;
    struct cmd_effect effects[4];
    uint64_t ns[2];
    uint64_t writes[2];
    uint64_t retention_ms;
};

enum { REPEAT = 16 }; /* from the same table, by machines of their own: the clock is too coarse for one */

static void timed(struct work *w, int which, enum command_kind kind, struct slice payload) {
    struct sm_params p = {.partition = 3, .last_key = UINT64_MAX, .version = "1.2.3"};
    struct record_view v = {.header = {.kind = (uint16_t)kind,
                                       .dedup = RECORD_DEDUP_SELF,
                                       .created_at_ns = w->f.now_ms * 1000000,
                                       .dedup_epoch = 1,
                                       .dedup_seq = w->f.seq + 1},
                            .payload = payload};
    struct sm *sm[REPEAT];
    uint64_t start;

    for (int i = 0; i < REPEAT; i++)
        if (sm_open(&p, &w->f.t.reader, &sm[i], NULL) < 0)
            abort();
    start = cpu_ns();
    for (int i = 0; i < REPEAT; i++) {
        sm_actions_clear(&w->f.a);
        if (sm_apply(sm[i], w->f.lsn + 1, &v, &w->f.t.reader, &w->f.w, &w->f.a, NULL) < 0)
            abort();
    }
    w->ns[which] += (cpu_ns() - start) / REPEAT;
    w->writes[which] += w->f.w.n;
    for (int i = 0; i < REPEAT; i++)
        sm[i] = sm_free(sm[i]);
    if (fixture_apply(&w->f, kind, payload) < 0)
        abort();
}

static void call(struct work *w, uint64_t n) {
    uint8_t id[24];
    char key[32];
    struct buf b = {0};
    struct cmd_invoke invoke = {.target = &w->target,
                                .argument = SLICE_LIT("{\"add\":1}"),
                                .source =
                                    &(struct cmd_source){.type = SOURCE_INGRESS, .id = SLICE_LIT("0123456789abcdef")},
                                .sink = &w->sink,
                                .completion_retention_ms = w->retention_ms,
                                .journal_retention_ms = w->retention_ms};
    struct cmd_invoker_effect effect = {.effects = w->effects, .n_effects = 4};

    (void)snprintf(key, sizeof key, "user-%llu", (unsigned long long)(n % 64));
    w->target.key = slice_str(key);
    put_u64be(id, id_partition_key(&(struct id_target){.type = TARGET_OBJECT_EXCLUSIVE, .key = w->target.key}, 0));
    put_u64be(id + 8, n * 0x9e3779b97f4a7c15u);
    put_u64be(id + 16, n + 1);
    invoke.id = effect.id = slice_of(id, 24);
    cmd_invoke_encode(&invoke, &b);
    timed(w, 0, CMD_INVOKE, buf_slice(&b));
    buf_clear(&b);
    cmd_invoker_effect_encode(&effect, &b);
    timed(w, 1, CMD_INVOKER_EFFECT, buf_slice(&b));
    buf_done(&b);
    arena_clear(&w->f.scratch);
}

static void run(const char *name, uint64_t retention_ms, uint64_t n) {
    struct work w = {.retention_ms = retention_ms};
    struct sp_value value = {.content = SLICE_LIT("12345678")};
    struct arena keep = {0};

    fixture_init(&w.f, 0, UINT64_MAX);
    w.target = (struct cmd_target){
        .type = TARGET_OBJECT_EXCLUSIVE, .service = SLICE_LIT("Counter"), .handler = SLICE_LIT("add")};
    w.sink = (struct cmd_sink){.request_id = SLICE_LIT("0123456789abcdef")};
    w.effects[0] = (struct cmd_effect){
        .kind = EFFECT_PINNED, .deployment = SLICE_LIT("dp_10T6os4urqdOSZWbTLwMm3f"), .protocol = 6};
    w.effects[1] = (struct cmd_effect){
        .kind = EFFECT_COMMAND,
        .type = SP_SET_STATE,
        .payload = arena_copy(&keep, SP_BYTES(&w.f, set_state, .key = SLICE_LIT("count"), .value = &value)),
    };
    w.effects[2] = (struct cmd_effect){.kind = EFFECT_COMMAND,
                                       .type = SP_OUTPUT,
                                       .payload = arena_copy(&keep, SP_BYTES(&w.f, output, .value = &value))};
    w.effects[3] = (struct cmd_effect){.kind = EFFECT_END};
    for (uint64_t i = 0; i < n; i++)
        call(&w, i);
    printf(
        "{\"bench\":\"sm\",\"case\":\"%s\",\"calls\":%llu,\"invoke_ns\":%llu,\"effect_ns\":%llu,\"invoke_writes\":%llu,"
        "\"effect_writes\":%llu}\n",
        name, (unsigned long long)n, (unsigned long long)(w.ns[0] / n), (unsigned long long)(w.ns[1] / n),
        (unsigned long long)(w.writes[0] / n), (unsigned long long)(w.writes[1] / n));
    fixture_done(&w.f);
    arena_done(&keep);
}

int main(void) {
    run("counter, kept for a day", 86400000, 3000);
    run("counter, not kept", 0, 3000);
    return 0;
}
