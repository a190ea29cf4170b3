"""Generate a protobuf codec from a .def file:  gen.py NAME.def NAME.gen.h NAME.gen.c

Syntax, one item a line, `#` starts a comment (those right above a message go into the header):
    prefix P                      names: struct P_<message>, P_<message>_decode, _size, _encode
    depth N                       deepest nesting of messages that decoding accepts (optional)
    message NAME {
        NUMBER [opt|rep] TYPE NAME            TYPE: bytes, str, u32, u64, bool, msg MESSAGE
    }
What the C side looks like and promises is in pb.h."""
import os
import re
import sys

SCALARS = {"u32": "uint32_t", "u64": "uint64_t", "bool": "bool"}
FIELD = re.compile(r"^(\d+)\s+(?:(opt|rep)\s+)?(?:(bytes|str|u32|u64|bool)|msg\s+(\w+))\s+(\w+)$")
KEYWORDS = set("auto bool break case char const continue default do double else enum extern float for goto if inline int "
               "long register return short signed sizeof static struct switch typedef union unsigned void volatile "
               "while unknown".split())


class Field:
    def __init__(self, number, label, kind, msg, name):
        self.number, self.label, self.msg, self.name = int(number), label, msg, name
        self.kind = kind or "msg"
        self.scalar = self.kind in SCALARS
        self.rep, self.opt = label == "rep", label == "opt"
        self.tag = self.number << 3 | (0 if self.scalar else 2)
        self.packed = self.rep and self.scalar

    def element(self, prefix):
        if self.scalar:
            return SCALARS[self.kind]
        return f"struct {prefix}_{self.msg}" if self.kind == "msg" else "struct slice"

    def members(self, prefix):
        t = self.element(prefix)
        if self.rep:
            return [f"const {t} *{self.name};", f"size_t n_{self.name};"]
        if self.kind == "msg":
            return [f"{t} *{self.name};"]
        return [f"{t} {self.name};"] + ([f"bool has_{self.name};"] if self.opt else [])


class Message:
    def __init__(self, name, comment):
        self.name, self.comment, self.fields = name, comment, []


class Spec:
    def __init__(self, path):
        self.path, self.prefix, self.depth, self.messages = path, None, None, []
        self.line = 0
        comment, message = [], None
        with open(path, encoding="utf-8") as f:
            for raw in f:
                self.line += 1
                text, _, note = raw.partition("#")
                text = text.strip()
                if not text:
                    comment = comment + [note.strip()] if note else []
                    continue
                message = self.statement(text, comment, message)
                comment = []
        if message or not self.prefix:
            self.die("no prefix, or a message is not closed")
        names = {m.name for m in self.messages}
        for m in self.messages:
            for f in m.fields:
                if f.msg and f.msg not in names:
                    self.die(f"{m.name}.{f.name}: no message {f.msg}")

    def die(self, why):
        sys.exit(f"{self.path}:{self.line}: {why}")

    def statement(self, text, comment, message):
        if message:
            return None if text == "}" else self.field(message, text)
        word, _, rest = text.partition(" ")
        rest = rest.strip()
        if word == "prefix":
            self.prefix = rest
        elif word == "depth":
            self.depth = int(rest)
        elif word == "message" and rest.endswith("{"):
            m = Message(rest[:-1].strip(), comment)
            if not re.fullmatch(r"\w+", m.name) or any(m.name == o.name for o in self.messages):
                self.die(f"bad or repeated message name {m.name!r}")
            self.messages.append(m)
            return m
        else:
            self.die(f"cannot read {text!r}")
        return None

    def field(self, m, text):
        match = FIELD.match(text)
        if not match:
            self.die(f"cannot read field {text!r}")
        f = Field(*match.groups())
        if not 0 < f.number < 1 << 29 or f.name in KEYWORDS:
            self.die(f"field number or name is not usable: {text!r}")
        if any(f.name == o.name or f.number == o.number for o in m.fields):
            self.die(f"field number or name is used twice: {text!r}")
        if f.opt and not f.scalar:
            self.die("opt is for scalars; others have presence anyway")
        m.fields.append(f)
        return m


