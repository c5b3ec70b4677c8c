/**
 * Samplers are written as whole steps over vectors that stand for the states of all trajectories; running one over a grid of times
 * traces it into a straight-line program of linear combinations, Gaussian noises and denoiser evaluations. The program is what
 * native code runs (native/core/operations.h, `ReverseStep`), and what a user's own score function is driven by. It is packed from
 * the start: 10^5 steps are 10^6 numbers, not objects.
 */
import { RegimesError } from "../errors.js";
import type { Marginal } from "../process.js";
import type { Pace } from "../native/pace.js";

/** Where a state lives: its scales, and the time they belong to where that is known. */
export interface Level extends Marginal {
  readonly t?: number;
}

/** A traced run, as native code takes it. The start is register 0. */
export interface Program {
  /**
   * Five per step. Combination: 0, out, first term, number of terms, draw. Evaluation: 1, out, in, record, whether the readings of the
   * record need the pass over the target; out = -1 when only these are wanted, record = -1 for none.
   */
  readonly integers: Int32Array<ArrayBuffer>;
  /** Three per step. Combination: the factor of the noise, 0, 0. Evaluation: a, b, and t, NaN where it is not known. */
  readonly reals: Float64Array<ArrayBuffer>;
  readonly stepCount: number;
  /** Registers and factors of all combinations. */
  readonly terms: Int32Array<ArrayBuffer>;
  readonly factors: Float64Array<ArrayBuffer>;
  readonly termCount: number;
  readonly registers: number;
  readonly result: number;
  readonly records: number;
  /** Passes over the target per trajectory. */
  readonly evaluations: number;
}

/** One step of a program, unpacked. */
export type Instruction =
  /** register[out] = sum_k factors[k] register[terms[k]] + noise z(draw). */
  | { readonly kind: "combine"; readonly out: number; readonly terms: Int32Array; readonly factors: Float64Array; readonly noise: number; readonly draw: number }
  /** register[out] = E[x_0 | x_t = register[in]]. */
  | { readonly kind: "denoise"; readonly out: number; readonly in: number; readonly at: Level; readonly record: number };

/** Step k of a program. */
export function instruction({ integers, reals, terms, factors }: Program, k: number): Instruction {
  const [kind, out, first, count, draw] = integers.subarray(5 * k, 5 * k + 5) as unknown as [number, number, number, number, number];
  const [a, b, t] = reals.subarray(3 * k, 3 * k + 3) as unknown as [number, number, number];
  if (kind === 1) return { kind: "denoise", out, in: first, at: Number.isNaN(t) ? { a, b } : { a, b, t }, record: count };
  return { kind: "combine", out, terms: terms.subarray(first, first + count), factors: factors.subarray(first, first + count), noise: a, draw };
}

/** A linear combination of registers, and of one noise at most. */
export class Vector {
  readonly terms: readonly number[];
  /** Beside `terms`. */
  readonly factors: readonly number[];
  /** -1: none. */
  readonly draw: number;
  readonly noise: number;

  constructor(terms: readonly number[], factors: readonly number[], draw = -1, noise = 0) {
    this.terms = terms;
    this.factors = factors;
    this.draw = draw;
    this.noise = noise;
  }

  times(factor: number): Vector {
    return new Vector(this.terms, this.factors.map((own) => own * factor), this.draw, this.noise * factor);
  }

  plus(other: Vector): Vector {
    if (this.draw >= 0 && other.draw >= 0) throw new RegimesError("E_INTERNAL", "a sampler added two noises without keeping the first sum");
    const terms = this.terms.slice();
    const factors = this.factors.slice();
    for (let k = 0; k < other.terms.length; k++) {
      const at = terms.indexOf(other.terms[k]!);
      if (at >= 0) {
        factors[at]! += other.factors[k]!;
      } else {
        terms.push(other.terms[k]!);
        factors.push(other.factors[k]!);
      }
    }
    return this.draw >= 0 ? new Vector(terms, factors, this.draw, this.noise) : new Vector(terms, factors, other.draw, other.noise);
  }

  minus(other: Vector): Vector {
    return this.plus(other.times(-1));
  }
}

/** Records what a sampler does. Every value is written once; `program` then shares registers among those that never live together. */
export class Trace {
  readonly #integers = new Numbers((length) => new Int32Array(length));
  readonly #reals = new Numbers((length) => new Float64Array(length));
  readonly #terms = new Numbers((length) => new Int32Array(length));
  readonly #factors = new Numbers((length) => new Float64Array(length));
  #steps = 0;
  #values = 1;
  #draws = 0;
  #records = 0;

  /** The state that the trajectory starts from. */
  start(): Vector {
    return new Vector([0], [1]);
  }

