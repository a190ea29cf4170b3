/* SPDX-License-Identifier: Apache-2.0 */
/* ingress/path.h : which of the API's resources a path names (spec ingress.md §2, §3). Pure; needs to be told whether a
 * service takes a key. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

enum ingress_verb {
    INGRESS_CALL = 1,
    INGRESS_SEND,
    INGRESS_ATTACH_ID, /* id */
    INGRESS_OUTPUT_ID,
    INGRESS_ATTACH_KEY, /* service, key, handler, idempotency_key */
    INGRESS_OUTPUT_KEY,
    INGRESS_ATTACH_WORKFLOW, /* service, key */
    INGRESS_OUTPUT_WORKFLOW,
    INGRESS_ATTACH_BODY, /* the target is in the body */
    INGRESS_OUTPUT_BODY,
    INGRESS_LOOKUP,
    INGRESS_RESOLVE, /* id */
    INGRESS_REJECT,
    INGRESS_HEALTH,
};

struct ingress_path {
    enum ingress_verb verb;
    struct slice service, key, handler, idempotency_key, id; /* key is percent-decoded, in the arena */
    struct slice scope;                                      /* the same; data NULL: none */
    bool has_key;
};

enum ingress_path_fault { PATH_OK = 0, PATH_BAD, PATH_BAD_SERVICE, PATH_BAD_KEY, PATH_NOT_FOUND, PATH_NO_SERVICE };

/* -1: no such service; 0: takes no key; 1: takes one. */
typedef int (*ingress_keyed_fn)(void *arg, struct slice service);

/* ingress_path_parse() - @path without query. On faults the message says what is wrong. */
enum ingress_path_fault ingress_path_parse(struct slice path, ingress_keyed_fn keyed, void *arg, struct arena *a,
                                           struct ingress_path *ret, struct err *err);
/* Trailing slashes do not count: "/a/b/" is "/a/b". */
struct slice ingress_path_trim(struct slice path);
