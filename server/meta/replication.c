/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/replication.h"

#include <ctype.h>
#include <strings.h>
#include "base/hash.h"

#define NODESET_SEED 14712721395741015273u /* so that the choice is repeatable */

static const char *const scope_names[SCOPE_N] = {"node", "zone", "region"};

/* ---- property ---- */

static struct slice skip_space(struct slice s) {
    while (s.len && isspace(s.data[0]))
        s = slice_from(s, 1);
    return s;
}

static int take_number(struct slice *s, uint8_t *ret, struct err *err) {
    unsigned v = 0, digits = 0;

    for (*s = skip_space(*s); s->len && isdigit(s->data[0]) && v <= NODESET_MAX; *s = slice_from(*s, 1), digits++)
        v = v * 10 + (unsigned)(s->data[0] - '0');
    if (!digits || v == 0 || v > NODESET_MAX)
        return err_set(err, RS_EINVAL, "replication: expected a number of copies from 1 to %u", NODESET_MAX);
    *ret = (uint8_t)v;
    return 0;
}

static int take_scope(struct slice *s, struct replication *ret, struct err *err) {
    size_t len = 0;

    *s = skip_space(*s);
    while (len < s->len && isalpha(s->data[len]))
        len++;
    for (unsigned i = 0; i < SCOPE_N; i++) {
        if (len != strlen(scope_names[i]) || strncasecmp((const char *)s->data, scope_names[i], len) != 0)
            continue;
        if (ret->copies[i])
            return err_set(err, RS_EINVAL, "replication: scope %s is given twice", scope_names[i]);
        *s = skip_space(slice_from(*s, len));
        if (!s->len || s->data[0] != ':')
            return err_set(err, RS_EINVAL, "replication: expected ':' after %s", scope_names[i]);
        *s = slice_from(*s, 1);
        return take_number(s, &ret->copies[i], err);
    }
    return err_set(err, RS_EINVAL, "replication: expected node, zone or region");
}

int replication_parse(struct slice text, struct replication *ret, struct err *err) {
    struct replication v = {{0}};
    struct slice s = skip_space(text);
    uint8_t below = 0;
    int r;

    if (s.len && s.data[0] != '{') {
        r = take_number(&s, &v.copies[SCOPE_NODE], err);
        if (r < 0)
            return r;
    } else {
        do {
            s = slice_from(s, 1); /* '{' or ',' */
            r = take_scope(&s, &v, err);
            if (r < 0)
                return r;
            s = skip_space(s);
        } while (s.len && s.data[0] == ',');
        if (!s.len || s.data[0] != '}')
            return err_set(err, RS_EINVAL, "replication: expected '}'");
        s = slice_from(s, 1);
    }
    if (skip_space(s).len)
        return err_set(err, RS_EINVAL, "replication: unexpected text at the end");
    if (!v.copies[SCOPE_NODE])
        v.copies[SCOPE_NODE] =
            v.copies[SCOPE_ZONE] > v.copies[SCOPE_REGION] ? v.copies[SCOPE_ZONE] : v.copies[SCOPE_REGION];
    for (int i = SCOPE_N - 1; i >= 0; i--) {
        if (v.copies[i] && v.copies[i] < below)
            return err_set(err, RS_EINVAL, "replication: %s must not ask for fewer copies than a larger scope",
                           scope_names[i]);
        below = v.copies[i] > below ? v.copies[i] : below;
    }
    *ret = v;
    return 0;
}

void replication_format(struct replication r, struct buf *out) {
    const char *sep = "{";

    for (int i = SCOPE_N - 1; i >= 0; i--) {
        if (!r.copies[i])
            continue;
        buf_putf(out, "%s%s: %u", sep, scope_names[i], r.copies[i]);
        sep = ", ";
    }
    buf_put_str(out, "}");
}

/* ---- quorums ---- */

/* The part of a location that names the domain of a scope; empty when it says nothing about it. */
static struct slice location_part(const char *location, enum scope s) {
    const char *dot = location ? strchr(location, '.') : NULL;

    if (!location || (s == SCOPE_ZONE && !dot))
        return SLICE_NULL;
    return s == SCOPE_REGION && dot ? slice_of(location, (size_t)(dot - location)) : slice_str(location);
}

static uint16_t domain_of(struct quorum *q, const struct slice *places, uint32_t i, enum scope s) {
    if (s == SCOPE_NODE)
        return (uint16_t)i;
    for (uint32_t k = 0; k < i; k++)
        if (slice_eq(places[k], places[i]))
            return q->members[k].domain[s];
    return (uint16_t)i;
}