  /** Standard normal noise, independent of all others. */
  noise(): Vector {
    return new Vector([], [], this.#draws++, 1);
  }

  /** The value of `vector` in a register of its own, so that a sum with a noise is formed once. */
  keep(vector: Vector): Vector {
    const { terms, factors, draw, noise } = vector;
    if (draw < 0 && terms.length === 1 && factors[0] === 1) return vector;
    const first = this.#terms.length;
    for (let k = 0; k < terms.length; k++) {
      if (factors[k] === 0) continue;
      this.#terms.push(terms[k]!);
      this.#factors.push(factors[k]!);
    }
    return this.#step(0, this.#values++, first, this.#terms.length - first, Math.max(0, draw), noise, 0, 0);
  }

  /** D = E[x_0 | x_t = state] at the scales (a, b) of `at`: one pass over the target. */
  denoise(state: Vector, at: Level): Vector {
    const input = this.keep(state).terms[0]!;
    const [integers, reals, last] = [this.#integers.values, this.#reals.values, this.#steps - 1];
    const observed =
      last >= 0 && integers[5 * last] === 1 && integers[5 * last + 1] === -1 && integers[5 * last + 2] === input && reals[3 * last] === at.a && reals[3 * last + 1] === at.b;
    if (!observed) return this.#step(1, this.#values++, input, -1, 1, at.a, at.b, at.t ?? NaN);
    integers[5 * last + 1] = this.#values++;
    return new Vector([integers[5 * last + 1]!], [1]);
  }

  /** The posterior mean of the noise in a state, (x - a D) / b. */
  noiseEstimate(state: Vector, at: Level): Vector {
    return state.minus(this.denoise(state, at).times(at.a)).times(1 / at.b);
  }

  /**
   * Readings of `state` become the next row of the observations, with a `pass` over the target or without; free where the state is
   * evaluated next.
   */
  observe(state: Vector, at: Level, pass: boolean): void {
    this.#step(1, -1, this.keep(state).terms[0]!, this.#records++, pass ? 1 : 0, at.a, at.b, at.t ?? NaN);
  }

  /** What was traced, as a program that ends with `result`. */
  async program(result: Vector, rest: Pace): Promise<Program> {
    const kept = this.keep(result).terms[0]!;
    const integers = this.#integers.all();
    const terms = this.#terms.all();
    const { registers, place } = await share({ integers, terms, stepCount: this.#steps, values: this.#values }, kept, rest);
    let evaluations = 0;
    for (let k = 0; k < integers.length; k += 5) {
      if (integers[k] === 1 && (integers[k + 1] !== -1 || integers[k + 4] === 1)) evaluations++;
    }
    const lists = { terms, factors: this.#factors.all(), termCount: terms.length };
    return { integers, reals: this.#reals.all(), stepCount: this.#steps, ...lists, registers, result: place, records: this.#records, evaluations };
  }

  /** Five integers and three reals, as in `Program`. */
  #step(kind: number, out: number, second: number, third: number, fourth: number, a: number, b: number, t: number): Vector {
    this.#steps++;
    this.#integers.push(kind, out, second, third, fourth);
    this.#reals.push(a, b, t);
    return new Vector([out], [1]);
  }
}

/** A typed array that grows. */
class Numbers<A extends Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer>> {
  readonly #make: (length: number) => A;
  values: A;
  length = 0;

  constructor(make: (length: number) => A) {
    this.#make = make;
    this.values = make(64);
  }

  push(...numbers: readonly number[]): void {
    if (this.length + numbers.length > this.values.length) {
      const longer = this.#make(2 * this.values.length);
      longer.set(this.values);
      this.values = longer;
    }
    for (const value of numbers) this.values[this.length++] = value;
  }

  all(): A {
    return this.values.slice(0, this.length) as A;
  }
}

interface Values {
  readonly integers: Int32Array;
  readonly terms: Int32Array;
  readonly stepCount: number;
  readonly values: number;
}

/** Steps looked at between rests. */
const stepsAtOnce = 4096;

/**
 * Gives each value of the steps a physical register, in place. A combination may overwrite one of its first three terms, an evaluation
 * never its input.
 */
async function share({ integers, terms, stepCount, values }: Values, result: number, rest: Pace): Promise<{ registers: number; place: number }> {
  /** Where the values that step k reads stand. */
  const reads = (k: number): Int32Array =>
    integers[5 * k] === 1 ? integers.subarray(5 * k + 2, 5 * k + 3) : terms.subarray(integers[5 * k + 2]!, integers[5 * k + 2]! + integers[5 * k + 3]!);
  const lastUse = new Int32Array(values).fill(-1);
  for (let k = 0; k < stepCount; k++) {
    for (const value of reads(k)) lastUse[value] = k;
    if (k % stepsAtOnce === 0) await rest();
  }
  lastUse[result] = stepCount;
  const places = new Int32Array(values);
  const free: number[] = [];
  let registers = 1;
  for (let k = 0; k < stepCount; k++) {
    const evaluation = integers[5 * k] === 1;
    const read = reads(k);
    const ending: number[] = [];
    for (let j = 0; j < read.length; j++) {
      const value = read[j]!;
      read[j] = places[value]!;
      if (lastUse[value] === k) ending.push(places[value]!);
    }
    if (!evaluation) free.push(...ending);
    const out = integers[5 * k + 1]!;
    if (out !== -1) {
      const forbidden = evaluation ? read : read.subarray(3);
      // The lowest of them: a state stays in one place, and in one cache.
      const at = free.reduce((best, place, k) => (forbidden.includes(place) || (best >= 0 && free[best]! < place) ? best : k), -1);
      places[out] = at >= 0 ? free.splice(at, 1)[0]! : registers++;
      integers[5 * k + 1] = places[out]!;
    }
    if (evaluation) free.push(...ending);
    if (k % stepsAtOnce === 0) await rest();
  }
  return { registers, place: places[result]! };
}
