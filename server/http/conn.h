/* SPDX-License-Identifier: Apache-2.0 */
/* http/conn.h : one transport connection under HTTP, the same for server and client: reading with back pressure, one
 * gathered write per turn, closing. It knows nothing of HTTP. Folder internal.
 *
 * Input is delivered only from transport events and from the resume task, output is written only there and in the
 * end-of-turn hook; so no callback upwards ever runs inside a call from above. */
#pragma once
#include "base/err.h"
#include "http/headers.h"
#include "http/out.h"
#include "loop/loop.h"

enum {
    HTTP_READ_BYTES = 64 << 10,       /* one read */
    HTTP_READ_TURN_BYTES = 512 << 10, /* read by one connection in one turn */
    HTTP_OUT_HIGH = 256 << 10,        /* unsent: no more is produced, and nothing is read */
    HTTP_IOV_MAX = 64,
};

struct http_io { /* shared by the connections of one server or client */
    struct loop *loop;
    uint8_t *rbuf;       /* HTTP_READ_BYTES, allocated at the first read */
    struct bytes *spare; /* one output block */
    uint64_t bytes_in, bytes_out;
};
void http_io_done(struct http_io *io);

struct http_conn;
struct http_conn_ops {
    void (*ready)(struct http_conn *c);
    void (*input)(struct http_conn *c, const uint8_t *data, size_t len); /* takes all of it */
    void (*eof)(struct http_conn *c);
    void (*resumed)(struct http_conn *c); /* in the resume task, before it reads on; may be NULL */
    void (*produce)(struct http_conn *c); /* append to @out until HTTP_OUT_HIGH or nothing is left; may be NULL */
    void (*flushed)(struct http_conn *c); /* a flush ended: look at @out.len; may be NULL */
    void (*closed)(struct http_conn *c, const struct err *why); /* once, last; why->code 0: we closed */
    void (*free)(struct http_conn *c);                          /* after closed: give the memory back */
};

struct http_conn {
    const struct http_conn_ops *v;
    struct http_io *io;
    const rs_transport_ops *ops;
    rs_conn *rs; /* NULL before connect and after closed */
    struct http_out out;
    struct loop_hook hook;
    struct loop_task task;
    bool ready;    /* handshake done */
    bool paused;   /* by the protocol: do not read */
    bool readable; /* the transport has not yet said RS_EAGAIN */
    bool blocked;  /* wait for writable */
    bool closing;  /* close() was called, closed() is to come */
    bool shut;     /* our direction has ended */
    bool posted;   /* @task is under way */
    bool dead;     /* closed: free when the task has run */
    bool seen_eof;
    struct err err; /* why we closed it; code 0: no error */
};

void http_conn_init(struct http_conn *c, struct http_io *io, const rs_transport_ops *ops,
                    const struct http_conn_ops *v);
const rs_conn_events *http_conn_events(void); /* arg: the http_conn */
/* http_conn_arm() - something is to be sent: flush at the end of this turn. */
static inline void http_conn_arm(struct http_conn *c) {
    loop_hook_arm(c->io->loop, &c->hook);
}
/* http_conn_resume() - run resumed() and read on in a later turn. */
void http_conn_resume(struct http_conn *c);
void http_conn_post(struct http_conn *c); /* the same, but a paused connection stays paused */
/* http_conn_close() - close it now, unsent output is lost. @code 0 or negative with a message for closed(). */
void http_conn_close(struct http_conn *c, int code, const char *message);
static inline bool http_conn_open(const struct http_conn *c) {
    return c->rs && !c->closing;
}
