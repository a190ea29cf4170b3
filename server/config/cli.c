/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: options of the table marked OPT_CLI, and the few that are not options of the configuration. */
#include "base/text.h"
#include "config/options.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *value; /* value NULL: a flag */
    const char *doc;
} own[] = {
    {"config-file", "FILE", "-c: configuration file (YAML) [env: RESTATE_CONFIG]"},
    {"dump-config", NULL, "print the effective configuration and exit"},
    {"check-config", NULL, "load the plugins, check everything, and exit without opening data"},
    {"convert-store", "STORE=PLUGIN", "offline: move a store (log, meta, data) to another storage plugin, and exit"},
    {"production", NULL, "profile for production: auto-provision is off unless set"},
    {"no-logo", NULL, "do not print the logo"},
    {"metadata-store-address", "ADDRESS", "fabric address of a node to join; as metadata-client.addresses"},
    {"metadata-migration-mode", NULL, "accepted, without effect"},
    {"help", NULL, "-h: this text"},
    {"version", NULL, "-V: the version"}};

static const struct option *option_of_cli(const char *name) {
    for (size_t i = 0; i < n_options; i++)
        if ((options[i].flags & OPT_CLI) && strcmp(options[i].path, name) == 0)
            return &options[i];
    return NULL;
}

static int usage_unknown(const char *arg, struct err *err) {
    const char *names[64], *near;
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        names[n++] = own[i].name;
    for (size_t i = 0; i < n_options && n < ARRAY_SIZE(names); i++)
        if (options[i].flags & OPT_CLI)
            names[n++] = options[i].path;
    near = strncmp(arg, "--", 2) == 0 ? text_nearest(slice_of(arg + 2, strcspn(arg + 2, "=")), names, n) : NULL;
    return err_set(err, RS_EINVAL, "unexpected argument \"%.80s\"%s%s%s; see --help", arg,
                   near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

struct args {
    int argc, at;
    char *const *argv;
};

/* The value of an option: behind '=', or the next argument. */
static int take_value(struct args *a, const char *name, const char *inline_value, const char **ret, struct err *err) {
    if (inline_value) {
        *ret = inline_value;
        return 0;
    }
    if (a->at + 1 >= a->argc)
        return err_set(err, RS_EINVAL, "--%s needs a value; see --help", name);
    *ret = a->argv[++a->at];
    return 0;
}

/* --roles a,b --roles c, or --roles a b c */
static int take_roles(struct args *a, const char *first, struct cfg_tree *into) {
    struct cfg_node *list = NULL;

    for (struct cfg_node *c = cfg_root(into)->first; c && !list; c = c->next)
        if (strcmp(c->key, "roles") == 0)
            list = c;
    if (!list) {
        list = cfg_add(into, cfg_root(into), "roles", CFG_LIST, NULL);
        list->source = "option --roles";
    }
    for (;;) {
        for (const char *s = first; *s;) {
            size_t n = strcspn(s, ", ");
            char role[64];

            (void)snprintf(role, sizeof role, "%.*s", (int)n, s);
            if (n)
                (void)cfg_add(into, list, NULL, CFG_SCALAR, role);
            s += n + (s[n] != 0);
        }
        if (a->at + 1 >= a->argc || a->argv[a->at + 1][0] == '-')
            return 0;
        first = a->argv[++a->at];
    }
}

static int take_convert(struct cli *c, const char *value, struct err *err) {
    size_t n = strcspn(value, "=");

    if (!value[n] || !n || !value[n + 1])
        return err_set(err, RS_EINVAL, "--convert-store needs <store>=<plugin>, such as data=lmdb");
    c->run.action = CONFIG_CONVERT_STORE;
    c->run.convert_store = value; /* split by the caller, who owns memory */
    c->run.convert_plugin = value + n + 1;
    return 0;
}

static int take_long(struct args *a, struct cli *c, struct cfg_tree *into, struct err *err) {
    const char *arg = a->argv[a->at], *eq = strchr(arg, '='), *value = NULL, *inline_value = eq ? eq + 1 : NULL;
    const struct option *o;
    char name[64], source[80];
    int r;

    (void)snprintf(name, sizeof name, "%.*s", (int)(eq ? eq - arg - 2 : (long)strlen(arg + 2)), arg + 2);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (strcmp(own[i].name, name) == 0 && !own[i].value && inline_value)
            return err_set(err, RS_EINVAL, "--%s takes no value", name);
    if (strcmp(name, "dump-config") == 0)
        c->run.action = CONFIG_DUMP;
    else if (strcmp(name, "check-config") == 0)
        c->run.action = CONFIG_CHECK;
    else if (strcmp(name, "help") == 0)
        c->run.action = CONFIG_HELP;
    else if (strcmp(name, "version") == 0)
        c->run.action = CONFIG_VERSION;
    else if (strcmp(name, "production") == 0)
        c->production = true;
    else if (strcmp(name, "no-logo") == 0)
        c->run.no_logo = true;
    else if (strcmp(name, "metadata-migration-mode") == 0)
        (void)layer_set(into, "metadata-migration-mode", "true", "option --metadata-migration-mode");
    else if (strcmp(name, "config-file") == 0)
        return take_value(a, name, inline_value, &c->file, err);
    else if (strcmp(name, "convert-store") == 0) {
        r = take_value(a, name, inline_value, &value, err);
        return r < 0 ? r : take_convert(c, value, err);
    } else if (strcmp(name, "metadata-store-address") == 0 || (o = option_of_cli(name))) {
        r = take_value(a, name, inline_value, &value, err);
        if (r < 0)
            return r;
        if (strcmp(name, "roles") == 0)
            return take_roles(a, value, into);
        (void)snprintf(source, sizeof source, "option --%s", name);
        (void)layer_set(into, strcmp(name, "metadata-store-address") == 0 ? "metadata-client.addresses" : name, value,
                        source);
    } else {
        return usage_unknown(arg, err);
    }
    return 0;
}

int cli_parse(const struct config_inputs *in, struct cli *ret, struct cfg_tree *into, struct err *err) {
    struct args a = {.argc = in->argc, .argv = in->argv, .at = 1};

    for (; a.at < a.argc; a.at++) {
        const char *arg = a.argv[a.at];
        int r = 0;

        if (strcmp(arg, "-h") == 0)
            ret->run.action = CONFIG_HELP;
        else if (strcmp(arg, "-V") == 0)
            ret->run.action = CONFIG_VERSION;
        else if (strncmp(arg, "-c", 2) == 0)
            r = take_value(&a, "config-file", arg[2] ? arg + 2 + (arg[2] == '=') : NULL, &ret->file, err);
        else if (strncmp(arg, "--", 2) == 0 && arg[2])
            r = take_long(&a, ret, into, err);
        else
            r = usage_unknown(arg, err);
        if (r < 0)
            return r;
        if (ret->run.action == CONFIG_HELP || ret->run.action == CONFIG_VERSION)
            return 0;
    }
    return 0;
}

static void put_env_name(struct buf *b, const char *path) {
    buf_put_str(b, "RESTATE_");
    for (const char *p = path; *p; p++) {
        if (*p == '.')
            buf_put_str(b, "__");
        else
            buf_put_u8(b, *p == '-' ? '_' : (uint8_t)toupper((unsigned char)*p));
    }
}

void config_put_help(struct buf *b) {
    buf_put_str(b, "restate-server: durable execution of services\n\nUsage: restate-server [OPTIONS]\n\nOptions:\n");
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        buf_putf(b, "      --%s%s%s%s\n          %s\n", own[i].name, own[i].value ? " <" : "",
                 own[i].value ? own[i].value : "", own[i].value ? ">" : "", own[i].doc);
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &options[i];

        if (!(o->flags & OPT_CLI))
            continue;
        buf_putf(b, "      --%s <%s>\n          %s [env: ", o->path,
                 o->kind == OPT_BOOL ? "true|false"
                 : o->choices        ? o->choices
                                     : "VALUE",
                 o->doc);
        put_env_name(b, o->path);
        buf_put_str(b, "]");
        if (o->def)
            buf_putf(b, " [default: %s]", o->def);
        buf_put_str(b, o->flags & OPT_NO_EFFECT ? " (without effect)\n" : "\n");
    }
    buf_put_str(b,
                "\nEvery option of the configuration file can be set in the environment: worker.cleanup-interval is\n"
                "RESTATE_WORKER__CLEANUP_INTERVAL. All options: docs/configuration.md.\n");
}

static void put_cell(struct buf *b, const char *s) {
    for (; *s; s++)
        buf_putf(b, *s == '|' || *s == '<' ? "\\%c" : "%c", *s);
}

void config_put_docs(struct buf *b) {
    static const char *const kinds[] = {"",    "bool",           "integer", "number",        "text",
                                        "",    "duration",       "size",    "list",          "address or list",
                                        "URL", "N or {node: N}", "map",     "list of roles", "name of a plugin",
                                        "map"};

    buf_put_str(b, "# Configuration\n\nWritten from the table in `server/config/options.c` by "
                   "`RESTATE_WRITE_DOCS=1 build/tests/unit_config`.\n\n"
                   "The file is YAML. Precedence: default, file (`-c` or `RESTATE_CONFIG`), environment, command line. "
                   "In the environment\n"
                   "`worker.cleanup-interval` is `RESTATE_WORKER__CLEANUP_INTERVAL`; lists and maps are written as in "
                   "YAML (`[a, b]`, `{k: v}`).\n"
                   "Options marked with a dagger are options of the command line as well.\n"
                   "An unknown name in the file is an error with its line and the nearest known name; in the "
                   "environment it is a warning.\n"
                   "An option that is accepted without effect gives a warning when it is set. `--dump-config` shows "
                   "secrets as `***`: keys, tokens,\nvalues of headers, passwords and queries of URLs.\n\n"
                   "Durations: `500ms`, `1h 30m`, `PT1M`. Sizes: `64MB` (decimal), `64 MiB` (binary), or bytes. "
                   "Addresses: `ip:port`,\n"
                   "`host:port`, `[v6]:port`, `unix:/path`, `tcp://`, `tls://`, `http://` (tcp), `https://` (tls).\n");
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &options[i];

        if (o->kind == OPT_SECTION) {
            buf_putf(b, "\n## %s\n\n| Option | Type | Default | Meaning |\n|---|---|---|---|\n", o->doc);
            continue;
        }
        buf_putf(b, "| `%s`%s | ", o->path, o->flags & OPT_CLI ? " \342\200\240" : "");
        put_cell(b, o->choices ? o->choices : kinds[o->kind]);
        if (o->flags & OPT_UNLIMITED)
            buf_put_str(b, " or unlimited");
        buf_put_str(b, " | ");
        put_cell(b, o->def ? o->def : o->flags & OPT_UNLIMITED ? "unlimited" : "\342\200\223");
        buf_put_str(b, " | ");
        if (o->flags & OPT_NO_EFFECT)
            buf_put_str(b, "accepted without effect: ");
        put_cell(b, o->doc);
        buf_put_str(b, " |\n");
    }
    buf_put_str(b, "\nEvery `rocksdb-*` key is accepted without effect: use `storage.options` and `memory-limit`.\n");
}
