// SPDX-License-Identifier: Apache-2.0
// The services that the end-to-end tests call. Environment: SDK (module name, found from SDK_HOME), PORT, BIND, HTTP1=1,
// TLS_KEY and TLS_CERT (files).
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.SDK_HOME, "package.json"));
const restate = require(process.env.SDK ?? "@restatedev/restate-sdk");
const { TerminalError } = restate;
const RestatePromise = restate.RestatePromise ?? restate.CombineablePromise;
const attempts = new Map(); // how often this process ran something; not durable on purpose

function attempt(key) {
  const n = (attempts.get(key) ?? 0) + 1;
  attempts.set(key, n);
  return n;
}

const counter = restate.object({
  name: "Counter",
  handlers: {
    add: async (ctx, amount) => {
      const value = ((await ctx.get("count")) ?? 0) + amount;
      ctx.set("count", value);
      return value;
    },
    addThenFail: async (ctx, amount) => {
      ctx.set("count", ((await ctx.get("count")) ?? 0) + amount);
      throw new TerminalError(ctx.key);
    },
    slowAdd: async (ctx, amount) => {
      const before = (await ctx.get("count")) ?? 0;
      await ctx.sleep(30);
      ctx.set("count", before + amount);
      return before + amount;
    },
    reset: async (ctx) => ctx.clearAll(),
    keys: async (ctx) => (await ctx.stateKeys()).sort(),
    put: async (ctx, { name, value }) => ctx.set(name, value),
    get: restate.handlers.object.shared(async (ctx) => (await ctx.get("count")) ?? 0),
  },
});

const register = restate.object({
  name: "Register",
  handlers: {
    write: async (ctx, value) => ctx.set("value", value),
    read: async (ctx) => (await ctx.get("value")) ?? 0,
    peek: restate.handlers.object.shared(async (ctx) => (await ctx.get("value")) ?? 0),
  },
});

