/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...) {
    va_list ap;

    if (!e)
        return code;
    e->code = code;
    e->flags = 0;
    e->native = 0;
    va_start(ap, fmt);
    (void)vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    return code;
}

int err_wrap(struct err *e, int code, const char *fmt, ...) {
    char old[sizeof e->msg];
    va_list ap;
    int n;

    if (!e)
        return code;
    memcpy(old, e->msg, sizeof old);
    va_start(ap, fmt);
    n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    if (e->code == 0)
        e->code = code;
    else if (n >= 0 && (size_t)n < sizeof e->msg)
        (void)snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", old);
    return code;
}

static int code_of_errno(int n) {
    switch (n) {
    case ENOMEM:
        return RS_ENOMEM;
    case ENOENT:
        return RS_ENOENT;
    case EEXIST:
        return RS_EEXIST;
    case EAGAIN:
    case EINTR:
        return RS_EAGAIN;
    case ECANCELED:
        return RS_ECANCELED;
    case ETIMEDOUT:
        return RS_ETIMEDOUT;
    case ENOSPC:
    case EDQUOT:
        return RS_ENOSPC;
    case EPERM:
    case EACCES:
        return RS_EPERM;
    case EINVAL:
        return RS_EINVAL;
    case EPIPE:
    case ECONNRESET:
        return RS_ECLOSED;
    default:
        return RS_EIO;
    }
}

int err_errno(struct err *e, const char *fmt, ...) {
    int saved = errno, code = code_of_errno(saved);
    va_list ap;
    int n;

    if (!e)
        return code;
    e->code = code;
    e->flags = 0;
    e->native = saved;
    va_start(ap, fmt);
    n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->msg)
        (void)snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", strerror(saved));
    return code;
}

int err_from_abi(struct err *e, int code, const rs_error *src) {
    if (!e)
        return code;
    e->code = code;
    e->flags = src ? src->flags : 0;
    e->native = src ? src->native : 0;
    (void)snprintf(e->msg, sizeof e->msg, "%.*s", (int)sizeof src->msg, src && src->msg[0] ? src->msg : err_name(code));
    return code;
}

const char *err_name(int code) {
    static const char *const names[] = {"RS_OK",     "RS_EINVAL",    "RS_ENOMEM",    "RS_ENOENT", "RS_EEXIST",
                                        "RS_EAGAIN", "RS_ECANCELED", "RS_ETIMEDOUT", "RS_EIO",    "RS_ECORRUPT",
                                        "RS_ENOSPC", "RS_ETOOBIG",   "RS_ECLOSED",   "RS_EPERM",  "RS_EUNSUPPORTED"};

    if (code > 0 || -code >= (int)(sizeof names / sizeof names[0]))
        return "RS_E?";
    return names[-code];
}
