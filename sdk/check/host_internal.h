/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/check/host_internal.h : between host.c, loop.c and node.c. */
#pragma once
#include "host.h"
#include <pthread.h>

/* The loop part of the table; defined in loop.c. */
int loop_post(rs_loop *l, rs_fn fn, void *arg);
int loop_watch(rs_loop *l, int fd, uint32_t events, rs_watch_fn fn, void *arg, rs_watch **ret);
void loop_watch_set(rs_watch *w, uint32_t events);
void loop_unwatch(rs_watch *w);
int loop_timer(rs_loop *l, uint64_t delay_ns, rs_fn fn, void *arg, rs_timer **ret);
void loop_timer_stop(rs_timer *t);
uint64_t clock_mono_ns(void);

/* The tree part; defined in node.c. */
const rs_node *node_get(const rs_node *map, const char *key);
const rs_node *node_at(const rs_node *list, size_t i);
int node_str(const rs_node *n, const char **ret, rs_error *err);
int node_u64(const rs_node *n, int unit, uint64_t *ret, rs_error *err);
int node_bool(const rs_node *n, int32_t *ret, rs_error *err);
