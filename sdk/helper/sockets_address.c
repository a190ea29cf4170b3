/* SPDX-License-Identifier: Apache-2.0 */
/* sockets_address.c : URIs and the text of addresses. Pure. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sockets_internal.h"

static int refuse(rs_error *err, const char *uri, const char *why) {
    return sockets_error(err, RS_EINVAL, 0, 0, "\"%.100s\" is not an address: %s", uri, why);
}

static int parse_unix(const char *uri, struct sockets_address *ret, rs_error *err) {
    const char *path = uri + strlen("unix:");
    size_t n;

    if (strncmp(path, "///", 3) == 0)
        path += 2;
    n = strlen(path);
    if (n < 2 || path[0] != '/' || path[1] == '/')
        return refuse(err, uri, "after unix: comes an absolute path");
    if (n >= sizeof(ret->path))
        return refuse(err, uri, "the path of a unix socket has at most 107 bytes");
    *ret = (struct sockets_address){.port = ""};
    memcpy(ret->path, path, n + 1);
    return RS_OK;
}

static int parse_port(const char *uri, const char *text, int dial, struct sockets_address *ret, rs_error *err) {
    size_t n = strspn(text, "0123456789");
    unsigned value;

    if (n == 0 || n > 5 || (text[n] && strcmp(text + n, "/") != 0))
        return refuse(err, uri, "the host is followed by a colon and a port from 0 to 65535");
    value = (unsigned)strtoul(text, NULL, 10);
    if (value > 65535)
        return refuse(err, uri, "the host is followed by a colon and a port from 0 to 65535");
    if (dial && value == 0)
        return refuse(err, uri, "port 0 cannot be dialled");
    (void)snprintf(ret->port, sizeof(ret->port), "%u", value);
    return RS_OK;
}

int sockets_address_parse(const struct sockets_medium *m, const char *uri, int dial, struct sockets_address *ret,
                          rs_error *err) {
    static const char name_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    struct sockets_address a = {.path = ""};
    size_t scheme = strlen(m->scheme), n;
    const char *host, *after;
    int r;

    if (m->unix_too && strncmp(uri, "unix:", 5) == 0)
        return parse_unix(uri, ret, err);
    if (strncmp(uri, m->scheme, scheme) != 0 || strncmp(uri + scheme, "://", 3) != 0)
        return sockets_error(err, RS_EINVAL, 0, 0, "\"%.100s\" is not an address: it must look like %s://host:port%s",
                             uri, m->scheme, m->unix_too ? " or unix:/path" : "");
    host = uri + scheme + 3;
    if (*host == '[') {
        host++;
        n = strcspn(host, "]");
        after = host + n;
        if (n < 2 || *after != ']' || strspn(host, "0123456789abcdefABCDEF:.") < strcspn(host, "%]"))
            return refuse(err, uri, "an IPv6 address stands between brackets");
        after++;
    } else {
        n = strspn(host, name_chars);
        after = host + n;
        if (n == 0)
            return refuse(err, uri, "the host is missing or has a strange character");
        if (strchr(after, ':') && strchr(strchr(after, ':') + 1, ':'))
            return refuse(err, uri, "an IPv6 address stands between brackets");
    }
    if (n >= sizeof(a.host))
        return refuse(err, uri, "the host is longer than 253 bytes");
    if (*after && *after != ':' && *after != '/')
        return refuse(err, uri, "the host is missing or has a strange character");
    memcpy(a.host, host, n);
    a.host[n] = '\0';
    r = parse_port(uri, *after == ':' ? after + 1 : "", dial, &a, err);
    if (r < 0)
        return r;
    *ret = a;
    return RS_OK;
}

void sockets_address_text(const struct sockaddr *sa, char *buf, size_t len) {
    char host[INET6_ADDRSTRLEN] = "";

    buf[0] = '\0';
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        (void)snprintf(buf, len, "%s:%u", host, ntohs(in->sin_port));
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        (void)snprintf(buf, len, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else if (sa->sa_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)sa;
        if (un->sun_path[0])
            (void)snprintf(buf, len, "unix:%.*s", (int)sizeof(un->sun_path), un->sun_path);
    }
}
