/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to the cluster: a fabric of our own without a node id, its transports from the same plugins as the
 * server's, and questions that the loop runs for. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"
#include "config/node.h"
#include "control/metadata_proxy.h"
#include "control/cluster_ctrl.h"
#include "control/node_ctl.h"
#include "ctl.h"
#include "loop/exec.h"
#include "meta/metadata_server.h"
#include "plugin/plugin.h"
#include "plugin/host.h"
#include "plugin/transports.h"

struct client {
    struct loop *loop;
    struct exec *pool;
    struct host *host;
    struct plugin_registry *registry;
    struct transports *transports;
    struct fabric *fabric;
    size_t pending, answered, enough;
    struct timer timer;
    struct bytes **frames; /* of answers, until the end */
    size_t n_frames;
    bool inited;
};

/* ---- opening ---- */

static bool wants_tls(const struct ctl *c) {
    for (size_t i = 0; i < c->n_seeds; i++)
        if (strncmp(c->seeds[i], "https:", 6) == 0 || strncmp(c->seeds[i], "tls:", 4) == 0)
            return true;
    return c->tls_ca || c->tls_cert;
}

static int use_tls(struct ctl *c, struct err *err) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = cfg_tree_new();
    struct plugin_instance *instance;
    int r;

    (void)cfg_add(t, cfg_root(t), "ca-file", CFG_SCALAR, c->tls_ca ? c->tls_ca : "system");
    if (c->tls_cert)
        (void)cfg_add(t, cfg_root(t), "cert-file", CFG_SCALAR, c->tls_cert);
    if (c->tls_key)
        (void)cfg_add(t, cfg_root(t), "key-file", CFG_SCALAR, c->tls_key);
    r = plugin_use(c->client->registry, RS_KIND_TRANSPORT, "tls", cfg_root(t), 0, &instance, err);
    return r < 0 ? r : transports_add(c->client->transports, NULL, instance, err);
}

static struct fabric_transport transport(void *arg, const char *scheme) {
    struct client *cl = arg;
    const struct plugin_instance *pi = transports_find(cl->transports, scheme);

    return pi ? (struct fabric_transport){pi->transport, pi->self, false} : (struct fabric_transport){0};
}

static void on_timer(void *arg) {
    struct client *cl = arg;

    loop_stop(cl->loop);
}

int client_open(struct ctl *c, struct err *err) {
    struct client *cl = c->client = xnew(struct client);
    struct plugin_instance *tcp;
    struct host_params hp;
    struct fabric_params fp;
    int r = loop_new(&cl->loop, err);

    if (r < 0)
        return r;
    timer_init(&cl->timer, on_timer, cl);
    cl->pool = exec_new_threads("pool", 1);
    hp = (struct host_params){.pool = cl->pool, .loop = cl->loop};
    cl->host = host_new(&hp);
    cl->registry = plugin_registry_new(cl->host, c->plugins_dir);
    cl->transports = transports_new();
    r = plugin_use(cl->registry, RS_KIND_TRANSPORT, "tcp", NULL, 0, &tcp, err);
    if (r == 0)
        r = transports_add(cl->transports, NULL, tcp, err);
    if (r == 0 && wants_tls(c))
        r = use_tls(c, err);
    if (r == 0)
        r = plugin_registry_init(cl->registry, err);
    cl->inited = r == 0;
    fp = (struct fabric_params){.loop = cl->loop, .cluster_name = "", .transport = transport, .arg = cl};
    if (r == 0)
        cl->fabric = fabric_new(&fp);
    return r;
}

static void on_plugins_stopped(void *arg) {
    struct client *cl = arg;

    loop_stop(cl->loop);
}

