/* SPDX-License-Identifier: Apache-2.0 */
/* config/node_internal.h : what node.c and yaml.c share. */
#pragma once
#include "config/node.h"

struct cfg_tree {
    struct arena arena;
    struct cfg_node *root;
};

void cfg_put_scalar(struct buf *b, const struct cfg_node *n); /* plain when that is unambiguous, else quoted */
