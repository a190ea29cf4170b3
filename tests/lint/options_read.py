#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No option without a reader: every field of struct config is read outside server/config. Prints TAP.

An option that nobody reads is OPT_NO_EFFECT in server/config/options.c and has no field."""
import os
import re
import sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")

# field -> what server/config itself makes of it
RESOLVED = {
    "base_dir": "node_dir",
    "production": "auto_provision",
    "default_replication": "log_replication, partition_replication",
    "loops": "storage.data_stores",
    "logging.filter": "logging.level",
    "invoker.transport_configured": "whether a dump shows it",
    "invoker.stream_window": "invoker.initial_memory",
    "fabric.random_port": "fabric.bind",
    "ingress.listen.random_port": "ingress.listen.bind",
    "admin.listen.random_port": "admin.listen.bind",
    "root": "the merged tree, for config_put_dump()",
    "file": "where it was read from, for config_load()",
    "tree": "the owner of all texts, for config_free()",
}


def text(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)


def members(body, prefix=""):
    """The fields of a struct's body, and of the structs without a name inside it, by their full names."""
    while body.strip():
        nested = re.match(r"\s*struct\s*\{", body)
        if nested:
            depth, end = 1, nested.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(body[end], 0)
                end += 1
            name, rest = re.match(r"\s*(\w+)\s*;(.*)", body[end:], re.S).groups()
            yield from members(body[nested.end():end - 1], prefix + name + ".")
            body = rest
        else:
            declaration, body = body.split(";", 1)
            for d in declaration.split(","):
                yield prefix + re.search(r"(\w+)\s*(\[\w+\])?\s*$", d).group(1)


def sources():
    """What sees a struct config at all: names of its fields mean something else elsewhere."""
    for folder, _, names in sorted(os.walk(os.path.join(ROOT, "server"))):
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), ROOT)
            if name.endswith((".c", ".h")) and not name.endswith("_test.c") and not path.startswith("server/config/"):
                code = text(path)
                if re.search(r"struct config\b|->config->", code):
                    yield code


def is_read(field, files):
    """By its full name; or the struct it is in is handed on as a whole, and read there."""
    parts = field.split(".")
    if any(re.search(r"(->|\.)" + re.escape(field) + r"\b", f) for f in files):
        return True
    struct = re.escape(".".join(parts[:-1]))
    return len(parts) > 1 and any(re.search(r"&[\w>-]*->" + struct + r"\b(?![\w.\[])", f)
                                  and re.search(r"->" + parts[-1] + r"\b", f) for f in files)


def main():
    header = text("server/config/config.h")
    body = re.search(r"\nstruct config \{(.*?)\n\};", header, re.S).group(1)
    fields = dict.fromkeys([*members(body), *re.findall(r", F\(([\w.]+)\)", text("server/config/options.c"))])
    files = list(sources())
    unread = [f for f in fields if f not in RESOLVED and not is_read(f, files)]
    stale = [f for f in RESOLVED if f not in fields]

    print("1..2")
    print("not ok" if unread else "ok", "1 - every one of", len(fields), "fields of struct config has a reader")
    for f in unread:
        print(f"# nothing reads {f}: make its option OPT_NO_EFFECT and remove the field, or wire it")
    print("not ok" if stale else "ok", "2 - the exceptions of this check exist")
    for f in stale:
        print(f"# there is no field {f}")
    return 1 if unread or stale else 0


sys.exit(main())
