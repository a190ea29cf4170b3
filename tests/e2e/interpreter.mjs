// SPDX-License-Identifier: Apache-2.0
// Random programs and what becomes of them: a generator, and a model that says the answer and the final state. Pure.
//
// A program is a tree of frames. A frame runs as one invocation on a target and does its steps in order; a step may call or
// send to further frames. Effects on state are additions only, so that the final state is the same in whatever order frames
// run; weights are random, so that one addition too few and another too many do not cancel out. Calls go to deeper layers
// only, so that nobody waits for an object that waits for him.
//
//   frame: {id, service, key?, steps}      services: Layer0..2 (objects), Step (stateless)
//   step:  {do, ...}; interpreter_services.mjs executes them, Model.step() says what they do
export const layers = 3;
export const slots = 4;

const wrap = (n) => n % 0x7fffffff;

// A failure counts by its message.
export function weigh(message) {
  let h = 2166136261;
  for (const c of message) h = Math.imul(h ^ c.charCodeAt(0), 16777619) >>> 0;
  return h % 1000003;
}

export class Generator {
  // rnd() -> [0, 1); prefix makes ids unique among all programs of a run; keys: objects of a layer
  constructor(rnd, prefix, { keys = 12, size = 12 } = {}) {
    Object.assign(this, { rnd, prefix, keys, size, programs: 0 });
  }

  pick(n) {
    return Math.floor(this.rnd() * n);
  }

  program() {
    this.program_id = `${this.prefix}-${++this.programs}`;
    this.frames = 0;
    this.left = 1 + this.pick(this.size);
    return this.frame(-1);
  }

  // A frame that a frame of @layer may wait for.
  frame(layer) {
    const id = `${this.program_id}.${++this.frames}`;
    this.left--;
    const deepest = layer === layers - 1;
    if (deepest || this.rnd() < 0.2) return { id, service: "Step", steps: this.steps(id, layer, false) };
    const at = layer + 1 + this.pick(layers - 1 - layer);
    return { id, service: `Layer${at}`, key: `k${this.pick(this.keys)}`, steps: this.steps(id, at, true) };
  }

  steps(id, layer, object) {
    const steps = [];
    const n = 1 + this.pick(4);
    for (let i = 0; i < n; i++) {
      if (object && this.rnd() < 0.5) steps.push(this.add());
      steps.push(this.step(`${id}_${i}`, layer, object));
    }
    if (this.rnd() < 0.12) steps.push({ do: "fail", message: `failure of ${id}`, code: 418 + this.pick(3) });
    else if (object) steps.push(this.add());
    return steps;
  }

  add() {
    return { do: "add", slot: this.pick(slots), n: 1 + this.pick(1 << 20) };
  }

  step(id, layer, object) {
    const n = 1 + this.pick(1000);
    const way = this.rnd();
    if (this.left > 0 && way < 0.6) {
      const rethrow = this.rnd() < 0.1;
      switch (this.pick(9)) {
        case 0: case 1: return { do: "call", frame: this.frame(layer), rethrow };
        case 2: return { do: "send", frame: this.frame(-1) };
        case 3: return { do: "send", frame: this.frame(-1), delay: 1 + this.pick(1500) };
        case 4: return { do: "attach", frame: this.frame(layer), rethrow };
        case 5: return { do: "twice", frame: { ...this.frame(layers - 1), id: `${id}-twice` }, key: id };
        case 6: return { do: "settled", frames: this.several(layer), ms: this.pick(50) };
        case 7: return { do: "race", frame: this.frame(layer), ms: this.pick(50), wait: this.rnd() < 0.5 };
        case 8: return { do: "all", frames: this.several(layer).map(withoutFailure), ms: this.pick(50), n };
      }
    }
    switch (this.pick(12)) {
      case 0: return { do: "sleep", ms: this.pick(300) };
      case 1: case 2: return { do: "awakeable", n, id, reject: this.rnd() < 0.3, ingress: this.rnd() < 0.5 };
      case 3: return { do: "signal", n, id, reject: this.rnd() < 0.3 };
      case 4: return { do: "run", n };
      case 5: return { do: "run", n, id, failures: 1 + this.pick(2) };
      case 6: return { do: "run", n, terminal: `failure in ${id}` };
      case 7: return { do: "crash", id, times: 1 + this.pick(2) };
      case 8: return { do: "workflow", n, id, reject: this.rnd() < 0.3 };
      case 9: return { do: "timeout", ms: this.pick(100) };
      case 10: return { do: "end", n, id, how: ["cancel", "cancel", "kill"][this.pick(3)], nested: this.rnd() < 0.4, on: ["sleep", "awakeable"][this.pick(2)] };
      case 11: return object ? { do: "scratch", id, n } : { do: "run", n };
    }
  }

