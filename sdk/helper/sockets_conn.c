/* SPDX-License-Identifier: Apache-2.0 */
/* sockets_conn.c : a connection from "connected" to closed(): readiness, bytes, the end.
 *
 * Everything runs on the connection's loop. A connection that ended keeps its memory until the posted finish(), so code
 * that comes back from a callback of the host may look at its state. */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sockets_internal.h"

static void rearm(struct rs_conn *c) {
    uint8_t events = (uint8_t)((c->reading ? RS_WATCH_READ : 0) | (c->want_write || c->holding ? RS_WATCH_WRITE : 0));

    if (events != c->armed && c->watch) {
        c->armed = events;
        c->self->host->watch_set(c->watch, events);
    }
}

int sockets_conn_new(struct sockets *s, rs_loop *loop, struct sockets_opts *opts, struct rs_listener *from, int fd,
                     struct rs_conn **ret) {
    struct rs_conn *c;
    int r;

    r = sockets_enter(s);
    if (r < 0)
        return r;
    if (s->host->mem_charge(s->host, s->medium->conn_charge) < 0)
        goto leave;
    if (!(c = calloc(1, s->medium->conn_size)))
        goto uncharge;
    c->self = s;
    c->medium = s->medium;
    c->loop = loop;
    c->opts = sockets_opts_ref(opts);
    c->listener = from;
    c->state = from ? SOCKETS_ACCEPTED : SOCKETS_DIALLING;
    c->server = from != NULL;
    c->fd = fd;
    pthread_mutex_lock(&s->lock);
    if ((c->next = s->conns))
        c->next->prev = c;
    s->conns = c;
    pthread_mutex_unlock(&s->lock);
    *ret = c;
    return RS_OK;

uncharge:
    (void)s->host->mem_charge(s->host, -s->medium->conn_charge);
leave:
    sockets_leave(s);
    return RS_ENOMEM;
}

void sockets_conn_drop(struct rs_conn *c) {
    struct sockets *s = c->self;

    pthread_mutex_lock(&s->lock);
    c->dead = 1;
    if (c->pins) { /* the post of sockets_stop() that is under way drops it */
        pthread_mutex_unlock(&s->lock);
        return;
    }
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    pthread_mutex_unlock(&s->lock);
    if (c->fd >= 0)
        (void)close(c->fd);
    (void)sockets_opts_unref(c->opts);
    free(c->error);
    free(c);
    (void)s->host->mem_charge(s->host, -s->medium->conn_charge);
    sockets_leave(s);
}

int sockets_conn_events(struct rs_conn *c, const rs_conn_events *events, void *arg) {
    if (!events || events->struct_size < sizeof(*events) || !events->ready || !events->readable || !events->writable ||
        !events->closed)
        return RS_EINVAL;
    c->events = *events;
    c->arg = arg;
    return RS_OK;
}

static void timer_end(struct rs_conn *c) {
    if (c->timer)
        c->self->host->timer_stop(c->timer);
    c->timer = NULL;
}

static void finish(void *arg) {
    struct rs_conn *c = arg;

    c->events.closed(c->arg, c, c->error ? c->error->code : RS_OK, c->error);
    sockets_conn_drop(c);
}

/* Read away what the peer sent, so that closing does not reset the connection under the last bytes on their way. */
static void drain(int fd) {
    char sink[4096];

    (void)shutdown(fd, SHUT_WR);
    for (int i = 0; i < 16 && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0; i++)
        ;
}

