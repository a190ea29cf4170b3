// SPDX-License-Identifier: Apache-2.0
// One server, services written with a public SDK: node tests/e2e/sdk.test.mjs --sdk 1.17|1.7 [--engine rocksdb|lmdb] [--suspend] [--only PATTERN]
import http from "node:http";
import http2 from "node:http2";
import { Server, Service, cli, equal, freePort, match, ok, options, request, run, showLogs, sleep, test, until } from "./lib.mjs";

const old = options.sdk === "1.7"; // speaks version 5 of the service protocol, the oldest that is supported
const sdkModule = old ? "restate-sdk-1.7" : "@restatedev/restate-sdk";
const inactivity = options.suspend ? "0s" : "1s"; // --suspend: every await suspends
let seq = 0;
const unique = (name) => `${name}-${Date.now().toString(36)}-${seq++}`;
const key = (k) => ({ headers: { "idempotency-key": k } });

test("an endpoint nobody serves is refused with META0003", async ({ server }) => {
  const r = await server.register(`http://127.0.0.1:${await freePort()}`);
  equal(r.status, 500);
  equal(r.json().restate_code, "META0003");
});

test("an SDK whose protocol is too old is refused with META0012", async ({ server }) => {
  const tooOld = await Service.create({ SDK: "restate-sdk-1.4" });
  await tooOld.start();
  const r = await server.register(tooOld.uri);
  equal(r.status, 500);
  equal(r.json().restate_code, "META0012");
  await tooOld.kill();
});

test("a call to an unknown service is 404 with source ingress", async ({ server }) => {
  const r = ok(await server.call("Nobody/none", "x"), 404);
  equal(r.json().source, "ingress");
  equal(r.headers["x-restate-error-source"], "ingress");
});

test("an endpoint is registered, and registering it again changes nothing", async ({ server, service }) => {
  const first = ok(await server.register(service.uri), 201).json();
  match(first.id, /^dp_1/);
  equal(first.services.map((s) => s.name).sort(), ["Counter", "Greeter", "Holder", "Register", "Signup"]);
  equal(first.services.every((s) => s.revision === 1), true, "revision 1");
  const again = ok(await server.register(service.uri), 200).json();
  equal(again.id, first.id);
  ok(await server.register(service.uri, { dry_run: true }), 200);
});

test("forcing a registration raises the revision and keeps the deployment", async ({ server, service }) => {
  const before = ok(await server.register(service.uri), 200).json();
  const forced = await server.register(service.uri, { force: true });
  match(`${forced.status}`, /^20[01]$/);
  equal(forced.json().id, before.id);
});

test("the admin API lists deployments, services and handlers", async ({ server }) => {
  const d = ok(await request(`${server.admin}/deployments`)).json().deployments;
  equal(d.length, 1);
  match(d[0].created_at, /^\d{4}-\d\d-\d\dT.*Z$/);
  equal(d[0].protocol_type, "BidiStream");
  const detail = ok(await request(`${server.admin}/deployments/${d[0].id}`)).json();
  equal(detail.services.length, 5);
  const s = ok(await request(`${server.admin}/services/Counter`)).json();
  equal(s.ty, "VirtualObject");
  equal(s.handlers.find((h) => h.name === "get").ty, "Shared");
  ok(await request(`${server.admin}/services/Counter/handlers/add`));
  ok(await request(`${server.admin}/services/None`), 404);
  const health = ok(await request(`${server.ingress}/restate/health`)).json();
  equal(health.services.includes("Counter"), true);
});

test("a service handler is called and answers JSON with an invocation id", async ({ server }) => {
  const r = ok(await server.call("Greeter/greet", "bob"));
  equal(r.json(), "Hello bob");
  match(r.headers["x-restate-id"], /^inv_1/);
  match(r.headers["content-type"], /^application\/json/);
});

test("a handler without input and output answers with an empty body", async ({ server }) => {
  const r = ok(await request(`${server.ingress}/Greeter/empty`));
  equal(r.text, "");
  equal(r.headers["content-length"], "0");
  equal(r.headers["content-type"], undefined);
});

test("headers of the client reach the handler", async ({ server }) => {
  equal(ok(await server.call("Greeter/header", "x-my-header", { headers: { "x-my-header": "seen" } })).json(), "seen");
});

