/* SPDX-License-Identifier: Apache-2.0 */
/* The Raft core under everything that can happen to it, from one seed: lost, repeated, reordered messages, cut links,
 * crashes that lose what was not durable, lost disks, snapshots, changes of membership. Checked: spec cluster.md §23 M1
 * to M3, and that confirmed reads see everything acknowledged before they began. */
#include "base/hash.h"
#include "base/list.h"
#include "meta/raft_internal.h"
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 5, STEPS = 3000, SNAP_EVERY = 12, HISTORY = 4096 };

struct disk {
    struct raft_member id;
    struct raft_hard hard;
    struct raft_snapshot *snapshot;
    struct raft_log log;
};
struct sim_node {
    struct raft *raft;
    struct disk disk;
    bool writing; /* a ready waits for its write */
    struct raft_ready ready;
    uint64_t write_done;
    /* the state machine: a hash over all that was applied */
    uint64_t applied, state;
    struct raft_config config;
    uint64_t lives;
};
struct flying {
    struct list link;
    struct raft_msg m;
    uint64_t due;
};
struct sim {
    uint64_t seed, now, rng;
    struct sim_node n[NODES];
    struct list net;
    bool cut[NODES][NODES], calm;
    unsigned loss, crash;
    /* what must hold over the whole run */
    uint64_t state_at[HISTORY];            /* of the state machine after entry i */
    uint64_t term_at[HISTORY];             /* of committed entry i */
    struct raft_member leader_of[HISTORY]; /* by term */
    uint64_t acked;                        /* highest index somebody saw applied by a leader that proposed it */
    struct {
        uint64_t context, needs;
        bool used;
    } reads[64];
    uint64_t next_read, proposals, commits, reads_done, elections, changes, clock_ms;
    char failure[400];
};

static uint64_t rnd(struct sim *s, uint64_t n) {
    s->rng ^= s->rng >> 12;
    s->rng ^= s->rng << 25;
    s->rng ^= s->rng >> 27;
    return (s->rng * 0x2545f4914f6cdd1dull >> 11) % n;
}

#define FAIL(s, ...)                                                                                                   \
    do {                                                                                                               \
        if (!(s)->failure[0])                                                                                          \
            (void)snprintf((s)->failure, sizeof(s)->failure, __VA_ARGS__);                                             \
    } while (0)

static int node_of(const struct sim *s, struct raft_member m) {
    for (int i = 0; i < NODES; i++)
        if (raft_member_eq(s->n[i].disk.id, m))
            return i;
    return -1;
}

/* ---- network ---- */

static struct raft_msg copy_of(const struct raft_msg *m) {
    struct raft_msg c = *m;

    c.snapshot = raft_snapshot_copy(m->snapshot);
    c.entries = NULL;
    if (m->n) {
        c.entries = xmalloc(m->n * sizeof *c.entries);
        for (size_t i = 0; i < m->n; i++) {
            c.entries[i] = m->entries[i];
            if (c.entries[i].data)
                (void)bytes_ref(c.entries[i].data);
        }
    }
    return c;
}

static void fly(struct sim *s, const struct raft_msg *m) {
    struct flying *f = xnew(struct flying);

    f->m = copy_of(m);
    f->due = s->now + 1 + rnd(s, !s->calm && rnd(s, 10) == 0 ? 40 : 4);
    list_push_back(&s->net, &f->link);
}

static void post(struct sim *s, const struct raft_msg *m) {
    int to = node_of(s, m->to), from = node_of(s, m->from);

    if (to < 0 || from < 0 || s->cut[from][to] || rnd(s, 100) < s->loss)
        return;
    fly(s, m);
    if (rnd(s, 40) == 0)
        fly(s, m);
}

static void deliver(struct sim *s) {
    LIST_FOREACH_SAFE (e, &s->net) {
        struct flying *f = LIST_ENTRY(e, struct flying, link);
        int to;

        if (f->due > s->now)
            continue;
        list_remove(&f->link);
        to = node_of(s, f->m.to);
        if (to >= 0 && s->n[to].raft)
            raft_step(s->n[to].raft, &f->m);
        else
            raft_msg_done(&f->m);
        free(f);
    }
}

