// SPDX-License-Identifier: Apache-2.0
// Three nodes, six partitions, two copies of the log: nodes are killed with SIGKILL while clients count.
//
//   node tests/e2e/cluster.test.mjs [--engines lmdb,rocksdb,lmdb] [--keep]
import crypto from "node:crypto";
import { Client, Cluster, checkCounters } from "./cluster.mjs";
import { Service, equal, ok, options, request, run, showLogs, sleep, test, until } from "./lib.mjs";

const engines = (options.engines ?? "lmdb,rocksdb").split(",");

test("three empty nodes form a cluster and answer through every ingress", async (t) => {
  const begin = Date.now();
  await Promise.all([t.cluster.ready(), t.service.start()]);
  t.started = Date.now() - begin;
  ok(await t.cluster.node(1).register(t.service.uri), 201);
  for (const s of t.cluster.nodes)
    await until(`${s.name} knows the service`, async () => (await s.call("Counter/first/get")).status === 200);
  console.log(`# all nodes ready after ${t.started} ms`);
});

test("clients count through all three nodes", async (t) => {
  const ingresses = t.cluster.nodes.map((s) => s.ingress);
  t.clients = ingresses.map((_, i) => new Client(`c${i + 1}`, ingresses, { prefer: i, pause: 5 }).run());
  for (const c of t.clients) await c.progress(20, 20);
});

test("every node takes results of awakeables and edits of state, whoever leads", async (t) => {
  for (const s of t.cluster.nodes) {
    for (let i = 0; i < 12; i++) {
      const id = Buffer.alloc(28); // an invocation that does not exist, signal 17
      crypto.randomFillSync(id, 0, 24);
      id.writeUInt32BE(17, 24);
      ok(await s.call(`restate/awakeables/sign_1${id.toString("base64url")}/resolve`, "x"), 202);
      const patch = { object_key: `edited-${i}`, new_state: { count: Array.from(Buffer.from(`${i}`)) } };
      ok(await request(`${s.admin}/services/Counter/state`, { json: patch }), 202);
    }
  }
});

const worstSince = (t, at) => Math.max(...t.clients.map((c) => (c.worst.at + c.worst.ms >= at ? c.worst.ms : 0)));
const forget = (t) => t.clients.forEach((c) => (c.worst = { ms: 0, at: 0 }));

test("a killed node: its partitions get other leaders, clients go on", async (t) => {
  forget(t);
  await t.cluster.kill(3);
  await sleep(500);
  await Promise.all(t.clients.map((c) => c.progress(20, 20)));
  console.log(`# longest wait of a client: ${worstSince(t, 0)} ms`);
});

test("it comes back, and others may go", async (t) => {
  t.cluster.spawn(3);
  await t.cluster.ready();
  await Promise.all(t.clients.map((c) => c.progress(20, 20)));
  await sleep(1000);
  forget(t);
  await t.cluster.kill(1);
  await sleep(500);
  await Promise.all(t.clients.map((c) => c.progress(20, 20)));
  console.log(`# longest wait of a client: ${worstSince(t, 0)} ms`);
  t.cluster.spawn(1);
  await t.cluster.ready();
  await Promise.all(t.clients.map((c) => c.progress(20, 20)));
});

test("with two of three gone the cluster stalls, and resumes by itself when they are back", async (t) => {
  await sleep(1000);
  await t.cluster.kill(2, 3);
  await sleep(1500); // what was under way has been answered or not
  const before = t.clients.map((c) => c.acked);
  await sleep(2500);
  equal(t.clients.map((c) => c.acked), before, "nothing is acknowledged by one node of three");
  equal(t.cluster.node(1).alive(), true, "node 1 is alive");
  const begin = Date.now();
  t.cluster.spawn(2, 3);
  await Promise.all(t.clients.map((c) => c.progress(1, 30)));
  console.log(`# the slowest client goes on ${Date.now() - begin} ms after the restart`);
  await t.cluster.ready();
  await Promise.all(t.clients.map((c) => c.progress(20, 20)));
}, 60);

test("every counter is right, asked through each node", async (t) => {
  for (const c of t.clients) await c.stop();
  for (const s of t.cluster.nodes) await checkCounters(t.clients, s.ingress);
  for (const line of t.clients.flatMap((c) => c.slow)) console.log(`# ${line}`);
  console.log(`# ${t.clients.reduce((sum, c) => sum + c.acked, 0)} increments`);
});

test("a node ends in peace and hands its partitions over", async (t) => {
  const ended = await t.cluster.node(2).kill("SIGTERM");
  equal(ended, { code: 0, signal: null }, "its end");
  await checkCounters(t.clients, t.cluster.node(1).ingress);
}, 60);

await run({
  before: async () => {
    const cluster = await Cluster.create({ engines });
    const service = await Service.create();
    cluster.spawn();
    return { cluster, service };
  },
  after: async (t, bad) => {
    if (bad) showLogs(...t.cluster.nodes, t.service);
  },
});
