// SPDX-License-Identifier: Apache-2.0
// The SDK conformance tests of the public suites, ported: same names, same services, plain HTTP.
import { execFile } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { equal, match, tempDir } from "../e2e/lib.mjs";
import { fromBytes, ok, proxied, randomKey, sleep, test, until } from "./harness.mjs";

const most = "D 3 A 3A S";

async function expectError(response, code, text) {
  const r = await response;
  if (r.status < 400) throw new Error(`expected a failure, got ${r.status}: ${r.text.slice(0, 200)}`);
  if (code) equal(r.status, code, "status");
  if (text) match(r.json().message, text instanceof RegExp ? text : new RegExp(text), "message");
  return r.json();
}

// ---- CallOrdering ----

for (const [variant, sends] of [["call,send,send", [true, false, false]], ["send,call,send", [false, true, false]],
  ["call,call,send", [true, true, false]]]) {
  test(`CallOrdering.ordering ${variant}`, "D 3 S", async (c) => {
    const list = randomKey();
    await c.value("Proxy/manyCalls", sends.map((oneWayCall, i) => ({
      proxyRequest: proxied("ListObject", list, "append", `${i}`), oneWayCall, awaitAtTheEnd: true,
    })));
    await until("all three are appended", async () => (await c.value(`ListObject/${list}/get`)).length === 3);
    equal(await c.value(`ListObject/${list}/get`), ["0", "1", "2"], "the list");
  });
}

// ---- Cancellation ----

async function blockedTree(c, operation) {
  const key = randomKey();
  const { invocationId } = await c.send(`CancelTestRunner/${key}/startTest`, operation);
  await until("the blocking service holds its awakeable", () => c.value(`AwakeableHolder/${key}/hasAwakeable`));
  await c.value(`AwakeableHolder/${key}/unlock`, "cancel");
  return { key, invocationId };
}

async function expectCanceled(c, key) {
  await until("the runner saw the cancellation", () => c.value(`CancelTestRunner/${key}/verifyTest`), 60);
  await c.value(`CancelTestBlockingService/${key}/isUnlocked`);
}

for (const operation of ["CALL", "SLEEP", "AWAKEABLE"]) {
  test(`Cancellation.cancelFromAdminAPI ${operation}`, most, async (c) => {
    const { key, invocationId } = await blockedTree(c, operation);
    const cancel = () => c.manage("PATCH", `invocations/${invocationId}/cancel`);
    const first = await cancel();
    if (first.status !== 202 && first.status !== 200) throw new Error(`cancel: ${first.status} ${first.text}`);
    // like the original, ask again until it is seen; a finished invocation answers 404 or 409
    await until("the runner saw the cancellation", async () => {
      if (await c.value(`CancelTestRunner/${key}/verifyTest`)) return true;
      const again = await cancel();
      if (![200, 202, 404, 409].includes(again.status)) throw new Error(`cancel again: ${again.status} ${again.text}`);
      return false;
    }, 60);
    await expectCanceled(c, key);
    const after = await until("the invocation has ended", async () => {
      const r = await cancel();
      return r.status === 404 || r.status === 409 ? r : null;
    });
    if (after.status === 409) match(after.json().message, /./, "message");
  });
  test(`Cancellation.cancelFromContext ${operation}`, most, async (c) => {
    const { key, invocationId } = await blockedTree(c, operation);
    await c.value("TestUtilsService/cancelInvocation", invocationId);
    await expectCanceled(c, key);
  });
}

// ---- Combinators ----

const interpreter = "VirtualObjectCommandInterpreter";

async function start(c, command) {
  const key = randomKey();
  const { invocationId } = await c.send(`${interpreter}/${key}/interpretCommands`, { commands: [command] });
  return {
    key,
    invocationId,
    signal: (signalName, value) => c.value("TestUtilsService/resolveSignal", { invocationId, signalName, value }),
    reject: (signalName, reason) => c.value("TestUtilsService/rejectSignal", { invocationId, signalName, reason }),
    result: async () => ok(await c.get(`restate/invocation/${invocationId}/attach`)).json(),
  };
}
const held = (c, key, awakeableKey) =>
  until(`the awakeable ${awakeableKey} exists`, () => c.value(`${interpreter}/${key}/hasAwakeable`, awakeableKey));
