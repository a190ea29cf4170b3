// SPDX-License-Identifier: Apache-2.0
// The server's own tests of the public suites, ported: features beyond what an SDK sees.
import http from "node:http";
import { equal, match } from "../e2e/lib.mjs";
import { freePort, ok, proxied, randomKey, sleep, test, until } from "./harness.mjs";

const patch = (c, where, body) => c.manage("PATCH", where, body);
const attach = async (c, id) => ok(await c.get(`restate/invocation/${id}/attach`)).json();
const paused = (c, id) => until("the invocation is paused", async () => (await c.status(id)) === "paused");

// ---- AwakeableIngressEndpointTest ----

async function waitingOnAwakeable(c) {
  const key = randomKey();
  const { invocationId } = await c.send(`AwakeableProbe/${key}/wait`);
  const id = await until("the awakeable is published", () => c.value(`AwakeableProbe/${key}/id`));
  return { key, invocationId, id };
}

test("AwakeableIngressEndpointTest.completeWithSuccess", "D 3", async (c) => {
  const w = await waitingOnAwakeable(c);
  ok(await c.call(`restate/awakeables/${w.id}/resolve`, "from outside", { key: null }), 202);
  equal(await attach(c, w.invocationId), "from outside");
});

test("AwakeableIngressEndpointTest.completeWithFailure", "D 3", async (c) => {
  const w = await waitingOnAwakeable(c);
  ok(await c.call(`restate/awakeables/${w.id}/reject`, undefined, { key: null, raw: "my bad!", headers: { "content-type": "text/plain" } }), 202);
  const r = await c.get(`restate/invocation/${w.invocationId}/attach`);
  equal(r.status, 500, "status");
  match(r.json().message, /my bad!/);
});

// The original pins leadership around the nodes; here it goes round because each node in turn is stopped and started.
test("AwakeableLeaderTransferTest.awakeableCompletionsAreNotLostDuringLeaderTransfer", "3A", async (c) => {
  const waiting = await Promise.all(Array.from({ length: 30 }, () => waitingOnAwakeable(c)));
  const all = c.nodes;
  const moving = (async () => {
    for (const n of all) {
      c.nodes = all.filter((x) => x !== n);
      await n.kill("SIGTERM");
      await n.start(120);
      c.nodes = all;
      await sleep(1000);
    }
  })();
  for (const w of waiting) {
    await until("the completion is accepted", async () => {
      ok(await c.call(`restate/awakeables/${w.id}/resolve`, w.key, { key: null, timeout: 20000 }), 202);
      return true;
    }, 60);
    await sleep(300);
  }
  await moving;
  for (const w of waiting) equal(await attach(c, w.invocationId), w.key);
}, { own: {}, seconds: 240 });

// ---- IngressTest ----

test("IngressTest.idempotentInvokeVirtualObject", "D 3", async (c) => {
  const object = randomKey();
  const key = randomKey();
  ok(await patch(c, "services/Counter", { idempotency_retention: "2s" }));
  await sleep(c.nodes.length > 1 ? 3000 : 0); // until every node knows it
  const add = () => c.value(`Counter/${object}/add`, 2, { key });
  const first = await add();
  equal(first, { oldValue: 0, newValue: 2 });
  equal(await add(), first, "the second time");
  await until("the key is forgotten", async () => (await add()).newValue === 4, 60);
}, { own: { env: { RESTATE_WORKER__CLEANUP_INTERVAL: "1s" } }, seconds: 120 });

test("IngressTest.idempotentInvokeService", "D 3", async (c) => {
  const object = randomKey();
  const key = randomKey();
  const call = () => c.value("Proxy/call", proxied("Counter", object, "add", 2), { key });
  equal(await call(), await call());
  equal(await c.value(`Counter/${object}/get`), 2, "the counter");
});

test("IngressTest.idempotentInvokeSend", "D 3", async (c) => {
  const object = randomKey();
  const key = randomKey();
  const first = await c.send(`Counter/${object}/add`, 2, { key });
  const second = await c.send(`Counter/${object}/add`, 2, { key });
  equal([first.status, second.status], ["Accepted", "PreviouslyAccepted"]);
  equal(second.invocationId, first.invocationId, "invocation id");
  await until("it is executed", async () => (await c.value(`Counter/${object}/get`)) === 2);
  equal(await attach(c, first.invocationId), { oldValue: 0, newValue: 2 });
});

