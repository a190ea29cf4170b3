// SPDX-License-Identifier: Apache-2.0
// The services that the conformance tests call; names and handlers are those of the public suites' contract, so that
// their clients work with them too. Environment: SDK_HOME (where the SDK is installed), PORT, SERVICES (names, or `*`),
// E2E_REQUEST_SIGNING (a public key: requests must be signed with its private half), VERSION (of the upgrade services).
import http2 from "node:http2";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.SDK_HOME, "package.json"));
const restate = require("@restatedev/restate-sdk");
const { TerminalError, RestatePromise } = restate;
const { object, service, workflow, serde } = restate;
const shared = restate.handlers.object.shared;
const version = process.env.VERSION ?? "v1";
const counts = new Map(); // how often this process did something; not durable on purpose

function count(name) {
  const n = (counts.get(name) ?? 0) + 1;
  counts.set(name, n);
  return n;
}

const counter = object({
  name: "Counter",
  handlers: {
    add: async (ctx, n) => {
      const oldValue = (await ctx.get("counter")) ?? 0;
      ctx.set("counter", oldValue + n);
      return { oldValue, newValue: oldValue + n };
    },
    addThenFail: async (ctx, n) => {
      ctx.set("counter", ((await ctx.get("counter")) ?? 0) + n);
      throw new TerminalError(ctx.key);
    },
    get: shared(async (ctx) => (await ctx.get("counter")) ?? 0),
    reset: async (ctx) => ctx.clear("counter"),
  },
});

const listObject = object({
  name: "ListObject",
  handlers: {
    append: async (ctx, value) => ctx.set("list", [...((await ctx.get("list")) ?? []), value]),
    get: async (ctx) => (await ctx.get("list")) ?? [],
    clear: async (ctx) => {
      const list = (await ctx.get("list")) ?? [];
      ctx.clear("list");
      return list;
    },
  },
});

const mapObject = object({
  name: "MapObject",
  handlers: {
    set: async (ctx, { key, value }) => ctx.set(key, value),
    get: async (ctx, key) => (await ctx.get(key)) ?? "",
    clearAll: async (ctx) => {
      const entries = [];
      for (const key of await ctx.stateKeys()) entries.push({ key, value: await ctx.get(key) });
      ctx.clearAll();
      return entries;
    },
  },
});

const awakeableHolder = object({
  name: "AwakeableHolder",
  handlers: {
    hold: async (ctx, id) => ctx.set("id", id),
    hasAwakeable: async (ctx) => (await ctx.get("id")) !== null,
    unlock: async (ctx, payload) => {
      const id = await ctx.get("id");
      if (id === null) throw new Error("no awakeable is held");
      ctx.resolveAwakeable(id, payload);
      ctx.clear("id");
    },
  },
});

async function holdAndWait(ctx) {
  const { id, promise } = ctx.awakeable();
  await ctx.objectClient(awakeableHolder, ctx.key).hold(id);
  await promise;
}

const cancelTestBlockingService = object({
  name: "CancelTestBlockingService",
  handlers: {
    block: async (ctx, operation) => {
      await holdAndWait(ctx);
      if (operation === "CALL") await ctx.objectClient(cancelTestBlockingService, ctx.key).block(operation);
      else if (operation === "SLEEP") await ctx.sleep(1024 * 24 * 3600 * 1000);
      else if (operation === "AWAKEABLE") await ctx.awakeable().promise;
      else throw new TerminalError(`unknown operation ${operation}`);
    },
    isUnlocked: async () => {},
  },
});

const cancelTestRunner = object({
  name: "CancelTestRunner",
  handlers: {
    startTest: async (ctx, operation) => {
      try {
        await ctx.objectClient(cancelTestBlockingService, ctx.key).block(operation);
      } catch (e) {
        if (!(e instanceof TerminalError) || e.code !== 409) throw e;
        ctx.set("canceled", true);
      }
    },
    verifyTest: async (ctx) => (await ctx.get("canceled")) ?? false,
  },
});

const killTestSingleton = object({
  name: "KillTestSingleton",
  handlers: {
    recursiveCall: async (ctx) => {
      await holdAndWait(ctx);
      await ctx.objectClient(killTestSingleton, ctx.key).recursiveCall();
    },
    isUnlocked: async () => {},
  },
});

