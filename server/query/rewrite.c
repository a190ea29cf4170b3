/* SPDX-License-Identifier: Apache-2.0 */
/* query/rewrite.c : from the dialect that clients write for the official server (DataFusion) to SQLite's. It works on
 * tokens, knows no grammar, and changes only what clients are known to use (spec sql.md §6); what it does not
 * understand goes to SQLite as it came. */
#include "query/query_internal.h"
#include "base/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

enum { MAX_TOKENS = 20000 };

enum token_kind { T_WORD, T_QUOTED, T_STRING, T_NUMBER, T_OP };
struct token {
    enum token_kind kind;
    struct slice gap;  /* white space before it */
    struct slice text; /* as it is printed */
    struct slice pre, post;
    int depth;
    int group; /* first token of the operand that ends here; -1: none */
};
struct tokens {
    struct token *t;
    int n;
    struct arena a;
};

/* ---- cutting ---- */

static bool word_char(uint8_t c) {
    return isalnum(c) || c == '_' || c == '$' || c >= 0x80;
}

/* Length of a quoted piece that starts at @s, doubled quotes included; 0: it does not end. */
static size_t quoted_len(struct slice s, uint8_t q) {
    for (size_t i = 1; i < s.len; i++) {
        if (s.data[i] != q)
            continue;
        if (i + 1 < s.len && s.data[i + 1] == q)
            i++;
        else
            return i + 1;
    }
    return 0;
}

static size_t gap_len(struct slice s) {
    size_t i = 0;

    while (i < s.len) {
        if (isspace(s.data[i])) {
            i++;
        } else if (i + 1 < s.len && s.data[i] == '-' && s.data[i + 1] == '-') {
            while (i < s.len && s.data[i] != '\n')
                i++;
        } else if (i + 1 < s.len && s.data[i] == '/' && s.data[i + 1] == '*') {
            i += 2;
            while (i + 1 < s.len && !(s.data[i] == '*' && s.data[i + 1] == '/'))
                i++;
            i = MIN(i + 2, s.len);
        } else {
            break;
        }
    }
    return i;
}

static size_t op_len(struct slice s) {
    static const char *const ops[] = {"->>", "->", "::", "<=", ">=", "<>", "!=", "==", "||"};

    for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
        if (slice_has_prefix(s, slice_str(ops[i])))
            return strlen(ops[i]);
    return 1;
}

static size_t number_len(struct slice s) {
    size_t i = 0;

    while (i < s.len && (isalnum(s.data[i]) || s.data[i] == '.' ||
                         ((s.data[i] == '+' || s.data[i] == '-') && i && (s.data[i - 1] | 0x20) == 'e')))
        i++;
    return i;
}

static int cut(struct tokens *ts, struct slice s, struct err *err) {
    int depth = 0;

    ts->t = NULL;
    for (;;) {
        size_t gap = gap_len(s), len;
        struct token t = {.gap = slice_sub(s, 0, gap), .group = -1};
        uint8_t c;

        s = slice_from(s, gap);
        if (!s.len)
            return 0;
        c = s.data[0];
        if (c == '\'' || c == '"') {
            t.kind = c == '"' ? T_QUOTED : T_STRING;
            if (!(len = quoted_len(s, c)))
                return err_set(err, RS_EINVAL, "SQL error: Unterminated %s",
                               c == '"' ? "quoted identifier" : "string literal");
        } else if (isdigit(c) || (c == '.' && s.len > 1 && isdigit(s.data[1]))) {
            t.kind = T_NUMBER;
            len = number_len(s);
        } else if (word_char(c)) {
            t.kind = T_WORD;
            for (len = 1; len < s.len && word_char(s.data[len]);)
                len++;
        } else {
            t.kind = T_OP;
            len = op_len(s);
        }
        if (c == ')')
            depth--;
        t.depth = depth;
        if (c == '(')
            depth++;
        t.text = slice_sub(s, 0, len);
        if (t.kind == T_WORD) { /* identifiers without quotes are folded */
            uint8_t *p = (uint8_t *)arena_str(&ts->a, t.text);

            for (size_t i = 0; i < len; i++)
                p[i] = (uint8_t)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
            t.text = slice_of(p, len);
        }
        if (ts->n == MAX_TOKENS)
            return err_set(err, RS_ETOOBIG, "the statement has more than %d words", MAX_TOKENS);
        if (!(ts->n & (ts->n + 1)) || !ts->t) /* 1, 3, 7 … */
            ts->t = xrealloc(ts->t, sizeof *ts->t * (size_t)(2 * ts->n + 2));
        ts->t[ts->n++] = t;
        s = slice_from(s, len);
    }
}

