/* SPDX-License-Identifier: Apache-2.0 */
/* An entry that does not serve our ABI. */
#include <restate/plugin.h>

const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor) {
    return 0;
}
