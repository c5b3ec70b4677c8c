/**
 * Estimates with their uncertainty: means over draws, crossings of a mean curve, bootstrap. A bare number in a result is exact;
 * whatever was sampled is an `Estimate`. Curves come as one matrix [times, draws] in which a column is the same draw at every
 * time (common random numbers), so errors at different times are correlated and every error here is taken over whole columns.
 * Nothing here knows what the numbers mean.
 */
import type { NdArray } from "./array.js";
import { monotoneRoot } from "./quadrature.js";

/** "ok", or the reason why there is no value together with the remedy. */
export type EstimateStatus = "ok" | (string & {});

/**
 * A value with its standard error and a 95 % interval. All three are null when `status` is not "ok"; NaN never appears.
 * A value that follows from its inputs without sampling (a closed form) has standardError 0.
 */
export interface Estimate {
  readonly value: number | null;
  readonly standardError: number | null;
  readonly ci95: readonly [low: number, high: number] | null;
  readonly status: EstimateStatus;
}

/** A closed form: standard error 0 and an interval of one point. */
export function exact(value: number): Estimate {
  return { value, standardError: 0, ci95: [value, value], status: "ok" };
}

/** No value; `status` says why and what to do about it. */
export function unavailable(status: string): Estimate {
  return { value: null, standardError: null, ci95: null, status };
}

/** 0.975 quantile of Student's t for `freedom` degrees of freedom, 1, 2, ... (relative error below 1e-6; 1.95996 at infinity). */
export function studentQuantile(freedom: number): number {
  const tabulated = smallStudentQuantiles[freedom - 1];
  if (tabulated !== undefined) return tabulated;
  // Abramowitz & Stegun 26.7.5, expanded about the normal quantile z.
  const z = 1.959963984540054;
  const z2 = z * z;
  const g1 = (z * (z2 + 1)) / 4;
  const g2 = (z * ((5 * z2 + 16) * z2 + 3)) / 96;
  const g3 = (z * (((3 * z2 + 19) * z2 + 17) * z2 - 15)) / 384;
  const g4 = (z * ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945)) / 92160;
  return z + (g1 + (g2 + (g3 + g4 / freedom) / freedom) / freedom) / freedom;
}

// Below 13 degrees of freedom the expansion is off by more than 1e-6.
const smallStudentQuantiles: readonly number[] = [
  12.706204736, 4.30265273, 3.182446305, 2.776445105, 2.570581836, 2.446911851, 2.364624252, 2.306004135, 2.262157163, 2.228138852,
  2.20098516, 2.17881283,
];

/** How an interval is laid around a value of known standard error. */
export interface IntervalOptions {
  /** The quantity cannot leave [low, high]: the interval is cut there, the value and its standard error are not. */
  readonly range?: readonly [low: number, high: number];
  /** Degrees of freedom of the standard error, default infinite (normal interval). */
  readonly freedom?: number;
}

/** value -+ quantile * standardError, cut to the range. */
export function withInterval(value: number, standardError: number, options: IntervalOptions = {}): Estimate {
  const arm = studentQuantile(options.freedom ?? Infinity) * standardError;
  const [low, high] = options.range ?? [-Infinity, Infinity];
  return { value, standardError, ci95: [Math.max(low, value - arm), Math.min(high, value + arm)], status: "ok" };
}

/**
 * Mean of independent draws with sd/sqrt(N) and Student's interval, cut to `range` (the value is not).
 *
 * When fewer than 5 draws carry the sample variance of a bounded quantity (participation ratio of the squared deviations), as deep in
 * collapse where nearly every sum w^2 is 1, the variance rests on events too rare to be counted. The interval then also reaches
 * 1 - 0.05^(1/N) (about 3/N) of the way to each end of `range`, what an event missed by N draws can be worth ("rule of three", Hanley
 * and Lippman-Hand 1983), and the standard error is at least its width over 2 * 1.96.
 */