test("a body of a megabyte goes through and comes back", async ({ server }) => {
  const text = "x".repeat(1 << 20);
  const r = ok(await server.call("Greeter/large", text)).json();
  equal(r.length, text.length);
  equal(r.echo === text, true, "the echo is the same");
});

test("an object keeps its state per key", async ({ server }) => {
  const k = unique("state");
  equal(ok(await server.call(`Counter/${k}/add`, 2)).json(), 2);
  equal(ok(await server.call(`Counter/${k}/add`, 3)).json(), 5);
  equal(ok(await server.call(`Counter/${k}/get`)).json(), 5);
  equal(ok(await server.call(`Counter/${k}-other/get`)).json(), 0);
  ok(await server.call(`Counter/${k}/put`, { name: "other", value: "v" }));
  equal(ok(await server.call(`Counter/${k}/keys`)).json(), ["count", "other"]);
  ok(await server.call(`Counter/${k}/reset`));
  equal(ok(await server.call(`Counter/${k}/keys`)).json(), []);
});

test("a percent-encoded key is decoded", async ({ server }) => {
  const k = unique("key");
  ok(await server.call(`Counter/${k}%20%2F%C3%A4/add`, 4));
  equal(ok(await server.call(`Counter/${k}%20%2F%c3%a4/get`)).json(), 4);
});

