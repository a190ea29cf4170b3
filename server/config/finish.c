/* SPDX-License-Identifier: Apache-2.0 */
/* What depends on several options, or on the machine: cascades, shares of the memory limit, plugins of stores and
 * schemes. */
#include "base/address.h"
#include "base/logging.h"
#include "base/text.h"
#include "config/options.h"

#include <limits.h>
#include <stdarg.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static char *text_in(struct config *c, const char *fmt, ...) RS_PRINTF(2, 3);
static char *text_in(struct config *c, const char *fmt, ...) {
    char one[PATH_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(one, sizeof one, fmt, ap);
    va_end(ap);
    return arena_str(cfg_arena(c->tree), slice_str(one));
}

static const struct cfg_node *given(const struct config *c, const char *path) {
    const struct cfg_node *n = cfg_find(c->root, path);

    return n && n->type != CFG_NULL ? n : NULL;
}

/* ---- the machine ---- */

static uint64_t cores_of(const struct config_inputs *in) {
    cpu_set_t set;
    int n = 0;

    if (in->cores)
        return in->cores;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    return n > 0 ? (uint64_t)n : 1;
}

/* Memory of the machine, or of the container when that is less. */
static uint64_t ram_of(const struct config_inputs *in) {
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), limit;
    char text[32] = "";
    FILE *f;

    if (in->ram_bytes)
        return in->ram_bytes;
    f = fopen("/sys/fs/cgroup/memory.max", "re");
    if (f) {
        if (fgets(text, sizeof text, f))
            text[strcspn(text, "\n")] = 0;
        (void)fclose(f);
        if (text_parse_u64(slice_str(text), &limit) == 0 && limit > 0)
            ram = MIN(ram, limit);
    }
    return ram;
}

static int name_node(struct config *c, const struct config_inputs *in, struct err *err) {
    const struct cfg_node *n = given(c, "node-name");
    char host[256] = "";

    if (!c->node_name) {
        if (in->hostname)
            (void)snprintf(host, sizeof host, "%s", in->hostname);
        else if (gethostname(host, sizeof host - 1) < 0)
            return err_errno(err, "cannot find the host name; set node-name");
        c->node_name = text_in(c, "%s", host);
    }
    if (!c->node_name[0] || c->node_name[0] == '.' || strlen(c->node_name) > 200 || strpbrk(c->node_name, "/\\ \t\n"))
        return n ? cfg_error(err, n, "\"%.60s\" cannot be the name of a node: no space, slash, or dot at the start",
                             c->node_name)
                 : err_set(err, RS_EINVAL, "the host name \"%.60s\" cannot be the name of a node; set node-name",
                           c->node_name);
    c->node_dir = text_in(c, "%s/%s", c->base_dir, c->node_name);
    return 0;
}

static int find_plugins(struct config *c, const struct config_inputs *in, struct err *err) {
    char exe[PATH_MAX] = "", dir[PATH_MAX + 32];
    const struct cfg_node *n = given(c, "plugins.dir");
    struct stat st;
    char *slash;
    ssize_t len;

    if (n)
        return c->plugins_dir[0] == '/' ? 0 : cfg_error(err, n, "\"%.100s\" is not an absolute path", c->plugins_dir);
    c->plugins_dir = RS_PLUGIN_DIR;
    if (in->exe_path) {
        (void)snprintf(exe, sizeof exe, "%s", in->exe_path);
    } else {
        len = readlink("/proc/self/exe", exe, sizeof exe - 1);
        exe[MAX(len, (ssize_t)0)] = 0;
    }
    for (int up = 0; up < 2; up++) { /* <build>/bin/restate-server -> <build> */
        slash = strrchr(exe, '/');
        if (!slash)
            return 0;
        *slash = 0;
    }
    (void)snprintf(dir, sizeof dir, "%s/build.ninja", exe);
    if (!exe[0] || stat(dir, &st) < 0)
        return 0;
    (void)snprintf(dir, sizeof dir, "%s/plugins", exe);
    if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
        c->plugins_dir = text_in(c, "%s", dir);
    return 0;
}

/* ---- listeners ---- */

struct listen_section {
    const char *prefix; /* "" or "ingress." */
    const char *socket;
    struct cfg_listen *to;
    const char *default_ip;
    unsigned default_port;
};

static const struct cfg_node *in_section(const struct config *c, const struct listen_section *s, const char *name) {
    char path[64];

    (void)snprintf(path, sizeof path, "%s%s", s->prefix, name);
    return given(c, path);
}

