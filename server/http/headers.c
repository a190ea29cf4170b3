/* SPDX-License-Identifier: Apache-2.0 */
#include "http/headers.h"

#include <http_parser.h>
#include <strings.h>

const struct http_header *http_header_find(const struct http_header *h, size_t n, const char *name) {
    struct slice want = slice_str(name);

    for (size_t i = 0; i < n; i++)
        if (slice_eq(h[i].name, want))
            return &h[i];
    return NULL;
}

struct slice http_header_get(const struct http_header *h, size_t n, const char *name) {
    const struct http_header *f = http_header_find(h, n, name);

    return f ? f->value : SLICE_NULL;
}

static bool is_token_lower(uint8_t c) {
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
        return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool http_header_valid(const struct http_header *h) {
    if (h->name.len == 0)
        return false;
    for (size_t i = 0; i < h->name.len; i++)
        if (!is_token_lower(h->name.data[i]))
            return false;
    for (size_t i = 0; i < h->value.len; i++) {
        uint8_t c = h->value.data[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    if (h->value.len) {
        uint8_t a = h->value.data[0], z = h->value.data[h->value.len - 1];

        if (a == ' ' || a == '\t' || z == ' ' || z == '\t')
            return false;
    }
    return true;
}

const char *http_status_text(unsigned status) {
    const char *s;

    if (status < 100 || status > 599)
        return "";
    s = http_status_str((enum http_status)status);
    return strcmp(s, "<unknown>") == 0 ? "" : s;
}

bool http_token_has(struct slice value, const char *token) {
    size_t want = strlen(token);

    for (size_t at = 0; at < value.len;) {
        size_t end = at, next;

        while (end < value.len && value.data[end] != ',')
            end++;
        next = end + 1;
        while (at < end && (value.data[at] == ' ' || value.data[at] == '\t'))
            at++;
        while (end > at && (value.data[end - 1] == ' ' || value.data[end - 1] == '\t'))
            end--;
        if (end - at == want && strncasecmp((const char *)value.data + at, token, want) == 0)
            return true;
        at = next;
    }
    return false;
}
