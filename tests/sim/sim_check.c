/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_check.c : what must hold at every moment (spec cluster.md §23), seen from outside: at most one leader
 * per epoch (P4), equal LSN means equal records (G1) and equal tables (P1), chains only grow by the rules (G3), a
 * closed segment has its copies, nobody stops for good. */
#include "sim_cluster.h"

#include <stdio.h>

#include "base/hash.h"
#include "meta/logs_config.h"
#include "proto/record.h"
#include "storage/store.h"
#include "worker/partition.h"

#define DOUBT_NS 1000000000u /* a closed segment without its copies has so long to leave the chain */
enum { COPIES_LOOK = 64 };   /* what a sequencer may have in flight: records that repair is about */

static void check_leader(struct cluster *c, const struct host *h, const struct partition_info *info) {
    struct checks *k = &c->checks;

    for (size_t i = k->n_leads; i-- > 0 && i + MAX_EPOCHS > k->n_leads;) {
        if (k->leads[i % MAX_EPOCHS].partition != info->id || k->leads[i % MAX_EPOCHS].epoch != info->epoch)
            continue;
        if (k->leads[i % MAX_EPOCHS].node != h->id)
            violated(&c->w, "partition %u: nodes %u and %u lead in epoch %llu", info->id, k->leads[i % MAX_EPOCHS].node,
                     h->id, (unsigned long long)info->epoch);
        return;
    }
    world_trace(&c->w, "%s leads partition %u in epoch %llu", h->name, info->id, (unsigned long long)info->epoch);
    k->leads[k->n_leads % MAX_EPOCHS].partition = info->id;
    k->leads[k->n_leads % MAX_EPOCHS].epoch = info->epoch;
    k->leads[k->n_leads % MAX_EPOCHS].node = h->id;
    k->n_leads++;
}

/* ---- records ---- */

void check_record(struct cluster *c, const struct host *h, uint32_t partition, lsn_t lsn, const struct record_view *r) {
    struct record_header same = r->header;
    uint64_t hash = 1, header[] = {same.kind,   same.keys,        same.dedup,           same.created_at_ns,
                                   same.key[0], same.dedup_epoch, same.dedup_partition, same.dedup_seq};
    size_t n = c->checks.records[partition].n;

    hash = hash64_seed(r->payload, hash64_seed(slice_of(header, sizeof header), hash)) | 1;
    if (lsn >= n) {
        c->checks.records[partition].n = (size_t)lsn * 2;
        c->checks.records[partition].hash = xrealloc(c->checks.records[partition].hash, lsn * 2 * sizeof(uint64_t));
        memset(c->checks.records[partition].hash + n, 0, (lsn * 2 - n) * sizeof(uint64_t));
    }
    if (c->checks.records[partition].hash[lsn] && c->checks.records[partition].hash[lsn] != hash)
        violated(&c->w, "partition %u: %s applied another record at LSN %llu than was applied before", partition,
                 h->name, (unsigned long long)lsn);
    c->checks.records[partition].hash[lsn] = hash;
}

/* ---- chains ---- */

static void check_segments(struct cluster *c, const struct chain *chain) {
    for (size_t i = 1; i < chain->n; i++) {
        const struct segment *a = &chain->segments[i - 1], *b = &chain->segments[i];

        bool marks = b->kind == SEGMENT_SEALED; /* a marker has the index of what it seals */

        if (b->base < a->base || b->index + marks <= a->index || b->params.leader_epoch < a->params.leader_epoch)
            violated(&c->w, "log %u: segment %u at %llu of epoch %llu follows %u at %llu of epoch %llu",
                     (unsigned)chain->log_id, b->index, (unsigned long long)b->base,
                     (unsigned long long)b->params.leader_epoch, a->index, (unsigned long long)a->base,
                     (unsigned long long)a->params.leader_epoch);
    }
    c->checks.longest_chain = MAX(c->checks.longest_chain, (unsigned)chain->n);
    if (c->checks.chain_limit && chain->n > c->checks.chain_limit)
        violated(&c->w, "log %u: its chain has grown to %zu segments", (unsigned)chain->log_id, chain->n);
}

/* A log-server's row of a loglet: 'd' a record, 't' the trim point. See log/log_server.h. */
static bool log_row(const struct host *h, char kind, uint64_t loglet, uint32_t offset, struct slice *ret) {
    uint8_t key[13] = {(uint8_t)kind};

    put_u64be(key + 1, loglet);
    put_u32be(key + 9, offset);
    return sim_disk_peek(h->disk, "log", "log", slice_of(key, kind == 'd' ? 13 : 9), ret);
}