void client_close(struct ctl *c) {
    struct client *cl = TAKE(c->client);

    c->nodes = nodes_config_free(c->nodes);
    c->logs = logs_config_free(c->logs);
    c->table = partition_table_free(c->table);
    if (cl) {
        for (size_t i = 0; i < cl->n_frames; i++)
            (void)bytes_unref(cl->frames[i]);
        free(cl->frames);
        cl->fabric = fabric_free(cl->fabric);
        if (cl->inited) {
            plugin_registry_stop(cl->registry, cl->loop, on_plugins_stopped, cl);
            loop_run(cl->loop);
        }
        cl->transports = transports_free(cl->transports);
        cl->pool = exec_free(cl->pool);
        if (cl->registry)
            cl->registry = plugin_registry_free(cl->registry);
        if (cl->host)
            cl->host = host_free(cl->host);
        if (cl->loop)
            cl->loop = loop_free(cl->loop);
        free(cl);
    }
    arena_done(&c->arena);
}

/* ---- asking ---- */

static void on_answer(struct fabric_call *call, enum rpc_status s, struct node_id from, struct slice reply,
                      struct bytes *frame, const struct err *why) {
    struct ask *a = CONTAINER_OF(call, struct ask, call);
    struct client *cl = a->client;

    a->open = false;
    a->status = s;
    a->from = from;
    a->answered = s == RPC_OK;
    if (a->answered) {
        a->reply = reply;
        cl->frames = xrealloc(cl->frames, (cl->n_frames + 1) * sizeof(struct bytes *));
        cl->frames[cl->n_frames++] = bytes_ref(frame);
        cl->answered++;
    } else {
        (void)err_set(&a->err, RS_EIO, "%s", why ? why->msg : rpc_status_str(s));
    }
    if (--cl->pending == 0 || (cl->enough && cl->answered >= cl->enough))
        loop_stop(cl->loop);
}

void client_ask(struct ctl *c, struct ask *asks, size_t n, size_t enough, uint64_t timeout_ns) {
    struct client *cl = c->client;
    uint64_t timeout = timeout_ns ? timeout_ns : c->request_ns;

    if (n == 0)
        return;
    cl->pending = n;
    cl->answered = 0;
    cl->enough = enough;
    for (size_t i = 0; i < n; i++) {
        struct fabric_message m = {.service = asks[i].service, .type = asks[i].type, .head = asks[i].body};
        struct fabric_dest d = {.address = asks[i].address};

        asks[i].client = cl;
        asks[i].open = true;
        asks[i].call = (struct fabric_call){.done = on_answer};
        fabric_call(cl->fabric, &asks[i].call, &d, LANE_GENERAL, &m, loop_mono_ns(cl->loop) + timeout);
    }
    timer_set_at(cl->loop, &cl->timer, loop_mono_ns(cl->loop) + timeout + 500000000u); /* never longer than that */
    loop_run(cl->loop);
    timer_stop(cl->loop, &cl->timer);
    for (size_t i = 0; i < n; i++)
        if (asks[i].open) {
            fabric_call_drop(cl->fabric, &asks[i].call);
            asks[i].open = false;
            asks[i].status = RPC_UNKNOWN;
            (void)err_set(&asks[i].err, RS_ETIMEDOUT, "no answer in time");
        }
}

static struct slice encode(struct ctl *c, const struct ctl_request *m) {
    _cleanup_buf_ struct buf b = {0};

    ctl_request_encode(m, &b);
    return arena_copy(&c->arena, buf_slice(&b));
}

static int take_response(struct ctl *c, const struct ask *a, struct ctl_response *ret, struct err *err) {
    int r = ctl_response_decode(ret, a->reply, &c->arena, err);

    if (r < 0)
        return err_wrap(err, RS_EIO, "%s: a damaged answer", a->address);
    if (ret->code)
        return err_set(err, ret->code <= 999 ? -(int)ret->code : RS_EIO, SLICE_FMT, SLICE_ARG(ret->message));
    return 0;
}

