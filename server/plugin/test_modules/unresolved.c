/* SPDX-License-Identifier: Apache-2.0 */
/* Needs a function that nobody has: refused at the start, not at the first call. */
#include <restate/plugin.h>

const rs_plugin *a_function_nobody_has(void);
const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor) {
    return a_function_nobody_has();
}
