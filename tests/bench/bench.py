#!/usr/bin/env python3
"""Side-by-side benchmark: this server and the official one, in turn, same machine, same service, same load.

    tests/bench/bench.py [--seconds S] [--engine rocksdb|lmdb|both] [--no-official] [--json FILE]

The service is bench-endpoint (C), the load generator is wrk. Prints throughput, p50/p99, server CPU per 1000 calls, resident memory, disk,
start time, and the ratios. Absolute figures depend on the machine; the ratios of one run are what counts. The official server is installed
from npm into build/npm; it is a rival here, never a dependency."""
import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD_DIR", os.path.join(ROOT, "build"))
TICK = os.sysconf("SC_CLK_TCK")

LOADS = [  # name, path, keys, body
    ("echo", "/Echo/echo", 1, '"hello"'),
    ("counter", "/Counter/k%d/add", 1000, "1"),
    ("ten steps", "/Steps/ten", 1, "1"),
    ("hot key", "/Counter/hot/add", 1, "1"),
    ("sends", "/Echo/echo/send", 1, '"hello"'),
]


def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def http(method, url, body=None, timeout=10):
    req = urllib.request.Request(url, data=body, method=method, headers={"content-type": "application/json"})
    with urllib.request.urlopen(req, timeout=timeout) as r:
        return r.read()


