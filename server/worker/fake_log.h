/* SPDX-License-Identifier: Apache-2.0 */
/* worker/fake_log.h : (tests) log/log.h in memory, with the test as log-server: fake_log.c comes before the log library
 * in the link, which is then not taken. It keeps the contract of log.h: callbacks come in later turns, records are
 * delivered once and in order, `lost` comes once per lead. Records are durable at once unless the test holds them back.
 */
#pragma once
#include "log/log.h"

enum { FAKE_LOGS = 4 };

struct fake_log { /* one log; what the test sets and reads */
    struct bytes **records;
    size_t n, cap;               /* record with LSN i + 1 is records[i]; NULL: trimmed, a gap */
    size_t committed;            /* of these */
    bool hold;                   /* appended records are not committed until fake_log_commit() */
    int append_fails;            /* log_append() returns this */
    bool stopped;                /* nothing is delivered until fake_log_go_on() */
    unsigned append_max;         /* records per log_append(), 0: no bound; more: RS_EAGAIN */
    bool hold_lead, lead_wanted; /* log_lead() waits for fake_log_answer_lead() */
    int lead_fails;              /* log_lead() is answered with this */
    bool unreadable;             /* log_readable() is false */
    int tail_fails;
    lsn_t tail;        /* what log_find_tail() tells; 0: n + 1 */
    lsn_t trimmed;     /* log_trim() */
    uint32_t segments; /* log_info() */
    unsigned appends, leads, resigns, trims, tails;
    int trim_fails;
    struct log *open; /* the handle of the worker; NULL */
};
struct log_node {
    struct loop *loop;
    struct fake_log logs[FAKE_LOGS];
};
void fake_log_init(struct log_node *n, struct loop *loop);
void fake_log_done(struct log_node *n);

/* Commit a record that somebody else wrote; takes the reference. Returns its LSN. */
lsn_t fake_log_put(struct log_node *n, uint32_t log, struct bytes *take);
void fake_log_go_on(struct log_node *n, uint32_t log);
void fake_log_commit(struct log_node *n, uint32_t log, size_t more);
void fake_log_answer_lead(struct log_node *n, uint32_t log, int status);
/* The lead is over: `lost` in the next turn. What was not committed never happened. */
void fake_log_lose(struct log_node *n, uint32_t log, int status, epoch_t tail_epoch);
void fake_log_writable(struct log_node *n, uint32_t log);
void fake_log_gap(struct log_node *n, uint32_t log, lsn_t to, enum log_gap kind);
void fake_log_fail_reader(struct log_node *n, uint32_t log, int status, const char *why);
