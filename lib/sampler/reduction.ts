/**
 * Exact low-dimensional dynamics of mixtures whose Gaussians share one spherical variance v. With U [r, d] an orthonormal basis of the
 * span of the centred means, x = U^T y + p: the posterior weights depend on y = U x alone, and y follows the reverse dynamics of the
 * mixture of the U m_k in r <= k - 1 dimensions. In the complement all components are one Gaussian, whose denoiser is affine,
 *   D_p = q + g (p - a q),   g = a v / (a^2 v + b^2),   q the part of the means outside the span (the same for all),
 * and a sampler is a program of linear combinations, independent noises and denoisers: so p at the end and at the records is
 * jointly Gaussian given p at the start, with moments that follow from running the program once on numbers. Runs made this way have
 * the law of the plain ones, jointly over records; the bits differ.
 */
import { RegimesError } from "../errors.js";
import { diffuse, type Field } from "../field.js";
import type { Marginal } from "../process.js";
import { gaussianMixture, type Target } from "../target.js";
import { pace, type Pace } from "../native/pace.js";
import type { Node } from "./grid.js";
import { instruction, type Program } from "./trace.js";

/** A target reduced to the span of its centred means. */
export interface Reduction {
  /** r, at least 1. */
  readonly dimension: number;
  /** The mixture of the U m_k. */
  readonly target: Target;
  /** U, [r, d]. */
  readonly basis: Float64Array<ArrayBuffer>;
  /** q [d]. */
  readonly rest: Float64Array<ArrayBuffer>;
  readonly variance: number;
}

/** Multiply-adds that finding a basis may cost. */
const mostWork = 2 ** 32;
/** What is left of a mean beside the others and counts as rounding, relative to the largest. */
const rounding = 1e-14;

const known = new WeakMap<Target, Promise<Reduction | null>>();

/** The reduction of a target; null where it is not exact, or would save less than half of the dimensions. */
export function reductionOf(target: Target): Promise<Reduction | null> {
  let reduction = known.get(target);
  if (reduction === undefined) known.set(target, (reduction = findReduction(target)));
  return reduction;
}

/** The field in the reduced coordinates y, under the same process, for work that asks for posterior weights alone; null as above. */
export async function reducedField(field: Field): Promise<Field | null> {
  const { target, process } = field;
  void target.handle; // Throws once it was disposed of.
  const reduction = await reductionOf(target);
  return reduction && diffuse(reduction.target, process);
}

async function findReduction({ mixture, d }: Target): Promise<Reduction | null> {
  if (mixture?.covariances.type !== "spherical") return null;
  const { weights, means: { data: means, shape } } = mixture;
  const variances = mixture.covariances.variances;
  const k = shape[0]!;
  if (2 * Math.max(1, k - 1) >= d || k * k * d > mostWork || variances.some((variance) => variance !== variances[0])) return null;
  const rows = Array.from({ length: k }, (_, i) => means.subarray(i * d, (i + 1) * d));
  const mean = new Float64Array(d);
  for (const row of rows) addScaled(mean, 1 / k, row);
  const turn = pace({});
  const basis: Float64Array[] = [];
  const without = async (v: Float64Array): Promise<void> => {
    for (const u of basis) {
      addScaled(v, -dot(u, v), u);
      await turn();
    }
  };
  const centred = rows.map((row) => row.map((value, j) => value - mean[j]!));
  const largest = Math.max(...centred.map((row) => Math.sqrt(dot(row, row))));
  for (const v of centred) {
    // Twice is enough (Kahan and Parlett), and once more for what the division by a small length brings up.
    await without(v);
    await without(v);
    if (!(Math.sqrt(dot(v, v)) > rounding * largest)) continue;
    normalize(v);
    await without(v);
    basis.push(normalize(v));
  }
  // Equal means: any direction will do.
  if (basis.length === 0) basis.push(new Float64Array(d).fill(1, 0, 1));
  const r = basis.length;
  await without(mean);
  const reduced = gaussianMixture({
    weights: weights ?? undefined,
    means: { data: Float64Array.from(rows.flatMap((row) => basis.map((u) => dot(u, row)))), shape: [k, r] },
    covariances: { type: "spherical", variances },
  });
  const all = new Float64Array(r * d);
  basis.forEach((u, i) => all.set(u, i * d));
  return { dimension: r, target: reduced, basis: all, rest: mean, variance: variances[0]! };
}

/** Coordinates U x of rows x [count, d]: [count, r]. */
export async function reducedRows({ basis, dimension: r }: Reduction, x: Float64Array, d: number, rest: Pace): Promise<Float64Array<ArrayBuffer>> {
  const y = new Float64Array((x.length / d) * r);
  for (let i = 0; i < y.length; i++) {
    const [k, row] = [i % r, Math.floor(i / r)];
    y[i] = dot(basis.subarray(k * d, (k + 1) * d), x.subarray(row * d, (row + 1) * d));
    const wait = rest();
    if (wait !== null) await wait;
  }
  return y;
}

/** Moments of the complement p of `size` values: p_i = rest_i q + start_i p(0) + e_i, the e_i jointly N(0, covariance) per coordinate. */
export interface ComplementLaw {
  readonly rest: Float64Array<ArrayBuffer>;
  readonly start: Float64Array<ArrayBuffer>;
  /** [size, size]. */
  readonly covariance: Float64Array<ArrayBuffer>;
}

