// SPDX-License-Identifier: Apache-2.0
// What is wrong is said in one clear sentence: configuration, plugins, directories and stores end the start with a non-zero
// status; requests get the right status, and the server goes on.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import path from "node:path";
import { Server, Service, build, equal, freePort, match, ok, options, request, root, run, showLogs, sleep, tempDir, test, until } from "./lib.mjs";

const plugins = path.join(build, "plugins");

// Starts a server that must refuse; returns what it said.
async function refused(pattern, { env = {}, args = [], code = 1, dir } = {}) {
  const s = await Server.create({ env, args, dir });
  s.spawnOnly();
  const timer = setTimeout(() => s.child.kill("SIGKILL"), 20000);
  const ended = await s.exited;
  clearTimeout(timer);
  const text = s.log.replace(/^.* (INFO|WARN) .*\n/gm, "");
  match(text, pattern);
  equal(ended, { code, signal: null }, `exit status after: ${text}`);
  const sentences = text.trim().split("\n").filter((l) => l.startsWith("restate-server: "));
  equal(sentences.length, 1, `one sentence: ${text}`);
  return text;
}

function file(name, text) {
  const f = path.join(tempDir(), name);
  fs.writeFileSync(f, text);
  return f;
}

function pluginDir() {
  const dir = tempDir();
  for (const f of fs.readdirSync(plugins)) if (f.endsWith(".so")) fs.copyFileSync(path.join(plugins, f), path.join(dir, f));
  return dir;
}

test("an unknown key of the configuration is named, with the nearest known one", () =>
  refused(/:2: cluster-nam: .*did you mean cluster-name\?/, { args: ["-c", file("a.yaml", "\ncluster-nam: x\n")] }));
test("a wrong value is named with its file and line", () =>
  refused(/:2: ingress\.request-size-limit: "lots"/, { args: ["-c", file("a.yaml", "ingress:\n  request-size-limit: lots\n")] }));
test("YAML that is broken is refused with its line", () => refused(/a\.yaml:\d+/, { args: ["-c", file("a.yaml", "ingress: [\n")] }));
test("a missing configuration file is refused", () => refused(/cannot open the configuration file/, { args: ["-c", "/none/such.yaml"] }));
test("an unknown argument is a usage error", () => refused(/unexpected argument "--no-such-option"/, { args: ["--no-such-option"], code: 2 }));
test("a wrong value in the environment names its variable", () => refused(/RESTATE_ROLES.*"nonsense"/, { env: { RESTATE_ROLES: "nonsense" } }));
test("a destination of snapshots that nobody can write to is refused", () =>
  refused(/worker\.snapshots\.destination: 'gs:\/\/b\/p'/, { env: { RESTATE_WORKER__SNAPSHOTS__DESTINATION: "gs://b/p" } }));
test("S3 without credentials is refused", () =>
  refused(/aws-access-key-id/, { env: { RESTATE_WORKER__SNAPSHOTS__DESTINATION: "s3://b/p" } }));
test("a durability mode that needs snapshots is refused without a destination", () =>
  refused(/worker\.durability-mode.*worker\.snapshots\.destination/, { env: { RESTATE_WORKER__DURABILITY_MODE: "snapshot-only" } }));
test("an unknown option of a plugin is refused", () =>
  refused(/storage\.options\.no-such/, { env: { RESTATE_STORAGE: "{plugin: rocksdb, options: {no-such: 1}}" } }));

test("a configuration is checked, shown and explained without opening data", async () => {
  for (const [arg, pattern] of [["--check-config", /is fine/], ["--dump-config", /cluster-name: .*localcluster/], ["--version", /^restate-server \d/],
    ["--help", /--base-dir/]]) {
    const s = await Server.create({ args: [arg] });
    s.spawnOnly();
    equal(await s.exited, { code: 0, signal: null }, arg);
    match(s.log, pattern, arg);
    equal(fs.readdirSync(s.dir), [], `${arg}: no data`);
  }
});

test("a missing storage plugin is refused, and those that are there are listed", () =>
  refused(/no storage plugin "nosuch".*rocksdb/, { env: { RESTATE_STORAGE: "nosuch" } }));
