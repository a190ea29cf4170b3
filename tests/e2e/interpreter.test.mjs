// SPDX-License-Identifier: Apache-2.0
// Random programs (interpreter.mjs) while servers and the service are killed, servers are paused and partitions change their
// leaders. Every program that was begun is acknowledged with the answer of the model, counts exactly once, and nothing is
// left over: at the end the state of all objects is that of the model, and no invocation is open.
//
//   node tests/e2e/interpreter.test.mjs [--seconds 45] [--seed N] [--nodes 1|3] [--engines lmdb,rocksdb,lmdb] [--clients 6]
//                                       [--faults kill,pause,...] [--keep]
import { execFile } from "node:child_process";
import path from "node:path";
import { Cluster, ctl } from "./cluster.mjs";
import { Generator, Model, outcome } from "./interpreter.mjs";
import { Service, equal, ok, options, random, request, root, run, showLogs, sleep, test, until } from "./lib.mjs";

const seconds = Number(options.seconds ?? 45);
const seed = Number(options.seed ?? Date.now() % 1000000);
const nodes = Number(options.nodes ?? 3);
const engines = (options.engines ?? "lmdb,rocksdb,lmdb").split(",");
const nClients = Number(options.clients ?? 6);
const patience = 120; // s until a program without an answer counts as hanging
const rnd = random(seed); // of the faults; every client has its own
const pick = (n) => Math.floor(rnd() * n);
const began = Date.now();
const say = (text) => console.log(`# ${((Date.now() - began) / 1000).toFixed(1)} s: ${text}`);

// ---- clients: one program after the other, each until it is acknowledged ----

class Interpreter {
  constructor(i, ingresses) {
    Object.assign(this, { ingresses, at: i % ingresses.length, acked: 0, tried: 0, stopped: false, model: new Model() });
    this.rnd = random(seed * 1000 + i);
    this.generator = new Generator(this.rnd, `s${seed}c${i}`);
  }

  // The answer of the server to @url, asked at one node after the other until one has it.
  async ask(what, url, init, good) {
    const end = Date.now() + patience * 1000;
    for (;;) {
      this.tried++;
      const r = await request(`${this.ingresses[this.at]}/${url}`, { timeout: 10000, ...init }).catch((e) => ({ text: e.message }));
      if (good.includes(r.status)) return r;
      if (r.status && ![429, 470, 500, 502, 503, 504].includes(r.status)) throw new Error(`${what}: status ${r.status}: ${r.text}`);
      if (Date.now() > end) throw new Error(`${what}: no answer for ${patience} s; the last: ${r.status ?? "none"} ${r.text}`);
      if (r.status !== 470) this.at = (this.at + 1) % this.ingresses.length;
      await sleep(20);
    }
  }

  async one() {
    const program = this.generator.program();
    const expected = this.model.run(program);
    const target = [program.service, ...(program.key ? [program.key] : []), "run"].join("/");
    const init = { json: program, headers: { "idempotency-key": program.id } };
    const answers = [200, 418, 419, 420];
    const way = this.rnd();
    let r;
    if (way < 0.5) r = await this.ask(program.id, target, init, answers);
    else {
      const sent = await this.ask(program.id, `${target}/send`, init, [200, 202]);
      const id = sent.json().invocationId;
      if (way < 0.6) equal((await this.ask(program.id, `${target}/send`, init, [200, 202])).json().invocationId, id, `${program.id}, sent twice`);
      r = await this.ask(`${program.id} (${id})`, `restate/invocation/${id}/${way < 0.9 ? "attach" : "output"}`, {}, answers);
    }
    const got = r.status === 200 ? { value: r.json() } : { code: r.status, message: r.json().message };
    if (outcome(got) !== outcome(expected) || got.code !== expected.code)
      throw new Error(`${program.id} was answered ${JSON.stringify(got)} instead of ${JSON.stringify(expected)}: ${JSON.stringify(program)}`);
    this.acked++;
  }

  run() {
    this.done = (async () => {
      while (!this.stopped) {
        await this.one();
        await sleep(this.rnd() * 100);
      }
    })();
    this.done.catch((e) => (this.error ??= e));
    return this;
  }
}

// ---- faults ----

const faults = {
  kill: { weight: 5, make: (t) => restart(t, "SIGKILL") },
  stop: { weight: 1, make: (t) => restart(t, "SIGTERM") },
  service: {
    weight: 3,
    make: async (t) => {
      await t.service.kill();
      await sleep(pick(1000));
      await t.service.start();
    },
  },
  pause: {
    weight: 3,
    make: async (t) => {
      const s = t.cluster.node(1 + pick(nodes));
      const ms = 200 + pick(3000);
      say(`pause ${s.name} for ${ms} ms`);
      s.child.kill("SIGSTOP");
      await sleep(ms);
      s.child.kill("SIGCONT");
    },
  },
  leader: {
    weight: nodes > 1 ? 5 : 0,
    make: async (t) => {
      const ids = Array.from({ length: 6 }, (_, i) => i).filter(() => pick(2)).join(",") || "0";
      const node = `N${1 + pick(nodes)}`;
      const addresses = t.cluster.nodes.map((s) => s.address).join(",");
      const run = (...args) => new Promise((resolve) => execFile(ctl, ["--address", addresses, "--yes", "partitions", "leadership", ...args], { timeout: 20000 },
        (e, stdout, stderr) => resolve(e ? stderr : ""))); // may fail: a node may not be back yet
      const failed = (await run("pin", ids, "--node", node)) || (await run("unpin", ids));
      say(`partitions ${ids} to ${node}${failed ? `: ${failed.trim()}` : ""}`);
    },
  },
};

