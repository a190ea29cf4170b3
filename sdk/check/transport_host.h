/* SPDX-License-Identifier: Apache-2.0 */
/* transport_host.h : a host for transport plugins that watches what they do.
 *
 * All loops run on one thread, one turn after the other, so that every run goes the same way; only work() has threads.
 * The host counts what it lent (watches, timers, bytes) and notes every breach of the threading contract in `fault`.
 * The clock is the machine's plus what transport_host_skip() added, so timeouts are tested without waiting. */
#pragma once
#include <restate/transport.h>

struct transport_host {
    rs_host host; /* first member */
    struct rs_loop *loops, *current;
    uint64_t skipped_ns;
    int64_t charged, charge_limit; /* bytes; limit 0: none */
    unsigned watches, timers;      /* lent now */
    unsigned events;               /* watch callbacks so far */
    unsigned warnings;             /* log lines of warn and error */
    unsigned in_op;                /* inside an op of the plugin: no callback may come */
    unsigned workers;              /* atomic: threads of work() */
    char fault[160];               /* first breach of the contract; "" if none */
};

void transport_host_init(struct transport_host *h);
/* Waits for the threads of work(); frees the loops. */
void transport_host_done(struct transport_host *h);
rs_loop *transport_loop_new(struct transport_host *h);
void transport_host_skip(struct transport_host *h, uint64_t ns);
/* One turn of every loop; waits at most wait_ms for something to happen. Returns the number of callbacks. */
int transport_turn(struct transport_host *h, int wait_ms);
/* Turns until *flag >= n; 0, or -1 after ten seconds of this machine's time. */
int transport_run(struct transport_host *h, const unsigned *flag, unsigned n);
/* Turns until nothing happens any more. */
void transport_settle(struct transport_host *h);
/* Note a breach of the contract. */
void transport_fault(struct transport_host *h, const char *what);
/* To be called first in every callback of the plugin: right loop, not inside an op. */
void transport_callback(struct transport_host *h, const rs_loop *loop);