void sockets_conn_end(struct rs_conn *c, int abort) {
    const rs_host *host = c->self->host;
    int opened = c->state >= SOCKETS_HANDSHAKE;

    if (c->state == SOCKETS_ENDED)
        return;
    timer_end(c);
    sockets_dial_free(c->dial);
    c->dial = NULL;
    if (opened && c->medium->end)
        c->medium->end(c, abort);
    if (c->watch)
        host->unwatch(c->watch);
    c->watch = NULL;
    if (c->fd >= 0) {
        if (abort)
            (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
        else if (c->state == SOCKETS_HANDSHAKE)
            drain(c->fd);
        (void)close(c->fd);
    }
    c->fd = -1;
    c->state = SOCKETS_ENDED;
    (void)host->post(c->loop, finish, c); /* refused only by a loop that is gone, and with it whoever waits */
}

/* What the medium took but the socket did not yet take is sent first; closed() waits for it. */
void sockets_close(rs_conn *c, int abort) {
    if (!abort && c->state == SOCKETS_CLOSING)
        return;
    if (!abort && c->state == SOCKETS_OPEN && c->medium->shutdown) {
        if (!c->shut)
            (void)c->medium->shutdown(c); /* a failure is recorded for closed() */
        c->shut = 1;
        if (c->holding && !c->error &&
            c->self->host->timer(c->loop, c->opts->handshake_timeout_ns, sockets_conn_timeout, c, &c->timer) == RS_OK) {
            c->state = SOCKETS_CLOSING;
            c->reading = 0;
            c->want_write = 0;
            rearm(c);
            return;
        }
    }
    sockets_conn_end(c, abort);
}

static void become_open(struct rs_conn *c) {
    timer_end(c);
    c->state = SOCKETS_OPEN;
    c->reading = 1;
    c->want_read = 1;
    rearm(c);
    c->events.ready(c->arg, c);
    if (c->state == SOCKETS_OPEN && c->want_read && c->medium->pending && c->medium->pending(c)) {
        c->want_read = 0;
        c->events.readable(c->arg, c);
    }
}

static int flush(struct rs_conn *c) {
    int r;

    if (!c->holding)
        return RS_OK;
    r = c->medium->flush(c);
    if (r != RS_EAGAIN)
        c->holding = 0;
    return r;
}

static void handshake(struct rs_conn *c) {
    rs_error err = {.struct_size = sizeof(err)};
    int r = flush(c);

    if (r < 0 && r != RS_EAGAIN) {
        sockets_conn_end(c, 0);
        return;
    }
    r = c->medium->handshake(c, &err);
    if (r == RS_EAGAIN) {
        rearm(c);
    } else if (r < 0) {
        (void)sockets_broken(c, r, err.native, "%s", err.msg);
        sockets_conn_end(c, 0);
    } else {
        become_open(c);
    }
}

void sockets_conn_timeout(void *arg) {
    struct rs_conn *c = arg;

    timer_end(c);
    if (c->state == SOCKETS_DIALLING) {
        sockets_dial_timeout(c);
    } else if (c->state == SOCKETS_HANDSHAKE) {
        (void)sockets_broken(c, RS_ETIMEDOUT, 0, "the handshake with %s took too long",
                             c->server ? "the client" : c->opts->host);
        sockets_conn_end(c, 0);
    } else if (c->state == SOCKETS_CLOSING) {
        (void)sockets_broken(c, RS_ETIMEDOUT, 0, "the peer does not take the last bytes");
        sockets_conn_end(c, 1);
    }
}

void sockets_conn_connected(struct rs_conn *c) {
    const rs_host *host = c->self->host;
    rs_error err = {.struct_size = sizeof(err)};
    int r;

    timer_end(c);
    c->state = SOCKETS_HANDSHAKE;
    c->reading = 1;
    if (!c->watch) {
        r = host->watch(c->loop, c->fd, RS_WATCH_READ, sockets_conn_event, c, &c->watch);
        if (r < 0) {
            (void)sockets_broken(c, r, 0, "the loop cannot watch another connection");
            sockets_conn_end(c, 0);
            return;
        }
        c->armed = RS_WATCH_READ;
    }
    if (!c->medium->handshake) {
        become_open(c);
        return;
    }
    r = c->medium->open(c, &err);
    if (r == RS_OK) {
        r = host->timer(c->loop, c->opts->handshake_timeout_ns, sockets_conn_timeout, c, &c->timer);
        if (r < 0)
            (void)sockets_error(&err, r, 0, 0, "the loop cannot take another timer");
    }
    if (r < 0) {
        (void)sockets_broken(c, r, err.native, "%s", err.msg);
        sockets_conn_end(c, 0);
        return;
    }
    handshake(c);
}

static void event_write(struct rs_conn *c) {
    int r;

    if (c->holding) {
        r = flush(c);
        if (r == RS_EAGAIN)
            return;
    }
    if (c->want_write) {
        c->want_write = 0;
        c->events.writable(c->arg, c);
    }
}

void sockets_conn_event(void *arg, uint32_t events) {
    struct rs_conn *c = arg;

    c->drained = 0;
    if (c->state == SOCKETS_DIALLING) {
        sockets_dial_event(c);
        return;
    }
    if (c->state == SOCKETS_HANDSHAKE) {
        handshake(c);
        return;
    }
    if (c->state == SOCKETS_CLOSING) {
        if (flush(c) != RS_EAGAIN)
            sockets_conn_end(c, 0);
        return;
    }
    if (events & RS_WATCH_READ) {
        if (c->want_read) {
            c->want_read = 0;
            c->events.readable(c->arg, c);
        } else {
            c->reading = 0; /* the host is not reading: until it does, the kernel's buffer holds the peer back */
        }
    }
    if ((events & RS_WATCH_WRITE) && c->state == SOCKETS_OPEN)
        event_write(c);
    if (c->state == SOCKETS_OPEN)
        rearm(c);
}

int64_t sockets_recv(struct rs_conn *c, void *buf, size_t len) {
    ssize_t n;

    if (c->drained) {
        c->drained = 0;
        return RS_EAGAIN;
    }
    do
        n = recv(c->fd, buf, len, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        c->drained = (size_t)n < len;
        return n;
    }
    if (n == 0)
        return 0;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return RS_EAGAIN;
    return sockets_broken(c, sockets_code(errno), errno, "reading failed: %s", strerror(errno));
}

int64_t sockets_send(struct rs_conn *c, const struct iovec *iov, int n) {
    struct msghdr msg = {.msg_iovlen = (size_t)n};
    ssize_t r;

    memcpy(&msg.msg_iov, &iov, sizeof(iov)); /* sendmsg only reads the vector */
    do
        r = n == 1 ? send(c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL) : sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r >= 0)
        return r;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return RS_EAGAIN;
    return sockets_broken(c, sockets_code(errno), errno, "writing failed: %s", strerror(errno));
}