test("IngressTest.idempotentSendThenAttachWIthIdempotencyKey", "D 3", async (c) => {
  const key = randomKey();
  const { invocationId } = await c.send("TestUtilsService/waitSignal", "go", { key });
  const path = `restate/invocation/TestUtilsService/waitSignal/${key}`;
  let done = false;
  const waiting = c.get(`${path}/attach`).then((r) => {
    done = true;
    return r;
  });
  equal((await c.get(`${path}/output`)).status, 470, "output before the end");
  await sleep(200);
  equal(done, false, "attach has answered");
  await c.value("TestUtilsService/resolveSignal", { invocationId, signalName: "go", value: "gone" });
  equal(ok(await waiting).json(), "gone", "attach");
  equal(ok(await c.get(`${path}/output`)).json(), "gone", "output");
});

test("IngressTest.privateService", "D 3", async (c) => {
  const key = randomKey();
  await c.value(`Counter/${key}/add`, 1);
  equal(ok(await patch(c, "services/Counter", { public: false })).json().public, false, "public");
  for (let i = 0; i < c.nodes.length; i++) {
    await until("it is private", async () => (await c.call(`Counter/${key}/get`)).status === 400);
  }
  await c.value("Proxy/call", proxied("Counter", key, "add", 1));
  ok(await patch(c, "services/Counter", { public: true }));
  for (let i = 0; i < c.nodes.length; i++) {
    await until("it is public again", async () => (await c.call(`Counter/${key}/get`)).status === 200);
  }
  equal(await c.value(`Counter/${key}/get`), 2, "the counter");
}, { own: {}, seconds: 120 });

// ---- InvokerMemoryTest ----

const smallPool = (more) => ({
  env: { RESTATE_WORKER__INVOKER__MEMORY_LIMIT: "1MiB", RESTATE_WORKER__INVOKER__PER_INVOCATION_MEMORY_LIMIT: "256KiB", ...more },
});
const many = (n, body) => Promise.all(Array.from({ length: n }, (_, i) => body(i)));

test("InvokerMemoryTest.concurrentRunsComplete", "D A", async (c) => {
  await many(50, async (i) => equal(await c.value(`MemoryProbe/${i}/runs`, 60000), 60000, "length"));
}, { own: smallPool(), seconds: 180 });

test("InvokerMemoryTest.concurrentStateLoadsComplete", "D A", async (c) => {
  const fill = { entries: 2, bytes: 32 * 1024 };
  await many(50, (i) => c.value(`MemoryProbe/${i}/fill`, fill));
  await many(50, async (i) => equal(await c.value(`MemoryProbe/${i}/load`), fill.entries * fill.bytes, "length"));
}, { own: smallPool(), seconds: 180 });

test("InvokerMemoryTest.runOutputAboveLimitPauses", "D A", async (c) => {
  const { invocationId } = await c.send("MemoryProbe/one/runs", 400 * 1024);
  await paused(c, invocationId);
}, { own: smallPool(), seconds: 120 });

test("InvokerMemoryTest.stateAboveLimitPauses", "D A", async (c) => {
  const value = Array.from(Buffer.from(JSON.stringify("x".repeat(100 * 1024))));
  const state = { k0: value, k1: value, k2: value };
  ok(await c.manage("POST", "services/MemoryProbe/state", { object_key: "one", new_state: state }), 202);
  const { invocationId } = await c.send("MemoryProbe/one/load");
  await paused(c, invocationId);
}, { own: smallPool(), seconds: 120 });

// ---- JournalRetentionTest ----

test("JournalRetentionTest.journalShouldBeRetained", "D 3", async (c) => {
  const { invocationId } = await c.send("JournalProbe/sleep");
  ok(await c.get(`restate/invocation/${invocationId}/attach`));
  await until("the journal is there", async () => {
    const rows = await c.query(`SELECT index, entry_type FROM sys_journal WHERE id = '${invocationId}' ORDER BY index`);
    equal(rows.map((r) => r.entry_type), ["Command: Input", "Command: Sleep", "Notification: Sleep", "Command: Output"], "journal");
    return true;
  });
});

