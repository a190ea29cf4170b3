/* SPDX-License-Identifier: Apache-2.0 */
#include "http/conn.h"

#include <stdio.h>

void http_io_done(struct http_io *io) {
    free(io->rbuf);
    io->rbuf = NULL;
    io->spare = bytes_unref(io->spare);
}

static bool may_read(const struct http_conn *c) {
    return http_conn_open(c) && c->ready && c->readable && !c->paused && !c->seen_eof && c->out.len < HTTP_OUT_HIGH;
}

static void post_task(struct http_conn *c) {
    if (c->posted || c->dead)
        return;
    c->posted = true;
    loop_post_task(c->io->loop, &c->task);
}

static void flush(struct http_conn *c) {
    struct iovec iov[HTTP_IOV_MAX];

    while (http_conn_open(c) && c->ready && !c->shut) {
        size_t offered = 0;
        int64_t n;
        int parts;

        if (c->v->produce && c->out.len < HTTP_OUT_HIGH)
            c->v->produce(c);
        if (c->blocked || c->out.len == 0 || !http_conn_open(c))
            break;
        parts = http_out_iov(&c->out, iov, HTTP_IOV_MAX);
        for (int i = 0; i < parts; i++)
            offered += iov[i].iov_len;
        n = c->ops->write(c->rs, iov, parts);
        if (n == RS_EAGAIN) {
            c->blocked = true;
            break;
        }
        if (n < 0 || (size_t)n > offered) {
            http_conn_close(c, n < 0 ? (int)n : RS_EIO, "write failed");
            break;
        }
        http_out_consume(&c->out, c->io, (size_t)n);
        c->io->bytes_out += (uint64_t)n;
        if ((size_t)n < offered)
            c->blocked = true;
    }
    if (c->v->flushed && http_conn_open(c))
        c->v->flushed(c);
    if (may_read(c)) /* output had stopped the reading before the transport said RS_EAGAIN */
        post_task(c);
}

static void flush_hook(void *arg) {
    flush(arg);
}

static void read_some(struct http_conn *c) {
    size_t total = 0;

    if (!c->io->rbuf)
        c->io->rbuf = xmalloc(HTTP_READ_BYTES);
    while (may_read(c)) {
        int64_t n;

        if (total >= HTTP_READ_TURN_BYTES) {
            post_task(c);
            return;
        }
        n = c->ops->read(c->rs, c->io->rbuf, HTTP_READ_BYTES);
        if (n == RS_EAGAIN) {
            c->readable = false;
            return;
        }
        if (n < 0 || n > HTTP_READ_BYTES) {
            http_conn_close(c, n < 0 ? (int)n : RS_EIO, "read failed");
            return;
        }
        if (n == 0) {
            c->seen_eof = true;
            c->v->eof(c);
            return;
        }
        total += (size_t)n;
        c->io->bytes_in += (uint64_t)n;
        c->v->input(c, c->io->rbuf, (size_t)n);
    }
}

static void run_task(void *arg) {
    struct http_conn *c = arg;

    c->posted = false;
    if (c->dead) {
        c->v->free(c);
        return;
    }
    if (c->v->resumed && http_conn_open(c))
        c->v->resumed(c);
    read_some(c);
}

static void on_ready(void *arg, rs_conn *rs) {
    struct http_conn *c = arg;

    if (c->closing || c->ready)
        return;
    c->ready = true;
    c->v->ready(c);
    read_some(c);
    if (http_conn_open(c))
        http_conn_arm(c);
}

static void on_readable(void *arg, rs_conn *rs) {
    struct http_conn *c = arg;

    c->readable = true;
    read_some(c);
}

static void on_writable(void *arg, rs_conn *rs) {
    struct http_conn *c = arg;

    c->blocked = false;
    flush(c);
}

static void on_closed(void *arg, rs_conn *rs, int status, const rs_error *error) {
    struct http_conn *c = arg;

    if (!c->closing && status != 0)
        (void)err_from_abi(&c->err, status, error);
    else if (!c->closing)
        (void)err_set(&c->err, RS_ECLOSED, "the connection was closed");
    c->rs = NULL;
    c->closing = true;
    loop_hook_disarm(&c->hook);
    c->v->closed(c, &c->err);
    c->dead = true;
    http_out_done(&c->out, c->io);
    if (!c->posted)
        c->v->free(c);
}

static const rs_conn_events conn_events = {
    .struct_size = sizeof(rs_conn_events),
    .ready = on_ready,
    .readable = on_readable,
    .writable = on_writable,
    .closed = on_closed,
};

const rs_conn_events *http_conn_events(void) {
    return &conn_events;
}

void http_conn_init(struct http_conn *c, struct http_io *io, const rs_transport_ops *ops,
                    const struct http_conn_ops *v) {
    c->v = v;
    c->io = io;
    c->ops = ops;
    c->readable = true;
    loop_hook_init(&c->hook, flush_hook, c);
    c->task = (struct loop_task){.fn = run_task, .arg = c};
}

void http_conn_resume(struct http_conn *c) {
    c->paused = false;
    http_conn_post(c);
}

void http_conn_post(struct http_conn *c) {
    if (http_conn_open(c))
        post_task(c);
}

void http_conn_close(struct http_conn *c, int code, const char *message) {
    if (!http_conn_open(c))
        return;
    c->closing = true;
    if (code < 0 && c->err.code == 0)
        (void)err_set(&c->err, code, "%s", message);
    loop_hook_disarm(&c->hook);
    c->ops->close(c->rs, code < 0);
}