/* ---- disk and state machine ---- */

static void take_snapshot(struct sim *s, struct sim_node *n) {
    uint8_t state[8];
    struct raft_snapshot *snap = xnew(struct raft_snapshot);

    put_u64le(state, n->state);
    *snap = (struct raft_snapshot){n->applied, raft_log_term(&n->raft->log, n->applied), n->config,
                                   bytes_copy(slice_of(state, 8))};
    if (snap->term) { /* durable at once: the owner writes it before it compacts */
        (void)raft_snapshot_free(n->disk.snapshot);
        n->disk.snapshot = raft_snapshot_copy(snap);
        raft_log_compact(&n->disk.log, MIN(snap->index, raft_log_last(&n->disk.log)),
                         raft_log_term(&n->disk.log, MIN(snap->index, raft_log_last(&n->disk.log))));
        raft_compact(n->raft, snap);
    }
    (void)raft_snapshot_free(snap);
    (void)s;
}

static void check_state(struct sim *s, const struct sim_node *n) {
    if (n->applied >= HISTORY)
        return;
    if (s->state_at[n->applied] && s->state_at[n->applied] != n->state)
        FAIL(s, "two members differ after entry %" PRIu64, n->applied);
    s->state_at[n->applied] = n->state;
}

static void apply(struct sim *s, struct sim_node *n, const struct raft_entry *e) {
    uint64_t mix[3] = {n->state, e->index, e->data ? hash64(bytes_slice(e->data)) : 0};

    if (e->index != n->applied + 1)
        FAIL(s, "entry %" PRIu64 " was applied after %" PRIu64, e->index, n->applied);
    n->applied = e->index;
    n->state = hash64(slice_of(mix, sizeof mix)) | 1;
    check_state(s, n);
    if (e->index < HISTORY) {
        if (s->term_at[e->index] && s->term_at[e->index] != e->term)
            FAIL(s, "committed entry %" PRIu64 " changed its term", e->index);
        s->term_at[e->index] = e->term;
    }
    if (e->kind == RAFT_CONFIG) {
        struct raft_config c;

        if (raft_config_decode(bytes_slice(e->data), &c, NULL, NULL) < 0)
            FAIL(s, "a configuration does not decode");
        n->config = c;
        raft_apply_config(n->raft, &c);
        s->changes++;
    }
    s->commits++;
}

static void store(struct sim_node *n, const struct raft_ready *rd) {
    if (rd->has_hard)
        n->disk.hard = rd->hard;
    if (rd->snapshot) {
        (void)raft_snapshot_free(n->disk.snapshot);
        n->disk.snapshot = raft_snapshot_copy(rd->snapshot);
        raft_log_reset(&n->disk.log, rd->snapshot->index, rd->snapshot->term);
    }
    for (size_t i = 0; i < rd->n_entries; i++) {
        const struct raft_entry *e = &rd->entries[i];

        if (e->index <= n->disk.log.base_index)
            continue;
        if (e->index <= raft_log_last(&n->disk.log))
            raft_log_cut(&n->disk.log, e->index);
        raft_log_add(&n->disk.log, e->term, e->kind, e->data);
    }
}

static void finish_write(struct sim *s, struct sim_node *n) {
    struct raft_ready rd = n->ready;

    n->writing = false;
    store(n, &rd);
    for (size_t i = 0; i < rd.n_late; i++)
        post(s, &rd.late[i]);
    if (rd.snapshot) {
        n->applied = rd.snapshot->index;
        n->state = get_u64le(rd.snapshot->data->data);
        n->config = rd.snapshot->config;
        check_state(s, n);
    }
    for (size_t i = 0; i < rd.n_committed; i++)
        apply(s, n, &rd.committed[i]);
    for (size_t i = 0; i < rd.n_reads; i++) {
        size_t k = rd.reads[i].context % 64;

        if (s->reads[k].used && s->reads[k].context == rd.reads[i].context) {
            if (MAX(rd.reads[i].index, n->applied) < s->reads[k].needs && rd.reads[i].index < s->reads[k].needs)
                FAIL(s, "a confirmed read at %" PRIu64 " misses entry %" PRIu64, rd.reads[i].index, s->reads[k].needs);
            s->reads[k].used = false;
            s->reads_done++;
        }
    }
    if (n->raft->role == RAFT_LEADER)
        s->acked = MAX(s->acked, n->applied);
    raft_stored(n->raft, &rd);
    if (n->applied >= n->disk.log.base_index + SNAP_EVERY && rnd(s, 3) == 0)
        take_snapshot(s, n);
}

