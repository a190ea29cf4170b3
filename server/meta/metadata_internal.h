/* SPDX-License-Identifier: Apache-2.0 */
/* meta/metadata_internal.h : struct metadata_server, shared by metadata_server.c (the member and its store) and
 * metadata_requests.c (what clients and other members ask). */
#pragma once
#include "meta/metadata_server.h"
#include "meta/raft_store.h"
#include "proto/metadata.gen.h"
#include "storage/store.h"

enum { METADATA_QUEUE_MAX = 1024, METADATA_SYNC_BYTES = 16 << 20, METADATA_SYNC_WAIT_MS = 5000 };

struct waiting { /* a request that waits for the log, for a read round, or for news */
    struct list link;
    struct fabric_request *r;
    uint64_t index, term;     /* of the entry that was proposed */
    uint64_t context;         /* of the read */
    uint64_t since, until_ns; /* SYNC */
    char *key;                /* GET */
    metadata_done_fn done;    /* local provisioning */
    void *arg;
};

struct metadata_server {
    struct metadata_server_params p;
    char *cluster_name, *node_name;
    uint64_t fingerprint;
    struct store_table *table;
    struct raft_marker marker;
    enum metadata_state state;
    struct raft *raft;
    struct kv kv;
    uint64_t applied, stored_last, entries_since, snapshot_bytes;
    struct raft_config config;

    struct fabric_service service, peers;
    struct list proposals, reads, round, syncs; /* struct waiting */
    unsigned n_waiting;
    uint64_t next_context;

    struct timer tick;
    struct loop_hook pump;
    struct raft_ready ready;
    bool removed;       /* left the group with the entry just applied */
    bool voted;         /* before that entry it was a voter */
    bool left, asked;   /* was removed since the start; was told to join (METADATA_ADD) */
    bool writing, dead; /* dead: closed while a write was under way */
    uint32_t led_by;    /* who led last, as far as known */
    unsigned reconcile_ticks, join_ticks;
    struct fabric_call join; /* in flight when join_open */
    bool join_open;
    unsigned join_next;
    uint32_t join_hint;
    unsigned refs; /* writes under way */
};

void metadata_pump(struct metadata_server *s);
void metadata_news(struct metadata_server *s);      /* something was applied: answer who waits for it */
void metadata_lost_lead(struct metadata_server *s); /* what was proposed has an unknown outcome */
void metadata_applied(struct metadata_server *s, const struct raft_entry *e, struct kv_result result);
void metadata_confirmed(struct metadata_server *s, const struct raft_read_state *r);
void metadata_requests_init(struct metadata_server *s);
void metadata_requests_open(struct metadata_server *s);
void metadata_requests_close(struct metadata_server *s);
void metadata_requests_tick(struct metadata_server *s);
uint32_t metadata_leader(const struct metadata_server *s);
int metadata_found(struct metadata_server *s, struct slice nodes_config, metadata_done_fn done, void *arg);
