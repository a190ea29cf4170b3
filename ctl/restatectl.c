/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/restatectl.c : the operators' tool: the table of its commands, and its command line.
 *
 * Exit status: 0 done, 1 it failed, 2 usage. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/logging.h"
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

static const struct option_spec describe_options[] = {{"from-segment-id", 0, "I", "segments from this one on"},
                                                      {"skip", 0, "N", "not the first so many"},
                                                      {"tail", 0, "N", "the last so many (25)"},
                                                      {"head", 0, "N", "the first so many"},
                                                      {"all", 0, NULL, "all segments"},
                                                      {"extra", 0, NULL, "trim point and parameters too"},
                                                      {NULL}};
static const struct option_spec trim_options[] = {{"trim-point", 't', "LSN", "the last LSN that goes"}, {NULL}};
static const struct option_spec seal_options[] = {{"segment-index", 'i', "N", "only if this is the newest segment"},
                                                  {"reason", 0, "TEXT", "kept in the chain"},
                                                  {NULL}};
static const struct option_spec reconfigure_options[] = {
    {"log-id", 'l', "IDS", "which logs"},
    {"segment-index", 'i', "N", "only if this is the newest segment"},
    {"provider", 'p', "KIND", "replicated is the only one"},
    {"replication", 0, "R", "not here: see config set --log-replication"},
    {"nodeset", 0, "NODES", "not here: chosen automatically"},
    {"sequencer", 0, "NODE", "not here: see partitions leadership pin"},
    {NULL}};
static const struct option_spec get_options[] = {{"key", 'k', "KEY", "which value"}, {NULL}};
static const struct option_spec put_options[] = {
    {"key", 'k', "KEY", "which value"},
    {"version-is", 0, "V", "only if the stored version is this one (also written --version V)"},
    {"dry-run", 'n', NULL, "show what would be stored"},
    {NULL}};
static const struct option_spec patch_options[] = {
    {"key", 'k', "KEY", "which value"},
    {"patch", 'p', "JSON", "operations of RFC 6902"},
    {"version-is", 0, "V", "only if the stored version is this one (also written --version V)"},
    {"dry-run", 'n', NULL, "show what would be stored"},
    {NULL}};
static const struct option_spec nodes_options[] = {{"nodes", 0, "N1,N2", "which nodes"}, {NULL}};
static const struct option_spec storage_options[] = {
    {"nodes", 0, "N1,N2", "which nodes"},
    {"storage-state", 0, "STATE", "provisioning, disabled, read-only, gone, read-write, data-loss"},
    {"force", 0, NULL, "also what is not safe"},
    {NULL}};
static const struct option_spec worker_options[] = {
    {"nodes", 0, "N1,N2", "which nodes"},
    {"worker-state", 0, "STATE", "provisioning, active, draining, disabled"},
    {"force", 0, NULL, "also what is not safe"},
    {NULL}};
static const struct option_spec reason_options[] = {{"reason", 'r', "TEXT", "why, for those who come later"}, {NULL}};
static const struct option_spec place_options[] = {
    {"replicas", 'r', "1,2,3", "where it shall run"}, {"freeze", 0, "REASON", "and stay, whatever happens"}, {NULL}};
static const struct option_spec pin_options[] = {{"node", 0, "N", "who shall lead whenever it can"}, {NULL}};
static const struct option_spec snapshot_options[] = {
    {"min-lsn", 'm', "LSN", "at least so far"}, {"trim-log", 't', NULL, "and trim the log"}, {NULL}};
static const struct option_spec digest_options[] = {
    {"from", 0, "OFFSET", "the first one shown"},
    {"to", 0, "OFFSET", "the last one shown"},
    {"under-replicated-only", 'u', NULL, "only those with too few copies"},
    {NULL}};

