// SPDX-License-Identifier: Apache-2.0
// The two demos, unattended: the nodes of a compose file as processes of this machine, the counter service and its clients
// with the public SDK, and what the demo's README tells, step by step. Exits non-zero when anything is not as told.
//
//   ./dev demo ha|scale [--namespaces]    --namespaces: every node in a network namespace with an address of its own
//
// Environment: E2E_NODE_MODULES (yaml), COUNTER_HOME (the counter with its modules); see ./dev.
import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { Server, build, end, freePort, modules, options, root, sleep, tempDir, until } from "../tests/e2e/lib.mjs";
import { ready } from "../tests/e2e/cluster.mjs";

const yaml = createRequire(path.join(modules, "/"))("yaml");
const demo = process.argv[2];
const inNamespaces = options.namespaces === "true";
const home = process.env.COUNTER_HOME ?? path.join(build, "npm/counter");
const began = Date.now();
const say = (text) => console.log(`[${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s] ${text}`);
const nodes = [];
let app, client, uri;

// ---- processes ----

async function createNodes() {
  const compose = yaml.parse(fs.readFileSync(path.join(root, "demos", demo, "compose.yaml"), "utf8"), { merge: true });
  const dir = tempDir();
  const names = Object.keys(compose.services).filter((name) => name.startsWith("node"));
  const ports = {};
  for (const name of names) ports[name] = inNamespaces ? { fabric: 5122, admin: 9070, ingress: 8080 } : null;
  for (const name of names) {
    const s = await Server.create({ name, dir });
    const env = Object.fromEntries(Object.entries(compose.services[name].environment).map(([k, v]) => [k, `${v}`]));
    s.hosts = inNamespaces ? name : "127.0.0.1";
    if (inNamespaces) s.ports = ports[name];
    ports[name] = s.ports;
    s.admin = `http://${s.hosts}:${s.ports.admin}`;
    s.ingress = `http://${s.hosts}:${s.ports.ingress}`;
    s.fabric = `http://${s.hosts}:${s.ports.fabric}`;
    s.declared = env;
    if (inNamespaces) {
      s.args = ["netns", "exec", name, s.file, ...s.args];
      s.file = "ip";
    }
    nodes.push(s);
  }
  for (const s of nodes) {
    // On one address the nodes need ports of their own; in namespaces the variables are those of the compose file as they are.
    const env = inNamespaces ? s.declared : Object.fromEntries(Object.entries(s.declared).map(([k, v]) =>
      [k, v.replace(/(node\d+):5122/g, (_, name) => `127.0.0.1:${ports[name].fabric}`)]));
    const mine = { RESTATE_BASE_DIR: s.env.RESTATE_BASE_DIR, RESTATE_PLUGINS__DIR: s.env.RESTATE_PLUGINS__DIR, DO_NOT_TRACK: "1" };
    const places = { RESTATE_BIND_IP: "127.0.0.1", RESTATE_BIND_PORT: `${s.ports.fabric}`, RESTATE_LISTEN_MODE: "tcp",
      RESTATE_ADMIN__BIND_PORT: `${s.ports.admin}`, RESTATE_INGRESS__BIND_PORT: `${s.ports.ingress}` };
    const image = { RESTATE_ADMIN__BIND_ADDRESS: "0.0.0.0:9070" }; // what demos/Dockerfile sets
    s.env = { ...env, ...mine, ...(inNamespaces ? image : places) };
  }
}

const node = (id) => nodes[id - 1];
async function start(...ids) {
  for (const id of ids) node(id).spawnOnly();
  for (const id of ids) await until(`node${id} is ready`, () => ready(node(id)), 30);
}
const kill = (...ids) => Promise.all(ids.map((id) => node(id).kill("SIGKILL")));

async function startApp() {
  const port = inNamespaces ? 9080 : await freePort();
  uri = `http://${inNamespaces ? "app" : "127.0.0.1"}:${port}`;
  app = spawn(process.execPath, ["--require", "./node18.cjs", "counter.js"], { cwd: home, stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, PORT: `${port}`, BIND: inNamespaces ? "0.0.0.0" : "127.0.0.1", RESTATE_LOGGING: "ERROR" } });
  process.once("exit", () => app.kill("SIGKILL"));
  await new Promise((resolve, reject) => {
    app.stdout.once("data", resolve);
    app.once("exit", () => reject(new Error("the counter service ended")));
  });
}

function startClients() {
  client = spawn(process.execPath, ["--require", "./node18.cjs", "client.js", ...nodes.map((s) => s.ingress)],
    { cwd: home, stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, PROGRESS_MS: "100" } });
  process.once("exit", () => client.kill("SIGKILL"));
  client.counts = {};
  let rest = "";
  client.stdout.on("data", (data) => {
    const lines = (rest + data).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("counts ")) client.counts = Object.fromEntries(line.slice(7).split(" ").map((p) => p.split("=")).map(([k, v]) => [k, Number(v)]));
      else if (line.startsWith("WRONG")) client.wrong = line;
      else say(`    ${line}`);
    }
  });
  client.gone = new Promise((resolve) => client.once("close", resolve));
}

