// SPDX-License-Identifier: Apache-2.0
// What a cluster of three costs and how fast it heals, this server and the official one in turn, with the same clients.
//
//   ./dev bench cluster [--kills 20] [--faults 3] [--seconds 10] [--engine lmdb] [--only start,failover,stall,steady]
//   OFFICIAL_SERVER=path of the official server; without it only this server is measured
//
// start     three empty nodes to the first answered call
// failover  SIGKILL of one node to the first acknowledged write of the slowest of 12 clients, each with a counter of
//           its own, who move to the next node when a connection fails; the node comes back and has 2 s before the next
// pause     the same with SIGSTOP for 6 s: longest wait of a client
// stall     two nodes are killed and started again: from the restart to the first write of the slowest client
// steady    CPU of all nodes per 1000 calls of the counter, 64 connections over all three nodes
import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { Client, Cluster } from "../e2e/cluster.mjs";
import { build, end, freePort, options, root, sleep, until } from "../e2e/lib.mjs";

const kills = Number(options.kills ?? 20);
const faults = Number(options.faults ?? 3);
const seconds = Number(options.seconds ?? 10);
const only = options.only?.split(",");
const wanted = (part) => !only || only.includes(part);
const median = (a) => a.slice().sort((x, y) => x - y)[Math.floor((a.length - 1) / 2)];
const max = (a) => Math.max(...a);

async function endpoint() {
  const port = await freePort();
  const child = spawn(path.join(build, "tests/bench/bench-endpoint"), [`${port}`], { stdio: "ignore" });
  process.once("exit", () => child.kill("SIGKILL"));
  return { uri: `http://127.0.0.1:${port}/`, child };
}

const firstAnswer = (cluster, seconds_) => Promise.any(cluster.nodes.map((s) => until(`${s.name} answers`, async () =>
  (await s.call("Counter/first/add", 1, { timeout: 2000 })).status === 200, seconds_)));

async function register(cluster, uri, seconds_ = 60) {
  await Promise.any(cluster.nodes.map((s) => until(`${s.name} takes the deployment`, async () => {
    const r = await s.register(uri);
    return r.status === 201 || r.status === 200;
  }, seconds_)));
}

function clientsOf(cluster) {
  const ingresses = cluster.nodes.map((s) => s.ingress);
  return Array.from({ length: 12 }, (_, i) => new Client(`b${i}`, ingresses, { prefer: i % 3, counters: 1, timeout: 30000 }).run());
}

// From @from to the first write of every client that was acknowledged after it; the slowest.
async function slowest(clients, from, limit = 60) {
  await until("every client goes on", () => {
    const bad = clients.find((c) => c.error);
    if (bad) throw Object.assign(bad.error, { final: true });
    return clients.every((c) => c.firstAfter(from));
  }, limit);
  return max(clients.map((c) => c.firstAfter(from) - from));
}

function note(clients) {
  for (const c of clients) {
    c.acks = [];
    const inner = c.increment.bind(c);
    c.increment = async (k) => {
      await inner(k);
      c.acks.push(c.last);
      if (c.acks.length > 100000) c.acks.splice(0, 50000);
    };
    c.firstAfter = (t) => c.acks.find((a) => a > t);
  }
}

async function failover(cluster, clients) {
  const times = [];
  for (let i = 0; i < kills; i++) {
    const id = 1 + (i % 3);
    const at = Date.now();
    await cluster.kill(id);
    times.push(await slowest(clients, at));
    cluster.spawn(id);
    await cluster.ready(60);
    await sleep(2000);
  }
  return times;
}

async function pauses(cluster, clients) {
  const times = [];
  for (let i = 0; i < faults; i++) {
    const s = cluster.node(1 + (i % 3));
    clients.forEach((c, k) => (c.at = k % 3));
    await sleep(500);
    for (const c of clients) c.acks = [];
    const others = clients.filter((c) => c.ingresses[c.at] !== s.ingress); // those it holds wait for their own timeout
    const at = Date.now();
    s.child.kill("SIGSTOP");
    await sleep(6000);
    s.child.kill("SIGCONT");
    await slowest(clients, Date.now(), 60);
    times.push(max(others.map((c) => longestGap(c, at, at + 6000))));
    await sleep(3000);
  }
  return times;
}

function longestGap(c, from, to) {
  const acks = [from, ...c.acks.filter((a) => a > from && a < to + 10000)];
  let gap = acks.length === 1 ? to - from : 0;
  for (let i = 1; i < acks.length; i++) gap = Math.max(gap, acks[i] - acks[i - 1]);
  return gap;
}

