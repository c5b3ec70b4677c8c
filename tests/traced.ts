/** Programs of samplers, run in tests by a plain interpreter of their own, with noise and denoiser of the test's choice. */
import { nodeAt, type Node } from "../lib/sampler/grid.js";
import type { Process } from "../lib/process.js";
import { samplerStep, type SamplerName, type SamplerParameters } from "../lib/sampler/steps.js";
import { Trace, instruction, type Level, type Program } from "../lib/sampler/trace.js";

/** Arithmetic on whatever the registers hold. */
export interface Algebra<T> {
  readonly zero: T;
  add(sum: T, factor: number, value: T): T;
  noise(draw: number): T;
  denoise(x: T, at: Level): T | Promise<T>;
}

export function traced(process: Process, times: readonly number[], sampler: SamplerName, parameters: SamplerParameters = {}): Promise<Program> {
  const nodes = times.map((t) => nodeAt(process, t));
  return tracedOver(process, nodes, sampler, parameters);
}

export async function tracedOver(process: Process, nodes: readonly Node[], sampler: SamplerName, parameters: SamplerParameters = {}): Promise<Program> {
  const middle = (from: Node, to: Node): Node => nodeAt(process, (from.t + to.t) / 2);
  const step = samplerStep(sampler, parameters, { steps: nodes.length - 1, middle });
  const trace = new Trace();
  let x = trace.start();
  for (let i = 0; i + 1 < nodes.length; i++) x = trace.keep(step(trace, x, nodes[i]!, nodes[i + 1]!));
  return trace.program(x, () => null);
}

export async function evaluate<T>(program: Program, start: T, { zero, add, noise, denoise }: Algebra<T>): Promise<T> {
  const registers: T[] = [start];
  for (let k = 0; k < program.stepCount; k++) {
    const step = instruction(program, k);
    if (step.kind === "denoise") {
      registers[step.out] = await denoise(registers[step.in]!, step.at);
      continue;
    }
    let sum = zero;
    step.terms.forEach((term, j) => (sum = add(sum, step.factors[j]!, registers[term]!)));
    if (step.noise !== 0) sum = add(sum, step.noise, noise(step.draw));
    registers[step.out] = sum;
  }
  return registers[program.result]!;
}

/** Vectors as arrays. */
export const vectors = (d: number): Pick<Algebra<readonly number[]>, "zero" | "add"> => ({
  zero: Array.from({ length: d }, () => 0),
  add: (sum, factor, value) => sum.map((own, j) => own + factor * value[j]!),
});
