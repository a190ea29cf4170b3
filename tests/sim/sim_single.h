/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_single.h : the node alone (sim_node.c) and its world (sim.c): the server's own modules put together as
 * node.c does, over a simulated disk, executors and network. */
#pragma once
#include "sim.h"
#include "http/fake_transport.h"
#include "log/log.h"
#include "log/log_server.h"
#include "storage/sim_storage.h"

struct single {
    struct world w;
    struct sim_disk *disk;
    /* of the present incarnation */
    struct fake_net *net;
    struct sim_exec writers[3], pool;
    struct sim_node *node;
    struct sim_service service;
    unsigned crashes, cuts;
};

struct sim_node {
    struct single *single;
    struct store *log_store, *meta_store, *data;
    struct meta *meta;
    struct log_server *log_server;
    struct log_node *log_node;
    struct invoker *invoker;
    struct worker *worker;
    struct node_id self;
    bool registered; /* the schema is there: calls may be made */
};
struct sim_node *sim_node_start(struct single *s);