const signals = (...names) => names.map((signalName) => ({ type: "createSignal", signalName }));
const returns = (value) => ({ type: "runReturns", value });
const throws = (reason) => ({ type: "runThrowTerminalException", reason });

test("Combinators.awakeableOrTimeoutUsingAwaitAny", most, async (c) => {
  const commands = [{ type: "awaitAny", commands: [{ type: "createAwakeable", awakeableKey: "a" }, { type: "sleep", timeoutMillis: 100 }] }];
  const key = randomKey();
  equal(await c.value(`${interpreter}/${key}/interpretCommands`, { commands }), "sleep");
  equal(await c.value(`${interpreter}/${key}/getResults`), ["sleep"], "results");
});

test("Combinators.awakeableOrTimeoutUsingAwakeableTimeoutCommand", most, async (c) => {
  const commands = [{ type: "awaitAwakeableOrTimeout", awakeableKey: "a", timeoutMillis: 100 }];
  await expectError(c.call(`${interpreter}/${randomKey()}/interpretCommands`, { commands }), 500, "await-timeout");
});

test("Combinators.firstSuccessfulCompletedAwakeable", most, async (c) => {
  const awakeables = ["a1", "a2", "a3"].map((awakeableKey) => ({ type: "createAwakeable", awakeableKey }));
  const s = await start(c, { type: "awaitAnySuccessful", commands: [throws("1"), awakeables[0], throws("2"), awakeables[1],
    throws("3"), awakeables[2]] });
  for (const a of ["a1", "a2", "a3"]) await held(c, s.key, a);
  await c.value(`${interpreter}/${s.key}/rejectAwakeable`, { awakeableKey: "a1", reason: "rejected" });
  await c.value(`${interpreter}/${s.key}/resolveAwakeable`, { awakeableKey: "a2", value: "resolved" });
  equal(await s.result(), "resolved");
  equal(await c.value(`${interpreter}/${s.key}/getResults`), ["resolved"], "results");
});

test("Combinators.signalFirstSuccessfulOrAllFailed", most, async (c) => {
  const s = await start(c, { type: "awaitFirstSucceededOrAllFailed", commands: signals("s0", "s1", "s2") });
  await s.reject("s0", "no0");
  await s.reject("s1", "no1");
  await s.signal("s2", "val2");
  equal(await s.result(), "val2");
});

test("Combinators.signalAllSuccessfulOrFirstFailed", most, async (c) => {
  const s = await start(c, { type: "awaitAllSucceededOrFirstFailed", commands: signals("s0", "s1", "s2") });
  for (const i of [2, 0, 1]) await s.signal(`s${i}`, `val${i}`);
  equal(await s.result(), "val0|val1|val2");
});

test("Combinators.signalAllCompleted", most, async (c) => {
  const s = await start(c, { type: "awaitAllCompleted", commands: signals("s0", "s1", "s2") });
  await s.signal("s0", "val0");
  await s.reject("s1", "err1");
  await s.signal("s2", "val2");
  equal(await s.result(), "ok:val0|err:err1|ok:val2");
});

test("Combinators.signalFirstCompleted", most, async (c) => {
  const s = await start(c, { type: "awaitFirstCompleted", commands: signals("s0", "s1", "s2") });
  await s.signal("s1", "val1");
  equal(await s.result(), "val1");
});

test("Combinators.mixedRunWinsRaceAgainstSignal", most, async (c) => {
  const s = await start(c, { type: "awaitFirstCompleted", commands: [returns("run"), ...signals("never")] });
  equal(await s.result(), "run");
});

