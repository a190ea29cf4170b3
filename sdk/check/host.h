/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/check/host.h : a small host for plugins under test: the services of rs_host over poll() and threads.
 *
 * Differences to the server: log lines become TAP comments (or are only counted), memory has a limit that a suite sets,
 * `random` is a generator with a seed, and everything that a plugin could leave behind can be counted. */
#pragma once
#include <restate/plugin.h>
#include <stdbool.h>

struct host;

/* @verbose: print what the plugin logs. NULL: out of memory. */
struct host *host_new(uint64_t seed, bool verbose);
/* All loops must be freed, the plugin's fini() must have returned. Waits for the pool. */
void host_free(struct host *h);
/* The table lent to the plugin; valid until host_free(). */
const rs_host *host_table(struct host *h);
/* Same with another struct_size and version, as an older or newer host would give it. Owned by @h. */
const rs_host *host_table_sized(struct host *h, uint32_t struct_size, uint16_t minor);

void host_mem_limit(struct host *h, int64_t bytes); /* from now on mem_charge() refuses to go above it */
int64_t host_mem_used(struct host *h);
unsigned host_work_pending(struct host *h); /* submitted and not yet finished */
unsigned host_logged(struct host *h, int level);
uint64_t host_random(struct host *h); /* for suites; not the plugin's generator */

/* ---- loops: all on the thread that made the loop, except post() ---- */
rs_loop *host_loop_new(struct host *h);
void host_loop_free(rs_loop *l);
/* One turn: posts, then due timers, then ready descriptors; waits at most timeout_ms. Return: callbacks run. */
int host_loop_turn(rs_loop *l, int timeout_ms);
/* Turns until cond(arg) is true. Return: whether it became true before timeout_ms passed. */
bool host_loop_until(rs_loop *l, bool (*cond)(void *arg), void *arg, int timeout_ms);
bool host_loop_is_current(const rs_loop *l);
bool host_loop_in_callback(const rs_loop *l); /* between the start and the end of a callback of this loop */
unsigned host_loop_watches(const rs_loop *l);
unsigned host_loop_timers(const rs_loop *l);

/* ---- configuration trees ---- */
/* Parses one YAML document (maps, lists, scalars; no anchors). NULL and a message in err on bad input. */
rs_node *node_parse(const char *text, size_t len, rs_error *err);
rs_node *node_parse_file(const char *path, rs_error *err);
void node_free(rs_node *n);
/* Adds or replaces a scalar of a map. Return: 0 or RS_ENOMEM. */
int node_set(rs_node *map, const char *key, const char *scalar);

enum node_kind { NODE_SCALAR, NODE_MAP, NODE_LIST };
enum node_kind node_kind(const rs_node *n);
bool node_quoted(const rs_node *n);                    /* a scalar written in quotes: never a number or a boolean */
const char *node_scalar(const rs_node *n);             /* the text; "" for others */
size_t node_count(const rs_node *n);                   /* children */
const char *node_key_at(const rs_node *map, size_t i); /* key of the child i */
const rs_node *node_child(const rs_node *n, size_t i);

/* ---- what the process holds; for leak checks ---- */
unsigned process_fds(void);
unsigned process_threads(void);
