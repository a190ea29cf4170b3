/* SPDX-License-Identifier: Apache-2.0 */
/* restate/helper.h : small conveniences for plugin authors, all static inline. Not part of the ABI: a plugin carries
 * its own copy of what it uses, and this file may change between minor versions without breaking a built plugin. */
#ifndef RESTATE_HELPER_H
#define RESTATE_HELPER_H

#include <restate/plugin.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * rs_fail() - fill an error and return its code, so that callers can write `return rs_fail(...)`.
 * @err:    may be NULL
 * @code:   negative RS_E*
 * @flags:  RS_ERR_*
 * @native: errno or the library's own code; 0 when there is none
 *
 * A message that does not fit is cut. Any thread.
 */
__attribute__((format(printf, 5, 6))) static inline int rs_fail(rs_error *err, int code, uint32_t flags, int native,
                                                                const char *fmt, ...) {
    if (err != NULL) {
        va_list ap;
        err->code = code;
        err->flags = flags;
        err->native = native;
        va_start(ap, fmt);
        (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
    }
    return code;
}

/** rs_absent() - RS_ENOENT without a text: a key that is not there is common, and nobody prints it. */
static inline int rs_absent(rs_error *err) {
    if (err != NULL) {
        err->code = RS_ENOENT;
        err->flags = 0;
        err->native = 0;
        err->msg[0] = '\0';
    }
    return RS_ENOENT;
}

/** rs_slice_cmp() - bytewise order of two slices, shorter first among equals; the order of keys in every store. */
static inline int rs_slice_cmp(rs_slice a, rs_slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n != 0 ? memcmp(a.data, b.data, n) : 0;
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

/** rs_opt_u64() - read an optional number; *ret keeps its value when the key is absent. Return: 0 or negative RS_E*. */
static inline int rs_opt_u64(const rs_host *host, const rs_node *map, const char *key, int unit, uint64_t *ret,
                             rs_error *err) {
    const rs_node *node = map != NULL ? host->node_get(map, key) : NULL;
    return node != NULL ? host->node_u64(node, unit, ret, err) : 0;
}

/** rs_opt_str() - read an optional string; *ret keeps its value when the key is absent. */
static inline int rs_opt_str(const rs_host *host, const rs_node *map, const char *key, const char **ret,
                             rs_error *err) {
    const rs_node *node = map != NULL ? host->node_get(map, key) : NULL;
    return node != NULL ? host->node_str(node, ret, err) : 0;
}

#ifdef __cplusplus
}
#endif

#endif
