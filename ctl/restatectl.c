/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/restatectl.c : the operators' tool: the table of its commands, and its command line.
 *
 * Exit status: 0 done, 1 it failed, 2 usage. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/logging.h"
#include "base/text.h"
#include "ctl.h"

#ifndef RESTATE_SERVER_VERSION
#define RESTATE_SERVER_VERSION "0.0.0"
#endif
#ifndef RESTATE_PLUGIN_DIR
#define RESTATE_PLUGIN_DIR "/usr/lib/restate/plugins"
#endif

static const struct option_spec extra_option[] = {{"extra", 0, NULL, "more columns, more tables"}, {NULL}};
static const struct option_spec status_options[] = {
    {"extra", 0, NULL, "everything: nodes, logs, partitions, metadata servers"},
    {"compact", 0, NULL, "only the table of nodes"},
    {"watch", 0, "SECONDS", "again and again"},
    {NULL}};
static const struct option_spec sort_options[] = {{"sort", 0, "partition|node|active", "order of the rows"}, {NULL}};
static const struct option_spec config_options[] = {
    {"replication", 'r', "R", "copies of log records and of partitions: 2, {node: 2}, {zone: 2}"},
    {"log-replication", 0, "R", "copies of log records"},
    {"partition-replication", 0, "R", "processors per partition; * for every worker, at most 3"},
    {"log-provider", 0, "KIND", "replicated is the only one"},
    {"log-default-nodeset-size", 0, "N", "nodes that may hold copies of a log; 0: automatic"},
    {"nodeset-size", 0, "N", "the same"},
    {"num-partitions", 'n', "N", "only while there are none"},
    {NULL}};
static const struct option_spec provision_options[] = {
    {"replication", 'r', "R", "copies of log records and of partitions"},
    {"log-replication", 0, "R", "copies of log records"},
    {"partition-replication", 0, "R", "processors per partition; * for every worker, at most 3"},
    {"log-provider", 0, "KIND", "replicated is the only one"},
    {"log-default-nodeset-size", 0, "N", "nodes that may hold copies of a log; 0: automatic"},
    {"num-partitions", 'n', "N", "cannot be changed later"},
    {"disable-feature", 0, "NAME", "controlled-idempotent-sharding"},
    {NULL}};

static const struct command commands[] = {
    {NULL, NULL, "status", NULL, "", "nodes, leaders, partitions, logs, and what is wrong", status_options, run_status,
     false},
    {"nodes", NULL, "list", "ls", "", "the nodes of the cluster", extra_option, run_nodes_list, false},
    {"partitions", NULL, "list", "ls", "", "the processors of all partitions", sort_options, run_partitions_list,
     false},
    {"logs", NULL, "list", "ls", "", "the newest segment of every log", NULL, run_logs_list, false},
    {"config", NULL, "get", NULL, "", "the cluster's configuration", NULL, run_config_get, false},
    {"config", NULL, "set", NULL, "", "change the cluster's configuration", config_options, run_config_set, false},
    {NULL, NULL, "provision", NULL, "", "found a cluster at the first address", provision_options, run_provision,
     false},
    {"metadata-server", "ms", "list-servers", "ls", "", "the metadata servers", NULL, run_metadata_servers, false},
    {"plugins", NULL, "list", NULL, "", "the plugins of this installation", NULL, run_plugins_list, true},
    {"plugins", NULL, "describe", NULL, "KIND-NAME", "a plugin and its options", NULL, run_plugins_describe, true},
};