def header(spec):
    p, out = spec.prefix, []
    base = os.path.basename(spec.path)
    out += [f"/* Made by gen.py from {base}. What the functions promise: proto/pb.h. */", "#pragma once", '#include "proto/pb.h"', ""]
    out += [f"struct {p}_{m.name};" for m in spec.messages]
    for m in spec.messages:
        out.append("")
        out += [f"/* {c} */" for c in m.comment]
        out.append(f"struct {p}_{m.name} {{")
        out += [f"    {x}" for f in m.fields for x in f.members(p)]
        out += ["    struct slice unknown; /* raw fields this side does not know */", "};"]
        n = f"{p}_{m.name}"
        out += [f"int {n}_decode(struct {n} *ret, struct slice in, struct arena *a, struct err *err) RS_WARN_UNUSED;",
                f"size_t {n}_size(const struct {n} *m);",
                f"void {n}_encode(const struct {n} *m, struct buf *out);",
                f"extern const struct pb_message {n}_info;"]
    out += ["", f"#define {p.upper()}_EACH_MESSAGE(X) " + " ".join(f"X({m.name})" for m in spec.messages)]
    return "\n".join(out) + "\n"


def read_array(f, p):
    """The elements of a repeated field, one occurrence at a time; the array is made at the first."""
    n, t = f.name, f.element(p)
    return [f"            if (!{n}) {{",
            f"                max_{n} = pb_count(field, end, {f.number}, {'true' if f.scalar else 'false'});",
            f"                {n} = pb_array(c, max_{n}, sizeof({t}));",
            f"                if (!{n})",
            "                    goto fail;",
            f"                m->{n} = {n};",
            "            }"]


def read_one(f, p, target, indent):
    """Read one value of @f into the lvalue @target; p is NULL after a failure."""
    pad = " " * indent
    if f.kind != "msg":
        fn = {"u64": "varint"}.get(f.kind, f.kind)
        return [f"{pad}p = pb_{fn}(p, end, &{target}, c);"]
    return [f"{pad}p = pb_bytes(p, end, &sub, c);",
            f"{pad}if (!p || !pb_enter(c))",
            f"{pad}    goto fail;",
            f"{pad}r = {p}_{f.msg}_read({target}, sub, c);",
            f"{pad}if (r < 0)",
            f"{pad}    return r;",
            f"{pad}c->depth_left++;"]


def read_field(f, p):
    n, out = f.name, []
    if f.packed:
        fn = {"u64": "varint"}.get(f.kind, f.kind)
        out += [f"        case {f.number << 3 | 2}: /* {n}, packed */", "            p = pb_bytes(p, end, &sub, c);", "            if (!p)",
                "                goto fail;"]
        out += read_array(f, p)
        out += ["            for (const uint8_t *q = sub.data, *last = sub.data + sub.len; q < last;) {",
                f"                if (m->n_{n} == max_{n})", "                    goto fail;",
                f"                q = pb_{fn}(q, last, &{n}[m->n_{n}], c);",
                "                if (!q)", "                    goto fail;", f"                m->n_{n}++;", "            }",
                "            break;"]
    out.append(f"        case {f.tag}: /* {n} */")
    if f.rep:
        out += read_array(f, p)
        out += [f"            if (m->n_{n} == max_{n})", "                goto fail;"]
        out += read_one(f, p, f"{'&' if f.kind == 'msg' else ''}{n}[m->n_{n}]", 12)
        out.append(f"            m->n_{n} += p != NULL;")
    elif f.kind == "msg":
        out += [f"            m->{n} = pb_array(c, 1, sizeof *m->{n});", f"            if (!m->{n})", "                goto fail;"]
        out += read_one(f, p, f"m->{n}", 12)
    else:
        out += read_one(f, p, f"m->{n}", 12)
        if f.opt:
            out.append(f"            m->has_{n} = true;")
    return out + ["            break;"]


