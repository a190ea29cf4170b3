// SPDX-License-Identifier: Apache-2.0
// Snapshots of partitions in a cluster of different engines: made, logs trimmed behind them, and taken over by a node that
// joins late and by one whose tables were lost. --store dir | s3 | none (other replicas are the only source).
import fs from "node:fs";
import path from "node:path";
import { Client, Cluster, checkCounters, count, json, processors, ready, restatectl, threeMembers } from "./cluster.mjs";
import { Service, equal, match, ok, options, run, showLogs, test, tempDir, until } from "./lib.mjs";
import { S3 } from "./s3.mjs";

const store = options.store ?? "dir";
const partitions = 6;
const often = store === "none" ? {} : { RESTATE_WORKER__SNAPSHOTS__SNAPSHOT_INTERVAL_NUM_RECORDS: "1" };

// Every replica on node @id stands where the leader does.
async function caughtUp(cluster, id, seconds = 40) {
  await until(`node ${id} has caught up`, async () => {
    const all = await processors(cluster);
    for (let p = 0; p < partitions; p++) {
      const of = all.filter((r) => r.id === p);
      const leader = of.find((r) => r.mode === "Leader");
      const here = of.find((r) => `${r.node}`.startsWith(`N${id}:`));
      if (!leader || !here || here.applied !== leader.applied || !["Leader", "Active"].some((m) => `${here.mode} ${here.status}`.includes(m)))
        throw new Error(`partition ${p}: ${JSON.stringify(here)}`);
    }
    return true;
  }, seconds);
}

async function someIncrements(clients, n) {
  for (let i = 0; i < n; i++) await Promise.all(clients.map((c) => c.increment(i % c.counts.length)));
}

async function allLed(cluster) {
  await until("all partitions have leaders", async () =>
    (await processors(cluster)).filter((r) => r.mode === "Leader").length === partitions);
}

// All logs are trimmed up to what everybody applied; returns the LSNs.
async function trimAll(cluster) {
  await allLed(cluster);
  if (store !== "none") {
    const made = await json(cluster, "snapshots", "create", "--trim-log");
    equal(made.length, partitions, "snapshots");
    return made.map((m) => m.min_applied_lsn);
  }
  const leaders = (await processors(cluster)).filter((r) => r.mode === "Leader");
  equal(leaders.length, partitions, "leaders");
  for (const l of leaders) {
    const r = await restatectl(cluster, "logs", "trim", `${l.id}`, "--trim-point", `${l.applied}`, "--yes");
    equal(r.code, 0, r.text);
  }
  return leaders.map((l) => l.applied);
}

test("two nodes are ready, and count", async ({ cluster, service, clients }) => {
  await Promise.all([cluster.ready(), service.start()]);
  ok(await cluster.node(1).register(service.uri), 201);
  await until("the service is known", async () => (await cluster.node(2).call("Counter/first/get")).status === 200);
  await someIncrements(clients, 25);
}, 60);

test("snapshots go to the repository, and a second one replaces the first", async ({ cluster, s3, dir, clients }) => {
  if (store === "none") {
    const r = await restatectl(cluster, "snapshots", "create", "0");
    equal(r.code, 1);
    match(r.text, /worker.snapshots.destination is not set/);
    return;
  }
  const first = await json(cluster, "snapshots", "create");
  equal(first.map((f) => f.partition_id).sort(), [0, 1, 2, 3, 4, 5]);
  await someIncrements(clients, 8);
  if (s3) s3.failures = 2; // which are not the end of it
  const second = await json(cluster, "snapshots", "create", "0", "--min-lsn", `${first[0].min_applied_lsn}`);
  equal(second[0].min_applied_lsn >= first[0].min_applied_lsn, true);
  const names = s3 ? [...s3.objects.keys()].map((k) => k.replace("/snapshots/some/prefix/", "")) : files(dir);
  const latest = JSON.parse(s3 ? s3.objects.get("/snapshots/some/prefix/0/latest.json").body : fs.readFileSync(path.join(dir, "0/latest.json")));
  equal([latest.snapshot_id, latest.min_applied_lsn], [second[0].snapshot_id, second[0].min_applied_lsn]);
  const kept = `0/lsn_${String(latest.min_applied_lsn).padStart(20, "0")}-${latest.snapshot_id}`;
  equal(names.filter((n) => n.startsWith("0/lsn_")).sort(), [`${kept}/metadata.json`, `${kept}/tables`]);
  if (s3) equal(s3.refused, []);
  const far = await restatectl(cluster, "snapshots", "create", "0", "--min-lsn", "99999999");
  match(far.text, /has applied LSN \d+ only/);
  await until("the archived LSN is known", async () => (await processors(cluster)).some((r) => r.id === 0 && r.mode === "Leader" && r.archived === latest.min_applied_lsn));
}, 60);