test("Combinators.mixedSignalWinsAfterRunFails", most, async (c) => {
  const s = await start(c, { type: "awaitFirstSucceededOrAllFailed", commands: [throws("no"), ...signals("s")] });
  await s.signal("s", "signal");
  equal(await s.result(), "signal");
});

test("Combinators.mixedAllSucceededRunAndSignal", most, async (c) => {
  const s = await start(c, { type: "awaitAllSucceededOrFirstFailed", commands: [returns("run"), ...signals("s")] });
  await s.signal("s", "signal");
  equal(await s.result(), "run|signal");
});

test("Combinators.mixedAllCompletedRunSignalAndFailedRun", most, async (c) => {
  const s = await start(c, { type: "awaitAllCompleted", commands: [returns("run"), ...signals("s"), throws("failed")] });
  await s.signal("s", "signal");
  equal(await s.result(), "ok:run|ok:signal|err:failed");
});

// ---- Custom: any program that is given the two addresses ----

test("Custom.run", "D", async (c) => {
  const program = `
    const call = (url, body) => fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const services = await (await fetch(process.env.RESTATE_ADMIN_URL + "/services")).json();
    if (!services.services.some((s) => s.name === "Counter")) throw new Error("no service Counter");
    const answer = await call(process.env.RESTATE_INGRESS_URL + "/TestUtilsService/echo", "custom");
    console.log(await answer.text());`;
  const out = await new Promise((resolve, reject) =>
    execFile(process.execPath, ["--input-type=module", "-e", program], {
      env: { PATH: process.env.PATH, RESTATE_INGRESS_URL: c.ingress, RESTATE_ADMIN_URL: c.admin },
    }, (error, stdout, stderr) => (error ? reject(new Error(stderr)) : resolve(stdout))));
  equal(out.trim(), '"custom"');
});

// ---- Ingress ----

test("Ingress.headersPassThrough", "D 3 S", async (c) => {
  const headers = await c.value("TestUtilsService/echoHeaders", undefined, { headers: { "x-my-custom-header": "x-my-custom-value" } });
  equal(headers["x-my-custom-header"], "x-my-custom-value");
});

test("Ingress.rawHandler", "D 3 S", async (c) => {
  const raw = crypto.randomBytes(100);
  const r = ok(await c.call("TestUtilsService/rawEcho", undefined, { raw, headers: { "content-type": "application/octet-stream" } }));
  equal(r.bytes.toString("hex"), raw.toString("hex"), "bytes");
});

// ---- Kill ----

test("KillInvocation.kill", "D 3 S", async (c) => {
  const key = randomKey();
  const { invocationId } = await c.send(`KillTestRunner/${key}/startCallTree`);
  await until("the singleton holds its awakeable", () => c.value(`AwakeableHolder/${key}/hasAwakeable`));
  await c.value(`AwakeableHolder/${key}/unlock`, "kill");
  ok(await c.manage("PATCH", `invocations/${invocationId}/kill`));
  await until("the singleton is unlocked", async () => {
    await c.call(`KillTestSingleton/${key}/isUnlocked`, undefined, { timeout: 2000 }).then(ok);
    return true;
  });
});

function restartKeepsState(name, signal) {
  test(name, "D A S", async (c) => {
    const key = randomKey();
    equal((await c.value(`Counter/${key}/add`, 1)).newValue, 1, "before");
    await c.nodes[0].kill(signal);
    await c.nodes[0].start();
    equal((await c.value(`Counter/${key}/add`, 2)).newValue, 3, "after");
    equal(ok(await c.manage("GET", "deployments")).json().deployments.length, 1, "deployments");
  }, { own: {}, seconds: 120 });
}
restartKeepsState("KillRuntime.startAndKillRuntimeRetainsTheState", "SIGKILL");
restartKeepsState("StopRuntime.startAndStopRuntimeRetainsTheState", "SIGTERM");

// ---- NonDeterminismErrors ----

