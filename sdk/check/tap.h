/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/check/tap.h : results in the Test Anything Protocol, counted across forked suites.
 *
 * The counters live in memory shared with child processes; lines go to stdout, one at a time, flushed. Only one process
 * of the tree reports at a time (the parent waits). Threads other than a suite's own must not report. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct tap {
    uint32_t run, failed, skipped;
};

struct tap *tap_new(void);
void tap_free(struct tap *t);

/* Reports one result. Return: ok, so that a suite can stop with `if (!tap_ok(...)) return`. */
bool tap_ok(struct tap *t, bool ok, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void tap_skip(struct tap *t, const char *what, const char *why);
/* A comment line; for details of a failure, before or after its result. */
void tap_diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints the plan. Return: the exit code of the program: 0, 1 (failures) or 77 (nothing was run). */
int tap_end(struct tap *t);
