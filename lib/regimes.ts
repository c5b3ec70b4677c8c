/**
 * All curves over a grid of times from one sweep; `speciationTime` and `collapseTime` read them. The draws are coupled: draw r uses the
 * same datum and the same noise at every time, x_t = a(t) y_mu + b(t) z, so that curves are smooth in t and crossings are sharp.
 * With the exact score each curve is an average of a reading of the posterior (no clones are simulated, no classifier is trained):
 *   excess entropy          f(t) = E H(w(x_t)) / d              (estimator C; Biroli, Bonnaire, De Bortoli, Mezard 2024, Eq. 5)
 *   collapse cloning        phi_C(t) = E sum_i w_i^2            two clones of a reverse trajectory end on the same datum
 *   speciation cloning      phi(t) = E sum_c p(c|x_t)^2         two clones end in the same class
 *   class entropy           H(c|x_t) = -E sum_c p(c|x_t) log p(c|x_t)
 */
import type { NdArray } from "./array.js";
import { RegimesError, checkOptionNames } from "./errors.js";
import { drawsAt, meanEstimate, reciprocal, scaled, unavailable, type Estimate } from "./estimate.js";
import type { Field, Meta, Precision, Sweep } from "./field.js";
import { runOptionNames, seedOf, type NativeSweepReading, type RunOptions } from "./native.js";
import { clocks, type Clocks, type Process } from "./process.js";
import type { Target } from "./target.js";

/** Times in the process's clock: logarithmic from `from` to `to`, or strictly increasing values. */
export type TimesInput = { readonly from: number; readonly to: number; readonly count: number } | readonly number[] | Float64Array;

/** Options of `regimes`. */
export interface RegimesOptions extends RunOptions {
  readonly times: TimesInput;
  /** Coupled forward draws, at least 2, default 1000; with `targetStandardError` the number to begin with. */
  readonly draws?: number | undefined;
  /**
   * Draws until every curve (excess entropy, cloning probabilities, class entropy; fractions, so this is absolute) has at most this
   * standard error at every time: the number of draws doubles until then, or until `maxDraws`. The result is that of one call with as
   * many draws; `targetReached` says which of the two ended it.
   */
  readonly targetStandardError?: number | undefined;
  /** With `targetStandardError`: the most draws, default 65536. Memory grows as 32 bytes per draw and time. */
  readonly maxDraws?: number | undefined;
  /** Same seed, same draws, whatever the threads. */
  readonly seed: number | bigint;
  /** Default "exact". */
  readonly precision?: Precision | undefined;
}

/** Curves over time; every array of Estimates has one entry per time. Standard errors are over draws, for the given data. */
export interface RegimeCurves {
  /** Process clock, strictly increasing. */
  readonly times: Float64Array;
  readonly ouTime: Float64Array;
  /** Components: data points or Gaussians. */
  readonly n: number;
  readonly d: number;
  /** H(pi) / d = log(n) / d for uniform weights, nats per dimension. */
  readonly alpha: number;
  /** E H(w) / (alpha d), in [0, 1], rising in t. No value for a mixture or a single row. */
  readonly excessEntropyOverAlpha: readonly Estimate[];
  /** E sum w^2, in [1/n, 1], falling in t. No value for a mixture. */
  readonly collapseCloning: readonly Estimate[];
  /** 1 / E sum w^2, in [1, n] (delta method). No value for a mixture. */
  readonly effectiveCount: readonly Estimate[];
  /** E sum_c p(c|x_t)^2, in [1/classes, 1]; null without classes. A mixture has one class per Gaussian. */
  readonly speciationCloning: readonly Estimate[] | null;
  /** E H(c|x_t) / H(c), in [0, 1]; null without classes. */
  readonly classEntropyOverPrior: readonly Estimate[] | null;
  readonly classFractions: Float64Array | null;
  /** What was averaged, [times, draws]; column r is the same draw at all times. Entropies in nats. */
  readonly perDraw: {
    readonly entropy: NdArray;
    readonly sumSquares: NdArray;
    readonly classSquares: NdArray | null;
    readonly classEntropy: NdArray | null;
  };
  readonly draws: number;
  /** With `targetStandardError`: whether all curves reached it. */
  readonly targetReached?: boolean;
  readonly seed: string;
  /** Of the target. */
  readonly fingerprint: string;
  readonly meta: Meta;
}

