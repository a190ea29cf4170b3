/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/transports.h"

#include <stdio.h>
#include <string.h>

struct entry {
    char scheme[16];
    struct plugin_instance *instance;
};
struct transports {
    size_t n;
    struct entry *v;
};

struct transports *transports_new(void) {
    return xnew(struct transports);
}

struct transports *transports_free(struct transports *t) {
    if (t) {
        free(t->v);
        free(t);
    }
    return NULL;
}

static void set_scheme(struct transports *t, const char *scheme, struct plugin_instance *instance) {
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->v[i].scheme, scheme) == 0) {
            t->v[i].instance = instance;
            return;
        }
    }
    t->v = xrealloc(t->v, (t->n + 1) * sizeof *t->v);
    (void)snprintf(t->v[t->n].scheme, sizeof t->v->scheme, "%s", scheme);
    t->v[t->n++].instance = instance;
}

int transports_add(struct transports *t, const char *scheme, struct plugin_instance *instance, struct err *err) {
    const char *at = instance->transport->schemes;
    bool found = false;

    while (*at) {
        size_t n = strcspn(at, ",");
        char name[16];

        if (n == 0 || n >= sizeof name)
            return err_set(err, RS_EINVAL, "transport plugin %.64s: its list of schemes \"%.60s\" is not valid",
                           instance->info->name, instance->transport->schemes);
        (void)snprintf(name, sizeof name, "%.*s", (int)n, at);
        found |= scheme && strcmp(scheme, name) == 0;
        set_scheme(t, name, instance);
        at += n + (at[n] == ',');
    }
    if (scheme && !found)
        return err_set(err, RS_EINVAL, "transport plugin %.64s serves \"%.60s\", not \"%.20s\"", instance->info->name,
                       instance->transport->schemes, scheme);
    return 0;
}

struct plugin_instance *transports_find(const struct transports *t, const char *scheme) {
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->v[i].scheme, scheme) == 0)
            return t->v[i].instance;
    return NULL;
}

static int resolve(const struct transports *t, const char *text, struct plugin_instance **ret, struct address *a,
                   struct err *err) {
    int r = address_parse(text, a, err);

    if (r < 0)
        return r;
    *ret = transports_find(t, a->scheme);
    if (!*ret)
        return err_set(err, RS_EUNSUPPORTED, "no transport for %s addresses is configured: \"%.100s\"", a->scheme,
                       text);
    return 0;
}

int transports_listen(const struct transports *t, struct loop *loop, const char *text, const rs_conn_opts *opts,
                      void (*accepted)(void *arg, rs_conn *), void *arg, const rs_transport_ops **ret_ops,
                      rs_listener **ret, struct err *err) {
    rs_error why = {.struct_size = sizeof why};
    struct plugin_instance *i;
    struct address a;
    char uri[600];
    int r = resolve(t, text, &i, &a, err);

    if (r < 0)
        return r;
    r = i->transport->listen(i->self, host_loop(loop), address_uri(&a, uri, sizeof uri), opts, accepted, arg, ret,
                             &why);
    if (r < 0) {
        (void)err_from_abi(err, r, &why);
        return err_wrap(err, r, "cannot listen on %.150s", text);
    }
    *ret_ops = i->transport;
    return 0;
}

int transports_connect(const struct transports *t, struct loop *loop, const char *text, const rs_conn_opts *opts,
                       const rs_conn_events *events, void *arg, const rs_transport_ops **ret_ops, rs_conn **ret,
                       struct err *err) {
    rs_error why = {.struct_size = sizeof why};
    struct plugin_instance *i;
    struct address a;
    char uri[600];
    int r = resolve(t, text, &i, &a, err);

    if (r < 0)
        return r;
    r = i->transport->connect(i->self, host_loop(loop), address_uri(&a, uri, sizeof uri), opts, events, arg, ret, &why);
    if (r < 0) {
        (void)err_from_abi(err, r, &why);
        return err_wrap(err, r, "cannot connect to %.150s", text);
    }
    *ret_ops = i->transport;
    return 0;
}