class Server:
    def __init__(self, name, argv, env, directory):
        self.name, self.argv, self.extra, self.dir = name, argv, env, directory
        self.fabric, self.admin, self.ingress = free_ports(3)
        self.proc = None

    def start(self):
        env = dict(os.environ, RESTATE_NODE_NAME="bench", RESTATE_CLUSTER_NAME="bench", RESTATE_BASE_DIR=self.dir,
                   RESTATE_BIND_IP="127.0.0.1", RESTATE_BIND_PORT=str(self.fabric), RESTATE_ADMIN__BIND_PORT=str(self.admin),
                   RESTATE_INGRESS__BIND_PORT=str(self.ingress), RESTATE_LISTEN_MODE="tcp", RESTATE_DISABLE_TELEMETRY="true",
                   RESTATE_LOG_FILTER="error", RESTATE_ADVERTISED_ADDRESS="http://127.0.0.1:%d" % self.fabric, **self.extra)
        self.log = open(os.path.join(self.dir, "server.log"), "ab")
        self.begun = time.monotonic()
        self.proc = subprocess.Popen(self.argv, env=env, stdout=self.log, stderr=self.log, cwd=self.dir)

    def wait_ready(self, url, method="GET", body=None, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.proc.poll() is not None:
                raise SystemExit("%s exited with %s, see %s" % (self.name, self.proc.returncode, self.log.name))
            try:
                http(method, url, body, timeout=5)
                return time.monotonic() - self.begun
            except OSError:
                time.sleep(0.005)
        raise SystemExit("%s is not ready after %d s" % (self.name, seconds))

    def cpu(self):
        total = 0
        with open("/proc/%d/stat" % self.proc.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
        return total / TICK

    def rss_mib(self):
        with open("/proc/%d/status" % self.proc.pid) as f:
            for line in f:
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) / 1024
        return 0

    def stop(self, kill=False):
        if kill:
            self.proc.kill()
        else:
            self.proc.terminate()
        try:
            self.proc.wait(30)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.log.close()



def allocated_mib(path):
    return sum(os.lstat(os.path.join(d, f)).st_blocks * 512 for d, _, files in os.walk(path) for f in files) / (1 << 20)


def wrk(server, path, keys, body, connections, seconds):
    before = server.cpu()
    out = subprocess.run(["wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "--latency", "--timeout", "30s", "-s",
                          os.path.join(ROOT, "tests", "bench", "post.lua"), "http://127.0.0.1:%d" % server.ingress, "--", path, str(keys), body],
                         capture_output=True, text=True, check=False)
    used = server.cpu() - before
    for line in out.stdout.splitlines():
        if line.startswith("RESULT"):
            n, us, p50, p99, errors = (float(x) for x in line.split()[1:])
            return {"calls_per_s": n / (us / 1e6), "p50_ms": p50, "p99_ms": p99, "errors": errors,
                    "cpu_s_per_1000": used / n * 1000 if n else float("nan")}
    raise SystemExit("wrk failed: " + out.stdout + out.stderr)


def measure(name, argv, env, endpoint_port, args):
    directory = tempfile.mkdtemp(prefix="restate-bench-")
    server = Server(name, argv, env, directory)
    result = {"name": name, "loads": {}}
    try:
        server.start()
        server.wait_ready("http://127.0.0.1:%d/health" % server.admin)
        until = time.monotonic() + 60
        while True:
            try:
                http("POST", "http://127.0.0.1:%d/deployments" % server.admin, json.dumps({"uri": "http://127.0.0.1:%d/" % endpoint_port}).encode())
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        server.wait_ready("http://127.0.0.1:%d/Counter/first/add" % server.ingress, "POST", b"1")
        server.stop()
        server.start()  # the directory is warm now: from exec to the first answered call
        result["start_s"] = server.wait_ready("http://127.0.0.1:%d/Counter/first/add" % server.ingress, "POST", b"1")
        time.sleep(3)
        result["idle_mib"] = server.rss_mib()
        wrk(server, "/Counter/k%d/add", 1000, "1", 16, 2)  # warm-up
        for load, path, keys, body in LOADS:
            if args.only and load not in args.only:
                continue
            for connections in args.connections:
                r = wrk(server, path, keys, body, connections, args.seconds)
                result["loads"]["%s c=%d" % (load, connections)] = r
                print("  %-10s %-16s %9.0f calls/s  p50 %7.2f ms  p99 %7.2f ms  cpu %7.4f s/1000  errors %d" %
                      (name, "%s c=%d" % (load, connections), r["calls_per_s"], r["p50_ms"], r["p99_ms"], r["cpu_s_per_1000"], r["errors"]), flush=True)
        result["loaded_mib"] = server.rss_mib()
        result["disk_mib"] = allocated_mib(directory)
        server.stop()
    finally:
        if server.proc and server.proc.poll() is None:
            server.stop(kill=True)
        shutil.rmtree(directory, ignore_errors=True)
    print("  %-10s start %.3f s  idle %.1f MiB  after load %.1f MiB  disk %.1f MiB" %
          (name, result["start_s"], result["idle_mib"], result["loaded_mib"], result["disk_mib"]), flush=True)
    return result


def official_binary():
    prefix = os.path.join(BUILD, "npm")
    path = os.path.join(prefix, "node_modules", ".bin", "restate-server")
    if not os.path.exists(path):
        os.makedirs(prefix, exist_ok=True)
        subprocess.run(["npm", "install", "--no-save", "--prefix", prefix, "@restatedev/restate-server"], check=True, stdout=subprocess.DEVNULL)
    for d, _, files in os.walk(os.path.join(prefix, "node_modules", "@restatedev")):
        if "restate-server" in files and "bin" in d and os.path.getsize(os.path.join(d, "restate-server")) > 1 << 20:
            return os.path.join(d, "restate-server")
    return path


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--seconds", type=int, default=8)
    ap.add_argument("--engine", default="both", choices=["rocksdb", "lmdb", "both"])
    ap.add_argument("--no-official", action="store_true")
    ap.add_argument("--connections", type=lambda s: [int(x) for x in s.split(",")], default=[1, 16, 64])
    ap.add_argument("--only", type=lambda s: s.split(","), default=None, help="loads, by name")
    ap.add_argument("--json")
    args = ap.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")

    port, = free_ports(1)
    endpoint = subprocess.Popen([os.path.join(BUILD, "tests", "bench", "bench-endpoint"), str(port)])
    results = []
    try:
        engines = ["rocksdb", "lmdb"] if args.engine == "both" else [args.engine]
        for e in engines:
            results.append(measure(e, [os.path.join(BUILD, "bin", "restate-server"), "--no-logo"], {"RESTATE_STORAGE__PLUGIN": e}, port, args))
        if not args.no_official:
            results.append(measure("official", [official_binary(), "--no-logo"], {}, port, args))
    finally:
        endpoint.terminate()
        endpoint.wait()
    if not args.no_official:
        print_ratios(results)
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"commit": subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
                       "results": results}, f, indent=1)


def print_ratios(results):
    rival = results[-1]
    for r in results[:-1]:
        print("\n%s against the official server (same run):" % r["name"])
        for load, x in r["loads"].items():
            y = rival["loads"][load]
            print("  %-16s throughput x%.1f   p99 %.2f of it   CPU per call 1/%.1f" %
                  (load, x["calls_per_s"] / y["calls_per_s"], x["p99_ms"] / y["p99_ms"], y["cpu_s_per_1000"] / x["cpu_s_per_1000"]))
        print("  idle memory 1/%.1f   start 1/%.1f   disk %.2f of it" %
              (rival["idle_mib"] / r["idle_mib"], rival["start_s"] / r["start_s"], r["disk_mib"] / max(rival["disk_mib"], 0.1)))


if __name__ == "__main__":
    sys.exit(main())
