/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/setup.h"

#include <string.h>

#define ENGINE_SHARE_PERCENT 35u /* of the memory limit, for all storage plugins together */

static int use_stores(struct plugin_registry *reg, const struct config *c, struct plugin_set *set, struct err *err) {
    const struct cfg_plugin *p = c->storage.plugin;
    struct buf seen[STORE_KINDS] = {{0}};
    unsigned distinct = 0;
    int r = 0;

    for (size_t i = 0; i < STORE_KINDS; i++) {
        bool again = false;

        buf_put_str(&seen[i], p[i].name);
        cfg_put_canonical(&seen[i], p[i].options);
        for (size_t k = 0; k < i; k++)
            again |= slice_eq(buf_slice(&seen[i]), buf_slice(&seen[k]));
        distinct += !again;
    }
    for (size_t i = 0; i < STORE_KINDS; i++)
        buf_done(&seen[i]);
    for (size_t i = 0; i < STORE_KINDS && r == 0; i++)
        r = plugin_use(reg, RS_KIND_STORAGE, p[i].name, p[i].options,
                       c->memory_limit_bytes / 100 * ENGINE_SHARE_PERCENT / distinct, &set->store[i], err);
    return r;
}

static int add(struct plugin_registry *reg, struct transports *t, const char *scheme, const struct cfg_plugin *p,
               struct err *err) {
    struct plugin_instance *i;
    int r = plugin_use(reg, RS_KIND_TRANSPORT, p->name, p->options, 0, &i, err);

    return r < 0 ? r : transports_add(t, scheme, i, err);
}

/* The transports of one section: tcp always; its own, else those of the top level. */
static int use_transports(struct plugin_registry *reg, const struct cfg_transports *own,
                          const struct cfg_transports *top, struct transports **ret, struct err *err) {
    const struct cfg_transports *from = own->n ? own : top;
    struct transports *t = transports_new();
    bool tcp = false;
    int r = 0;

    *ret = t;
    for (size_t i = 0; i < from->n; i++)
        tcp |= strcmp(from->v[i].scheme, "tcp") == 0;
    for (size_t i = 0; !tcp && i < top->n; i++) { /* the options of the top level's tcp count everywhere */
        if (strcmp(top->v[i].scheme, "tcp") != 0)
            continue;
        tcp = true;
        r = add(reg, t, "tcp", &top->v[i].plugin, err);
    }
    if (!tcp)
        r = add(reg, t, "tcp", &(struct cfg_plugin){.name = "tcp"}, err);
    for (size_t i = 0; i < from->n && r == 0; i++)
        r = add(reg, t, from->v[i].scheme, &from->v[i].plugin, err);
    return r;
}

/* Calls to services get tls by default, but a build without that plugin still calls plain addresses. */
static int use_invoker(struct plugin_registry *reg, const struct config *c, struct transports **ret, struct err *err) {
    struct cfg_transports own = c->invoker.transport, only_tcp = {0};

    if (!c->invoker.transport_configured && !plugin_exists(reg, RS_KIND_TRANSPORT, "tls"))
        own = only_tcp;
    return use_transports(reg, &own, own.n ? &c->transport : &only_tcp, ret, err);
}

int plugin_set_use(struct plugin_registry *reg, const struct config *c, struct plugin_set *ret, struct err *err) {
    struct plugin_set set = {0};
    int r = use_stores(reg, c, &set, err);

    if (r == 0)
        r = use_transports(reg, &c->transport, &c->transport, &set.fabric, err);
    if (r == 0)
        r = use_transports(reg, &c->ingress.transport, &c->transport, &set.ingress, err);
    if (r == 0)
        r = use_transports(reg, &c->admin.transport, &c->transport, &set.admin, err);
    if (r == 0)
        r = use_invoker(reg, c, &set.invoker, err);
    if (r < 0) {
        plugin_set_done(&set);
        return r;
    }
    *ret = set;
    return 0;
}

void plugin_set_done(struct plugin_set *set) {
    set->fabric = transports_free(set->fabric);
    set->ingress = transports_free(set->ingress);
    set->admin = transports_free(set->admin);
    set->invoker = transports_free(set->invoker);
}
