// SPDX-License-Identifier: Apache-2.0
// A cluster of three moves from TCP to TLS one node at a time, while clients count: docs/operations.md, "From TCP to TLS".
// Every step restarts every node once; engines are mixed; certificates are made here, one per node, and checked both ways.
//
//   node tests/e2e/tls_migration.test.mjs [--engines lmdb,rocksdb] [--bound MS] [--keep]
import { execFile, execFileSync } from "node:child_process";
import net from "node:net";
import path from "node:path";
import { Client, Cluster, checkCounters, ctl, freePort } from "./cluster.mjs";
import { Service, build, equal, match, ok, options, run, showLogs, tempDir, test, until } from "./lib.mjs";

const engines = (options.engines ?? "lmdb,rocksdb").split(",");
const bound = Number(options.bound ?? 2000); // of a client's wait, ms
const dir = tempDir();
const certificate = (name) => ({ ca: path.join(dir, "ca.pem"), cert: path.join(dir, `${name}.pem`), key: path.join(dir, `${name}.key`) });

function makeCertificates(...names) {
  const openssl = (...args) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...ec, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test-ca");
  for (const n of names) {
    openssl("req", ...ec, "-keyout", `${n}.key`, "-out", `${n}.csr`, "-subj", `/CN=${n}`,
      "-addext", `subjectAltName=DNS:${n},IP:127.0.0.1`);
    openssl("x509", "-req", "-in", `${n}.csr`, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", `${n}.pem`,
      "-days", "2", "-copy_extensions", "copy");
  }
}

const certName = (s) => `${s.name}.e2e.test`;
const tcp = (s) => `tcp://127.0.0.1:${s.ports.fabric}`;
const tls = (s) => `tls://127.0.0.1:${s.ports.tls}`;
const https = (s) => `https://127.0.0.1:${s.ports.tls}/`;

// The settings of node @s from a step on.
const steps = {
  both(s) {
    const c = certificate(certName(s));
    return {
      RESTATE_BIND_ADDRESS: JSON.stringify([tcp(s), tls(s)]),
      RESTATE_TRANSPORT__TLS__OPTIONS__CA_FILE: c.ca,
      RESTATE_TRANSPORT__TLS__OPTIONS__CERT_FILE: c.cert,
      RESTATE_TRANSPORT__TLS__OPTIONS__KEY_FILE: c.key,
      RESTATE_TRANSPORT__TLS__OPTIONS__CLIENT_AUTH: "require",
      RESTATE_NETWORKING__ALLOWED_PEERS: JSON.stringify(["*.e2e.test"]),
    };
  },
  advertise: (s) => ({ RESTATE_ADVERTISED_ADDRESS: https(s) }),
  tlsOnly: (s, all) => ({
    RESTATE_BIND_ADDRESS: JSON.stringify([tls(s)]),
    RESTATE_METADATA_CLIENT__ADDRESSES: JSON.stringify(all.map(https)),
  }),
};

function restatectl(name, address, ...args) {
  const c = name ? certificate(name) : null;
  const flags = c ? ["--tls-ca", c.ca, "--tls-cert", c.cert, "--tls-key", c.key] : [];
  const env = { ...process.env, RESTATE_PLUGINS__DIR: path.join(build, "plugins") };
  return new Promise((resolve) =>
    execFile(ctl, [...flags, "-s", address, ...args], { timeout: 20000, env }, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? 1) : 0, stdout, stderr })));
}

const refuses = (port) => new Promise((resolve) => {
  const s = net.connect(port, "127.0.0.1", () => { s.destroy(); resolve(false); }).once("error", () => resolve(true));
});

async function rolling(t, step) {
  for (const c of t.clients) c.worst = { ms: 0, at: 0 };
  for (const s of t.cluster.nodes) {
    equal(await s.kill("SIGTERM"), { code: 0, signal: null }, `the end of ${s.name}`);
    Object.assign(s.env, step(s, t.cluster.nodes));
    s.spawnOnly();
    await t.cluster.ready();
    await Promise.all(t.clients.map((c) => c.progress(20, 20)));
    await settled(t);
  }
  const worst = Math.max(...t.clients.map((c) => c.worst.ms));
  console.log(`# longest wait of a client: ${worst} ms`);
  if (worst > bound) throw new Error(`a client waited for ${worst} ms, longer than ${bound} ms`);
}

// What an operator waits for before the next node: all are alive, every partition has its leader.
async function settled(t) {
  const s = t.cluster.node(1);
  const secure = s.env.RESTATE_ADVERTISED_ADDRESS.startsWith("https");
  await until("the cluster has settled", async () => {
    const r = await restatectl(secure ? certName(s) : null, s.env.RESTATE_ADVERTISED_ADDRESS, "--json", "status");
    if (r.code !== 0) throw new Error(r.stderr);
    const status = JSON.parse(r.stdout);
    if (status.problems.length) throw new Error(JSON.stringify(status.problems));
    return true;
  });
}

test("three nodes over TCP, clients count", async (t) => {
  await Promise.all([t.cluster.ready(), t.service.start()]);
  ok(await t.cluster.node(1).register(t.service.uri), 201);
  for (const s of t.cluster.nodes)
    await until(`${s.name} knows the service`, async () => (await s.call("Counter/first/get")).status === 200);
  const ingresses = t.cluster.nodes.map((s) => s.ingress);
  t.clients = ingresses.map((_, i) => new Client(`m${i + 1}`, ingresses, { prefer: i, pause: 5 }).run());
  for (const c of t.clients) await c.progress(20, 20);
  await settled(t);
});

test("each node in turn listens on both", (t) => rolling(t, steps.both), 120);

test("each node in turn advertises https", (t) => rolling(t, steps.advertise), 120);

test("each node in turn drops TCP", (t) => rolling(t, steps.tlsOnly), 120);

test("every counter is right, asked through each node", async (t) => {
  for (const c of t.clients) await c.stop();
  for (const s of t.cluster.nodes) await checkCounters(t.clients, s.ingress);
  for (const line of t.clients.flatMap((c) => c.slow)) console.log(`# ${line}`);
  console.log(`# ${t.clients.reduce((sum, c) => sum + c.acked, 0)} increments`);
}, 60);

test("nothing listens on TCP, and all addresses in the nodes configuration are https", async (t) => {
  for (const s of t.cluster.nodes) equal(await refuses(s.ports.fabric), true, `${s.name} refuses TCP`);
  const s = t.cluster.node(1);
  const r = await restatectl(certName(s), https(s), "--json", "nodes", "list");
  equal(r.code, 0, r.stderr);
  equal(JSON.parse(r.stdout).nodes.map((n) => n.address).sort(), t.cluster.nodes.map(https).sort(), "addresses");
});

test("a certificate of the same CA with a name that is not allowed is refused, and so is none", async (t) => {
  const address = https(t.cluster.node(2));
  const other = await restatectl("stranger.example", address, "nodes", "list");
  equal(other.code, 1, "exit status");
  match(other.stderr, /allowed-peers/, "stderr");
  const plain = await restatectl(null, address, "nodes", "list");
  equal(plain.code, 1, "exit status");
});

await run({
  before: async () => {
    const cluster = await Cluster.create({ engines });
    const service = await Service.create();
    makeCertificates(...cluster.nodes.map(certName), "stranger.example");
    for (const s of cluster.nodes) s.ports.tls = await freePort();
    cluster.spawn();
    return { cluster, service };
  },
  after: async (t, bad) => {
    if (bad) showLogs(...t.cluster.nodes, t.service);
  },
});