/** A critical time: value, standard error and interval in OU time, with the other clocks beside them. */
export interface CriticalTime extends Estimate {
  readonly criterion: string;
  /** The level crossed, where the criterion has one. */
  readonly threshold?: number;
  /** One line: how it was computed and what the error bar covers. */
  readonly method: string;
  /** The value in other clocks; null without a value. */
  readonly clocks: Clocks | null;
  /** The value in the process's own clock; null without a value or when the process never gets there. */
  readonly processTime: number | null;
}

/** Why a mixture has no collapse of its own. */
export const noData: string = "a mixture has no data to collapse onto: draw some with sampleTarget(mixture, n) and use empirical(...)";

/**
 * Excess entropy, collapse cloning, effective count and, with classes, speciation cloning and class entropy on a grid of times, from
 * one sweep over coupled draws (formulas in the head of this file).
 * @throws RegimesError E_DOMAIN for times that do not increase or leave the process's range; E_OPTION for other options.
 */
export async function regimes(field: Field, options: RegimesOptions): Promise<RegimeCurves> {
  checkOptionNames("regimes", options, ["times", "draws", "targetStandardError", "maxDraws", "seed", "precision", ...runOptionNames]);
  const { draws = 1000, targetStandardError, maxDraws, seed, times: input, onProgress, ...run } = options;
  if (seed === undefined) throw new RegimesError("E_OPTION", "regimes needs a seed: pass seed: 1, or any whole number");
  seedOf(seed);
  checkDraws("draws", draws);
  const most = mostDraws(draws, targetStandardError, maxDraws);
  const times = timeGrid(input);
  let all = await sweepPart(field, times, 0, Math.min(draws, most), most, { seed, onProgress, ...run });
  for (;;) {
    const curves = curvesOf(field, times, all, String(seed));
    if (targetStandardError === undefined) return curves;
    const targetReached = largestError(curves) <= targetStandardError;
    if (targetReached || curves.draws >= most) return { ...curves, targetReached };
    const part = Math.min(curves.draws, most - curves.draws);
    all = joined(all, await sweepPart(field, times, curves.draws, part, most, { seed, onProgress, ...run }));
  }
}

function checkDraws(name: string, draws: number): void {
  if (!Number.isSafeInteger(draws) || draws < 2) throw new RegimesError("E_OPTION", `${name} is ${draws}, need a whole number of at least 2`);
}

/** The number of draws that is not passed. */
function mostDraws(draws: number, target: number | undefined, maxDraws: number | undefined): number {
  if (target === undefined) {
    if (maxDraws !== undefined) throw new RegimesError("E_OPTION", "maxDraws belongs to targetStandardError; without it pass draws");
    return draws;
  }
  if (!(target > 0 && target < Infinity)) throw new RegimesError("E_OPTION", `targetStandardError is ${target}, need a positive number`);
  if (maxDraws === undefined) return Math.max(draws, 65536);
  checkDraws("maxDraws", maxDraws);
  if (maxDraws < draws) throw new RegimesError("E_OPTION", `maxDraws is ${maxDraws}, less than the ${draws} draws to begin with`);
  return maxDraws;
}

/** The classes that curves are about: labels; a mixture's are its components, whose readings need no extra ones. */
function hasLabels({ kind, classes }: Target): boolean {
  return kind === "points" && classes > 0;
}

