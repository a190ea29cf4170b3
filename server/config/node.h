/* SPDX-License-Identifier: Apache-2.0 */
/* config/node.h : a YAML document as a tree of our own, with the place every value came from.
 *
 * A tree is immutable after it was built and lives in one arena; nodes are borrowed from it. Anchors, aliases, tags and
 * several documents in one text are refused; depth, size and number of nodes are bounded (LIMIT_CFG_*). */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#define LIMIT_CFG_BYTES (1u << 20) /* one configuration text */
#define LIMIT_CFG_DEPTH 24u        /* nesting */
#define LIMIT_CFG_NODES 50000u     /* nodes of one text */

enum cfg_type { CFG_MAP = 1, CFG_LIST, CFG_SCALAR, CFG_NULL };

struct cfg_node {
    enum cfg_type type;
    bool quoted;                          /* scalar written in quotes: always text */
    unsigned line, column;                /* from 1; 0: not from a file */
    const char *source;                   /* "n1.yaml", "environment variable RESTATE_X", "option --bind-port" */
    const char *key;                      /* in a map; NULL elsewhere */
    const char *text;                     /* scalar, NUL terminated; NULL elsewhere */
    size_t n;                             /* children, or bytes of text */
    struct cfg_node *first, *last, *next; /* children in order; next in the parent */
    struct cfg_node *parent;
};

struct cfg_tree; /* owns its nodes */

/* cfg_parse() - @source is copied and names the text in messages. An empty text gives an empty map. RS_EINVAL with
 * "source:line:column: what". */
int cfg_parse(struct slice text, const char *source, struct cfg_tree **ret, struct err *err) RS_WARN_UNUSED;
int cfg_parse_file(const char *path, struct cfg_tree **ret, struct err *err) RS_WARN_UNUSED;
struct cfg_tree *cfg_tree_new(void); /* an empty map */
struct cfg_tree *cfg_tree_free(struct cfg_tree *t);
DEFINE_CLEANUP(cfg_tree, cfg_tree_free)
struct cfg_node *cfg_root(const struct cfg_tree *t);
struct arena *cfg_arena(struct cfg_tree *t);

const struct cfg_node *cfg_get(const struct cfg_node *map, const char *key);   /* NULL: absent, or not a map */
const struct cfg_node *cfg_at(const struct cfg_node *list, size_t i);          /* NULL: past the end, or not a list */
const struct cfg_node *cfg_find(const struct cfg_node *map, const char *path); /* "worker.invoker.x"; NULL: absent */

/* Typed reads. RS_EINVAL with place, path and what was wanted. */
int cfg_str(const struct cfg_node *n, const char **ret, struct err *err) RS_WARN_UNUSED;
int cfg_u64(const struct cfg_node *n, int unit, uint64_t *ret, struct err *err) RS_WARN_UNUSED; /* RS_UNIT_* */
int cfg_bool(const struct cfg_node *n, bool *ret, struct err *err) RS_WARN_UNUSED;
int cfg_f64(const struct cfg_node *n, double *ret, struct err *err) RS_WARN_UNUSED;

/* cfg_path() - "worker.invoker.x", "brokers[2]" into @buf; returns @buf. */
const char *cfg_path(const struct cfg_node *n, char *buf, size_t size);
/* cfg_error() - fills @err with "n1.yaml:3: worker.x: message"; returns RS_EINVAL. */
int cfg_error(struct err *err, const struct cfg_node *n, const char *fmt, ...) RS_PRINTF(3, 4);

/* Building, only before a tree is shared. Names and texts are copied. */
struct cfg_node *cfg_add(struct cfg_tree *t, struct cfg_node *parent, const char *key, enum cfg_type type,
                         const char *text);
struct cfg_node *cfg_copy(struct cfg_tree *t, struct cfg_node *parent, const char *key,
                          const struct cfg_node *src); /* deep */
void cfg_remove(struct cfg_node *n);                   /* out of its parent */

/* cfg_put_yaml() - block YAML that parses to the same tree; cfg_put_canonical() - one line, keys sorted: equal trees,
 * equal text. */
void cfg_put_yaml(struct buf *b, const struct cfg_node *n, unsigned indent);
void cfg_put_canonical(struct buf *b, const struct cfg_node *n);
