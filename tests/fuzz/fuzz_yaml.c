/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes are refused or give a tree; a tree written as YAML reads back as the same tree. */
#include "config/node.h"
#include "base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = NULL, *again = NULL;
    _cleanup_buf_ struct buf yaml = {0}, a = {0}, b = {0};
    struct err err = {0};

    if (cfg_parse(slice_of(data, size), "input", &t, &err) < 0) {
        ASSERT(err.msg[0]);
        return 0;
    }
    cfg_put_yaml(&yaml, cfg_root(t), 0);
    cfg_put_canonical(&a, cfg_root(t));
    if (yaml.len > LIMIT_CFG_BYTES) /* quoting made it longer than what is read */
        return 0;
    if (cfg_parse(buf_slice(&yaml), "again", &again, &err) < 0)
        assert_failed(err.msg, __FILE__, __LINE__, __func__);
    cfg_put_canonical(&b, cfg_root(again));
    ASSERT(slice_eq(buf_slice(&a), buf_slice(&b)));
    return 0;
}
