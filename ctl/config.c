/* SPDX-License-Identifier: Apache-2.0 */
/* config get | set, provision: the cluster's configuration as a block of lines. */
#include <inttypes.h>
#include <string.h>

#include "control/cluster_ctrl.h"
#include "control/node_ctl.h"
#include "ctl.h"
#include "meta/json.h"

enum { LINES = 6 };

static bool is_everywhere(struct slice s) {
    return slice_eq_str(s, "everywhere") || slice_eq_str(s, "*");
}

/* "2" becomes "{node: 2}"; what cannot be read stays as it is. */
static void put_replication(struct buf *b, struct slice s) {
    struct replication r;

    if (is_everywhere(s))
        buf_put_str(b, "*");
    else if (replication_parse(s, &r, NULL) == 0)
        replication_format(r, b);
    else
        buf_put_slice(b, s);
}

void put_config(struct buf *b, const struct ctl_cluster_config *m) {
    buf_put_str(b, "⚙️ Cluster Configuration\n");
    buf_putf(b, "├ Number of partitions: %" PRIu32 "\n├ Partition replication: ", m->num_partitions);
    put_replication(b, m->partition_replication);
    buf_putf(b, "\n└ Logs Provider: " SLICE_FMT "\n ├ Log replication: ", SLICE_ARG(m->provider));
    put_replication(b, m->log_replication);
    buf_putf(b, "\n └ Nodeset size: %" PRIu32 "\n", m->nodeset_size);
}

json_t *config_json(const struct ctl_cluster_config *m) {
    _cleanup_buf_ struct buf partitions = {0}, logs = {0};

    put_replication(&partitions, m->partition_replication);
    put_replication(&logs, m->log_replication);
    return json_pack("{s:I, s:s, s:s, s:s, s:I}", "num_partitions", (json_int_t)m->num_partitions,
                     "partition_replication", buf_cstr(&partitions), "log_provider", "replicated", "log_replication",
                     buf_cstr(&logs), "nodeset_size", (json_int_t)m->nodeset_size);
}

/* From the newest metadata that the nodes have, so that it is answered without a quorum as well. */
static int get_config(struct ctl *c, struct ctl_cluster_config *ret, struct err *err) {
    _cleanup_buf_ struct buf replication = {0};
    int r = client_load(c, err);

    if (r < 0)
        return r;
    if (!c->logs || !c->table)
        return err_set(err, RS_ENOENT, "the nodes that answer do not know the cluster's configuration");
    replication_format(c->logs->replication, &replication);
    *ret = (struct ctl_cluster_config){.num_partitions = c->table->n,
                                       .partition_replication = slice_str(c->table->replication),
                                       .log_replication = arena_copy(&c->arena, buf_slice(&replication)),
                                       .nodeset_size = c->logs->target_nodeset_size,
                                       .provider = SLICE_LIT("replicated")};
    return 0;
}

int run_config_get(struct ctl *c, struct err *err) {
    _cleanup_buf_ struct buf b = {0};
    struct ctl_cluster_config m;
    int r = get_config(c, &m, err);

    if (r < 0)
        return r;
    if (c->json) {
        json_print(config_json(&m));
        return 0;
    }
    put_config(&b, &m);
    (void)printf("%s\n", buf_cstr(&b));
    return 0;
}

/* Both blocks have the same lines, with other values. */
static void print_diff(const struct ctl *c, const struct ctl_cluster_config *was, const struct ctl_cluster_config *is) {
    _cleanup_buf_ struct buf old = {0}, new = {0};
    const char *a, *b;

    put_config(&old, was);
    put_config(&new, is);
    a = buf_cstr(&old);
    b = buf_cstr(&new);
    for (int i = 0; i < LINES; i++) {
        size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");

        if (n == m && memcmp(a, b, n) == 0) {
            (void)printf("  %.*s\n", (int)n, a);
        } else {
            (void)printf("%s -%.*s%s\n", c->colours ? "\x1b[31m" : "", (int)n, a, c->colours ? "\x1b[0m" : "");
            (void)printf("%s +%.*s%s\n", c->colours ? "\x1b[32m" : "", (int)m, b, c->colours ? "\x1b[0m" : "");
        }
        a += n + 1;
        b += m + 1;
    }
    (void)puts("\n");
}

/* A replication as it will be stored; from @name, or from --replication for both. */
static int take_replication(struct ctl *c, const char *name, bool everywhere, struct slice *io, struct err *err) {
    const char *text = arg_value(&c->args, name), *both = arg_value(&c->args, "replication");
    _cleanup_buf_ struct buf b = {0};
    struct replication r;
    int e;

    if (text && both)
        return err_set(err, RS_EINVAL, "--replication and --%s exclude each other", name);
    if (!text)
        text = both;
    if (!text)
        return 0;
    if (everywhere && is_everywhere(slice_str(text))) {
        *io = SLICE_LIT("everywhere");
        return 0;
    }
    e = replication_parse(slice_str(text), &r, err);
    if (e < 0)
        return e;
    replication_format(r, &b);
    *io = arena_copy(&c->arena, buf_slice(&b));
    return 0;
}

