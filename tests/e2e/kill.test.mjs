// SPDX-License-Identifier: Apache-2.0
// Acknowledged work survives kills: clients count with idempotency keys while the server (and now and then the service) is
// killed at random moments and started again on the same directory.
//
//   node tests/e2e/kill.test.mjs [--engine rocksdb|lmdb] [--kills 50] [--seed N] [--keys 12] [--clients 8] [--keep]
//
// At the end every counter stands at the number of its increments: none lost, none counted twice; and every acknowledged
// value occurred once.
import { Server, Service, equal, ok, options, random, request, run, showLogs, sleep, test, until } from "./lib.mjs";

const kills = Number(options.kills ?? 50);
const seed = Number(options.seed ?? Date.now() % 1000000);
const nKeys = Number(options.keys ?? 12);
const nClients = Number(options.clients ?? 8);
const rnd = random(seed);
const start = Date.now();

test(`${kills} kills lose nothing and double nothing`, async ({ server, service }) => {
  const acked = new Map(); // counter -> the values that its increments returned
  const sent = new Map(); // counter -> how many sends it has to get
  const tried = { requests: 0, increments: 0 };
  let stop = false;

  // One increment: tried with the same key until it is acknowledged.
  async function increment(client, n) {
    const counter = `k${Math.floor(rnd() * nKeys)}`;
    const headers = { "idempotency-key": `s${seed}-c${client}-n${n}` };
    const other = `sent-${counter}`;
    const how = rnd(); // from outside; or from a handler, which is an invocation of its own, on another partition
    const [target, json] = how < 0.6 ? [`Counter/${counter}/add`, 1]
      : how < 0.8 ? ["Greeter/callCounter", { key: counter, amount: 1 }]
        : ["Greeter/chain", { key: counter, other }];
    const end = Date.now() + 120000;
    for (;;) {
      tried.requests++;
      const r = await request(`${server.ingress}/${target}`, { json, headers, timeout: 20000 }).catch(() => null);
      if (r?.status === 200) {
        if (!acked.has(counter)) acked.set(counter, []);
        acked.get(counter).push(r.json());
        tried.increments++;
        if (how >= 0.8) sent.set(other, (sent.get(other) ?? 0) + 1);
        return;
      }
      if (r && ![429, 500, 502, 503].includes(r.status)) throw new Error(`${target}: status ${r.status}: ${r.text}`);
      if (Date.now() > end) throw new Error(`client ${client}, increment ${n} of ${counter}: not acknowledged for two minutes (last: ${r?.status} ${r?.text})`);
      await sleep(20);
    }
  }

  async function client(c) {
    for (let n = 0; !stop; n++) await increment(c, n);
  }

  const clients = Array.from({ length: nClients }, (_, c) => client(c));
  let failure = null;
  clients.forEach((c) => c.catch((e) => { failure ??= e; stop = true; }));
  let serviceKills = 0;
  let early = 0;
  for (let k = 1; k <= kills && !failure; k++) {
    await sleep(10 + rnd() * 390);
    if (rnd() < 0.15) {
      serviceKills++;
      await service.kill();
      await service.start();
    }
    const clean = rnd() < 0.1; // now and then it may end in peace
    const was = server.alive();
    const ended = await server.kill(clean ? "SIGTERM" : "SIGKILL");
    if (!was) throw new Error(`the server had ended by itself: ${JSON.stringify(ended)}\n${server.log.slice(0, 6000)}`);
    if (clean) equal(ended, { code: 0, signal: null }, "the server ends by itself");
    server.log = "";
    if (rnd() < 0.2) { // a start is interrupted as well
      early++;
      server.spawnOnly();
      await sleep(rnd() * 150);
      const interrupted = await server.kill();
      if (interrupted.signal !== "SIGKILL") throw new Error(`a start failed: ${JSON.stringify(interrupted)}\n${server.log.slice(0, 6000)}`);
    }
    await server.start();
    if (k % 10 === 0) console.log(`# ${k} kills, ${tried.increments} increments acknowledged, ${Math.round((Date.now() - start) / 1000)} s`);
  }
  await sleep(200);
  stop = true;
  const hung = sleep(130000).then(() => { throw new Error("clients hang"); });
  await Promise.race([Promise.all(clients), hung]);

  let total = 0;
  for (const [counter, values] of [...acked].sort()) {
    const value = await until("the counter answers", async () => ok(await server.call(`Counter/${counter}/get`)).json());
    values.sort((a, b) => a - b);
    const twice = values.filter((v, i) => i && values[i - 1] === v);
    equal(twice, [], `${counter}: values acknowledged twice`);
    equal(value, values.length, `${counter}: its value against its ${values.length} acknowledged increments`);
    equal(values[values.length - 1], values.length, `${counter}: the highest acknowledged value`);
    total += value;
  }
  equal(total, tried.increments, "increments");
  const count = async (counter) => ok(await server.call(`Counter/${counter}/get`)).json();
  for (const [counter, n] of sent) await until(`${counter} gets its ${n} sends`, async () => (await count(counter)) >= n);
  await sleep(500); // long enough for one that came twice
  for (const [counter, n] of sent) equal(await count(counter), n, `${counter}: sends`);
  console.log(`# ${total} increments in ${tried.requests} requests over ${kills} kills of the server, ${early} of its starts, ${serviceKills} of the service`);
}, 900);

await run({
  before: async () => {
    console.log(`# seed ${seed}, engine ${options.engine ?? "default"}`);
    const server = await Server.create({
      engine: options.engine,
      env: { RESTATE_DEFAULT_RETRY_POLICY__INITIAL_INTERVAL: "20ms", RESTATE_DEFAULT_RETRY_POLICY__MAX_INTERVAL: "500ms" },
    });
    const service = await Service.create();
    await Promise.all([server.start(), service.start()]);
    ok(await server.register(service.uri), 201);
    return { server, service };
  },
  after: async ({ server, service }, bad) => {
    if (bad) {
      console.log(`# again with: node tests/e2e/kill.test.mjs --engine ${options.engine ?? "rocksdb"} --kills ${kills} --seed ${seed}`);
      showLogs(server, service);
    }
  },
});