// Every client got @n further increments acknowledged.
async function progress(n, seconds, what) {
  const before = { ...client.counts };
  const from = Date.now();
  await until(`${what}: every client goes on`, () => {
    if (client.wrong || client.exitCode !== null) throw Object.assign(new Error(client.wrong ?? "the client ended"), { final: true });
    const keys = Object.keys(client.counts);
    return keys.length === nodes.length && keys.every((k) => client.counts[k] >= (before[k] ?? 0) + n);
  }, seconds);
  say(`    every client has ${n} further increments acknowledged after ${Date.now() - from} ms: ${Object.values(client.counts).join(", ")}`);
}

function ctl(id, ...args) {
  const file = path.join(build, "bin/restatectl");
  return new Promise((resolve) => execFile(file, ["--address", node(id).fabric, "--no-color", ...args],
    { timeout: 20000, env: { ...process.env, RESTATE_PLUGINS__DIR: path.join(build, "plugins") } },
    (error, stdout, stderr) => resolve({ code: error ? (error.code ?? 1) : 0, out: stdout + stderr })));
}
async function show(id, ...args) {
  const r = await ctl(id, ...args);
  say(`$ restatectl --address ${node(id).fabric} ${args.join(" ")}`);
  console.log(r.out.replace(/^/gm, "    ").trimEnd());
  return r;
}
function expect(condition, text) {
  if (!condition) throw new Error(text);
}

async function register() {
  const r = await until("the deployment is registered", async () => {
    const answer = await node(1).register(uri);
    return answer.status === 201 || answer.status === 200 ? answer : null;
  });
  say(`registered ${uri}: ${r.json().services.map((s) => s.name).join(", ")}`);
}

// The clients' counters, asked through node @id.
async function verify(id) {
  client.kill("SIGTERM");
  await client.gone;
  expect(!client.wrong, client.wrong);
  for (const [key, count] of Object.entries(client.counts)) {
    const r = await node(id).call(`Counter/${key}/get`);
    expect(r.status === 200, `${key}: status ${r.status} ${r.text}`);
    // the answer of the last one may have come after the client was told to stop
    expect(r.json() === count || r.json() === count + 1, `${key} stands at ${r.json()}, the client counted ${count}`);
  }
  say(`every counter is right, asked through node${id}: ${Object.values(client.counts).join(", ")}`);
}

// ---- the demos ----

const demos = {
  async ha() {
    say("three empty nodes");
    await start(1, 2, 3);
    await startApp();
    await register();
    startClients();
    await progress(50, 20, "three nodes");
    expect((await show(1, "status")).code === 0, "restatectl status failed");
    say("kill -9 node3");
    await kill(3);
    await progress(50, 20, "without node3");
    await show(1, "status");
    say("node3 starts again");
    await start(3);
    await progress(50, 20, "node3 is back");
    await sleep(2000);
    say("kill -9 node2 and node3: one of three can do nothing");
    await kill(2, 3);
    await sleep(1500);
    const before = { ...client.counts };
    await sleep(3000);
    expect(JSON.stringify(client.counts) === JSON.stringify(before), "one node of three acknowledged something");
    const r = await show(1, "status");
    expect(/quorum|majority|offline|dead/i.test(r.out), "restatectl status does not say what is wrong");
    say("node2 and node3 start again");
    const from = Date.now();
    node(2).spawnOnly();
    node(3).spawnOnly();
    await progress(1, 30, "all nodes are back");
    say(`    ${Date.now() - from} ms after the restart`);
    await progress(50, 20, "all nodes are back");
    await until("the followers have caught up", async () => !/Catching/.test((await ctl(1, "status")).out), 15);
    await show(1, "status");
    await verify(2);
  },

  async scale() {
    say("node1 alone");
    await start(1);
    await startApp();
    await register();
    startClients();
    await progress(50, 20, "one node");
    await show(1, "status");
    say("node2 and node3 join");
    await start(2, 3);
    await progress(50, 20, "three nodes");
    expect((await show(1, "config", "set", "--log-replication", "2", "--yes")).code === 0, "config set failed");
    await until("every log goes on with two copies, and every replica has applied it", settled, 30);
    await show(1, "status", "--extra");
    await progress(50, 20, "two copies");
    say("kill -9 node1");
    await kill(1);
    await progress(50, 20, "without node1");
    expect((await show(2, "status")).code === 0, "restatectl status failed");
    await verify(2);
  },
};

// Every replica of a partition has applied the same, and every log goes on with two copies.
async function settled() {
  const status = await ctl(1, "status", "--json");
  const logs = await ctl(1, "logs", "list", "--json");
  if (status.code !== 0 || logs.code !== 0) return false;
  const applied = new Map(); // partition -> what its replicas have applied
  for (const p of JSON.parse(status.out).partitions) applied.set(p.id, [...(applied.get(p.id) ?? []), p.applied]);
  const close = [...applied.values()].every((a) => a.length === nodes.length && Math.max(...a) - Math.min(...a) < 50); // clients go on
  return close && JSON.parse(logs.out).logs.every((l) => /2/.test(l.replication));
}

if (!demos[demo]) {
  console.log("usage: run.mjs ha|scale [--namespaces]");
  process.exit(2);
}
try {
  await createNodes();
  await demos[demo]();
  say(`the ${demo} demo went as told`);
  await end(0);
} catch (e) {
  say(`FAILED: ${e.message}`);
  for (const s of nodes) console.log(`---- ${s.name}\n${s.log.split("\n").slice(-25).join("\n")}`);
  await end(1);
}
