// SPDX-License-Identifier: Apache-2.0
// Spans in a collector of OTLP over HTTP; trace contexts in from clients, out to deployments, and in SQL.
import http from "node:http";
import { Server, Service, equal, freePort, match, ok, request, run, test, until } from "./lib.mjs";

// ---- just enough of protobuf ----

// A message as a map of field number -> values: bytes of length-delimited fields, BigInts of the others.
function decode(bytes) {
  const fields = {};
  let at = 0;
  const varint = () => {
    let v = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const b = bytes[at++];
      v |= BigInt(b & 0x7f) << shift;
      if (b < 0x80) return v;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    let value;
    if ((tag & 7) === 0) value = varint();
    else if ((tag & 7) === 1) value = bytes.readBigUInt64LE((at += 8) - 8);
    else {
      const n = Number(varint());
      value = bytes.subarray(at, (at += n));
    }
    (fields[tag >> 3] ??= []).push(value);
  }
  return fields;
}

const attributes = (list) => Object.fromEntries((list ?? []).map((kv) => {
  const { 1: [key], 2: [value] } = decode(kv);
  return [`${key}`, `${decode(value)[1][0]}`];
}));

function spansOf(body) {
  return decode(body)[1].flatMap((r) => {
    const { 1: [resource], 2: scopes } = decode(r);
    return scopes.flatMap((s) => decode(s)[2]).map((raw) => {
      const f = decode(raw);
      return {
        trace: f[1][0].toString("hex"), id: f[2][0].toString("hex"), state: `${f[3]?.[0] ?? ""}`,
        parent: f[4]?.[0].toString("hex") ?? null, name: `${f[5][0]}`, start: f[7][0], end: f[8][0],
        attributes: attributes(f[9]), failed: f[15] ? `${decode(f[15][0])[2]?.[0] ?? ""}` : null,
        resource: attributes(decode(resource)[1]),
      };
    });
  });
}

async function collector() {
  const c = { spans: [], requests: [], answer: true, port: await freePort() };
  http.createServer((req, res) => {
    const parts = [];
    req.on("data", (p) => parts.push(p));
    req.on("end", () => {
      c.requests.push({ path: req.url, headers: req.headers });
      c.spans.push(...spansOf(Buffer.concat(parts)));
      if (c.answer) res.writeHead(200, { "content-type": "application/x-protobuf" }).end();
    });
  }).listen(c.port, "127.0.0.1").unref();
  c.find = (name, invocation) => until(`${name} of ${invocation}`, () =>
    c.spans.find((s) => s.name === name && s.attributes["restate.invocation.id"] === invocation), 10);
  return c;
}

const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
const traceparent = `00-${trace}-00f067aa0ba902b7-01`;

async function sql(t, query) {
  const r = ok(await request(`${t.server.admin}/query`, { json: { query }, headers: { accept: "application/json" } }));
  return r.json().rows;
}

test("a call in a client's trace: the spans hang together, and the deployment gets its attempt's span", async (t) => {
  const r = ok(await t.server.call("Greeter/attemptHeader", "traceparent", { headers: { traceparent, tracestate: "a=1" } }));
  const id = r.headers["x-restate-id"];
  const [start, attempt, end] = [await t.collector.find("invocation-start", id),
    await t.collector.find("invocation-attempt", id), await t.collector.find("invocation-end", id)];
  for (const s of [start, attempt, end]) {
    equal(s.trace, trace, "trace");
    equal(s.state, "a=1", "tracestate");
    equal(s.attributes["restate.invocation.target"], "Greeter/attemptHeader", "target");
    equal(s.failed, null, "failure");
    equal(s.start <= s.end, true, "it ends after it starts");
  }
  equal(start.parent, "00f067aa0ba902b7", "parent");
  equal([attempt.parent, end.parent], [start.id, start.id], "parents");
  equal(r.json(), `00-${trace}-${attempt.id}-01`, "what the deployment got");
  equal(start.resource["service.name"], "restate", "resource");
  equal(t.collector.requests[0].path, "/v1/traces", "path");
  equal(t.collector.requests[0].headers["x-key"], "secret", "header of the collector");
  equal((await sql(t, `SELECT trace_id FROM sys_invocation WHERE id = '${id}'`))[0].trace_id, trace, "SQL");
});

test("what a handler calls is in the same trace, below its caller", async (t) => {
  const r = ok(await t.server.call("Greeter/callCounter", { key: "traced", amount: 1 }));
  const caller = await t.collector.find("invocation-start", r.headers["x-restate-id"]);
  equal(caller.parent, null, "the trace begins here");
  const callee = await until("the callee's span", () => t.collector.spans.find((s) =>
    s.name === "invocation-start" && s.attributes["restate.invocation.target"] === "Counter/traced/add"));
  equal([callee.trace, callee.parent], [caller.trace, caller.id], "trace and parent");
});

test("a failure is one in its spans", async (t) => {
  const r = await t.server.call("Greeter/fail", { message: "not today", code: 418 });
  equal(r.status, 418, "status");
  const end = await t.collector.find("invocation-end", r.headers["x-restate-id"]);
  equal(end.failed !== null, true, "failed");
  equal(end.attributes["restate.invocation.error_code"], "418", "code");
});

test("a client that does not sample gets no spans, but its context goes on", async (t) => {
  const r = ok(await t.server.call("Greeter/attemptHeader", "traceparent",
    { headers: { traceparent: traceparent.replace(/01$/, "00") } }));
  match(r.json(), new RegExp(`^00-${trace}-[0-9a-f]{16}-00$`));
  const next = ok(await t.server.call("Greeter/greet", "x"));
  await t.collector.find("invocation-end", next.headers["x-restate-id"]);
  equal(t.collector.spans.some((s) => s.attributes["restate.invocation.id"] === r.headers["x-restate-id"]), false, "spans");
});

test("a collector that does not answer holds up neither calls nor the stop", async (t) => {
  t.collector.answer = false;
  const begin = Date.now();
  for (let i = 0; i < 200; i++) ok(await t.server.call("Counter/slow/add", 1));
  console.log(`# 200 calls in ${Date.now() - begin} ms`);
  const stopping = Date.now();
  equal(await t.server.kill("SIGTERM"), { code: 0, signal: null }, "its end");
  equal(Date.now() - stopping < 6000, true, "it ends soon");
  delete t.server.env.RESTATE_TRACING_ENDPOINT;
  await t.server.start();
});

test("without a collector nothing is kept and nothing is sent on", async (t) => {
  const r = ok(await t.server.call("Greeter/attemptHeader", "traceparent", { headers: { traceparent } }));
  equal(r.json(), "", "what the deployment got");
  const row = (await sql(t, `SELECT id, trace_id FROM sys_invocation WHERE id = '${r.headers["x-restate-id"]}'`))[0];
  equal(row?.trace_id ?? null, null, "SQL");
});

await run({
  before: async () => {
    const traces = await collector();
    const server = await Server.create({ env: {
      RESTATE_TRACING_ENDPOINT: `otlp+http://127.0.0.1:${traces.port}`,
      RESTATE_TRACING_HEADERS: JSON.stringify({ "x-key": "secret" }),
    } });
    const service = await Service.create();
    await Promise.all([server.start(), service.start()]);
    ok(await server.register(service.uri), 201);
    return { server, service, collector: traces };
  },
  after: async (t, bad) => {
    if (bad) console.log(t.server.log.slice(-4000));
  },
});