const greeter = restate.service({
  name: "Greeter",
  handlers: {
    greet: async (ctx, name) => `Hello ${name}`,
    empty: async () => {},
    fail: async (ctx, { message, code }) => {
      throw new TerminalError(message, { errorCode: code });
    },
    flaky: async (ctx, { key, failures }) => {
      const n = attempt(`flaky-${key}`);
      if (n <= failures) throw new Error(`attempt ${n} fails`);
      return n;
    },
    idempotencyKey: async (ctx) => ctx.request().idempotencyKey ?? null, // protocol 7
    idempotencyKeyOfCalled: async (ctx, key) =>
      ctx.genericCall({ service: "Greeter", method: "idempotencyKey", parameter: null, idempotencyKey: key, inputSerde: restate.serde.json, outputSerde: restate.serde.json }),
    header: async (ctx, name) => ctx.request().headers.get(name) ?? null,
    attemptHeader: async (ctx, name) => `${ctx.request().attemptHeaders.get(name) ?? ""}`,
    callCounter: async (ctx, { key, amount }) => ctx.objectClient(counter, key).add(amount),
    callBlock: async (ctx, key) => ctx.objectClient({ name: "Holder" }, key).block(),
    callFailing: async (ctx, message) => {
      try {
        await ctx.serviceClient({ name: "Greeter" }).fail({ message, code: 418 });
        return "no error";
      } catch (e) {
        if (!(e instanceof TerminalError)) throw e;
        return `${e.code} ${e.message}`;
      }
    },
    sendCounter: async (ctx, { key, amount, delay }) => {
      const client = ctx.objectSendClient(counter, key);
      if (delay) client.add(amount, restate.rpc.sendOpts({ delay }));
      else client.add(amount);
    },
    // A call, a step, a sleep and a send: what it began is finished, however often it is interrupted.
    chain: async (ctx, { key, other }) => {
      const value = await ctx.objectClient(counter, key).add(1);
      const step = await ctx.run("step", () => value);
      await ctx.sleep(5);
      ctx.objectSendClient(counter, other).add(1);
      return step;
    },
    runs: async (ctx, key) => {
      const a = await ctx.run("first", () => attempt(`runs-a-${key}`));
      const b = await ctx.run("second", async () => ({ n: attempt(`runs-b-${key}`) }));
      if (attempt(`runs-${key}`) === 1) throw new Error("once, so that the journal is replayed");
      const c = await ctx.run("third", () => attempt(`runs-c-${key}`));
      return [a, b.n, c];
    },
    runTerminal: async (ctx) => {
      await ctx.run("fails", () => {
        throw new TerminalError("terminal in run", { errorCode: 444 });
      });
    },
    runRetry: async (ctx, key) =>
      ctx.run("retried", () => {
        const n = attempt(`run-retry-${key}`);
        if (n < 3) throw new Error(`run attempt ${n}`);
        return n;
      }, { initialRetryInterval: 10, initialRetryIntervalMillis: 10, retryIntervalFactor: 1 }),
    runExhausted: async (ctx, key) => {
      try {
        await ctx.run("exhausted", () => {
          throw new Error(`attempt ${attempt(`run-exhausted-${key}`)}`);
        }, { maxRetryAttempts: 3, initialRetryInterval: 10, initialRetryIntervalMillis: 10 });
        return "no error";
      } catch (e) {
        if (!(e instanceof TerminalError)) throw e;
        return attempts.get(`run-exhausted-${key}`);
      }
    },
    sleep: async (ctx, millis) => {
      const before = await ctx.date.now();
      await ctx.sleep(millis);
      return (await ctx.date.now()) - before;
    },
    sleepAttempts: async (ctx, { key, millis }) => {
      attempt(`sleep-${key}`);
      await ctx.sleep(millis);
      return attempts.get(`sleep-${key}`);
    },
    manySleeps: async (ctx, n) => {
      await RestatePromise.all(Array.from({ length: n }, (_, i) => ctx.sleep(1 + (i % 7))));
      return n;
    },
    combineAll: async (ctx, key) => {
      const [a, b, c] = await RestatePromise.all([
        ctx.objectClient(counter, key).add(1),
        ctx.sleep(5),
        ctx.run("value", () => 7),
      ]);
      return [a, b ?? null, c];
    },
    combineRace: async (ctx) => {
      const { id, promise } = ctx.awakeable();
      void id;
      return RestatePromise.race([promise, ctx.sleep(20).map?.(() => "sleep") ?? ctx.sleep(20)]).then((v) => v ?? "sleep");
    },
    combineAny: async (ctx) =>
      RestatePromise.any([
        ctx.serviceClient({ name: "Greeter" }).fail({ message: "first", code: 400 }),
        ctx.serviceClient({ name: "Greeter" }).greet("any"),
      ]),
    combineSettled: async (ctx) => {
      const all = await RestatePromise.allSettled([
        ctx.serviceClient({ name: "Greeter" }).fail({ message: "no", code: 400 }),
        ctx.serviceClient({ name: "Greeter" }).greet("settled"),
      ]);
      return all.map((r) => r.status);
    },
    timeout: async (ctx) => {
      try {
        await ctx.awakeable().promise.orTimeout(20);
        return "completed";
      } catch {
        return "timeout";
      }
    },
    large: async (ctx, bytes) => ({ length: bytes.length, echo: bytes }),
    concurrent: async (ctx, n) => {
      const calls = Array.from({ length: n }, (_, i) => ctx.objectClient(counter, `fan-${i}-${ctx.rand.uuidv4()}`).add(i));
      return (await RestatePromise.all(calls)).reduce((a, b) => a + b, 0);
    },
  },
});

const holder = restate.object({
  name: "Holder",
  handlers: {
    wait: async (ctx) => {
      const { id, promise } = ctx.awakeable();
      await ctx.run("publish", () => void awakeables.set(ctx.key, id));
      return promise;
    },
    block: async (ctx) => {
      await ctx.sleep(24 * 3600 * 1000);
    },
    id: restate.handlers.object.shared(async (ctx) => awakeables.get(ctx.key) ?? null),
  },
});
const awakeables = new Map();

const signup = restate.workflow({
  name: "Signup",
  handlers: {
    run: async (ctx, input) => {
      ctx.set("input", input);
      const answer = await ctx.promise("answer");
      const peeked = await ctx.promise("answer").peek();
      if (peeked !== answer) throw new TerminalError(`peek gave ${peeked}`);
      ctx.set("done", true);
      return `${input} ${answer}`;
    },
    answer: async (ctx, value) => ctx.promise("answer").resolve(value),
    refuse: async (ctx, reason) => ctx.promise("answer").reject(reason),
    input: async (ctx) => (await ctx.get("input")) ?? null,
  },
});

const port = Number(process.env.PORT);
const endpoint = restate.endpoint().bind(counter).bind(register).bind(greeter).bind(holder).bind(signup);
const tls = process.env.TLS_KEY && { key: fs.readFileSync(process.env.TLS_KEY), cert: fs.readFileSync(process.env.TLS_CERT) };
const server = process.env.HTTP1
  ? http.createServer(endpoint.http1Handler())
  : tls ? http2.createSecureServer(tls, endpoint.http2Handler())
  : http2.createServer(endpoint.http2Handler());
server.listen(port, process.env.BIND ?? "127.0.0.1", () => console.log(`services on ${port}`));