// ---- OpenAPITest ----

test("OpenAPITest.shouldGenerateValidOpenAPI", "D", async (c) => {
  for (const name of ["Counter", "Proxy", "BlockAndWaitWorkflow", "TestUtilsService"]) {
    const doc = ok(await c.manage("GET", `services/${name}/openapi`)).json();
    match(doc.openapi, /^3\.\d/, "version");
    equal(typeof doc.info.title, "string", "title");
    equal(typeof doc.info.version, "string", "version of the API");
    const resolve = (ref) => ref.slice(2).split("/").reduce((o, k) => o?.[k.replaceAll("~1", "/").replaceAll("~0", "~")], doc);
    const ids = new Set();
    const walk = (o) => {
      if (typeof o?.$ref === "string" && resolve(o.$ref) === undefined) throw new Error(`${name}: nothing at ${o.$ref}`);
      if (o && typeof o === "object") Object.values(o).forEach(walk);
    };
    walk(doc);
    const paths = Object.entries(doc.paths);
    const service = ok(await c.manage("GET", `services/${name}`)).json();
    for (const h of service.handlers) {
      if (!paths.some(([p]) => p.includes(`/${h.name}`))) throw new Error(`${name}: no path for ${h.name}`);
    }
    for (const [p, item] of paths) {
      const names = [...p.matchAll(/\{(\w+)\}/g)].map((m) => m[1]);
      for (const method of ["get", "post"]) {
        const operation = item[method];
        if (!operation) continue;
        if (!Object.keys(operation.responses).length) throw new Error(`${name}: ${p} has no responses`);
        if (ids.has(operation.operationId)) throw new Error(`${name}: two operations ${operation.operationId}`);
        ids.add(operation.operationId);
        const given = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((x) => (x.$ref ? resolve(x.$ref) : x));
        for (const n of names) {
          if (!given.some((g) => g.in === "path" && g.name === n && g.required)) throw new Error(`${name}: ${p} does not describe ${n}`);
        }
      }
    }
    if (!ids.size) throw new Error(`${name}: no operations`);
  }
});

// ---- PauseResume ----

const tenAttempts = {
  env: {
    RESTATE_DEFAULT_RETRY_POLICY__INITIAL_INTERVAL: "5ms",
    RESTATE_DEFAULT_RETRY_POLICY__EXPONENTIATION_FACTOR: "1.0",
    RESTATE_DEFAULT_RETRY_POLICY__MAX_ATTEMPTS: "10",
  },
};

test("PauseResumeTest.pauseAndResumeInvocation", "D 3", async (c) => {
  const { invocationId } = await c.send("PauseProbe/run", randomKey());
  await paused(c, invocationId);
  ok(await patch(c, `invocations/${invocationId}/resume?deployment=keep`));
  equal(await attach(c, invocationId), "after 11");
}, { own: tenAttempts, seconds: 120 });

test("PauseResumeChangingDeploymentTest.pauseAndResumeInvocation", "D A", async (c) => {
  const { invocationId } = await c.send("PauseProbe/runOn", "v2");
  await paused(c, invocationId);
  const second = await c.addServices({ VERSION: "v2" });
  ok(await patch(c, `invocations/${invocationId}/resume?deployment=${second.deployment}`));
  equal(await attach(c, invocationId), "v2");
}, { own: tenAttempts, seconds: 120 });

// ---- RestartAsNewInvocationTest ----

async function failed(c, target, key) {
  const { invocationId } = await c.send(target, key);
  equal((await c.get(`restate/invocation/${invocationId}/attach`)).status, 500, "status of the first");
  return invocationId;
}

async function restarted(c, id, query) {
  const r = ok(await patch(c, `invocations/${id}/restart-as-new?${query}`)).json();
  if (r.new_invocation_id === id) throw new Error("the new invocation has the old id");
  return attach(c, r.new_invocation_id);
}

test("RestartAsNewInvocationTest.restartCompletedWithTerminalException", "D 3", async (c) => {
  const id = await failed(c, "RestartProbe/once", randomKey());
  equal(await restarted(c, id, "from=0&deployment=latest"), "time 2");
});