/* What the options say, over @io. */
static int take_options(struct ctl *c, struct ctl_cluster_config *io, struct err *err) {
    const char *provider = arg_value(&c->args, "log-provider");
    uint64_t nodeset = io->nodeset_size, partitions = io->num_partitions;
    int r = take_replication(c, "log-replication", false, &io->log_replication, err);

    if (r == 0)
        r = take_replication(c, "partition-replication", true, &io->partition_replication, err);
    if (r == 0)
        r = arg_u64(&c->args, "log-default-nodeset-size", NODESET_MAX, NULL, &nodeset, err);
    if (r == 0)
        r = arg_u64(&c->args, "nodeset-size", NODESET_MAX, NULL, &nodeset, err);
    if (r == 0)
        r = arg_u64(&c->args, "num-partitions", 65535, NULL, &partitions, err);
    if (r < 0)
        return r;
    if (provider && strcmp(provider, "replicated") != 0)
        return err_set(err, RS_EUNSUPPORTED,
                       "this version knows one log provider, 'replicated'; a single copy is --log-replication 1");
    io->nodeset_size = (uint32_t)nodeset;
    io->num_partitions = (uint32_t)partitions;
    return 0;
}

static bool same(const struct ctl_cluster_config *a, const struct ctl_cluster_config *b) {
    _cleanup_buf_ struct buf x = {0}, y = {0};

    put_config(&x, a);
    put_config(&y, b);
    return slice_eq(buf_slice(&x), buf_slice(&y));
}

static int send_config(struct ctl *c, const struct ctl_cluster_config *was, const struct ctl_cluster_config *is,
                       struct err *err) {
    struct ctl_cluster_config changed = {0};
    struct ctl_request m = {.config = &changed};
    struct ctl_response a;

    if (!slice_eq(was->log_replication, is->log_replication))
        changed.log_replication = is->log_replication;
    if (!slice_eq(was->partition_replication, is->partition_replication))
        changed.partition_replication = is->partition_replication;
    if (was->num_partitions != is->num_partitions)
        changed.num_partitions = is->num_partitions;
    if (was->nodeset_size != is->nodeset_size) {
        m.has_nodeset_size = true;
        m.nodeset_size = is->nodeset_size;
    }
    return client_request(c, SERVICE_CLUSTER_CTRL, CLUSTER_SET_CONFIG, &m, &a, err);
}

int run_config_set(struct ctl *c, struct err *err) {
    struct ctl_cluster_config was, is;
    int r = get_config(c, &was, err);

    if (r < 0)
        return r;
    is = was;
    r = take_options(c, &is, err);
    if (r < 0)
        return r;
    if (was.num_partitions && is.num_partitions != was.num_partitions)
        return err_set(err, RS_EUNSUPPORTED, "the cluster has %" PRIu32 " partitions: their number cannot be changed",
                       was.num_partitions);
    if (same(&was, &is)) {
        if (c->json)
            json_print(json_pack("{s:b, s:o}", "changed", 0, "config", config_json(&is)));
        else
            (void)puts("No changes");
        return 0;
    }
    if (!c->json)
        print_diff(c, &was, &is);
    r = confirm(c, "Apply changes?", err);
    if (r == 0)
        r = send_config(c, &was, &is, err);
    if (r < 0)
        return r;
    if (c->json)
        json_print(json_pack("{s:b, s:o}", "changed", 1, "config", config_json(&is)));
    else
        (void)puts("✅ Configuration updated successfully");
    return 0;
}

/* ---- provision ---- */

static int provision_options(struct ctl *c, struct ctl_cluster_config *ret, struct err *err) {
    const char *off = arg_value(&c->args, "disable-feature");

    *ret = (struct ctl_cluster_config){0};
    if (off && strcmp(off, "controlled-idempotent-sharding") != 0)
        return err_set(err, RS_EINVAL, "there is no feature '%.60s'", off);
    ret->without_idempotent_sharding = off != NULL;
    return take_options(c, ret, err);
}

int run_provision(struct ctl *c, struct err *err) {
    struct ctl_cluster_config wanted;
    struct ctl_request m = {.config = &wanted, .dry_run = true};
    _cleanup_buf_ struct buf b = {0};
    struct ctl_response a;
    int r = provision_options(c, &wanted, err);

    if (r == 0 && c->n_seeds > 1)
        return err_set(err, RS_EINVAL, "a cluster is founded at one node: give one --address");
    if (r == 0)
        r = client_request_at(c, c->seeds[0], SERVICE_NODE_CTL, NODE_PROVISION, &m, &a, err);
    if (r == 0 && !a.config)
        r = err_set(err, RS_EIO, "an answer without a configuration");
    if (r == 0 && !c->json) {
        put_config(&b, a.config);
        (void)printf("%s\n", buf_cstr(&b));
        if (!wanted.without_idempotent_sharding)
            (void)puts("Features to enable:\n  - controlled-idempotent-sharding\n");
    }
    if (r == 0)
        r = confirm(c, "Provision cluster with this configuration?", err);
    if (r == 0) {
        wanted = *a.config;
        m.dry_run = false;
        r = client_request_at(c, c->seeds[0], SERVICE_NODE_CTL, NODE_PROVISION, &m, &a, err);
    }
    if (r < 0 && r != RS_EEXIST)
        return r;
    if (c->json)
        json_print(json_pack("{s:b}", "provisioned", r == 0));
    else
        (void)puts(r == 0 ? "✅ Cluster has been successfully provisioned."
                          : "🤷 The cluster has been provisioned by somebody else already.");
    return 0;
}