int client_request_at(struct ctl *c, const char *address, uint16_t service, uint16_t type, const struct ctl_request *m,
                      struct ctl_response *ret, struct err *err) {
    struct ask a = {.address = address, .service = service, .type = type, .body = encode(c, m)};

    client_ask(c, &a, 1, 0, 0);
    if (!a.answered)
        return err_set(err, a.status <= RPC_REFUSED ? RS_EAGAIN : RS_EIO, "%s: %s", address,
                       a.status == RPC_SERVICE_NOT_FOUND ? "the node has not joined the cluster yet, or is stopping"
                       : a.status == RPC_MESSAGE_UNRECOGNIZED ? "this node's version does not know the request"
                                                              : a.err.msg);
    return take_response(c, &a, ret, err);
}

static const char *const *candidates(struct ctl *c, size_t *ret_n) {
    size_t max = c->n_seeds + (c->nodes ? c->nodes->n_nodes : 0), n = 0;
    const char **all = arena_newn(&c->arena, const char *, max + 1);

    for (size_t i = 0; i < c->n_seeds; i++)
        all[n++] = c->seeds[i];
    for (size_t i = 0; !c->single && c->nodes && i < c->nodes->n_nodes; i++) {
        const struct node_entry *e = &c->nodes->nodes[i];

        if (!e->tombstone && !node_is_dead(c, e->id.id))
            all[n++] = e->address;
    }
    *ret_n = n;
    return all;
}

int client_request(struct ctl *c, uint16_t service, uint16_t type, const struct ctl_request *m,
                   struct ctl_response *ret, struct err *err) {
    size_t n;
    const char *const *all = candidates(c, &n);
    int r = RS_EIO;

    for (size_t i = 0; i < n; i++) {
        r = client_request_at(c, all[i], service, type, m, ret, err);
        if (r != RS_EAGAIN)
            return r;
    }
    return r;
}

int client_metadata(struct ctl *c, const char *address, uint16_t type, const struct md_request *m, struct md_reply *ret,
                    struct err *err) {
    _cleanup_buf_ struct buf b = {0};
    struct ask a = {.address = address, .service = SERVICE_METADATA_SERVER, .type = type};

    md_request_encode(m, &b);
    a.body = buf_slice(&b);
    client_ask(c, &a, 1, 0, 0);
    if (!a.answered)
        return err_set(err, RS_EIO, "%s: %s", address, a.err.msg);
    return md_reply_decode(ret, a.reply, &c->arena, err);
}

/* ---- what the cluster is ---- */

/* The newest copy of @key among @addresses. *ret_answers: how many answered at all. */
static uint32_t newest(struct ctl *c, const char *const *addresses, size_t n, size_t enough, const char *key,
                       struct slice *ret, size_t *ret_answers, struct err *err) {
    struct ask *asks = arena_newn(&c->arena, struct ask, n + 1);
    struct ctl_request m = {.key = slice_str(key)};
    struct slice body = encode(c, &m);
    uint32_t best = 0;

    *ret_answers = 0;
    for (size_t i = 0; i < n; i++)
        asks[i] =
            (struct ask){.address = addresses[i], .service = SERVICE_NODE_CTL, .type = NODE_METADATA, .body = body};
    client_ask(c, asks, n, enough, c->connect_ns + 500000000u);
    for (size_t i = 0; i < n; i++) {
        struct ctl_response r;

        if (!asks[i].answered) {
            if (err && *ret_answers == 0)
                (void)err_set(err, RS_EIO, "%s: %s", addresses[i], asks[i].err.msg);
            continue;
        }
        if (ctl_response_decode(&r, asks[i].reply, &c->arena, err) < 0 || r.code)
            continue;
        (*ret_answers)++;
        if (r.version > best) {
            best = r.version;
            *ret = r.value;
        }
    }
    return best;
}