static const struct option_spec global_options[] = {
    {"address", 's', "ADDRESS[,ADDRESS]",
     "where to ask: http://HOST:PORT/, https://, unix:PATH (RESTATECTL_ADDRESS; http://localhost:5122/)"},
    {"single-address", 'S', "ADDRESS", "ask only this node"},
    {"tls-ca", 0, "FILE", "verifies nodes at https:// (RESTATECTL_TLS_CA; the system's)"},
    {"tls-cert", 0, "FILE", "certificate of this client (RESTATECTL_TLS_CERT)"},
    {"tls-key", 0, "FILE", "its key (RESTATECTL_TLS_KEY)"},
    {"yes", 'y', NULL, "answer questions with yes (also when CI is set)"},
    {"json", 0, NULL, "print JSON"},
    {"quiet", 'q', NULL, "no notes on stderr"},
    {"verbose", 'v', NULL, "diagnostics on stderr"},
    {"table-style", 0, "compact|borders", "how tables look"},
    {"time-format", 0, "human|iso8601|rfc2822", "how times look"},
    {"connect-timeout", 0, "MS", "3000"},
    {"request-timeout", 0, "MS", "13000"},
    {"no-color", 0, NULL, "no colours"},
    {"plugins-dir", 0, "DIR", "where the transport plugins are"},
    {"help", 'h', NULL, "this text"},
    {"version", 'V', NULL, "the version"},
    {NULL}};

/* ---- arguments ---- */

const char *arg_value(const struct args *a, const char *name) {
    for (size_t i = a->n_options; i-- > 0;)
        if (strcmp(a->options[i].name, name) == 0)
            return a->options[i].value ? a->options[i].value : "";
    return NULL;
}

bool arg_given(const struct args *a, const char *name) {
    return arg_value(a, name) != NULL;
}

int arg_u64(const struct args *a, const char *name, uint64_t max, bool *ret_given, uint64_t *ret, struct err *err) {
    const char *text = arg_value(a, name);
    uint64_t v = 0;

    if (ret_given)
        *ret_given = text != NULL;
    if (!text)
        return 0;
    if (text_parse_u64(slice_str(text), &v) < 0 || v > max)
        return err_set(err, RS_EINVAL, "--%s: '%.40s' is not a number from 0 to %llu", name, text,
                       (unsigned long long)max);
    *ret = v;
    return 0;
}

static int ids_add(struct ids *ids, uint64_t from, uint64_t to, struct err *err) {
    if (to < from || to > UINT32_MAX || to - from >= IDS_MAX || ids->n + (to - from) >= IDS_MAX)
        return err_set(err, RS_EINVAL, "not a range of ids");
    ids->v = xrealloc(ids->v, (ids->n + (to - from) + 1) * sizeof(uint32_t));
    for (uint64_t v = from; v <= to; v++)
        ids->v[ids->n++] = (uint32_t)v;
    return 0;
}

static int ids_word(const char *word, struct ids *ret, struct err *err) {
    while (*word) {
        size_t len = strcspn(word, ","), dash;
        struct slice part = slice_of(word, len), first;
        uint64_t from, to;
        int r;

        if (part.len > 1 && (part.data[0] == 'N' || part.data[0] == 'n'))
            part = slice_from(part, 1);
        for (dash = 0; dash < part.len && part.data[dash] != '-';)
            dash++;
        first = slice_sub(part, 0, dash);
        if (text_parse_u64(first, &from) < 0 ||
            (dash < part.len && text_parse_u64(slice_from(part, dash + 1), &to) < 0))
            return err_set(err, RS_EINVAL, "'%.40s' is not an id or a range of ids", word);
        r = ids_add(ret, from, dash < part.len ? to : from, err);
        if (r < 0)
            return r;
        word += len + (word[len] == ',');
    }
    return 0;
}

int ids_parse(const char *const *words, size_t n, struct ids *ret, struct err *err) {
    int r = 0;

    *ret = (struct ids){0};
    for (size_t i = 0; i < n && r == 0; i++)
        r = ids_word(words[i], ret, err);
    if (r < 0)
        ids_done(ret);
    return r;
}

void ids_done(struct ids *ids) {
    free(ids->v);
    *ids = (struct ids){0};
}

/* ---- help ---- */

