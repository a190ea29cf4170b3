/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/ctl.h : what the commands of restatectl share: the command line, the connection to the cluster, tables.
 *
 * One thread, one loop: a command asks, the loop runs until the answers are there, the command goes on. Whatever an
 * answer points into lives until client_close(). Commands return 0 or a negative code with the reason in @err; main()
 * prints it and exits with 1. */
#pragma once
#include <jansson.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "control/failure_detector.h"
#include "loop/loop.h"
#include "meta/logs_config.h"
#include "meta/nodes_config.h"
#include "meta/partition_table.h"
#include "net/fabric.h"
#include "proto/control.gen.h"
#include "proto/metadata.gen.h"

/* ---- command line ---- */

enum { ARGS_MAX = 64 };
struct args {                    /* borrowed from argv */
    const char *words[ARGS_MAX]; /* what is no option, behind the command */
    size_t n;
    struct {
        const char *name, *value; /* name: the long one, without dashes; value NULL: a flag */
    } options[ARGS_MAX];
    size_t n_options;
};
bool arg_given(const struct args *a, const char *name);
const char *arg_value(const struct args *a, const char *name); /* the last one; NULL: not given */
int arg_u64(const struct args *a, const char *name, uint64_t max, bool *ret_given, uint64_t *ret,
            struct err *err) RS_WARN_UNUSED; /* *ret is left alone when it is not given */

/* A set of numbers: "5", "1-4", "1,2", "N3"; several words. */
struct ids {
    uint32_t *v;
    size_t n;
};
enum { IDS_MAX = 65536 };
int ids_parse(const char *const *words, size_t n, struct ids *ret, struct err *err) RS_WARN_UNUSED;
void ids_done(struct ids *ids);

struct ctl;
struct option_spec {
    const char *name;
    char letter;       /* 0: none */
    const char *value; /* placeholder in the help; NULL: a flag */
    const char *help;
};
struct command {
    const char *group, *alias; /* "nodes"; NULL: a command without group. alias: of the group; NULL: none */
    const char *name, *name_alias;
    const char *operands, *help;
    const struct option_spec *options; /* ends with name NULL; NULL: none */
    int (*run)(struct ctl *c, struct err *err);
    bool offline; /* needs no cluster: the client is not opened */
};

/* ---- the tool ---- */

enum { SEEDS_MAX = 32 };
struct ctl {
    struct args args;
    bool json, yes, quiet, single, colours, borders;
    enum { TIME_HUMAN, TIME_ISO, TIME_RFC2822 } time_format;
    const char *plugins_dir, *tls_ca, *tls_cert, *tls_key;
    uint64_t connect_ns, request_ns;
    char *seeds[SEEDS_MAX];
    size_t n_seeds;

    struct client *client;
    struct arena arena; /* until the end of the command */

    /* What client_load() found; NULL: not known. */
    struct nodes_config *nodes;
    struct logs_config *logs;
    struct partition_table *table;
    struct ctl_cluster_state *state; /* of one node, see state->from */
    bool guessed;                    /* no node that joined answers: @state only says who answers at all */
};

/* ---- the connection ---- */

int client_open(struct ctl *c, struct err *err) RS_WARN_UNUSED;
void client_close(struct ctl *c);

/* One question to one address. The caller sets address, service, type, body. */
struct ask {
    const char *address;
    uint16_t service, type;
    struct slice body;
    /* the answer */
    bool answered; /* status RPC_OK */
    enum rpc_status status;
    struct node_id from;
    struct slice reply;
    struct err err;
    /* client.c */
    struct fabric_call call;
    struct client *client;
    bool open;
};
/* client_ask() - until all are answered, or @enough of them (0: all), or @timeout_ns (0: the request timeout). */
void client_ask(struct ctl *c, struct ask *asks, size_t n, size_t enough, uint64_t timeout_ns);

/* client_request() - ask the seeds, then the other nodes, until one takes the request. A failure in the answer is the
 * call's failure. */
int client_request(struct ctl *c, uint16_t service, uint16_t type, const struct ctl_request *m,
                   struct ctl_response *ret, struct err *err) RS_WARN_UNUSED;
/* client_request_at() - the same of one address. */
int client_request_at(struct ctl *c, const char *address, uint16_t service, uint16_t type, const struct ctl_request *m,
                      struct ctl_response *ret, struct err *err) RS_WARN_UNUSED;

/* client_load() - nodes, then logs, partition table and cluster state. Only what nodes hold in memory is asked, so it
 * works without a quorum. RS_EIO: nobody answers; RS_ENOENT: not provisioned, or the node has no metadata yet. What was
 * not found besides the nodes stays NULL; the state never does. */
int client_load(struct ctl *c, struct err *err) RS_WARN_UNUSED;
/* client_idents() - of every address; [i].answered false: none. The array is the arena's. */
struct ident {
    bool answered;
    const char *address;
    struct err err;
    struct ctl_ident m;
};
struct ident *client_idents(struct ctl *c, const char *const *addresses, size_t n, uint64_t timeout_ns);
/* client_metadata_status() - STATUS of the metadata servers of @ids. */
struct metadata_answer {
    uint32_t node;
    bool answered;
    struct err err;
    struct md_status m;
};
struct metadata_answer *client_metadata_status(struct ctl *c, const uint32_t *ids, size_t n);
/* client_metadata() - a call of SERVICE_METADATA_SERVER. */
int client_metadata(struct ctl *c, const char *address, uint16_t type, const struct md_request *m, struct md_reply *ret,
                    struct err *err) RS_WARN_UNUSED;

