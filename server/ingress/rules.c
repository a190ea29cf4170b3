/* SPDX-License-Identifier: Apache-2.0 */
#include "ingress/rules.h"
#include "meta/schema.h"

static struct slice trim(struct slice s) {
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_from(s, 1);
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* The type a request names, without parameters. */
static struct slice bare_type(struct slice ct) {
    for (size_t i = 0; i < ct.len; i++)
        if (ct.data[i] == ';')
            return trim(slice_sub(ct, 0, i));
    return trim(ct);
}

static bool type_matches(struct slice rule, struct slice ct) {
    size_t slash = 0;

    if (slice_eq_str(rule, "*/*"))
        return true;
    ct = bare_type(ct);
    while (slash < ct.len && ct.data[slash] != '/')
        slash++;
    if (slash == ct.len)
        return false;
    if (rule.len >= 2 && rule.data[rule.len - 1] == '*' && rule.data[rule.len - 2] == '/')
        return slice_eq(slice_sub(rule, 0, rule.len - 2), slice_sub(ct, 0, slash));
    return slice_eq(rule, ct);
}

static int check_none(struct slice ct, struct slice body, struct err *err) {
    if (ct.data || body.len)
        return err_set(err, RS_EINVAL, "input validation error: expected an empty body and no content-type, got %s",
                       body.len ? "a body" : "a content-type");
    return 0;
}

static int check_type(const struct schema_handler *h, const char *rule, struct slice ct, struct slice body,
                      struct err *err) {
    if (!ct.data)
        return err_set(err, RS_EINVAL, "input validation error: the content-type is empty, expected '%s'", rule);
    if (!type_matches(slice_str(rule), ct))
        return err_set(err, RS_EINVAL, "input validation error: Content-type '" SLICE_FMT "' does not match '%s'",
                       SLICE_ARG(ct), rule);
    if (h->input_has_schema && body.len == 0)
        return err_set(err, RS_EINVAL, "input validation error: the body may not be empty");
    return 0;
}

int ingress_check_input(const struct schema_handler *h, struct slice ct, struct slice body, struct err *err) {
    int r;

    if (!h->has_input) /* rules: none, anything */
        return check_none(ct, body, NULL) == 0 || ct.data ? 0 : check_type(h, "*/*", ct, body, err);
    if (!h->input_required) {
        r = check_none(ct, body, err);
        if (r == 0 || !h->input_content_type)
            return r;
    }
    if (!h->input_content_type)
        return 0;
    return check_type(h, h->input_content_type, ct, body, err);
}

const char *ingress_output_type(const struct schema_handler *h, bool empty) {
    return empty && !h->output_set_if_empty ? NULL : h->output_content_type;
}
