/* SPDX-License-Identifier: Apache-2.0 */
/* Any configuration is refused with a sentence or gives a struct config whose dump loads to the same dump. The first
 * byte picks the source: a file, an environment variable, or the command line. */
#include "config/options.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int finish(struct cfg_tree *from, struct config *c, struct err *err) {
    const struct config_inputs in = {.cores = 2, .ram_bytes = 1u << 30, .hostname = "box", .exe_path = "/x/y/z"};
    struct layer l = {.tree = from, .strict = true};
    int r = layer_check(&l, err);

    if (r < 0)
        return r;
    c->tree = cfg_tree_new();
    layer_merge(c->tree, cfg_root(from));
    c->root = cfg_root(c->tree);
    for (size_t i = 0; i < n_options && r == 0; i++) {
        const struct option *o = &options[i];
        const struct cfg_node *n = o->path && o->offset != OPT_NOWHERE ? cfg_find(c->root, o->path) : NULL;

        r = option_default(o, c, c->tree, err);
        if (r == 0 && n && n->type != CFG_NULL)
            r = option_read(o, n, c, cfg_arena(c->tree), err);
        ASSERT(r == 0); /* layer_check() read the same value before */
    }
    return config_finish(c, &in, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = NULL;
    _cleanup_(config_freep) struct config *c = xnew(struct config), *again = xnew(struct config);
    _cleanup_(cfg_tree_freep) struct cfg_tree *back = NULL;
    _cleanup_buf_ struct buf a = {0}, b = {0};
    struct err err = {0};

    if (size > 0 && data[0] == '=') { /* NAME=value, one variable per line */
        char *text = xstrndup(data + 1, size - 1), *env[17] = {0}, *at = text;

        for (size_t i = 0; i < 16 && (at = strchr(at, '\n')); i++) {
            *at++ = 0;
            env[i] = at;
        }
        t = cfg_tree_new();
        (void)layer_env(&(struct layer){.tree = t}, env, &err);
        free(text);
        return 0;
    }
    if (cfg_parse(slice_of(data, size), "input", &t, &err) < 0 || finish(t, c, &err) < 0) {
        ASSERT(err.msg[0]);
        return 0;
    }
    config_put_dump(&a, c);
    if (a.len > LIMIT_CFG_BYTES)
        return 0;
    if (cfg_parse(buf_slice(&a), "dump", &back, &err) < 0 || finish(back, again, &err) < 0)
        assert_failed(err.msg, __FILE__, __LINE__, __func__);
    config_put_dump(&b, again);
    ASSERT(slice_eq(buf_slice(&a), buf_slice(&b)));
    return 0;
}