static void run_node(struct sim *s, struct sim_node *n) {
    if (!n->raft)
        return;
    if (n->writing) {
        if (n->write_done <= s->now)
            finish_write(s, n);
        return;
    }
    if (!raft_ready(n->raft, &n->ready))
        return;
    for (size_t i = 0; i < n->ready.n_early; i++)
        post(s, &n->ready.early[i]);
    n->writing = true;
    n->write_done = s->now + rnd(s, s->calm || rnd(s, 8) ? 4 : 30);
}

/* ---- life and death ---- */

static void crash(struct sim_node *n) {
    if (!n->raft)
        return;
    if (n->writing)
        raft_ready_done(&n->ready);
    n->writing = false;
    n->raft = raft_free(n->raft);
}

static void start(struct sim *s, struct sim_node *n) {
    struct raft_params p = {.self = n->disk.id,
                            .election_ticks = 10,
                            .heartbeat_ticks = 2,
                            .message_bytes = 200,
                            .seed = rnd(s, UINT64_MAX),
                            .hard = n->disk.hard,
                            .snapshot = n->disk.snapshot,
                            .entries = n->disk.log.e,
                            .n = n->disk.log.n,
                            .applied = n->disk.snapshot ? n->disk.snapshot->index : 0};
    struct err err;

    if (raft_new(&p, &n->raft, &err) < 0) {
        FAIL(s, "a member does not start: %s", err.msg);
        return;
    }
    n->applied = p.applied;
    n->state = n->disk.snapshot ? get_u64le(n->disk.snapshot->data->data) : 0;
    n->config = n->disk.snapshot ? n->disk.snapshot->config : (struct raft_config){0};
    n->lives++;
    if (rnd(s, 2))
        raft_campaign(n->raft);
}

static void wipe(struct sim *s, struct sim_node *n) {
    crash(n);
    (void)raft_snapshot_free(n->disk.snapshot);
    raft_log_reset(&n->disk.log, 0, 0);
    free(n->disk.log.e);
    n->disk = (struct disk){.id = {n->disk.id.id, ++s->clock_ms}};
}

static struct sim_node *leader(struct sim *s) {
    struct sim_node *best = NULL;

    for (int i = 0; i < NODES; i++)
        if (s->n[i].raft && s->n[i].raft->role == RAFT_LEADER &&
            (!best || s->n[i].raft->hard.term > best->raft->hard.term))
            best = &s->n[i];
    return best;
}

static void check_leaders(struct sim *s) {
    for (int i = 0; i < NODES; i++) {
        const struct raft *r = s->n[i].raft;

        if (!r || r->role != RAFT_LEADER || r->hard.term >= HISTORY)
            continue;
        if (s->leader_of[r->hard.term].id && !raft_member_eq(s->leader_of[r->hard.term], r->p.self))
            FAIL(s, "two leaders in term %" PRIu64, r->hard.term);
        if (!s->leader_of[r->hard.term].id)
            s->elections++;
        s->leader_of[r->hard.term] = r->p.self;
    }
}