const killTestRunner = object({
  name: "KillTestRunner",
  handlers: { startCallTree: async (ctx) => ctx.objectClient(killTestSingleton, ctx.key).recursiveCall() },
});

const failing = object({
  name: "Failing",
  handlers: {
    terminallyFailingCall: async (ctx, { errorMessage, metadata }) => {
      throw new TerminalError(errorMessage, { metadata });
    },
    callTerminallyFailingCall: async (ctx, request) => {
      await ctx.objectClient(failing, ctx.rand.uuidv4()).terminallyFailingCall(request);
      throw new TerminalError("the call did not fail", { errorCode: 501 });
    },
    failingCallWithEventualSuccess: async (ctx) => {
      const n = count(`eventual-${ctx.key}`);
      if (n < 4) throw new Error(`attempt ${n} fails`);
      return n;
    },
    terminallyFailingSideEffect: async (ctx, { errorMessage, metadata }) => {
      await ctx.run("fails", () => {
        throw new TerminalError(errorMessage, { metadata });
      });
      throw new TerminalError("the step did not fail", { errorCode: 501 });
    },
    sideEffectSucceedsAfterGivenAttempts: async (ctx, attempts) =>
      ctx.run("eventually", () => {
        const n = count(`step-${ctx.key}`);
        if (n < attempts) throw new Error(`attempt ${n} fails`);
        return n;
      }, { initialRetryInterval: 10, retryIntervalFactor: 1 }),
    sideEffectFailsAfterGivenAttempts: async (ctx, attempts) => {
      try {
        await ctx.run("never", () => {
          throw new Error(`attempt ${count(`step-${ctx.key}`)} fails`);
        }, { maxRetryAttempts: attempts, initialRetryInterval: 10, retryIntervalFactor: 1 });
      } catch (e) {
        if (e instanceof TerminalError) return counts.get(`step-${ctx.key}`);
        throw e;
      }
      throw new TerminalError("the step did not fail", { errorCode: 501 });
    },
  },
});

// Each attempt takes the other branch, so that the second one finds another journal than it would write.
function branches(left, right) {
  return async (ctx) => {
    if (count(`branch-${ctx.key}`) % 2 === 1) await left(ctx);
    else await right(ctx);
    await ctx.sleep(100);
    ctx.objectSendClient(counter, ctx.key).add(1);
  };
}
const nonDeterministic = object({
  name: "NonDeterministic",
  handlers: {
    eitherSleepOrCall: branches((ctx) => ctx.sleep(100), (ctx) => ctx.objectClient(counter, "other").get()),
    callDifferentMethod: branches(
      (ctx) => ctx.objectClient(counter, "other").get(),
      (ctx) => ctx.objectClient(counter, "other").reset()),
    backgroundInvokeWithDifferentTargets: branches(
      (ctx) => ctx.objectSendClient(counter, "other").get(),
      (ctx) => ctx.objectSendClient(counter, "other").reset()),
    setDifferentKey: branches((ctx) => ctx.set("a", "left"), (ctx) => ctx.set("b", "right")),
  },
});

const toRequest = (r) => ({
  service: r.serviceName,
  method: r.handlerName,
  key: r.virtualObjectKey ?? undefined,
  parameter: Uint8Array.from(r.message),
  inputSerde: serde.binary,
  idempotencyKey: r.idempotencyKey ?? undefined,
  ...(r.scope ? { scope: r.scope } : {}),
  ...(r.limitKey ? { limitKey: r.limitKey } : {}),
});
const toCall = (r) => ({ ...toRequest(r), outputSerde: serde.binary });
const toSend = (r) => ({ ...toRequest(r), delay: r.delayMillis ?? undefined });
const proxy = service({
  name: "Proxy",
  handlers: {
    call: async (ctx, request) => Array.from(await ctx.genericCall(toCall(request))),
    oneWayCall: async (ctx, request) => ctx.genericSend(toSend(request)).invocationId,
    manyCalls: async (ctx, requests) => {
      const wait = [];
      for (const { proxyRequest, oneWayCall, awaitAtTheEnd } of requests) {
        if (oneWayCall) {
          ctx.genericSend(toSend(proxyRequest));
        } else {
          const call = ctx.genericCall(toCall(proxyRequest));
          if (awaitAtTheEnd) wait.push(call);
        }
      }
      await RestatePromise.all(wait);
    },
  },
});