/* The largest offset that was trimmed at any member: nobody needs what is before it. */
static uint32_t trimmed(const struct cluster *c, const struct segment *s) {
    uint32_t most = 0;
    struct slice row;

    for (uint32_t i = 0; i < s->params.n_nodes; i++)
        if (log_row(&c->hosts[s->params.nodes[i] - 1], 't', s->params.loglet_id, 0, &row) && row.len >= 5)
            most = MAX(most, get_u32le(row.data + 1));
    return most;
}

/* Offset of a record before @end that has too few copies; 0: none. Whoever lost its disk had them. */
static uint32_t few_copies(const struct cluster *c, const struct segment *s, lsn_t end) {
    uint32_t want = MIN((uint32_t)s->params.replication.copies[SCOPE_NODE], s->params.n_nodes),
             n = (uint32_t)(end - s->base), from = trimmed(c, s) + 1;
    struct slice row;

    for (uint32_t offset = MAX(from, n > COPIES_LOOK ? n - COPIES_LOOK : 1); offset <= n; offset++) {
        uint32_t have = 0;

        for (uint32_t i = 0; i < s->params.n_nodes; i++) {
            const struct host *h = &c->hosts[s->params.nodes[i] - 1];

            have += h->lost_disk || log_row(h, 'd', s->params.loglet_id, offset, &row);
        }
        if (have < want)
            return offset;
    }
    return 0;
}

static const struct segment *find_segment(const struct chain *chain, const struct segment *s) {
    for (size_t i = 0; i < chain->n; i++)
        if (chain->segments[i].index == s->index && chain->segments[i].kind == s->kind)
            return &chain->segments[i];
    return NULL;
}

/* A segment is closed where all before its end has its copies: what is acknowledged survives the next node, too. Looked
 * at when it is closed, and once more later: a log-server drops what a newer version of the logs does not name, and
 * that version may come here last. */
static void check_closed(struct cluster *c, const struct chain *old, const struct chain *now) {
    for (size_t i = 0; i + 1 < now->n; i++) {
        const struct segment *s = &now->segments[i], *before = find_segment(old, s);

        if (s->kind == SEGMENT_REPLICATED && (!before || before == chain_tail(old)) &&
            few_copies(c, s, now->segments[i + 1].base)) {
            c->checks.doubt[now->log_id].index = s->index;
            c->checks.doubt[now->log_id].since_ns = c->now_ns;
        }
    }
}

static void check_doubts(struct cluster *c, const struct chain *chain) {
    uint64_t *since = &c->checks.doubt[chain->log_id].since_ns;

    if (!*since || c->now_ns - *since < DOUBT_NS)
        return;
    *since = 0;
    for (size_t i = 0; i + 1 < chain->n; i++) {
        const struct segment *s = &chain->segments[i];
        lsn_t end = chain->segments[i + 1].base;
        uint32_t offset = s->kind == SEGMENT_REPLICATED && s->index == c->checks.doubt[chain->log_id].index
                              ? few_copies(c, s, end)
                              : 0;

        if (offset)
            violated(&c->w, "log %u: segment %u is closed at %llu, and LSN %llu has not all its copies",
                     (unsigned)chain->log_id, s->index, (unsigned long long)end,
                     (unsigned long long)(s->base + offset - 1));
    }
}

/* What a newer version of the logs says of segments that an older one knew. */
static void check_history(struct cluster *c, const struct chain *old, const struct chain *now) {
    for (size_t i = 0; i < old->n; i++)
        for (size_t j = 0; j < now->n; j++)
            if (old->segments[i].index == now->segments[j].index && old->segments[i].kind == now->segments[j].kind &&
                old->segments[i].base != now->segments[j].base)
                violated(&c->w, "log %u: segment %u moved from %llu to %llu", (unsigned)old->log_id,
                         old->segments[i].index, (unsigned long long)old->segments[i].base,
                         (unsigned long long)now->segments[j].base);
    if (chain_tail(now)->index < chain_tail(old)->index)
        violated(&c->w, "log %u: the chain went back to segment %u", (unsigned)old->log_id, chain_tail(now)->index);
}

static void check_logs(struct cluster *c, const struct host *h) {
    struct checks *k = &c->checks;
    struct logs_config *logs;
    struct bytes *value;
    uint32_t version;
    struct err err = {0};

    if (meta_get(h->node->meta, META_KEY_LOGS, &version, &value) < 0 || (k->logs && version <= k->logs->version))
        return;
    if (logs_config_parse(bytes_slice(value), &logs, &err) < 0) {
        violated(&c->w, "the logs cannot be read: %s", err.msg);
        return;
    }
    for (uint32_t p = 0; p < CLUSTER_PARTITIONS; p++) {
        const struct chain *old = k->logs ? logs_config_chain(k->logs, p) : NULL, *now = logs_config_chain(logs, p);

        if (now)
            check_segments(c, now);
        if (now && old) {
            check_history(c, old, now);
            check_closed(c, old, now);
        }
        if (old && !now)
            violated(&c->w, "log %u is gone", p);
    }
    k->logs = logs_config_free(k->logs);
    k->logs = logs;
}

