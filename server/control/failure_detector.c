/* SPDX-License-Identifier: Apache-2.0 */
#include "control/failure_detector.h"

#include <string.h>

#define GOOD_TICKS 3u /* defaults */
#define SKEW_MS 1000u
#define FRESH_AGE 2u

const char *fd_state_str(enum fd_state s) {
    static const char *const names[] = {"dead", "suspect", "alive", "failing-over"};

    return (size_t)s < sizeof names / sizeof *names ? names[s] : "?";
}

void fd_init(struct failure_detector *fd, const struct fd_params *p, struct node_id self, uint64_t instance) {
    memset(fd, 0, sizeof *fd);
    fd->p = *p;
    fd->p.good_ticks = p->good_ticks ? p->good_ticks : GOOD_TICKS;
    fd->p.skew_ms = p->skew_ms ? p->skew_ms : SKEW_MS;
    fd->self = self;
    fd->instance = instance;
}

static struct fd_node *find(struct failure_detector *fd, uint32_t id) {
    for (unsigned i = 0; i < fd->n; i++)
        if (fd->nodes[i].id.id == id)
            return &fd->nodes[i];
    return NULL;
}

const struct fd_node *fd_find(const struct failure_detector *fd, uint32_t id) {
    return find((struct failure_detector *)(uintptr_t)fd, id);
}

static void reset(struct fd_node *n, struct node_id id) {
    *n = (struct fd_node){.id = id, .state = FD_DEAD, .age = UINT32_MAX};
}

void fd_members(struct failure_detector *fd, const struct node_id *ids, unsigned n) {
    struct fd_node old[FD_NODES_MAX];
    unsigned n_old = fd->n;

    memcpy(old, fd->nodes, sizeof old);
    fd->n = 0;
    for (unsigned i = 0; i < n && fd->n < FD_NODES_MAX; i++) {
        struct fd_node *to = &fd->nodes[fd->n];

        if (ids[i].id == fd->self.id)
            continue;
        reset(to, ids[i]);
        for (unsigned k = 0; k < n_old; k++)
            if (old[k].id.id == ids[i].id && old[k].id.generation >= ids[i].generation)
                *to = old[k];
        fd->n++;
    }
}

static void step(struct failure_detector *fd, struct fd_node *n) {
    n->good = n->age <= FRESH_AGE ? n->good + 1 : 0;
    if (n->age > fd->p.failure_threshold) {
        n->died |= n->state == FD_ALIVE || n->state == FD_LEAVING;
        n->state = FD_DEAD;
    } else if (n->leaving) {
        n->state = FD_LEAVING;
    } else if (n->state != FD_ALIVE) {
        bool back = n->good >= (n->died ? MAX(fd->p.suspect_ticks, fd->p.good_ticks) : fd->p.good_ticks);

        n->state = back ? FD_ALIVE : n->died && n->good ? FD_SUSPECT : n->state;
    }
}

void fd_tick(struct failure_detector *fd) {
    fd->silence += fd->silence < UINT32_MAX;
    for (unsigned i = 0; i < fd->n; i++) {
        fd->nodes[i].age += fd->nodes[i].age < UINT32_MAX;
        step(fd, &fd->nodes[i]);
    }
}

bool fd_believes(const struct failure_detector *fd, uint64_t started_ms, uint64_t sent_ms, uint64_t now_ms) {
    return sent_ms <= now_ms + fd->p.skew_ms && started_ms <= sent_ms;
}

void fd_heard(struct failure_detector *fd, struct node_id id, uint64_t instance, uint32_t age, bool leaving,
              bool from_itself, uint64_t now_ms) {
    struct fd_node *n = find(fd, id.id);

    if (from_itself)
        fd->silence = 0;
    if (!n || id.generation < n->id.generation || (n->instance && instance < n->instance))
        return;
    if (id.generation > n->id.generation || (n->instance && instance > n->instance))
        reset(n, id);
    n->gone = n->gone && !from_itself;
    if (n->gone)
        return;
    n->instance = instance;
    n->leaving |= leaving;
    if (age < n->age) {
        n->age = age;
        n->seen_ms = now_ms;
    }
}

void fd_gone(struct failure_detector *fd, struct node_id id) {
    struct fd_node *n = find(fd, id.id);

    if (n && n->id.generation == id.generation) {
        n->age = UINT32_MAX;
        n->gone = true;
        step(fd, n);
    }
}

bool fd_is_alive(const struct failure_detector *fd, uint32_t id) {
    const struct fd_node *n = fd_find(fd, id);

    return id == fd->self.id || (n && n->state == FD_ALIVE);
}

bool fd_is_suspect(const struct failure_detector *fd, uint32_t id) {
    const struct fd_node *n = fd_find(fd, id);

    return n && n->state == FD_SUSPECT;
}

bool fd_is_heard_of(const struct failure_detector *fd, uint32_t id) {
    return fd_is_alive(fd, id) || fd_is_suspect(fd, id);
}

bool fd_is_lonely(const struct failure_detector *fd) {
    return fd->n > 0 && fd->silence > fd->p.lonely_ticks;
}