/** Draws first ... first + draws - 1 of a sweep that may take `most`; progress is the share of those. */
async function sweepPart(
  field: Field,
  times: Float64Array,
  first: number,
  draws: number,
  most: number,
  { onProgress, ...run }: Pick<RegimesOptions, "seed" | "precision" | keyof RunOptions>,
): Promise<Sweep> {
  const readings: readonly NativeSweepReading[] = hasLabels(field.target)
    ? ["entropy", "sumSquares", "classSquares", "classEntropy"]
    : ["entropy", "sumSquares"];
  const progress = onProgress && ((fraction: number): void => onProgress((first + fraction * draws) / most));
  return field.sweep({ times, draws, readings, first, ...run, onProgress: progress });
}

/** Two sweeps over the same times side by side. */
function joined(left: Sweep, right: Sweep): Sweep {
  const entries = Object.entries(left).filter(([name]) => name !== "meta" && name !== "components") as [NativeSweepReading, NdArray][];
  const curves = entries.map(([name, matrix]): [string, NdArray] => {
    const [times, before] = matrix.shape as [number, number];
    const more = right[name]!.shape[1]!;
    const data = new Float64Array(times * (before + more));
    for (let j = 0; j < times; j++) {
      data.set(drawsAt(matrix, j), j * (before + more));
      data.set(drawsAt(right[name]!, j), j * (before + more) + before);
    }
    return [name, { data, shape: [times, before + more] }];
  });
  const components = Int32Array.from([...(left.components ?? []), ...(right.components ?? [])]);
  const meta = { ...right.meta, wallMs: left.meta.wallMs + right.meta.wallMs };
  return { ...Object.fromEntries(curves), components, meta };
}

/** The largest standard error of the curves that are fractions. */
function largestError(curves: RegimeCurves): number {
  const { excessEntropyOverAlpha, collapseCloning, speciationCloning, classEntropyOverPrior } = curves;
  const all = [excessEntropyOverAlpha, collapseCloning, speciationCloning ?? [], classEntropyOverPrior ?? []].flat();
  return all.reduce((largest, { standardError }) => Math.max(largest, standardError ?? 0), 0);
}

function curvesOf(field: Field, times: Float64Array, sweep: Sweep, seed: string): RegimeCurves {
  const { target, process } = field;
  const mixture = target.kind === "mixture";
  const withClasses = hasLabels(target);
  const entropy = sweep.entropy!;
  const sumSquares = sweep.sumSquares!;
  // The components of a mixture are its classes, so both pairs of readings are the same numbers there.
  const classSquares = mixture ? sumSquares : withClasses ? sweep.classSquares! : null;
  const classEntropy = mixture ? entropy : withClasses ? sweep.classEntropy! : null;

  const total = weightEntropy(target);
  const collapseCloning = mixture ? noValues(times, noData) : meansIn(sumSquares, [1 / target.n, 1]);
  return {
    times,
    ouTime: times.map((t) => process.ouTime(t)),
    n: target.n,
    d: target.d,
    alpha: total / target.d,
    excessEntropyOverAlpha: mixture ? noValues(times, noData) : fractionsOf(entropy, total, oneRow),
    collapseCloning,
    effectiveCount: mixture ? noValues(times, noData) : collapseCloning.map((phi) => reciprocal(phi, [1, target.n])),
    speciationCloning: classSquares === null ? null : meansIn(classSquares, [1 / target.classes, 1]),
    classEntropyOverPrior: classEntropy === null ? null : fractionsOf(classEntropy, priorEntropy(target), oneClass),
    classFractions: target.classFractions,
    perDraw: { entropy, sumSquares, classSquares, classEntropy },
    draws: entropy.shape[1]!,
    seed,
    fingerprint: target.fingerprint,
    meta: sweep.meta,
  };
}

/** Where an estimator takes its curves from. */
export interface CurveOptions extends RunOptions {
  /** Curves of the same target from `regimes`; without them own ones are made, from the options below. */
  readonly curves?: RegimeCurves | undefined;
  /** Times of own curves, default 24 chosen by `defaultTimes`. */
  readonly times?: TimesInput | undefined;
  /** Draws of own curves, default 1000. */
  readonly draws?: number | undefined;
  /** Seed of own curves and of bootstraps, default 1. */
  readonly seed?: number | bigint | undefined;
  /** Precision of own curves. */
  readonly precision?: Precision | undefined;
}