void quorum_init(struct quorum *q, const struct nodes_config *c, struct replication r, const uint32_t *nodes,
                 uint32_t n) {
    struct slice places[NODESET_MAX];

    ASSERT(n <= NODESET_MAX);
    memset(q, 0, sizeof *q);
    q->replication = r;
    q->n = n;
    for (uint32_t i = 0; i < n; i++) {
        const struct node_entry *e = c ? nodes_config_find(c, nodes[i]) : NULL;

        q->members[i] = (struct quorum_member){.node = nodes[i], .candidate = true, .authoritative = true};
        if (e) {
            q->members[i].candidate = !e->tombstone && e->storage_state != STORAGE_DISABLED;
            q->members[i].authoritative = e->storage_state != STORAGE_DATA_LOSS;
            q->members[i].writable =
                !e->tombstone && (e->storage_state == STORAGE_READ_WRITE || e->storage_state == STORAGE_READ_ONLY);
            q->members[i].lost = e->tombstone || e->storage_state == STORAGE_DISABLED ||
                                 e->storage_state == STORAGE_GONE || e->storage_state == STORAGE_DATA_LOSS;
        }
    }
    for (int s = SCOPE_NODE; s < SCOPE_N; s++) {
        for (uint32_t i = 0; i < n; i++) {
            const struct node_entry *e = c ? nodes_config_find(c, nodes[i]) : NULL;

            places[i] = location_part(e && !e->tombstone ? e->location : NULL, (enum scope)s);
            q->members[i].domain[s] = domain_of(q, places, i, (enum scope)s);
        }
    }
}

int quorum_index(const struct quorum *q, uint32_t node) {
    for (uint32_t i = 0; i < q->n; i++)
        if (q->members[i].node == node)
            return (int)i;
    return -1;
}

bool quorum_is_write(const struct quorum *q, const struct quorum_mask *m) {
    for (int s = 0; s < SCOPE_N; s++) {
        struct quorum_mask domains = {{0}};

        for (uint32_t i = 0; i < q->n; i++)
            if (quorum_mask_has(m, i) && q->members[i].candidate)
                quorum_mask_set(&domains, q->members[i].domain[s]);
        if (__builtin_popcountll(domains.bits[0]) + __builtin_popcountll(domains.bits[1]) < q->replication.copies[s])
            return false;
    }
    return true;
}

bool quorum_is_all_there_is(const struct quorum *q, const struct quorum_mask *m) {
    struct quorum_mask left = {{0}};

    if (quorum_is_write(q, m))
        return true;
    for (uint32_t i = 0; i < q->n; i++)
        if (!q->members[i].lost)
            quorum_mask_set(&left, i);
    return (left.bits[0] | left.bits[1]) && !quorum_is_write(q, &left) && !(left.bits[0] & ~m->bits[0]) &&
           !(left.bits[1] & ~m->bits[1]);
}

/* Number of domains of scope @s, and of those whose candidates are all in @m. */
static int complete_domains(const struct quorum *q, const struct quorum_mask *m, int s, bool with_data_loss,
                            int *ret_all) {
    struct quorum_mask all = {{0}}, broken = {{0}};

    for (uint32_t i = 0; i < q->n; i++) {
        const struct quorum_member *e = &q->members[i];

        if (!e->candidate)
            continue;
        quorum_mask_set(&all, e->domain[s]);
        if (!quorum_mask_has(m, i) || (!e->authoritative && !with_data_loss))
            quorum_mask_set(&broken, e->domain[s]);
    }
    *ret_all = __builtin_popcountll(all.bits[0]) + __builtin_popcountll(all.bits[1]);
    return *ret_all - __builtin_popcountll(broken.bits[0]) - __builtin_popcountll(broken.bits[1]);
}

enum f_majority quorum_f_majority(const struct quorum *q, const struct quorum_mask *m) {
    enum f_majority best = F_NONE;
    bool every = true;
    uint32_t answered = 0;

    for (int s = 0; s < SCOPE_N; s++) {
        int all, need;

        if (!q->replication.copies[s])
            continue;
        need = complete_domains(q, m, s, false, &all);
        if (need >= all - q->replication.copies[s] + 1)
            return F_SUCCESS;
        need = complete_domains(q, m, s, true, &all);
        if (need >= all - q->replication.copies[s] + 1)
            best = F_WITH_RISK;
    }
    if (best != F_NONE)
        return best;
    for (uint32_t i = 0; i < q->n; i++) {
        const struct quorum_member *e = &q->members[i];

        if (!e->candidate || !e->authoritative)
            continue;
        answered++;
        every = every && quorum_mask_has(m, i);
    }
    return every && answered ? F_BEST_EFFORT : F_NONE;
}

/* ---- nodesets ---- */

