/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/check/check.h : what a suite of the conformance kit gets.
 *
 * Every suite runs in a forked child of its own with a fresh copy of the plugin, so a crash, a hang or a leak ends one
 * suite only. A suite reports with tap_ok(c->tap, ...) and returns 0, or CHECK_SKIP when it does not apply (no
 * capability). To add a suite: write `int suite_xxx(struct check *c)` in a file of its own, declare it here, add it to
 * the table in main.c. */
#pragma once
#include "host.h"
#include "tap.h"
#include <restate/plugin.h>
#include <restate/storage.h>
#include <restate/transport.h>

enum { CHECK_SKIP = 77 };

struct check {
    struct tap *tap;
    struct host *host;
    const rs_node *config; /* what --config gave, or an empty map */
    const char *file;      /* of the plugin */
    const char *dir;       /* an empty directory for this suite, removed afterwards */
    uint64_t seed;
    bool verbose;
    void *dl;
    const rs_plugin *original; /* as exported */
    rs_plugin plugin;          /* the copy all calls go through, as a host does */
    union {
        rs_storage_ops storage;
        rs_transport_ops transport;
    } ops;
};

/* ---- plugin.c: loading and lifecycle ---- */
/* Loads and negotiates. Return: 0, or negative with one sentence in err. */
int check_load(struct check *c, rs_error *err);
/* check() and init() with the configuration; reports failures. Return: the instance, or NULL. */
void *check_init(struct check *c);
/* stop(), waits for done, fini(). Return: whether done came exactly once with status 0. */
bool check_fini(struct check *c, void *self);
/* A number below n from the suite's generator. */
uint64_t check_rand(struct check *c, uint64_t n);
/* Removes a directory with all that is in it. */
void remove_tree(const char *path);

/* ---- suites ---- */
int suite_load(struct check *c);
int suite_config(struct check *c);
int suite_model(struct check *c);
int suite_contract(struct check *c);
int suite_durability(struct check *c);
int suite_faults(struct check *c);
int suite_stream(struct check *c);
int suite_connect(struct check *c);
int suite_lifecycle(struct check *c);
int suite_tls(struct check *c);
int suite_threads(struct check *c);
