// SPDX-License-Identifier: Apache-2.0
// A stand-in for an S3 service: one bucket in memory, path-style addresses, conditional writes, and signatures (SigV4)
// checked as the service would: a request that is not signed as its headers say is answered 403.
import crypto from "node:crypto";
import http from "node:http";
import { freePort } from "./lib.mjs";

const hash = (data) => crypto.createHash("sha256").update(data).digest("hex");
const hmac = (key, data) => crypto.createHmac("sha256", key).update(data).digest();

export class S3 {
  static async create({ region = "eu-test-1", bucket = "snapshots" } = {}) {
    const s = new S3();
    Object.assign(s, { region, bucket, objects: new Map(), requests: 0, refused: [], failures: 0, key: "TESTKEY", secret: "test/secret+key" });
    s.port = await freePort();
    s.endpoint = `http://127.0.0.1:${s.port}`;
    s.server = http.createServer((req, res) => s.handle(req, res));
    await new Promise((resolve) => s.server.listen(s.port, "127.0.0.1", resolve));
    return s;
  }

  // The environment of a node that keeps its snapshots here.
  env(prefix = "some/prefix") {
    return {
      RESTATE_WORKER__SNAPSHOTS__DESTINATION: `s3://${this.bucket}/${prefix}`,
      RESTATE_WORKER__SNAPSHOTS__AWS_REGION: this.region,
      RESTATE_WORKER__SNAPSHOTS__AWS_ENDPOINT_URL: this.endpoint,
      RESTATE_WORKER__SNAPSHOTS__AWS_ALLOW_HTTP: "true",
      AWS_ACCESS_KEY_ID: this.key,
      AWS_SECRET_ACCESS_KEY: this.secret,
    };
  }

  signatureOf(req, date, signed) {
    const url = new URL(req.url, this.endpoint);
    const lines = signed.map((h) => `${h}:${String(req.headers[h] ?? "").trim().replace(/ +/g, " ")}\n`).join("");
    const canonical = [req.method, url.pathname, url.search.slice(1), lines, signed.join(";"), req.headers["x-amz-content-sha256"]].join("\n");
    const scope = `${date.slice(0, 8)}/${this.region}/s3/aws4_request`;
    const text = ["AWS4-HMAC-SHA256", date, scope, hash(canonical)].join("\n");
    const key = [date.slice(0, 8), this.region, "s3", "aws4_request"].reduce((k, part) => hmac(k, part), `AWS4${this.secret}`);
    return hmac(key, text).toString("hex");
  }

  // null, or why not.
  reject(req, body) {
    const m = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d+)\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(req.headers.authorization ?? "");
    const date = req.headers["x-amz-date"] ?? "";
    if (!m || m[1] !== this.key || m[3] !== this.region || m[2] !== date.slice(0, 8)) return "not signed for this service";
    const signed = m[4].split(";");
    for (const h of ["host", "x-amz-date", "x-amz-content-sha256"]) if (!signed.includes(h)) return `${h} is not signed`;
    if (this.signatureOf(req, date, signed) !== m[5]) return "SignatureDoesNotMatch";
    const digest = req.headers["x-amz-content-sha256"];
    return digest === "UNSIGNED-PAYLOAD" || digest === hash(body) ? null : "XAmzContentSHA256Mismatch";
  }

  async handle(req, res) {
    const parts = [];
    for await (const p of req) parts.push(p);
    const body = Buffer.concat(parts);
    const answer = (status, headers = {}, data = "") => res.writeHead(status, headers).end(data);
    const why = this.reject(req, body);
    const name = new URL(req.url, this.endpoint).pathname;
    this.requests++;
    if (why) {
      this.refused.push(`${req.method} ${req.url}: ${why}`);
      return answer(403, {}, `<Error><Code>${why}</Code></Error>`);
    }
    if (this.failures > 0 && this.failures--) return answer(503, {}, "<Error><Code>SlowDown</Code></Error>");
    if (!name.startsWith(`/${this.bucket}/`)) return answer(404, {}, "<Error><Code>NoSuchBucket</Code></Error>");
    const object = this.objects.get(name);
    if (req.method === "GET") return object ? answer(200, { etag: object.etag }, object.body) : answer(404, {}, "<Error><Code>NoSuchKey</Code></Error>");
    if (req.method === "DELETE") {
      this.objects.delete(name);
      return answer(204);
    }
    if (req.method !== "PUT") return answer(405);
    if (req.headers["if-none-match"] === "*" && object) return answer(412);
    if (req.headers["if-match"] && req.headers["if-match"] !== object?.etag) return answer(412);
    const etag = `"${crypto.createHash("md5").update(body).digest("hex")}"`;
    this.objects.set(name, { body, etag });
    return answer(200, { etag });
  }

  close() {
    this.server.close();
  }
}
