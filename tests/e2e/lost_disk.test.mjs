// SPDX-License-Identifier: Apache-2.0
// A node of three loses its disk, the one that founded the cluster, and is started again as it was: it finds the others
// instead of founding a cluster of its own, tells them that its log-server lost its records, and is of use again.
import fs from "node:fs";
import path from "node:path";
import { Client, Cluster, checkCounters, processors, restatectl, threeMembers } from "./cluster.mjs";
import { Service, equal, match, ok, run, showLogs, sleep, test, until } from "./lib.mjs";

const partitions = 6;
const fingerprint = (s) => JSON.parse(fs.readFileSync(path.join(s.dir, s.name, ".cluster-marker"), "utf8")).cluster_fingerprint;

test("clients count; every log and the metadata live on three nodes", async (t) => {
  await Promise.all([t.cluster.ready(), t.service.start()]);
  ok(await t.cluster.node(1).register(t.service.uri), 201);
  const ingresses = t.cluster.nodes.map((s) => s.ingress);
  t.clients = ingresses.map((_, i) => new Client(`c${i + 1}`, ingresses, { prefer: i, pause: 5 }).run());
  await threeMembers(t.cluster, partitions);
  for (const c of t.clients) await c.progress(20, 20);
  t.fingerprint = fingerprint(t.cluster.node(1));
}, 60);

test("the founder loses its disk and comes back to the cluster it founded", async ({ cluster, clients, ...t }) => {
  const lost = cluster.node(1);
  await cluster.kill(1);
  fs.rmSync(path.join(lost.dir, lost.name), { recursive: true });
  await Promise.all(clients.map((c) => c.progress(20, 20)));
  lost.log = "";
  cluster.spawn(1);
  await cluster.ready();
  equal(fingerprint(lost), t.fingerprint, "its cluster");
  match(lost.log, /the log-server lost its records/);
  await Promise.all(clients.map((c) => c.progress(20, 20)));
}, 60);

test("its storage state says so, and no new segment counts on it", async ({ cluster }) => {
  match((await restatectl(cluster, "replicated-loglet", "list-servers")).out, /N1 .*data-loss/);
  await until("no log is written to node 1", async () => {
    const logs = (await restatectl(cluster, "logs", "list")).out;
    if (/\[[^\]]*\bN1\b/.test(logs)) throw new Error(logs);
    return true;
  }, 20);
});

test("its partitions catch up with the others", async ({ cluster, clients }) => {
  await until("node 1 has caught up", async () => {
    const all = await processors(cluster);
    const led = all.filter((r) => r.mode === "Leader").length === partitions;
    return led && all.filter((r) => `${r.node}`.startsWith("N1:")).every((r) => r.status === "Active" || r.mode === "Leader");
  }, 40);
  await Promise.all(clients.map((c) => c.progress(20, 20)));
}, 60);

test("the metadata server is added anew", async ({ cluster, clients }) => {
  equal((await restatectl(cluster, "metadata-server", "remove-node", "N1", "--yes")).code, 0);
  const r = await restatectl(cluster, "metadata-server", "add-node", "N1", "--yes");
  equal(r.code, 0, r.text);
  await until("it is a member", async () => /N1.*Member/.test((await restatectl(cluster, "metadata-server", "list-servers")).out), 30);
  await Promise.all(clients.map((c) => c.progress(20, 20)));
}, 60);

test("its log-server begins anew, once no open segment counts on it", async ({ cluster, clients }) => {
  await until("its state is changed (nothing else of the nodes changed meanwhile)", async () =>
    (await restatectl(cluster, "nodes", "set-storage-state", "N1", "--storage-state", "provisioning", "--force", "--yes")).code === 0, 10);
  await cluster.node(1).kill("SIGTERM");
  cluster.spawn(1);
  await cluster.ready();
  match((await restatectl(cluster, "replicated-loglet", "list-servers")).out, /N1 .*read-write/);
  await threeMembers(cluster, partitions);
  await cluster.kill(2);
  await Promise.all(clients.map((c) => c.progress(20, 20)));
  cluster.spawn(2);
  await cluster.ready();
}, 60);

test("every counter is right, asked through each node", async (t) => {
  for (const c of t.clients) await c.stop();
  await sleep(100);
  for (const s of t.cluster.nodes) await checkCounters(t.clients, s.ingress);
});

await run({
  before: async () => {
    const cluster = await Cluster.create({ engines: ["lmdb", "rocksdb"] });
    const service = await Service.create();
    cluster.spawn();
    return { cluster, service };
  },
  after: async (t, bad) => {
    if (bad) showLogs(...t.cluster.nodes, t.service);
  },
});