export function meanEstimate(values: ArrayLike<number>, options: { readonly range?: readonly [low: number, high: number] } = {}): Estimate {
  const count = values.length;
  if (count < 2) return unavailable(`${count} draws: no error bar from fewer than 2; raise draws`);
  const { mean, deviation, carriers } = moments(values);
  const student = withInterval(mean, deviation / Math.sqrt(count), { ...options, freedom: count - 1 });
  const { range } = options;
  if (range === undefined || carriers >= 5) return student;
  const reach = -Math.expm1(Math.log(0.05) / count);
  const low = Math.min(student.ci95![0], mean - reach * Math.max(0, mean - range[0]));
  const high = Math.max(student.ci95![1], mean + reach * Math.max(0, range[1] - mean));
  const standardError = Math.max(student.standardError!, (high - low) / (2 * studentQuantile(Infinity)));
  return { value: mean, standardError, ci95: [low, high], status: "ok" };
}

/** 1 / estimate by the delta method: standard error se/value^2; the interval is the reciprocal one, cut to `range`. */
export function reciprocal(estimate: Estimate, range: readonly [low: number, high: number]): Estimate {
  const { value, standardError, ci95, status } = estimate;
  if (value === null || standardError === null || ci95 === null) return unavailable(status);
  const high = ci95[0] > 0 ? Math.min(range[1], 1 / ci95[0]) : range[1];
  return { value: 1 / value, standardError: standardError / value ** 2, ci95: [Math.max(range[0], 1 / ci95[1]), high], status: "ok" };
}

/** All numbers of an estimate times `factor` > 0. */
export function scaled(estimate: Estimate, factor: number): Estimate {
  const { value, standardError, ci95, status } = estimate;
  if (value === null || standardError === null || ci95 === null) return estimate;
  return { value: value * factor, standardError: standardError * factor, ci95: [ci95[0] * factor, ci95[1] * factor], status };
}

/**
 * Mean, standard deviation (N - 1) and the number of values that carry the variance: q = (value - mean)^2, (sum q)^2 / sum q^2, from 1 to N
 * (N/3 for normal values), 0 when all values are equal up to rounding. Two passes, so that nearly equal values keep their digits.
 */
export function moments(values: ArrayLike<number>): { mean: number; deviation: number; carriers: number } {
  const count = values.length;
  let sum = 0;
  for (let r = 0; r < count; r++) sum += values[r]!;
  const mean = sum / count;
  let squares = 0;
  for (let r = 0; r < count; r++) squares += (values[r]! - mean) ** 2;
  const deviation = count > 1 ? Math.sqrt(squares / (count - 1)) : 0;
  // Equal values differ from their own mean by its rounding.
  if (!(deviation > 1e-12 * Math.abs(mean))) return { mean, deviation, carriers: 0 };
  let shares = 0;
  for (let r = 0; r < count; r++) shares += ((values[r]! - mean) ** 2 / squares) ** 2;
  return { mean, deviation, carriers: 1 / shares };
}

/** Row `j` of a matrix [times, draws]: one time, all draws (a view). */
export function drawsAt(matrix: NdArray, j: number): Float64Array {
  const draws = matrix.shape[1]!;
  return matrix.data.subarray(j * draws, (j + 1) * draws);
}

/** Mean over draws at each time of a matrix [times, draws]. */
export function meanCurve(matrix: NdArray): Float64Array<ArrayBuffer> {
  return Float64Array.from({ length: matrix.shape[0]! }, (_, j) => moments(drawsAt(matrix, j)).mean);
}

/** What `crossing` looks for. */
export interface CrossingOptions {
  /** Level, in the units of `matrix * factor`. */
  readonly level: number;
  /** Multiplies the matrix, default 1. */
  readonly factor?: number;
  /** Sign of the slope where the curve crosses, with growing time. */
  readonly direction: "rising" | "falling";
  /** Which crossing counts when noise or structure makes several. */
  readonly which: "smallest" | "largest";
  /** Name of the curve in a status. */
  readonly quantity: string;
}

/** A crossing time and how many crossings in that direction there were. */
export interface Crossing {
  readonly estimate: Estimate;
  readonly count: number;
}

