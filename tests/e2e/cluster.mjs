// SPDX-License-Identifier: Apache-2.0
// Clusters of real processes on loopback, and clients who count: what the cluster tests, the demos and the failover
// benchmark share.
import { execFile } from "node:child_process";
import path from "node:path";
import { Server, build, equal, freePort, request, root, sleep, tempDir, until } from "./lib.mjs";

// The nodes of one cluster. settings: {nodes, engines, env, file, namespaces}; env: of all nodes, or a function of the
// node's number; namespaces: this process runs under demos/namespaces.sh, every node in the network namespace of its name.
export class Cluster {
  static async create(settings = {}) {
    const c = new Cluster();
    const n = settings.nodes ?? 3;
    const dir = tempDir();
    c.settings = settings;
    c.nodes = [];
    for (let i = 1; i <= n; i++) {
      const engine = settings.engines?.[(i - 1) % settings.engines.length];
      c.nodes.push(await Server.create({ name: `node${i}`, dir, engine, file: settings.file }));
    }
    if (settings.namespaces) c.nodes.forEach(moveToNamespace);
    const addresses = c.nodes.map((s) => `http://${s.host ?? "127.0.0.1"}:${s.ports.fabric}`);
    c.nodes.forEach((s, i) => {
      s.address = addresses[i];
      Object.assign(s.env, {
        RESTATE_CLUSTER_NAME: "e2e",
        RESTATE_NODE_NAME: s.name,
        RESTATE_FORCE_NODE_ID: `${i + 1}`,
        RESTATE_AUTO_PROVISION: i === 0 ? "true" : "false",
        RESTATE_ADVERTISED_ADDRESS: addresses[i],
        RESTATE_METADATA_CLIENT__ADDRESSES: JSON.stringify(addresses),
        RESTATE_DEFAULT_NUM_PARTITIONS: "6",
        RESTATE_DEFAULT_REPLICATION: "2",
        ...(typeof settings.env === "function" ? settings.env(i + 1) : settings.env),
      });
    });
    return c;
  }

  node(id) {
    return this.nodes[id - 1];
  }

  spawn(...ids) {
    for (const id of ids.length ? ids : this.nodes.map((_, i) => i + 1)) this.node(id).spawnOnly();
  }

  // Every node that runs answers health requests: it has joined.
  async ready(seconds = 30) {
    for (const s of this.nodes) if (s.alive()) await until(`${s.name} is ready`, () => ready(s), seconds);
  }

  async kill(...ids) {
    await Promise.all(ids.map((id) => this.node(id).kill()));
  }

  async stop() {
    await Promise.all(this.nodes.filter((s) => s.alive()).map((s) => s.kill("SIGTERM")));
  }
}

function moveToNamespace(s) {
  s.host = s.name;
  s.ports = { fabric: 5122, admin: 9070, ingress: 8080 };
  s.admin = `http://${s.name}:9070`;
  s.ingress = `http://${s.name}:8080`;
  s.args = ["netns", "exec", s.name, s.file, ...s.args];
  s.file = "ip";
  Object.assign(s.env, { RESTATE_BIND_IP: "0.0.0.0", RESTATE_BIND_PORT: "5122", RESTATE_ADMIN__BIND_PORT: "9070", RESTATE_INGRESS__BIND_PORT: "8080" });
}

export async function ready(s) {
  if (!s.alive()) throw Object.assign(new Error(`${s.name} ended: ${s.log.slice(-2000)}`), { final: true });
  const a = await request(`${s.admin}/health`, { timeout: 1000 }).catch(() => null);
  const i = await request(`${s.ingress}/restate/health`, { timeout: 1000 }).catch(() => null);
  return a?.status === 200 && i?.status === 200;
}

// A client that prefers one node and moves to the next when the connection fails or the node cannot serve. It
// increments counters, one idempotency key per increment, and checks that the i-th increment of a counter is answered
// with i.
export class Client {
  constructor(name, ingresses, { prefer = 0, counters = 4, timeout = 20000, pause = 0, target = "Counter", handler = "add" } = {}) {
    Object.assign(this, { name, ingresses, at: prefer, timeout, pause, target, handler });
    this.counts = new Array(counters).fill(0);
    this.worst = { ms: 0, at: 0 };
    this.acked = 0;
    this.last = Date.now();
    this.stopped = false;
    this.slow = []; // attempts that took long, for people
  }

