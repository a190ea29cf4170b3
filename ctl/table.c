/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, JSON, and the texts that stand in cells. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "ctl.h"
#include "meta/json.h"

enum { COLUMNS_MAX = 32 };
struct cell {
    char *text;
    json_t *json;
    enum colour colour;
};
struct table {
    const char *const *columns;
    size_t n_columns, n_rows, at; /* at: cells of the last row */
    struct cell *cells;
};

struct table *table_new(const char *const *columns) {
    struct table *t = xnew(struct table);

    t->columns = columns;
    while (columns[t->n_columns])
        t->n_columns++;
    ASSERT(t->n_columns <= COLUMNS_MAX);
    return t;
}

struct table *table_free(struct table *t) {
    if (!t)
        return NULL;
    for (size_t i = 0; i < t->n_rows * t->n_columns; i++) {
        free(t->cells[i].text);
        json_decref(t->cells[i].json);
    }
    free(t->cells);
    free(t);
    return NULL;
}

void table_row(struct table *t) {
    size_t n = t->n_rows * t->n_columns;

    t->cells = xrealloc(t->cells, (n + t->n_columns) * sizeof *t->cells);
    memset(t->cells + n, 0, t->n_columns * sizeof *t->cells);
    t->n_rows++;
    t->at = 0;
}

void table_cell(struct table *t, enum colour colour, json_t *take_json, const char *fmt, ...) {
    struct cell *c = &t->cells[(t->n_rows - 1) * t->n_columns + t->at++];
    char text[2048];
    va_list ap;

    ASSERT(t->at <= t->n_columns);
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->text = xstrdup(text);
    c->colour = colour;
    c->json = take_json ? take_json : json_text(text);
}

void table_number(struct table *t, uint64_t v) {
    table_cell(t, PLAIN, json_u64(v), "%" PRIu64, v);
}

size_t table_rows(const struct table *t) {
    return t->n_rows;
}

/* Columns on a screen: code points but variation selectors. */
static size_t width_of(const char *s) {
    size_t n = 0;

    for (; s && *s; s++) {
        if (((uint8_t)*s & 0xc0) == 0x80)
            continue;
        if (strncmp(s, "\xef\xb8\x8e", 3) == 0 || strncmp(s, "\xef\xb8\x8f", 3) == 0)
            continue;
        n++;
    }
    return n;
}

