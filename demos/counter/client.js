// SPDX-License-Identifier: Apache-2.0
// Three clients that count: each prefers another node and moves to the next when the connection fails. One idempotency key
// per increment; the i-th increment of a counter has to be answered with i.
//
//   node client.js URL1 URL2 URL3          the ingress addresses of the nodes; ends with ^C
//
// Prints a line of progress per second, and a line per increment that took longer than 500 ms.
import * as clients from "@restatedev/restate-sdk-clients";

const urls = process.argv.slice(2);
const run = Math.random().toString(36).slice(2, 8);
const counter = { name: "Counter" };
let stopped = false;
const all = urls.map((_, i) => ({ name: `client${i + 1}`, at: i, key: `${run}-${i + 1}`, count: 0, worst: 0 }));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function increment(c) {
  const expected = c.count + 1;
  const begin = Date.now();
  while (!stopped) {
    try {
      const ingress = clients.connect({ url: urls[c.at] });
      const answer = await ingress.objectClient(counter, c.key).add(1, clients.Opts.from({
        idempotencyKey: `${c.key}-${expected}`, timeout: 20_000 }));
      if (answer.count !== expected) throw Object.assign(new Error(`${c.name}: increment ${expected} was answered ${answer.count}`), { wrong: true });
      c.count = expected;
      const ms = Date.now() - begin;
      c.worst = Math.max(c.worst, ms);
      if (ms > 500) console.log(`${c.name}: increment ${expected} took ${ms} ms`);
      return;
    } catch (e) {
      if (e.wrong) throw e;
      c.at = (c.at + 1) % urls.length;
      await sleep(20);
    }
  }
}

async function count(c) {
  while (!stopped) {
    await increment(c);
    await sleep(10);
  }
}

const line = () => console.log(`counts ${all.map((c) => `${c.key}=${c.count}`).join(" ")}`);
const progress = setInterval(line, process.env.PROGRESS_MS ? Number(process.env.PROGRESS_MS) : 1000);
process.on("SIGTERM", () => (stopped = true));
process.on("SIGINT", () => (stopped = true));
try {
  await Promise.all(all.map(count));
  line();
} catch (e) {
  console.log(`WRONG ${e.message}`);
  process.exitCode = 1;
  stopped = true;
}
clearInterval(progress);
process.exit();