static const struct command commands[] = {
    {NULL, NULL, "status", NULL, "", "nodes, leaders, partitions, logs, and what is wrong", status_options, run_status,
     false},
    {NULL, NULL, "provision", NULL, "", "found a cluster at the first address", provision_options, run_provision,
     false},
    {"config", NULL, "get", NULL, "", "the cluster's configuration", NULL, run_config_get, false},
    {"config", NULL, "set", NULL, "", "change the cluster's configuration", config_options, run_config_set, false},
    {"nodes", NULL, "list", "ls", "", "the nodes of the cluster", extra_option, run_nodes_list, false},
    {"nodes", NULL, "remove", "rm", "[NODE...]", "remove nodes for good", nodes_options, run_nodes_remove, false},
    {"nodes", NULL, "set-storage-state", NULL, "[NODE...]", "what a log-server may be used for", storage_options,
     run_set_storage_state, false},
    {"nodes", NULL, "set-worker-state", NULL, "[NODE...]", "what a worker may be used for", worker_options,
     run_set_worker_state, false},
    {"storage-state", NULL, "set", NULL, "[NODE...]", "the same as nodes set-storage-state", storage_options,
     run_set_storage_state, false},
    {"partitions", NULL, "list", "ls", "", "the processors of all partitions", sort_options, run_partitions_list,
     false},
    {"placement", NULL, "show", NULL, "[IDS]", "where partitions run (partitions placement)", NULL, run_placement_show,
     false},
    {"placement", NULL, "set", NULL, "IDS", "choose where they run", place_options, run_placement_set, false},
    {"placement", NULL, "freeze", NULL, "IDS", "they stay where they are", reason_options, run_placement_freeze, false},
    {"placement", NULL, "unfreeze", NULL, "IDS", "they are placed automatically", NULL, run_placement_unfreeze, false},
    {"leadership", NULL, "show", NULL, "[IDS]", "who leads partitions (partitions leadership)", NULL,
     run_leadership_show, false},
    {"leadership", NULL, "pin", NULL, "IDS", "choose who leads", pin_options, run_leadership_pin, false},
    {"leadership", NULL, "unpin", NULL, "IDS", "anybody may lead", NULL, run_leadership_unpin, false},
    {"leadership", NULL, "freeze", NULL, "IDS", "leaders stay who they are", reason_options, run_leadership_freeze,
     false},
    {"leadership", NULL, "unfreeze", NULL, "IDS", "leaders are chosen automatically", NULL, run_leadership_unfreeze,
     false},
    {"logs", NULL, "list", "ls", "", "the newest segment of every log", NULL, run_logs_list, false},
    {"logs", NULL, "describe", NULL, "[IDS]", "the segments of logs", describe_options, run_logs_describe, false},
    {"logs", NULL, "find-tail", NULL, "IDS", "ask the log-servers for the tail", NULL, run_logs_find_tail, false},
    {"logs", NULL, "trim", NULL, "IDS", "remove the oldest records", trim_options, run_logs_trim, false},
    {"logs", NULL, "seal", NULL, "IDS", "close the newest segment", seal_options, run_logs_seal, false},
    {"logs", NULL, "reconfigure", NULL, "[IDS]", "begin a new segment", reconfigure_options, run_logs_reconfigure,
     false},
    {"replicated-loglet", NULL, "info", NULL, "LOGLET", "a loglet as its log-servers have it", NULL, run_loglet_info,
     false},
    {"replicated-loglet", NULL, "digest", NULL, "LOGLET", "which record is where", digest_options, run_loglet_digest,
     false},
    {"replicated-loglet", NULL, "list-servers", "servers", "", "the log-servers", NULL, run_loglet_servers, false},
    {"metadata-server", "ms", "list-servers", "ls", "", "the metadata servers", NULL, run_metadata_servers, false},
    {"metadata-server", "ms", "add-node", "add", "NODE...", "make nodes members of the metadata group", NULL,
     run_metadata_add, false},
    {"metadata-server", "ms", "remove-node", "rm", "NODE...", "take members out of the metadata group", NULL,
     run_metadata_remove, false},
    {"metadata", NULL, "get", NULL, "[KEY]", "a metadata value as JSON", get_options, run_metadata_get, false},
    {"metadata", NULL, "list-keys", NULL, "", "the keys there are", NULL, run_metadata_keys, false},
    {"metadata", NULL, "put", NULL, "[KEY] FILE", "replace a value (dangerous)", put_options, run_metadata_put, false},
    {"metadata", NULL, "patch", NULL, "[KEY]", "change a value (dangerous)", patch_options, run_metadata_patch, false},
    {"metadata", NULL, "migrate", NULL, "", "not supported", NULL, run_metadata_migrate, true},
    {"snapshots", NULL, "create-snapshot", "create", "[IDS]", "snapshots of partitions, into the repository",
     snapshot_options, run_snapshots_create, false},
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

/* ---- help ---- */

static bool is_below_partitions(const char *group) {
    return strcmp(group, "placement") == 0 || strcmp(group, "leadership") == 0;
}

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
        (void)snprintf(text, sizeof text, "%s%s%s%s %s", c->group && is_below_partitions(c->group) ? "partitions " : "",
                       c->group ? c->group : "", c->group ? " " : "", c->name, c->operands);
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
    if (*ret_group && strcmp(*ret_group, "partitions") == 0 && a->n > 1 && find_group(a->words[1]) &&
        is_below_partitions(find_group(a->words[1]))) { /* a group in a group */
        *ret_group = find_group(a->words[1]);
        *ret_words = 3;
        return a->n > 2 ? find_command(*ret_group, a->words[2]) : NULL;
    }
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

/* Options may stand anywhere, so as long as the command is not known (NULL) every command's options are. */
static const struct option_spec *known_option(const struct command *c, const char *name, size_t len, char letter) {
    const struct option_spec *o = c ? find_option(c->options, name, len, letter) : NULL;

    o = o ? o : find_option(global_options, name, len, letter);
    for (size_t i = 0; i < ARRAY_SIZE(commands) && !o && !c; i++)
        o = find_option(commands[i].options, name, len, letter);
    return o;
}

static int take_option(const struct command *c, struct args *a, int argc, char **argv, int *i, struct err *err) {
    const char *text = argv[*i], *name = text + 2, *equals = strchr(text, '=');
    bool is_long = text[1] == '-';
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct option_spec *o;
    const char *value = NULL;

    if (is_long && len == 7 && memcmp(name, "version", 7) == 0 &&
        (equals || (*i + 1 < argc && argv[*i + 1][0] >= '0' && argv[*i + 1][0] <= '9'))) { /* the one with a value */
        name = "version-is";
        len = strlen(name);
    }
    o = is_long ? known_option(c, name, len, 0) : known_option(c, NULL, 0, text[1]);
    if (!c && !o)
        return 0; /* told once the command is known */
    if (!o || (!is_long && text[2] && !o->value))
        return err_set(err, RS_EINVAL, "'%s' has no option '%.60s'", c ? c->name : "", text);
    if (o->value) {
        value = is_long ? (equals ? equals + 1 : NULL) : (text[2] ? text + 2 + (text[2] == '=') : NULL);
        if (!value && strcmp(o->name, "watch") == 0 && (*i + 1 >= argc || argv[*i + 1][0] == '-'))
            value = "2";
        if (!value && *i + 1 >= argc && c)
            return err_set(err, RS_EINVAL, "option '%.60s' needs a value: %s", text, o->value);
        if (!value && *i + 1 < argc)
            value = argv[++*i];
    }
    if (a->n_options == ARGS_MAX)
        return err_set(err, RS_EINVAL, "too many options");
    a->options[a->n_options].name = o->name;
    a->options[a->n_options++].value = value;
    return 0;
}

static int parse(const struct command *c, struct args *a, int argc, char **argv, struct err *err) {
    bool options = true;
    int r = 0;

    *a = (struct args){0};
    for (int i = 1; i < argc && r == 0; i++) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1])
            r = take_option(c, a, argc, argv, &i, err);
        else if (a->n == ARGS_MAX)
            r = err_set(err, RS_EINVAL, "too many words");
        else
            a->words[a->n++] = argv[i];
    }
    return r;
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
    int r = read_globals(c, &err);

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
    int r = parse(NULL, &c.args, argc, argv, &err);

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
    r = parse(command, &c.args, argc, argv, &err);
    if (r < 0) {
        (void)fprintf(stderr, "Error: %s\n", err.msg);
        return 2;
    }
    c.args.n -= words;
    memmove(c.args.words, c.args.words + words, c.args.n * sizeof c.args.words[0]);
    return run(&c, command);
}