/**
 * The time t* where the mean over draws of a curve crosses a level. Between two times whose means bracket the level the curve is the
 * cubic through the four nearest means in log t (fewer if there are fewer), and t* its root by bisection.
 *
 * That cubic is a linear functional of each draw's own curve, so the standard error of its height at t* is sd/sqrt(N) over draws, and
 * se(log t*) = that / |slope| (delta method); the interval is Student's in log t. Interpolation error is not in it: it falls
 * with the fourth power of the spacing in log t. Without a crossing, or when the slope is below 3 of its own standard errors, there is
 * no value and the status says what to change.
 * @param times positive, strictly increasing. @param matrix [times, draws], a column being the same draw at all times.
 */
export function crossing(times: ArrayLike<number>, matrix: NdArray, options: CrossingOptions): Crossing {
  const { level, direction, which, quantity, factor = 1 } = options;
  const draws = matrix.shape[1]!;
  const count = times.length;
  const none = (status: string): Crossing => ({ estimate: unavailable(status), count: 0 });
  if (count < 2) return none(`${quantity} is known at ${count} time only: a crossing needs at least 2, better 16 or more`);
  if (draws < 2) return none(`${draws} draws: no error bar from fewer than 2; raise draws`);

  const x = Float64Array.from({ length: count }, (_, j) => Math.log(times[j]!));
  const height = meanCurve(matrix).map((mean) => mean * factor - level);
  const sign = direction === "rising" ? 1 : -1;
  const brackets: number[] = [];
  for (let j = 0; j + 1 < count; j++) {
    if (sign * height[j]! < 0 && sign * height[j + 1]! >= 0) brackets.push(j);
  }
  if (brackets.length === 0) return none(missedLevel(times, height, options));

  const j = which === "smallest" ? brackets[0]! : brackets[brackets.length - 1]!;
  const width = Math.min(4, count);
  const first = Math.min(Math.max(0, j - 1), count - width);
  const nodes = x.subarray(first, first + width);
  // The means change sign over the bracket, and the cubic goes through them.
  const root = monotoneRoot((point) => dot(lagrange(nodes, point).values, height, first), x[j]!, x[j + 1]!) ?? x[j + 1]!;
  const { values, slopes } = lagrange(nodes, root);
  const slope = dot(slopes, height, first);
  const heightDraws = combineDraws(matrix, first, values, factor);
  const slopeDraws = combineDraws(matrix, first, slopes, factor);
  const slopeError = moments(slopeDraws).deviation / Math.sqrt(draws);
  if (!(Math.abs(slope) > 3 * slopeError)) {
    return none(
      `the slope of ${quantity} where it crosses ${rounded(level)} is not resolved: ${rounded(slope)} +- ${rounded(slopeError)} ` +
        `per unit of log t, from ${draws} draws. Raise draws`,
    );
  }
  const logError = moments(heightDraws).deviation / Math.sqrt(draws) / Math.abs(slope);
  const arm = studentQuantile(draws - 1) * logError;
  const value = Math.exp(root);
  const estimate = { value, standardError: value * logError, ci95: [Math.exp(root - arm), Math.exp(root + arm)], status: "ok" } as const;
  return { estimate, count: brackets.length };
}

function missedLevel(times: ArrayLike<number>, height: Float64Array, options: CrossingOptions): string {
  const { level, direction, quantity } = options;
  const last = height.length - 1;
  const where = `on [${rounded(times[0]!)}, ${rounded(times[last]!)}] in OU time`;
  const above = height.every((value) => value >= 0);
  if (above || height.every((value) => value < 0)) {
    const side = above ? "above" : "below";
    const remedy = above === (direction === "rising") ? "smaller" : "larger";
    return `${quantity} stays ${side} ${rounded(level)} ${where}: extend times to ${remedy} t`;
  }
  const opposite = direction === "rising" ? "falls" : "rises";
  return `${quantity} only ${opposite} through ${rounded(level)} ${where}: raise draws or extend times`;
}

/** Four digits, for statuses and methods: numbers to compute with are in the estimates. */
export function rounded(value: number): string {
  return String(Number(value.toPrecision(4)));
}