test("calls of one key run one after the other", async ({ server }) => {
  const k = unique("serial");
  const values = await Promise.all(Array.from({ length: 8 }, () => server.call(`Counter/${k}/slowAdd`, 1)));
  equal(values.map((r) => ok(r).json()).sort((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8]);
});

test("state written before a terminal error stays", async ({ server }) => {
  const k = unique("fail");
  const r = ok(await server.call(`Counter/${k}/addThenFail`, 6), 500);
  equal(r.json().message, k);
  equal(r.json().source, "invocation");
  equal(ok(await server.call(`Counter/${k}/get`)).json(), 6);
});

test("a handler calls an object and fails as its callee fails", async ({ server }) => {
  const k = unique("call");
  equal(ok(await server.call("Greeter/callCounter", { key: k, amount: 9 })).json(), 9);
  equal(ok(await server.call("Greeter/callFailing", "teapot")).json(), "418 teapot");
});

test("a send is executed once, a delayed one not before its time", async ({ server }) => {
  const k = unique("send");
  ok(await server.call("Greeter/sendCounter", { key: k, amount: 1 }));
  await until("the send is executed", async () => (await server.call(`Counter/${k}/get`)).json() === 1);
  const start = Date.now();
  ok(await server.call("Greeter/sendCounter", { key: k, amount: 1, delay: 1200 }));
  await until("the delayed send is executed", async () => (await server.call(`Counter/${k}/get`)).json() === 2);
  equal(Date.now() - start >= 1190, true, "not before its time");
  await sleep(200);
  equal(ok(await server.call(`Counter/${k}/get`)).json(), 2);
});

test("the ingress accepts sends, with and without delay", async ({ server }) => {
  const k = unique("ingress-send");
  const now = ok(await server.call(`Counter/${k}/add/send`, 1), 202).json();
  equal(now.status, "Accepted");
  match(now.invocationId, /^inv_1/);
  const start = Date.now();
  const later = ok(await server.call(`Counter/${k}/add/send?delay=900ms`, 1), 202).json();
  match(later.executionTime, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
  await until("both are executed", async () => (await server.call(`Counter/${k}/get`)).json() === 2);
  equal(Date.now() - start >= 890, true, "not before its time");
  ok(await server.call(`Counter/${k}/add?delay=1s`, 1), 400);
});

test("the same idempotency key gives the same result once", async ({ server }) => {
  const k = unique("idem");
  const first = ok(await server.call(`Counter/${k}/add`, 5, key(k)));
  const second = ok(await server.call(`Counter/${k}/add`, 7, key(k)));
  equal([first.json(), second.json()], [5, 5]);
  equal(second.headers["x-restate-id"], first.headers["x-restate-id"]);
  match(second.headers["idempotency-expires"], /^\d{4}-\d\d-\d\dT/);
  equal(ok(await server.call(`Counter/${k}/get`)).json(), 5);
  const sent = ok(await server.call(`Counter/${k}/add/send`, 7, key(k)), 202).json();
  equal(sent.status, "PreviouslyAccepted");
  equal(sent.invocationId, first.headers["x-restate-id"]);
});

test("attach waits and output does not", async ({ server }) => {
  const k = unique("attach");
  const sent = ok(await server.call("Greeter/sleep/send", 700, key(k)), 202).json();
  const early = await request(`${server.ingress}/restate/invocation/${sent.invocationId}/output`);
  equal(early.status, 470);
  const attached = ok(await request(`${server.ingress}/restate/invocation/${sent.invocationId}/attach`));
  equal(attached.json() >= 700, true, "slept");
  ok(await request(`${server.ingress}/restate/invocation/${sent.invocationId}/output`));
  ok(await request(`${server.ingress}/restate/invocation/Greeter/sleep/${k}/output`));
  ok(await request(`${server.ingress}/restate/invocation/Greeter/sleep/${k}-none/output`), 404);
  ok(await request(`${server.ingress}/restate/invocation/inv_bad/attach`), 400);
});

test("a terminal error carries its code", async ({ server }) => {
  for (const code of [400, 404, 409, 418, 503]) {
    const r = ok(await server.call("Greeter/fail", { message: "no", code }), code);
    equal(r.json().code, code);
    equal(r.json().message, "no");
    equal(r.headers["x-restate-error-source"], "invocation");
  }
});

test("an error that is not terminal is retried", async ({ server }) => {
  equal(ok(await server.call("Greeter/flaky", { key: unique("flaky"), failures: 2 })).json(), 3);
});

test("a run is executed once, over replays", async ({ server }) => {
  equal(ok(await server.call("Greeter/runs", unique("runs"))).json(), [1, 1, 1]);
});

test("a terminal error in a run ends the call", async ({ server }) => {
  const r = ok(await server.call("Greeter/runTerminal"), 444);
  equal(r.json().message, "terminal in run");
});

test("a failing run is retried, and given up after its attempts", async ({ server }) => {
  equal(ok(await server.call("Greeter/runRetry", unique("retry"))).json(), 3);
  equal(ok(await server.call("Greeter/runExhausted", unique("exhausted"))).json(), 3);
});

test("a short sleep lasts at least its time", async ({ server }) => {
  const slept = ok(await server.call("Greeter/sleep", 50)).json();
  equal(slept >= 50, true, `slept ${slept}`);
  equal(ok(await server.call("Greeter/manySleeps", 100)).json(), 100);
});

test("a sleep longer than the inactivity timeout suspends and resumes", async ({ server }) => {
  equal(ok(await server.call("Greeter/sleepAttempts", { key: unique("suspend"), millis: 2500 })).json() >= 2, true);
});

test("an awakeable is resolved over the ingress", async ({ server }) => {
  const k = unique("resolve");
  const waiting = server.call(`Holder/${k}/wait`);
  const id = await until("the id is known", async () => (await server.call(`Holder/${k}/id`)).json());
  match(id, /^sign_1/);
  ok(await request(`${server.ingress}/restate/awakeables/${id}/resolve`, { json: { answer: 42 } }), 202);
  equal(ok(await waiting).json(), { answer: 42 });
  ok(await request(`${server.ingress}/restate/awakeables/${id}/resolve`, { json: { answer: 43 } }), 202);
  ok(await request(`${server.ingress}/restate/awakeables/nonsense/resolve`, { json: 1 }), 400);
});

test("an awakeable is rejected while its invocation is suspended", async ({ server }) => {
  const k = unique("reject");
  const waiting = server.call(`Holder/${k}/wait`);
  const id = await until("the id is known", async () => (await server.call(`Holder/${k}/id`)).json());
  await sleep(1500);
  ok(await request(`${server.ingress}/restate/a/${id}/reject`, { body: "not today" }), 202);
  const r = ok(await waiting, 500);
  equal(r.json().message, "not today");
});

test("combinators: all, race, any, allSettled, orTimeout", async ({ server }) => {
  equal(ok(await server.call("Greeter/timeout")).json(), "timeout");
  const all = ok(await server.call("Greeter/combineAll", unique("all"))).json();
  equal(all[0] === undefined, false);
  equal(all[2], 7);
});

test("combinators: the first, the first that succeeds, all that settled", async ({ server }) => {
  equal(ok(await server.call("Greeter/combineRace")).json(), "sleep");
  equal(ok(await server.call("Greeter/combineAny")).json(), "Hello any");
  equal(ok(await server.call("Greeter/combineSettled")).json(), ["rejected", "fulfilled"]);
});

test("calls to many objects at once are joined", async ({ server }) => {
  equal(ok(await server.call("Greeter/concurrent", 40)).json(), 780);
});

test("a workflow runs once; its promise is resolved by a shared handler", async ({ server }) => {
  const k = unique("wf");
  const sent = ok(await server.call(`Signup/${k}/run/send`, "in"), 202).json();
  await until("the run wrote its state", async () => (await server.call(`Signup/${k}/input`)).json() === "in");
  equal((await request(`${server.ingress}/restate/workflow/Signup/${k}/output`)).status, 470);
  const again = ok(await server.call(`Signup/${k}/run`, "other"), 409);
  equal(again.json().source, "invocation");
  const second = ok(await server.call(`Signup/${k}/run/send`, "other"), 202).json();
  equal([second.status, second.invocationId], ["PreviouslyAccepted", sent.invocationId]);
  const attached = request(`${server.ingress}/restate/workflow/Signup/${k}/attach`);
  ok(await server.call(`Signup/${k}/answer`, "yes"));
  equal(ok(await attached).json(), "in yes");
  equal(ok(await request(`${server.ingress}/restate/workflow/Signup/${k}/output`)).json(), "in yes");
  const resolvedTwice = await server.call(`Signup/${k}/answer`, "again");
  equal(resolvedTwice.status >= 400, true, "a promise is completed once");
});

test("a rejected promise fails the workflow", async ({ server }) => {
  const k = unique("wf-reject");
  const running = server.call(`Signup/${k}/run`, "in");
  await until("the run wrote its state", async () => (await server.call(`Signup/${k}/input`)).json() === "in");
  ok(await server.call(`Signup/${k}/refuse`, "refused"));
  equal(ok(await running, 500).json().message, "refused");
});

test("an invocation is cancelled and another one killed", async ({ server }) => {
  for (const op of ["cancel", "kill"]) {
    const k = unique(op);
    const sent = ok(await server.call(`Holder/${k}/block/send`), 202).json();
    const attached = request(`${server.ingress}/restate/invocation/${sent.invocationId}/attach`);
    await sleep(300);
    const r = await request(`${server.admin}/invocations/${sent.invocationId}/${op}`, { method: "PATCH" });
    match(`${r.status}`, /^20[02]$/);
    equal(ok(await attached, 409).json().source, "invocation");
    // the key is free again
    const waiting = server.call(`Holder/${k}/wait`);
    const id = await until("the id is known", async () => (await server.call(`Holder/${k}/id`)).json());
    ok(await request(`${server.ingress}/restate/awakeables/${id}/resolve`, { json: op }), 202);
    equal(ok(await waiting).json(), op);
  }
});

test("two hundred calls share one HTTP/2 connection", async ({ server }) => {
  const session = http2.connect(server.ingress);
  const call = (i) => new Promise((resolve, reject) => {
    const req = session.request({ ":method": "POST", ":path": "/Greeter/greet", "content-type": "application/json" });
    let text = "";
    let status;
    req.on("response", (h) => (status = h[":status"]));
    req.on("data", (d) => (text += d));
    req.on("end", () => resolve([status, text]));
    req.on("error", reject);
    req.end(JSON.stringify(`n${i}`));
  });
  try {
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => call(i)));
    answers.forEach((a, i) => equal(a, [200, `"Hello n${i}"`]));
  } finally {
    session.destroy();
  }
});