struct choice {
    const struct node_entry *node;
    unsigned rank; /* 0 own node, 1 preferred, 2 others */
    uint64_t hash;
    struct slice domain;
    bool taken;
};

static int choice_order(const void *a, const void *b) {
    const struct choice *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->node->id.id < y->node->id.id ? -1 : 1;
}

static uint64_t choice_hash(uint32_t log_id, uint32_t node) {
    uint8_t key[8];

    put_u32le(key, log_id);
    put_u32le(key + 4, node);
    return hash64_seed(slice_of(key, sizeof key), NODESET_SEED);
}

static unsigned choice_rank(const struct nodeset_request *req, uint32_t node) {
    if (node == req->own_node)
        return 0;
    for (uint32_t i = 0; i < req->n_preferred; i++)
        if (req->preferred[i] == node)
            return 1;
    return 2;
}

/* The next member: from the domain with the fewest picks so far; ties go to the better ranked node. */
static struct choice *pick(struct choice *all, size_t n) {
    struct choice *best = NULL;
    size_t best_picks = SIZE_MAX;

    for (size_t i = 0; i < n; i++) {
        size_t picks = 0;

        if (all[i].taken)
            continue;
        for (size_t k = 0; k < n; k++)
            picks += all[k].taken && slice_eq(all[k].domain, all[i].domain);
        if (picks < best_picks) {
            best = &all[i];
            best_picks = picks;
        }
    }
    return best;
}

static int widest_scope(struct replication r) {
    return r.copies[SCOPE_REGION] ? SCOPE_REGION : r.copies[SCOPE_ZONE] ? SCOPE_ZONE : SCOPE_NODE;
}

static int nodeset_check(const struct nodes_config *c, const struct nodeset_request *req, const uint32_t *nodes,
                         uint32_t n, struct err *err) {
    struct quorum *q = xnew(struct quorum);
    struct quorum_mask all = {{0}};
    _cleanup_buf_ struct buf text = {0};
    bool ok;

    quorum_init(q, c, req->replication, nodes, n);
    for (uint32_t i = 0; i < n; i++)
        quorum_mask_set(&all, i);
    ok = quorum_is_write(q, &all);
    free(q);
    if (ok)
        return 0;
    replication_format(req->replication, &text);
    return err_set(err, RS_EUNSUPPORTED,
                   "log %u: insufficient nodes: %u writable log-servers cannot hold replication %s", req->log_id, n,
                   buf_cstr(&text));
}

int nodeset_select(const struct nodes_config *c, const struct nodeset_request *req, uint32_t ret[NODESET_MAX],
                   uint32_t *ret_n, struct err *err) {
    const uint32_t copies = req->replication.copies[SCOPE_NODE];
    const int scope = widest_scope(req->replication);
    struct choice *all = xnewn(struct choice, c->n_nodes + 1);
    uint32_t target, n = 0;
    size_t candidates = 0, domains = 0;
    int r = 0;

    for (size_t i = 0; i < c->n_nodes && r == 0; i++) {
        const struct node_entry *e = &c->nodes[i];

        if (e->tombstone || e->storage_state != STORAGE_READ_WRITE || !(e->roles & ROLE_LOG_SERVER))
            continue;
        all[candidates] =
            (struct choice){.node = e, .rank = choice_rank(req, e->id.id), .hash = choice_hash(req->log_id, e->id.id)};
        if (scope != SCOPE_NODE)
            all[candidates].domain = location_part(e->location && *e->location ? e->location : NULL, (enum scope)scope);
        if (scope != SCOPE_NODE && all[candidates].domain.len == 0)
            r = err_set(err, RS_EUNSUPPORTED, "log %u: node %s has no %s in its location", req->log_id, e->name,
                        scope_names[scope]);
        candidates++;
    }
    qsort(all, candidates, sizeof *all, choice_order);
    for (size_t i = 0; i < candidates; i++) {
        size_t k = 0;

        while (k < i && !slice_eq(all[k].domain, all[i].domain))
            k++;
        domains += k == i;
    }
    target = copies > 2 ? 2 * copies - 1 : copies + 1;
    target = MAX(target, req->target);
    if (scope != SCOPE_NODE && domains)
        target = MAX(target, (uint32_t)domains * (copies - req->replication.copies[scope] + 1u));
    if (copies == 1)
        target = 1; /* a second member would make sealing need both */
    target = MIN(target, (uint32_t)candidates);
    target = MIN(target, NODESET_MAX);
    while (r == 0 && n < target) {
        struct choice *p = pick(all, candidates);

        p->taken = true;
        ret[n++] = p->node->id.id;
    }
    free(all);
    if (r == 0)
        r = nodeset_check(c, req, ret, n, err);
    if (r == 0)
        *ret_n = n;
    return r;
}
