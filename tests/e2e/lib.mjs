// SPDX-License-Identifier: Apache-2.0
// What the end-to-end tests share: real processes on random loopback ports, an HTTP client, TAP output, cleaning up.
import { spawn, execFile } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
export const root = path.resolve(here, "../..");
export const options = parse(process.argv.slice(2));
export const build = path.resolve(root, options.build ?? "build");
export const modules = process.env.E2E_NODE_MODULES ?? path.join(build, "npm/e2e");
const children = new Set();
const directories = new Set();

function parse(args) {
  const ret = {};
  for (let i = 0; i < args.length; i++) {
    const name = args[i].replace(/^--/, "");
    ret[name] = i + 1 < args.length && !args[i + 1].startsWith("--") ? args[++i] : "true";
  }
  return ret;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A small generator of pseudo-random numbers: the same seed gives the same test.
export function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Below the ports that the system hands out by itself, so that a client's port never takes a server's place.
export async function freePort() {
  for (;;) {
    const port = 12000 + Math.floor(Math.random() * 18000);
    const free = await new Promise((resolve) => {
      const s = net.createServer().once("error", () => resolve(false));
      s.listen(port, "127.0.0.1", () => s.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

export function tempDir() {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "restate-e2e-"));
  directories.add(dir);
  return dir;
}

export async function until(what, condition, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
    } catch (e) {
      if (e.final || Date.now() > end) throw new Error(`${what}: ${e.message}`);
    }
    if (Date.now() > end) throw new Error(`gave up waiting: ${what}`);
    await sleep(25);
  }
}

export class Process {
  constructor(name) {
    this.name = name;
    this.child = null;
    this.log = "";
  }

  spawn(file, args, env, cwd) {
    const clean = Object.fromEntries(Object.entries(process.env).filter(([k]) => !k.startsWith("RESTATE_")));
    const child = spawn(file, args, { env: { ...clean, ...env }, cwd, stdio: ["ignore", "pipe", "pipe"] });
    const take = (data) => {
      this.log += data;
      if (this.log.length > 1 << 20) this.log = this.log.slice(-(1 << 19));
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    this.child = child;
    this.exited = new Promise((resolve) => {
      child.once("error", (e) => {
        take(`${e.message}\n`);
        children.delete(child);
        resolve({ code: 127, signal: null });
      });
      child.once("close", (code, signal) => {
        children.delete(child);
        resolve({ code, signal });
      });
    });
    child.once("exit", (code, signal) => (child.ended = { code, signal }));
    children.add(child);
  }

  alive() {
    return this.child && !this.child.ended;
  }

  async kill(signal = "SIGKILL") {
    if (!this.child) return null;
    this.child.kill(signal);
    return this.exited;
  }
}

export class Server extends Process {
  // settings: {name, file, engine, env, args, dir}; ports stay the same over restarts
  static async create(settings = {}) {
    const s = new Server(settings.name ?? "server");
    s.dir = settings.dir ?? tempDir();
    s.file = settings.file ?? options.server ?? path.join(build, "bin/restate-server");
    s.ports = { fabric: await freePort(), admin: await freePort(), ingress: await freePort() };
    s.admin = `http://127.0.0.1:${s.ports.admin}`;
    s.ingress = `http://127.0.0.1:${s.ports.ingress}`;
    s.args = ["--no-logo", ...(settings.args ?? [])];
    s.env = {
      RESTATE_NODE_NAME: "n1",
      RESTATE_BASE_DIR: s.dir,
      RESTATE_BIND_IP: "127.0.0.1",
      RESTATE_BIND_PORT: `${s.ports.fabric}`,
      RESTATE_ADMIN__BIND_PORT: `${s.ports.admin}`,
      RESTATE_INGRESS__BIND_PORT: `${s.ports.ingress}`,
      RESTATE_LISTEN_MODE: "tcp",
      RESTATE_PLUGINS__DIR: path.join(build, "plugins"),
      DO_NOT_TRACK: "1",
      ...(settings.engine ? { RESTATE_STORAGE: settings.engine } : {}),
      ...(settings.env ?? {}),
    };
    return s;
  }

  spawnOnly() {
    this.spawn(this.file, this.args, this.env, this.dir);
  }

  async start(seconds = 60) {
    this.spawnOnly();
    await until("the server is ready", async () => {
      if (!this.alive()) throw Object.assign(new Error(`the server ended: ${this.log.slice(-2000)}`), { final: true });
      const a = await request(`${this.admin}/health`).catch(() => null);
      const i = await request(`${this.ingress}/restate/health`).catch(() => null);
      return a?.status === 200 && i?.status === 200;
    }, seconds);
    return this;
  }

  register(uri, more = {}) {
    return request(`${this.admin}/deployments`, { json: { uri, ...more } });
  }

  call(target, body, more = {}) {
    return request(`${this.ingress}/${target}`, body === undefined ? { method: "POST", ...more } : { json: body, ...more });
  }
}

export class Service extends Process {
  static async create(env = {}, file = path.join(here, "services.mjs")) {
    const s = new Service("service");
    s.file = file;
    s.port = await freePort();
    s.uri = `http://127.0.0.1:${s.port}/`;
    s.env = { SDK_HOME: modules, PORT: `${s.port}`, RESTATE_LOGGING: "ERROR", ...env };
    return s;
  }

  async start() {
    this.spawn(process.execPath, ["--require", path.join(root, "demos/counter/node18.cjs"), this.file], this.env, root);
    await until("the service listens", () => {
      if (!this.alive()) throw new Error(`the service ended: ${this.log.slice(-2000)}`);
      return this.log.includes("services on");
    });
    this.log = this.log.replace("services on", "services were on"); // for the next start
    return this;
  }
}

// request(url, {method, json, body, headers, timeout}) -> {status, headers, bytes, text, json()}; HTTP/1.1, one try
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
export function request(url, { method, json, body, headers = {}, timeout = 60000 } = {}) {
  const data = json !== undefined ? JSON.stringify(json) : body;
  const all = { ...(json !== undefined ? { "content-type": "application/json" } : {}), ...headers };
  if (data !== undefined && !("content-length" in all) && !("transfer-encoding" in all)) all["content-length"] = Buffer.byteLength(data);
  return new Promise((resolve, reject) => {
    const req = http.request(url, { method: method ?? (data !== undefined ? "POST" : "GET"), headers: all, agent }, (res) => {
      const parts = [];
      res.on("data", (p) => parts.push(p));
      res.on("error", reject);
      res.on("end", () => {
        const bytes = Buffer.concat(parts);
        const text = bytes.toString();
        resolve({ status: res.statusCode, headers: res.headers, bytes, text, json: () => JSON.parse(text) });
      });
      res.on("aborted", () => reject(new Error("the connection was cut in the answer")));
    });
    // of the whole attempt: a socket's own limit begins when it is connected, which a host that is gone never lets it be
    const limit = setTimeout(() => req.destroy(new Error(`no answer within ${timeout} ms: ${url}`)), timeout);
    req.on("error", reject);
    req.on("close", () => clearTimeout(limit));
    if (data !== undefined) req.write(data);
    req.end();
  });
}

// The official command line, in a home of its own.
export function cli(server, ...args) {
  const file = path.join(modules, "node_modules/.bin/restate");
  const home = path.join(server.dir, "cli-home");
  fs.mkdirSync(home, { recursive: true });
  return new Promise((resolve) =>
    execFile(file, args, {
      timeout: 60000,
      env: { PATH: process.env.PATH, HOME: home, RESTATE_ADMIN_URL: server.admin, NO_COLOR: "1", DO_NOT_TRACK: "1", CI: "1" },
    }, (error, stdout, stderr) => resolve({ code: error ? (error.code ?? 1) : 0, out: stdout + stderr })));
}

export function equal(actual, expected, what = "value") {
  const a = JSON.stringify(actual);
  const e = JSON.stringify(expected);
  if (a !== e) throw new Error(`${what}: expected ${e}, got ${a}`);
}

export function match(text, pattern, what = "text") {
  if (!pattern.test(text)) throw new Error(`${what}: ${JSON.stringify(`${text}`.slice(0, 400))} does not match ${pattern}`);
}

export function ok(response, status = 200) {
  if (response.status !== status) throw new Error(`expected status ${status}, got ${response.status}: ${response.text.slice(0, 400)}`);
  return response;
}

// ---- TAP ----

const tests = [];
export const test = (name, body, seconds = Number(options.limit ?? 30)) => tests.push({ name, body, seconds });

export async function run({ before, after } = {}) {
  const only = options.only ? new RegExp(options.only) : null;
  const chosen = tests.filter((t) => !only || only.test(t.name));
  let bad = 0;
  let n = 0;
  console.log(`1..${chosen.length}`);
  try {
    const context = before ? await before() : undefined;
    for (const t of chosen) {
      const start = Date.now();
      if (context?.server?.child && !context.server.alive()) {
        console.log(`# the server ended with ${JSON.stringify(context.server.child.ended)}; it is started again`);
        showLogs(context.server);
        context.server.log = "";
        await context.server.start();
      }
      let timer;
      try {
        const limit = new Promise((_, reject) => {
          timer = setTimeout(() => reject(new Error(`not done after ${t.seconds} s`)), t.seconds * 1000);
        });
        await Promise.race([t.body(context), limit]);
        console.log(`ok ${++n} - ${t.name} # ${Date.now() - start} ms`);
      } catch (e) {
        bad++;
        console.log(`not ok ${++n} - ${t.name} # ${Date.now() - start} ms`);
        for (const line of `${e.stack ?? e}`.split("\n")) console.log(`# ${line}`);
      } finally {
        clearTimeout(timer);
      }
    }
    if (after) await after(context, bad);
  } catch (e) {
    bad++;
    console.log(`not ok ${n + 1} - set-up`);
    for (const line of `${e.stack ?? e}`.split("\n")) console.log(`# ${line}`);
  }
  await end(bad ? 1 : 0);
}

export function showLogs(...processes) {
  for (const p of processes) {
    console.log(`# ---- last lines of the ${p.name}`);
    const report = p.log.search(/ERROR: \w+Sanitizer|runtime error:/);
    for (const line of p.log.slice(Math.max(report, 0)).split("\n").slice(report < 0 ? -60 : 0)) console.log(`# ${line}`);
  }
}

export async function end(code) {
  for (const c of children) c.kill("SIGKILL");
  if (!options.keep) for (const d of directories) fs.rmSync(d, { recursive: true, force: true });
  else for (const d of directories) console.log(`# kept ${d}`);
  process.exit(code);
}
process.on("unhandledRejection", (e) => console.log(`# a promise nobody waited for: ${e?.message ?? e}`));
process.on("SIGINT", () => end(130));
process.on("SIGTERM", () => end(143));