static void load_state(struct ctl *c, const char *const *addresses, size_t n) {
    for (size_t i = 0; i < n && !c->state; i++) {
        struct ask a = {.address = addresses[i], .service = SERVICE_CLUSTER_CTRL, .type = CLUSTER_STATE};
        struct ctl_cluster_state *s = arena_new(&c->arena, struct ctl_cluster_state);

        client_ask(c, &a, 1, 0, c->connect_ns + 500000000u);
        if (a.answered && ctl_cluster_state_decode(s, a.reply, &c->arena, NULL) == 0)
            c->state = s;
    }
}

/* Nobody who joined answers: who answers at all takes the place of who is alive. */
static void guess_state(struct ctl *c) {
    size_t max = c->nodes->n_nodes, n = 0;
    const char **addresses = arena_newn(&c->arena, const char *, max + 1);
    struct ctl_cluster_state *s = arena_new(&c->arena, struct ctl_cluster_state);
    struct ctl_node_state *nodes = arena_newn(&c->arena, struct ctl_node_state, max + 1);
    struct ident *idents;

    for (size_t i = 0; i < max; i++)
        if (!c->nodes->nodes[i].tombstone) {
            nodes[n].node = c->nodes->nodes[i].id.id;
            nodes[n].generation = c->nodes->nodes[i].id.generation;
            addresses[n++] = c->nodes->nodes[i].address;
        }
    idents = client_idents(c, addresses, n, c->connect_ns + 500000000u);
    for (size_t i = 0; i < n; i++) {
        nodes[i].state = idents[i].answered ? FD_ALIVE : FD_DEAD;
        nodes[i].uptime_ms = idents[i].m.uptime_ms;
        nodes[i].schema_version = idents[i].m.schema_version;
        s->now_ms = MAX(s->now_ms, idents[i].m.now_ms);
    }
    s->nodes = nodes;
    s->n_nodes = n;
    c->state = s;
    c->guessed = true;
}

int client_load(struct ctl *c, struct err *err) {
    const char *const *all = (const char *const *)c->seeds;
    size_t n = c->n_seeds, answers;
    struct slice value;
    uint32_t version = newest(c, all, n, 0, META_KEY_NODES, &value, &answers, err);
    int r;

    if (answers == 0)
        return err_wrap(err, RS_EIO, "no node answers");
    if (version == 0)
        return err_set(err, RS_ENOENT, "the cluster is not provisioned, or this node could not join it yet");
    r = nodes_config_parse(value, &c->nodes, err);
    if (r < 0)
        return r;
    load_state(c, all, n);
    if (!c->single)
        all = candidates(c, &n);
    if (!c->state)
        load_state(c, all, n);
    if (!c->state)
        guess_state(c);
    if (newest(c, all, n, n / 2 + 1, META_KEY_LOGS, &value, &answers, NULL) &&
        logs_config_parse(value, &c->logs, err) < 0)
        return RS_ECORRUPT;
    if (newest(c, all, n, n / 2 + 1, META_KEY_PARTITIONS, &value, &answers, NULL) &&
        partition_table_parse(value, &c->table, err) < 0)
        return RS_ECORRUPT;
    return 0;
}

struct ident *client_idents(struct ctl *c, const char *const *addresses, size_t n, uint64_t timeout_ns) {
    struct ask *asks = arena_newn(&c->arena, struct ask, n + 1);
    struct ident *ret = arena_newn(&c->arena, struct ident, n + 1);

    for (size_t i = 0; i < n; i++)
        asks[i] = (struct ask){.address = addresses[i], .service = SERVICE_NODE_CTL, .type = NODE_IDENT};
    client_ask(c, asks, n, 0, timeout_ns);
    for (size_t i = 0; i < n; i++) {
        ret[i].address = addresses[i];
        ret[i].err = asks[i].err;
        ret[i].answered = asks[i].answered && ctl_ident_decode(&ret[i].m, asks[i].reply, &c->arena, &ret[i].err) == 0;
    }
    return ret;
}