static const char *colour_code(enum colour c) {
    static const char *const codes[] = {"", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[34m", "\x1b[35m"};

    return codes[c];
}

static void put_cell(const struct ctl *c, const char *text, enum colour colour, bool bold, size_t width, bool last,
                     const char *between) {
    size_t w = width_of(text);
    bool escapes = c->colours && (colour != PLAIN || bold);

    if (escapes)
        (void)printf("%s%s", bold ? "\x1b[1m" : "", colour_code(colour));
    (void)fputs(text ? text : "", stdout);
    if (escapes)
        (void)fputs("\x1b[0m", stdout);
    if (!last || c->borders)
        (void)printf("%*s%s", (int)(width - w), "", between);
}

static void put_line(const struct ctl *c, const size_t *width, size_t n) {
    if (!c->borders)
        return;
    for (size_t i = 0; i < n; i++) {
        (void)fputs(i ? "+" : "+", stdout);
        for (size_t k = 0; k < width[i] + 2; k++)
            (void)putchar('-');
    }
    (void)puts("+");
}

void table_print(const struct ctl *c, const struct table *t) {
    size_t width[COLUMNS_MAX] = {0};
    const char *between = c->borders ? " | " : "  ";
    bool marked = !c->borders && !t->columns[0][0]; /* the first column is a marker in the margin */

    for (size_t i = 0; i < t->n_columns; i++) {
        width[i] = width_of(t->columns[i]);
        for (size_t r = 0; r < t->n_rows; r++)
            width[i] = MAX(width[i], width_of(t->cells[r * t->n_columns + i].text));
    }
    put_line(c, width, t->n_columns);
    (void)fputs(c->borders ? "| " : marked ? "" : " ", stdout);
    for (size_t i = 0; i < t->n_columns; i++)
        put_cell(c, t->columns[i], PLAIN, true, width[i], i + 1 == t->n_columns, marked && i == 0 ? " " : between);
    (void)putchar('\n');
    put_line(c, width, t->n_columns);
    for (size_t r = 0; r < t->n_rows; r++) {
        const struct cell *cells = &t->cells[r * t->n_columns];
        size_t last = t->n_columns;

        while (!c->borders && last > 1 && (!cells[last - 1].text || !cells[last - 1].text[0]))
            last--; /* no spaces at the end of a line */
        (void)fputs(c->borders ? "| " : marked ? "" : " ", stdout);
        for (size_t i = 0; i < last; i++)
            put_cell(c, cells[i].text, cells[i].colour, false, width[i], i + 1 == last,
                     marked && i == 0 ? " " : between);
        (void)putchar('\n');
    }
    put_line(c, width, t->n_columns);
}

static void snake_case(const char *column, char name[64]) {
    size_t n = 0;

    for (; *column && n < 63; column++)
        name[n++] = (char)(*column == '-' || *column == ' '   ? '_'
                           : *column >= 'A' && *column <= 'Z' ? *column | 0x20
                                                              : *column);
    name[n] = 0;
}

json_t *table_json(const struct table *t) {
    json_t *all = json_array();

    for (size_t r = 0; r < t->n_rows; r++) {
        json_t *o = json_object();

        for (size_t i = 0; i < t->n_columns; i++) {
            const struct cell *c = &t->cells[r * t->n_columns + i];
            char name[64];

            snake_case(t->columns[i], name);
            if (name[0])
                (void)json_object_set_new(o, name, c->json ? json_incref(c->json) : json_null());
        }
        (void)json_array_append_new(all, o);
    }
    return all;
}

void json_print(json_t *take) {
    char *text = json_dumps(take, JSON_INDENT(2) | JSON_ENCODE_ANY);

    (void)printf("%s\n", text ? text : "null");
    free(text);
    json_decref(take);
}

/* ---- texts ---- */

__attribute__((format(printf, 2, 3))) static void add(text_t buf, const char *fmt, ...) {
    size_t n = strlen(buf);
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(buf + n, sizeof(text_t) - n, fmt, ap);
    va_end(ap);
}

static const unsigned sorted_roles[] = {ROLE_ADMIN, ROLE_HTTP_INGRESS, ROLE_LOG_SERVER, ROLE_METADATA_SERVER,
                                        ROLE_WORKER};

json_t *json_roles(uint32_t roles) {
    json_t *all = json_array();

    for (size_t i = 0; i < ARRAY_SIZE(sorted_roles); i++)
        if (roles & sorted_roles[i])
            (void)json_array_append_new(all, json_string(role_str(sorted_roles[i])));
    return all;
}

char *text_roles(text_t buf, uint32_t roles) {
    buf[0] = 0;
    for (size_t i = 0; i < ARRAY_SIZE(sorted_roles); i++)
        if (roles & sorted_roles[i])
            add(buf, "%s%s", buf[0] ? " | " : "", role_str(sorted_roles[i]));
    return buf;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t *sorted_copy(const uint32_t *ids, size_t n) {
    uint32_t *copy = xcalloc(n + 1, sizeof *copy);

    if (n)
        memcpy(copy, ids, n * sizeof *copy);
    qsort(copy, n, sizeof *copy, by_number);
    return copy;
}

char *text_nodes(text_t buf, const uint32_t *ids, size_t n) {
    uint32_t *s = sorted_copy(ids, n);

    (void)snprintf(buf, sizeof(text_t), "[");
    for (size_t i = 0; i < n; i++)
        add(buf, "%sN%" PRIu32, i ? ", " : "", s[i]);
    add(buf, "]");
    free(s);
    return buf;
}

json_t *json_nodes(const uint32_t *ids, size_t n) {
    uint32_t *s = sorted_copy(ids, n);
    json_t *all = json_array();

    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(all, json_sprintf("N%" PRIu32, s[i]));
    free(s);
    return all;
}

char *text_ids(text_t buf, const uint32_t *ids, size_t n) {
    buf[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t from = i;

        while (i + 1 < n && ids[i + 1] == ids[i] + 1)
            i++;
        add(buf, "%s%" PRIu32, from ? ", " : "", ids[from]);
        if (i > from)
            add(buf, "%s%" PRIu32, i == from + 1 ? ", " : "-", ids[i]);
    }
    return buf;
}

char *text_replication(text_t buf, struct replication r) {
    _cleanup_buf_ struct buf b = {0};

    replication_format(r, &b);
    (void)snprintf(buf, sizeof(text_t), "%s", buf_cstr(&b));
    return buf;
}

char *text_short(text_t buf, uint64_t ms) {
    uint64_t s = ms / 1000;

    buf[0] = 0;
    if (ms == 0)
        add(buf, "n/a");
    if (s >= 86400)
        add(buf, "%" PRIu64 "d ", s / 86400);
    if (s >= 3600 && s / 3600 % 24)
        add(buf, "%" PRIu64 "h ", s / 3600 % 24);
    if (s >= 60 && s / 60 % 60)
        add(buf, "%" PRIu64 "m ", s / 60 % 60);
    if (s % 60 || (ms && s == 0))
        add(buf, "%" PRIu64 "s ", s % 60);
    if (ms && buf[0])
        buf[strlen(buf) - 1] = 0;
    return buf;
}

static void count_of(text_t buf, uint64_t n, const char *unit) {
    add(buf, "%" PRIu64 " %s%s", n, unit, n == 1 ? "" : "s");
}

char *text_long(text_t buf, uint64_t ms) {
    uint64_t s = ms / 1000;

    buf[0] = 0;
    if (s < 60)
        count_of(buf, s, "second");
    else if (s < 3600)
        count_of(buf, (s + 30) / 60, "minute");
    else if (s < 86400)
        count_of(buf, (s + 1800) / 3600, "hour");
    else
        count_of(buf, (s + 43200) / 86400, "day");
    return buf;
}

static char *text_time(text_t buf, const struct ctl *c, uint64_t ms) {
    _cleanup_buf_ struct buf b = {0};
    time_t s = (time_t)(ms / 1000);
    struct tm tm;

    if (c->time_format == TIME_RFC2822) {
        (void)gmtime_r(&s, &tm);
        (void)strftime(buf, sizeof(text_t), "%a, %d %b %Y %H:%M:%S +0000", &tm);
        return buf;
    }
    text_put_rfc3339(&b, ms * 1000000, 3, "Z");
    (void)snprintf(buf, sizeof(text_t), "%s", buf_cstr(&b));
    return buf;
}

char *text_ago(text_t buf, const struct ctl *c, uint64_t then_ms, uint64_t now_ms) {
    uint64_t ms = now_ms > then_ms ? now_ms - then_ms : 0, s = ms / 1000;

    if (c->time_format != TIME_HUMAN)
        return text_time(buf, c, then_ms);
    buf[0] = 0;
    if (s == 0) {
        add(buf, "%" PRIu64 " ms", ms);
    } else if (s < 60) {
        count_of(buf, s, "second");
        add(buf, " and %" PRIu64 " ms", ms % 1000);
    } else if (s < 3600) {
        count_of(buf, s / 60, "minute");
        add(buf, " and ");
        count_of(buf, s % 60, "second");
    } else {
        (void)text_long(buf, ms);
    }
    add(buf, " ago");
    return buf;
}
