/* SPDX-License-Identifier: Apache-2.0 */
/* sockets.c : the instance: its life, the options of connections, errors.
 *
 * Connections live on several loops. The instance keeps them in one list only so that sockets_stop() can reach them; it
 * posts to each one's loop and never touches a connection from the thread of stop(). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sockets_internal.h"

#define DEFAULT_TIMEOUT_NS UINT64_C(10000000000)

void sockets_init(struct sockets *s, const rs_host *host, const struct sockets_medium *medium) {
    *s = (struct sockets){.host = host, .medium = medium};
    (void)pthread_mutex_init(&s->lock, NULL);
}

int sockets_enter(struct sockets *s) {
    int r = RS_OK;

    pthread_mutex_lock(&s->lock);
    if (s->stopping)
        r = RS_ECLOSED;
    else
        s->live++;
    pthread_mutex_unlock(&s->lock);
    return r;
}

void sockets_leave(struct sockets *s) {
    rs_done_fn done = NULL;
    void *arg;

    pthread_mutex_lock(&s->lock);
    if (--s->live == 0 && s->stopping)
        done = s->done;
    arg = s->done_arg;
    pthread_mutex_unlock(&s->lock);
    if (done)
        done(arg, RS_OK, NULL); /* the instance may be gone when it returns */
}

static void stop_conn(void *arg) {
    struct rs_conn *c = arg;
    struct sockets *s = c->self;
    int dead;

    pthread_mutex_lock(&s->lock);
    c->pins--;
    dead = c->dead;
    pthread_mutex_unlock(&s->lock);
    if (dead) {
        sockets_conn_drop(c);
        return;
    }
    if (c->state == SOCKETS_ENDED)
        return;
    if (c->state != SOCKETS_CLOSING)
        (void)sockets_broken(c, RS_ECANCELED, 0, "the transport was stopped");
    if (c->state == SOCKETS_OPEN && c->medium->shutdown && !c->shut)
        (void)c->medium->shutdown(c);
    sockets_conn_end(c, 0);
}

void sockets_stop(void *self, rs_done_fn done, void *arg) {
    struct sockets *s = self;

    pthread_mutex_lock(&s->lock);
    s->stopping = 1;
    s->done = done;
    s->done_arg = arg;
    s->live++; /* this call */
    for (struct rs_conn *c = s->conns; c; c = c->next) {
        if (c->listener) /* inside accepted(): attach() will be refused */
            continue;
        c->pins++;
        if (s->host->post(c->loop, stop_conn, c) < 0)
            c->pins--;
    }
    sockets_listeners_stop(s);
    pthread_mutex_unlock(&s->lock);
    sockets_leave(s);
}

void sockets_done(struct sockets *s) {
    while (s->listeners)
        sockets_listener_free(s->listeners);
    (void)pthread_mutex_destroy(&s->lock);
}

static int opts_alpn(struct sockets_opts *o, const char *const *alpn, rs_error *err) {
    size_t len = 0;

    for (const char *const *p = alpn; *p; p++) {
        size_t n = strlen(*p);
        if (n == 0 || n >= sizeof(((rs_peer *)NULL)->alpn))
            return sockets_error(err, RS_EINVAL, 0, 0, "an ALPN protocol must have 1 to %zu bytes",
                                 sizeof(((rs_peer *)NULL)->alpn) - 1);
        len += n + 1;
    }
    if (len > UINT16_MAX)
        return sockets_error(err, RS_EINVAL, 0, 0, "there are too many ALPN protocols");
    if (len == 0)
        return RS_OK;
    if (!(o->alpn = malloc(len)))
        return sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
    for (const char *const *p = alpn; *p; p++) {
        size_t n = strlen(*p);
        o->alpn[o->alpn_len] = (unsigned char)n;
        memcpy(o->alpn + o->alpn_len + 1, *p, n);
        o->alpn_len += n + 1;
    }
    return RS_OK;
}

struct sockets_opts *sockets_opts_new(const rs_conn_opts *opts, const char *host, int *ret_code, rs_error *err) {
    struct sockets_opts *o = calloc(1, sizeof(*o));
    int r = RS_OK;

    if (!o) {
        *ret_code = sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
        return NULL;
    }
    o->refs = 1;
    o->connect_timeout_ns = opts && opts->connect_timeout_ns ? opts->connect_timeout_ns : DEFAULT_TIMEOUT_NS;
    o->handshake_timeout_ns = opts && opts->handshake_timeout_ns ? opts->handshake_timeout_ns : DEFAULT_TIMEOUT_NS;
    memcpy(o->host, host, strlen(host) + 1);
    if (opts && opts->server_name) {
        size_t n = strlen(opts->server_name);
        if (n == 0 || n >= sizeof(o->server_name))
            r = sockets_error(err, RS_EINVAL, 0, 0, "the server name must have 1 to %zu bytes",
                              sizeof(o->server_name) - 1);
        else
            memcpy(o->server_name, opts->server_name, n + 1);
    }
    if (r == RS_OK && opts && opts->alpn)
        r = opts_alpn(o, opts->alpn, err);
    if (r < 0) {
        *ret_code = r;
        return sockets_opts_unref(o);
    }
    return o;
}

struct sockets_opts *sockets_opts_ref(struct sockets_opts *o) {
    (void)__atomic_add_fetch(&o->refs, 1, __ATOMIC_RELAXED);
    return o;
}

struct sockets_opts *sockets_opts_unref(struct sockets_opts *o) {
    if (o && __atomic_sub_fetch(&o->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        free(o->alpn);
        free(o);
    }
    return NULL;
}

static int error_fill(rs_error *err, int code, uint32_t flags, int native, const char *fmt, va_list ap)
    __attribute__((format(printf, 5, 0)));

static int error_fill(rs_error *err, int code, uint32_t flags, int native, const char *fmt, va_list ap) {
    if (err) {
        err->code = code;
        err->flags = flags;
        err->native = native;
        (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    }
    return code;
}

int sockets_error(rs_error *err, int code, uint32_t flags, int native, const char *fmt, ...) {
    va_list ap;

    va_start(ap, fmt);
    (void)error_fill(err, code, flags, native, fmt, ap);
    va_end(ap);
    return code;
}

int sockets_broken(struct rs_conn *c, int code, int native, const char *fmt, ...) {
    uint32_t flags =
        code == RS_ECLOSED || code == RS_ETIMEDOUT || code == RS_ENOMEM || code == RS_EIO ? RS_ERR_RETRYABLE : 0;
    va_list ap;

    if (c->error)
        return code;
    if (!(c->error = malloc(sizeof(*c->error))))
        abort(); /* small and of fixed size */
    c->error->struct_size = sizeof(*c->error);
    va_start(ap, fmt);
    (void)error_fill(c->error, code, flags, native, fmt, ap);
    va_end(ap);
    return code;
}

int sockets_code(int native) {
    switch (native) {
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN:
        return RS_ECLOSED;
    case ETIMEDOUT:
        return RS_ETIMEDOUT;
    case ENOENT:
        return RS_ENOENT;
    case EACCES:
    case EPERM:
        return RS_EPERM;
    case EADDRINUSE:
        return RS_EEXIST;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return RS_EINVAL;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return RS_ENOMEM;
    default:
        return RS_EIO;
    }
}