test("the name of a plugin is not a path", () => refused(/not the name of a plugin/, { env: { RESTATE_STORAGE: "../rocksdb" } }));
test("a plugin that is no shared object is refused", () => {
  const dir = pluginDir();
  fs.writeFileSync(path.join(dir, "storage-rocksdb.so"), "not an object\n");
  return refused(/storage-rocksdb\.so/, { env: { RESTATE_PLUGINS__DIR: dir } });
});
test("a plugin of another kind is refused", () => {
  const dir = pluginDir();
  fs.copyFileSync(path.join(plugins, "transport-tcp.so"), path.join(dir, "storage-rocksdb.so"));
  return refused(/it is a transport plugin/, { env: { RESTATE_PLUGINS__DIR: dir } });
});
test("a shared object that is no plugin is refused", () => {
  const dir = pluginDir();
  const src = file("other.c", "int other(void);\nint other(void) { return 1; }\n");
  execFileSync("cc", ["-shared", "-fPIC", "-o", path.join(dir, "storage-rocksdb.so"), src]);
  return refused(/does not export restate_plugin_v1/, { env: { RESTATE_PLUGINS__DIR: dir } });
});
test("a plugin of another ABI is refused", () => {
  const dir = pluginDir();
  const src = file("abi.c", `#include <restate/plugin.h>
const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor) {
    static const rs_plugin p = {.magic = RS_ABI_MAGIC, .struct_size = sizeof(rs_plugin), .abi_major = 8, .kind = RS_KIND_STORAGE,
                                .name = "rocksdb", .version = "9.0.0"};
    (void)host_major;
    (void)host_minor;
    return &p;
}
`);
  execFileSync("cc", ["-shared", "-fPIC", "-I", path.join(root, "sdk/include"), "-o", path.join(dir, "storage-rocksdb.so"), src]);
  return refused(/ABI|abi/, { env: { RESTATE_PLUGINS__DIR: dir } });
});

test("a base directory that is a file is refused", () => refused(/Not a directory/, { env: { RESTATE_BASE_DIR: file("f", "") } }));
test("a base directory that cannot be made is refused", () => refused(/cannot create directory/, { env: { RESTATE_BASE_DIR: "/proc/none" } }));

test("a second server on one directory is refused, and the first goes on", async ({ server }) => {
  await refused(/lock|in use|another|already/i, { dir: server.dir });
  ok(await request(`${server.admin}/health`));
});
test("a port that is taken is refused", ({ server }) =>
  refused(new RegExp(`cannot listen on .*${server.ports.ingress}|ddress already in use`), { env: { RESTATE_INGRESS__BIND_PORT: `${server.ports.ingress}` } }));

for (const [engine, spoil] of [
  ["rocksdb", (dir) => fs.readdirSync(dir).filter((f) => /^(CURRENT|MANIFEST)/.test(f)).forEach((f) => fs.writeFileSync(path.join(dir, f), "spoiled\n"))],
  ["lmdb", (dir) => fs.readdirSync(dir).filter((f) => /\.mdb$/.test(f) && !/lock/.test(f)).forEach((f) => fs.writeFileSync(path.join(dir, f), Buffer.alloc(65536, 0x5a)))],
])
  test(`a spoiled store of ${engine} is refused`, async () => {
    const s = await Server.create({ engine });
    await s.start();
    equal(await s.kill("SIGTERM"), { code: 0, signal: null });
    spoil(path.join(s.dir, "n1", "log"));
    await refused(/log/, { dir: s.dir, env: { RESTATE_STORAGE: engine } });
  });
test("a stop that takes longer than shutdown-timeout is cut short", async () => {
  const s = await (await Server.create({ env: { RESTATE_SHUTDOWN_TIMEOUT: "300ms" } })).start();
  const client = net.connect(s.ports.ingress, "127.0.0.1").on("error", () => {});
  client.write("POST /None/none HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf"); // waited for, up to 5 s
  await sleep(300);
  const began = Date.now();
  equal(await s.kill("SIGTERM"), { code: 1, signal: null });
  equal(Date.now() - began < 4000, true, "at once");
  match(s.log, /not stopped within shutdown-timeout/);
  client.destroy();
});
test("a directory made with another storage plugin is refused", async () => {
  const s = await Server.create({ engine: "lmdb" });
  await s.start();
  await s.kill("SIGTERM");
  await refused(/lmdb/, { dir: s.dir, env: { RESTATE_STORAGE: "rocksdb" } });
});