test("a private service is called by handlers only", async ({ server }) => {
  const patch = (json) => request(`${server.admin}/services/Counter`, { method: "PATCH", json });
  const k = unique("private");
  equal(ok(await patch({ public: false })).json().public, false);
  try {
    ok(await server.call(`Counter/${k}/add`, 1), 400);
    equal(ok(await server.call("Greeter/callCounter", { key: k, amount: 2 })).json(), 2);
  } finally {
    equal(ok(await patch({ public: true })).json().public, true);
  }
  equal(ok(await server.call(`Counter/${k}/get`)).json(), 2);
});

test("cancelling a caller cancels what it waits for", async ({ server }) => {
  const k = unique("tree");
  const sent = ok(await server.call("Greeter/callBlock/send", k), 202).json();
  await sleep(400);
  equal((await request(`${server.admin}/invocations/${sent.invocationId}/cancel`, { method: "PATCH" })).status < 300, true);
  ok(await request(`${server.ingress}/restate/invocation/${sent.invocationId}/attach`), 409);
  const waiting = server.call(`Holder/${k}/wait`); // the key of the callee is free
  const id = await until("the id is known", async () => (await server.call(`Holder/${k}/id`)).json());
  ok(await request(`${server.ingress}/restate/awakeables/${id}/resolve`, { json: 1 }), 202);
  equal(ok(await waiting).json(), 1);
});

