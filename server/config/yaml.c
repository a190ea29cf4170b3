/* SPDX-License-Identifier: Apache-2.0 */
/* YAML text to a tree of nodes: libyaml's events, our own bounds. The only includer of <yaml.h>. */
#include "config/node_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

struct builder {
    struct cfg_tree *tree;
    const char *source; /* in the tree's arena */
    struct cfg_node *open[LIMIT_CFG_DEPTH];
    unsigned depth;
    size_t nodes;
    struct cfg_node *pending_key; /* a key was read, its value comes next */
    bool have_root, done;
};

static int refuse(struct builder *b, const yaml_mark_t *at, struct err *err, const char *what) {
    return err_set(err, RS_EINVAL, "%.100s:%zu:%zu: %s", b->source, at->line + 1, at->column + 1, what);
}

static bool is_null_text(const char *s, size_t n) {
    return n == 0 || (n == 1 && s[0] == '~') ||
           (n == 4 && (!memcmp(s, "null", 4) || !memcmp(s, "Null", 4) || !memcmp(s, "NULL", 4)));
}

/* A key of a map: kept in pending_key until its value comes. */
static int take_key(struct builder *b, const yaml_event_t *e, struct err *err) {
    struct cfg_node *map = b->open[b->depth - 1], *k;
    const char *text = (const char *)e->data.scalar.value;

    if (e->type != YAML_SCALAR_EVENT)
        return refuse(b, &e->start_mark, err, "the name of a key must be a plain text");
    if (strlen(text) != e->data.scalar.length || e->data.scalar.length == 0 || e->data.scalar.length > 256)
        return refuse(b, &e->start_mark, err, "the name of a key must have 1 to 256 bytes and no NUL");
    for (struct cfg_node *c = map->first; c; c = c->next)
        if (strcmp(c->key, text) == 0)
            return err_set(err, RS_EINVAL, "%.100s:%zu:%zu: the key %.80s was already given in line %u", b->source,
                           e->start_mark.line + 1, e->start_mark.column + 1, text, c->line);
    k = arena_new(&b->tree->arena, struct cfg_node);
    k->key = arena_str(&b->tree->arena, slice_of(text, e->data.scalar.length));
    k->line = (unsigned)e->start_mark.line + 1;
    k->column = (unsigned)e->start_mark.column + 1;
    b->pending_key = k;
    return 0;
}

static int take_value(struct builder *b, const yaml_event_t *e, struct err *err) {
    struct cfg_node *parent = b->depth ? b->open[b->depth - 1] : NULL, *n;

    if (++b->nodes > LIMIT_CFG_NODES)
        return refuse(b, &e->start_mark, err, "the text has too many values");
    if (b->pending_key) {
        n = TAKE(b->pending_key);
    } else {
        n = arena_new(&b->tree->arena, struct cfg_node);
        n->line = (unsigned)e->start_mark.line + 1;
        n->column = (unsigned)e->start_mark.column + 1;
    }
    n->source = b->source;
    n->parent = parent;
    if (parent) {
        *(parent->last ? &parent->last->next : &parent->first) = n;
        parent->last = n;
        parent->n++;
    } else {
        b->tree->root = n;
        b->have_root = true;
    }
    if (e->type == YAML_SCALAR_EVENT) {
        const char *text = (const char *)e->data.scalar.value;
        size_t len = e->data.scalar.length;

        if (memchr(text, 0, len))
            return refuse(b, &e->start_mark, err, "a text must not contain a NUL byte");
        n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        n->type = !n->quoted && is_null_text(text, len) ? CFG_NULL : CFG_SCALAR;
        if (n->type == CFG_SCALAR) {
            n->text = arena_str(&b->tree->arena, slice_of(text, len));
            n->n = len;
        }
        return 0;
    }
    n->type = e->type == YAML_MAPPING_START_EVENT ? CFG_MAP : CFG_LIST;
    if (b->depth == LIMIT_CFG_DEPTH)
        return refuse(b, &e->start_mark, err, "the nesting is too deep");
    b->open[b->depth++] = n;
    return 0;
}

static int refuse_extras(struct builder *b, const yaml_event_t *e, struct err *err) {
    const yaml_char_t *anchor = NULL, *tag = NULL;

    switch (e->type) {
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (e->type == YAML_ALIAS_EVENT || anchor)
        return refuse(b, &e->start_mark, err, "anchors and aliases are not supported");
    return tag ? refuse(b, &e->start_mark, err, "tags are not supported") : 0;
}

static int take_event(struct builder *b, const yaml_event_t *e, struct err *err) {
    int r = refuse_extras(b, e, err);

    if (r < 0)
        return r;
    switch (e->type) {
    case YAML_SCALAR_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (b->depth && b->open[b->depth - 1]->type == CFG_MAP && !b->pending_key)
            return take_key(b, e, err);
        return take_value(b, e, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return 0;
    case YAML_DOCUMENT_START_EVENT:
        return b->have_root ? refuse(b, &e->start_mark, err, "only one document is allowed") : 0;
    case YAML_STREAM_END_EVENT:
        b->done = true;
        return 0;
    default:
        return 0;
    }
}

static int parse_events(yaml_parser_t *parser, struct builder *b, struct err *err) {
    while (!b->done) {
        yaml_event_t e;
        int r;

        if (!yaml_parser_parse(parser, &e)) {
            const yaml_mark_t *at =
                parser->problem_mark.line || parser->problem_mark.column ? &parser->problem_mark : &parser->mark;

            return refuse(b, at, err, parser->problem ? parser->problem : "this is not YAML");
        }
        r = take_event(b, &e, err);
        yaml_event_delete(&e);
        if (r < 0)
            return r;
    }
    return 0;
}

int cfg_parse(struct slice text, const char *source, struct cfg_tree **ret, struct err *err) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *t = cfg_tree_new();
    struct builder b = {.tree = t};
    yaml_parser_t parser;
    int r;

    b.source = arena_str(&t->arena, slice_str(source));
    if (text.len > LIMIT_CFG_BYTES)
        return err_set(err, RS_ETOOBIG, "%.100s: the text is larger than 1 MiB", source);
    if (!yaml_parser_initialize(&parser))
        return err_set(err, RS_ENOMEM, "out of memory");
    yaml_parser_set_input_string(&parser, text.data ? text.data : (const uint8_t *)"", text.len);
    r = parse_events(&parser, &b, err);
    yaml_parser_delete(&parser);
    if (r < 0)
        return r;
    if (t->root->type == CFG_NULL)
        t->root->type = CFG_MAP;
    t->root->source = b.source;
    *ret = TAKE(t);
    return 0;
}

int cfg_parse_file(const char *path, struct cfg_tree **ret, struct err *err) {
    _cleanup_buf_ struct buf b = {0};
    FILE *f = fopen(path, "re");
    size_t n;
    int r = 0;

    if (!f)
        return err_errno(err, "cannot open the configuration file %.150s", path);
    do {
        uint8_t *at = buf_reserve(&b, 16384);

        n = fread(at, 1, 16384, f);
        b.len += n;
    } while (n && b.len <= LIMIT_CFG_BYTES);
    if (ferror(f))
        r = err_errno(err, "cannot read the configuration file %.150s", path);
    (void)fclose(f);
    return r < 0 ? r : cfg_parse(buf_slice(&b), path, ret, err);
}
