/* SPDX-License-Identifier: Apache-2.0 */
#include "ingress/path.h"
#include "base/text.h"
#include "proto/ids.h"
#include "proto/pb.h"

enum { MAX_SEGMENTS = 8 };

struct split {
    struct slice s[MAX_SEGMENTS + 1];
    size_t n;
};

struct slice ingress_path_trim(struct slice path) {
    while (path.len > 1 && path.data[path.len - 1] == '/')
        path.len--;
    return path;
}

static void split_path(struct slice path, struct split *ret) {
    size_t from = 1;

    ret->n = 0;
    for (size_t i = 1; i <= path.len && ret->n <= MAX_SEGMENTS; i++) {
        if (i < path.len && path.data[i] != '/')
            continue;
        ret->s[ret->n++] = slice_sub(path, from, i - from);
        from = i + 1;
    }
}

static size_t count_slashes(struct slice path) {
    size_t n = 0;

    for (size_t i = 0; i < path.len; i++)
        n += path.data[i] == '/';
    return n;
}

static enum ingress_path_fault decode(const char *what, struct slice raw, struct arena *a, struct slice *ret,
                                      struct err *err) {
    struct buf b = {0};
    bool ok;

    buf_put(&b, "", 0);
    ok = text_percent_decode(raw, false, &b) == 0 && pb_utf8(buf_slice(&b));
    if (ok)
        *ret = arena_copy(a, buf_slice(&b));
    buf_done(&b);
    if (ok)
        return PATH_OK;
    (void)err_set(err, RS_EINVAL, "the %s '" SLICE_FMT "' is not percent-encoded UTF-8", what, SLICE_ARG(raw));
    return PATH_BAD_KEY;
}

/* service [/key] /handler from segment @i on; *i is left behind the handler. */
static enum ingress_path_fault parse_target(const struct split *p, size_t *i, ingress_keyed_fn keyed, void *arg,
                                            struct arena *a, struct ingress_path *ret, struct err *err) {
    int k;

    if (*i >= p->n)
        return PATH_BAD_SERVICE;
    ret->service = p->s[(*i)++];
    k = keyed(arg, ret->service);
    if (k < 0) {
        (void)err_set(err, RS_ENOENT,
                      "service '" SLICE_FMT "' not found, make sure to register the service before calling it.",
                      SLICE_ARG(ret->service));
        return PATH_NO_SERVICE;
    }
    ret->has_key = k == 1;
    if (ret->has_key) {
        enum ingress_path_fault f;

        if (*i >= p->n)
            return PATH_BAD_SERVICE;
        f = decode("key", p->s[(*i)++], a, &ret->key, err);
        if (f)
            return f;
    }
    if (*i >= p->n || p->s[*i].len == 0)
        return PATH_BAD_SERVICE;
    ret->handler = p->s[(*i)++];
    return PATH_OK;
}

static enum ingress_path_fault attach_or_output(struct slice s, enum ingress_verb attach, enum ingress_verb output,
                                                struct ingress_path *ret) {
    if (slice_eq_str(s, "attach"))
        ret->verb = attach;
    else if (slice_eq_str(s, "output"))
        ret->verb = output;
    else
        return PATH_NOT_FOUND;
    return PATH_OK;
}

/* /restate/invocation/… */
static enum ingress_path_fault parse_invocation(const struct split *p, ingress_keyed_fn keyed, void *arg,
                                                struct arena *a, struct ingress_path *ret, struct err *err) {
    enum ingress_path_fault f;
    size_t i = 2;

    if (p->n < 4)
        return PATH_BAD;
    if (p->n == 4) {
        ret->id = p->s[2];
        return attach_or_output(p->s[3], INGRESS_ATTACH_ID, INGRESS_OUTPUT_ID, ret);
    }
    f = parse_target(p, &i, keyed, arg, a, ret, err);
    if (f)
        return f;
    if (p->n != i + 2)
        return PATH_BAD;
    ret->idempotency_key = p->s[i];
    return attach_or_output(p->s[i + 1], INGRESS_ATTACH_KEY, INGRESS_OUTPUT_KEY, ret);
}

static enum ingress_path_fault parse_workflow(const struct split *p, struct arena *a, struct ingress_path *ret,
                                              struct err *err) {
    enum ingress_path_fault f;

    if (p->n != 5)
        return PATH_BAD;
    ret->service = p->s[2];
    ret->has_key = true;
    f = decode("key", p->s[3], a, &ret->key, err);
    return f ? f : attach_or_output(p->s[4], INGRESS_ATTACH_WORKFLOW, INGRESS_OUTPUT_WORKFLOW, ret);
}