static void warn_ignored(const struct config_inputs *in, const struct listen_section *s, const struct cfg_node *n,
                         const char *name) {
    char text[300];

    if (!n || !in->warn)
        return;
    (void)snprintf(text, sizeof text, "%.120s: %s%s has no effect because %sbind-address is set", n->source, s->prefix,
                   name, s->prefix);
    in->warn(in->arg, text);
}

static const char *absolute(struct config *c, const char *path) {
    char cwd[PATH_MAX];

    return path[0] == '/' || !getcwd(cwd, sizeof cwd) ? path : text_in(c, "%s/%s", cwd, path);
}

/* The addresses as they are bound: port 0 with use-random-ports. */
static int random_ports(struct config *c, struct cfg_listen *l, struct err *err) {
    const char **v = arena_newn(cfg_arena(c->tree), const char *, l->bind.n + 1);

    for (size_t i = 0; i < l->bind.n; i++) {
        struct address a;
        char uri[600];
        int r = address_parse(l->bind.v[i], &a, err);

        if (r < 0)
            return r;
        a.port = 0;
        v[i] = text_in(c, "%s", address_uri(&a, uri, sizeof uri));
    }
    l->bind.v = v;
    return 0;
}

static int finish_listen(struct config *c, const struct config_inputs *in, const struct listen_section *s,
                         struct err *err) {
    const struct cfg_node *ip = in_section(c, s, "bind-ip"), *port = in_section(c, s, "bind-port"),
                          *top_ip = given(c, "bind-ip");
    struct cfg_listen *l = s->to;
    const char *host = ip ? ip->text : top_ip ? top_ip->text : s->default_ip;
    bool v6 = strchr(host, ':') && host[0] != '[';
    struct address checked;
    const char **v;
    size_t n = 0;

    if (!in_section(c, s, "advertised-host"))
        l->advertised_host = c->fabric.advertised_host;
    if (!in_section(c, s, "use-random-ports"))
        l->random_port = c->fabric.random_port;
    if (!in_section(c, s, "listen-mode"))
        l->mode = s->prefix[0] ? c->fabric.mode : LISTEN_TCP;
    if (in_section(c, s, "bind-address")) {
        warn_ignored(in, s, ip, "bind-ip");
        warn_ignored(in, s, port, "bind-port");
        return l->random_port ? random_ports(c, l, err) : 0;
    }
    v = arena_newn(cfg_arena(c->tree), const char *, 2);
    if (l->mode != LISTEN_UNIX)
        v[n++] = text_in(c, v6 ? "[%s]:%s" : "%s:%s", host,
                         l->random_port ? "0"
                         : port         ? port->text
                                        : text_in(c, "%u", s->default_port));
    if (l->mode != LISTEN_TCP)
        v[n++] = text_in(c, "unix:%s/%s", absolute(c, c->base_dir), s->socket);
    l->bind = (struct cfg_strings){.n = n, .v = v};
    if (l->mode != LISTEN_UNIX && address_parse(v[0], &checked, err) < 0)
        return cfg_error(err,
                         ip       ? ip
                         : top_ip ? top_ip
                         : port   ? port
                                  : c->root,
                         "%s is not an address that can be bound", v[0]);
    return 0;
}

