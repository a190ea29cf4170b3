/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_admin.c : pause, resume, restart as new (execution.md §14). The leader resolved deployments before it
 * proposed, so that nothing here depends on a schema. */
#include "worker/sm_internal.h"

/* ---- pause ---- */

static enum sm_outcome pause_invocation(struct apply *ap, struct inv *inv) {
    struct cmd_event event = {.type = EVENT_PAUSED};

    switch (inv->h.status) {
    case INV_INVOKED:
        act(ap, SM_ACTION_ABORT, &inv->id);
        break;
    case INV_SUSPENDED:
        break;
    case INV_PAUSED:
        return SM_ALREADY_PAUSED;
    case INV_FREE:
        return SM_NOT_FOUND;
    default:
        return SM_NOT_RUNNING;
    }
    journal_event(ap, inv, &event);
    inv->h.status = INV_PAUSED;
    inv->future = NULL;
    inv->future_changed = false;
    return SM_ACCEPTED;
}

int apply_pause(struct apply *ap, const struct cmd_pause *m) {
    struct invocation_id id;
    struct inv *inv;
    int r;

    if (!take_id(m->id, &id)) {
        (void)act_admin(ap, m->request_id, SM_OP_PAUSE, SM_NOT_FOUND, NULL);
        return 0;
    }
    if ((r = inv_get(ap, &id, &inv)) < 0)
        return r;
    (void)act_admin(ap, m->request_id, SM_OP_PAUSE, pause_invocation(ap, inv), &id);
    return 0;
}

/* ---- deployments ---- */

/* What becomes of a pinned deployment. SM_OK: *h has the deployment to use. */
static enum sm_outcome patch_deployment(const struct cmd_deployment_patch *p, struct inv_header *h) {
    if (!p || p->outcome == PATCH_KEEP)
        return SM_OK;
    if (!h->protocol) /* the next attempt takes the latest anyway; another cannot be asked for */
        return p->latest ? SM_OK : SM_CANNOT_CHANGE_DEPLOYMENT;
    if (p->outcome == PATCH_NOT_FOUND)
        return SM_DEPLOYMENT_NOT_FOUND;
    if (p->outcome != PATCH_USE || h->protocol < p->min_protocol || h->protocol > p->max_protocol ||
        !p->deployment.len || p->deployment.len > 255)
        return SM_INCOMPATIBLE_DEPLOYMENT;
    h->deployment = p->deployment; /* the protocol stays */
    return SM_OK;
}

/* ---- resume ---- */

static int resume_invocation(struct apply *ap, struct inv *inv, const struct cmd_deployment_patch *patch,
                             enum sm_outcome *ret) {
    switch (inv->h.status) {
    case INV_SUSPENDED:
    case INV_PAUSED:
        *ret = patch_deployment(patch, &inv->h);
        return *ret == SM_OK ? inv_invoke(ap, inv) : 0;
    case INV_INVOKED:
        if (patch && patch->outcome != PATCH_KEEP) { /* also with "latest": an attempt uses what it started with */
            *ret = SM_CANNOT_CHANGE_DEPLOYMENT;
            return 0;
        }
        act(ap, SM_ACTION_RETRY_NOW, &inv->id);
        *ret = SM_OK;
        return 0;
    case INV_SCHEDULED:
    case INV_INBOXED:
        *ret = SM_NOT_STARTED;
        return 0;
    case INV_COMPLETED:
        *ret = SM_COMPLETED;
        return 0;
    case INV_FREE:
        break;
    }
    *ret = SM_NOT_FOUND;
    return 0;
}

int apply_resume(struct apply *ap, const struct cmd_resume *m) {
    enum sm_outcome outcome = SM_NOT_FOUND;
    struct invocation_id id;
    struct inv *inv;
    int r;

    if (!take_id(m->id, &id)) {
        (void)act_admin(ap, m->request_id, SM_OP_RESUME, SM_NOT_FOUND, NULL);
        return 0;
    }
    if ((r = inv_get(ap, &id, &inv)) < 0 || (r = resume_invocation(ap, inv, m->patch, &outcome)) < 0)
        return r;
    (void)act_admin(ap, m->request_id, SM_OP_RESUME, outcome, &id);
    return 0;
}

/* ---- restart as new ---- */

struct copy { /* of a journal prefix */
    struct apply *ap;
    struct journal_entry *entries; /* what the new journal gets, payloads copied */
    size_t n, cap;
    uint32_t *missing; /* completion ids of copied commands that have no completion yet */
    size_t n_missing, cap_missing;
    uint32_t last; /* of the prefix */
};

static void copy_entry(struct copy *c, const struct journal_entry *e) {
    struct arena *a = c->ap->a;

    if (c->n == c->cap) {
        struct journal_entry *more = arena_alloc(a, (c->cap = c->cap ? c->cap * 2 : 16) * sizeof *more);

        if (c->n)
            memcpy(more, c->entries, c->n * sizeof *more);
        c->entries = more;
    }
    c->entries[c->n] = *e;
    c->entries[c->n].side = arena_copy(a, e->side);
    c->entries[c->n++].payload = arena_copy(a, e->payload);
}

static void add_missing(struct copy *c, uint32_t id) {
    if (c->n_missing == c->cap_missing) {
        uint32_t *more =
            arena_alloc(c->ap->a, (c->cap_missing = c->cap_missing ? c->cap_missing * 2 : 16) * sizeof *more);

        if (c->n_missing)
            memcpy(more, c->missing, c->n_missing * sizeof *more);
        c->missing = more;
    }
    c->missing[c->n_missing++] = id;
}

