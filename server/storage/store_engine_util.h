/* SPDX-License-Identifier: Apache-2.0 */
/* storage/store_engine_util.h : a real storage plugin for tests and benchmarks: "<plugins dir>:<name>", or "sim". */
#pragma once
#include "plugin/plugin.h"
#include "storage/sim_storage.h"

#include <stdio.h>
#include <string.h>

struct engine {
    struct host *host;
    struct exec *pool;
    struct plugin_registry *reg;
    const rs_storage_ops *ops;
    void *self;
    uint64_t caps;
    struct sim_disk *disk; /* "sim" only */
};

static inline int engine_open(struct engine *e, const char *spec, struct loop *loop, struct err *err) {
    struct host_params hp = {.loop = loop};
    const char *colon = strrchr(spec, ':');
    struct plugin_instance *in;
    char dir[512];
    int r;

    memset(e, 0, sizeof *e);
    if (!colon) {
        e->disk = sim_disk_new(1);
        e->self = e->disk;
        e->ops = &sim_storage_ops;
        e->caps = SIM_STORAGE_CAPS;
        return 0;
    }
    (void)snprintf(dir, sizeof dir, "%.*s", (int)(colon - spec), spec);
    e->pool = exec_new_threads("plugin", 1);
    hp.pool = e->pool;
    e->host = host_new(&hp);
    e->reg = plugin_registry_new(e->host, dir);
    r = plugin_use(e->reg, RS_KIND_STORAGE, colon + 1, NULL, 64u << 20, &in, err);
    if (r == 0)
        r = plugin_registry_init(e->reg, err);
    if (r < 0)
        return r;
    e->ops = in->storage;
    e->self = in->self;
    e->caps = in->caps;
    return 0;
}

static inline void engine_stopped(void *arg) {
    *(bool *)arg = true;
}

/* Stops the plugin with turns of a driven @loop; with a real loop (@turn NULL) the process is about to end anyway. */
static inline void engine_close(struct engine *e, struct loop *loop, bool (*turn)(struct loop *)) {
    bool stopped = false;

    if (e->disk)
        (void)sim_disk_free(e->disk);
    if (!e->reg)
        return;
    plugin_registry_stop(e->reg, loop, engine_stopped, &stopped);
    while (!stopped && turn)
        (void)turn(loop);
    plugin_registry_free(e->reg);
    exec_free(e->pool);
    host_free(e->host);
}