static int finish_listeners(struct config *c, const struct config_inputs *in, struct err *err) {
    const struct listen_section sections[] = {{"", "fabric.sock", &c->fabric, "0.0.0.0", 5122},
                                              {"ingress.", "ingress.sock", &c->ingress.listen, "0.0.0.0", 8080},
                                              {"admin.", "admin.sock", &c->admin.listen, "127.0.0.1", 9070}};

    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        int r = finish_listen(c, in, &sections[i], err);

        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- plugins ---- */

static const struct cfg_node *empty_map(struct config *c) {
    return cfg_add(c->tree, NULL, NULL, CFG_MAP, NULL);
}

/* A map node or NULL. */
static const struct cfg_node *options_of(const struct cfg_node *section) {
    const struct cfg_node *o = cfg_get(section, "options");

    return o && o->type == CFG_MAP ? o : NULL;
}

static const char *plugin_of(const struct cfg_node *section) {
    const struct cfg_node *p = cfg_get(section, "plugin");

    return p && p->type == CFG_SCALAR ? p->text : NULL;
}

/* @own over @base, key by key. */
static const struct cfg_node *join_options(struct config *c, const struct cfg_node *base, const struct cfg_node *own) {
    struct cfg_node *both;

    if (!base || !own)
        return own ? own : base ? base : empty_map(c);
    both = cfg_copy(c->tree, NULL, NULL, own);
    both->parent = own->parent;
    both->key = own->key;
    for (const struct cfg_node *o = base->first; o; o = o->next)
        if (!cfg_get(own, o->key))
            (void)cfg_copy(c->tree, both, o->key, o);
    return both;
}

static void finish_storage(struct config *c) {
    static const char *const names[STORE_KINDS] = {"log", "meta", "data"};
    const struct cfg_node *top = given(c, "storage");
    const char *plugin = plugin_of(top);

    if (!plugin)
        plugin = "rocksdb";
    for (size_t i = 0; i < STORE_KINDS; i++) {
        const struct cfg_node *own = cfg_get(top, names[i]), *dir = cfg_get(own, "dir");
        const char *name = plugin_of(own);
        bool same = !name || strcmp(name, plugin) == 0;

        c->storage.plugin[i].name = name ? name : plugin;
        c->storage.plugin[i].options = join_options(c, same ? options_of(top) : NULL, options_of(own));
        c->storage.dir[i] = dir && dir->type == CFG_SCALAR ? dir->text : NULL;
    }
    if (c->storage.data_stores == CFG_UNSET)
        c->storage.data_stores = MIN(c->loops, (uint64_t)16);
}

static void finish_transport(struct config *c, const char *path, struct cfg_transports *to) {
    const struct cfg_node *section = given(c, path);
    struct cfg_transport *v;
    size_t n = 0;

    if (!section || section->type != CFG_MAP)
        return;
    v = arena_newn(cfg_arena(c->tree), struct cfg_transport, section->n + 1);
    for (const struct cfg_node *s = section->first; s; s = s->next) {
        v[n].scheme = s->key;
        v[n].plugin.name = plugin_of(s) ? plugin_of(s) : s->key;
        v[n].plugin.options = options_of(s) ? options_of(s) : empty_map(c);
        n++;
    }
    *to = (struct cfg_transports){.n = n, .v = v};
}

/* Calls to services trust the system's certificates and never show the node's. */
static void finish_invoker_tls(struct config *c) {
    struct cfg_transports *to = &c->invoker.transport;
    struct cfg_transport *v = arena_newn(cfg_arena(c->tree), struct cfg_transport, to->n + 1);
    struct cfg_node *o;
    size_t n = to->n;

    c->invoker.transport_configured = n > 0;
    for (size_t i = 0; i < n; i++) {
        v[i] = to->v[i];
        if (strcmp(v[i].scheme, "tls") == 0)
            return;
    }
    o = cfg_add(c->tree, NULL, NULL, CFG_MAP, NULL);
    (void)cfg_add(c->tree, o, "ca-file", CFG_SCALAR, "system");
    v[n] = (struct cfg_transport){.scheme = "tls", .plugin = {.name = "tls", .options = o}};
    *to = (struct cfg_transports){.n = n + 1, .v = v};
}

/* ---- numbers ---- */

static void finish_invoker_sizes(struct config *c) {
    uint64_t all = c->invoker.memory_limit, half = all / 2, each, most;

    if (c->invoker.per_invocation_limit == CFG_UNSET) {
        c->invoker.per_invocation_limit = MIN(c->invoker.message_size_limit, half);
        /* state that does not fit is left to be read by and by; who sets the limit gets it as a limit */
        c->invoker.eager_state_limit = MIN(c->invoker.eager_state_limit, c->invoker.per_invocation_limit);
    }
    c->invoker.per_invocation_limit = MIN(c->invoker.per_invocation_limit, half);
    if (c->invoker.initial_memory == CFG_UNSET) { /* both directions of a stream's window */
        each = all / 4 / MIN(c->invoker.concurrent_limit, (uint64_t)1000);
        c->invoker.initial_memory = MIN(MAX(each, (uint64_t)32 << 10), 2 * c->invoker.stream_window);
    }
    most = MIN(all / 4, (uint64_t)4 << 20);
    c->invoker.initial_memory = MIN(c->invoker.initial_memory, most);
}

static void finish_sizes(struct config *c) {
    uint64_t message = c->networking.message_size_limit, all = c->memory_limit_bytes;
    const struct {
        uint64_t *value, fallback, most;
    } sizes[] = {{&c->ingress.request_size_limit, message, message},
                 {&c->invoker.message_size_limit, message, message},
                 {&c->log.record_cache_bytes, MIN(all / 10, 16 * MIB), all},
                 {&c->invoker.memory_limit, all / 8, all}};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        *sizes[i].value = *sizes[i].value == CFG_UNSET ? sizes[i].fallback : MIN(*sizes[i].value, sizes[i].most);
    finish_invoker_sizes(c);
    c->invoker.message_size_warning = MIN(c->invoker.message_size_warning, c->invoker.message_size_limit);
}

static int finish_roles(struct config *c, struct err *err) {
    bool asked = given(c, "ingress.enabled") != NULL;

    (void)err;
    if (!asked)
        c->ingress.enabled = (c->roles & (CFG_ROLE_HTTP_INGRESS | CFG_ROLE_WORKER)) != 0;
    if (!c->ingress.enabled)
        c->roles &= ~(unsigned)CFG_ROLE_HTTP_INGRESS;
    else
        c->roles |= CFG_ROLE_HTTP_INGRESS;
    if (!c->roles)
        return cfg_error(err, given(c, "ingress.enabled"),
                         "the only role of this node is http-ingress, and it is switched off");
    return 0;
}

static void finish_replication(struct config *c) {
    const struct cfg_replication *both = &c->default_replication;

    if (!c->log_replication.copies)
        c->log_replication = both->copies && !both->all ? *both : (struct cfg_replication){.copies = 1};
    if (!c->partition_replication.copies)
        c->partition_replication = both->copies ? *both : (struct cfg_replication){.copies = 3, .all = true};
}

static void finish_headers(struct config *c) {
    struct cfg_pairs *p = &c->invoker.headers;

    if (given(c, "worker.invoker.additional-request-headers"))
        return;
    p->names = arena_newn(cfg_arena(c->tree), const char *, 1);
    p->values = arena_newn(cfg_arena(c->tree), const char *, 1);
    *(const char **)(uintptr_t)p->names = "x-restate-cluster-name";
    *(const char **)(uintptr_t)p->values = c->cluster_name;
    p->n = 1;
}

int config_log_level(const char *filter, int *ret, struct err *err) {
    static const char *const names[] = {"off", "error", "warn", "info", "debug", "trace"};
    int fallback = -1, own = -1;

    for (const char *s = filter; *s;) {
        size_t n = strcspn(s, ","), eq = strcspn(s, "=,");
        const char *level = eq < n ? s + eq + 1 : s;
        size_t len = n - (size_t)(level - s), i = 0;

        while (i < ARRAY_SIZE(names) && (strlen(names[i]) != len || strncasecmp(names[i], level, len) != 0))
            i++;
        if (n && i == ARRAY_SIZE(names))
            return err_set(err, RS_EINVAL, "\"%.*s\" is not a level of logging (off, error, warn, info, debug, trace)",
                           (int)MIN(len, (size_t)40), level);
        if (n && eq < n && eq == 7 && strncmp(s, "restate", 7) == 0)
            own = (int)i;
        else if (n && eq == n)
            fallback = (int)i;
        s += n + (s[n] == ',');
    }
    *ret = own >= 0 ? own : fallback >= 0 ? fallback : RS_LOG_INFO;
    return 0;
}

static int finish_logging(struct config *c, struct err *err) {
    const struct cfg_node *n = given(c, "log-filter");
    struct err why = {0};

    if (config_log_level(c->logging.filter, &c->logging.level, &why) < 0)
        return cfg_error(err, n ? n : c->root, "%s", why.msg);
    return 0;
}

int config_finish(struct config *c, const struct config_inputs *in, struct err *err) {
    const struct cfg_node *provider = given(c, "bifrost.default-provider");
    bool local = provider && strcmp(provider->text, "local") == 0;
    int r = name_node(c, in, err);

    if (r == 0)
        r = find_plugins(c, in, err);
    if (r == 0)
        r = finish_roles(c, err);
    if (r == 0)
        r = finish_logging(c, err);
    if (r == 0)
        r = finish_listeners(c, in, err);
    if (r < 0)
        return r;
    if (!given(c, "auto-provision"))
        c->auto_provision = !c->production;
    if (c->loops == CFG_UNSET)
        c->loops = MIN(cores_of(in), (uint64_t)256);
    if (c->memory_limit_bytes == CFG_UNSET)
        c->memory_limit_bytes = MAX(ram_of(in) / 4, 64 * MIB);
    if (local && in->warn)
        in->warn(in->arg, "bifrost.default-provider: local is the replicated log with one copy");
    finish_replication(c);
    if (local)
        c->log_replication = (struct cfg_replication){.copies = 1};
    finish_sizes(c);
    finish_headers(c);
    finish_storage(c);
    finish_transport(c, "transport", &c->transport);
    finish_transport(c, "ingress.transport", &c->ingress.transport);
    finish_transport(c, "admin.transport", &c->admin.transport);
    finish_transport(c, "worker.invoker.transport", &c->invoker.transport);
    finish_invoker_tls(c);
    return 0;
}