  counter(k) {
    return `${this.name}-${k}`;
  }

  // One increment; ends when it is acknowledged, or the client is stopped.
  async increment(k) {
    const expected = this.counts[k] + 1;
    const key = `${this.name}-${k}-${expected}`;
    const begin = Date.now();
    while (!this.stopped) {
      const asked = Date.now();
      const at = this.at;
      const r = await request(`${this.ingresses[this.at]}/${this.target}/${this.counter(k)}/${this.handler}`,
        { json: 1, headers: { "idempotency-key": key }, timeout: this.timeout }).catch((e) => ({ failed: e }));
      if (Date.now() - asked > Math.min(1500, 0.9 * this.timeout))
        this.slow.push(`${this.name}: ${key} at node ${at + 1}, asked ${new Date(asked).toISOString().slice(11, 23)}, ${Date.now() - asked} ms, ${r.status ?? r.failed.message}`);
      if (r.status === 200) {
        const value = typeof r.json() === "object" ? r.json().count : r.json();
        if (value !== expected) throw new Error(`${this.counter(k)}: increment ${expected} was answered ${value}`);
        this.counts[k] = expected;
        this.acked++;
        this.last = Date.now();
        if (this.last - begin > this.worst.ms) this.worst = { ms: this.last - begin, at: begin };
        return;
      }
      if (r.status && ![429, 500, 502, 503, 504].includes(r.status)) throw new Error(`${key}: status ${r.status}: ${r.text}`);
      this.at = (this.at + 1) % this.ingresses.length;
      await sleep(10);
    }
  }

  run() {
    this.done = (async () => {
      for (let n = 0; !this.stopped; n++) {
        await this.increment(n % this.counts.length);
        if (this.pause) await sleep(this.pause);
      }
    })();
    this.done.catch((e) => (this.error ??= e));
    return this;
  }

  async stop() {
    this.stopped = true;
    await this.done;
  }

  // Acknowledged @n more than now.
  async progress(n, seconds) {
    const from = this.acked;
    await until(`${this.name} has ${n} more increments acknowledged`, () => {
      if (this.error) throw Object.assign(this.error, { final: true });
      return this.acked >= from + n;
    }, seconds);
  }
}

// Every counter stands where its client left it, asked through @ingress.
export async function checkCounters(clients, ingress) {
  for (const c of clients)
    for (let k = 0; k < c.counts.length; k++) {
      const r = await request(`${ingress}/${c.target}/${c.counter(k)}/get`, { method: "POST", timeout: 20000 });
      if (r.status !== 200) throw new Error(`${c.counter(k)}: status ${r.status}: ${r.text}`);
      // one more may have been applied whose answer the stopped client did not wait for
      if (r.json() !== c.counts[k] && r.json() !== c.counts[k] + 1)
        throw new Error(`${c.counter(k)} is ${r.json()}, the client has ${c.counts[k]} acknowledged`);
    }
}

export const ctl = path.join(build, "bin/restatectl");

// Asks whichever nodes run.
export function restatectl(cluster, ...args) {
  return new Promise((resolve) =>
    execFile(ctl, ["-s", cluster.nodes.filter((s) => s.alive()).map((s) => s.address).join(","), ...args],
      { timeout: 60000, env: { ...process.env, RESTATE_PLUGINS__DIR: cluster.node(1).env.RESTATE_PLUGINS__DIR } },
      (error, stdout, stderr) => resolve({ code: error ? (error.code ?? 1) : 0, out: stdout, text: stdout + stderr })));
}

export async function json(cluster, ...args) {
  const r = await restatectl(cluster, "--json", ...args);
  equal(r.code, 0, `restatectl ${args.join(" ")}: ${r.text}`);
  return JSON.parse(r.out);
}

export const processors = async (cluster) => (await json(cluster, "partitions", "list")).partitions;
export const count = (text, pattern) => (text.match(pattern) ?? []).length;

// Any two of the three nodes are enough, for the metadata and for every log.
export async function threeMembers(cluster, partitions = 6) {
  await until("the metadata has three members, and every log three nodes", async () => {
    const r = await restatectl(cluster, "metadata-server", "list-servers");
    const logs = await restatectl(cluster, "logs", "list");
    return count(r.out, /Member/g) === 3 && count(logs.out, /\[N1, N2, N3\]/g) === partitions;
  }, 40);
}

export { freePort, root };
