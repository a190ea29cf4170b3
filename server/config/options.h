/* SPDX-License-Identifier: Apache-2.0 */
/* config/options.h : the one table of options, and its conversions. Private to this folder. */
#pragma once
#include "config/config.h"

enum opt_kind {
    OPT_SECTION,     /* a heading: path NULL, doc is its text */
    OPT_BOOL,        /* bool */
    OPT_INT,         /* uint64_t */
    OPT_FLOAT,       /* double */
    OPT_STRING,      /* const char * */
    OPT_ENUM,        /* unsigned: index in choices */
    OPT_DURATION,    /* uint64_t ns */
    OPT_SIZE,        /* uint64_t bytes */
    OPT_STRINGS,     /* struct cfg_strings; one text stands for a list of one */
    OPT_ADDRESSES,   /* struct cfg_strings, each an address */
    OPT_URL,         /* const char *, an address */
    OPT_REPLICATION, /* struct cfg_replication */
    OPT_PAIRS,       /* struct cfg_pairs */
    OPT_ROLES,       /* unsigned, enum cfg_role bits */
    OPT_PLUGIN,      /* the name of a plugin */
    OPT_TREE         /* anything: checked elsewhere, or without effect */
};
enum {
    OPT_UNLIMITED = 1, /* "unlimited" and null are CFG_UNLIMITED */
    OPT_NO_EFFECT = 2, /* known and accepted, with a warning */
    OPT_NOT_ZERO = 4,
    OPT_CLI = 8,         /* --<last part of the path> */
    OPT_ANY_COPIES = 16, /* replication: `*` is allowed */
    OPT_DERIVED = 32,    /* the default is worked out after reading (config/finish.c); `def` is only its description */
    OPT_SECRET = 64      /* shown as ***; of OPT_PAIRS the values */
};
#define OPT_NOWHERE SIZE_MAX

struct option {
    const char *path; /* a part <x> stands for any name; a last part ending in * for the rest */
    enum opt_kind kind;
    size_t offset;   /* in struct config, or OPT_NOWHERE */
    const char *def; /* as YAML flow text; NULL: not set */
    unsigned flags;
    uint64_t min, max;   /* numbers; max 0: no bound */
    const char *choices; /* "a|b|c" */
    const char *doc;
};

extern const struct option options[];
extern const size_t n_options;

/* option_find() - by exact path or pattern; NULL. */
const struct option *option_find(const char *path);
bool option_is_section(const char *path);                             /* some option lies below it */
const char *option_nearest(const char *path, char *buf, size_t size); /* the nearest known path on its level, NULL */

/* option_read() - convert and check @n, store it in @into. Texts go to @arena. */
int option_read(const struct option *o, const struct cfg_node *n, struct config *into, struct arena *arena,
                struct err *err) RS_WARN_UNUSED;
/* option_default() - the same with the default. */
int option_default(const struct option *o, struct config *into, struct cfg_tree *tree, struct err *err) RS_WARN_UNUSED;
/* option_put() - the effective value as YAML flow text; nothing for OPT_TREE, OPT_NOWHERE and what is not set. Secrets
 * (OPT_SECRET, and in a URL the password and the query) are ***. */
void option_put(struct buf *b, const struct option *o, const struct config *c);
/* value_node() - a text of the environment, the command line or the table as a node: flow text when it looks like it.
 */
struct cfg_node *value_node(struct cfg_tree *t, struct cfg_node *parent, const char *key, const char *text,
                            const char *source);

/* sources.c: layers before they are merged. */
struct layer {
    struct cfg_tree *tree;
    bool strict; /* unknown names are errors */
    void (*warn)(void *arg, const char *sentence);
    void *arg;
};
void layer_warn(const struct layer *l, const char *fmt, ...) RS_PRINTF(2, 3);
int layer_check(struct layer *l, struct err *err) RS_WARN_UNUSED; /* old names, short forms, unknown names, types */
int layer_env(struct layer *l, char *const *envp, struct err *err) RS_WARN_UNUSED;
void layer_merge(struct cfg_tree *into, const struct cfg_node *from);
struct cfg_node *layer_set(struct cfg_tree *t, const char *path, const char *text,
                           const char *source); /* makes the maps above */

/* cli.c */
struct cli {
    struct config_run run;
    const char *file; /* -c */
    bool production;
};
int cli_parse(const struct config_inputs *in, struct cli *ret, struct cfg_tree *into,
              struct err *err) RS_WARN_UNUSED; /* <0: usage */

/* finish.c: what depends on several options. */
int config_finish(struct config *c, const struct config_inputs *in, struct err *err) RS_WARN_UNUSED;
