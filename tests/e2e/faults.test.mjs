// SPDX-License-Identifier: Apache-2.0
// Three nodes in network namespaces, counters and registers under load, and faults at random: kill -9, pauses, networks cut
// in both directions or in one, two nodes at once. Every acknowledged increment counts once, every register is
// linearizable, and when the faults end, all partitions have leaders again within 10 s.
//
//   node tests/e2e/faults.test.mjs [--faults 20] [--seed N] [--engines lmdb,rocksdb,lmdb] [--keep] [--logs DIR --over 3000]     as root
//
// --logs: what the nodes said around a fault that kept a client waiting for longer than --over milliseconds
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { Client, Cluster, checkCounters } from "./cluster.mjs";
import { Service, equal, ok, options, random, request, root, run, showLogs, sleep, test, until } from "./lib.mjs";
import { violation } from "./linearizable.mjs";

if (!options.inside) { // once more, in a network of its own
  const again = [path.join(root, "demos/namespaces.sh"), "3", process.execPath, ...process.argv.slice(1), "--inside"];
  const child = spawn(again[0], again.slice(1), { stdio: "inherit" });
  process.exit(await new Promise((resolve) => child.once("close", (code) => resolve(code ?? 1))));
}

const faults = Number(options.faults ?? 20);
const seed = Number(options.seed ?? Date.now() % 1000000);
const engines = (options.engines ?? "lmdb,rocksdb,lmdb").split(",");
const rnd = random(seed);
const pick = (n) => Math.floor(rnd() * n);
const began = Date.now();
const now = () => performance.now();

test("the checker of registers finds what is not linearizable", async () => {
  const w = (write, start, end) => ({ write, start, end });
  const r = (read, start, end) => ({ read, start, end });
  equal(violation([w(1, 0, 1), r(1, 2, 3), w(2, 2, 5), r(2, 4, 6)]), null, "a good history");
  equal(violation([w(1, 0, 10), r(0, 1, 2), r(1, 3, 4)]), null, "a write takes effect in between");
  for (const bad of [
    [w(1, 0, 1), r(0, 2, 3)], // stale
    [w(1, 0, 1), w(2, 2, 3), r(1, 4, 5)], // overwritten, and back
    [w(1, 0, 1), r(1, 2, 9), r(2, 3, 4), w(2, 2, 5), r(1, 6, 7)], // back and forth
    [w(1, 0, 1), r(7, 2, 3)], // from nowhere
    [r(1, 0, 1), w(1, 2, 3)], // from the future
  ]) if (!violation(bad)) throw new Error(`not found: ${JSON.stringify(bad)}`);
});

// ---- faults ----

const ip = (...args) => execFileSync("ip", args, { stdio: "pipe" });
const others = (id) => [1, 2, 3].filter((x) => x !== id);
const kinds = {
  kill: { weight: 5, begin: (t, id) => t.cluster.kill(id), end: (t, id) => t.cluster.spawn(id) },
  pause: { weight: 3, begin: (t, id) => t.cluster.node(id).child.kill("SIGSTOP"), end: (t, id) => t.cluster.node(id).child.kill("SIGCONT") },
  cut: { weight: 3, begin: (t, id) => ip("link", "set", `v${id}`, "down"), end: (t, id) => ip("link", "set", `v${id}`, "up") },
  // what @id sends to one of the others is lost; what it hears is not
  deaf: { weight: 2, begin: (t, id) => blackhole("add", id, others(id)[0]), end: (t, id) => blackhole("del", id, others(id)[0]) },
  mute: { weight: 2, begin: (t, id) => others(id).forEach((x) => blackhole("add", id, x)), end: (t, id) => others(id).forEach((x) => blackhole("del", id, x)) },
  "kill two": {
    weight: 1,
    begin: (t, id) => t.cluster.kill(...others(id)),
    end: (t, id) => t.cluster.spawn(...others(id)),
  },
};
const blackhole = (what, from, to) => ip("-n", `node${from}`, "route", what, "blackhole", `10.77.0.${to}/32`);

function writeLogs(t, name, { name: who, worst, slow }) {
  const lines = [`${who} waited ${worst.ms} ms from ${new Date(worst.at).toISOString().slice(11, 23)}`, ...slow];
  for (const s of t.cluster.nodes) lines.push(`---- ${s.name}`, s.before + s.log);
  fs.mkdirSync(options.logs, { recursive: true });
  fs.writeFileSync(path.join(options.logs, `${name.replaceAll(" ", "_")}.log`), lines.join("\n"));
}

function chooseFault() {
  let at = pick(Object.values(kinds).reduce((sum, k) => sum + k.weight, 0));
  for (const [name, k] of Object.entries(kinds)) if ((at -= k.weight) < 0) return name;
}

// ---- registers ----

let unique = 0;
class Registers {
  constructor(name, ingresses, prefer) {
    Object.assign(this, { name, ingresses, at: prefer, stopped: false, histories: new Map(), n: 0 });
  }