static void print_options(FILE *to, const struct option_spec *o) {
    for (; o && o->name; o++) {
        char text[80], letter[8] = "    ";

        if (o->letter)
            (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
        (void)snprintf(text, sizeof text, "%s--%s%s%s", letter, o->name, o->value ? " " : "", o->value ? o->value : "");
        (void)fprintf(to, "  %-42s %s\n", text, o->help);
    }
}

static void print_commands(FILE *to, const char *group) {
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];
        char text[80];

        if (group && (!c->group || strcmp(c->group, group) != 0))
            continue;
        (void)snprintf(text, sizeof text, "%s%s%s %s", c->group ? c->group : "", c->group ? " " : "", c->name,
                       c->operands);
        (void)fprintf(to, "  %-42s %s\n", text, c->help);
    }
}

static int usage(FILE *to, const char *group, const struct command *c) {
    if (c) {
        (void)fprintf(to, "usage: restatectl %s%s%s %s%s\n  %s\n", c->group ? c->group : "", c->group ? " " : "",
                      c->name, c->operands, c->options ? " [options]" : "", c->help);
        if (c->options) {
            (void)fprintf(to, "\noptions\n");
            print_options(to, c->options);
        }
    } else {
        (void)fprintf(to, "usage: restatectl [options] COMMAND\n\ncommands\n");
        print_commands(to, group);
    }
    (void)fprintf(to, "\noptions of every command\n");
    print_options(to, global_options);
    return to == stdout ? 0 : 2;
}

/* ---- which command ---- */

static bool matches(const char *word, const char *name, const char *alias, bool exact) {
    return exact ? strcmp(word, name) == 0 || (alias && strcmp(word, alias) == 0)
                 : strncmp(word, name, strlen(word)) == 0;
}

/* A group's name by a word; NULL: none, or several. */
static const char *find_group(const char *word) {
    const char *found = NULL;

    for (int pass = 0; pass < 2 && !found; pass++)
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
            const struct command *c = &commands[i];

            if (!c->group || !matches(word, c->group, c->alias, pass == 0))
                continue;
            if (found && strcmp(found, c->group) != 0)
                return NULL;
            found = c->group;
        }
    return found;
}

static const struct command *find_command(const char *group, const char *word) {
    const struct command *found = NULL;

    for (int pass = 0; pass < 2 && !found; pass++)
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
            const struct command *c = &commands[i];

            if ((group ? !c->group || strcmp(c->group, group) != 0 : c->group != NULL) ||
                !matches(word, c->name, c->name_alias, pass == 0))
                continue;
            if (found && pass)
                return NULL;
            found = c;
        }
    return found;
}

/* The command that the first words name; *ret_words: how many they are. */
static const struct command *which(const struct args *a, const char **ret_group, size_t *ret_words) {
    const struct command *exact = NULL;

    *ret_group = NULL;
    *ret_words = 1;
    if (a->n == 0)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (!commands[i].group && strcmp(commands[i].name, a->words[0]) == 0)
            exact = &commands[i];
    if (exact)
        return exact;
    *ret_group = find_group(a->words[0]);
    if (*ret_group) {
        *ret_words = 2;
        return a->n > 1 ? find_command(*ret_group, a->words[1]) : NULL;
    }
    return find_command(NULL, a->words[0]);
}

/* ---- the command line ---- */

