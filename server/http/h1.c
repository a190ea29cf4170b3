/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h1.h"

#include <http_parser.h>
#include <strings.h>

#include "base/err.h"

enum { H1_EMPTY_LINES_MAX = 4, H1_CHUNK_LINE_MAX = 4096, H1_TRAILER_MAX = 8192 };

int64_t h1_scan(struct h1_scan *s, const uint8_t *data, size_t len, size_t max) {
    while (s->at < len) {
        const uint8_t *lf = memchr(data + s->at, '\n', len - s->at);
        const uint8_t *line = data + s->line;
        size_t n;

        if (!lf) {
            s->at = len;
            break;
        }
        n = (size_t)(lf - line); /* with the CR */
        if (n == 0 || lf[-1] != '\r' || memchr(line, '\r', n - 1) || memchr(line, 0, n))
            return RS_EINVAL;
        s->at = s->line = (size_t)(lf - data) + 1;
        if (n == 1) {
            if (s->fields || s->skip != s->line - 2)
                return s->line > max ? RS_ETOOBIG : (int64_t)s->line;
            s->skip = s->line;
            if (s->skip > 2 * H1_EMPTY_LINES_MAX)
                return RS_EINVAL;
        } else if (line[0] == ' ' || line[0] == '\t') {
            return RS_EINVAL;
        } else if (line != data + s->skip && ++s->fields > HTTP_HEADERS_MAX) {
            return RS_EINVAL;
        }
    }
    return len > max ? RS_ETOOBIG : 0;
}

/* ---- heads ---- */

struct parse {
    http_parser p;
    struct http_header *headers;
    size_t n, max;
    struct slice target;
    bool value_seen, complete, overflow;
};

static void extend(struct slice *s, const char *at, size_t len) {
    if (s->data && (const char *)s->data + s->len == at)
        s->len += len;
    else
        *s = slice_of(at, len);
}
static int on_url(http_parser *p, const char *at, size_t len) {
    extend(&((struct parse *)p->data)->target, at, len);
    return 0;
}
static int on_field(http_parser *p, const char *at, size_t len) {
    struct parse *a = p->data;

    if (a->n == 0 || a->value_seen) {
        if (a->n == a->max) {
            a->overflow = true;
            return 1;
        }
        a->headers[a->n++] = (struct http_header){SLICE_NULL, SLICE_NULL};
        a->value_seen = false;
    }
    extend(&a->headers[a->n - 1].name, at, len);
    return 0;
}
static int on_value(http_parser *p, const char *at, size_t len) {
    struct parse *a = p->data;

    a->value_seen = true;
    if (a->n)
        extend(&a->headers[a->n - 1].value, at, len);
    return 0;
}
static int on_complete(http_parser *p) {
    ((struct parse *)p->data)->complete = true;
    return 1; /* the body is ours */
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_complete,
};

bool h1_digits(struct slice s, uint64_t *ret) {
    uint64_t v = 0;

    if (s.len == 0 || s.len > 18)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s.data[i] - '0');
    }
    *ret = v;
    return true;
}

static bool same_word(struct slice s, const char *word) {
    return s.len == strlen(word) && strncasecmp((const char *)s.data, word, s.len) == 0;
}

/* Lowers the name, trims the value, checks both. The head is ours to write: names point into it. */
static bool clean(struct http_header *h) {
    uint8_t *name = (uint8_t *)(uintptr_t)h->name.data;

    for (size_t i = 0; i < h->name.len; i++)
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (uint8_t)(name[i] | 0x20);
    while (h->value.len && (h->value.data[0] == ' ' || h->value.data[0] == '\t'))
        h->value = slice_from(h->value, 1);
    while (h->value.len && (h->value.data[h->value.len - 1] == ' ' || h->value.data[h->value.len - 1] == '\t'))
        h->value.len--;
    return http_header_valid(h);
}

static int framing(const struct http_header *h, size_t n, struct h1_head *ret, struct err *err) {
    unsigned te = 0, cl = 0, host = 0;
    bool close = false, keep = false;

    for (size_t i = 0; i < n; i++) {
        switch (h[i].name.len) {
        case 4:
            host += slice_eq_str(h[i].name, "host");
            break;
        case 6:
            if (slice_eq_str(h[i].name, "expect"))
                ret->expect_continue = same_word(h[i].value, "100-continue");
            break;
        case 10:
            if (slice_eq_str(h[i].name, "connection")) {
                close |= http_token_has(h[i].value, "close");
                keep |= http_token_has(h[i].value, "keep-alive");
            }
            break;
        case 14:
            if (slice_eq_str(h[i].name, "content-length")) {
                if (cl++ || !h1_digits(h[i].value, &ret->length))
                    return err_set(err, RS_EINVAL, "bad content-length");
                ret->has_length = true;
            }
            break;
        case 17:
            if (slice_eq_str(h[i].name, "transfer-encoding")) {
                if (te++ || !same_word(h[i].value, "chunked") || ret->version < 11)
                    return err_set(err, RS_EINVAL, "transfer-encoding is not one single chunked");
                ret->chunked = true;
            }
            break;
        default:
            break;
        }
    }
    if (te && cl)
        return err_set(err, RS_EINVAL, "both transfer-encoding and content-length");
    if (host > 1)
        return err_set(err, RS_EINVAL, "more than one host");
    ret->keep_alive = !close && (ret->version >= 11 || keep);
    return 0;
}

