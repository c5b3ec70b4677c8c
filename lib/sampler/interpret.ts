/** Runs a program with a score that is JavaScript's: the same arithmetic as native/core/simulate.cpp, all trajectories of a batch at a time. */
import { checkFinite } from "../array.js";
import { RegimesError } from "../errors.js";
import { native } from "../native.js";
import { ouTimeFrom, type Process } from "../process.js";
import type { Level, Program } from "./trace.js";

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
): Promise<Float64Array<ArrayBuffer>> {
  const { d } = model;
  const registers = Array.from({ length: program.registers }, () => new Float64Array(count * d));
  registers[0]!.set(start);
  for (const [k, step] of program.steps.entries()) {
    if (step.kind === "combine") {
      const sum = new Float64Array(count * d);
      step.terms.forEach((term, j) => {
        const from = registers[term]!;
        const factor = step.factors[j]!;
        for (let i = 0; i < sum.length; i++) sum[i]! += factor * from[i]!;
      });
      if (step.noise !== 0) {
        const z = native().normals({ seed, first, count, d, draw: step.draw });
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
  }
  return registers[program.result]!;
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
