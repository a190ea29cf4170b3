// SPDX-License-Identifier: Apache-2.0
// SQL in a cluster of three: every node answers for all partitions, wherever their leaders are, also when a node is gone.
import { Cluster } from "./cluster.mjs";
import { Service, equal, match, ok, options, request, run, showLogs, test, until } from "./lib.mjs";

const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
const sql = (s, query) => request(`${s.admin}/query`, { json: { query }, headers: { accept: "application/json" } });
const rows = async (s, query) => ok(await sql(s, query)).json().rows;

test("three nodes are ready, and know the service", async ({ cluster, service }) => {
  await Promise.all([cluster.ready(), service.start()]);
  ok(await cluster.node(1).register(service.uri), 201);
  for (const s of cluster.nodes)
    await until(`${s.name} knows the service`, async () => (await s.call("Counter/first/get")).status === 200);
}, 60);

test("every node sees the state of all keys as soon as it is acknowledged", async ({ cluster }) => {
  for (const [i, k] of keys.entries()) {
    ok(await cluster.nodes[i % 3].call(`Counter/${k}/add`, i + 1));
    const [row] = await rows(cluster.nodes[(i + 1) % 3], `select value_utf8 from state where service_key = '${k}' and service_name = 'Counter'`);
    equal(row?.value_utf8, `${i + 1}`, `${k} asked at ${cluster.nodes[(i + 1) % 3].name}`);
  }
  for (const s of cluster.nodes) {
    const all = await rows(s, "select service_key, value_utf8 from state where service_name = 'Counter' and service_key like 'k%'");
    equal(all.length, keys.length, s.name);
    equal(all.every((r) => r.value_utf8 === `${Number(r.service_key.slice(1)) + 1}`), true);
    const done = await rows(s, "select target_service_key as k, completion_result as r from sys_invocation where target_handler_name = 'add'");
    equal([done.length, done.every((d) => d.r === "success")], [keys.length, true]);
    const entries = await rows(s, "select count(1) as n from sys_journal j join sys_invocation_status i on i.id = j.id where i.target_handler_name = 'add' and j.index = 0");
    equal(entries, [{ n: keys.length }]);
  }
}, 60);

test("every node sees what runs at the other leaders", async ({ cluster }) => {
  const ids = [];
  for (const k of keys.slice(0, 12)) ids.push(ok(await cluster.node(1).call(`Holder/${k}/block/send`, 60000), 202).json().invocationId);
  for (const s of cluster.nodes) {
    await until(`${s.name} sees them run`, async () => {
      const list = await rows(s, `select id, status, last_attempt_deployment_id as d from sys_invocation where id in (${ids.map((i) => `'${i}'`)})`);
      return list.length === ids.length && list.every((r) => r.status === "running" && r.d?.startsWith("dp_"));
    });
    equal((await rows(s, "select count(1) as n from sys_invocation_state where in_flight"))[0].n, ids.length);
  }
}, 60);

test("with one node gone the others still answer for everything", async ({ cluster }) => {
  await cluster.kill(3);
  for (const s of cluster.nodes.slice(0, 2))
    await until(`${s.name} answers`, async () => {
      const r = await sql(s, "select count(1) as n from state where service_name = 'Counter' and service_key like 'k%'");
      if (r.status === 500) match(r.json().message, /partition \d+ cannot be read/);
      return r.status === 200 && r.json().rows[0].n === keys.length;
    }, 40);
}, 60);

await run({
  before: async () => {
    const cluster = await Cluster.create({ engines: (options.engines ?? "lmdb,rocksdb").split(",") });
    const service = await Service.create({ SDK: "@restatedev/restate-sdk" });
    cluster.spawn();
    return { cluster, service };
  },
  after: async ({ cluster, service }, bad) => {
    if (bad) showLogs(...cluster.nodes, service);
    await cluster.stop();
  },
});