const struct ctl_node_state *state_of(const struct ctl *c, uint32_t node); /* NULL: not known */
bool node_is_dead(const struct ctl *c, uint32_t node);        /* as the asked node says; false when nobody says */
const char *node_address(const struct ctl *c, uint32_t node); /* NULL: not known or removed */
/* parse_node() - "N2", "2", or a node's name, of the loaded configuration. */
int parse_node(const struct ctl *c, const char *text, uint32_t *ret, struct err *err) RS_WARN_UNUSED;

/* confirm() - "Question? [y/N]" on a terminal; --yes answers it. RS_ECANCELED: no. */
int confirm(const struct ctl *c, const char *question, struct err *err) RS_WARN_UNUSED;
/* metadata_write() - put through the proxy. @expected 0: the key does not exist. */
int metadata_write(struct ctl *c, const char *key, uint32_t expected, struct slice value, uint32_t *ret_version,
                   struct err *err) RS_WARN_UNUSED;
/* metadata_read() - the newest copy among the nodes that answer; version 0: the key does not exist. */
int metadata_read(struct ctl *c, const char *key, uint32_t *ret_version, struct slice *ret,
                  struct err *err) RS_WARN_UNUSED;

/* ---- output ---- */

enum colour { PLAIN, RED, GREEN, YELLOW, BLUE, MAGENTA };
struct table;
/* table_new() - columns "NODE-ID", ...; ends with NULL. */
struct table *table_new(const char *const *columns);
struct table *table_free(struct table *t);
DEFINE_CLEANUP(table, table_free)
void table_row(struct table *t); /* the following cells are of a new row; missing ones are empty */
/* table_cell() - @take_json NULL: the text is its value. */
void table_cell(struct table *t, enum colour colour, json_t *take_json, const char *fmt, ...) RS_PRINTF(4, 5);
void table_number(struct table *t, uint64_t v);
void table_print(const struct ctl *c, const struct table *t);
json_t *table_json(const struct table *t); /* an object per row; names are the columns' in snake case */
size_t table_rows(const struct table *t);
void json_print(json_t *take);

/* Texts in @buf; they return it. */
typedef char text_t[640];
char *text_roles(text_t buf, uint32_t roles);
char *text_nodes(text_t buf, const uint32_t *ids, size_t n); /* "[N1, N2]", sorted */
char *text_replication(text_t buf, struct replication r);
char *text_short(text_t buf, uint64_t ms); /* "1m 24s" */
char *text_long(text_t buf, uint64_t ms);  /* "2 minutes" */
char *text_ago(text_t buf, const struct ctl *c, uint64_t then_ms, uint64_t now_ms);
char *text_ids(text_t buf, const uint32_t *ids, size_t n); /* "0, 2-5" */
json_t *json_roles(uint32_t roles);
json_t *json_nodes(const uint32_t *ids, size_t n); /* ["N1", ...] */

/* ---- commands ---- */

int run_plugins_list(struct ctl *c, struct err *err);
int run_plugins_describe(struct ctl *c, struct err *err);
int run_status(struct ctl *c, struct err *err);
int run_nodes_list(struct ctl *c, struct err *err);
int run_nodes_remove(struct ctl *c, struct err *err);
int run_set_storage_state(struct ctl *c, struct err *err);
int run_set_worker_state(struct ctl *c, struct err *err);
int run_partitions_list(struct ctl *c, struct err *err);
int run_logs_list(struct ctl *c, struct err *err);
int run_config_get(struct ctl *c, struct err *err);
int run_config_set(struct ctl *c, struct err *err);
int run_provision(struct ctl *c, struct err *err);
int run_metadata_servers(struct ctl *c, struct err *err);
int run_metadata_add(struct ctl *c, struct err *err);
int run_metadata_remove(struct ctl *c, struct err *err);
int run_logs_describe(struct ctl *c, struct err *err);
int run_logs_find_tail(struct ctl *c, struct err *err);
int run_logs_trim(struct ctl *c, struct err *err);
int run_logs_seal(struct ctl *c, struct err *err);
int run_logs_reconfigure(struct ctl *c, struct err *err);
int run_metadata_get(struct ctl *c, struct err *err);
int run_metadata_keys(struct ctl *c, struct err *err);
int run_metadata_put(struct ctl *c, struct err *err);
int run_metadata_patch(struct ctl *c, struct err *err);
int run_metadata_migrate(struct ctl *c, struct err *err);
int run_placement_show(struct ctl *c, struct err *err);
int run_placement_set(struct ctl *c, struct err *err);
int run_placement_freeze(struct ctl *c, struct err *err);
int run_placement_unfreeze(struct ctl *c, struct err *err);
int run_leadership_show(struct ctl *c, struct err *err);
int run_leadership_pin(struct ctl *c, struct err *err);
int run_leadership_unpin(struct ctl *c, struct err *err);
int run_leadership_freeze(struct ctl *c, struct err *err);
int run_leadership_unfreeze(struct ctl *c, struct err *err);
int run_snapshots_create(struct ctl *c, struct err *err);
int run_loglet_info(struct ctl *c, struct err *err);
int run_loglet_digest(struct ctl *c, struct err *err);
int run_loglet_servers(struct ctl *c, struct err *err);

/* Parts of `status`. */
struct table *nodes_table(struct ctl *c, bool extra);
void lite_nodes(struct ctl *c); /* who answers, without metadata */
struct table *partitions_table(struct ctl *c);
struct table *dead_table(struct ctl *c);
void partitions_print(struct ctl *c);
void logs_head(const struct ctl *c); /* title and provider block */
struct table *logs_table(struct ctl *c);
struct table *metadata_servers_table(struct ctl *c, struct table **ret_unreachable);
void put_config(struct buf *b, const struct ctl_cluster_config *m);
json_t *config_json(const struct ctl_cluster_config *m);