def reader(m, p):
    n, out = f"{p}_{m.name}", []
    if m.fields:
        out.append(f"static const struct pb_field {n}_fields[] = {{")
        out += [f'    {{{f.number}, "{f.name}", PB_{f.kind.upper()}, PB_{(f.label or "plain").upper()}, '
                f'{f"&{p}_{f.msg}_info" if f.msg else "NULL"}}},' for f in m.fields]
        out.append("};")
    out.append(f'const struct pb_message {n}_info = {{"{m.name}", {f"{n}_fields, {len(m.fields)}" if m.fields else "NULL, 0"}}};')
    out += ["", f"static int {n}_read(struct {n} *m, struct slice in, struct pb_ctx *c) {{",
            "    const uint8_t *p = in.data, *const end = in.data + in.len;", "    uint8_t *unknown_copy = NULL;", "    uint32_t tag = 0;"]
    for f in m.fields:
        if f.rep:
            out += [f"    {f.element(p)} *{f.name} = NULL;", f"    size_t max_{f.name} = 0;"]
    if any(f.kind == "msg" or f.packed for f in m.fields):
        out.append("    struct slice sub;")
    if any(f.kind == "msg" for f in m.fields):
        out.append("    int r;")
    out += ["", f"    memset(m, 0, sizeof *m);", "    while (p < end) {", "        const uint8_t *const field = p;", "",
            "        p = pb_u32(p, end, &tag, c);", "        if (!p)", "            goto fail;", "        switch (tag) {"]
    for f in m.fields:
        out += read_field(f, p)
    out += ["        default:",
            f"            if (pb_known(&{n}_info, tag))", "                p = pb_bad(c, PB_WIRE_TYPE);",
            "            else", "                p = pb_skip(p, end, tag, c);",
            "            if (p && !pb_unknown(&m->unknown, &unknown_copy, field, p, end, c))", "                goto fail;",
            "            break;", "        }", "        if (!p)", "            goto fail;", "    }", "    return 0;", "fail:",
            f"    return pb_fail(c, &{n}_info, tag);", "}"]
    return out


def present(f):
    m = f"m->{f.name}"
    if f.opt:
        return f"m->has_{f.name}"
    if f.kind in ("bytes", "str"):
        return f"{m}.data"
    return m


