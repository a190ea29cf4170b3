/* SPDX-License-Identifier: Apache-2.0 */
/* sockets_listen.c : listeners and accepting.
 *
 * A listener's memory outlives listener_close() until a posted turn, because it may be closed inside accepted(). One
 * that the host leaves behind is halted by sockets_stop() and freed by listener_close() or sockets_done(). */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sockets_internal.h"

#define ACCEPTS_PER_TURN 64
#define ACCEPT_PAUSE_NS UINT64_C(100000000) /* out of descriptors or memory: try again after this */
#define BACKLOG 4096                        /* the kernel cuts it to net.core.somaxconn */

struct rs_listener {
    struct sockets *self;
    rs_loop *loop;
    rs_watch *watch;
    rs_timer *timer; /* while accepting pauses */
    int fd;          /* -1: closed or halted */
    uint8_t halted;  /* by sockets_stop(); the host still has the handle */
    uint8_t dead;    /* lock: closed, freed by the last post */
    unsigned posts;  /* lock: halts under way */
    void (*accepted)(void *arg, rs_conn *);
    void *arg;
    struct sockets_opts *opts;
    struct rs_conn *offered; /* inside accepted(), until attach() */
    struct rs_listener *prev, *next;
    dev_t dev; /* of the socket file we made */
    ino_t ino;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
};

static void accept_ready(void *arg, uint32_t events);

static int bind_error(const char *uri, int native, rs_error *err) {
    if (native == EADDRINUSE)
        return sockets_error(err, RS_EEXIST, 0, native, "%.100s is in use by somebody else", uri);
    if (native == EADDRNOTAVAIL)
        return sockets_error(err, RS_EINVAL, 0, native, "%.100s has no address of this machine", uri);
    return sockets_error(err, sockets_code(native), 0, native, "cannot listen on %.100s: %s", uri, strerror(native));
}