// ---- the running server ----

test("bodies of the admin API that are wrong get 4xx and a text", async ({ server }) => {
  const post = (body, type = "application/json") => request(`${server.admin}/deployments`, { body, headers: { "content-type": type } });
  equal((await post("{")).status, 400);
  equal((await post('{"uri": 5}')).status >= 400, true);
  equal((await post('{"uri": "relative"}')).status, 400);
  equal((await post("{}")).status >= 400, true);
  equal((await post('{"uri":"http://127.0.0.1:1"}', "text/plain")).status, 415);
  equal((await post('{"a":'.repeat(3000))).status, 400);
  equal((await request(`${server.admin}/nothing`)).status, 404);
  equal((await request(`${server.admin}/deployments`, { method: "PUT" })).status, 405);
  equal((await request(`${server.admin}/deployments/dp_none`)).status >= 400, true);
  equal((await request(`${server.admin}/invocations/inv_bad/cancel`, { method: "PATCH" })).status, 400);
});

test("manifests that are wrong are refused with the codes of the documentation", async ({ server }) => {
  let answer;
  const endpoint = http2.createServer((req, res) => {
    res.writeHead(answer.status ?? 200, { "content-type": answer.type ?? "application/vnd.restate.endpointmanifest.v3+json" });
    res.end(answer.body);
  });
  const port = await freePort();
  await new Promise((resolve) => endpoint.listen(port, "127.0.0.1", resolve));
  const good = { protocolMode: "BIDI_STREAM", minProtocolVersion: 5, maxProtocolVersion: 6, services: [] };
  const service = { name: "S", ty: "SERVICE", handlers: [{ name: "h" }] };
  const tries = [
    [{ body: "nonsense" }, null],
    [{ body: "[]" }, null],
    [{ body: JSON.stringify({ ...good, services: [{ name: "S" }] }) }, "META0013"],
    [{ body: JSON.stringify({ ...good, services: [{ ...service, ty: "THING" }] }) }, "META0013"],
    [{ body: JSON.stringify({ ...good, services: [{ ...service, name: "restateX" }] }) }, "META0005"],
    [{ body: JSON.stringify({ ...good, minProtocolVersion: 90, maxProtocolVersion: 99 }) }, "META0012"],
    [{ body: "{}", status: 500 }, "META0003"],
    [{ body: "", status: 404 }, "META0003"],
  ];
  try {
    for (const [a, code] of tries) {
      answer = a;
      const r = await server.register(`http://127.0.0.1:${port}`);
      if (options.explain) console.log(`# ${JSON.stringify(a)} -> ${r.status} ${r.text}`);
      else equal([r.status >= 400, r.json().restate_code], [true, code], `${JSON.stringify(a)}: ${r.status} ${r.text}`);
    }
  } finally {
    endpoint.close();
  }
  ok(await request(`${server.admin}/health`));
});

test("a service that changes its type is refused with META0006 unless forced", async ({ server }) => {
  let ty = "SERVICE";
  const manifest = () => ({ protocolMode: "BIDI_STREAM", minProtocolVersion: 5, maxProtocolVersion: 6, services: [{ name: "Shifty", ty, handlers: [{ name: "h" }] }] });
  const listen = async () => {
    const e = http2.createServer((req, res) => {
      res.writeHead(200, { "content-type": "application/vnd.restate.endpointmanifest.v3+json" });
      res.end(JSON.stringify(manifest()));
    });
    const port = await freePort();
    await new Promise((resolve) => e.listen(port, "127.0.0.1", resolve));
    return { e, uri: `http://127.0.0.1:${port}` };
  };
  const one = await listen();
  const two = await listen();
  try {
    ok(await server.register(one.uri), 201);
    ty = "VIRTUAL_OBJECT";
    const r = ok(await server.register(two.uri), 409);
    equal(r.json().restate_code, "META0006");
    ok(await server.register(two.uri, { force: true }), 201);
  } finally {
    one.e.close();
    two.e.close();
  }
});

