/* SPDX-License-Identifier: Apache-2.0 */
/* meta/node_marker.h : what a node directory says about itself: file `.cluster-marker` (JSON) in
 * <base-dir>/<node-name>/, and the lock that keeps two processes out of one directory. Blocking calls, used at start
 * only (and once after provisioning). */
#pragma once
#include "base/err.h"
#include "base/util.h"

struct node_marker {
    char *cluster_name;
    char *node_name;
    uint64_t fingerprint; /* 0: not provisioned yet */
    uint32_t node_id;     /* plain id, 0: not joined yet */
    uint32_t data_stores; /* how many data-<n> stores this directory has */
    char *log_plugin;     /* name of the storage plugin of each kind of store */
    char *meta_plugin;
    char *data_plugin;
    char *current_version; /* server that used the directory last */
    char *max_version;     /* highest that ever did */
    char *min_version;     /* oldest that is able to read it */
    bool provisioned;
};
void node_marker_done(struct node_marker *m); /* frees the strings; zeroes */

/* node_marker_load() - RS_ENOENT: the directory is new. RS_ECORRUPT: the file is not a marker. */
int node_marker_load(const char *dir, struct node_marker *ret, struct err *err) RS_WARN_UNUSED;
/* node_marker_store() - atomically: temporary file, fsync, rename, fsync of the directory. */
int node_marker_store(const char *dir, const struct node_marker *m, struct err *err) RS_WARN_UNUSED;
/* node_marker_check() - may a server configured as @want use a directory marked @have? One sentence in @err says why
 * not: another cluster, node, fingerprint (when both are known), storage plugin (names the conversion command), number
 * of data stores, or a directory that needs a newer server. RS_EPERM. */
int node_marker_check(const char *dir, const struct node_marker *have, const struct node_marker *want,
                      struct err *err) RS_WARN_UNUSED;

/* node_marker_start() - what a server does first: create @dir, lock it, load and check the marker against @want, write
 * it anew with the versions of @want. *ret gets what the directory says (fingerprint, node id, provisioned, data
 * stores: @want's when it is new), *ret_lock a descriptor to keep open while the process lives. @want->data_stores 0:
 * take what is there. */
int node_marker_start(const char *dir, const struct node_marker *want, struct node_marker *ret, int *ret_lock,
                      struct err *err) RS_WARN_UNUSED;