/* A socket file that nobody listens on is left over from a process that died. */
static int socket_file_stale(const struct sockaddr_un *sa) {
    struct stat st;
    int fd, stale;

    if (lstat(sa->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return 0;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    stale = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return stale;
}

static int bind_unix(struct rs_listener *l, const char *uri, rs_error *err) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct stat st;
    int r;

    memcpy(sa.sun_path, l->path, sizeof(sa.sun_path));
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return bind_error(uri, errno, err);
    r = bind(l->fd, (struct sockaddr *)&sa, sizeof(sa));
    if (r < 0 && errno == EADDRINUSE) {
        if (!socket_file_stale(&sa) || unlink(l->path) < 0)
            return bind_error(uri, EADDRINUSE, err);
        r = bind(l->fd, (struct sockaddr *)&sa, sizeof(sa));
    }
    if (r < 0)
        return bind_error(uri, errno, err);
    if (lstat(l->path, &st) == 0) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    return RS_OK;
}

static int bind_tcp(struct rs_listener *l, const struct sockets_address *a, const char *uri, rs_error *err) {
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *res = NULL;
    const char *host = strcmp(a->host, "localhost") == 0 ? "127.0.0.1" : a->host;
    int r = RS_OK, one = 1;

    if (getaddrinfo(host, a->port, &hints, &res) != 0)
        return sockets_error(err, RS_EINVAL, 0, 0,
                             "cannot listen on %.100s: the host must be an IP address or localhost", uri);
    l->fd = socket(res->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(l->fd, res->ai_addr, res->ai_addrlen) < 0)
        r = bind_error(uri, errno, err);
    freeaddrinfo(res);
    return r;
}

static void close_fd(struct rs_listener *l) {
    struct stat st;

    if (l->timer)
        l->self->host->timer_stop(l->timer);
    l->timer = NULL;
    if (l->watch)
        l->self->host->unwatch(l->watch);
    l->watch = NULL;
    if (l->fd >= 0)
        (void)close(l->fd);
    l->fd = -1;
    /* A successor may have put its own socket in our place. */
    if (l->ino && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        (void)unlink(l->path);
    l->ino = 0;
}

int sockets_listen(void *self, rs_loop *loop, const char *uri, const rs_conn_opts *opts,
                   void (*accepted)(void *arg, rs_conn *), void *arg, rs_listener **ret, rs_error *err) {
    struct sockets *s = self;
    struct sockets_address a;
    struct rs_listener *l;
    int r;

    r = sockets_address_parse(s->medium, uri, 0, &a, err);
    if (r == RS_OK && s->medium->listenable)
        r = s->medium->listenable(s, err);
    if (r < 0)
        return r;
    if (sockets_enter(s) < 0)
        return sockets_error(err, RS_ECLOSED, 0, 0, "the transport is stopping");
    if (!(l = calloc(1, sizeof(*l)))) {
        sockets_leave(s);
        return sockets_error(err, RS_ENOMEM, 0, 0, "out of memory");
    }
    l->self = s;
    l->loop = loop;
    l->accepted = accepted;
    l->arg = arg;
    l->fd = -1;
    memcpy(l->path, a.path, sizeof(l->path));
    l->opts = sockets_opts_new(opts, a.host, &r, err);
    if (l->opts)
        r = l->path[0] ? bind_unix(l, uri, err) : bind_tcp(l, &a, uri, err);
    if (r == RS_OK && listen(l->fd, BACKLOG) < 0)
        r = bind_error(uri, errno, err);
    if (r == RS_OK) {
        r = s->host->watch(loop, l->fd, RS_WATCH_READ, accept_ready, l, &l->watch);
        if (r < 0)
            (void)sockets_error(err, r, 0, 0, "the loop cannot watch another socket");
    }
    pthread_mutex_lock(&s->lock);
    if ((l->next = s->listeners))
        l->next->prev = l;
    s->listeners = l;
    pthread_mutex_unlock(&s->lock);
    if (r < 0) {
        close_fd(l);
        sockets_listener_free(l);
        sockets_leave(s);
        return r;
    }
    *ret = l;
    return RS_OK;
}

int sockets_listener_uri(rs_listener *l, char *buf, size_t len) {
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t sa_len = sizeof(sa);
    char address[64];
    int n;

    if (l->path[0]) {
        n = snprintf(buf, len, "unix:%s", l->path);
    } else {
        if (getsockname(l->fd, (struct sockaddr *)&sa, &sa_len) < 0)
            return RS_ECLOSED;
        sockets_address_text((struct sockaddr *)&sa, address, sizeof(address));
        n = snprintf(buf, len, "%s://%s", l->self->medium->scheme, address);
    }
    return n < 0 || (size_t)n >= len ? RS_ETOOBIG : RS_OK;
}

void sockets_listener_free(struct rs_listener *l) {
    struct sockets *s = l->self;

    pthread_mutex_lock(&s->lock);
    if (l->prev)
        l->prev->next = l->next;
    else
        s->listeners = l->next;
    if (l->next)
        l->next->prev = l->prev;
    pthread_mutex_unlock(&s->lock);
    (void)sockets_opts_unref(l->opts);
    free(l);
}

static void listener_finish(void *arg) {
    struct rs_listener *l = arg;
    struct sockets *s = l->self;
    int wait;

    pthread_mutex_lock(&s->lock);
    l->dead = 1;
    wait = l->posts > 0;
    pthread_mutex_unlock(&s->lock);
    if (wait)
        return;
    sockets_listener_free(l);
    sockets_leave(s);
}

void sockets_listener_close(rs_listener *l) {
    if (l->halted) {
        sockets_listener_free(l);
        return;
    }
    close_fd(l);
    (void)l->self->host->post(l->loop, listener_finish, l);
}

void sockets_listener_halt(void *arg) {
    struct rs_listener *l = arg;
    struct sockets *s = l->self;
    int dead, last;

    pthread_mutex_lock(&s->lock);
    last = --l->posts == 0;
    dead = l->dead;
    pthread_mutex_unlock(&s->lock);
    if (dead && last) {
        sockets_listener_free(l);
        sockets_leave(s);
    } else if (l->fd >= 0) {
        close_fd(l);
        l->halted = 1;
        sockets_leave(s);
    }
}

void sockets_listeners_stop(struct sockets *s) {
    for (struct rs_listener *l = s->listeners; l; l = l->next) {
        l->posts++;
        if (s->host->post(l->loop, sockets_listener_halt, l) < 0)
            l->posts--;
    }
}

static void accept_again(void *arg) {
    struct rs_listener *l = arg;

    l->self->host->timer_stop(l->timer);
    l->timer = NULL;
    l->self->host->watch_set(l->watch, RS_WATCH_READ);
}

/* The connections wait in the kernel's queue; without the pause the level-triggered watch would spin. */
static void accept_pause(struct rs_listener *l, const char *why, int native) {
    const rs_host *host = l->self->host;
    rs_field fields[] = {{.name = "reason", .type = RS_FIELD_STR, .v.str = why},
                         {.name = "errno", .type = RS_FIELD_I64, .v.i64 = native}};

    if (host->timer(l->loop, ACCEPT_PAUSE_NS, accept_again, l, &l->timer) < 0)
        return; /* no timer: better spin than never accept again */
    host->watch_set(l->watch, 0);
    host->log(host, RS_LOG_WARN, "accepting connections pauses", fields, sizeof(fields) / sizeof(fields[0]));
}

/* 1: go on, 0: nothing more now. */
static int accept_one(struct rs_listener *l) {
    struct rs_conn *c;
    int fd, r, one = 1;

    fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM || errno == EBADF ||
            errno == EINVAL) {
            accept_pause(l, strerror(errno), errno);
            return 0;
        }
        return 1; /* EINTR, or the error of a connection that is gone already */
    }
    if (!l->path[0])
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    r = sockets_conn_new(l->self, l->loop, l->opts, l, fd, &c);
    if (r < 0) {
        (void)close(fd);
        if (r == RS_ENOMEM)
            accept_pause(l, "over the memory budget", 0);
        return 0;
    }
    l->offered = c;
    l->accepted(l->arg, c);
    if (l->offered) { /* otherwise the connection belongs to another thread by now */
        sockets_conn_drop(c);
        l->offered = NULL;
    }
    return 1;
}

static void accept_ready(void *arg, uint32_t events) {
    struct rs_listener *l = arg;

    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && l->fd >= 0; i++)
        if (!accept_one(l))
            return;
}

static void attached(void *arg) {
    struct rs_conn *c = arg;

    if (c->state == SOCKETS_ACCEPTED)
        sockets_conn_connected(c);
}

int sockets_attach(rs_conn *c, rs_loop *loop, const rs_conn_events *events, void *arg) {
    struct rs_listener *l = c->listener;
    struct sockets *s = c->self;
    int r;

    if (!l || l->offered != c)
        return RS_EINVAL;
    r = sockets_conn_events(c, events, arg);
    if (r < 0)
        return r;
    /* Under the lock, so that sockets_stop() sees the connection either not at all or posts after us. From the post on
     * it belongs to the other thread, which takes no lock: everything is in place before. */
    pthread_mutex_lock(&s->lock);
    c->loop = loop;
    c->listener = NULL;
    r = s->stopping ? RS_ECLOSED : s->host->post(loop, attached, c);
    if (r == RS_OK)
        l->offered = NULL;
    pthread_mutex_unlock(&s->lock);
    return r;
}