test("a node that joins after the logs were trimmed begins with snapshots", async ({ cluster, clients }) => {
  await trimAll(cluster);
  await someIncrements(clients, 8);
  Object.assign(cluster.node(3).env, often);
  cluster.spawn(3);
  await cluster.ready();
  await caughtUp(cluster, 3);
  equal(count(cluster.node(3).log, /snapshot imported/g) >= partitions, true, "imports of node 3");
}, 90);

test("a node that lost its tables gets them from the others, with the repository gone", async ({ cluster, s3, dir, clients }) => {
  await threeMembers(cluster);
  await trimAll(cluster);
  await cluster.kill(2);
  await someIncrements(clients, 8);
  const home = path.join(cluster.node(2).dir, "node2");
  for (const f of fs.readdirSync(home)) if (f.startsWith("data-")) fs.rmSync(path.join(home, f), { recursive: true });
  if (s3) s3.objects.clear();
  if (dir) for (let p = 0; p < partitions; p++) fs.rmSync(path.join(dir, `${p}`), { recursive: true, force: true });
  cluster.node(2).log = "";
  Object.assign(cluster.node(2).env, often);
  cluster.spawn(2);
  await until("a first one is imported", () => cluster.node(2).log.includes("snapshot imported"));
  await cluster.kill(2); // in the middle of the others
  // a join that reads metadata older than the one of its life before may refuse itself once; whoever supervises starts it again
  await until("node 2 joined again", async () => {
    if (!cluster.node(2).alive()) cluster.spawn(2);
    return ready(cluster.node(2)).catch(() => false);
  });
  await caughtUp(cluster, 2, 60);
}, 120);

test("leaders make snapshots by themselves, as configured", async ({ cluster, s3, dir, clients }) => {
  if (store === "none") return;
  await cluster.kill(1);
  clients.forEach((c) => (c.at = 1));
  await someIncrements(clients, 8);
  await until("every partition has a snapshot again", () =>
    Array.from({ length: partitions }, (_, p) => p).every((p) =>
      s3 ? s3.objects.has(`/snapshots/some/prefix/${p}/latest.json`) : fs.existsSync(path.join(dir, `${p}/latest.json`))));
}, 60);

test("who began with snapshots leads, and every counter stands where it stood", async ({ cluster, clients }) => {
  if (cluster.node(1).alive()) await cluster.kill(1);
  clients.forEach((c) => (c.at = 1));
  await someIncrements(clients, 8);
  await checkCounters(clients, cluster.node(2).ingress);
  await checkCounters(clients, cluster.node(3).ingress);
}, 90);

function files(dir) {
  return fs.readdirSync(dir).flatMap((p) => fs.readdirSync(path.join(dir, p)).flatMap((s) =>
    fs.statSync(path.join(dir, p, s)).isDirectory() ? fs.readdirSync(path.join(dir, p, s)).map((f) => `${p}/${s}/${f}`) : [`${p}/${s}`]));
}

await run({
  before: async () => {
    const s3 = store === "s3" ? await S3.create() : null;
    const dir = store === "dir" ? path.join(tempDir(), "snapshots") : null;
    const env = {
      RESTATE_DEFAULT_PARTITION_REPLICATION: '"*"',
      ...(s3 ? s3.env() : dir ? { RESTATE_WORKER__SNAPSHOTS__DESTINATION: `file://${dir}` } : {}),
    };
    const cluster = await Cluster.create({ engines: (options.engines ?? "lmdb,rocksdb,rocksdb").split(","), env });
    const service = await Service.create({ SDK: "@restatedev/restate-sdk" });
    const clients = [0, 1, 2].map((i) => new Client(`c${i}`, cluster.nodes.map((s) => s.ingress), { prefer: i % 2, counters: 8, timeout: 5000 }));
    cluster.spawn(1, 2);
    return { cluster, service, clients, s3, dir };
  },
  after: async ({ cluster, service }, bad) => {
    if (bad) showLogs(...cluster.nodes, service);
    await cluster.stop();
  },
});
