// SPDX-License-Identifier: Apache-2.0
// Is the history of a register linearizable? Every written value is unique, so that a read names the write it saw; the test
// is that of Gibbons and Korach ("Testing shared memories", 1997), in n log n.
//
// history: [{write: value} or {read: value}, each with start and end], all completed; 0 is the value before all writes.
// Returns null, or a sentence that says what cannot be.
export function violation(history) {
  const clusters = new Map(); // a value: its write and the reads that saw it
  for (const op of history) {
    const value = op.write ?? op.read;
    if (!clusters.has(value)) clusters.set(value, { value, write: null, minEnd: Infinity, maxStart: -Infinity });
    const c = clusters.get(value);
    if (op.write !== undefined) {
      if (c.write) return `${value} was written twice`;
      c.write = op;
    }
    c.minEnd = Math.min(c.minEnd, op.end);
    c.maxStart = Math.max(c.maxStart, op.start);
  }
  for (const op of history) {
    if (op.read === undefined || op.read === 0) continue;
    const w = clusters.get(op.read).write;
    if (!w) return `${op.read} was read but never written`;
    if (op.end < w.start) return `${op.read} was read before it was written`;
  }
  const first = clusters.get(0);
  if (first) first.minEnd = -Infinity; // "written" before everything
  // The zone of a value: it had to be there from its first end to its last start (forward), or it fits in between.
  const forward = [...clusters.values()].filter((c) => c.minEnd < c.maxStart).sort((a, b) => a.minEnd - b.minEnd);
  const backward = [...clusters.values()].filter((c) => c.minEnd >= c.maxStart);
  for (let i = 1; i < forward.length; i++) {
    if (forward[i].minEnd < forward[i - 1].maxStart)
      return `${forward[i - 1].value} and ${forward[i].value} were both there at the same time`;
  }
  for (const b of backward) {
    let lo = 0, hi = forward.length; // the last forward zone that begins before b does
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (forward[mid].minEnd < b.maxStart) lo = mid + 1;
      else hi = mid;
    }
    const f = forward[lo - 1];
    if (f && b.minEnd < f.maxStart) return `${b.value} was written and gone while ${f.value} was there all the time`;
  }
  return null;
}