for (const method of ["eitherSleepOrCall", "callDifferentMethod", "backgroundInvokeWithDifferentTargets", "setDifferentKey"]) {
  test(`NonDeterminismErrors.method ${method}`, "A", async (c) => {
    const key = randomKey();
    await c.value(`Counter/${key}/add`, 1);
    await expectError(c.call(`NonDeterministic/${key}/${method}`));
    await sleep(300);
    equal(await c.value(`Counter/${key}/get`), 1, "the counter");
  }, {
    own: { env: { RESTATE_DEFAULT_RETRY_POLICY__MAX_ATTEMPTS: "1", RESTATE_DEFAULT_RETRY_POLICY__ON_MAX_ATTEMPTS: "kill" } },
  });
}

// ---- ProxyRequestSigning ----

const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
export function base58(bytes) {
  let n = BigInt(`0x${Buffer.from(bytes).toString("hex") || "0"}`);
  let text = "";
  for (; n > 0n; n /= 58n) text = alphabet[Number(n % 58n)] + text;
  for (const b of bytes) {
    if (b !== 0) break;
    text = `1${text}`;
  }
  return text;
}

function signingKey() {
  const { publicKey, privateKey } = crypto.generateKeyPairSync("ed25519");
  const file = path.join(tempDir(), "key.pem");
  fs.writeFileSync(file, privateKey.export({ type: "pkcs8", format: "pem" }));
  const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32);
  return { file, name: `publickeyv1_${base58(raw)}` };
}

function signedBy() {
  const own = { env: {}, serviceEnv: {} };
  own.before = () => {
    const key = signingKey();
    own.env.RESTATE_WORKER__INVOKER__REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE = key.file;
    own.serviceEnv.E2E_REQUEST_SIGNING = key.name;
  };
  return own;
}
test("ProxyRequestSigning.requestSigningPass", "D 3 S", async (c) => {
  const bytes = await c.value("Proxy/call", proxied("Counter", randomKey(), "add", 1));
  equal(fromBytes(bytes).newValue, 1, "the counter");
}, { own: signedBy(), seconds: 120 });

// ---- RunFlush, RunRetry ----

test("RunFlush.flush", "A 3A", async (c) => {
  equal(await c.value("TestUtilsService/countExecutedSideEffects", 3), 0, "steps run in the last attempt");
});

test("RunRetry.withSuccess", most, async (c) => {
  equal(await c.value(`Failing/${randomKey()}/sideEffectSucceedsAfterGivenAttempts`, 3), 3);
});
test("RunRetry.executedOnlyOnce", most, async (c) => {
  equal(await c.value(`Failing/${randomKey()}/sideEffectFailsAfterGivenAttempts`, 1), 1);
});
test("RunRetry.withExhaustedAttempts", most, async (c) => {
  equal(await c.value(`Failing/${randomKey()}/sideEffectFailsAfterGivenAttempts`, 3), 3);
});

// ---- ServiceToServiceCommunication ----

test("ServiceToServiceCommunication.regularCall", most, async (c) => {
  const key = randomKey();
  equal(fromBytes(await c.value("Proxy/call", proxied("Counter", key, "add", 1))), { oldValue: 0, newValue: 1 });
});

test("ServiceToServiceCommunication.oneWayCall", most, async (c) => {
  const key = randomKey();
  match(await c.value("Proxy/oneWayCall", proxied("Counter", key, "add", 1)), /^inv_1/, "invocation id");
  await until("the send is executed", async () => (await c.value(`Counter/${key}/get`)) === 1);
});

test("ServiceToServiceCommunication.oneWayCallWithIdempotencyKey", most, async (c) => {
  const key = randomKey();
  const idempotencyKey = randomKey();
  const request = proxied("Counter", key, "add", 2, { idempotencyKey });
  const first = await c.value("Proxy/oneWayCall", request);
  for (let i = 0; i < 2; i++) equal(await c.value("Proxy/oneWayCall", request), first, "invocation id");
  await until("the send is executed", async () => (await c.value(`Counter/${key}/get`)) === 2);
  const r = await until("there is an output", async () => {
    const o = await c.get(`restate/invocation/Counter/${key}/add/${idempotencyKey}/output`);
    return o.status === 470 ? null : ok(o);
  });
  equal(r.json(), { oldValue: 0, newValue: 2 });
  equal(await c.value(`Counter/${key}/get`), 2, "the counter");
});

