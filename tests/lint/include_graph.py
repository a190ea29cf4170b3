#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The direction of dependencies, as a table: which folder may include headers of which other folder.

Prints TAP; a new edge fails until it is entered here, which is the moment to think about it."""
import os
import re
import sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")

BASE = {"base"}
LOOP = BASE | {"loop"}
CONFIG = LOOP | {"config"}
PLUGIN = CONFIG | {"plugin"}
STORAGE = PLUGIN | {"storage"}
NET = PLUGIN | {"net", "proto"}
HTTP = PLUGIN | {"http"}
META = STORAGE | NET | HTTP | {"meta"}
LOG = META | {"log"}
SNAPSHOT = META | {"snapshot"}
TRACING = LOOP | {"proto", "tracing"}
INVOKER = LOG | {"tracing", "invoker"}
WORKER = INVOKER | SNAPSHOT | {"worker"}

# folder of server/ -> folders whose headers it may include (its own is in the set)
ALLOWED = {
    "base": BASE,
    "proto": BASE | {"proto"},
    "loop": LOOP,
    "config": CONFIG,
    "plugin": PLUGIN,
    "storage": STORAGE,
    "net": NET,
    "http": HTTP,
    "meta": META,
    "log": LOG,
    "snapshot": SNAPSHOT,
    "tracing": TRACING,
    "invoker": INVOKER,
    "worker": WORKER,
    "ingress": WORKER | {"ingress"},
    "control": WORKER | {"control"},
    "query": WORKER | {"query"},
    "admin": WORKER | {"control", "query", "admin"},
}
# files directly in server/ (main.c, node*.c) wire everything
EVERYTHING = set(ALLOWED)

# system-like headers that only one folder may include
ONLY_IN = [
    (r"event2/|event\.h", {"loop"}),
    (r"yaml\.h", {"config"}),
    (r"nghttp2/|http_parser\.h", {"http"}),
    (r"curl/", {"snapshot", "tracing"}),
    (r"dlfcn\.h", {"plugin"}),
    (r"jansson\.h", {"plugin", "meta", "snapshot", "control", "admin", "query", "ingress"}),
    (r"openssl/(?!ssl\.h)", {"invoker"}),
    (r"rocksdb/|lmdb\.h|openssl/ssl\.h", set()),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def files(prefix):
    for folder, _, names in sorted(os.walk(os.path.join(ROOT, prefix))):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.relpath(os.path.join(folder, name), ROOT)


def includes(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return INCLUDE.findall(f.read())


def server_problems():
    for path in files("server"):
        parts = path.split("/")
        folder = parts[1] if len(parts) > 2 else None
        if folder and folder not in ALLOWED:
            yield f"{path}: the folder is not in the table of {os.path.basename(__file__)}"
            continue
        allowed = ALLOWED[folder] if folder else EVERYTHING
        for kind, header in includes(path):
            target = header.split("/")[0] if "/" in header else None
            if kind == '"' and target in ALLOWED and target not in allowed:
                yield f"{path}: {folder} must not include {header}"
            if kind == '"' and header.endswith("_internal.h") and target and folder and target != folder:
                yield f"{path}: {header} belongs to {target} alone"
            if kind == '"' and header.endswith("_internal.h") and folder is None and target:
                yield f"{path}: {header} belongs to {target} alone"
            for pattern, where in ONLY_IN:
                if re.match(pattern, header) and folder not in where and not path.endswith("_test.c"):
                    yield f"{path}: <{header}> may be included by {', '.join(sorted(where)) or 'plugins'} only"


def plugin_problems():
    for path in files("plugins"):
        here = os.path.dirname(path)
        for kind, header in includes(path):
            if path.endswith("_test.c") and header == "unit.h":
                continue
            if kind == '"' and not os.path.exists(os.path.join(ROOT, here, header)) and not header.startswith("restate/"):
                yield f"{path}: a plugin sees its own folder and restate/*.h, not {header}"
            if kind == '"' and ".." in header:
                yield f"{path}: {header} leaves the folder of the plugin"


def sdk_problems():
    for path in files("sdk"):
        here = os.path.dirname(path)
        for kind, header in includes(path):
            if kind != '"' or header.startswith("restate/") or os.path.exists(os.path.join(ROOT, here, header)):
                continue
            yield f"{path}: the SDK sees only its own headers, not {header}"


def cycle():
    """The table itself: no two folders may include each other."""
    for a, may in ALLOWED.items():
        for b in may:
            if a != b and a in ALLOWED[b]:
                yield f"table: {a} and {b} may include each other"


def main():
    checks = [
        ("the table of allowed includes has no cycle", cycle),
        ("folders of the server include only what the table allows", server_problems),
        ("plugins include only their own files and the SDK headers", plugin_problems),
        ("the SDK includes only its own headers", sdk_problems),
    ]
    print(f"1..{len(checks)}")
    bad = 0
    for n, (name, check) in enumerate(checks, 1):
        problems = sorted(set(check()))
        bad += bool(problems)
        print(("not ok" if problems else "ok"), n, "-", name)
        for p in problems:
            print("#", p)
    return 1 if bad else 0


sys.exit(main())