/** Lagrange basis of `nodes` and its derivative at `point`. */
export function lagrange(
  nodes: ArrayLike<number>,
  point: number,
): { values: Float64Array<ArrayBuffer>; slopes: Float64Array<ArrayBuffer> } {
  const count = nodes.length;
  const values = new Float64Array(count);
  const slopes = new Float64Array(count);
  for (let k = 0; k < count; k++) {
    let product = 1;
    let derivative = 0;
    for (let m = 0; m < count; m++) {
      if (m === k) continue;
      const gap = nodes[k]! - nodes[m]!;
      const part = (point - nodes[m]!) / gap;
      derivative = derivative * part + product / gap;
      product *= part;
    }
    values[k] = product;
    slopes[k] = derivative;
  }
  return { values, slopes };
}

function dot(weights: Float64Array, values: Float64Array, first: number): number {
  let sum = 0;
  for (let k = 0; k < weights.length; k++) sum += weights[k]! * values[first + k]!;
  return sum;
}

/** sum_k weights_k matrix[first + k, r] * factor for every draw r. */
function combineDraws(matrix: NdArray, first: number, weights: Float64Array, factor: number): Float64Array {
  const combined = new Float64Array(matrix.shape[1]!);
  for (let k = 0; k < weights.length; k++) {
    const row = drawsAt(matrix, first + k);
    const weight = weights[k]! * factor;
    for (let r = 0; r < combined.length; r++) combined[r]! += weight * row[r]!;
  }
  return combined;
}

/** Resampled values of a statistic. */
export interface Bootstrap {
  /** Ascending; resamples without a value are left out. */
  readonly values: Float64Array<ArrayBuffer>;
  /** Resamples in which the statistic had no value. */
  readonly missing: number;
}

/**
 * Bootstrap over draws (Efron 1979): `statistic` of the mean curve, for `resamples` (default 400) resamplings of the columns of a
 * matrix [times, draws]. The same seed gives the same resamplings.
 */
export function bootstrap(
  matrix: NdArray,
  statistic: (means: Float64Array) => number | null,
  options: { readonly seed: number | bigint; readonly resamples?: number },
): Bootstrap {
  const [times, draws] = matrix.shape as [number, number];
  const resamples = options.resamples ?? 400;
  const uniform = uniformStream(options.seed);
  const found: number[] = [];
  const multiplicity = new Float64Array(draws);
  const means = new Float64Array(times);
  for (let b = 0; b < resamples; b++) {
    multiplicity.fill(0);
    for (let r = 0; r < draws; r++) multiplicity[Math.floor(uniform() * draws)]! += 1;
    for (let j = 0; j < times; j++) means[j] = dot(multiplicity, matrix.data, j * draws) / draws;
    const value = statistic(means);
    if (value !== null) found.push(value);
  }
  return { values: Float64Array.from(found).sort(), missing: resamples - found.length };
}

/** Quantile of ascending values, linear between order statistics (R-7 of Hyndman & Fan 1996). */
export function quantileOf(sorted: ArrayLike<number>, p: number): number {
  const position = p * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (position - below) * (sorted[above]! - sorted[below]!);
}

/** The 2.5 % and 97.5 % quantiles of ascending values. */
export function percentileInterval(sorted: ArrayLike<number>): readonly [low: number, high: number] {
  return [quantileOf(sorted, 0.025), quantileOf(sorted, 0.975)];
}

/** Uniform numbers in [0, 1) for resampling only (sfc32, Doty-Humphrey 2010); forward draws come from the native generator. */
function uniformStream(seed: number | bigint): () => number {
  const bits = BigInt.asUintN(64, BigInt(seed));
  let a = Number(bits & 0xffffffffn) | 0;
  let b = Number(bits >> 32n) | 0;
  let c = 0;
  let counter = 1;
  const next = (): number => {
    const mixed = (a + b + counter++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + mixed) | 0;
    return mixed >>> 0;
  };
  // The first outputs still show the seed.
  for (let k = 0; k < 16; k++) next();
  return () => next() / 2 ** 32;
}
