// SPDX-License-Identifier: Apache-2.0
// The services that execute the programs of interpreter.mjs. Environment: SDK_HOME, PORT, INGRESSES and ADMINS (JSON lists
// of addresses, for what handlers do from outside).
import http2 from "node:http2";
import { createRequire } from "node:module";
import path from "node:path";
import { layers, outcome, slots, sum } from "./interpreter.mjs";

const require = createRequire(path.join(process.env.SDK_HOME, "package.json"));
const restate = require("@restatedev/restate-sdk");
const { RestatePromise, TerminalError } = restate;
const ingresses = JSON.parse(process.env.INGRESSES);
const admins = JSON.parse(process.env.ADMINS);
const attempts = new Map(); // how often this process tried something; not durable on purpose

function attempt(key) {
  const n = (attempts.get(key) ?? 0) + 1;
  attempts.set(key, n);
  return n;
}

const quick = { initialRetryIntervalMillis: 10, maxRetryIntervalMillis: 500 };
const anyOf = (list) => list[Math.floor(Math.random() * list.length)];

// The answer of @promise as the model has it. Whatever is not an answer (a retry, a suspension) is none of our business.
async function settle(promise) {
  try {
    return { value: (await promise) ?? 0 };
  } catch (e) {
    if (!(e instanceof TerminalError)) throw e;
    return { code: e.code, message: e.message };
  }
}

const json = restate.serde.json;
const address = (frame) => ({ service: frame.service, key: frame.key, method: "run", parameter: frame, inputSerde: json, outputSerde: json });
const call = (ctx, frame, more = {}) => ctx.genericCall({ ...address(frame), ...more });
const helper = (ctx, method, parameter) => ctx.genericSend({ service: "Helper", method, parameter, inputSerde: json });

// Its effects are in the state before anybody can see that it is done.
async function add(ctx, slot, n) {
  const s = (await ctx.get(`slot${slot}`)) ?? { count: 0, sum: 0 };
  ctx.set(`slot${slot}`, { count: s.count + 1, sum: s.sum + n });
}

const steps = {
  add: async (ctx, { slot, n }) => {
    await add(ctx, slot, n);
    return { value: n };
  },
  call: (ctx, { frame }) => settle(call(ctx, frame)),
  send: async (ctx, { frame, delay }) => {
    ctx.genericSend({ ...address(frame), delay });
    return { value: 0 };
  },
  attach: async (ctx, { frame }) => {
    const id = await ctx.genericSend(address(frame)).invocationId;
    return settle(ctx.attach(id, json));
  },
  // the same idempotency key: executed once, answered twice
  twice: async (ctx, { frame, key }) => {
    const both = [call(ctx, frame, { idempotencyKey: key }), call(ctx, frame, { idempotencyKey: key })];
    const [a, b] = [await settle(both[0]), await settle(both[1])];
    if (outcome(a) !== outcome(b)) throw new TerminalError(`deviation: ${key} was answered ${JSON.stringify([a, b])}`);
    return { value: outcome(a) + outcome(b) };
  },
  settled: async (ctx, { frames, ms }) => {
    const all = await RestatePromise.allSettled([ctx.sleep(ms), ...frames.map((f) => call(ctx, f))]);
    return { value: all.slice(1).reduce((n, r) => n + outcome(r.status === "fulfilled" ? r : { message: r.reason.message }), 0) };
  },
  all: async (ctx, { frames, ms, n }) => {
    const all = await RestatePromise.all([ctx.run("n", () => n), ctx.sleep(ms), ...frames.map((f) => call(ctx, f))]);
    return { value: all.reduce((a, b) => a + (b ?? 0), 0) };
  },
  race: async (ctx, { frame, ms, wait }) => {
    const called = call(ctx, frame);
    await settle(RestatePromise.race([called, ctx.sleep(ms)]));
    return wait ? settle(called) : { value: 0 };
  },
  sleep: async (ctx, { ms }) => {
    await ctx.sleep(ms);
    return { value: 0 };
  },
  awakeable: async (ctx, { n, id, reject, ingress }) => {
    const { id: awakeable, promise } = ctx.awakeable();
    helper(ctx, ingress ? "completeFromOutside" : "complete", { awakeable, n, reason: reject ? `rejected ${id}` : null });
    return settle(promise);
  },
  signal: async (ctx, { n, id, reject }) => {
    helper(ctx, "signal", { invocation: ctx.request().id, name: id, n, reason: reject ? `rejected ${id}` : null });
    return settle(ctx.signal(id));
  },
  run: async (ctx, { n, id, failures, terminal }) =>
    settle(ctx.run("n", () => {
      if (terminal) throw new TerminalError(terminal);
      if (failures && attempt(id) <= failures) throw new Error("not yet");
      return n;
    }, quick)),
  crash: async (ctx, { id, times }) => {
    if (attempt(id) <= times) throw new Error("the handler fails");
    return { value: 0 };
  },
  workflow: async (ctx, { n, id, reject }) => {
    const run = () => ctx.genericCall({ service: "Flow", key: id, method: "run", parameter: n, inputSerde: json, outputSerde: json });
    const first = run();
    ctx.genericSend({ service: "Flow", key: id, method: "answer", parameter: { n, reason: reject ? `rejected ${id}` : null }, inputSerde: json });
    const answered = await settle(first);
    const second = await settle(run());
    return { value: outcome(answered) + (second.code ?? 0) };
  },
  timeout: async (ctx, { ms }) => {
    const r = await settle(ctx.awakeable().promise.orTimeout(ms));
    return { value: r.code };
  },
  // Somebody who waits for ever, until he is cancelled or killed.
  end: async (ctx, { id, n, how, nested, on }) => {
    const { id: awakeable, promise } = ctx.awakeable();
    const victim = ctx.genericCall({ service: "Victim", key: id, method: "hold", parameter: { id, n, nested, on, awakeable }, inputSerde: json, outputSerde: json });
    await promise;
    const invocation = await victim.invocationId;
    if (how === "cancel") ctx.cancel(invocation);
    else helper(ctx, "kill", invocation);
    const r = await settle(victim);
    return { value: r.code ?? 0 };
  },
  // State that comes and goes.
  scratch: async (ctx, { id, n }) => {
    ctx.set(id, n);
    const keys = await ctx.stateKeys();
    const value = await ctx.get(id);
    ctx.clear(id);
    const gone = await ctx.get(id);
    if (!keys.includes(id) || gone !== null) throw new TerminalError(`deviation: ${id} in ${keys}, after its removal ${gone}`);
    return { value };
  },
  fail: async (ctx, { message, code }) => ({ message, code }),
};

