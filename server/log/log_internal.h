/* SPDX-License-Identifier: Apache-2.0 */
/* log/log_internal.h : shared by log.c, log_lead.c, log_reader.c and log_admin.c; nobody else includes it. */
#pragma once
#include "log/chain_writer.h"
#include "log/log.h"
#include "log/log_peers.h"
#include "log/record_cache.h"
#include "log/recover.h"
#include "log/sequencer.h"

struct log_node {
    struct log_node_params p;
    struct log_router router;
    struct chain_writer chains;
    struct record_cache *cache, *own_cache; /* own_cache: when there is no log-server to share one with */
    struct nodes_config *nodes;             /* NULL: not known */
    struct meta_watch nodes_watch;
    struct map logs;
    struct loop_hook forget;                /* loglets that left their chain */
    struct timer improve;                   /* next round of looking for better segments */
    uint64_t improved_ns;                   /* when the last round was; 0: none yet */
    log_id_t improve_next;                  /* where the next round begins */
    struct replication improve_replication; /* the configuration of the last round */
    uint32_t improve_target;
};

enum lead_state {
    LEAD_NONE,
    LEAD_WANTED, /* to be started, or to be looked at again when the chain changed */
    LEAD_SEALING,
    LEAD_EXTENDING,
    LEAD_OWNED
};
/* A reigning leader goes through WANTED, SEALING, EXTENDING again for its next segment; @seq is the old segment's until
 * then, and keeps what is in flight. */

struct log_poll;
struct log_wait; /* parked at a log-server: tells of a new global tail */

struct log {
    struct map_node map_node;
    struct log_node *node;
    log_id_t id;
    const struct log_events *ev;
    void *arg;

    struct loop_hook pump; /* everything that follows from a change: lead step, events, readers */
    unsigned pumping;
    bool closed; /* log_close() was called inside a callback */

    enum lead_state lead;
    epoch_t epoch;
    log_lead_fn lead_done;
    void *lead_arg;
    struct recover *recover;
    struct chain_op op;
    bool op_running;

    struct sequencer *seq; /* of the segment I own, or owned until the next one is there; NULL: not leading */
    struct timer again;    /* somebody sealed my segment: he has so long to say why in the chain */
    lsn_t base;            /* of the segment it writes */
    uint64_t loglet;       /* id of that segment; also of the last one this process wrote */
    bool wrote;            /* @loglet was written by this process: it can only be continued by @seq */
    bool tell_writable, tell_lost;
    int lost_status;
    struct err lost_err;

    uint64_t hint_loglet; /* what a log-server told last */
    uint32_t hint_tail;
    struct log_wait *wait;
    struct log_poll *poll; /* under way */
    struct timer poll_timer;
    uint64_t poll_ns;
    uint32_t watch_turn; /* which member to ask next */
    lsn_t committed;

    uint64_t stuck_loglet;            /* a segment that a reader found sealed and open in the chain */
    uint64_t stuck_until_ns;          /* 0: none yet */
    struct list readers, asks, seals; /* asks: find-tail and trim */
};

struct log_reader {
    struct list link;
    struct log *log;
    lsn_t next;
    const struct log_reader_events *ev;
    void *arg;
    bool paused, resumed, stopped, in_callback, dead;
    struct log_fetch *fetch; /* under way, or with entries that were not taken yet */
    uint32_t tries;          /* fetches in a row that brought nothing */
    struct timer retry;
};

const struct chain *log_chain(const struct log *l); /* NULL: the log does not exist, or its chain is not known */
/* log_open_tail() - global tail of the tail segment as far as known here, in offsets. */
uint32_t log_open_tail(const struct log *l, const struct segment *tail);
/* log_tail_told() - a log-server knows this global tail. */
void log_tail_told(struct log *l, uint64_t loglet_id, uint32_t global_tail);
void log_touch(struct log *l); /* arm the pump */
/* log_watch_tail() - be told when the tail segment's global tail passes what is known; for readers of logs led
 * elsewhere. */
void log_watch_tail(struct log *l);
void log_watch_stop(struct log *l);

void lead_step(struct log *l);
void lead_chain_changed(struct log *l);
/* lead_again() - the reigning leader leaves its segment for a fresh one. Records in flight move along. */
void lead_again(struct log *l);
/* lead_choose_nodes() - nodeset for a new segment after @tail (NULL: the first). RS_EUNSUPPORTED. */
int lead_choose_nodes(const struct log *l, const struct segment *tail, uint32_t nodes[NODESET_MAX], uint32_t *ret_n,
                      struct err *err);
void lead_stop(struct log *l); /* free what leading needs; no event */

/* improve_soon() - what makes a good segment may have changed. */
void improve_soon(struct log_node *n);
void improve_init(struct log_node *n);

void reader_pump(struct log_reader *r);
void reader_free(struct log_reader *r);

void asks_drop(struct log *l);

/* log_seal_stuck() - a reader waits at the sealed end of a segment that the chain calls open. */
void log_seal_stuck(struct log *l, uint64_t loglet_id);
void seals_chain_changed(struct log *l);
void seals_nodes_changed(struct log *l);
void seals_drop(struct log *l);