static int parse(enum http_parser_type type, uint8_t *head, size_t len, struct http_header *headers, size_t max,
                 struct h1_head *ret, struct err *err) {
    struct parse a = {.headers = headers, .max = max};
    struct h1_head h = {0};
    size_t done;
    int r;

    http_parser_init(&a.p, type);
    a.p.data = &a;
    done = http_parser_execute(&a.p, &settings, (const char *)head, len);
    if (a.overflow)
        return err_set(err, RS_EINVAL, "too many header fields");
    if (HTTP_PARSER_ERRNO(&a.p) != HPE_OK || !a.complete || done < len)
        return err_set(err, RS_EINVAL, "bad head: %s", http_errno_name(HTTP_PARSER_ERRNO(&a.p)));
    if (a.p.http_major != 1 || a.p.http_minor > 1)
        return err_set(err, RS_EINVAL, "bad HTTP version");
    h.version = a.p.http_minor ? 11 : 10;
    for (size_t i = 0; i < a.n; i++)
        if (!clean(&headers[i]))
            return err_set(err, RS_EINVAL, "bad header field");
    r = framing(headers, a.n, &h, err);
    if (r < 0)
        return r;
    h.n_headers = a.n;
    h.status = type == HTTP_RESPONSE ? a.p.status_code : 0;
    h.target = a.target;
    *ret = h;
    return 0;
}

int h1_parse_request(uint8_t *head, size_t len, struct http_header *headers, size_t max, struct h1_head *ret,
                     struct err *err) {
    int r = parse(HTTP_REQUEST, head, len, headers, max, ret, err);
    const uint8_t *space;

    if (r < 0)
        return r;
    while (len && (*head == '\r' || *head == '\n')) {
        head++;
        len--;
    }
    space = memchr(head, ' ', len);
    if (!space || ret->target.len == 0)
        return err_set(err, RS_EINVAL, "bad request line");
    /* one space on either side of the target, and nothing but the version behind it */
    if (space + 1 != ret->target.data || memcmp(ret->target.data + ret->target.len, " HTTP/1.", 8) != 0 ||
        memcmp(ret->target.data + ret->target.len + 9, "\r\n", 2) != 0)
        return err_set(err, RS_EINVAL, "bad request line");
    for (size_t i = 0; i < ret->target.len; i++)
        if (ret->target.data[i] <= ' ' || ret->target.data[i] >= 0x7f || ret->target.data[i] == '#')
            return err_set(err, RS_EINVAL, "bad request target");
    ret->method = slice_of(head, (size_t)(space - head));
    return 0;
}

int h1_parse_response(uint8_t *head, size_t len, struct http_header *headers, size_t max, struct h1_head *ret,
                      struct err *err) {
    return parse(HTTP_RESPONSE, head, len, headers, max, ret, err);
}

/* ---- chunks ---- */

enum { C_SIZE, C_EXT, C_SIZE_LF, C_DATA, C_DATA_CR, C_DATA_LF, C_TRAIL, C_TRAIL_LINE, C_TRAIL_LF, C_END_LF };

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte outside the data. Return: 0, H1_CHUNK_END, RS_EINVAL. */
static int chunk_byte(struct h1_chunks *c, uint8_t b) {
    int digit;

    switch (c->state) {
    case C_SIZE:
        digit = hex(b);
        if (digit >= 0) {
            if (++c->digits > 15)
                return RS_EINVAL;
            c->left = c->left << 4 | (uint64_t)digit;
            return 0;
        }
        if (c->digits == 0)
            return RS_EINVAL;
        c->state = b == '\r' ? C_SIZE_LF : C_EXT;
        return b == '\r' || b == ';' || b == ' ' || b == '\t' ? 0 : RS_EINVAL;
    case C_EXT:
        if (b == '\r')
            c->state = C_SIZE_LF;
        else if ((b < 0x20 && b != '\t') || b == 0x7f || ++c->line > H1_CHUNK_LINE_MAX)
            return RS_EINVAL;
        return 0;
    case C_SIZE_LF:
        c->state = c->left ? C_DATA : C_TRAIL;
        c->line = 0;
        return b == '\n' ? 0 : RS_EINVAL;
    case C_DATA_CR:
        c->state = C_DATA_LF;
        return b == '\r' ? 0 : RS_EINVAL;
    case C_DATA_LF:
        c->state = C_SIZE;
        c->digits = 0;
        return b == '\n' ? 0 : RS_EINVAL;
    case C_TRAIL:
        c->state = b == '\r' ? C_END_LF : C_TRAIL_LINE;
        return b == '\n' || b == 0 || b == ' ' || b == '\t' ? RS_EINVAL : 0;
    case C_TRAIL_LINE:
        if (b == '\r')
            c->state = C_TRAIL_LF;
        return b == '\n' || b == 0 || ++c->line > H1_TRAILER_MAX ? RS_EINVAL : 0;
    case C_TRAIL_LF:
        c->state = C_TRAIL;
        return b == '\n' ? 0 : RS_EINVAL;
    default: /* C_END_LF */
        return b == '\n' ? H1_CHUNK_END : RS_EINVAL;
    }
}

int h1_chunk_next(struct h1_chunks *c, struct slice *in, struct slice *ret_data) {
    while (in->len) {
        int r;

        if (c->state == C_DATA) {
            *ret_data = slice_sub(*in, 0, c->left < in->len ? (size_t)c->left : in->len);
            *in = slice_from(*in, ret_data->len);
            c->left -= ret_data->len;
            if (c->left == 0)
                c->state = C_DATA_CR;
            return H1_CHUNK_DATA;
        }
        r = chunk_byte(c, in->data[0]);
        *in = slice_from(*in, 1);
        if (r != 0)
            return r;
    }
    return H1_CHUNK_MORE;
}