def varint_tag_size(f):
    return max(1, (f.number.bit_length() + 3 + 6) // 7)


def sizer(m, p):
    n = f"{p}_{m.name}"
    out = [f"size_t {n}_size(const struct {n} *m) {{", "    size_t n = m->unknown.len;", ""]
    for f in m.fields:
        t = varint_tag_size(f)
        tag = f"({f.number << 3 | 2}u)"
        x, i = f"m->{f.name}", f"m->{f.name}[i]"
        if f.packed:
            out += [f"    if (m->n_{f.name})", f"        n += {t} + pb_len_size({n}_size_{f.name}(m));"]
        elif f.rep:
            one = f"{p}_{f.msg}_size(&{i})" if f.kind == "msg" else f"{i}.len"
            out += [f"    for (size_t i = 0; i < m->n_{f.name}; i++)", f"        n += {t} + pb_len_size({one});"]
        else:
            if f.kind == "msg":
                one = f"pb_len_size({p}_{f.msg}_size({x}))"
            elif f.scalar:
                one = f"pb_varint_size({x})"
            else:
                one = f"pb_len_size({x}.len)"
            out += [f"    if ({present(f)})", f"        n += {t} + {one};"]
    return out + ["    return n;", "}"]


def packed_sizers(m, p):
    n, out = f"{p}_{m.name}", []
    for f in m.fields:
        if f.packed:
            out += [f"static size_t {n}_size_{f.name}(const struct {n} *m) {{", "    size_t n = 0;", "",
                    f"    for (size_t i = 0; i < m->n_{f.name}; i++)", f"        n += pb_varint_size(m->{f.name}[i]);", "    return n;", "}", ""]
    return out


def writer(m, p):
    n = f"{p}_{m.name}"
    fields = sorted(m.fields, key=lambda f: -f.number)
    out = [f"static uint8_t *{n}_write(const struct {n} *m, uint8_t *e) {{"]
    if any(f.kind == "msg" or f.packed for f in fields):
        out += ["    uint8_t *last;", ""]
    out.append("    e = pb_w_raw(e, m->unknown);")
    for f in fields:
        x, tag = f"m->{f.name}", f.number << 3 | 2
        close = [f"e = pb_w_varint(e, (size_t)(last - e));", f"e = pb_w_varint(e, {tag});"]
        if f.packed:
            out += [f"    if (m->n_{f.name}) {{", "        last = e;", f"        for (size_t i = m->n_{f.name}; i-- > 0;)",
                    f"            e = pb_w_varint(e, {x}[i]);"] + ["        " + c for c in close] + ["    }"]
        elif f.rep and f.kind == "msg":
            out += [f"    for (size_t i = m->n_{f.name}; i-- > 0;) {{", "        last = e;",
                    f"        e = {p}_{f.msg}_write(&{x}[i], e);"] + ["        " + c for c in close] + ["    }"]
        elif f.rep:
            out += [f"    for (size_t i = m->n_{f.name}; i-- > 0;)", f"        e = pb_w_bytes(e, {tag}, {x}[i]);"]
        elif f.kind == "msg":
            out += [f"    if ({x}) {{", "        last = e;", f"        e = {p}_{f.msg}_write({x}, e);"] + ["        " + c for c in close] + ["    }"]
        elif f.scalar:
            out += [f"    if ({present(f)})", f"        e = pb_w_num(e, {f.tag}, {x});"]
        else:
            out += [f"    if ({present(f)})", f"        e = pb_w_bytes(e, {f.tag}, {x});"]
    return out + ["    return e;", "}"]


def interface(m, p, depth):
    n = f"{p}_{m.name}"
    return [f"int {n}_decode(struct {n} *ret, struct slice in, struct arena *a, struct err *err) {{",
            f"    struct pb_ctx c = pb_start(in, {depth}, a, err);", "", f"    return {n}_read(ret, in.data ? in : SLICE_EMPTY, &c);", "}", "",
            f"void {n}_encode(const struct {n} *m, struct buf *out) {{", f"    size_t n = {n}_size(m);", "",
            "    if (n) {", "        uint8_t *p = buf_add(out, n);", "",
            f"        ASSERT({n}_write(m, p + n) == p);", "    }", "}"]


def source(spec, header_name):
    p = spec.prefix
    depth = spec.depth if spec.depth is not None else "PB_DEPTH_DEFAULT"
    out = [f"/* Made by gen.py from {os.path.basename(spec.path)}. */", f'#include "proto/{header_name}"', ""]
    for m in spec.messages:
        n = f"{p}_{m.name}"
        out += [f"static int {n}_read(struct {n} *m, struct slice in, struct pb_ctx *c);",
                f"static uint8_t *{n}_write(const struct {n} *m, uint8_t *e);"]
    for m in spec.messages:
        for part in (reader(m, p), packed_sizers(m, p)[:-1], sizer(m, p), writer(m, p), interface(m, p, depth)):
            if part:
                out += [""] + part
    return "\n".join(out) + "\n"


def main():
    def_path, h_path, c_path = sys.argv[1:]
    spec = Spec(def_path)
    with open(h_path, "w", encoding="utf-8") as f:
        f.write(header(spec))
    with open(c_path, "w", encoding="utf-8") as f:
        f.write(source(spec, os.path.basename(h_path)))


main()