/** The names of `CurveOptions`, for option checks. */
export const curveOptionNames: readonly string[] = ["curves", "times", "draws", "seed", "precision", ...runOptionNames];

/** The curves handed in, or own ones. @throws RegimesError E_OPTION when they are those of another target. */
export async function curvesFor(field: Field, options: CurveOptions): Promise<RegimeCurves> {
  const { curves, times, draws, seed = 1, precision, signal, onProgress, threads } = options;
  if (curves === undefined) {
    const grid = times ?? (await defaultTimes(field, { signal, threads }));
    return regimes(field, { times: grid, draws, seed, precision, signal, onProgress, threads });
  }
  if (curves.fingerprint === field.target.fingerprint) return curves;
  throw new RegimesError("E_OPTION", "curves belong to another target (fingerprints differ): compute them with regimes(field, ...)");
}

/** Why nothing happens in a data set of one row. */
export const oneRow: string = "one row: collapsed at every t";
/** Why nothing happens with one class. */
export const oneClass: string = "one class: there is nothing to choose between";

/**
 * The times of a `TimesInput`; whether they lie in a process's range is for the process to say.
 * @throws RegimesError E_DOMAIN unless finite and strictly increasing, E_OPTION for another form.
 */
export function timeGrid(input: TimesInput): Float64Array {
  if (Array.isArray(input) || input instanceof Float64Array) {
    const times = Float64Array.from(input as ArrayLike<number>);
    if (times.length === 0) throw new RegimesError("E_DOMAIN", "times is empty: give at least one");
    times.forEach((t, j) => {
      if (!Number.isFinite(t)) throw new RegimesError("E_DOMAIN", `times[${j}] is ${t}, need a finite number`);
      if (j > 0 && !(t > times[j - 1]!)) {
        const came = `times[${j}] = ${t} is not above times[${j - 1}] = ${times[j - 1]!}`;
        throw new RegimesError("E_DOMAIN", `${came}: sort them and drop repeats`);
      }
    });
    return times;
  }
  if (input === null || typeof input !== "object") {
    throw new RegimesError("E_OPTION", "times is missing: pass {from, to, count} or an array of times");
  }
  checkOptionNames("times", input, ["from", "to", "count"]);
  const { from, to, count } = input as { from: number; to: number; count: number };
  if (!(from > 0 && to > from && to < Infinity)) {
    throw new RegimesError("E_DOMAIN", `times from ${from} to ${to}: need 0 < from < to < Infinity (spacing is logarithmic)`);
  }
  if (!Number.isSafeInteger(count) || count < 2) throw new RegimesError("E_OPTION", `times.count is ${count}, need a whole number >= 2`);
  const times = Float64Array.from({ length: count }, (_, j) => from * (to / from) ** (j / (count - 1)));
  times[count - 1] = to;
  if (times.some((t, j) => j > 0 && !(t > times[j - 1]!))) {
    throw new RegimesError("E_DOMAIN", `times from ${from} to ${to}: float64 has no ${count} different numbers between them. Widen the range`);
  }
  return times;
}

/**
 * Times that bracket both transitions of a target, for callers who have no range in mind: `count` (default 24) of them,
 * logarithmic in OU time, in the process's clock. A coarse sweep (80 times from OU time 1e-16 to 32, 32 draws, seed 1) finds where the
 * mean posterior entropy, less its value at the earliest time, leaves 1 % and reaches 99 % of the rest; the range ends at the coarse times
 * beyond. When the coarse sweep sees no change at all (one row, all rows equal) the range is 0.05 to 4. Times the
 * process never reaches are left out.
 */
