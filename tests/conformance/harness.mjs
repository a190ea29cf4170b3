// SPDX-License-Identifier: Apache-2.0
// What the conformance tests run on: the suites, a cluster of one or three nodes with its services, a client of them.
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Server, Service, build, freePort, ok, options, request, sleep, until } from "../e2e/lib.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const suspending = { RESTATE_WORKER__INVOKER__INACTIVITY_TIMEOUT: "0s" };
const lazy = { RESTATE_WORKER__INVOKER__DISABLE_EAGER_STATE: "true" };
const three = { RESTATE_DEFAULT_NUM_PARTITIONS: "4" };

// The letters are those that a test names its suites with.
const protocol7 = { RESTATE_EXPERIMENTAL_ENABLE_PROTOCOL_V7: "true" };

export const suites = {
  default: { letter: "D", nodes: 1, env: {} },
  threeNodes: { letter: "3", nodes: 3, env: three },
  alwaysSuspending: { letter: "A", nodes: 1, env: suspending },
  threeNodesAlwaysSuspending: { letter: "3A", nodes: 3, env: { ...three, ...suspending } },
  singleThreadSinglePartition: {
    letter: "S", nodes: 1, env: { RESTATE_DEFAULT_NUM_PARTITIONS: "1", RESTATE_DEFAULT_THREAD_POOL_SIZE: "1" },
  },
  lazyState: { letter: "L", nodes: 1, env: lazy },
  lazyStateAlwaysSuspending: { letter: "LA", nodes: 1, env: { ...lazy, ...suspending } },
  persistedTimers: { letter: "T", nodes: 1, env: { RESTATE_WORKER__NUM_TIMERS_IN_MEMORY_LIMIT: "1" } },
  protocol7: { letter: "D", nodes: 1, env: protocol7 },
  protocol7AlwaysSuspending: { letter: "A", nodes: 1, env: { ...protocol7, ...suspending } },
};

// Ours from the build; the official one from OFFICIAL_SERVER, a path that `./dev conformance` sets.
export const official = options.server === "official";
function serverFile() {
  if (!official) return path.join(build, "bin/restate-server");
  if (!process.env.OFFICIAL_SERVER) throw new Error("OFFICIAL_SERVER is not set: the path of the official restate-server");
  return process.env.OFFICIAL_SERVER;
}

// ---- tests ----

export const tests = [];

// test(name, suites, body, {own, seconds}): name is `Class.test` with an optional ` variant`; suites are letters. A test
// with `own` gets a cluster and services of its own: {env, serviceEnv, before(env)}; the others share those of the suite.
export function test(name, letters, body, { own = null, seconds = 60 } = {}) {
  tests.push({ name, letters: letters.split(" "), body, own, seconds });
}

// ---- clusters ----

export const randomKey = () => crypto.randomUUID();

export class Cluster {
  static async start(suite, own) {
    const c = new Cluster();
    c.suite = suite;
    c.env = { ...suites[suite].env, ...(own?.env ?? {}) };
    c.nodes = [];
    c.services = [];
    c.turn = 0;
    for (let i = 1; i <= suites[suite].nodes; i++) c.nodes.push(await Server.create({ name: `server n${i}`, file: serverFile() }));
    const addresses = c.nodes.map((n) => `http://127.0.0.1:${n.ports.fabric}`);
    c.nodes.forEach((n, i) => {
      Object.assign(n.env, {
        RESTATE_NODE_NAME: `n${i + 1}`,
        RESTATE_CLUSTER_NAME: "conformance",
        RESTATE_ADVERTISED_ADDRESS: addresses[i],
        RESTATE_DISABLE_TELEMETRY: "true",
        ...(c.nodes.length > 1 && {
          RESTATE_AUTO_PROVISION: i === 0 ? "true" : "false",
          RESTATE_METADATA_CLIENT__ADDRESSES: JSON.stringify(addresses),
          RESTATE_DEFAULT_REPLICATION: "2",
        }),
        ...c.env,
      });
    });
    try {
      await Promise.all(c.nodes.map((n) => n.start(120)));
      if (own?.services !== false) await c.addServices(own?.serviceEnv);
    } catch (e) {
      await c.stop();
      throw e;
    }
    return c;
  }

  // Starts a process of services and registers it; every node knows it when this returns.
  async addServices(env = {}, more = {}) {
    const s = await Service.create(env, path.join(here, "services.mjs"));
    this.services.push(s);
    await s.start();
    s.deployment = await this.register(s, more);
    return s;
  }

  async register(service, more = {}) {
    const answer = await until("the services are registered", async () => {
      const r = await request(`${this.admin}/deployments`, { json: { uri: service.uri, ...more } });
      if (r.status >= 500) throw new Error(r.text);
      if (r.status !== 201 && r.status !== 200) throw Object.assign(new Error(r.text), { final: true });
      return r.json();
    }, 60);
    const names = answer.services.map((s) => s.name);
    for (const n of this.nodes) {
      await until("the node knows the services", async () => {
        const known = ok(await request(`${n.ingress}/restate/health`)).json().services;
        return names.every((name) => known.includes(name));
      }, 30);
    }
    return answer.id;
  }

  get admin() {
    return this.nodes[0].admin;
  }

  get ingress() { // requests go round the nodes
    return this.nodes[this.turn++ % this.nodes.length].ingress;
  }

  async stop() {
    await Promise.all([...this.nodes, ...this.services].map((p) => p.kill()));
    for (const n of this.nodes) fs.rmSync(n.dir, { recursive: true, force: true });
  }

  // call("Counter/key/add", 1) -> the response; a random idempotency key unless {key: null} or another one is given
  call(target, body, { key = randomKey(), headers = {}, raw, timeout = 120000 } = {}) {
    const all = { ...(key ? { "idempotency-key": key } : {}), ...headers };
    const content = raw !== undefined ? { body: raw } : body !== undefined ? { json: body } : {};
    return request(`${this.ingress}/${target}`, { method: "POST", headers: all, timeout, ...content });
  }

  // The same, for a success: its JSON value, or undefined for an empty body.
  async value(target, body, more) {
    const r = ok(await this.call(target, body, more));
    return r.text === "" ? undefined : r.json();
  }

  // A send: {invocationId, status}
  async send(target, body, more) {
    return ok(await this.call(`${target}/send`, body, more), 202).json();
  }

  get(where, timeout = 120000) {
    return request(`${this.ingress}/${where}`, { timeout });
  }

  manage(method, where, json) {
    return request(`${this.admin}/${where}`, { method, ...(json !== undefined ? { json } : {}) });
  }

  async query(sql) {
    const r = await request(`${this.admin}/query`, { json: { query: sql }, headers: { accept: "application/json" } });
    if (r.status !== 200) throw Object.assign(new Error(`${r.status}: ${r.text}`), { final: true });
    return r.json().rows;
  }

  async status(id) {
    return (await this.query(`SELECT status FROM sys_invocation WHERE id = '${id}'`))[0]?.status;
  }
}

// A request of the service Proxy, whose message is JSON unless it is bytes.
export function proxied(serviceName, virtualObjectKey, handlerName, body, more = {}) {
  const bytes = body instanceof Uint8Array ? body : body === undefined ? [] : Buffer.from(JSON.stringify(body));
  return { serviceName, virtualObjectKey, handlerName, message: Array.from(bytes), ...more };
}

export const fromBytes = (numbers) => JSON.parse(Buffer.from(numbers).toString());

export { freePort, ok, request, sleep, until };