test("ServiceToServiceCommunication.callWithIdempotencyKey", most, async (c) => {
  const key = randomKey();
  const request = proxied("Counter", key, "add", 2, { idempotencyKey: randomKey() });
  for (let i = 0; i < 3; i++) equal(fromBytes(await c.value("Proxy/call", request)), { oldValue: 0, newValue: 2 });
  equal(await c.value(`Counter/${key}/get`), 2, "the counter");
});

test("ServiceToServiceCommunication.oneWayCallWithDelay", most, async (c) => {
  const key = randomKey();
  const begin = Date.now();
  for (let i = 0; i < 10; i++) await c.value("Proxy/oneWayCall", proxied("Counter", key, "add", 1, { delayMillis: 5000 }));
  await until("all ten are executed", async () => (await c.value(`Counter/${key}/get`)) === 10, 30);
  if (Date.now() - begin < 5000) throw new Error("they were executed before their time");
}, { seconds: 60 });

// ---- Signals ----

async function waitingForSignal(c) {
  const signalName = `signal-${randomKey()}`;
  const { invocationId } = await c.send("TestUtilsService/waitSignal", signalName);
  return { signalName, invocationId };
}

test("Signals.resolve", most, async (c) => {
  const s = await waitingForSignal(c);
  await c.value("TestUtilsService/resolveSignal", { ...s, value: "it is resolved" });
  equal(ok(await c.get(`restate/invocation/${s.invocationId}/attach`)).json(), "it is resolved");
});
test("Signals.reject", most, async (c) => {
  const s = await waitingForSignal(c);
  await c.value("TestUtilsService/rejectSignal", { ...s, reason: "it is rejected" });
  await expectError(c.get(`restate/invocation/${s.invocationId}/attach`), 500, "it is rejected");
});

// ---- Sleep ----

test("Sleep.sleep", `${most} T`, async (c) => {
  const begin = Date.now();
  await c.value("TestUtilsService/sleepConcurrently", [10]);
  if (Date.now() - begin < 10) throw new Error("it slept less than 10 ms");
});
test("Sleep.manySleeps", `${most} T`, async (c) => {
  await Promise.all(Array.from({ length: 50 }, () =>
    c.value("TestUtilsService/sleepConcurrently", Array.from({ length: 20 }, () => 10 + Math.floor(Math.random() * 40)))));
}, { seconds: 120 });

for (const [name, signal] of [["sleepAndKillServiceEndpoint", "SIGKILL"], ["sleepAndTerminateServiceEndpoint", "SIGTERM"]]) {
  test(`SleepWithFailures.${name}`, most, async (c) => {
    const begin = Date.now();
    const sleeping = c.value("TestUtilsService/sleepConcurrently", [4000]);
    sleeping.catch(() => {});
    await sleep(500);
    await c.services[0].kill(signal);
    await sleep(500);
    await c.services[0].start();
    await sleeping;
    if (Date.now() - begin < 4000) throw new Error("it slept less than 4 s");
  }, { own: {}, seconds: 120 });
}

// ---- State ----

