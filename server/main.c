/* SPDX-License-Identifier: Apache-2.0 */
/* main.c : the process: options, signals, exit status. Everything else is a node. */
#include "base/logging.h"
#include "loop/loop.h"
#include "node.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

extern char **environ;

struct process {
    struct node *node;
    uint64_t shutdown_timeout_ns;
    int signal_fd;
    unsigned signals;
    struct loop *loop;
    struct timer heap_look;
    size_t holes_max;
};

static void on_warning(void *arg, const char *sentence) {
    (void)fprintf(stderr, "warning: %s\n", sentence);
}

static void on_overdue(int sig) {
    static const char text[] = "restate-server: not stopped within shutdown-timeout: the rest is left as by a crash\n";

    (void)sig;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(1);
}

/* On a clock of its own: what hangs may be the loop. */
static void limit_stop(uint64_t ns) {
    struct itimerval t = {.it_value = {.tv_sec = (time_t)(ns / 1000000000),
                                       .tv_usec = (suseconds_t)MAX(ns % 1000000000 / 1000, UINT64_C(1))}};

    (void)signal(SIGALRM, on_overdue);
    (void)setitimer(ITIMER_REAL, &t, NULL);
}

static void on_signal(void *arg, unsigned events) {
    struct process *p = arg;
    struct signalfd_siginfo si;

    while (read(p->signal_fd, &si, sizeof si) == (ssize_t)sizeof si) {
        if (p->signals++)
            _exit(130); /* asked twice: now */
        LOG_INFO("signal received", F_U64("signal", si.ssi_signo));
        limit_stop(p->shutdown_timeout_ns);
        node_stop(p->node);
    }
}

static int block_signals(struct err *err) {
    sigset_t set;
    int fd;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? err_errno(err, "cannot receive signals") : fd;
}

static int fail(const struct err *err, int status) {
    (void)fprintf(stderr, "restate-server: %s\n", err->msg);
    return status;
}

/* ---- the heap ---- */

#define HEAP_LOOK_NS 5000000000ull

/* Large blocks go from thread to thread (loop, writers, engine). With the usual arena per thread each of these keeps
 * what it once needed, and the process is half as large again as what it uses. */
static void few_arenas(void) {
#ifdef M_ARENA_MAX /* glibc */
    (void)mallopt(M_ARENA_MAX, 2);
#endif
}

/* Holes between blocks stay with the process until somebody asks for them to be given back. That costs milliseconds and
 * the page faults of their next use, so it is done seldom, and only where they are a good part of the memory limit. */
static void on_heap_look(void *arg) {
    struct process *p = arg;
#ifdef __GLIBC__
    if (mallinfo2().fordblks > p->holes_max)
        (void)malloc_trim(0);
#endif
    timer_set(p->loop, &p->heap_look, HEAP_LOOK_NS);
}

static int run(const struct config *config, struct err *err) {
    struct process p = {.signal_fd = -1,
                        .shutdown_timeout_ns = config->shutdown_timeout_ns,
                        .holes_max = config->memory_limit_bytes / 4};
    struct watch *w = NULL;
    struct loop *loop = NULL;
    int r = block_signals(err);

    if (r < 0)
        return r;
    p.signal_fd = r;
    r = loop_new(&loop, err);
    if (r == 0)
        r = node_open(config, loop, &p.node, err);
    if (r == 0)
        r = watch_new(loop, p.signal_fd, RS_WATCH_READ, on_signal, &p, &w);
    p.loop = loop;
    timer_init(&p.heap_look, on_heap_look, &p);
    if (r == 0) {
        node_start(p.node);
        timer_set(loop, &p.heap_look, HEAP_LOOK_NS);
        loop_run(loop);
        timer_stop(loop, &p.heap_look);
        if (node_failure(p.node)) {
            *err = *node_failure(p.node);
            r = err->code;
        }
    }
    w = watch_free(w);
    p.node = node_free(p.node);
    loop = loop_free(loop);
    (void)close(p.signal_fd);
    return r;
}

static int check(const struct config *config, struct err *err) {
    struct loop *loop;
    int r = loop_new(&loop, err);

    if (r < 0)
        return r;
    r = node_check(config, loop, err);
    (void)loop_free(loop);
    return r;
}

static int convert(const struct config *config, const struct config_run *what, struct err *err) {
    struct loop *loop;
    int r = loop_new(&loop, err);

    if (r < 0)
        return r;
    logging_set_level(RS_LOG_WARN);
    r = node_convert(config, loop, what->convert_store, what->convert_plugin, err);
    (void)loop_free(loop);
    return r;
}

static void print(void (*put)(struct buf *b)) {
    struct buf b = {0};

    put(&b);
    (void)fwrite(b.data, 1, b.len, stdout);
    buf_done(&b);
}

static int act(const struct config *config, const struct config_run *what) {
    struct err err = {0};
    struct buf b = {0};

    switch (what->action) {
    case CONFIG_VERSION:
        (void)printf("restate-server %s\n", RESTATE_SERVER_VERSION);
        return 0;
    case CONFIG_HELP:
        print(config_put_help);
        return 0;
    case CONFIG_DUMP:
        config_put_dump(&b, config);
        (void)fwrite(b.data, 1, b.len, stdout);
        buf_done(&b);
        return 0;
    case CONFIG_CONVERT_STORE:
        if (convert(config, what, &err) < 0)
            return fail(&err, 1);
        (void)printf("store %s is kept by %s from now on; the configuration must say so too\n", what->convert_store,
                     what->convert_plugin);
        return 0;
    case CONFIG_CHECK:
        if (check(config, &err) < 0)
            return fail(&err, 1);
        (void)printf("the configuration is fine\n");
        return 0;
    case CONFIG_RUN:
        break;
    }
    logging_init(STDERR_FILENO, config->logging.level, (enum logging_format)config->logging.format);
    if (!what->no_logo)
        (void)fprintf(stderr, "restate-server %s\n", RESTATE_SERVER_VERSION);
    return run(config, &err) < 0 ? fail(&err, 1) : 0;
}

int main(int argc, char **argv) {
    struct config_inputs in = {.argc = argc, .argv = argv, .envp = environ, .warn = on_warning};
    struct config *config = NULL;
    struct config_run what;
    struct err err = {0};
    int r;

    few_arenas();
    r = config_load(&in, &what, &config, &err);
    if (r)
        return fail(&err, r);
    r = act(config, &what);
    (void)config_free(config);
    return r;
}