static const struct option_spec *find_option(const struct option_spec *o, const char *name, size_t len, char letter) {
    for (; o && o->name; o++)
        if (letter ? o->letter == letter : strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    return NULL;
}

/* Options may stand anywhere, so before the command is known every command's options are. */
static const struct option_spec *known_option(const char *name, size_t len, char letter) {
    const struct option_spec *o = find_option(global_options, name, len, letter);

    for (size_t i = 0; i < ARRAY_SIZE(commands) && !o; i++)
        o = find_option(commands[i].options, name, len, letter);
    return o;
}

static int take_option(struct args *a, int argc, char **argv, int *i, struct err *err) {
    const char *text = argv[*i], *name = text + 2, *equals = strchr(text, '=');
    bool is_long = text[1] == '-';
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct option_spec *o = is_long ? known_option(name, len, 0) : known_option(NULL, 0, text[1]);
    const char *value = NULL;

    if (!o || (!is_long && text[2] && !o->value))
        return err_set(err, RS_EINVAL, "there is no option '%.60s'", text);
    if (o->value) {
        value = is_long ? (equals ? equals + 1 : NULL) : (text[2] ? text + 2 + (text[2] == '=') : NULL);
        if (!value && strcmp(o->name, "watch") == 0 && (*i + 1 >= argc || argv[*i + 1][0] == '-'))
            value = "2";
        if (!value && *i + 1 >= argc)
            return err_set(err, RS_EINVAL, "option '%.60s' needs a value: %s", text, o->value);
        if (!value)
            value = argv[++*i];
    }
    if (a->n_options == ARGS_MAX)
        return err_set(err, RS_EINVAL, "too many options");
    a->options[a->n_options].name = o->name;
    a->options[a->n_options++].value = value;
    return 0;
}

static int parse(struct args *a, int argc, char **argv, struct err *err) {
    bool options = true;
    int r = 0;

    for (int i = 1; i < argc && r == 0; i++) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1])
            r = take_option(a, argc, argv, &i, err);
        else if (a->n == ARGS_MAX)
            r = err_set(err, RS_EINVAL, "too many words");
        else
            a->words[a->n++] = argv[i];
    }
    return r;
}

static int check_options(const struct args *a, const struct command *c, struct err *err) {
    for (size_t i = 0; i < a->n_options; i++) {
        const char *name = a->options[i].name;

        if (!find_option(global_options, name, strlen(name), 0) && !find_option(c->options, name, strlen(name), 0))
            return err_set(err, RS_EINVAL, "'%s' has no option --%s", c->name, name);
    }
    return 0;
}

/* The folder next to the program in a build tree, else that of the installation. */
static const char *default_dir(char *buf, size_t size) {
    char exe[PATH_MAX], *slash;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

    if (n > 0) {
        exe[n] = 0;
        slash = strrchr(exe, '/');
        *slash = 0;
        slash = strrchr(exe, '/');
        if (slash && (size_t)snprintf(buf, size, "%.*s/plugins", (int)(slash - exe), exe) < size &&
            access(buf, X_OK) == 0)
            return buf;
    }
    return RESTATE_PLUGIN_DIR;
}

static const char *or_env(const char *value, const char *name) {
    const char *env = value ? NULL : getenv(name);

    return value ? value : env && env[0] ? env : NULL;
}

static int add_seeds(struct ctl *c, const char *text, struct err *err) {
    while (*text) {
        size_t len = strcspn(text, ",");

        if (len && c->n_seeds == SEEDS_MAX)
            return err_set(err, RS_EINVAL, "too many addresses");
        if (len)
            c->seeds[c->n_seeds++] = xstrndup(text, len);
        text += len + (text[len] == ',');
    }
    return 0;
}

static int read_seeds(struct ctl *c, struct err *err) {
    const char *env = or_env(NULL, "RESTATECTL_ADDRESS"), *single = arg_value(&c->args, "single-address");
    int r = 0;

    if (single && arg_given(&c->args, "address"))
        return err_set(err, RS_EINVAL, "--single-address and --address exclude each other");
    c->single = single != NULL;
    if (single)
        r = add_seeds(c, single, err);
    for (size_t i = 0; i < c->args.n_options && r == 0; i++)
        if (strcmp(c->args.options[i].name, "address") == 0)
            r = add_seeds(c, c->args.options[i].value, err);
    if (r == 0 && c->n_seeds == 0)
        r = add_seeds(c, env ? env : "http://localhost:5122/", err);
    return r;
}