static void change_members(struct sim *s, struct sim_node *l) {
    struct raft_status st;
    struct raft_config c;
    uint64_t index, term;
    struct sim_node *n = &s->n[rnd(s, NODES)];

    raft_status(l->raft, &st);
    c = st.config;
    c.version++;
    if (c.learner.id) {
        if (st.learner_match + 3 >= st.last_index && rnd(s, 4)) { /* promote */
            c.voters[c.n++] = c.learner;
            c.learner = (struct raft_member){0};
        } else if (rnd(s, 10) == 0) {
            c.learner = (struct raft_member){0};
        } else {
            return;
        }
    } else if (raft_config_votes(&c, n->disk.id)) {
        uint32_t healthy = 0;

        for (uint32_t i = 0; i < c.n; i++)
            healthy += node_of(s, c.voters[i]) >= 0;
        if (c.n <= 2 || rnd(s, 3) || healthy - 1 <= (c.n - 1) / 2)
            return;
        for (uint32_t i = 0; i < c.n; i++)
            if (raft_member_eq(c.voters[i], n->disk.id))
                c.voters[i] = c.voters[--c.n];
    } else {
        for (uint32_t i = 0; i < c.n; i++)
            if (c.voters[i].id == n->disk.id.id) { /* its old self votes still: that one goes first */
                if (c.n <= 2)
                    return;
                c.voters[i] = c.voters[--c.n];
                (void)raft_propose_config(l->raft, &c, SLICE_NULL, &index, &term);
                return;
            }
        c.learner = n->disk.id;
    }
    (void)raft_propose_config(l->raft, &c, SLICE_LIT("ctx"), &index, &term);
}

static void act(struct sim *s) {
    struct sim_node *n = &s->n[rnd(s, NODES)], *l = leader(s);
    uint64_t what = rnd(s, 1000), index, term;

    if (what < 150 && l) {
        uint8_t text[8];
        struct bytes *b;

        put_u64le(text, ++s->proposals);
        b = bytes_copy(slice_of(text, 8));
        (void)raft_propose(rnd(s, 5) ? l->raft : n->raft ? n->raft : l->raft, b, &index, &term);
        (void)bytes_unref(b);
    } else if (what < 220) {
        struct sim_node *at = rnd(s, 4) ? l : n; /* also stale leaders are asked */
        size_t k = ++s->next_read % 64;

        if (at && at->raft && raft_read(at->raft, s->next_read) == 0) {
            s->reads[k].context = s->next_read;
            s->reads[k].needs = s->acked;
            s->reads[k].used = true;
        }
    } else if (what < 220 + s->crash) {
        if (n->raft)
            crash(n);
        else
            start(s, n);
    } else if (what < 240 && n->writing) {
        crash(n); /* in the middle of a write: nothing of it is there afterwards */
    } else if (what < 240 && l && l->writing) {
        crash(l);
    } else if (what == 240) { /* the power fails */
        for (int i = 0; i < NODES; i++)
            crash(&s->n[i]);
        for (int i = 0; i < NODES; i++)
            if (rnd(s, 5))
                start(s, &s->n[i]);
    } else if (what < 246 && !n->raft) {
        start(s, n);
    } else if (what < 250) {
        int a = (int)rnd(s, NODES), b = (int)rnd(s, NODES);

        s->cut[a][b] = rnd(s, 3) == 0;
    } else if (what < 252) {
        memset(s->cut, 0, sizeof s->cut);
    } else if (what < 262 && l) {
        change_members(s, l);
    } else if (what < 264 && l && rnd(s, 2)) {
        raft_transfer(l->raft, n->disk.id);
    } else if (what == 264 && l && n != l && rnd(s, 4) == 0) {
        unsigned up = 0;

        for (uint32_t i = 0; i < l->config.n; i++) { /* a lost disk is survived only while a majority keeps its own */
            int k = node_of(s, l->config.voters[i]);

            up += k >= 0 && &s->n[k] != n;
        }
        if (raft_config_votes(&l->config, n->disk.id) ? up > l->config.n / 2 + 1 : true)
            wipe(s, n);
    }
}

static void run(struct sim *s, unsigned steps, bool faults) {
    for (unsigned i = 0; i < steps && !s->failure[0]; i++) {
        s->now++;
        deliver(s);
        for (int k = 0; k < NODES; k++) {
            if (s->n[k].raft && s->now % 2 == (uint64_t)k % 2)
                raft_tick(s->n[k].raft);
            run_node(s, &s->n[k]);
        }
        check_leaders(s);
        if (faults)
            act(s);
    }
}