test("RestartAsNewInvocationTest.restartFromPrefix", "D 3", async (c) => {
  const id = await failed(c, "RestartProbe/prefix", randomKey());
  equal(await restarted(c, id, "from=1&deployment=latest"), [1, 2]);
});

// ---- ScopeIsolationTest ----

test("ScopeIsolationTest.sameIdempotencyKeyAcrossScopesIsolates", "D 3", async (c) => {
  const key = randomKey();
  const send = async (scope) =>
    ok(await c.call(`restate/scope/${scope}/send/TestUtilsService/echo`, scope, { key }), 202).json();
  const [a, b, again] = [await send("scope-a"), await send("scope-b"), await send("scope-a")];
  if (a.invocationId === b.invocationId) throw new Error("two scopes share one invocation");
  equal(again.invocationId, a.invocationId, "the same scope again");
  equal(await attach(c, a.invocationId), "scope-a");
  equal(await attach(c, b.invocationId), "scope-b");
}, { own: { env: { RESTATE_EXPERIMENTAL_ENABLE_VQUEUES: "true", RESTATE_EXPERIMENTAL_ENABLE_PROTOCOL_V7: "true" } }, seconds: 120 });

// ---- StatePatchingTest ----

test("StatePatchingTest.shouldPatchState", "D 3", async (c) => {
  const key = randomKey();
  await c.value(`Counter/${key}/add`, 1);
  const new_state = { counter: Array.from(Buffer.from("42")) };
  ok(await c.manage("POST", "services/Counter/state", { object_key: key, new_state }), 202);
  await until("the new state is there", async () => (await c.value(`Counter/${key}/get`)) === 42);
  equal(await c.value(`Counter/${key}/add`, 1), { oldValue: 42, newValue: 43 });
});

// ---- TracingTest ----

// A receiver of OTLP over HTTP that keeps the protobuf bodies; names and attributes are UTF-8 in there.
function tracing() {
  const own = { env: {} };
  own.before = async () => {
    const port = await freePort();
    own.received = "";
    http.createServer((req, res) => {
      const parts = [];
      req.on("data", (p) => parts.push(p));
      req.on("end", () => {
        own.received += Buffer.concat(parts).toString("latin1");
        res.writeHead(200, { "content-type": "application/x-protobuf" }).end();
      });
    }).listen(port, "127.0.0.1").unref();
    own.env.RESTATE_TRACING_ENDPOINT = `otlp+http://127.0.0.1:${port}/v1/traces`;
  };
  return own;
}
const tracer = tracing();
test("TracingTest.shouldGenerateTraces", "D 3", async (c) => {
  const key = randomKey();
  const { invocationId } = await c.send(`Counter/${key}/add`, 1);
  await attach(c, invocationId);
  await until("the spans arrive", () => {
    for (const wanted of ["invocation-start", "invocation-attempt", "invocation-end", invocationId, `Counter/${key}/add`]) {
      if (!tracer.received.includes(wanted)) throw new Error(`no ${wanted} in ${tracer.received.length} bytes of spans`);
    }
    return true;
  }, 40);
}, { own: tracer, seconds: 120 });

// ---- Upgrades ----

const firstVersion = { serviceEnv: { VERSION: "v1" } };
const onV2 = (c) => until("new invocations use the new version", async () => (await c.value("UpgradeProbe/simple")) === "v2");

test("UpgradeWithNewInvocation.executesNewInvocationWithLatestServiceRevisions", "D A", async (c) => {
  equal(await c.value("UpgradeProbe/simple"), "v1");
  await c.addServices({ VERSION: "v2" });
  await onV2(c);
  for (let i = 0; i < 5; i++) equal(await c.value("UpgradeProbe/simple"), "v2");
}, { own: firstVersion, seconds: 120 });

test("UpgradeWithInFlightInvocation.inFlightInvocation", "D A", async (c) => {
  const key = randomKey();
  const { invocationId } = await c.send("UpgradeProbe/inFlight", key);
  await until("it is in flight", () => c.value(`AwakeableHolder/${key}/hasAwakeable`));
  await c.addServices({ VERSION: "v2" });
  await onV2(c);
  await c.value(`AwakeableHolder/${key}/unlock`, "go on");
  equal(await attach(c, invocationId), ["v1", "v1"]);
}, { own: firstVersion, seconds: 120 });
