// SPDX-License-Identifier: Apache-2.0
// How long clients of a cluster of three wait when something fails without a word, this server and the official one in
// turn: single faults of 6 s, and two in a row, the second while the cluster still gets over the first.
//
//   ./dev bench silent [--only REGEXP] [--engine lmdb] [--repeat 1]     as root
//   OFFICIAL_SERVER=path of the official server; without it only this server is measured
//
// pause     SIGSTOP
// cut       the node's network is gone, in both directions
// mute      what the node sends to the other nodes is lost; what they send is not
// deaf      what the node sends to one of the others is lost
// isolated  the node and the others do not reach each other; clients reach all of them
// kill      SIGKILL, started again when the fault ends
//
// 12 clients, each with a counter of its own; they give up an attempt after 1 s and ask the next node. The longest wait
// is that for one increment, from its first attempt to its answer, over all clients.
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { Client, Cluster } from "../e2e/cluster.mjs";
import { Service, end, ok, options, request, root, sleep, until } from "../e2e/lib.mjs";

if (!options.inside) { // once more, in a network of its own
  const again = [path.join(root, "demos/namespaces.sh"), "3", process.execPath, ...process.argv.slice(1), "--inside"];
  const child = spawn(again[0], again.slice(1), { stdio: "inherit" });
  process.exit(await new Promise((resolve) => child.once("close", (code) => resolve(code ?? 1))));
}

const only = new RegExp(options.only ?? ".");
const repeat = Number(options.repeat ?? 1);
const ip = (...args) => execFileSync("ip", args, { stdio: "pipe" });
const others = (id) => [1, 2, 3].filter((x) => x !== id);

// What @from sends to @to goes to a host that is not there: no error, nothing comes back.
const lose = (from, to) => ip("-n", `node${from}`, "neigh", "replace", `10.77.0.${to}`, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent");
const deliver = (from, to) => ip("-n", `node${from}`, "neigh", "del", `10.77.0.${to}`, "dev", "eth0");

const kinds = {
  pause: { begin: (c, id) => c.node(id).child.kill("SIGSTOP"), end: (c, id) => c.node(id).child.kill("SIGCONT") },
  cut: { begin: (c, id) => ip("link", "set", `v${id}`, "down"), end: (c, id) => ip("link", "set", `v${id}`, "up") },
  mute: { begin: (c, id) => others(id).forEach((x) => lose(id, x)), end: (c, id) => others(id).forEach((x) => deliver(id, x)) },
  deaf: { begin: (c, id) => lose(id, others(id)[0]), end: (c, id) => deliver(id, others(id)[0]) },
  isolated: {
    begin: (c, id) => others(id).forEach((x) => (lose(id, x), lose(x, id))),
    end: (c, id) => others(id).forEach((x) => (deliver(id, x), deliver(x, id))),
  },
  kill: { begin: (c, id) => c.kill(id), end: (c, id) => c.spawn(id) },
};

function scenarios() {
  const ret = [];
  for (const first of ["pause", "cut", "mute", "deaf", "isolated"]) ret.push({ name: first, steps: [[first, 6000]] });
  for (const [first, ms] of [["kill", 400], ["pause", 2000], ["cut", 2000], ["mute", 2000], ["isolated", 2000]])
    for (const second of ["kill", "pause", "cut", "isolated"])
      for (const gap of [200, 1400, 3000])
        ret.push({ name: `${first}, ${second} after ${gap / 1000} s`, steps: [[first, ms], gap, [second, second === "kill" ? 400 : 5000]] });
  return ret.filter((s) => only.test(s.name));
}

async function play(cluster, clients, s, turn) {
  for (const c of clients) c.worst = { ms: 0, at: 0 };
  clients.forEach((c, i) => (c.at = i % 3));
  let node = 1 + (turn % 3);
  const trace = [];
  for (const step of s.steps) {
    if (typeof step === "number") {
      await sleep(step);
      node = 1 + (node % 3);
      continue;
    }
    const [kind, ms] = step;
    trace.push(`${new Date().toISOString().slice(11, 23)} ${kind} ${node}`);
    await kinds[kind].begin(cluster, node);
    await sleep(ms);
    trace.push(`${new Date().toISOString().slice(11, 23)} end`);
    await kinds[kind].end(cluster, node);
  }
  const before = clients.map((c) => c.acked);
  await until(`every client goes on after ${s.name}`, () => {
    const bad = clients.find((c) => c.error);
    if (bad) throw Object.assign(bad.error, { final: true });
    return clients.every((c, i) => c.acked > before[i] + 1);
  }, 60);
  const worst = clients.reduce((a, c) => (c.worst.ms > a.worst.ms ? c : a));
  return { ms: worst.worst.ms, worst, trace };
}

async function measure(name, file, engine) {
  const ret = { name, waits: new Map() };
  const cluster = await Cluster.create({ file, engines: [engine], namespaces: true, env: { RESTATE_DISABLE_TELEMETRY: "true" } });
  const service = await Service.create({ BIND: "0.0.0.0" });
  cluster.spawn();
  await Promise.all([cluster.ready(60), service.start()]);
  ok(await cluster.node(1).register(`http://10.77.0.254:${service.port}/`), 201);
  const ingresses = cluster.nodes.map((x) => x.ingress);
  for (const url of ingresses)
    await until(`${url} knows the service`, async () => (await request(`${url}/Counter/first/add`, { json: 1, timeout: 5000 })).status === 200, 60);
  const clients = Array.from({ length: 12 }, (_, i) => new Client(`b${i}`, ingresses, { prefer: i % 3, counters: 1, timeout: 1000 }));
  clients.forEach((c) => c.run());
  await sleep(4000);
  let turn = 0;
  for (const s of scenarios())
    for (let i = 0; i < repeat; i++) {
      for (const x of cluster.nodes) x.log = "";
      for (const c of clients) c.slow = [];
      const r = await play(cluster, clients, s, turn++);
      console.log(`# ${name}: ${s.name}: ${r.ms} ms`);
      ret.waits.set(s.name, Math.max(ret.waits.get(s.name) ?? 0, r.ms));
      if (options.logs && r.ms > Number(options.over ?? 4000)) {
        const text = [r.trace.join("\n"), `worst ${r.worst.name} ${new Date(r.worst.worst.at).toISOString().slice(11, 23)} for ${r.worst.worst.ms}`, ...r.worst.slow,
          ...cluster.nodes.map((x) => `---- ${x.name}\n${x.log}`)].join("\n");
        fs.mkdirSync(options.logs, { recursive: true });
        fs.writeFileSync(path.join(options.logs, `${s.name.replaceAll(/[^a-z0-9]+/g, "_")}-${i}.log`), text);
      }
      await cluster.ready(60);
      await sleep(7000); // all is well again
    }
  for (const c of clients) c.stopped = true;
  await cluster.kill(1, 2, 3);
  await service.kill();
  return ret;
}

const all = [];
try {
  all.push(await measure(`this server, ${options.engine ?? "lmdb"}`, undefined, options.engine ?? "lmdb"));
  if (process.env.OFFICIAL_SERVER) all.push(await measure("official", process.env.OFFICIAL_SERVER));
  const row = (what, f) => console.log(`${what.padEnd(44)}${all.map((r) => `${f(r) ?? "-"}`.padStart(28)).join("")}`);
  row("longest wait of a client, ms", (r) => r.name);
  for (const s of scenarios()) row(s.name, (r) => r.waits.get(s.name));
} catch (e) {
  console.log(e.stack);
  await end(1);
}
await end(0);