static int read_globals(struct ctl *c, struct err *err) {
    const char *time = arg_value(&c->args, "time-format"), *style = arg_value(&c->args, "table-style");
    uint64_t connect_ms = 3000, request_ms = 13000;
    int r;

    c->json = arg_given(&c->args, "json");
    c->yes = arg_given(&c->args, "yes") || or_env(NULL, "CI");
    c->quiet = arg_given(&c->args, "quiet");
    c->colours = isatty(STDOUT_FILENO) && !or_env(NULL, "NO_COLOR") && !arg_given(&c->args, "no-color");
    c->tls_ca = or_env(arg_value(&c->args, "tls-ca"), "RESTATECTL_TLS_CA");
    c->tls_cert = or_env(arg_value(&c->args, "tls-cert"), "RESTATECTL_TLS_CERT");
    c->tls_key = or_env(arg_value(&c->args, "tls-key"), "RESTATECTL_TLS_KEY");
    if (!!c->tls_cert != !!c->tls_key)
        return err_set(err, RS_EINVAL, "--tls-cert and --tls-key need each other");
    if (arg_value(&c->args, "plugins-dir"))
        c->plugins_dir = arg_value(&c->args, "plugins-dir");
    c->borders = style && strcmp(style, "borders") == 0;
    if (style && !c->borders && strcmp(style, "compact") != 0)
        return err_set(err, RS_EINVAL, "--table-style is compact or borders");
    c->time_format = !time || strcmp(time, "human") == 0 ? TIME_HUMAN
                     : strcmp(time, "iso8601") == 0      ? TIME_ISO
                                                         : TIME_RFC2822;
    if (time && c->time_format == TIME_RFC2822 && strcmp(time, "rfc2822") != 0)
        return err_set(err, RS_EINVAL, "--time-format is human, iso8601 or rfc2822");
    r = arg_u64(&c->args, "connect-timeout", 3600000, NULL, &connect_ms, err);
    if (r == 0)
        r = arg_u64(&c->args, "request-timeout", 3600000, NULL, &request_ms, err);
    c->connect_ns = connect_ms * 1000000;
    c->request_ns = MAX(request_ms, 1u) * 1000000;
    logging_set_level(arg_given(&c->args, "verbose") ? RS_LOG_DEBUG : RS_LOG_ERROR);
    return r < 0 ? r : read_seeds(c, err);
}

static int run(struct ctl *c, const struct command *command) {
    struct err err = {0};
    int r = check_options(&c->args, command, &err);

    if (r == 0)
        r = read_globals(c, &err);
    if (r < 0) {
        (void)fprintf(stderr, "Error: %s\n", err.msg);
        return 2;
    }
    if (!command->offline)
        r = client_open(c, &err);
    if (r == 0)
        r = command->run(c, &err);
    (void)fflush(stdout);
    if (r < 0)
        (void)fprintf(stderr, "Error: %s\n", err.msg[0] ? err.msg : err_name(r));
    client_close(c);
    for (size_t i = 0; i < c->n_seeds; i++)
        free(c->seeds[i]);
    return r < 0;
}

int main(int argc, char **argv) {
    char dir[PATH_MAX];
    struct ctl c = {.plugins_dir = default_dir(dir, sizeof dir)};
    const struct command *command;
    const char *group;
    struct err err = {0};
    size_t words;
    int r = parse(&c.args, argc, argv, &err);

    if (r < 0) {
        (void)fprintf(stderr, "Error: %s\n", err.msg);
        return 2;
    }
    if (arg_given(&c.args, "version")) {
        (void)printf("restatectl %s\n", RESTATE_SERVER_VERSION);
        return 0;
    }
    if (c.args.n && strcmp(c.args.words[0], "help") == 0) {
        memmove(c.args.words, c.args.words + 1, --c.args.n * sizeof c.args.words[0]);
        c.args.options[c.args.n_options++ % ARGS_MAX].name = "help";
    }
    command = which(&c.args, &group, &words);
    if (arg_given(&c.args, "help"))
        return usage(stdout, group, command);
    if (!command) {
        if (c.args.n)
            (void)fprintf(stderr, "Error: there is no command '%s%s%s'\n\n", c.args.words[0],
                          group && c.args.n > 1 ? " " : "", group && c.args.n > 1 ? c.args.words[1] : "");
        return usage(stderr, group, NULL);
    }
    c.args.n -= words;
    memmove(c.args.words, c.args.words + words, c.args.n * sizeof c.args.words[0]);
    return run(&c, command);
}