/* ---- looking ---- */

static bool is(const struct tokens *ts, int i, const char *text) {
    return i >= 0 && i < ts->n && (ts->t[i].kind == T_WORD || ts->t[i].kind == T_OP) &&
           slice_eq_str(ts->t[i].text, text);
}

static bool is_any(const struct tokens *ts, int i, const char *const *names, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (is(ts, i, names[k]))
            return true;
    return false;
}

static bool is_keyword(const struct tokens *ts, int i) {
    static const char *const names[] = {
        "select",    "from", "where",    "group", "order", "by",    "having", "limit",   "offset",  "union", "except",
        "intersect", "join", "left",     "right", "full",  "inner", "cross",  "on",      "using",   "as",    "and",
        "or",        "not",  "in",       "is",    "like",  "ilike", "regexp", "between", "case",    "when",  "then",
        "else",      "end",  "distinct", "all",   "asc",   "desc",  "with",   "filter",  "natural", "outer", "window"};

    return is_any(ts, i, names, ARRAY_SIZE(names));
}

static bool is_name(const struct tokens *ts, int i) {
    return i >= 0 && i < ts->n && (ts->t[i].kind == T_QUOTED || (ts->t[i].kind == T_WORD && !is_keyword(ts, i)));
}

static int match_forward(const struct tokens *ts, int i) { /* of "(" */
    for (int k = i + 1; k < ts->n; k++)
        if (ts->t[k].depth == ts->t[i].depth && is(ts, k, ")"))
            return k;
    return ts->n - 1;
}

static int match_back(const struct tokens *ts, int i) { /* of ")" */
    for (int k = i - 1; k >= 0; k--)
        if (ts->t[k].depth == ts->t[i].depth && is(ts, k, "("))
            return k;
    return 0;
}

/* First token of the operand that ends at @i; -1: none ends there. */
static int operand_start(const struct tokens *ts, int i) {
    if (i < 0)
        return -1;
    if (ts->t[i].group >= 0)
        return ts->t[i].group;
    if (is(ts, i, ")")) {
        int open = match_back(ts, i);

        return is_name(ts, open - 1) ? open - 1 : open;
    }
    if (ts->t[i].kind == T_STRING || ts->t[i].kind == T_NUMBER)
        return is(ts, i - 1, "interval") || is(ts, i - 1, "timestamp") ? i - 1 : i;
    if (!is_name(ts, i))
        return -1;
    while (is(ts, i - 1, ".") && is_name(ts, i - 2))
        i -= 2;
    return i;
}

/* Last token of the operand that starts at @i; -1: none starts there. */
static int operand_end(const struct tokens *ts, int i) {
    if (i >= ts->n)
        return -1;
    if ((is(ts, i, "interval") || is(ts, i, "timestamp")) && i + 1 < ts->n && ts->t[i + 1].kind == T_STRING)
        return i + 1;
    if (is(ts, i, "("))
        return match_forward(ts, i);
    if (ts->t[i].kind == T_STRING || ts->t[i].kind == T_NUMBER)
        return i;
    if (!is_name(ts, i))
        return -1;
    while (is(ts, i + 1, ".") && is_name(ts, i + 2))
        i += 2;
    return is(ts, i + 1, "(") ? match_forward(ts, i + 1) : i;
}

static bool ends_with_at(struct slice s) {
    if (s.len && s.data[s.len - 1] == '"')
        s.len--;
    return s.len > 3 && memcmp(s.data + s.len - 3, "_at", 3) == 0;
}

/* ---- changing ---- */

static struct slice join(struct tokens *ts, struct slice a, struct slice b) {
    uint8_t *p = arena_alloc(&ts->a, a.len + b.len + 1);

    if (a.len)
        memcpy(p, a.data, a.len);
    if (b.len)
        memcpy(p + a.len, b.data, b.len);
    return slice_of(p, a.len + b.len);
}

