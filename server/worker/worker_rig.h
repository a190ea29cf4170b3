/* SPDX-License-Identifier: Apache-2.0 */
/* worker/worker_rig.h : (tests) one worker, node 1 of a cluster, on a driven loop. Log and invoker are played by the
 * test (fake_log.h, fake_invoker.h), the metadata is a map (meta/fake_meta.h), the data store stands on a sim_disk
 * whose jobs run in rig_run(). Node 2 is a fabric of its own over the transport in memory: what the worker asks it
 * waits in rig.asked, and it can ask the worker. Nobody listens at the addresses of all other nodes. */
#pragma once
#include "meta/fake_meta.h"
#include "plugin/fake_transport.h"
#include "storage/sim_storage.h"
#include "unit.h"
#include "worker/fake_invoker.h"
#include "worker/fake_log.h"
#include "worker/partition_internal.h"
#include "worker/peer_internal.h"
#include "worker/sm_fixture.h"

#define RIG_MS 1000000ull /* ns */
enum { RIG_ASKED = 16 };
#define RIG_SELF ((struct node_id){1, 1})
#define RIG_PEER ((struct node_id){2, 1})

struct rig {
    struct exec exec; /* first: of the store, the pool and the snapshots */
    struct list jobs;
    struct fake_net *net;
    struct sim_disk *disk;
    struct store *data;
    struct fake_meta *meta;
    struct log_node logs;
    struct invoker invoker;
    struct fabric *fabric, *peer;
    struct worker_params params;
    uint32_t partitions;
    struct worker *worker;
    struct fabric_service leader_service, manager_service; /* of the peer */
    struct fabric_request *asked[RIG_ASKED];               /* calls to the peer, not answered yet */
    size_t n_asked;
    size_t words;      /* one-way messages to the peer */
    struct fixture fx; /* its arena: what messages are made of */
    char text[512];
    unsigned n_changed;
    bool all_ready;
};

/* rig_init() - a node alone with two partitions; the test may change params and partitions before rig_open(). */
void rig_init(struct rig *r);
void rig_cluster(struct rig *r); /* before rig_open(): a fabric, and placement decides what runs */
void rig_open(struct rig *r);    /* and runs until nothing is left to do */
void rig_stop(struct rig *r);    /* the worker is gone, disk, logs and metadata stay: rig_open() starts it again */
void rig_close(struct rig *r);   /* everything is freed */
void rig_run(struct rig *r);     /* time stands still */
void rig_turns(struct rig *r);   /* the same without jobs */
bool rig_step(struct rig *r);    /* one job, then turns; false: none waits */
void rig_pass(struct rig *r, uint64_t ms);

/* rig_place() - the partition's replica set from now on: @n nodes from @nodes, in the metadata. */
void rig_place(struct rig *r, uint32_t p, const uint32_t *nodes, uint32_t n);
/* rig_lead() - places the partition on nodes 1 and 2 and has it led here. In a cluster. */
void rig_lead(struct rig *r, uint32_t p);
struct partition *rig_partition(struct rig *r, uint32_t p);
enum partition_role rig_role(struct rig *r, uint32_t p);
struct partition_info rig_info(struct rig *r, uint32_t p);
void rig_announce(struct rig *r, uint32_t p, epoch_t epoch, struct node_id leader); /* in the log, by somebody else */
const char *rig_said(struct rig *r); /* to the invoker, since last time */
/* The kinds of the records in the log from LSN @from on: "announce invoke ...". In rig.text. */
const char *rig_log(struct rig *r, uint32_t p, lsn_t from);

struct rig_call {
    struct worker_call c;
    int answers;
    struct worker_reply reply; /* without views */
    char message[240], value[64];
    uint32_t failure; /* code of the result, when it is one */
};
struct invocation_id rig_id(struct rig *r, uint32_t p, uint64_t n); /* one of partition @p; its last 8 bytes are @n */
void rig_call_init(struct rig_call *c);
void rig_invoke(struct rig *r, struct rig_call *c, struct invocation_id id); /* of a service; waits for the output */
void rig_submit(struct rig *r, struct rig_call *c, struct invocation_id id, uint64_t at_ms, uint64_t retention_ms);
void rig_effects(struct rig *r, struct invocation_id id, const struct cmd_effect *effects, size_t n);
#define RIG_EFFECTS(r, id, ...)                                                                                        \
    rig_effects((r), (id), (const struct cmd_effect[]){__VA_ARGS__},                                                   \
                sizeof((const struct cmd_effect[]){__VA_ARGS__}) / sizeof(struct cmd_effect))
enum inv_status rig_status(struct rig *r, struct invocation_id id);

struct rig_sum {
    int status;
    lsn_t lsn;
    uint64_t sum;
};
struct rig_sum rig_checksum(struct rig *r, uint32_t p);

/* ---- the peer ---- */

struct rig_question {        /* of the peer to the worker */
    struct fabric_call call; /* first */
    struct rig *r;
    int answers;
    enum rpc_status status;
    struct slice reply; /* in the rig's arena */
};
void rig_on_reply(struct fabric_call *c, enum rpc_status s, struct node_id from, struct slice reply,
                  struct bytes *frame, const struct err *why); /* done() of a question that the test sends itself */
void rig_ask(struct rig *r, struct rig_question *q, uint16_t service, uint16_t type, struct slice body);
/* The oldest call to the peer; NULL. The test answers it. */
struct fabric_request *rig_asked(struct rig *r);
void rig_answer(struct rig *r, struct fabric_request *take, struct slice body);
void rig_reply(struct rig *r, struct fabric_request *take, struct pp_reply reply);