static void sim_open(struct sim *s, uint64_t seed) {
    struct raft_snapshot first = {1, 1, {.version = 1, .n = 3}, NULL};
    uint8_t zero[8] = {0};

    memset(s, 0, sizeof *s);
    s->seed = seed;
    s->rng = seed * 0x9e3779b97f4a7c15ull | 1;
    s->clock_ms = 100;
    s->loss = (unsigned)rnd(s, 12);
    s->crash = (unsigned)rnd(s, 14);
    list_init(&s->net);
    for (int i = 0; i < NODES; i++) {
        s->n[i].disk.id = (struct raft_member){(uint32_t)i + 1, ++s->clock_ms};
        if (i < 3)
            first.config.voters[i] = s->n[i].disk.id;
    }
    for (int i = 0; i < NODES; i++) {
        struct sim_node *n = &s->n[i];

        if (i < 3) {
            first.data = bytes_copy(slice_of(zero, 8));
            n->disk.snapshot = raft_snapshot_copy(&first);
            first.data = bytes_unref(first.data);
            n->disk.hard = (struct raft_hard){.term = 1, .commit = 1};
            raft_log_reset(&n->disk.log, 1, 1);
        }
        start(s, n);
    }
}

static void sim_close(struct sim *s) {
    for (int i = 0; i < NODES; i++) {
        crash(&s->n[i]);
        (void)raft_snapshot_free(s->n[i].disk.snapshot);
        raft_log_reset(&s->n[i].disk.log, 0, 0);
        free(s->n[i].disk.log.e);
    }
    for (struct list *e; (e = list_pop_front(&s->net));) {
        struct flying *f = LIST_ENTRY(e, struct flying, link);

        raft_msg_done(&f->m);
        free(f);
    }
}

/* After healing there is a leader, and what it commits reaches every voter. */
static void heal_and_check(struct sim *s) {
    struct sim_node *l;
    uint64_t before = s->commits;

    memset(s->cut, 0, sizeof s->cut);
    s->loss = 0;
    s->calm = true;
    for (int i = 0; i < NODES; i++)
        if (!s->n[i].raft)
            start(s, &s->n[i]);
    run(s, 600, false);
    l = leader(s);
    if (!l) {
        FAIL(s, "no leader after healing");
        return;
    }
    for (int i = 0; i < 5; i++) {
        struct bytes *b = bytes_copy(SLICE_LIT("end"));
        uint64_t index, term;

        (void)raft_propose(l->raft, b, &index, &term);
        (void)bytes_unref(b);
        run(s, 60, false);
    }
    run(s, 300, false);
    if (s->commits == before)
        FAIL(s, "nothing is committed after healing");
    for (uint32_t i = 0; i < l->config.n; i++) {
        int k = node_of(s, l->config.voters[i]);

        if (k >= 0 && s->n[k].applied != l->applied)
            FAIL(s, "N%d is at %" PRIu64 ", the leader at %" PRIu64, k + 1, s->n[k].applied, l->applied);
    }
}

static void nothing_committed_is_lost_or_differs_under_faults(void **state) {
    const char *from = getenv("RAFT_SEED"), *count = getenv("RAFT_SEEDS");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1, n = count ? strtoull(count, NULL, 10) : from ? 1 : 200;
    uint64_t commits = 0, reads = 0, elections = 0, changes = 0;
    struct sim *s = xmalloc(sizeof *s);

    (void)state;
    for (uint64_t seed = first; seed < first + n; seed++) {
        sim_open(s, seed);
        run(s, STEPS, true);
        heal_and_check(s);
        commits += s->commits;
        reads += s->reads_done;
        elections += s->elections;
        changes += s->changes;
        if (s->failure[0])
            fail_msg("seed %" PRIu64 ": %s", seed, s->failure);
        sim_close(s);
    }
    free(s);
    print_message("%" PRIu64 " seeds, %" PRIu64 " applied, %" PRIu64 " reads, %" PRIu64 " elections, %" PRIu64
                  " changes of members\n",
                  n, commits, reads, elections, changes);
    if (!from) /* the runs must do what they claim to test */
        assert_true(commits > 1000 && reads > 100 && elections > 400 && changes > 100);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(nothing_committed_is_lost_or_differs_under_faults),
};
const struct unit_group raft_sim_test_group = UNIT_GROUP(tests);