/** The law of p at the end of a program, and with `records` at its records after that. */
export async function complementLaw(program: Program, variance: number, records: boolean, rest: Pace): Promise<ComplementLaw> {
  const { registers } = program;
  const size = registers + (records ? program.records : 0);
  const constant = new Float64Array(size);
  const start = new Float64Array(size);
  const covariance = new Float64Array(size * size);
  const draws = new Set<number>();
  start[0] = 1;
  /** value[out] = more q + sum_k factors_k value[terms_k] + noise z. */
  const assign = (out: number, more: number, terms: ArrayLike<number>, factors: ArrayLike<number>, noise: number): void => {
    const sum = (of: (term: number) => number): number => {
      let total = 0;
      for (let k = 0; k < terms.length; k++) total += factors[k]! * of(terms[k]!);
      return total;
    };
    const row = Float64Array.from({ length: size }, (_, j) => sum((term) => covariance[term * size + j]!));
    const own = sum((term) => row[term]!) + noise * noise;
    [constant[out], start[out]] = [more + sum((term) => constant[term]!), sum((term) => start[term]!)];
    row[out] = own;
    for (let j = 0; j < size; j++) covariance[out * size + j] = covariance[j * size + out] = row[j]!;
  };
  for (let k = 0; k < program.stepCount; k++) {
    const step = instruction(program, k);
    if (step.kind === "combine") {
      if (step.noise !== 0 && draws.size === draws.add(step.draw).size) {
        throw new RegimesError("E_INTERNAL", `draw ${step.draw} enters two sums`);
      }
      assign(step.out, 0, step.terms, step.factors, step.noise);
    } else {
      const g = gain(step.at, variance);
      if (records && step.record >= 0) assign(registers + step.record, 0, [step.in], [1], 0);
      if (step.out >= 0) assign(step.out, 1 - g * step.at.a, [step.in], [g], 0);
    }
    const wait = rest();
    if (wait !== null) await wait;
  }
  const kept = [program.result, ...Array.from({ length: size - registers }, (_, i) => registers + i)];
  return {
    rest: Float64Array.from(kept, (i) => constant[i]!),
    start: Float64Array.from(kept, (i) => start[i]!),
    covariance: Float64Array.from(kept.flatMap((i) => kept.map((j) => covariance[i * size + j]!))),
  };
}

/**
 * The same of the probability-flow ODE followed without error, at its end and at `records`: it keeps (p - a q) / sqrt(a^2 v + b^2). With
 * `denoised` the end is D_p there.
 */
export function flowLaw(grid: readonly Node[], records: readonly Node[], variance: number, denoised: boolean): ComplementLaw {
  const width = ({ a, b }: Marginal): number => a * a * variance + b * b;
  const [first, last] = [grid[0]!, grid[grid.length - 1]!];
  const kept = [last, ...records];
  const start = Float64Array.from(kept, (node) => Math.sqrt(width(node) / width(first)));
  const rest = Float64Array.from(kept, (node, i) => node.a - start[i]! * first.a);
  if (denoised) {
    const g = gain(last, variance);
    rest[0] = 1 + g * (rest[0]! - last.a);
    start[0]! *= g;
  }
  return { rest, start, covariance: new Float64Array(kept.length ** 2) };
}

/** g = a v / (a^2 v + b^2). */
function gain({ a, b }: Marginal, variance: number): number {
  return (a * variance) / (a * a * variance + b * b);
}

/** How p starts: N(mean q, deviation^2 I), or given rows x [count, d] of which it is the part outside the span. */
export interface ComplementStart {
  readonly rows: Float64Array | null;
  readonly mean: number;
  readonly deviation: number;
}

/** Lower L [size, size] with L L^T = C for C >= 0; a value that follows from those before it, up to rounding, has a zero on its diagonal. */
export function semidefiniteFactor(covariance: Float64Array, size: number): Float64Array {
  const L = new Float64Array(size * size);
  const row = (i: number): Float64Array => L.subarray(i * size, (i + 1) * size);
  for (let i = 0; i < size; i++) {
    const own = covariance[i * size + i]!;
    let left = own;
    for (let j = 0; j < i; j++) {
      const pivot = row(j)[j]!;
      // An earlier value once more has its very bits.
      if (covariance[i * size + j] === own && covariance[j * size + j] === own) {
        row(i).fill(0).set(row(j).subarray(0, j + 1));
        left = 0;
        break;
      }
      if (pivot > 0) row(i)[j] = (covariance[i * size + j]! - dot(row(i).subarray(0, j), row(j).subarray(0, j))) / pivot;
      left -= row(i)[j]! ** 2;
    }
    if (left > 1e-13 * own) row(i)[i] = Math.sqrt(left);
  }
  return L;
}

export function dot(u: Float64Array, v: Float64Array): number {
  let sum = 0;
  for (let j = 0; j < u.length; j++) sum += u[j]! * v[j]!;
  return sum;
}

function addScaled(sum: Float64Array, factor: number, x: Float64Array): void {
  for (let j = 0; j < sum.length; j++) sum[j]! += factor * x[j]!;
}

function normalize(v: Float64Array): Float64Array {
  const length = Math.sqrt(dot(v, v));
  for (let j = 0; j < v.length; j++) v[j]! /= length;
  return v;
}
