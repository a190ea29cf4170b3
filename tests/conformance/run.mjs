// SPDX-License-Identifier: Apache-2.0
// Runs the conformance tests: node run.mjs [--server ours|official] [--suite NAME | --all] [--test Class.test]
// [--jobs N] [--json FILE] [--build DIR]; TAP lines while it runs, then one table of test, suite and result.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { end, options, showLogs } from "../e2e/lib.mjs";
import { Cluster, suites, tests } from "./harness.mjs";
import "./sdk_tests.mjs";
import "./server_tests.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const server = options.server ?? "ours";
const jobs = Number(options.jobs ?? 6); // tests at once on the cluster that they share
const ownJobs = Number(options["own-jobs"] ?? 2); // clusters at once besides it
const results = [];

// The tests that may be red on ours: {"test", "suites" (all if absent), "reason"}.
const allowed = JSON.parse(fs.readFileSync(path.join(here, "expected_to_fail.json")));
function reasonFor(test, suite) {
  if (server !== "ours") return null;
  const base = test.name.split(" ")[0];
  return allowed.find((a) => a.test === base && (!a.suites || a.suites.includes(suite)))?.reason ?? null;
}

function chosen(test, suite) {
  if (!test.letters.includes(suites[suite].letter)) return false;
  if (!options.test) return true;
  return options.test.split(",").some((wanted) => test.name === wanted || test.name.split(" ")[0] === wanted ||
    test.name.split(".")[0] === wanted);
}

async function limited(test, cluster) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${test.seconds} s`)), test.seconds * 1000);
  });
  try {
    await Promise.race([test.body(cluster), limit]);
  } finally {
    clearTimeout(timer);
  }
}

function report(test, suite, start, error) {
  const reason = reasonFor(test, suite);
  const result = error ? (reason ? "expected failure" : "FAILED") : reason ? "passed, though listed" : "passed";
  const millis = Date.now() - start;
  results.push({ test: test.name, suite, result, millis, ...(error && { error: `${error.message ?? error}` }), ...(reason && { reason }) });
  const tail = error && reason ? ` # expected to fail: ${reason}` : "";
  console.log(`${error && !reason ? "not ok" : "ok"} ${results.length} - ${suite} ${test.name}${tail} # ${millis} ms`);
  if (error) for (const line of `${reason ? error.message : error.stack ?? error}`.split("\n")) console.log(`# ${line}`);
}

async function runOne(test, suite, shared) {
  const start = Date.now();
  let cluster = shared;
  try {
    if (test.own) {
      await test.own.before?.(test.own);
      cluster = await Cluster.start(suite, test.own);
    }
    await limited(test, cluster);
    report(test, suite, start);
  } catch (e) {
    report(test, suite, start, e);
    if (test.own && cluster && !reasonFor(test, suite)) showLogs(...cluster.nodes, ...cluster.services);
  } finally {
    if (test.own && cluster) await cluster.stop();
  }
}

async function pool(list, n, body) {
  const rest = [...list];
  await Promise.all(Array.from({ length: n }, async () => {
    for (let x = rest.shift(); x; x = rest.shift()) await body(x);
  }));
}

async function runSuite(suite) {
  const mine = tests.filter((t) => chosen(t, suite));
  const sharing = mine.filter((t) => !t.own);
  const before = results.length;
  const withShared = async () => {
    if (!sharing.length) return;
    let cluster;
    const start = Date.now();
    try {
      cluster = await Cluster.start(suite, null);
    } catch (e) {
      for (const t of sharing) report(t, suite, start, e);
      return;
    }
    await pool(sharing, jobs, (t) => runOne(t, suite, cluster));
    const bad = results.slice(before).some((r) => r.result === "FAILED");
    if (bad || options.logs) showLogs(...cluster.nodes, ...cluster.services);
    await cluster.stop();
  };
  await Promise.all([withShared(), pool(mine.filter((t) => t.own), ownJobs, (t) => runOne(t, suite, null))]);
}

function table() {
  const width = Math.max(...results.map((r) => r.test.length), 4);
  const suiteWidth = Math.max(...results.map((r) => r.suite.length), 5);
  console.log(`\n# ${"test".padEnd(width)}  ${"suite".padEnd(suiteWidth)}  result`);
  const order = new Map(tests.map((t, i) => [t.name, i]));
  const names = Object.keys(suites);
  const sorted = [...results].sort((a, b) => names.indexOf(a.suite) - names.indexOf(b.suite) || order.get(a.test) - order.get(b.test));
  for (const r of sorted) console.log(`# ${r.test.padEnd(width)}  ${r.suite.padEnd(suiteWidth)}  ${r.result}`);
  const number = (what) => results.filter((r) => r.result === what).length;
  console.log(`# ${server}: ${number("passed") + number("passed, though listed")} passed, ${number("FAILED")} failed, ` +
    `${number("expected failure")} expected failures, ${number("passed, though listed")} passed though listed`);
  if (options.json) fs.writeFileSync(options.json, `${JSON.stringify({ server, results: sorted }, null, 1)}\n`);
}

const wanted = options.all ? Object.keys(suites) : (options.suite ?? "default").split(",");
for (const s of wanted) {
  if (!suites[s]) {
    console.log(`unknown suite '${s}'; there are ${Object.keys(suites).join(", ")}`);
    await end(2);
  }
}
for (const s of wanted) await runSuite(s);
if (!results.length) {
  console.log("no such test in these suites");
  await end(2);
}
table();
await end(results.some((r) => r.result === "FAILED") ? 1 : 0);