async function stall(cluster, clients) {
  await cluster.kill(2, 3);
  await sleep(3000);
  const at = Date.now();
  cluster.spawn(2, 3);
  const ms = await slowest(clients, at, 90);
  await cluster.ready(60);
  return ms;
}

const tick = 100; // of /proc/PID/stat, per second
const cpu = (cluster) => cluster.nodes.reduce((sum, s) => {
  const f = fs.readFileSync(`/proc/${s.child.pid}/stat`, "utf8").split(") ")[1].split(" ");
  return sum + (Number(f[11]) + Number(f[12])) / tick;
}, 0);
const rss = (cluster) => cluster.nodes.map((s) => Math.round(Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${s.child.pid}/status`, "utf8"))[1]) / 1024));

const wrk = (s, connections) => new Promise((resolve, reject) => execFile("wrk", ["-t1", `-c${connections}`, `-d${seconds}s`, "--latency", "--timeout", "30s",
  "-s", path.join(root, "tests/bench/post.lua"), s.ingress, "--", "/Counter/k%d/add", "1000", "1"], (e, out) => {
  const m = /RESULT (\S+) (\S+) (\S+) (\S+) (\S+)/.exec(out);
  if (m) resolve({ calls: Number(m[1]), seconds: Number(m[2]) / 1e6, p50: Number(m[3]), p99: Number(m[4]), errors: Number(m[5]) });
  else reject(e ?? new Error(out));
}));

async function steady(cluster) {
  const load = () => Promise.all(cluster.nodes.map((s, i) => wrk(s, [22, 21, 21][i])));
  await load(); // warm
  const before = cpu(cluster);
  const r = await load();
  const used = cpu(cluster) - before;
  const calls = r.reduce((sum, x) => sum + x.calls, 0);
  return { per_s: Math.round(calls / r[0].seconds), cpu_per_1000: used / calls * 1000, p50: median(r.map((x) => x.p50)), p99: max(r.map((x) => x.p99)), errors: r.reduce((sum, x) => sum + x.errors, 0) };
}

async function measure(name, file, engine) {
  const ret = { name };
  const service = await endpoint();
  const env = { RESTATE_LOG_FILTER: "error", RESTATE_DISABLE_TELEMETRY: "true" };
  const cluster = await Cluster.create({ file, engines: engine ? [engine] : undefined, env });
  const begin = Date.now();
  cluster.spawn();
  await register(cluster, service.uri);
  await firstAnswer(cluster, 60);
  ret.start = Date.now() - begin;
  await cluster.ready(60);
  await sleep(4000);
  ret.idle = rss(cluster);
  if (wanted("steady")) ret.steady = await steady(cluster);
  const clients = clientsOf(cluster);
  note(clients);
  await sleep(2000);
  if (wanted("failover")) ret.failover = await failover(cluster, clients);
  if (wanted("pause")) ret.pause = await pauses(cluster, clients);
  if (wanted("stall")) ret.stall = await stall(cluster, clients);
  for (const c of clients) c.stopped = true;
  await cluster.kill(1, 2, 3);
  service.child.kill("SIGKILL");
  return ret;
}

function print(all) {
  const row = (what, f) => console.log(`${what.padEnd(44)}${all.map((r) => `${f(r) ?? "-"}`.padStart(28)).join("")}`);
  row("", (r) => r.name);
  row("three empty nodes to the first answer, ms", (r) => r.start);
  row("resident memory of the idle nodes, MiB", (r) => r.idle.join(" "));
  row("SIGKILL to the slowest client's write, ms", (r) => r.failover && `median ${median(r.failover)}, worst ${max(r.failover)}`);
  row("SIGSTOP for 6 s: longest wait elsewhere, ms", (r) => r.pause && `median ${median(r.pause)}, worst ${max(r.pause)}`);
  row("two of three restarted, ms", (r) => r.stall);
  row("counter, 64 connections: calls/s", (r) => r.steady?.per_s);
  row("    p50 / p99, ms", (r) => r.steady && `${r.steady.p50.toFixed(1)} / ${r.steady.p99.toFixed(1)}`);
  row("    CPU of all nodes per 1000 calls, s", (r) => r.steady?.cpu_per_1000.toFixed(3));
  row("    errors", (r) => r.steady?.errors);
}

const all = [];
try {
  all.push(await measure(`this server, ${options.engine ?? "lmdb"}`, undefined, options.engine ?? "lmdb"));
  if (process.env.OFFICIAL_SERVER) all.push(await measure("official", process.env.OFFICIAL_SERVER));
  print(all);
} catch (e) {
  console.log(e.stack);
  await end(1);
}
await end(0);