const testUtilsService = service({
  name: "TestUtilsService",
  handlers: {
    echo: async (ctx, text) => text,
    uppercaseEcho: async (ctx, text) => text.toUpperCase(),
    echoHeaders: async (ctx) => Object.fromEntries(ctx.request().headers),
    rawEcho: restate.handlers.handler({ input: serde.binary, output: serde.binary }, async (ctx, bytes) => bytes),
    sleepConcurrently: async (ctx, millis) => {
      await RestatePromise.all(millis.map((ms) => ctx.sleep(ms)));
    },
    countExecutedSideEffects: async (ctx, n) => {
      let executed = 0;
      for (let i = 0; i < n; i++) await ctx.run(`step ${i}`, () => void executed++);
      return executed;
    },
    cancelInvocation: async (ctx, id) => ctx.cancel(id),
    resolveSignal: async (ctx, { invocationId, signalName, value }) =>
      ctx.invocation(invocationId).signal(signalName).resolve(value),
    rejectSignal: async (ctx, { invocationId, signalName, reason }) =>
      ctx.invocation(invocationId).signal(signalName).reject(reason),
    waitSignal: async (ctx, name) => ctx.signal(name),
  },
});

const blockAndWaitWorkflow = workflow({
  name: "BlockAndWaitWorkflow",
  handlers: {
    run: async (ctx, input) => {
      ctx.set("input", input);
      const value = await ctx.promise("p");
      if ((await ctx.promise("p").peek()) === undefined) throw new TerminalError("the promise is not completed");
      return value;
    },
    unblock: async (ctx, value) => ctx.promise("p").resolve(value),
    getState: async (ctx) => (await ctx.get("input")) ?? "",
  },
});

function awaitable(ctx, c) {
  switch (c.type) {
    case "createAwakeable": {
      const { id, promise } = ctx.awakeable();
      ctx.set(`awk-${c.awakeableKey}`, id);
      return promise;
    }
    case "sleep":
      return ctx.sleep(c.timeoutMillis).map(() => "sleep");
    case "runReturns":
      return ctx.run("returns", () => c.value);
    case "runThrowTerminalException":
      return ctx.run("throws", () => {
        throw new TerminalError(c.reason);
      });
    case "createSignal":
      return ctx.signal(c.signalName);
    default:
      throw new TerminalError(`unknown awaitable ${c.type}`);
  }
}

async function completeHeld(ctx, { awakeableKey, value, reason }) {
  const id = await ctx.get(`awk-${awakeableKey}`);
  if (id === null) throw new TerminalError(`no awakeable ${awakeableKey}`);
  if (reason !== undefined) ctx.rejectAwakeable(id, reason);
  else ctx.resolveAwakeable(id, value);
}

async function interpret(ctx, c) {
  const all = () => c.commands.map((x) => awaitable(ctx, x));
  switch (c.type) {
    case "awaitOne":
      return awaitable(ctx, c.command);
    case "awaitAny":
    case "awaitFirstCompleted":
      return RestatePromise.race(all());
    case "awaitAnySuccessful":
    case "awaitFirstSucceededOrAllFailed":
      return RestatePromise.any(all());
    case "awaitAllSucceededOrFirstFailed":
      return (await RestatePromise.all(all())).join("|");
    case "awaitAllCompleted":
      return (await RestatePromise.allSettled(all()))
        .map((r) => (r.status === "fulfilled" ? `ok:${r.value}` : `err:${r.reason.message}`)).join("|");
    case "awaitAwakeableOrTimeout": {
      const waiting = awaitable(ctx, { type: "createAwakeable", awakeableKey: c.awakeableKey });
      try {
        return await waiting.orTimeout(c.timeoutMillis);
      } catch (e) {
        if (e instanceof restate.TimeoutError) throw new TerminalError("await-timeout");
        throw e;
      }
    }
    case "resolveAwakeable":
    case "rejectAwakeable":
      await completeHeld(ctx, c);
      return "";
    case "getEnvVariable":
      return ctx.run("environment", () => process.env[c.envName] ?? "");
    default:
      throw new TerminalError(`unknown command ${c.type}`);
  }
}

