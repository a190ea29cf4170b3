/* SPDX-License-Identifier: Apache-2.0 */
/* restate-plugin-check: runs the conformance suites over one plugin file. TAP on stdout; exit 0 passed, 1 failed, 77
 * nothing to run, 2 wrong usage. */
#include "check.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STORAGE = 1 << RS_KIND_STORAGE, TRANSPORT = 1 << RS_KIND_TRANSPORT, ANY = STORAGE | TRANSPORT };

static const struct suite {
    const char *name, *what;
    int kinds;
    int (*run)(struct check *c);
    unsigned limit_s;
} suites[] = {
    {"load", "descriptor, versions, exports, lifecycle", ANY, suite_load, 60},
    {"config", "schema, defaults, refusals", ANY, suite_config, 60},
    {"model", "random operations against a map in memory", STORAGE, suite_model, 120},
    {"contract", "limits, refusals, one user, damaged files, threads, leaks", STORAGE, suite_contract, 120},
    {"durability", "power cuts at random points: a prefix of the writes survives, all that was synced", STORAGE,
     suite_durability, 240},
    {"faults", "full disk, failing writes and syncs, refused memory", STORAGE, suite_faults, 240},
    {"stream", "bytes arrive whatever the sizes and speeds", TRANSPORT, suite_stream, 60},
    {"connect", "what cannot be dialled or bound is refused", TRANSPORT, suite_connect, 60},
    {"lifecycle", "threads, callbacks, limits of the host, stop", TRANSPORT, suite_lifecycle, 60},
    {"tls", "certificates, names, versions, reload (with option ca-file)", TRANSPORT, suite_tls, 60},
    {"threads", "loops on threads of their own", TRANSPORT, suite_threads, 60},
};

static void usage(FILE *to) {
    (void)fprintf(
        to, "usage: restate-plugin-check FILE.so [--config FILE.yaml] [--suite NAME]... [--seed N] [--verbose]\n\n"
            "Tests a plugin against the contract in restate/*.h. Prints TAP; exit code 0: passed, 1: failed,\n"
            "77: nothing applied.\n\nsuites:\n");
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
        (void)fprintf(to, "  %-12s %s%s\n", suites[i].name, suites[i].what,
                      suites[i].kinds == STORAGE     ? " (storage)"
                      : suites[i].kinds == TRANSPORT ? " (transport)"
                                                     : "");
}

/* The child: load, run, report. Its exit code is 0 or CHECK_SKIP; sanitizers turn it into something else. */
static int run_child(const struct suite *s, struct check *c) {
    rs_error err = {.struct_size = sizeof(err)};
    int r = 0;

    (void)alarm(s->limit_s);
    c->host = host_new(c->seed, c->verbose);
    if (c->host == NULL)
        return 1;
    if (check_load(c, &err) < 0) {
        (void)tap_ok(c->tap, false, "%s: the plugin loads", s->name);
        tap_diag("%s", err.msg);
    } else if ((s->kinds & (1 << c->plugin.kind)) == 0) {
        r = CHECK_SKIP;
    } else {
        r = s->run(c);
    }
    host_free(c->host);
    return r;
}

static void run_suite(const struct suite *s, struct check *c) {
    char dir[] = "/tmp/plugin-check.XXXXXX";
    const char *base = getenv("TMPDIR");
    char *path = dir, *owned = NULL;
    int status = 0;
    pid_t pid;

    if (base != NULL && asprintf(&owned, "%s/plugin-check.XXXXXX", base) > 0)
        path = owned;
    c->dir = mkdtemp(path);
    if (c->dir == NULL) {
        (void)tap_ok(c->tap, false, "%s: a temporary directory can be made: %s", s->name, strerror(errno));
        free(owned);
        return;
    }
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0)
        exit(run_child(s, c));
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        (void)tap_ok(c->tap, false, "%s: a process can be started", s->name);
    else if (WIFSIGNALED(status))
        (void)tap_ok(c->tap, false, "%s: ends without %s", s->name,
                     WTERMSIG(status) == SIGALRM ? "hanging" : strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == CHECK_SKIP)
        tap_skip(c->tap, s->name, "does not apply to this plugin");
    else
        (void)tap_ok(c->tap, WEXITSTATUS(status) == 0, "%s: the process ends cleanly", s->name);
    remove_tree(c->dir);
    free(owned);
}

static const struct suite *suite_find(const char *name) {
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
        if (strcmp(suites[i].name, name) == 0)
            return &suites[i];
    }
    return NULL;
}

int main(int argc, char **argv) {
    static const struct option longopts[] = {
        {"config", required_argument, NULL, 'c'}, {"suite", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'S'},   {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    enum { CHOSEN_MAX = 32 };
    const struct suite *chosen[CHOSEN_MAX];
    size_t n_chosen = 0;
    const char *config_path = NULL;
    struct check c = {.seed = 1};
    rs_error err = {.struct_size = sizeof(err)};
    rs_node *config;
    int o, r;

    while ((o = getopt_long(argc, argv, "c:s:S:vh", longopts, NULL)) != -1) {
        if (o == 'c') {
            config_path = optarg;
        } else if (o == 's' && n_chosen < CHOSEN_MAX && suite_find(optarg) != NULL) {
            chosen[n_chosen++] = suite_find(optarg);
        } else if (o == 'S') {
            c.seed = strtoull(optarg, NULL, 0);
        } else if (o == 'v') {
            c.verbose = true;
        } else {
            usage(o == 'h' ? stdout : stderr);
            return o == 'h' ? 0 : 2;
        }
    }
    if (optind + 1 != argc) {
        usage(stderr);
        return 2;
    }
    c.file = argv[optind];
    config = config_path != NULL ? node_parse_file(config_path, &err) : node_parse("{}", 2, &err);
    c.tap = tap_new();
    if (config == NULL || c.tap == NULL) {
        (void)fprintf(stderr, "restate-plugin-check: %s\n", err.msg);
        return 2;
    }
    c.config = config;
    (void)printf("TAP version 13\n# %s, seed %llu\n", c.file, (unsigned long long)c.seed);
    for (size_t i = 0; i < (n_chosen != 0 ? n_chosen : sizeof(suites) / sizeof(suites[0])); i++)
        run_suite(n_chosen != 0 ? chosen[i] : &suites[i], &c);
    r = tap_end(c.tap);
    tap_free(c.tap);
    node_free(config);
    return r;
}