  async one(key) {
    const write = rnd() < 0.4;
    const value = write ? ++unique : undefined;
    const [handler, json] = write ? ["write", value] : [rnd() < 0.5 ? "read" : "peek", undefined];
    const headers = handler === "peek" ? {} : { "idempotency-key": `${this.name}-${seed}-${++this.n}` };
    let start = now();
    while (!this.stopped) {
      if (handler === "peek") start = now(); // every attempt is a read of its own
      const r = await request(`${this.ingresses[this.at]}/Register/${key}/${handler}`, { method: "POST", json, headers, timeout: 1000 }).catch(() => null);
      if (r?.status === 200) {
        if (!this.histories.has(key)) this.histories.set(key, []);
        this.histories.get(key).push(write ? { write: value, start, end: now() } : { read: r.json(), start, end: now() });
        return;
      }
      if (r && ![429, 500, 502, 503, 504].includes(r.status)) throw new Error(`${handler}: status ${r.status}: ${r.text}`);
      this.at = (this.at + 1) % this.ingresses.length;
      await sleep(10);
    }
    // it may still happen: from its start until for ever
    if (write) (this.histories.get(key) ?? this.histories.set(key, []).get(key)).push({ write: value, start, end: Infinity });
  }

  run() {
    this.done = (async () => {
      while (!this.stopped) {
        await this.one(`r${pick(3)}`);
        await sleep(5);
      }
    })();
    this.done.catch((e) => (this.error ??= e));
    return this;
  }
}

test(`${faults} faults lose nothing, double nothing, and every register stays linearizable`, async (t) => {
  const ingresses = t.cluster.nodes.map((s) => s.ingress);
  t.clients = Array.from({ length: 6 }, (_, i) => new Client(`c${i}`, ingresses, { prefer: i % 3, counters: 3, timeout: 1000, pause: 2 }).run());
  t.registers = Array.from({ length: 5 }, (_, i) => new Registers(`g${i}`, ingresses, i % 3).run());
  const all = [...t.clients, ...t.registers];
  const fail = () => {
    const bad = all.find((c) => c.error);
    if (bad) throw Object.assign(bad.error, { final: true });
  };
  const counts = {};
  const longest = {}; // wait of a client for one increment, ms, by what went wrong
  for (let i = 1; i <= faults; i++) {
    const kind = chooseFault();
    const id = 1 + pick(3);
    const ms = kind === "kill" || kind === "kill two" ? 200 + pick(2500) : 500 + pick(5500);
    console.log(`# ${((Date.now() - began) / 1000).toFixed(1)} s: ${kind} ${id} for ${ms} ms`);
    counts[kind] = (counts[kind] ?? 0) + 1;
    for (const c of t.clients) Object.assign(c, { worst: { ms: 0, at: 0 }, slow: [] });
    for (const s of t.cluster.nodes) [s.before, s.log] = [s.log, ""]; // of this fault and the one before
    await kinds[kind].begin(t, id);
    await sleep(ms);
    await kinds[kind].end(t, id);
    for (const s of t.cluster.nodes) if (!s.alive()) throw new Error(`${s.name} ended by itself: ${s.log.slice(-3000)}`);
    const before = all.map((c) => c.acked ?? c.n);
    await until(`everybody goes on after fault ${i}`, () => {
      fail();
      return all.every((c, k) => (c.acked ?? c.n) > before[k] + 1);
    }, 30);
    await sleep(pick(1500)); // now and then the next one comes before all is well again
    const slowest = t.clients.reduce((a, b) => (b.worst.ms > a.worst.ms ? b : a));
    longest[kind] = Math.max(longest[kind] ?? 0, slowest.worst.ms);
    if (options.logs && slowest.worst.ms > Number(options.over ?? 3000)) writeLogs(t, `${i}-${kind}`, slowest);
  }
  const healed = Date.now();
  await until("all partitions have leaders", async () => {
    fail();
    const before = t.clients.map((c) => c.acked);
    await sleep(100);
    return t.clients.every((c, k) => c.acked > before[k]);
  }, 10);
  console.log(`# all clients go on ${Date.now() - healed} ms after the last fault; ${JSON.stringify(counts)}`);
  console.log(`# longest wait for an increment, ms; an attempt is given up after 1000: ${JSON.stringify(longest)}`);
  t.registers.forEach((r) => (r.stopped = true));
  for (const c of t.clients) await c.stop();
  await Promise.all(t.registers.map((r) => r.done));
}, faults * 40 + 60);

test("every counter is right, asked through every node", async (t) => {
  for (const c of t.clients) await c.stop(); // the test before may have ended early
  for (const s of t.cluster.nodes) {
    await until(`${s.name} is ready`, async () => (await request(`${s.ingress}/restate/health`, { timeout: 1000 })).status === 200);
    await checkCounters(t.clients, s.ingress);
  }
  console.log(`# ${t.clients.reduce((sum, c) => sum + c.acked, 0)} increments`);
});

test("every register's history is linearizable", async (t) => {
  let n = 0;
  for (const key of ["r0", "r1", "r2"]) {
    const history = t.registers.flatMap((r) => r.histories.get(key) ?? []);
    n += history.length;
    const bad = violation(history);
    if (bad) throw new Error(`${key}: ${bad}`);
  }
  if (n < 100) throw new Error(`only ${n} operations`);
  console.log(`# ${n} operations`);
});

await run({
  before: async () => {
    console.log(`# seed ${seed}, engines ${engines}`);
    const cluster = await Cluster.create({ engines, namespaces: true });
    const service = await Service.create({ BIND: "0.0.0.0" });
    service.uri = `http://10.77.0.254:${service.port}/`;
    cluster.spawn();
    await Promise.all([cluster.ready(), service.start()]);
    ok(await cluster.node(1).register(service.uri), 201);
    return { cluster, service };
  },
  after: async (t, bad) => {
    if (bad) {
      console.log(`# again with: node tests/e2e/faults.test.mjs --faults ${faults} --seed ${seed}`);
      showLogs(...t.cluster.nodes, t.service);
    }
  },
});