void sockets_hold(struct rs_conn *c) {
    c->holding = 1;
    rearm(c);
}

int64_t sockets_read(rs_conn *c, void *buf, size_t len) {
    int64_t r;

    if (c->state != SOCKETS_OPEN)
        return c->state > SOCKETS_OPEN ? RS_ECLOSED : RS_EAGAIN;
    r = c->medium->read ? c->medium->read(c, buf, len) : sockets_recv(c, buf, len);
    if (r > 0) {
        c->bytes_read += (uint64_t)r;
    } else if (r == RS_EAGAIN) {
        c->want_read = 1;
        c->reading = 1;
        rearm(c);
    }
    return r;
}

int64_t sockets_write(rs_conn *c, const struct iovec *iov, int n) {
    size_t total = 0;
    int more = 0;
    int64_t r;

    if (c->state != SOCKETS_OPEN)
        return c->state > SOCKETS_OPEN ? RS_ECLOSED : RS_EAGAIN;
    if (c->shut)
        return sockets_broken(c, RS_ECLOSED, 0, "written after the end of our direction");
    for (; n > 0 && iov->iov_len == 0; n--)
        iov++;
    if (n > IOV_MAX) {
        n = IOV_MAX;
        more = 1;
    }
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (total == 0)
        return 0;
    r = c->medium->write ? c->medium->write(c, iov, n, total) : sockets_send(c, iov, n);
    if (r > 0)
        c->bytes_written += (uint64_t)r;
    if (r == RS_EAGAIN || (r >= 0 && ((size_t)r < total || more))) {
        c->want_write = 1;
        rearm(c);
    }
    return r;
}

int sockets_shutdown(rs_conn *c) {
    if (c->state != SOCKETS_OPEN)
        return c->state > SOCKETS_OPEN ? RS_ECLOSED : RS_EAGAIN;
    if (c->shut)
        return RS_OK;
    c->shut = 1;
    if (c->medium->shutdown)
        return c->medium->shutdown(c);
    if (shutdown(c->fd, SHUT_WR) < 0)
        return sockets_broken(c, sockets_code(errno), errno, "ending our direction failed: %s", strerror(errno));
    return RS_OK;
}

int sockets_peer(rs_conn *c, rs_peer *ret) {
    rs_peer peer = {.flags = 0};
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(sa);

    if (ret->struct_size < offsetof(rs_peer, address))
        return RS_EINVAL;
    if (c->state != SOCKETS_OPEN)
        return c->state > SOCKETS_OPEN ? RS_ECLOSED : RS_EAGAIN;
    if (getpeername(c->fd, (struct sockaddr *)&sa, &len) == 0) {
        sockets_address_text((struct sockaddr *)&sa, peer.address, sizeof(peer.address));
        len = sizeof(sa);
        if (sa.ss_family == AF_UNIX && !peer.address[0] && getsockname(c->fd, (struct sockaddr *)&sa, &len) == 0)
            sockets_address_text((struct sockaddr *)&sa, peer.address, sizeof(peer.address)); /* clients have no name */
    }
    if (c->medium->peer)
        c->medium->peer(c, &peer);
    peer.struct_size = ret->struct_size;
    memcpy(ret, &peer, ret->struct_size < sizeof(peer) ? ret->struct_size : sizeof(peer));
    return RS_OK;
}

int sockets_stats(rs_conn *c, void (*each)(void *arg, const char *name, uint64_t value), void *arg) {
    struct tcp_info info;
    socklen_t len = sizeof(info);

    each(arg, "bytes_read", c->bytes_read);
    each(arg, "bytes_written", c->bytes_written);
    memset(&info, 0, sizeof(info));
    if (c->fd >= 0 && getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0) {
        each(arg, "rtt_us", info.tcpi_rtt);
        each(arg, "retransmits", info.tcpi_total_retrans);
    }
    return RS_OK;
}