test("an invocation is paused and resumed, purged, and started again as a new one", async ({ server }) => {
  const k = unique("ops");
  const op = (id, what) => request(`${server.admin}/invocations/${id}/${what}`, { method: "PATCH" });
  const sent = ok(await server.call("Greeter/flaky/send", { key: k, failures: 3 }, key(k)), 202).json();
  await sleep(150);
  match(`${(await op(sent.invocationId, "pause")).status}`, /^20[02]$/);
  await sleep(100);
  ok(await op(sent.invocationId, "resume"));
  equal(ok(await request(`${server.ingress}/restate/invocation/${sent.invocationId}/attach`)).json(), 4);
  ok(await op(sent.invocationId, "pause"), 409);
  const again = ok(await op(sent.invocationId, "restart-as-new")).json();
  match(again.new_invocation_id, /^inv_1/);
  equal(ok(await request(`${server.ingress}/restate/invocation/${again.new_invocation_id}/attach`)).json(), 5);
  ok(await op(sent.invocationId, "purge"));
  await until("it is gone", async () => (await request(`${server.ingress}/restate/invocation/${sent.invocationId}/output`)).status === 404);
  ok(await op(sent.invocationId, "purge"), 404);
});

test("state is replaced through the admin API", async ({ server }) => {
  const k = unique("patch");
  ok(await server.call(`Counter/${k}/add`, 1));
  const body = { version: null, object_key: k, new_state: { count: [...Buffer.from("41")] } };
  ok(await request(`${server.admin}/services/Counter/state`, { json: body }), 202);
  await until("the state is replaced", async () => (await server.call(`Counter/${k}/get`)).json() === 41);
  equal(ok(await server.call(`Counter/${k}/add`, 1)).json(), 42);
});

test("protocol 7 tells a handler the idempotency key that the caller gave, and no other", async ({ service }) => {
  if (old) return;
  const s = await Server.create({ engine: options.engine, env: { RESTATE_EXPERIMENTAL_ENABLE_PROTOCOL_V7: "true" } });
  await s.start();
  ok(await s.register(service.uri), 201);
  const key = unique("key");
  equal(ok(await s.call("Greeter/idempotencyKey", null, { headers: { "idempotency-key": key } })).json(), key);
  equal(ok(await s.call("Greeter/idempotencyKey", null)).json(), null);
  equal(ok(await s.call("Greeter/idempotencyKeyOfCalled", key)).json(), key);
  await s.kill("SIGTERM");
});

test("both APIs are served on unix sockets too", async () => {
  const s = await Server.create({ engine: options.engine, env: { RESTATE_LISTEN_MODE: "all" } });
  await s.start();
  const get = (socketPath, path) => new Promise((resolve, reject) =>
    http.get({ socketPath, path, agent: false }, (res) => resolve(res.resume().statusCode)).on("error", reject));
  await s.kill(); // leaves its sockets behind
  await s.start();
  equal(await get(`${s.dir}/admin.sock`, "/health"), 200);
  equal(await get(`${s.dir}/ingress.sock`, "/restate/health"), 200);
  equal(await s.kill("SIGTERM"), { code: 0, signal: null });
});

