// SPDX-License-Identifier: Apache-2.0
// One memory limit: many invocations with large results, all suspended and started again at once, finish, and the
// process stays small. MEMORY_INVOCATIONS and MEMORY_RESULT (bytes) scale it; the full run is 2000 with 2097152.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Server, Service, equal, ok, options, request, run, sleep, test } from "./lib.mjs";

const invocations = Number(process.env.MEMORY_INVOCATIONS ?? 16);
const resultBytes = Number(process.env.MEMORY_RESULT ?? 2 << 20);
const results = 10;
const peakMiB = 400;
const seconds = Number(process.env.MEMORY_SECONDS ?? 120);

const services = path.join(path.dirname(fileURLToPath(import.meta.url)), "memory_services.mjs");

// VmHWM: the most that was ever resident.
const peak = (pid) => Number(/VmHWM:\s*(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;

async function patiently(call) { // while the server asks for patience
  for (;;) {
    const r = await call();
    if (r.status !== 429) return r;
    await sleep(100);
  }
}

async function finishes(env, bytes) {
  const service = await Service.create({}, services);
  const server = await Server.create({ engine: options.engine, env: { RESTATE_MEMORY_LIMIT: "256MiB", ...env } });
  await Promise.all([service.start(), server.start()]);
  ok(await server.register(service.uri), 201);
  const before = peak(server.child.pid);
  const ids = [];
  for (let i = 0; i < invocations; i++) {
    const r = await patiently(() => server.call(`Large/run/send`, { results, bytes }));
    ids.push(ok(r, 202).json().invocationId);
  }
  for (const id of ids) {
    const r = await patiently(() => request(`${server.ingress}/restate/invocation/${id}/attach`, { timeout: seconds * 1000 }));
    equal(ok(r).json(), results * bytes, "bytes");
  }
  const after = peak(server.child.pid);
  console.log(`# ${invocations} x ${results} x ${bytes} bytes: peak ${after.toFixed(0)} MiB, ${before.toFixed(0)} MiB before`);
  await Promise.all([service.kill(), server.kill()]);
  if (after >= peakMiB) throw new Error(`the server had ${after.toFixed(0)} MiB`);
}

test(`${invocations} suspended invocations with ${results} large results each finish within ${peakMiB} MiB`,
  () => finishes({}, resultBytes), seconds);

// A pool that a handful of results fill: most wait for memory most of the time.
test("they finish in a pool of 4 MiB as well",
  () => finishes({ RESTATE_WORKER__INVOKER__MEMORY_LIMIT: "4MiB" }, Math.min(resultBytes, 1 << 20)), seconds);

run();