const virtualObjectCommandInterpreter = object({
  name: "VirtualObjectCommandInterpreter",
  handlers: {
    interpretCommands: async (ctx, { commands }) => {
      let result = "";
      for (const c of commands) {
        result = await interpret(ctx, c);
        ctx.set("results", [...((await ctx.get("results")) ?? []), result]);
      }
      return result;
    },
    resolveAwakeable: shared(completeHeld),
    rejectAwakeable: shared(completeHeld),
    hasAwakeable: shared(async (ctx, key) => (await ctx.get(`awk-${key}`)) !== null),
    getResults: shared(async (ctx) => (await ctx.get("results")) ?? []),
  },
});

// ---- services of the server's own tests ----

const pauseProbe = service({
  name: "PauseProbe",
  handlers: {
    // fails ten times; the tests make ten attempts the limit
    run: async (ctx, key) => {
      const n = count(`pause-${key}`);
      if (n <= 10) throw new Error(`attempt ${n} fails`);
      return `after ${n}`;
    },
    // works on the second version only
    runOn: async (ctx, wanted) => {
      await ctx.run("pins the deployment", () => true);
      if (version !== wanted) throw new Error(`this is ${version}`);
      return version;
    },
  },
});

const restartProbe = service({
  name: "RestartProbe",
  handlers: {
    once: async (ctx, key) => {
      const n = count(`restart-${key}`);
      if (n === 1) throw new TerminalError("the first time fails");
      return `time ${n}`;
    },
    prefix: async (ctx, key) => {
      const first = await ctx.run("first", () => count(`prefix-${key}`));
      const second = await ctx.run("second", () => count(`prefix-second-${key}`));
      if (second === 1) throw new TerminalError("the first time fails");
      return [first, second];
    },
  },
});

const awakeableProbe = object({
  name: "AwakeableProbe",
  handlers: {
    wait: async (ctx) => {
      const { id, promise } = ctx.awakeable();
      ctx.set("id", id);
      return promise;
    },
    id: shared(async (ctx) => (await ctx.get("id")) ?? ""),
  },
});

const journalProbe = service({
  name: "JournalProbe",
  handlers: { sleep: async (ctx) => ctx.sleep(1) },
});

const upgradeProbe = service({
  name: "UpgradeProbe",
  handlers: {
    simple: async () => version,
    inFlight: async (ctx, key) => {
      const before = await ctx.run("version", () => version);
      const { id, promise } = ctx.awakeable();
      await ctx.objectClient(awakeableHolder, key).hold(id);
      await promise;
      return [before, version];
    },
  },
});

const memoryProbe = object({
  name: "MemoryProbe",
  handlers: {
    runs: async (ctx, bytes) => (await ctx.run("large", () => "x".repeat(bytes))).length,
    fill: async (ctx, { entries, bytes }) => {
      for (let i = 0; i < entries; i++) ctx.set(`k${i}`, "x".repeat(bytes));
    },
    load: async (ctx) => {
      let sum = 0;
      for (const key of await ctx.stateKeys()) sum += (await ctx.get(key)).length;
      return sum;
    },
  },
});

// ---- the endpoint ----

const all = [counter, listObject, mapObject, awakeableHolder, cancelTestBlockingService, cancelTestRunner,
  killTestSingleton, killTestRunner, failing, nonDeterministic, proxy, testUtilsService, blockAndWaitWorkflow,
  virtualObjectCommandInterpreter, pauseProbe, restartProbe, journalProbe, upgradeProbe, memoryProbe,
  awakeableProbe];
const wanted = (process.env.SERVICES ?? "*").split(",");
const endpoint = restate.endpoint();
for (const s of all) if (wanted.includes("*") || wanted.includes(s.name)) endpoint.bind(s);
if (process.env.E2E_REQUEST_SIGNING) endpoint.withIdentityV1(process.env.E2E_REQUEST_SIGNING);
const port = Number(process.env.PORT);
http2.createServer(endpoint.http2Handler()).listen(port, "127.0.0.1", () => console.log(`services on ${port}`));
