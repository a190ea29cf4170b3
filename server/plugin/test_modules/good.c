/* SPDX-License-Identifier: Apache-2.0 */
#include "test_storage.h"

static const rs_storage_ops ops = TS_OPS;
static const rs_plugin plugin = TS_PLUGIN("good", &ops);

const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor) {
    return &plugin;
}
