#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each header compiles alone: usage headers_alone.py SOURCE_ROOT BUILD_ROOT CC. Prints TAP.

Headers of the SDK are compiled as strict C11 as well, and as C++ where a C++ compiler is at hand."""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile

ROOT, BUILD, CC = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3:]


def headers():
    return [os.path.relpath(os.path.join(folder, name), ROOT)
            for top in ("server", "sdk", "plugins", "ctl")
            for folder, _, names in sorted(os.walk(os.path.join(ROOT, top)))
            for name in sorted(names) if name.endswith(".h")]


def command(header, language):
    inc = ["-I" + os.path.join(ROOT, "sdk/include"), "-I" + os.path.dirname(os.path.join(ROOT, header))]
    if not header.startswith("sdk/include"):
        inc += ["-I" + os.path.join(ROOT, "server"), "-I" + os.path.join(BUILD, "server"), "-I" + os.path.join(ROOT, "tests")]
    common = inc + ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function"]
    if language == "c++":
        return ["g++", "-x", "c++", "-std=c++17"] + common
    std = ["-std=c11", "-pedantic-errors"] if language == "c11" else ["-std=gnu11", "-D_GNU_SOURCE"]
    return CC + ["-x", "c"] + std + common


def compile_alone(job):
    header, language = job
    with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
        # twice: a header also survives a second inclusion
        f.write(f'#include "{os.path.join(ROOT, header)}"\n#include "{os.path.join(ROOT, header)}"\nint lint_one;\n')
        f.flush()
        r = subprocess.run(command(header, language) + [f.name], capture_output=True, text=True)
    return header, language, r.returncode, r.stderr


def main():
    jobs = [(h, "gnu11") for h in headers()]
    public = [h for h in headers() if h.startswith("sdk/include")]
    jobs += [(h, "c11") for h in public]
    if shutil.which("g++"):
        jobs += [(h, "c++") for h in public]
    print(f"1..{len(jobs)}")
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for n, (header, language, code, text) in enumerate(pool.map(compile_alone, jobs), 1):
            print("not ok" if code else "ok", n, "-", header, "compiles alone as", language)
            if code:
                bad += 1
                print("".join("# " + line + "\n" for line in text.splitlines()[:15]), end="")
    return 1 if bad else 0


sys.exit(main())
