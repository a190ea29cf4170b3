/* SPDX-License-Identifier: Apache-2.0 */
/* control/metadata_proxy.h : SERVICE_METADATA_PROXY: metadata for tools through any node: its local copies, and writes
 * by compare-and-swap, which go to the metadata group. Values of known kinds are refused when they cannot be read.
 *
 * One loop. */
#pragma once
#include "meta/meta.h"
#include "net/fabric.h"

enum metadata_proxy_message {                /* numbers on the wire: only add */
                              PROXY_GET = 1, /* request: key -> response: version, value of the local copy */
                              PROXY_PUT,     /* request: key, precondition, expected, value -> response: version */
                              PROXY_KEYS,    /* -> response: keys */
};
/* On the wire. MATCHES: the stored version is `expected`, not 0; the value gets the next version. NONE: whatever this
 * node knows as stored. RS_EEXIST: it is not so. */
enum proxy_precondition { PROXY_NONE, PROXY_DOES_NOT_EXIST, PROXY_MATCHES };

struct metadata_proxy;
struct metadata_proxy *metadata_proxy_open(struct loop *loop, struct fabric *f, struct meta *m);
struct metadata_proxy *metadata_proxy_close(struct metadata_proxy *p); /* before meta_free(); NULL */
/* metadata_value_check() - whether a value of @key can be read and is of @version; unknown keys may hold anything. */
int metadata_value_check(const char *key, struct slice value, uint32_t version, struct err *err) RS_WARN_UNUSED;