test("requests of the ingress that are wrong get the right status, and the server goes on", async ({ server, service }) => {
  ok(await server.register(service.uri), 201);
  equal((await server.call("Nobody/h", 1)).status, 404);
  equal((await server.call("Greeter/nothing", 1)).status, 404);
  equal((await server.call("Greeter/greet/more", 1)).status, 400);
  equal((await server.call("Counter/%ff/add", 1)).status, 400);
  equal((await request(`${server.ingress}/Greeter/greet`, { body: "x", headers: { "content-type": "text/plain" } })).status, 400);
  equal((await server.call("Greeter/greet/send?delay=soon", "x")).status, 400);
  equal((await server.call("Signup/w/run", "x", { headers: { "idempotency-key": "k" } })).status, 400);
  equal((await request(`${server.ingress}/restate/invocation/inv_1/attach`)).status, 400);
  const broken = await server.call("Greeter/greet", undefined, { body: "{nonsense", headers: { "content-type": "application/json" } });
  equal(broken.status >= 400 && broken.status < 600, true, `invalid JSON for the SDK: ${broken.status}`);
  equal(ok(await server.call("Greeter/greet", "still")).json(), "Hello still");
});

test("a body above the limit is 413, whether announced or not", async ({ server }) => {
  const big = "x".repeat(300 * 1024);
  const r = await request(`${server.ingress}/Greeter/greet`, { json: big }).catch((e) => e);
  equal(r.status, 413, "announced");
  const chunked = await request(`${server.ingress}/Greeter/greet`, {
    body: JSON.stringify(big), headers: { "content-type": "application/json", "transfer-encoding": "chunked" } }).catch((e) => e);
  equal(chunked.status ?? 413, 413, "chunked");
  equal(ok(await server.call("Greeter/greet", "after")).json(), "Hello after");
});

test("bytes that are no HTTP are answered with 400 or a closed connection", async ({ server }) => {
  for (const bytes of ["\0\0\0\0", "GET /\r\n\r\n", "POST /Greeter/greet HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
    "GET / HTTP/1.1\r\nhost : x\r\n\r\n", `GET / HTTP/1.1\r\nh: ${"y".repeat(80000)}\r\n\r\n`, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense-nonsense"]) {
    const text = await new Promise((resolve) => {
      let got = "";
      const s = net.connect(server.ports.ingress, "127.0.0.1", () => s.write(bytes));
      s.on("data", (d) => (got += d.toString("latin1")));
      s.on("error", () => {});
      s.on("close", () => resolve(got));
      setTimeout(() => { s.destroy(); }, 3000);
    });
    if (text.startsWith("HTTP/1.1")) match(text, /^HTTP\/1\.1 4\d\d /, JSON.stringify(bytes.slice(0, 40)));
  }
  ok(await request(`${server.ingress}/restate/health`));
});

test("a client that goes away does not stop its call", async ({ server }) => {
  const key = `gone-${Date.now()}`;
  await new Promise((resolve) => {
    const req = http.request(`${server.ingress}/Counter/${key}/slowAdd`, { method: "POST", headers: { "content-type": "application/json" } });
    req.on("error", () => {});
    req.end("1");
    setTimeout(() => { req.destroy(); resolve(); }, 15);
  });
  await until("the call completes", async () => (await server.call(`Counter/${key}/get`)).json() === 1);
});

test("a call that fails again and again does not hold up others", async ({ server }) => {
  const stuck = await Promise.all(Array.from({ length: 20 }, (_, i) =>
    server.call("Greeter/flaky/send", { key: `stuck-${i}-${Date.now()}`, failures: 1000 })));
  for (let i = 0; i < 40; i++) equal(ok(await server.call("Greeter/greet", `n${i}`, { timeout: 10000 })).json(), `Hello n${i}`);
  for (const r of stuck) {
    const id = ok(r, 202).json().invocationId;
    match(`${(await request(`${server.admin}/invocations/${id}/kill`, { method: "PATCH" })).status}`, /^20[02]$/);
  }
});

await run({
  before: async () => {
    const server = await Server.create({ engine: options.engine, env: { RESTATE_INGRESS__REQUEST_SIZE_LIMIT: "256KiB" } });
    const service = await Service.create();
    await Promise.all([server.start(), service.start()]);
    return { server, service };
  },
  after: async ({ server, service }, bad) => {
    if (bad) showLogs(server, service);
  },
});