void check_step(struct cluster *c) {
    struct partition_info info;

    for (uint32_t p = 0; p < CLUSTER_PARTITIONS; p++) {
        const struct chain *chain = c->checks.logs ? logs_config_chain(c->checks.logs, p) : NULL;

        if (chain)
            check_doubts(c, chain);
    }

    for (unsigned i = 0; i < c->n; i++) {
        const struct host *h = &c->hosts[i];

        if (!h->loop || !h->node->worker || h->node->stopping || store_is_poisoned(h->node->log_store) ||
            store_is_poisoned(h->node->data))
            continue; /* such a node is about to end */
        check_logs(c, h);
        for (size_t p = 0; p < worker_partitions(h->node->worker); p++) {
            worker_partition_info(h->node->worker, p, &info);
            /* with disk faults, and while nobody can give it a snapshot, it may well be broken for a while */
            if (info.role == PARTITION_BROKEN && !c->disk_faults && !strstr(info.error, "there is no snapshot"))
                violated(&c->w, "%s: partition %u stopped: %s", h->name, info.id, info.error);
            if (info.role == PARTITION_LEADER)
                check_leader(c, h, &info);
        }
    }
}

/* ---- checksums ---- */

struct sum_call {
    struct cluster *cluster;
    uint32_t partition;
    unsigned node;
};

static void on_sum(void *arg, int status, lsn_t lsn, uint64_t sum) {
    struct sum_call *s = arg;
    struct cluster *c = s->cluster;
    struct checks *k = &c->checks;
    size_t n = MIN(k->n_sums, (size_t)MAX_SUMS);
    bool known = false;

    for (size_t i = 0; status == 0 && i < n; i++) {
        if (k->sums[i].partition != s->partition || k->sums[i].lsn != lsn)
            continue;
        known = true;
        k->compared++;
        if (k->sums[i].sum != sum)
            violated(&c->w, "partition %u at LSN %llu: node %u has other tables than a replica before it", s->partition,
                     (unsigned long long)lsn, s->node);
    }
    if (status == 0 && !known)
        k->sums[k->n_sums++ % MAX_SUMS] = (struct replica_sum){s->partition, lsn, sum};
    free(s);
}

static void ask_sum(struct cluster *c, const struct host *h, uint32_t p) {
    struct sum_call *s = xnew(struct sum_call);

    *s = (struct sum_call){c, p, h->id};
    worker_checksum(h->node->worker, p, on_sum, s);
}

void check_sums(struct cluster *c) {
    const struct host *h = &c->hosts[rng_below(&c->w.rng, c->n)];

    if (host_serves(h))
        ask_sum(c, h, (uint32_t)rng_below(&c->w.rng, CLUSTER_PARTITIONS));
}

/* Replicas of @p here or elsewhere that lead or follow at one LSN; 0: not at one. */
static unsigned replicas_at_one(const struct cluster *c, uint32_t p) {
    struct partition_info info;
    lsn_t applied = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < c->n; i++) {
        if (!host_serves(&c->hosts[i]))
            return 0;
        worker_partition_info(c->hosts[i].node->worker, p, &info);
        if (info.role == PARTITION_STOPPED)
            continue;
        if ((info.role != PARTITION_LEADER && info.role != PARTITION_FOLLOWER) || (n && info.applied != applied))
            return 0;
        applied = info.applied;
        n++;
    }
    return n;
}

bool check_converged(struct cluster *c) {
    for (uint32_t p = 0; p < CLUSTER_PARTITIONS; p++)
        if (replicas_at_one(c, p) < CLUSTER_REPLICAS)
            return false;
    for (uint32_t p = 0; p < CLUSTER_PARTITIONS; p++)
        for (unsigned i = 0; i < c->n; i++)
            ask_sum(c, &c->hosts[i], p);
    return true;
}

void check_unconverged(struct cluster *c) {
    struct partition_info info;
    char text[400] = "";
    size_t at = 0;

    for (unsigned i = 0; i < c->n; i++) {
        const struct host *h = &c->hosts[i];

        for (uint32_t p = 0; p < CLUSTER_PARTITIONS && at < sizeof text; p++) {
            info = (struct partition_info){.error = ""};
            if (h->loop && h->node->worker)
                worker_partition_info(h->node->worker, p, &info);
            at += (size_t)snprintf(text + at, sizeof text - at, " n%u/%u %s at %llu", h->id, p,
                                   partition_role_str(info.role), (unsigned long long)info.applied);
        }
    }
    violated(&c->w, "the replicas do not reach one LSN:%s", text);
}
