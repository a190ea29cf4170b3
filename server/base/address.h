/* SPDX-License-Identifier: Apache-2.0 */
/* base/address.h : what is written where something is bound or dialled. The mapping http -> tcp, https -> tls is made
 * here and nowhere else. Pure. */
#pragma once
#include "base/err.h"
#include "base/slice.h"

/* Forms: `ip:port`, `host:port`, `[v6]:port`, `unix:/path`, and `tcp://`, `tls://`, `http://`, `https://` before
 * host:port. http and https may leave out the port (80, 443) and may have a path. Others without a port are refused. */
struct address {
    char scheme[16]; /* tcp, tls, unix, or another one a plugin serves */
    char host[256];  /* without brackets; unix: empty */
    uint16_t port;   /* unix: 0 */
    char path[256];  /* unix: of the socket; else what follows the authority, "/" when nothing does */
    bool http;       /* written as http:// or https:// */
};
int address_parse(const char *text, struct address *ret, struct err *err) RS_WARN_UNUSED;
/* address_uri() - what plugins get: "tcp://host:port", "tls://[::1]:5122", "unix:/path". Returns @buf; 600 bytes are
 * always enough. */
const char *address_uri(const struct address *a, char *buf, size_t size);
/* address_authority() - "host:port", or "host" when the port is the default of http(s). */
const char *address_authority(const struct address *a, char *buf, size_t size);