export async function defaultTimes(field: Field, options: { readonly count?: number } & RunOptions = {}): Promise<Float64Array> {
  const { count, ...run } = options;
  checkOptionNames("defaultTimes", run, runOptionNames);
  const reached = Array.from(timeGrid({ from: 1e-16, to: 32, count: 80 })).filter((t) => processTimeAt(field.process, t) !== null);
  if (reached.length < 2) {
    throw new RegimesError("E_DOMAIN", `${field.process.name} reaches fewer than 2 of the OU times 1e-16 ... 32: give times`);
  }
  const pilot = Float64Array.from(reached, (t) => processTimeAt(field.process, t)!);
  const withClasses = field.target.kind === "points" && field.target.classes > 1;
  const readings = withClasses ? (["entropy", "classEntropy"] as const) : (["entropy"] as const);
  const sweep = await field.sweep({ times: pilot, draws: 32, seed: 1, readings, ...run });
  const meansOf = (curve: NdArray): number[] => reached.map((_, j) => drawsAt(curve, j).reduce((sum, value) => sum + value, 0) / 32);
  let [low, high] = transitionRange(reached, meansOf(sweep.entropy!), weightEntropy(field.target));
  if (withClasses) {
    const ofClasses = transitionRange(reached, meansOf(sweep.classEntropy!), priorEntropy(field.target));
    low = Math.min(low, ofClasses[0]);
    high = Math.max(high, ofClasses[1]);
  }
  const grid = timeGrid({ from: low, to: high, count: count ?? Math.max(24, Math.ceil(8 * Math.log10(high / low))) });
  return grid.map((t) => field.process.timeAt(t));
}

function transitionRange(ouTimes: readonly number[], means: readonly number[], total: number): readonly [number, number] {
  const floor = means[0]!;
  const last = ouTimes.length - 1;
  if (!(total - floor > 1e-9 * total)) {
    const inside = (t: number): number => Math.min(Math.max(t, ouTimes[0]!), ouTimes[last]!);
    return [inside(0.05), inside(4)];
  }
  const fraction = means.map((mean) => (mean - floor) / (total - floor));
  let low = 0;
  while (low < last - 1 && fraction[low + 1]! <= 0.01) low += 1;
  let high = last;
  while (high > low + 1 && fraction[high - 1]! >= 0.99) high -= 1;
  return [ouTimes[low]!, ouTimes[high]!];
}

/** An OU time in the process's own clock, or null when the process never gets there. */
export function processTimeAt(process: Process, ouTime: number): number | null {
  try {
    return process.timeAt(ouTime);
  } catch (error) {
    if (error instanceof RegimesError && error.code === "E_DOMAIN") return null;
    throw error;
  }
}

/** An estimate in OU time with the other clocks beside it. */
export function criticalTime(
  process: Process,
  estimate: Estimate,
  description: { readonly criterion: string; readonly method: string; readonly threshold?: number },
): CriticalTime {
  const { value } = estimate;
  return {
    ...estimate,
    ...description,
    clocks: value === null || value <= 0 ? null : clocks(value),
    processTime: value === null ? null : processTimeAt(process, value),
  };
}

/** H(pi) of the component weights, nats: log n when they are uniform. */
export function weightEntropy(target: Target): number {
  return target.weights === null ? Math.log(target.n) : entropyOf(target.weights);
}

/** H(c) of the class fractions, nats; 0 without classes. */
export function priorEntropy(target: Target): number {
  return target.classFractions === null ? 0 : entropyOf(target.classFractions);
}

function entropyOf(probabilities: Float64Array): number {
  return probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
}

function meansIn(matrix: NdArray, range: readonly [number, number]): Estimate[] {
  return Array.from({ length: matrix.shape[0]! }, (_, j) => meanEstimate(drawsAt(matrix, j), { range }));
}

/** Mean entropies as fractions of `total`, their largest value; none when that is 0. */
function fractionsOf(matrix: NdArray, total: number, whyNone: string): Estimate[] {
  if (!(total > 0)) return Array.from({ length: matrix.shape[0]! }, () => unavailable(whyNone));
  return meansIn(matrix, [0, total]).map((estimate) => scaled(estimate, 1 / total));
}

function noValues(times: Float64Array, status: string): Estimate[] {
  return Array.from(times, () => unavailable(status));
}
