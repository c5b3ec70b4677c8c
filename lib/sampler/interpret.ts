/** Runs a program with a score that is JavaScript's: the same arithmetic as native/core/simulate.cpp, all trajectories of a batch at a time. */
import { checkFinite } from "../array.js";
import { RegimesError } from "../errors.js";
import { native, type NativeAddon } from "../native.js";
import { ouTimeFrom, type Process } from "../process.js";
import type { Pace } from "../native/pace.js";
import { instruction, type Level, type Program } from "./trace.js";

/** A score of one's own: grad log p_t(x) for a batch of rows x [batch, d] at time t of `process`, as [batch, d] numbers. */
export interface ScoreModel {
  readonly d: number;
  readonly process: Process;
  score(x: { readonly data: Float64Array<ArrayBuffer>; readonly shape: readonly [batch: number, d: number] }, t: number): ArrayLike<number> | Promise<ArrayLike<number>>;
}

/** Trajectories first ... first + count - 1. */
export interface Batch {
  readonly start: Float64Array<ArrayBuffer>;
  readonly count: number;
  readonly first: number;
  readonly seed: bigint;
}

/** The last state, after `observe` saw each recorded one. */
export async function interpret(
  program: Program,
  model: ScoreModel,
  { start, count, first, seed }: Batch,
  observe: (record: number, state: Float64Array<ArrayBuffer>) => void,
  afterStep: (done: number) => void,
  rest: Pace,
): Promise<Float64Array<ArrayBuffer>> {
  const { d } = model;
  const registers: Float64Array<ArrayBuffer>[] = [start];
  for (let k = 0; k < program.stepCount; k++) {
    const step = instruction(program, k);
    if (step.kind === "combine") {
      const sum = new Float64Array(count * d);
      step.terms.forEach((term, j) => {
        const from = registers[term]!;
        const factor = step.factors[j]!;
        for (let i = 0; i < sum.length; i++) sum[i]! += factor * from[i]!;
      });
      if (step.noise !== 0) {
        const z = await noise({ seed, first, count, d, draw: step.draw }, rest);
        for (let i = 0; i < sum.length; i++) sum[i]! += step.noise * z[i]!;
      }
      registers[step.out] = sum;
    } else {
      const state = registers[step.in]!;
      checkFinite(`the state before evaluation ${k}`, state, d);
      if (step.record >= 0) observe(step.record, state);
      if (step.out >= 0) registers[step.out] = await denoised(model, state, count, step.at);
    }
    afterStep(k + 1);
    await rest();
  }
  const result = registers[program.result]!;
  checkFinite("the state at the end", result, d);
  return result;
}

/** Numbers drawn at a time: about a millisecond. */
const drawnAtOnce = 2 ** 16;

/** Standard normals [count, d] of a draw, or (null) of a start: those of native trajectories. */
export async function noise(wanted: Parameters<NativeAddon["normals"]>[0], rest: Pace): Promise<Float64Array<ArrayBuffer>> {
  const { first, count, d } = wanted;
  const z = new Float64Array(count * d);
  const rows = Math.max(1, Math.floor(drawnAtOnce / d));
  for (let done = 0; done < count; done += rows) {
    z.set(native().normals({ ...wanted, first: first + done, count: Math.min(rows, count - done) }), done * d);
    await rest();
  }
  return z;
}

/** D = (x + b^2 s) / a in the scale of the model's own process, where the state is x scaled to its a. */
async function denoised(model: ScoreModel, state: Float64Array<ArrayBuffer>, count: number, at: Level): Promise<Float64Array<ArrayBuffer>> {
  const { process, d } = model;
  const t = at.t ?? process.timeAt(ouTimeFrom("sigma", at.b / at.a));
  const { a, b } = process.marginal(t);
  const x = state.map((value) => value * (a / at.a));
  const score = await model.score({ data: x.slice(), shape: [count, d] }, t);
  if (score?.length !== x.length) {
    throw new RegimesError("E_SHAPE", `the score at t = ${t} has ${score?.length ?? "no"} numbers, need [${count}, ${d}]`);
  }
  const result = Float64Array.from(x, (value, i) => (value + b * b * score[i]!) / a);
  checkFinite(`the score at t = ${t}`, result, d);
  return result;
}
