/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/plugin.h : finding, checking, starting and stopping plugins. The only caller of dlopen.
 *
 * Order of a process: plugin_registry_new(), plugin_register() for what is linked in, plugin_use() for everything the
 * configuration names (loads the file, checks the options), plugin_registry_init(), run, plugin_registry_stop(),
 * plugin_registry_free(). Main thread throughout. Every refusal is one sentence that names the file and the reason. */
#pragma once
#include <restate/storage.h>
#include <restate/transport.h>
#include "plugin/host.h"

struct plugin_registry;
struct plugin_info {                             /* of a loaded plugin; strings valid until the registry is freed */
    int kind;                                    /* RS_KIND_* */
    const char *name, *version, *license, *path; /* path NULL: linked in */
    const char *schema;                          /* JSON Schema of its options */
    unsigned abi_major, abi_minor;
    uint64_t caps;
    char sha256[65], build_id[65]; /* hex; "" when there is none */
};

/* One plugin with one set of options. Ops are our own zeroed copy: what an older plugin does not have is NULL. */
struct plugin_instance {
    const struct plugin_info *info;
    uint64_t caps;                 /* RS_STORAGE_* or RS_TRANSPORT_* */
    void *self;                    /* after plugin_registry_init() */
    const rs_storage_ops *storage; /* by kind; the other is NULL */
    const rs_transport_ops *transport;
};

/* plugin_registry_new() - @dir: absolute; NULL: only plugins that are linked in. @host is borrowed. */
struct plugin_registry *plugin_registry_new(struct host *host, const char *dir);
/* plugin_register() - a descriptor linked into the program (simulator, tests). Goes before files of the same name. */
int plugin_register(struct plugin_registry *reg, const rs_plugin *plugin, struct err *err) RS_WARN_UNUSED;

/* plugin_use() - the instance of @kind and @name with @options (map node or NULL; copied). The same name and options
 * give the same instance. Loads the plugin if need be, validates the options against its schema, calls check().
 * @memory_budget_bytes: put into the option `memory-budget` when the schema has it and @options has not; 0: not. */
int plugin_use(struct plugin_registry *reg, int kind, const char *name, const struct cfg_node *options,
               uint64_t memory_budget_bytes, struct plugin_instance **ret, struct err *err) RS_WARN_UNUSED;
bool plugin_exists(const struct plugin_registry *reg, int kind,
                   const char *name); /* registered, or a file of that name is there */

/* plugin_registry_init() - init() of every instance, in the order of plugin_use(); logs what was loaded. On failure
 * those already started stay started: stop and free the registry. */
int plugin_registry_init(struct plugin_registry *reg, struct err *err) RS_WARN_UNUSED;
/* plugin_registry_stop() - stop() in reverse order, one after the other; @done on @loop when the last reported. Loops
 * must run. */
void plugin_registry_stop(struct plugin_registry *reg, struct loop *loop, loop_fn done, void *arg);
/* plugin_registry_free() - fini() in reverse order (instances that were never stopped are not finished); NULL. */
struct plugin_registry *plugin_registry_free(struct plugin_registry *reg);
void plugin_each(const struct plugin_registry *reg, void (*each)(void *arg, const struct plugin_info *info), void *arg);
