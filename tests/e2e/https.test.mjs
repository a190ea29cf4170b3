// SPDX-License-Identifier: Apache-2.0
// Deployments over TLS: without any configuration the system's certificates count, others are refused. And what every
// request to a deployment carries.
import { execFileSync } from "node:child_process";
import path from "node:path";
import { Server, Service, equal, match, ok, run, test, tempDir } from "./lib.mjs";

const dir = tempDir();
const openssl = (...args) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" }).toString();
openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj",
  "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1");

async function both(env) {
  const service = await Service.create({ TLS_KEY: path.join(dir, "key.pem"), TLS_CERT: path.join(dir, "cert.pem") });
  const server = await Server.create({ env });
  await Promise.all([service.start(), server.start()]);
  return { service, server, uri: `https://localhost:${service.port}/` };
}

test("a deployment over TLS is registered and called when the system trusts its certificate", async () => {
  const { service, server, uri } = await both({ SSL_CERT_FILE: path.join(dir, "cert.pem") });
  const additional_headers = { "X-From-Deployment": "yes" };
  ok(await server.register(uri, { additional_headers }), 201);
  equal(ok(await server.call("Greeter/greet", "tls")).json(), "Hello tls");
  equal(ok(await server.call("Greeter/attemptHeader", "x-from-deployment")).json(), "yes", "header of the deployment");
  equal(ok(await server.call("Greeter/attemptHeader", "x-restate-cluster-name")).json(), "localcluster", "cluster name");
  await Promise.all([service.kill(), server.kill()]);
});

test("a deployment whose certificate nobody vouches for is refused", async () => {
  const { service, server, uri } = await both({});
  const r = await server.register(uri);
  equal(r.status, 500, "status");
  match(r.json().message, /META0003.*certificate/, "message");
  await Promise.all([service.kill(), server.kill()]);
});

run();
