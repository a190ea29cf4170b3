#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over files in parallel: tidy.py BUILD JOBS FILE.. ; prints TAP, one line per file."""
import concurrent.futures
import json
import os
import subprocess
import sys

build, jobs, files = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
    known = {os.path.realpath(os.path.join(c["directory"], c["file"])) for c in json.load(f)}


def tidy(path):
    if os.path.realpath(path) not in known:
        return path, 0, "not part of this build"
    r = subprocess.run(["clang-tidy", "-p", build, "--quiet", "--extra-arg=-Wno-unknown-warning-option", path],
                       capture_output=True, text=True)
    return path, r.returncode, r.stdout


bad = 0
print(f"1..{len(files)}")
with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    for n, (path, code, text) in enumerate(pool.map(tidy, files), 1):
        print("not ok" if code else "ok", n, "- tidy", path, flush=True)
        if code:
            bad += 1
            print("".join("# " + line + "\n" for line in text.splitlines()[:40]), end="", flush=True)
sys.exit(1 if bad else 0)
