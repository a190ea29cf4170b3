/* SPDX-License-Identifier: Apache-2.0 */
/* What was given on the command line: options by name, numbers, sets of ids. */
#include <string.h>

#include "base/text.h"
#include "ctl.h"

const char *arg_value(const struct args *a, const char *name) {
    for (size_t i = a->n_options; i-- > 0;)
        if (strcmp(a->options[i].name, name) == 0)
            return a->options[i].value ? a->options[i].value : "";
    return NULL;
}

bool arg_given(const struct args *a, const char *name) {
    return arg_value(a, name) != NULL;
}

int arg_u64(const struct args *a, const char *name, uint64_t max, bool *ret_given, uint64_t *ret, struct err *err) {
    const char *text = arg_value(a, name);
    uint64_t v = 0;

    if (ret_given)
        *ret_given = text != NULL;
    if (!text)
        return 0;
    if (text_parse_u64(slice_str(text), &v) < 0 || v > max)
        return err_set(err, RS_EINVAL, "--%s: '%.40s' is not a number from 0 to %llu", name, text,
                       (unsigned long long)max);
    *ret = v;
    return 0;
}

static int ids_add(struct ids *ids, uint64_t from, uint64_t to, struct err *err) {
    if (to < from || to > UINT32_MAX || to - from >= IDS_MAX || ids->n + (to - from) >= IDS_MAX)
        return err_set(err, RS_EINVAL, "not a range of ids");
    ids->v = xrealloc(ids->v, (ids->n + (to - from) + 1) * sizeof(uint32_t));
    for (uint64_t v = from; v <= to; v++)
        ids->v[ids->n++] = (uint32_t)v;
    return 0;
}

static int ids_word(const char *word, struct ids *ret, struct err *err) {
    while (*word) {
        size_t len = strcspn(word, ","), dash;
        struct slice part = slice_of(word, len), first;
        uint64_t from, to;
        int r;

        if (part.len > 1 && (part.data[0] == 'N' || part.data[0] == 'n'))
            part = slice_from(part, 1);
        for (dash = 0; dash < part.len && part.data[dash] != '-';)
            dash++;
        first = slice_sub(part, 0, dash);
        if (text_parse_u64(first, &from) < 0 ||
            (dash < part.len && text_parse_u64(slice_from(part, dash + 1), &to) < 0))
            return err_set(err, RS_EINVAL, "'%.40s' is not an id or a range of ids", word);
        r = ids_add(ret, from, dash < part.len ? to : from, err);
        if (r < 0)
            return r;
        word += len + (word[len] == ',');
    }
    return 0;
}

int ids_parse(const char *const *words, size_t n, struct ids *ret, struct err *err) {
    int r = 0;

    *ret = (struct ids){0};
    for (size_t i = 0; i < n && r == 0; i++)
        r = ids_word(words[i], ret, err);
    if (r < 0)
        ids_done(ret);
    return r;
}

void ids_done(struct ids *ids) {
    free(ids->v);
    *ids = (struct ids){0};
}
