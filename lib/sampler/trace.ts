/**
 * Samplers are written as whole steps over vectors that stand for the states of all trajectories; running one over a grid of times
 * traces it into a straight-line program of linear combinations, Gaussian noises and denoiser evaluations. The program is what
 * native code runs (native/core/operations.h, `ReverseStep`), and what a user's own score function is driven by.
 */
import { RegimesError } from "../errors.js";
import type { Marginal } from "../process.js";

/** Where a state lives: its scales, and the time they belong to where that is known. */
export interface Level extends Marginal {
  readonly t?: number;
}

/** One instruction over physical registers. */
export type Instruction =
  /** register[out] = sum_k factors[k] register[terms[k]] + noise z(draw). */
  | { readonly kind: "combine"; out: number; readonly terms: readonly number[]; readonly factors: readonly number[]; readonly noise: number; readonly draw: number }
  /** register[out] = E[x_0 | x_t = register[in]]; out = -1 when only the readings of row `record` are wanted. */
  | { readonly kind: "denoise"; out: number; readonly in: number; readonly at: Level; record: number };

/** A traced run. The start is register 0. */
export interface Program {
  readonly steps: readonly Instruction[];
  readonly registers: number;
  readonly result: number;
  readonly records: number;
  /** Passes over the target per trajectory. */
  readonly evaluations: number;
}

/** A linear combination of registers, and of one noise at most. */
export class Vector {
  /** Factor of each register. */
  readonly terms: ReadonlyMap<number, number>;
  readonly noise: { readonly draw: number; readonly factor: number } | null;

  constructor(terms: ReadonlyMap<number, number>, noise: Vector["noise"] = null) {
    this.terms = terms;
    this.noise = noise;
  }

  times(factor: number): Vector {
    const terms = new Map([...this.terms].map(([register, own]) => [register, own * factor]));
    return new Vector(terms, this.noise && { draw: this.noise.draw, factor: this.noise.factor * factor });
  }

  plus(other: Vector): Vector {
    if (this.noise !== null && other.noise !== null) throw new RegimesError("E_INTERNAL", "a sampler added two noises without keeping the first sum");
    const terms = new Map(this.terms);
    for (const [register, factor] of other.terms) terms.set(register, (terms.get(register) ?? 0) + factor);
    return new Vector(terms, this.noise ?? other.noise);
  }

  minus(other: Vector): Vector {
    return this.plus(other.times(-1));
  }
}

/** Records what a sampler does. Every value is written once; `program` then shares registers among those that never live together. */
export class Trace {
  readonly #steps: Instruction[] = [];
  #values = 1;
  #draws = 0;
  #records = 0;

  /** The state that the trajectory starts from. */
  start(): Vector {
    return single(0);
  }

  /** Standard normal noise, independent of all others. */
  noise(): Vector {
    return new Vector(new Map(), { draw: this.#draws++, factor: 1 });
  }

  /** The value of `vector` in a register of its own, so that a sum with a noise is formed once. */
  keep(vector: Vector): Vector {
    const [first] = vector.terms;
    if (vector.noise === null && vector.terms.size === 1 && first![1] === 1) return vector;
    const terms = [...vector.terms].filter(([, factor]) => factor !== 0);
    const out = this.#values++;
    this.#steps.push({
      kind: "combine",
      out,
      terms: terms.map(([register]) => register),
      factors: terms.map(([, factor]) => factor),
      noise: vector.noise?.factor ?? 0,
      draw: vector.noise?.draw ?? 0,
    });
    return single(out);
  }

  /** D = E[x_0 | x_t = state] at the scales (a, b) of `at`: one pass over the target. */
  denoise(state: Vector, at: Level): Vector {
    const input = registerOf(this.keep(state));
    const out = this.#values++;
    const last = this.#steps.at(-1);
    const observed = last?.kind === "denoise" && last.out === -1 && last.in === input && last.at.a === at.a && last.at.b === at.b;
    if (observed) last.out = out;
    else this.#steps.push({ kind: "denoise", out, in: input, at, record: -1 });
    return single(out);
  }

  /** The posterior mean of the noise in a state, (x - a D) / b. */
  noiseEstimate(state: Vector, at: Level): Vector {
    return state.minus(this.denoise(state, at).times(at.a)).times(1 / at.b);
  }

  /** Readings of `state` become the next row of the observations; free where the state is evaluated next. */
  observe(state: Vector, at: Level): void {
    this.#steps.push({ kind: "denoise", out: -1, in: registerOf(this.keep(state)), at, record: this.#records++ });
  }

  program(result: Vector): Program {
    const register = registerOf(this.keep(result));
    const { registers, place } = share(this.#steps, register);
    const evaluations = this.#steps.filter(({ kind }) => kind === "denoise").length;
    return { steps: this.#steps, registers, result: place, records: this.#records, evaluations };
  }
}

function single(register: number): Vector {
  return new Vector(new Map([[register, 1]]));
}

function registerOf(kept: Vector): number {
  const [first] = kept.terms.keys();
  return first!;
}

/**
 * Gives each value of `steps` a physical register, in place. A combination may overwrite one of its first three terms, an evaluation
 * never its input.
 */
function share(steps: Instruction[], result: number): { registers: number; place: number } {
  const lastUse = new Map<number, number>();
  steps.forEach((step, k) => {
    for (const value of step.kind === "combine" ? step.terms : [step.in]) lastUse.set(value, k);
  });
  lastUse.set(result, Infinity);
  const places = new Map([[0, 0]]);
  const free: number[] = [];
  let registers = 1;
  const take = (value: number, forbidden: readonly number[]): number => {
    const at = free.findIndex((place) => !forbidden.includes(place));
    const place = at >= 0 ? free.splice(at, 1)[0]! : registers++;
    places.set(value, place);
    return place;
  };
  const release = (value: number, k: number): void => {
    if (lastUse.get(value) === k) free.push(places.get(value)!);
  };
  steps.forEach((step, k) => {
    if (step.kind === "denoise") {
      const input = places.get(step.in)!;
      const out = step.out === -1 ? -1 : take(step.out, [input]);
      release(step.in, k);
      steps[k] = { ...step, in: input, out };
    } else {
      const terms = step.terms.map((value) => places.get(value)!);
      for (const value of step.terms) release(value, k);
      steps[k] = { ...step, terms, out: take(step.out, terms.slice(3)) };
    }
  });
  return { registers, place: places.get(result)! };
}