static bool remove_missing(struct copy *c, const struct journal_entry *e) {
    struct sp_notification_id id;

    if (sp_notification_id(e->payload, &id, NULL, NULL) < 0 || id.kind != SP_ID_COMPLETION)
        return false;
    for (size_t i = 0; i < c->n_missing; i++)
        if (c->missing[i] == id.number) {
            c->missing[i] = c->missing[--c->n_missing];
            return true;
        }
    return false;
}

static int copy_each(void *arg, const struct journal_entry *e) {
    struct copy *c = arg;
    uint32_t ids[2];
    int n;

    if (e->index > c->last) {
        if (!c->n_missing)
            return 1;
        if (!e->is_command && remove_missing(c, e))
            copy_entry(c, e);
        return 0;
    }
    copy_entry(c, e);
    if (!e->is_command) {
        (void)remove_missing(c, e);
        return 0;
    }
    n = sp_command_completions(e->type, e->payload, ids, NULL);
    for (int i = 0; i < n; i++)
        add_missing(c, ids[i]);
    return 0;
}

static enum sm_outcome restart_allowed(struct inv *old, const struct cmd_restart *m, struct inv_header *h) {
    switch (old->h.status) {
    case INV_FREE:
        return SM_NOT_FOUND;
    case INV_SCHEDULED:
    case INV_INBOXED:
        return SM_NOT_STARTED;
    case INV_COMPLETED:
        break;
    default:
        return SM_STILL_RUNNING;
    }
    if (!old->h.journal_length)
        return SM_MISSING_INPUT;
    if (old->h.target_type == TARGET_WORKFLOW_RUN || (m->from && old->h.protocol < 6))
        return SM_UNSUPPORTED;
    if (m->from >= old->h.journal_length)
        return SM_JOURNAL_INDEX_OUT_OF_RANGE;
    return patch_deployment(m->patch, h);
}

static void paste(struct apply *ap, struct inv *inv, const struct journal_entry *e) {
    struct journal_entry copy = *e;
    struct sp_notification_id id;
    enum sp_result_kind kind;
    uint32_t ids[2];
    int n;

    if (e->is_command) {
        journal_paste_command(ap, inv, &copy);
        n = sp_command_completions(e->type, e->payload, ids, NULL);
        if (n > 0 && e->type != SP_ONE_WAY_CALL)
            journal_index_completion(ap, inv, ids[n - 1], copy.index, e->type);
        return;
    }
    if (sp_notification_id(e->payload, &id, &kind, NULL) == 0)
        journal_paste_notification(ap, inv, &copy, &id, kind);
}

static int restart(struct apply *ap, struct inv *old, const struct cmd_restart *m, const struct invocation_id *new_id,
                   enum sm_outcome *ret) {
    struct copy c = {.ap = ap, .last = m->from};
    struct cmd_source *source = arena_new(ap->a, struct cmd_source);
    struct inv_header h = old->h;
    struct cmd_invocation_body body;
    struct table_key k;
    struct inv *inv;
    int r;

    *ret = restart_allowed(old, m, &h);
    if (*ret != SM_OK)
        return 0;
    if ((r = inv_body(ap, old)) < 0 || (r = inv_get(ap, new_id, &inv)) < 0)
        return r;
    if (inv->h.status != INV_FREE) /* the same record a second time: it has been done */
        return 0;
    r = tables_journal(ap->through, &old->id, 0, copy_each, &c, ap->err);
    if (r < 0)
        return r;
    if (c.n_missing) {
        *ret = SM_JOURNAL_COPY_RANGE_INVALID;
        return 0;
    }

    inv->h = (struct inv_header){
        .target_type = h.target_type,
        .protocol = h.protocol,
        .deployment = h.deployment,
        .has_random_seed = m->from > 0,
        .random_seed = m->from == 0        ? 0
                       : h.has_random_seed ? h.random_seed
                                           : invocation_id_seed(&old->id),
        .traced = h.traced,
        .created_ms = ap->now_ms,
        .completion_retention_ms = h.completion_retention_ms,
        .journal_retention_ms = h.journal_retention_ms,
    };
    inv_touch(ap, inv);
    source->type = SOURCE_RESTART;
    source->id = arena_copy(ap->a, invocation_id_slice(&old->id));
    body = (struct cmd_invocation_body){.target = old->body.target,
                                        .source = source,
                                        .limit_key = old->body.limit_key,
                                        .version = old->body.version,
                                        .trace = old->body.trace};
    key_of_id(&k, T_BODY, new_id);
    stage_put(ap->w, table_key_slice(&k), SM_ROW(&ap->w->arena, cmd_invocation_body, &body));
    inv_set_body(inv, &body);
    if (inv->h.traced)
        act_trace(ap, SM_ACTION_TRACE_START, inv, 0);
    for (size_t i = 0; i < c.n; i++)
        paste(ap, inv, &c.entries[i]);
    return invoke_start_or_queue(ap, inv);
}

int apply_restart(struct apply *ap, const struct cmd_restart *m) {
    enum sm_outcome outcome = SM_NOT_FOUND;
    struct invocation_id id, new_id;
    struct sm_action *a;
    struct inv *old;
    int r;

    if (!take_id(m->id, &id) || !take_id(m->new_id, &new_id) || invocation_id_pk(&id) != invocation_id_pk(&new_id)) {
        (void)act_admin(ap, m->request_id, SM_OP_RESTART, SM_NOT_FOUND, NULL);
        return 0;
    }
    if ((r = inv_get(ap, &id, &old)) < 0 || (r = restart(ap, old, m, &new_id, &outcome)) < 0)
        return r;
    a = act_admin(ap, m->request_id, SM_OP_RESTART, outcome, &id);
    if (a && outcome == SM_OK)
        a->admin.new_id = new_id;
    return 0;
}