static void wrap(struct tokens *ts, int first, int last, const char *before, const char *after) {
    ts->t[first].pre = join(ts, slice_str(before), ts->t[first].pre);
    ts->t[last].post = join(ts, ts->t[last].post, slice_str(after));
    ts->t[last].group = first;
}

static void set(struct tokens *ts, int i, const char *text) {
    ts->t[i].text = slice_str(text);
}

static void drop(struct tokens *ts, int i) {
    ts->t[i].text = slice_str(""); /* the gap stays: it may be all there is between two words */
}

static void names(struct tokens *ts) {
    for (int i = 0; i < ts->n; i++) {
        if (is(ts, i, "index") && !is(ts, i + 1, "("))
            set(ts, i, "\"index\"");
        if (is(ts, i, "restate") && is(ts, i + 1, ".") && is(ts, i + 2, "public"))
            drop(ts, i), drop(ts, i + 1);
        if (is(ts, i, "public") && is(ts, i + 1, "."))
            drop(ts, i), drop(ts, i + 1);
        if (is(ts, i, "information_schema") && is(ts, i + 1, ".") && i + 2 < ts->n) {
            set(ts, i, "information_schema_");
            drop(ts, i + 1);
            ts->t[i + 1].gap = ts->t[i + 2].gap = SLICE_NULL;
        }
        if (is(ts, i, "ilike"))
            set(ts, i, "regexp");
    }
}

/* Integers beyond i64 are the same 64 bits, as in the tables. */
static void numbers(struct tokens *ts) {
    for (int i = 0; i < ts->n; i++) {
        uint64_t v;
        char *text;

        if (ts->t[i].kind != T_NUMBER || text_parse_u64(ts->t[i].text, &v) < 0 || v <= INT64_MAX)
            continue;
        text = arena_alloc(&ts->a, 32);
        if (v == UINT64_C(1) << 63)
            (void)snprintf(text, 32, "(-9223372036854775807 - 1)");
        else
            (void)snprintf(text, 32, "(-%" PRIu64 ")", (uint64_t)0 - v);
        set(ts, i, text);
    }
}

static bool comparison(const struct tokens *ts, int i) {
    static const char *const ops[] = {"=", "==", "<>", "!=", "<", ">", "<=", ">="};

    return is_any(ts, i, ops, ARRAY_SIZE(ops));
}

/* Times written with fewer digits or another offset than the tables print. */
static void time_literals(struct tokens *ts) {
    for (int i = 2; i < ts->n; i++) {
        struct slice s = ts->t[i].text;
        uint64_t ms;
        char *text;

        if (ts->t[i].kind != T_STRING || s.len < 2 || !comparison(ts, i - 1) || !is_name(ts, i - 2) ||
            !ends_with_at(ts->t[i - 2].text) || !query_ts_parse(slice_sub(s, 1, s.len - 2), &ms))
            continue;
        text = arena_alloc(&ts->a, QUERY_TS_CHARS + 3);
        text[0] = '\'';
        query_ts_text(ms, text + 1);
        memcpy(text + 1 + QUERY_TS_CHARS, "'", 2);
        set(ts, i, text);
    }
}

/* A text literal equals a blob with the same bytes. */
static void blob_literals(struct tokens *ts) {
    static const char *const blobs[] = {"value", "\"value\"", "raw", "completion_success_value"};

    for (int i = 2; i < ts->n; i++)
        for (size_t k = 0; k < ARRAY_SIZE(blobs); k++)
            if (ts->t[i].kind == T_STRING && comparison(ts, i - 1) && slice_eq_str(ts->t[i - 2].text, blobs[k]))
                wrap(ts, i, i, "cast(", " as blob)");
}

static const char *sqlite_type(const struct tokens *ts, int i) {
    static const struct {
        const char *name, *type;
    } types[] = {{"string", "text"},     {"varchar", "text"},     {"text", "text"},    {"utf8", "text"},
                 {"char", "text"},       {"double", "real"},      {"float", "real"},   {"real", "real"},
                 {"int", "integer"},     {"int8", "integer"},     {"int4", "integer"}, {"bigint", "integer"},
                 {"integer", "integer"}, {"smallint", "integer"}, {"bytea", "blob"},   {"boolean", "integer"},
                 {"timestamp", "text"}};

    for (size_t k = 0; k < ARRAY_SIZE(types); k++)
        if (is(ts, i, types[k].name))
            return types[k].type;
    return NULL;
}