test("paths, methods and bodies that are wrong get the right status", async ({ server }) => {
  equal((await request(`${server.ingress}/`)).status, 400);
  equal((await request(`${server.ingress}/restate/nothing`)).status, 404);
  equal((await request(`${server.ingress}/Greeter/none`, { json: 1 })).status, 404);
  equal((await request(`${server.ingress}/Greeter/empty`, { method: "PUT" })).status, 405);
  const form = await request(`${server.ingress}/Greeter/greet`, { body: "a=1", headers: { "content-type": "application/x-www-form-urlencoded" } });
  equal(form.status, 400);
  match(form.json().message, /^input validation error: /);
});

test("the official command line lists, describes and registers", async ({ server, service }) => {
  const list = await cli(server, "deployments", "list");
  equal(list.code, 0, list.out);
  match(list.out, /Counter/);
  const id = /dp_\w+/.exec(list.out)[0];
  const describe = await cli(server, "deployments", "describe", id);
  equal(describe.code, 0, describe.out);
  const again = await cli(server, "deployments", "register", service.uri, "--yes");
  equal(again.code, 0, again.out);
  match(again.out, /already exists/i);
  const services = await cli(server, "services", "list");
  equal(services.code, 0, services.out);
  match(services.out, /Signup/);
  const one = await cli(server, "services", "describe", "Counter");
  equal(one.code, 0, one.out);
  match(one.out, /add/);
  const who = await cli(server, "whoami");
  equal(who.code, 0, who.out);
});

const sql = (server, query, accept = "application/json") => request(`${server.admin}/query`, { json: { query }, headers: { accept } });

test("SQL sees what was acknowledged before it was sent", async ({ server }) => {
  const k = unique("sql");
  const rows = async (query) => ok(await sql(server, query)).json().rows;
  for (let i = 1; i <= 20; i++) {
    ok(await server.call(`Counter/${k}/add`, 1));
    equal((await rows(`select value_utf8 from state where service_name = 'Counter' and service_key = '${k}'`))[0].value_utf8, `${i}`);
  }
  const { invocationId: id } = ok(await server.call(`Holder/${k}/wait/send`), 202).json();
  await until("it runs or waits", async () => {
    const [row] = await rows(`select status, target, journal_size from sys_invocation where id = '${id}'`);
    return row?.target === `Holder/${k}/wait` && ["running", "suspended"].includes(row.status) && row.journal_size >= 2;
  });
  const journal = await rows(`select index, entry_type, entry_json from sys_journal where id = '${id}' order by index`);
  equal(journal[0].entry_type, "Command: Input");
  equal(Object.keys(JSON.parse(journal[0].entry_json).Command), ["Input"]);
  equal((await rows(`select invocation_id from sys_keyed_service_status where service_key = '${k}'`))[0].invocation_id, id);
  ok(await request(`${server.admin}/invocations/${id}?mode=kill`, { method: "DELETE" }), 202);
  await until("it is killed", async () =>
    (await rows(`select completion_failure from sys_invocation_status where id = '${id}'`))[0]?.completion_failure === "[409] killed");
});

test("SQL that is wrong or writes is refused; a long answer comes whole, and may be left", async ({ server }) => {
  equal((await sql(server, "selec 1")).status, 400);
  equal((await sql(server, "delete from state")).status, 400);
  equal((await sql(server, "select * from nope")).status, 500);
  const series = (n) => `with recursive t(n) as (select 1 union all select n + 1 from t where n < ${n}) select n, 'some text' as t from t`;
  const { rows } = ok(await sql(server, series(100000))).json();
  equal([rows.length, rows.at(-1).n], [100000, 100000]);
  for (let i = 0; i < 40; i++) {
    const req = http.request(`${server.admin}/query`, { method: "POST", headers: { "content-type": "application/json", accept: "application/json" } });
    req.on("error", () => {});
    req.end(JSON.stringify({ query: series(1e12) }));
    await new Promise((resolve) => req.once("response", (res) => { res.on("error", () => {}); resolve(); }));
    req.destroy();
  }
  await until("those are gone", async () => (await sql(server, "select 1 as one")).status === 200);
});