struct metadata_answer *client_metadata_status(struct ctl *c, const uint32_t *ids, size_t n) {
    struct ask *asks = arena_newn(&c->arena, struct ask, n + 1);
    struct metadata_answer *ret = arena_newn(&c->arena, struct metadata_answer, n + 1);

    for (size_t i = 0; i < n; i++)
        asks[i] = (struct ask){
            .address = node_address(c, ids[i]), .service = SERVICE_METADATA_SERVER, .type = METADATA_STATUS};
    client_ask(c, asks, n, 0, c->connect_ns);
    for (size_t i = 0; i < n; i++) {
        struct md_reply m;

        ret[i].node = ids[i];
        ret[i].err = asks[i].err;
        if (asks[i].answered && md_reply_decode(&m, asks[i].reply, &c->arena, &ret[i].err) == 0 && m.status) {
            ret[i].answered = true;
            ret[i].m = *m.status;
        }
    }
    return ret;
}

const struct ctl_node_state *state_of(const struct ctl *c, uint32_t node) {
    for (size_t i = 0; c->state && i < c->state->n_nodes; i++)
        if (c->state->nodes[i].node == node)
            return &c->state->nodes[i];
    return NULL;
}

bool node_is_dead(const struct ctl *c, uint32_t node) {
    const struct ctl_node_state *s = state_of(c, node);

    return s && (s->state == FD_DEAD || s->state == FD_SUSPECT);
}

const char *node_address(const struct ctl *c, uint32_t node) {
    const struct node_entry *e = c->nodes ? nodes_config_find(c->nodes, node) : NULL;

    return e && !e->tombstone ? e->address : NULL;
}

int parse_node(const struct ctl *c, const char *text, uint32_t *ret, struct err *err) {
    const struct node_entry *e = nodes_config_by_name(c->nodes, text);
    struct node_id id = {0};

    if (!e && node_id_parse(slice_str(text), &id) == 0)
        e = nodes_config_find(c->nodes, id.id);
    if (!e || e->tombstone)
        return err_set(err, RS_ENOENT, "there is no node '%.60s'", text);
    *ret = e->id.id;
    return 0;
}

/* ---- metadata ---- */

int metadata_read(struct ctl *c, const char *key, uint32_t *ret_version, struct slice *ret, struct err *err) {
    size_t n, answers;
    const char *const *all = candidates(c, &n);

    *ret_version = newest(c, all, n, n / 2 + 1, key, ret, &answers, err);
    return answers ? 0 : err_wrap(err, RS_EIO, "no node answers");
}

int metadata_write(struct ctl *c, const char *key, uint32_t expected, struct slice value, uint32_t *ret_version,
                   struct err *err) {
    struct ctl_request m = {.key = slice_str(key),
                            .precondition = expected ? PROXY_MATCHES : PROXY_DOES_NOT_EXIST,
                            .expected = expected,
                            .value = value};
    struct ctl_response a;
    int r = client_request(c, SERVICE_METADATA_PROXY, PROXY_PUT, &m, &a, err);

    if (r == RS_EEXIST)
        return err_set(err, r, "%s was changed by somebody else meanwhile: look again, then try again", key);
    if (r == RS_ETIMEDOUT)
        return err_set(err, r,
                       "%s was not written in time, most likely because fewer than a majority of the metadata servers "
                       "answer; look again before trying again",
                       key);
    if (r == 0 && ret_version)
        *ret_version = a.version;
    return r;
}

int confirm(const struct ctl *c, const char *question, struct err *err) {
    char answer[16] = "";

    if (c->yes) {
        if (!c->json)
            (void)printf("%s Auto-confirming --yes is set.\n", question);
        return 0;
    }
    if (isatty(STDIN_FILENO)) {
        (void)printf("%s [y/N] ", question);
        (void)fflush(stdout);
        if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
            return 0;
    }
    return err_set(err, RS_ECANCELED, "User aborted");
}
