// SPDX-License-Identifier: Apache-2.0
// One memory limit: many invocations with large results are suspended, all are started again at once, all finish, and
// the process stays small. `--full`: 2000 invocations with ten results of 2 MiB each, 40 GB in all, for half an hour.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Process, Server, Service, build, equal, freePort, ok, options, request, run, sleep, test, until } from "./lib.mjs";

const full = options.full === "true";
const results = 10;
const peakMiB = 400;
const seconds = full ? 5400 : 300;
const services = path.join(path.dirname(fileURLToPath(import.meta.url)), "memory_services.mjs");

// In C: where the SDK would be what the test waits for.
class Endpoint extends Process {
  static async create() {
    const e = new Endpoint("endpoint");
    e.port = await freePort();
    e.uri = `http://127.0.0.1:${e.port}/`;
    return e;
  }
  start() {
    this.spawn(path.join(build, "tests/bench/bench-endpoint"), [`${this.port}`], {});
  }
}

// The most that was resident, MiB. LMDB's pages are mapped: the kernel takes them back when it wants to, so they do not
// count, and what is left is known by looking often.
class Memory {
  constructor(pid) {
    const read = (name) => Number(new RegExp(`${name}:\\s*(\\d+)`).exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
    this.seen = 0;
    this.look = () => (this.seen = Math.max(this.seen, options.engine === "lmdb" ? read("RssAnon") : read("VmHWM")));
    this.timer = setInterval(this.look, 20);
  }
  stop() {
    clearInterval(this.timer);
    return Math.round(this.look());
  }
}

async function patiently(call) { // while the server asks for patience
  for (;;) {
    const r = await call();
    if (r.status !== 429) return r;
    await sleep(100);
  }
}

// The awakeable's id: the invocation's 24 bytes and 17. Each number is text in base 62, lowest byte first.
function firstAwakeable(invocationId) {
  const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const bytes = (text, n) => {
    let v = [...text].reduce((a, c) => a * 62n + BigInt(digits.indexOf(c)), 0n);
    return Buffer.from(Array.from({ length: n }, () => [Number(v & 255n), (v >>= 8n)][0]));
  };
  const text = invocationId.slice("inv_1".length);
  return `sign_1${Buffer.concat([bytes(text.slice(0, 11), 8), bytes(text.slice(11), 16), Buffer.from([0, 0, 0, 17])]).toString("base64url")}`;
}

async function suspended(server) {
  const json = { query: "SELECT count(*) AS n FROM sys_invocation WHERE status = 'suspended'" };
  return Number(ok(await request(`${server.admin}/query`, { json, headers: { accept: "application/json" } })).json().rows[0].n);
}

async function finish(service, { invocations, bytes, env = {} }) {
  const server = await Server.create({ engine: options.engine, env: { RESTATE_MEMORY_LIMIT: "256MiB", ...env } });
  await Promise.all([service.start(), server.start()]);
  await until("the service is registered", async () => (await server.register(service.uri)).status === 201);
  const memory = new Memory(server.child.pid);
  const ids = [];
  const begin = Date.now();
  for (let i = 0; i < invocations; i++) {
    const r = await patiently(() => server.call("Large/run/send", [results, bytes]));
    ids.push(ok(r, 202).json().invocationId);
  }
  await until("all are suspended", async () => {
    await sleep(500);
    return (await suspended(server)) === invocations;
  }, seconds);
  const half = Date.now();
  await Promise.all(ids.map(async (id) =>
    ok(await patiently(() => server.call(`restate/awakeables/${firstAwakeable(id)}/resolve`, "on")), 202)));
  for (const id of ids) {
    const r = await patiently(() => request(`${server.ingress}/restate/invocation/${id}/attach`, { timeout: seconds * 1000 }));
    equal(ok(r).json(), results * bytes, "bytes");
  }
  const peak = memory.stop();
  console.log(`# ${invocations} invocations, ${results} results of ${bytes} bytes: suspended after ${(half - begin) / 1000} s, ` +
    `finished after ${(Date.now() - begin) / 1000} s, peak ${peak} MiB`);
  await Promise.all([service.kill(), server.kill()]);
  if (peak >= peakMiB) throw new Error(`the server had ${peak} MiB`);
}

const many = full ? 2000 : 60;
test(`${many} suspended invocations with ${results} results of 2 MiB each finish within ${peakMiB} MiB`,
  async () => finish(await Endpoint.create(), { invocations: many, bytes: 2 << 20 }), seconds);

if (!full) {
  // A pool that a handful of results fill: most wait for memory most of the time.
  test("they finish in a pool of 4 MiB as well", async () =>
    finish(await Endpoint.create(), { invocations: many, bytes: 1 << 20, env: { RESTATE_WORKER__INVOKER__MEMORY_LIMIT: "4MiB" } }), seconds);

  test("with the SDK, too", async () => finish(await Service.create({}, services), { invocations: 6, bytes: 2 << 20 }), seconds);
}

run();
