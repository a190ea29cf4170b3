/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/fake_meta.h"

static void answer(void *arg) {
    struct fake_meta *f = arg;

    for (struct list *l; !f->stuck && (l = list_pop_front(&f->waiting));) {
        struct meta_cas_req *r = LIST_ENTRY(l, struct meta_cas_req, link);
        uint32_t version = meta_version(&f->m, r->key);
        struct err err;

        if (f->refuse) {
            (void)err_set(&err, f->refuse, "refused");
            meta_cas_answer(r, f->refuse, version, &err);
        } else if (version == r->expected) {
            meta_publish(&f->m, r->key, version + 1, r->value);
            meta_cas_answer(r, 0, version + 1, NULL);
        } else {
            (void)err_set(&err, RS_EEXIST, "another version");
            meta_cas_answer(r, RS_EEXIST, version, &err);
        }
    }
}

static void put(struct meta *m, struct meta_cas_req *r) {
    struct fake_meta *f = (struct fake_meta *)(void *)m;

    list_push_back(&f->waiting, &r->link);
    loop_hook_arm(m->loop, &f->hook);
}

static void end(struct meta *m) {
    struct fake_meta *f = (struct fake_meta *)(void *)m;

    loop_hook_disarm(&f->hook);
    for (struct list *l; (l = list_pop_front(&f->waiting));)
        meta_cas_drop(LIST_ENTRY(l, struct meta_cas_req, link));
    meta_done(m);
    free(f);
}

static const struct meta_ops ops = {.cas = put, .free = end};

struct fake_meta *fake_meta_new(struct loop *loop) {
    struct fake_meta *f = xnew(struct fake_meta);

    meta_init(&f->m, &ops, loop);
    list_init(&f->waiting);
    loop_hook_init(&f->hook, answer, f);
    return f;
}

void fake_meta_go_on(struct fake_meta *f) {
    f->stuck = false;
    loop_hook_arm(f->m.loop, &f->hook);
}