/* {call|send} target, from segment @i to the end */
static enum ingress_path_fault parse_call(const struct split *p, size_t i, ingress_keyed_fn keyed, void *arg,
                                          struct arena *a, struct ingress_path *ret, struct err *err) {
    enum ingress_path_fault f;

    ret->verb = slice_eq_str(p->s[i++], "call") ? INGRESS_CALL : INGRESS_SEND;
    f = parse_target(p, &i, keyed, arg, a, ret, err);
    return f ? f : i == p->n ? PATH_OK : PATH_BAD;
}

static bool is_call(const struct split *p, size_t i) {
    return i < p->n && (slice_eq_str(p->s[i], "call") || slice_eq_str(p->s[i], "send"));
}

/* /restate/scope/{scope}/{call|send}/… */
static enum ingress_path_fault parse_scoped(const struct split *p, ingress_keyed_fn keyed, void *arg, struct arena *a,
                                            struct ingress_path *ret, struct err *err) {
    enum ingress_path_fault f;

    if (!is_call(p, 3))
        return PATH_NOT_FOUND;
    f = decode("scope", p->s[2], a, &ret->scope, err);
    if (f)
        return f;
    if (!id_is_scope(ret->scope)) {
        (void)err_set(err, RS_EINVAL, "bad scope '" SLICE_FMT "': 1 to 36 letters, digits, '_', '.' and '-'",
                      SLICE_ARG(ret->scope));
        return PATH_BAD;
    }
    return parse_call(p, 3, keyed, arg, a, ret, err);
}

static enum ingress_path_fault parse_restate(const struct split *p, ingress_keyed_fn keyed, void *arg, struct arena *a,
                                             struct ingress_path *ret, struct err *err) {
    struct slice verb = p->n > 1 ? p->s[1] : SLICE_NULL;
    bool attach = slice_eq_str(verb, "attach");

    if (slice_eq_str(verb, "health") && p->n == 2) {
        ret->verb = INGRESS_HEALTH;
        return PATH_OK;
    }
    if (is_call(p, 1))
        return parse_call(p, 1, keyed, arg, a, ret, err);
    if (slice_eq_str(verb, "scope"))
        return parse_scoped(p, keyed, arg, a, ret, err);
    if (slice_eq_str(verb, "invocation"))
        return parse_invocation(p, keyed, arg, a, ret, err);
    if (slice_eq_str(verb, "workflow"))
        return parse_workflow(p, a, ret, err);
    if (attach || slice_eq_str(verb, "output")) {
        if (p->n > 3)
            return PATH_BAD;
        ret->id = p->n == 3 ? p->s[2] : SLICE_NULL;
        ret->verb = p->n == 3 ? (attach ? INGRESS_ATTACH_ID : INGRESS_OUTPUT_ID)
                    : attach  ? INGRESS_ATTACH_BODY
                              : INGRESS_OUTPUT_BODY;
        return PATH_OK;
    }
    if (slice_eq_str(verb, "lookup") && p->n == 2) {
        ret->verb = INGRESS_LOOKUP;
        return PATH_OK;
    }
    if (slice_eq_str(verb, "awakeables") || slice_eq_str(verb, "a")) {
        if (p->n != 4)
            return PATH_BAD;
        ret->id = p->s[2];
        ret->verb = slice_eq_str(p->s[3], "resolve") ? INGRESS_RESOLVE : INGRESS_REJECT;
        return ret->verb == INGRESS_RESOLVE || slice_eq_str(p->s[3], "reject") ? PATH_OK : PATH_NOT_FOUND;
    }
    return PATH_NOT_FOUND;
}

enum ingress_path_fault ingress_path_parse(struct slice path, ingress_keyed_fn keyed, void *arg, struct arena *a,
                                           struct ingress_path *ret, struct err *err) {
    size_t slashes = count_slashes(path), i = 0;
    enum ingress_path_fault f;
    struct split p;

    *ret = (struct ingress_path){0};
    if (path.len == 0 || path.data[0] != '/' || slashes < 2 || slashes > 7) {
        (void)err_set(err, RS_EINVAL, "bad path: " SLICE_FMT, SLICE_ARG(path));
        return PATH_BAD;
    }
    split_path(path, &p);
    (void)err_set(err, RS_EINVAL, "bad path: " SLICE_FMT, SLICE_ARG(path));
    if (slice_eq_str(p.s[0], "restate"))
        return parse_restate(&p, keyed, arg, a, ret, err);
    if (slice_eq_str(p.s[0], "openapi"))
        return PATH_NOT_FOUND;
    f = parse_target(&p, &i, keyed, arg, a, ret, err);
    if (f == PATH_BAD_SERVICE)
        (void)err_set(err, RS_EINVAL,
                      "bad service path '" SLICE_FMT
                      "': expected /service/handler, /object/key/handler, each with /send",
                      SLICE_ARG(path));
    if (f)
        return f;
    ret->verb = INGRESS_CALL;
    if (i < p.n && slice_eq_str(p.s[i], "send")) {
        ret->verb = INGRESS_SEND;
        i++;
    }
    return i == p.n ? PATH_OK : PATH_BAD;
}