static void casts(struct tokens *ts) {
    for (int i = 1; i + 1 < ts->n; i++) {
        const char *type = sqlite_type(ts, i + 1);
        int first;

        if (type && is(ts, i, "as") && is(ts, i + 2, ")")) { /* cast(x as string) */
            set(ts, i + 1, type);
        } else if (is(ts, i, "::") && type && (first = operand_start(ts, i - 1)) >= 0) {
            set(ts, i, " as ");
            set(ts, i + 1, type);
            wrap(ts, first, i + 1, "cast(", ")");
        }
    }
}

static bool about_time(const struct tokens *ts, int first, int last) {
    for (int i = first; i <= last; i++)
        if ((ts->t[i].kind == T_WORD || ts->t[i].kind == T_QUOTED) &&
            (ends_with_at(ts->t[i].text) || is(ts, i, "now") || is(ts, i, "interval") || is(ts, i, "timestamp")))
            return true;
    return false;
}

/* a - b, a + b where one side is a time: functions, since times are text. */
static void time_arithmetic(struct tokens *ts) {
    for (int i = 1; i + 1 < ts->n; i++) {
        bool minus = is(ts, i, "-");
        int first, last;

        if (!minus && !is(ts, i, "+"))
            continue;
        first = operand_start(ts, i - 1);
        last = operand_end(ts, i + 1);
        if (first < 0 || last < 0 || (!about_time(ts, first, i - 1) && !about_time(ts, i + 1, last)))
            continue;
        set(ts, i, ",");
        ts->t[i].gap = slice_str("");
        wrap(ts, first, last, minus ? "ts_minus(" : "ts_plus(", ")");
    }
    for (int i = 0; i + 1 < ts->n; i++)
        if (ts->t[i + 1].kind == T_STRING && (is(ts, i, "interval") || is(ts, i, "timestamp"))) {
            bool interval = is(ts, i, "interval");

            drop(ts, i);
            ts->t[i + 1].pre = join(ts, slice_str(interval ? "interval_ms(" : "ts_text("), ts->t[i + 1].pre);
            ts->t[i + 1].post = join(ts, slice_str(")"), ts->t[i + 1].post);
            ts->t[i + 1].pre = join(ts, ts->t[i].pre, ts->t[i + 1].pre); /* of what began at the dropped word */
            ts->t[i].pre = SLICE_NULL;
        }
}

/* first_value(x order by y desc) -> first_value_by(x, y, 'desc') */
static void ordered_aggregates(struct tokens *ts) {
    for (int i = 0; i + 1 < ts->n; i++) {
        bool first = is(ts, i, "first_value");
        int end;

        if ((!first && !is(ts, i, "last_value")) || !is(ts, i + 1, "("))
            continue;
        end = match_forward(ts, i + 1);
        for (int k = i + 2; k + 1 < end; k++) {
            if (ts->t[k].depth != ts->t[i + 1].depth + 1 || !is(ts, k, "order") || !is(ts, k + 1, "by"))
                continue;
            set(ts, i, first ? "first_value_by" : "last_value_by");
            set(ts, k, ",");
            drop(ts, k + 1);
            if (is(ts, end - 1, "desc"))
                set(ts, end - 1, ", 'desc'");
            else if (is(ts, end - 1, "asc"))
                drop(ts, end - 1);
            break;
        }
    }
}

/* "from (select … from t a …)" without an alias keeps the inner one. */
static void inner_aliases(struct tokens *ts) {
    for (int i = 1; i + 1 < ts->n; i++) {
        int end, from;

        if (!is(ts, i, "(") || !is(ts, i + 1, "select") || !(is(ts, i - 1, "from") || is(ts, i - 1, "join")))
            continue;
        end = match_forward(ts, i);
        if (is_name(ts, end + 1) || is(ts, end + 1, "as"))
            continue;
        for (from = i + 2; from < end; from++)
            if (ts->t[from].depth == ts->t[i].depth + 1 && is(ts, from, "from"))
                break;
        from++;
        if (!is_name(ts, from))
            continue;
        if (is(ts, from + 1, "as"))
            from += 2;
        else if (is_name(ts, from + 1))
            from++;
        if (from < end)
            ts->t[end].post = join(ts, ts->t[end].post, join(ts, SLICE_LIT(" "), ts->t[from].text));
    }
}

