#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No mutable globals: looks at what the compiler put into writable sections of the built libraries. Prints TAP.

usage: globals.py FILE.. (objects or static libraries of the server and shared modules of the plugins)

Allowed are the few things a process has once; each with its reason. Everything else belongs to an object that is passed."""
import os
import re
import subprocess
import sys

# (name of the library or module, symbol) -> reason
ALLOWED = {
    ("base", "logging_level_"): "the logging sink, set once by logging_init()",
    ("base", "sink_fd"): "the logging sink, set once by logging_init()",
    ("base", "sink_format"): "the logging sink, set once by logging_init()",
    ("storage-rocksdb", "env_users"): "RocksDB's default environment is one per process: its threads are set up once",
    ("storage-rocksdb", "default_name"): "an argument of RocksDB's C API that it wants without const",
}
# symbols that compilers and sanitizers add
COMPILER = re.compile(r"^(__|_GLOBAL_|\.|completed\.|_edata|_end|_DYNAMIC|asan|_asan)|__odr_asan|^\*?\.?LC|^__gcov")
WRITABLE = re.compile(r"^\.(data|bss|tdata|tbss)(\.(?!rel\.ro)|$)|^\*COM\*$")


def symbols(path):
    out = subprocess.run(["objdump", "-t", path], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        m = re.match(r"^[0-9a-f]+ (.{7}) (\S+)\s+([0-9a-f]+)\s+(?:\.hidden |\.protected )?(\S+)$", line)
        if m and "O" in m.group(1) and WRITABLE.match(m.group(2)) and int(m.group(3), 16) > 0:
            yield m.group(4)


def main():
    print(f"1..{len(sys.argv) - 1}")
    bad = 0
    for n, path in enumerate(sys.argv[1:], 1):
        library = re.sub(r"^lib|\.(a|so|o)$", "", os.path.basename(path))
        found = sorted({s for s in symbols(path) if not COMPILER.search(s)
                        and (library, re.sub(r"\.\d+$", "", s)) not in ALLOWED})
        bad += bool(found)
        print("not ok" if found else "ok", n, "-", library, "has no mutable globals")
        for s in found:
            print(f"# {library}: {s} is mutable; pass an object, or enter it in tests/lint/globals.py with the reason")
    return 1 if bad else 0


sys.exit(main())
