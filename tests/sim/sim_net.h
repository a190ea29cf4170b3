/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim_net.h : the network between hosts, each with a loop of its own: streams in order over links that are
 * slow, or cut in one direction: what is sent over a cut link waits there and arrives when it is healed, as with TCP.
 * Each host is a transport of its own (struct net_host is its self); URIs are matched as text. */
#pragma once
#include "sim.h"

enum { NET_HOSTS = 8 };

struct net;
struct net_host {
    struct net *net;
    unsigned id;
    struct loop *loop; /* NULL: the process does not run */
    bool dark;         /* the machine is off: nobody refuses, nobody answers */
};
struct net {
    struct world *world;
    struct net_host hosts[NET_HOSTS];
    struct list conns, listeners;
    bool cut[NET_HOSTS][NET_HOSTS];         /* from, to */
    uint64_t slow_ns[NET_HOSTS][NET_HOSTS]; /* delay on top */
};
void net_init(struct net *n, struct world *w);
struct http_transport net_transport(struct net_host *h);
/* net_boot() - a process on the host begins; peers of the one before learn that it is gone. */
void net_boot(struct net_host *h, struct loop *loop);
/* net_crash() - the process is gone; @dark: and so is its machine: peers hear nothing until net_boot(). */
void net_crash(struct net_host *h, bool dark);
void net_reset_one(struct net *n);         /* breaks a connection, drawn from the seed */
void net_heal(struct net *n);              /* no link is cut or slow */
uint64_t net_next_ns(const struct net *n); /* when something arrives next; UINT64_MAX: nothing is under way */
void net_step(struct net *n);              /* lets that arrive; its loop hears of it in a turn */