test("State.add", `${most} L LA`, async (c) => {
  const key = randomKey();
  equal(await c.value(`Counter/${key}/add`, 1), { oldValue: 0, newValue: 1 });
  equal(await c.value(`Counter/${key}/add`, 2), { oldValue: 1, newValue: 3 });
});
test("State.proxyOneWayAdd", `${most} L LA`, async (c) => {
  const key = randomKey();
  for (let i = 0; i < 3; i++) await c.value("Proxy/oneWayCall", proxied("Counter", key, "add", 1));
  await until("all three are added", async () => (await c.value(`Counter/${key}/get`)) === 3);
});
test("State.listStateAndClearAll", `${most} L LA`, async (c) => {
  const [one, other] = [randomKey(), randomKey()];
  await c.value(`MapObject/${one}/set`, { key: "k1", value: "v1" });
  await c.value(`MapObject/${one}/set`, { key: "k2", value: "v2" });
  await c.value(`MapObject/${other}/set`, { key: "k3", value: "v3" });
  const sorted = (list) => list.sort((a, b) => (a.key < b.key ? -1 : 1));
  equal(sorted(await c.value(`MapObject/${one}/clearAll`)), [{ key: "k1", value: "v1" }, { key: "k2", value: "v2" }], "cleared");
  equal(await c.value(`MapObject/${one}/get`, "k1"), "", "k1 afterwards");
  equal(await c.value(`MapObject/${one}/clearAll`), [], "cleared again");
  equal(await c.value(`MapObject/${other}/get`, "k3"), "v3", "of the other key");
});

// ---- UserErrors ----

const metadata = { key1: "value1", key2: "value2" };
for (const [suffix, more] of [["", {}], ["WithMetadata", { metadata }]]) {
  const fails = async (c, handler, errorMessage = randomKey()) => {
    const body = await expectError(c.call(`Failing/${randomKey()}/${handler}`, { errorMessage, ...more }), 500, errorMessage);
    equal(body.code, 500, "code in the body");
    if (more.metadata) equal(Object.entries(body.metadata).sort(), Object.entries(metadata), "metadata");
    else equal(body.metadata, undefined, "metadata");
  };
  test(`UserErrors.invokeTerminallyFailingCall${suffix}`, most, (c) => fails(c, "terminallyFailingCall"));
  test(`UserErrors.failSeveralTimes${suffix}`, most, async (c) => {
    for (let i = 0; i < 3; i++) await fails(c, "terminallyFailingCall", `failure ${i}`);
  });
  test(`UserErrors.internalCallFailurePropagation${suffix}`, most, (c) => fails(c, "callTerminallyFailingCall"));
  test(`UserErrors.sideEffectWithTerminalError${suffix}`, most, (c) => fails(c, "terminallyFailingSideEffect"));
}

test("UserErrors.setStateThenFailShouldPersistState", most, async (c) => {
  const key = randomKey();
  await expectError(c.call(`Counter/${key}/addThenFail`, 1), 500, key);
  equal(await c.value(`Counter/${key}/get`), 1, "the counter");
});

test("UserErrors.invocationWithEventualSuccess", most, async (c) => {
  equal(await c.value(`Failing/${randomKey()}/failingCallWithEventualSuccess`), 4);
});

// ---- WorkflowAPI ----

test("WorkflowAPI.setAndResolve", most, async (c) => {
  const key = randomKey();
  const submit = () => c.send(`BlockAndWaitWorkflow/${key}/run`, "Till", { key: null });
  const first = await submit();
  equal(first.status, "Accepted", "status");
  await until("the state is visible", async () => (await c.value(`BlockAndWaitWorkflow/${key}/getState`)) === "Till");
  equal((await c.get(`restate/workflow/BlockAndWaitWorkflow/${key}/output`)).status, 470, "output before the end");
  await c.value(`BlockAndWaitWorkflow/${key}/unblock`, "Pavel");
  equal(ok(await c.get(`restate/workflow/BlockAndWaitWorkflow/${key}/attach`)).json(), "Pavel", "attach");
  equal(ok(await c.get(`restate/workflow/BlockAndWaitWorkflow/${key}/output`)).json(), "Pavel", "output");
  const second = await submit();
  equal(second.status, "PreviouslyAccepted", "status of the second submit");
  equal(second.invocationId, first.invocationId, "id of the second submit");
  await expectError(c.call(`BlockAndWaitWorkflow/${key}/run`, "Till", { key: null }), 409);
});