async function restart(t, signal) {
  const s = t.cluster.node(1 + pick(nodes));
  const down = pick(2000);
  say(`${signal} ${s.name}, away for ${down} ms`);
  const ended = await s.kill(signal);
  if (ended.code !== null && (signal === "SIGKILL" || ended.code !== 0)) throw new Error(`${s.name} ended with ${JSON.stringify(ended)}: ${s.log.slice(-3000)}`);
  await sleep(down);
  s.spawnOnly();
}

function chooseFault() {
  const only = options.faults?.split(",");
  const kinds = Object.entries(faults).filter(([name]) => !only || only.includes(name));
  let at = pick(kinds.reduce((n, [, f]) => n + f.weight, 0));
  return kinds.find(([, f]) => (at -= f.weight) < 0)?.[0];
}

const counts = {};
test(`programs for ${seconds} s with faults: every one is answered as the model says`, async (t) => {
  const ingresses = t.cluster.nodes.map((s) => s.ingress);
  t.clients = Array.from({ length: nClients }, (_, i) => new Interpreter(i, ingresses).run());
  const check = () => {
    const bad = t.clients.find((c) => c.error);
    if (bad) throw Object.assign(bad.error, { final: true });
  };
  const acked = () => t.clients.reduce((n, c) => n + c.acked, 0);
  const end = Date.now() + seconds * 1000;
  let told = Date.now();
  while (Date.now() < end) {
    await sleep(500 + pick(3000));
    check();
    const kind = chooseFault();
    if (kind) {
      counts[kind] = (counts[kind] ?? 0) + 1;
      await faults[kind].make(t);
    }
    for (const s of t.cluster.nodes) if (!s.alive()) throw new Error(`${s.name} ended by itself: ${s.log.slice(-3000)}`);
    if (Date.now() - told > 30000) {
      told = Date.now();
      say(`${acked()} programs acknowledged`);
    }
  }
  for (const c of t.clients) c.stopped = true;
  await Promise.all(t.clients.map((c) => c.done)); // each has a deadline of its own
  const models = t.clients.map((c) => c.model);
  say(`${acked()} programs of ${models.reduce((n, m) => n + m.frames, 0)} invocations, ${t.clients.reduce((n, c) => n + c.tried, 0)} requests; faults: ${JSON.stringify(counts)}`);
  if (acked() < seconds) throw new Error("less than one program a second");
}, seconds + patience + 60);

const sql = async (s, query) => ok(await request(`${s.admin}/query`, { json: { query }, headers: { accept: "application/json" }, timeout: 20000 })).json().rows;

test("no invocation is left over", async (t) => {
  await t.cluster.ready();
  let left = [];
  try {
    await until("all invocations have completed", async () => {
      left = await sql(t.cluster.node(1), "select id, target, status, retry_count, last_failure from sys_invocation where status <> 'completed' limit 20");
      return left.length === 0;
    }, 90);
  } catch (e) {
    throw new Error(`${e.message}: ${left.map((r) => JSON.stringify(r)).join("\n")}`);
  }
}, 150);

test("the state of every object is that of the model", async (t) => {
  const model = new Model();
  for (const c of t.clients) model.merge(c.model);
  const deviations = [];
  const objects = [...model.objects].sort();
  for (let i = 0; i < objects.length; i += 50)
    await Promise.all(objects.slice(i, i + 50).map(async ([object, values], k) => {
      const s = t.cluster.node(1 + ((i + k) % nodes));
      const state = await until(object, async () => ok(await s.call(`${object}/state`, undefined, { timeout: 20000 })).json());
      const a = JSON.stringify(state);
      const e = JSON.stringify({ values, more: [] });
      if (a !== e) deviations.push(`${object}: ${a} instead of ${e}`);
    }));
  const additions = objects.reduce((n, [, values]) => n + values.reduce((m, s) => m + s.count, 0), 0);
  say(`${objects.length} objects, ${additions} additions, ${deviations.length} deviations`);
  if (deviations.length) throw new Error(deviations.slice(0, 20).join("\n"));
}, 300);

await run({
  before: async () => {
    console.log(`# seed ${seed}, ${nodes} nodes, engines ${engines}`);
    const cluster = await Cluster.create({
      nodes,
      engines,
      env: (id) => ({
        RESTATE_DEFAULT_RETRY_POLICY__INITIAL_INTERVAL: "20ms",
        RESTATE_DEFAULT_RETRY_POLICY__MAX_INTERVAL: "500ms",
        RESTATE_DEFAULT_RETRY_POLICY__MAX_ATTEMPTS: "unlimited",
        RESTATE_WORKER__INVOKER__INACTIVITY_TIMEOUT: ["1s", "0s", "100ms"][id - 1], // on node 2 every await suspends
        ...(nodes === 1 ? { RESTATE_DEFAULT_REPLICATION: "1" } : {}),
      }),
    });
    const service = await Service.create({
      INGRESSES: JSON.stringify(cluster.nodes.map((s) => s.ingress)),
      ADMINS: JSON.stringify(cluster.nodes.map((s) => s.admin)),
    }, path.join(root, "tests/e2e/interpreter_services.mjs"));
    cluster.spawn();
    await Promise.all([cluster.ready(), service.start()]);
    ok(await cluster.node(1).register(service.uri), 201);
    for (const s of cluster.nodes) await until(`${s.name} knows the services`, async () => (await s.call("Layer0/first/state")).status === 200);
    return { cluster, service };
  },
  after: async (t, bad) => {
    if (bad) {
      console.log(`# again with: node tests/e2e/interpreter.test.mjs --seconds ${seconds} --seed ${seed} --nodes ${nodes}`);
      showLogs(...t.cluster.nodes, t.service);
    }
    await t.cluster.stop();
  },
});