test("the official command line asks with SQL: invocations, state, sql", async ({ server }) => {
  const k = unique("cli-sql");
  ok(await server.call(`Counter/${k}/add`, 7));
  const { invocationId: id } = ok(await server.call(`Holder/${k}/wait/send`), 202).json();
  const run = async (...args) => {
    const r = await cli(server, ...args);
    equal(r.code, 0, `${args.join(" ")}: ${r.out}`);
    return r.out;
  };
  match(await run("invocations", "list", "--service", "Holder"), new RegExp(id));
  match(await run("invocations", "describe", id), /Command: Input/);
  match(await run("kv", "get", "Counter", k), /count\s+7/);
  match(await run("sql", `select service_key, value_length from state where service_key = '${k}'`), new RegExp(`${k}\\s+1`));
  match(await run("services", "status"), /Holder/);
  match(await run("deployments", "list", "--extra"), /ACTIVE-INVOCATIONS/);
  match(await run("invocations", "kill", id, "--yes"), /Killed 1/);
});

if (!old)
  test("an endpoint over HTTP/1.1 in request/response mode is registered and called", async ({ server }) => {
    const h1 = await Service.create({ SDK: sdkModule, HTTP1: "1" });
    await h1.start();
    const wrong = await server.register(h1.uri);
    equal(wrong.status >= 400, true, "HTTP/2 to an HTTP/1.1 endpoint is refused");
    const d = ok(await server.register(h1.uri, { use_http_11: true }), 201).json();
    const detail = ok(await request(`${server.admin}/deployments/${d.id}`)).json();
    equal([detail.protocol_type, detail.http_version], ["RequestResponse", "HTTP/1.1"]);
    const k = unique("h1");
    equal(ok(await server.call(`Counter/${k}/add`, 2)).json(), 2);
    equal(ok(await server.call("Greeter/runs", k)).json(), [1, 1, 1]);
    equal(ok(await server.call("Greeter/sleep", 30)).json() >= 30, true);
    equal(ok(await server.call("Greeter/callCounter", { key: k, amount: 3 })).json(), 5);
    const r = await request(`${server.admin}/deployments/${d.id}?force=true`, { method: "DELETE" });
    equal(r.status, 202);
    equal(ok(await server.call(`Counter/${k}/get`)).json(), 5, "the older revision serves again");
    await h1.kill();
  });

test("the service is killed in the middle of a sleep, and the call completes", async ({ server, service }) => {
  const k = unique("service-kill");
  const call = server.call("Greeter/sleep", 1500);
  await sleep(200);
  await service.kill();
  await service.start();
  equal(ok(await call).json() >= 1500, true);
  equal(ok(await server.call(`Counter/${k}/add`, 1)).json(), 1);
});

for (const [how, signal] of [["stopped", "SIGTERM"], ["killed", "SIGKILL"]])
  test(`the server is ${how} and started again: state, deployments, waiting and running calls are there`, async ({ server }) => {
    const k = unique("restart");
    ok(await server.call(`Counter/${k}/add`, 3));
    const sleeping = ok(await server.call("Greeter/sleep/send", 1800), 202).json();
    const waiting = ok(await server.call(`Holder/${k}/wait/send`), 202).json();
    const id = await until("the id is known", async () => (await server.call(`Holder/${k}/id`)).json());
    const cut = request(`${server.ingress}/restate/invocation/${waiting.invocationId}/attach`).catch(() => null); // waits when it ends
    await sleep(50);
    const ended = await server.kill(signal);
    const answer = await cut;
    equal(answer === null || answer.status === 503, true, `a call that waits is cut off or told so: ${answer?.status}`);
    if (signal === "SIGTERM") equal(ended, { code: 0, signal: null }, "the server ends by itself");
    await server.start();
    equal(ok(await server.call(`Counter/${k}/add`, 4)).json(), 7);
    ok(await request(`${server.ingress}/restate/awakeables/${id}/resolve`, { json: "late" }), 202);
    equal(ok(await request(`${server.ingress}/restate/invocation/${waiting.invocationId}/attach`)).json(), "late");
    ok(await request(`${server.ingress}/restate/invocation/${sleeping.invocationId}/attach`));
  });

await run({
  before: async () => {
    const server = await Server.create({ engine: options.engine, env: { RESTATE_WORKER__INVOKER__INACTIVITY_TIMEOUT: inactivity } });
    const service = await Service.create({ SDK: sdkModule });
    await Promise.all([server.start(), service.start()]);
    return { server, service };
  },
  after: async ({ server, service }, bad) => {
    if (bad) showLogs(server, service);
  },
});
