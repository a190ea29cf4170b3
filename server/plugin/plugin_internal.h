/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/plugin_internal.h : the parts of the loader. */
#pragma once
#include "plugin/plugin.h"

struct plugin {
    struct plugin *next;
    struct plugin_info info; /* its strings are owned here, but for what the descriptor holds */
    rs_plugin desc;          /* zeroed, then min(struct_size, ours) bytes of the plugin's */
    union {
        rs_storage_ops storage;
        rs_transport_ops transport;
    } ops; /* likewise */
    char *path;
    void *handle; /* never closed */
};

/* "storage", "transport" */
const char *plugin_kind_name(int kind);
/* plugin_accept() - negotiation: checks @from in the order of the ABI and copies it to @ret. @where names the file (or
 * the program) in refusals. @name: what was asked for; NULL: any. */
int plugin_accept(const rs_plugin *from, int kind, const char *name, const char *where, uint64_t host_features,
                  struct plugin *ret, struct err *err) RS_WARN_UNUSED;
/* plugin_open() - names to files, ownership, dlopen, digest; then plugin_accept(). */
int plugin_open(const char *dir, int kind, const char *name, uint64_t host_features, struct plugin *ret,
                struct err *err) RS_WARN_UNUSED;
bool plugin_name_ok(const char *name); /* [a-z0-9-]+, at most 64 bytes */
/* plugin_dir_check(), plugin_file_check() - owned by root or us, not writable for others, parents too. */
int plugin_file_check(const char *dir, const char *file, struct err *err) RS_WARN_UNUSED;

/* schema_validate() - @schema: the JSON text of the plugin; the subset type, enum, minimum, maximum, minLength,
 * maxLength, pattern, required, properties, items, additionalProperties (absent means closed); other words are notes.
 * @where names the plugin. */
int schema_validate(const char *schema, const char *where, const struct cfg_node *options,
                    struct err *err) RS_WARN_UNUSED;
bool schema_has(const char *schema, const char *property);