/* ---- the outermost select list ---- */

static bool is_condition(const struct tokens *ts, int first, int last) {
    static const char *const words[] = {"is",   "=",     "==", "<>",      "!=",  "<",   ">",  "<=",    ">=",
                                        "like", "ilike", "in", "between", "not", "and", "or", "exists"};
    int cases = 0;

    while (is(ts, first, "(") && match_forward(ts, first) == last)
        first++, last--;
    if (first == last && (is(ts, first, "true") || is(ts, first, "false")))
        return true;
    for (int i = first; i <= last; i++) {
        cases += is(ts, i, "case");
        cases -= is(ts, i, "end");
        if (cases == 0 && ts->t[i].depth == ts->t[first].depth && is_any(ts, i, words, ARRAY_SIZE(words)))
            return true;
    }
    return false;
}

static void select_item(const struct tokens *ts, int first, int last, struct query_text *ret) {
    if (first > last)
        return;
    if (is(ts, last, "*"))
        ret->star = ret->star == -1 ? ret->n_items : -2;
    if (last - first >= 2 && is(ts, last - 1, "as"))
        last -= 2;
    else if (last > first && is_name(ts, last) && (is_name(ts, last - 1) || is(ts, last - 1, ")")))
        last--;
    if (ret->n_items < QUERY_BOOLS && is_condition(ts, first, last))
        ret->bools |= UINT64_C(1) << ret->n_items;
    ret->n_items++;
}

static void select_list(const struct tokens *ts, struct query_text *ret) {
    int i = 0, first, depth;

    while (i < ts->n && !(ts->t[i].depth == 0 && is(ts, i, "select")))
        i++;
    first = i + 1;
    if (is(ts, first, "distinct") || is(ts, first, "all"))
        first++;
    depth = i < ts->n ? ts->t[i].depth : 0;
    for (i = first; i < ts->n; i++) {
        bool stop = is(ts, i, "from") || is(ts, i, "union") || is(ts, i, "where") || is(ts, i, "limit") ||
                    is(ts, i, "order") || is(ts, i, ";");

        if (ts->t[i].depth != depth || !(stop || is(ts, i, ",")))
            continue;
        select_item(ts, first, i - 1, ret);
        first = i + 1;
        if (stop)
            return;
    }
    select_item(ts, first, ts->n - 1, ret);
}

bool query_text_is_bool(const struct query_text *t, int column, int n_columns) {
    int item = column;

    if (t->star == -2 || (t->star == -1 && t->n_items != n_columns))
        return false;
    if (t->star >= 0 && column >= t->star) {
        item = column - (n_columns - t->n_items);
        if (item <= t->star)
            return false;
    }
    return item >= 0 && item < QUERY_BOOLS && (t->bools >> item & 1);
}

/* ---- all of it ---- */

static void print(const struct tokens *ts, struct buf *out) {
    for (int i = 0; i < ts->n; i++) {
        const struct token *t = &ts->t[i];

        if (t->gap.len)
            buf_put_u8(out, ' ');
        buf_put_slice(out, t->pre);
        buf_put_slice(out, t->text);
        buf_put_slice(out, t->post);
    }
}

int query_rewrite(struct slice sql, struct query_text *ret, struct err *err) {
    struct tokens ts = {0};
    int r = cut(&ts, sql, err);

    *ret = (struct query_text){.star = -1};
    if (r == 0 && is(&ts, 0, "show") && is(&ts, 1, "tables")) {
        buf_put_str(&ret->sql, "select * from information_schema_tables");
        ret->star = 0;
        ret->n_items = 1;
    } else if (r == 0) {
        if (is(&ts, 0, "explain") && !is(&ts, 1, "query"))
            set(&ts, 0, "explain query plan");
        select_list(&ts, ret);
        inner_aliases(&ts);
        names(&ts);
        numbers(&ts);
        time_literals(&ts);
        blob_literals(&ts);
        ordered_aggregates(&ts);
        casts(&ts);
        time_arithmetic(&ts);
        print(&ts, &ret->sql);
    }
    arena_done(&ts.a);
    free(ts.t);
    return r;
}