  several(layer) {
    const frames = [this.frame(layer)];
    while (this.left > 0 && frames.length < 4) frames.push(this.frame(layer));
    return frames;
  }
}

// @frame without what makes its own answer a failure.
function withoutFailure(frame) {
  return { ...frame, steps: frame.steps.filter((s) => s.do !== "fail").map((s) => ("rethrow" in s ? { ...s, rethrow: false } : s)) };
}

// objects: "service/key" -> [{count, sum} per slot]
export class Model {
  constructor() {
    this.objects = new Map();
    this.frames = 0;
    this.steps = {};
  }

  add(object, slot, n, count = 1) {
    if (!this.objects.has(object)) this.objects.set(object, Array.from({ length: slots }, () => ({ count: 0, sum: 0 })));
    const s = this.objects.get(object)[slot];
    s.count += count;
    s.sum += n;
  }

  merge(other) {
    for (const [object, values] of other.objects)
      for (const [slot, { count, sum }] of values.entries()) this.add(object, slot, sum, count);
  }

  // What @frame answers: {value}, or {code, message}. Its effects are added.
  run(frame) {
    let value = 0;
    this.frames++;
    for (const step of frame.steps) {
      this.steps[step.do] = (this.steps[step.do] ?? 0) + 1;
      const r = this.step(frame, step);
      if (r.message !== undefined && (step.rethrow || step.do === "fail")) return r;
      value = wrap(value + outcome(r));
    }
    return { value };
  }

  step(frame, step) {
    switch (step.do) {
      case "add":
        this.add(`${frame.service}/${frame.key}`, step.slot, step.n);
        return { value: step.n };
      case "call":
      case "attach":
        return this.run(step.frame);
      case "send":
        this.run(step.frame);
        return { value: 0 };
      case "twice":
        return { value: 2 * outcome(this.run(step.frame)) };
      case "settled":
        return { value: step.frames.reduce((sum, f) => sum + outcome(this.run(f)), 0) };
      case "all":
        return { value: step.frames.reduce((sum, f) => sum + outcome(this.run(f)), step.n) };
      case "race": {
        const r = this.run(step.frame);
        return step.wait ? r : { value: 0 };
      }
      case "awakeable":
      case "signal":
        return step.reject ? { message: `rejected ${step.id}` } : { value: step.n };
      case "workflow":
        return { value: 409 + outcome(step.reject ? { message: `rejected ${step.id}` } : { value: step.n }) };
      case "run":
        return step.terminal ? { message: step.terminal } : { value: step.n };
      case "timeout":
        return { value: 408 };
      case "end":
        for (const victim of step.nested ? [step.id, `${step.id}-inner`] : [step.id])
          if (step.how === "cancel") this.add(`Victim/${victim}`, 0, step.n);
        return { value: 409 };
      case "scratch":
        return { value: step.n };
      case "sleep":
      case "crash":
        return { value: 0 };
      case "fail":
        return { code: step.code, message: step.message };
    }
    throw new Error(`no such step: ${step.do}`);
  }
}

export const outcome = (r) => (r.message === undefined ? r.value : weigh(r.message));
export const sum = (a, b) => wrap(a + b);