async function interpret(ctx, frame) {
  let value = 0;
  for (const step of frame.steps) {
    const r = await steps[step.do](ctx, step);
    if (r.message !== undefined && (step.rethrow || step.do === "fail")) throw new TerminalError(r.message, { errorCode: r.code });
    value = sum(value, outcome(r));
  }
  return value;
}

const state = restate.handlers.object.shared(async (ctx) => {
  const names = Array.from({ length: slots }, (_, i) => `slot${i}`);
  const more = (await ctx.stateKeys()).filter((k) => !names.includes(k));
  const values = [];
  for (const name of names) values.push((await ctx.get(name)) ?? { count: 0, sum: 0 });
  return { values, more };
});

const objects = Array.from({ length: layers }, (_, i) => restate.object({ name: `Layer${i}`, handlers: { run: interpret, state } }));
const step = restate.service({ name: "Step", handlers: { run: interpret } });

const victim = restate.object({
  name: "Victim",
  handlers: {
    hold: async (ctx, { id, n, nested, on, awakeable }) => {
      try {
        if (nested) {
          const inner = { id: `${id}-inner`, n, nested: false, on, awakeable };
          await ctx.genericCall({ service: "Victim", key: inner.id, method: "hold", parameter: inner, inputSerde: json, outputSerde: json });
        } else {
          ctx.resolveAwakeable(awakeable, 0);
          await (on === "sleep" ? ctx.sleep(24 * 3600 * 1000) : ctx.awakeable().promise);
        }
      } catch (e) {
        if (!(e instanceof TerminalError)) throw e;
        await add(ctx, 0, n);
        throw e;
      }
    },
    state,
  },
});

const flow = restate.workflow({
  name: "Flow",
  handlers: {
    run: async (ctx, n) => {
      ctx.set("n", n);
      return ctx.promise("answer");
    },
    answer: async (ctx, { n, reason }) => (reason ? ctx.promise("answer").reject(reason) : ctx.promise("answer").resolve(n)),
  },
});

// A request from outside, in a durable step: made again until it is answered.
const outside = (ctx, url, init, good) =>
  ctx.run("outside", async () => {
    const r = await fetch(url(), { ...init, signal: AbortSignal.timeout(5000) });
    if (!good.includes(r.status)) throw new Error(`${r.status} ${await r.text()}`);
  }, quick);

const helpers = restate.service({
  name: "Helper",
  handlers: {
    complete: async (ctx, { awakeable, n, reason }) => (reason ? ctx.rejectAwakeable(awakeable, reason) : ctx.resolveAwakeable(awakeable, n)),
    completeFromOutside: async (ctx, { awakeable, n, reason }) =>
      outside(ctx, () => `${anyOf(ingresses)}/restate/awakeables/${awakeable}/${reason ? "reject" : "resolve"}`,
        { method: "POST", body: reason ?? JSON.stringify(n), headers: { "content-type": reason ? "text/plain" : "application/json" } }, [200, 202]),
    signal: async (ctx, { invocation, name, n, reason }) => {
      const signal = ctx.invocation(invocation).signal(name, json);
      if (reason) signal.reject(reason);
      else signal.resolve(n);
    },
    kill: async (ctx, invocation) =>
      outside(ctx, () => `${anyOf(admins)}/invocations/${invocation}/kill`, { method: "PATCH" }, [200, 202, 404, 409]),
  },
});

const endpoint = restate.endpoint();
for (const s of [...objects, step, victim, flow, helpers]) endpoint.bind(s);
const port = Number(process.env.PORT);
http2.createServer(endpoint.http2Handler()).listen(port, process.env.BIND ?? "127.0.0.1", () => console.log(`services on ${port}`));
