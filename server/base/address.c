/* SPDX-License-Identifier: Apache-2.0 */
#include "base/address.h"
#include "base/text.h"
#include "base/util.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static int copy_part(char *to, size_t size, struct slice part, const char *what, struct err *err) {
    if (part.len >= size)
        return err_set(err, RS_ETOOBIG, "the %s is longer than %zu bytes", what, size - 1);
    memcpy(to, part.data, part.len);
    to[part.len] = 0;
    return 0;
}

static size_t find_byte(struct slice s, const char *set) {
    size_t i = 0;

    while (i < s.len && !strchr(set, s.data[i]))
        i++;
    return i;
}

/* host, host:port, [v6], [v6]:port */
static int parse_authority(struct slice s, uint16_t default_port, struct address *a, struct err *err) {
    struct slice host = s, port = SLICE_NULL;
    uint64_t v;
    int r;

    if (s.len && s.data[0] == '[') {
        size_t end = find_byte(s, "]");

        if (end == s.len || end == 1)
            return err_set(err, RS_EINVAL, "an IPv6 address is written as [::1]:5122");
        host = slice_sub(s, 1, end - 1);
        s = slice_from(s, end + 1);
        if (s.len && s.data[0] != ':')
            return err_set(err, RS_EINVAL, "only :port may follow the brackets");
        port = slice_from(s, 1);
    } else {
        size_t colon = find_byte(s, ":");

        host = slice_sub(s, 0, colon);
        port = slice_from(s, colon + 1);
        s = slice_from(s, colon);
        if (find_byte(port, ":") < port.len)
            return err_set(err, RS_EINVAL, "an IPv6 address is written as [::1]:5122");
    }
    if (host.len == 0)
        return err_set(err, RS_EINVAL, "the host is missing");
    for (size_t i = 0; i < host.len; i++)
        if (!isalnum(host.data[i]) && !strchr("-._:%", host.data[i]))
            return err_set(err, RS_EINVAL, "the host has a character that is not allowed");
    r = copy_part(a->host, sizeof a->host, host, "host", err);
    if (r < 0)
        return r;
    if (port.len == 0 && s.len == 0 && default_port) {
        a->port = default_port;
        return 0;
    }
    if (text_parse_u64(port, &v) < 0 || v > 65535)
        return err_set(err, RS_EINVAL, "a port from 0 to 65535 is expected behind the host");
    a->port = (uint16_t)v;
    return 0;
}

static int parse_unix(struct slice s, struct address *a, struct err *err) {
    size_t slashes = 0;

    while (slashes < s.len && s.data[slashes] == '/')
        slashes++;
    if (slashes == 0 || slashes == 2) /* two: what follows would be a host */
        return err_set(err, RS_EINVAL, "a unix socket is written as unix:/absolute/path");
    s = slice_from(s, slashes - 1);
    (void)snprintf(a->scheme, sizeof a->scheme, "unix");
    return copy_part(a->path, sizeof a->path, s, "path", err);
}

static int parse(struct slice s, struct address *a, struct err *err) {
    uint16_t default_port = 0;
    struct slice scheme;
    size_t n;
    int r;

    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] <= ' ' || s.data[i] == 0x7f)
            return err_set(err, RS_EINVAL, "an address has no spaces or control characters");
    if (slice_has_prefix(s, SLICE_LIT("unix:")))
        return parse_unix(slice_from(s, 5), a, err);
    for (n = 0; n < s.len && !slice_has_prefix(slice_from(s, n), SLICE_LIT("://")); n++)
        ;
    scheme = SLICE_LIT("tcp");
    if (n < s.len) {
        scheme = slice_sub(s, 0, n);
        s = slice_from(s, n + 3);
    }
    if (slice_eq_str(scheme, "http") || slice_eq_str(scheme, "https")) {
        bool tls = scheme.len == 5;

        a->http = true;
        default_port = tls ? 443 : 80;
        scheme = tls ? SLICE_LIT("tls") : SLICE_LIT("tcp");
    }
    for (size_t i = 0; i < scheme.len; i++)
        if (!islower(scheme.data[i]) && !isdigit(scheme.data[i]) && scheme.data[i] != '-')
            return err_set(err, RS_EINVAL, "the scheme has a character that is not allowed");
    if (scheme.len == 0)
        return err_set(err, RS_EINVAL, "the scheme is missing");
    r = copy_part(a->scheme, sizeof a->scheme, scheme, "scheme", err);
    if (r < 0)
        return r;
    n = find_byte(s, "/?#");
    r = parse_authority(slice_sub(s, 0, n), default_port, a, err);
    if (r < 0)
        return r;
    s = slice_from(s, n);
    if (s.len > 1 && !a->http)
        return err_set(err, RS_EINVAL, "only http:// and https:// addresses may have a path");
    return copy_part(a->path, sizeof a->path, s.len ? s : SLICE_LIT("/"), "path", err);
}

int address_parse(const char *text, struct address *ret, struct err *err) {
    struct address a = {0};
    int r = parse(slice_str(text), &a, err);

    if (r < 0)
        return err_wrap(err, r, "\"%.100s\" is not an address", text);
    *ret = a;
    return 0;
}

const char *address_authority(const struct address *a, char *buf, size_t size) {
    bool v6 = strchr(a->host, ':') != NULL;
    unsigned std = a->http ? (strcmp(a->scheme, "tls") == 0 ? 443 : 80) : 0;

    if (std && a->port == std)
        (void)snprintf(buf, size, v6 ? "[%s]" : "%s", a->host);
    else
        (void)snprintf(buf, size, v6 ? "[%s]:%u" : "%s:%u", a->host, a->port);
    return buf;
}

const char *address_uri(const struct address *a, char *buf, size_t size) {
    bool v6 = strchr(a->host, ':') != NULL;

    if (strcmp(a->scheme, "unix") == 0)
        (void)snprintf(buf, size, "unix:%s", a->path);
    else
        (void)snprintf(buf, size, v6 ? "%s://[%s]:%u" : "%s://%s:%u", a->scheme, a->host, a->port);
    return buf;
}
