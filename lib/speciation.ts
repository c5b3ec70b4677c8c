/**
 * Speciation: the time at which a generated sample chooses its class. Four criteria, which differ by O(1) in OU time; each result names
 * its own. All need the target only, no network and no simulated trajectory.
 *   spectral       Lambda e^(-2t) = 1, Lambda the top covariance eigenvalue: t_S = 1/2 log Lambda (Biroli et al. 2024, Eq. 4)
 *   cloning        E sum_c p(c|x_t)^2 passes the value that two balanced Gaussian classes have at kappa = 1 (0.7752)
 *   kappa          lambda_max(S^(-1/2) a^2 B S^(-1/2)) = 1, S = a^2 C_w + b^2 I: classes one noised within-class width apart,
 *                  which is b^2/a^2 = lambda_max(B - C_w)
 *   entropy-rate   d H(c|x_t) / dt, t OU time, is largest (Handke et al. 2026)
 */
import { setImmediate } from "node:timers/promises";
import { RegimesError, checkChoice, checkOptionNames } from "./errors.js";
import {
  bootstrap,
  crossing,
  exact,
  lagrange,
  meanCurve,
  moments,
  percentileInterval,
  rounded,
  unavailable,
  withInterval,
  type Estimate,
} from "./estimate.js";
import type { Field } from "./field.js";
import { seedOf, type RunOptions } from "./native.js";
import { ouTimeFrom } from "./process.js";
import { criticalTime, curveOptionNames, curvesFor, oneClass, type CriticalTime, type CurveOptions, type RegimeCurves } from "./regimes.js";
import type { Spectrum } from "./target.js";
import { cloningThreshold, spectralSpeciationTime } from "./theory.js";

export type SpeciationCriterion = "spectral" | "cloning" | "kappa" | "entropy-rate";

export const speciationCriteria: readonly SpeciationCriterion[] = ["spectral", "cloning", "kappa", "entropy-rate"];

/** Options of `speciationTime`; curves and how to make them matter to "cloning" and "entropy-rate" only. */
export interface SpeciationOptions extends CurveOptions {
  readonly criterion: SpeciationCriterion;
  /** "spectral": the spectrum of the same target where it is at hand, to save computing it again. */
  readonly spectrum?: Omit<Spectrum, "mean"> | undefined;
}

/**
 * The speciation time in OU time by one of four criteria (head of this file). Without a transition there is no value and the status says
 * why. Error bars: over the rows of a data set for "spectral" and "kappa" (zero for a mixture), over draws for the given data for
 * "cloning" and "entropy-rate".
 * @throws RegimesError E_LABELS when a criterion needs classes and the target has none, E_OPTION for curves of another target.
 */
export async function speciationTime(field: Field, options: SpeciationOptions): Promise<CriticalTime> {
  checkOptionNames("speciationTime", options, ["criterion", "spectrum", ...curveOptionNames]);
  const { criterion } = options;
  checkChoice("criterion", criterion, speciationCriteria);
  if (criterion === "spectral") return spectral(field, options);
  if (field.target.classes === 0) {
    throw new RegimesError("E_LABELS", `criterion "${criterion}" needs classes: open the data with labels, or use criterion "spectral"`);
  }
  if (field.target.classes === 1) return criticalTime(field.process, unavailable(oneClass), { criterion, method: "not computed" });
  if (criterion === "kappa") return kappa(field, options);
  const seed = seedOf(options.seed ?? 1);
  const curves = await curvesFor(field, options);
  return criterion === "cloning" ? cloning(field, curves) : entropyRate(field, curves, seed);
}

async function spectral(field: Field, options: SpeciationOptions): Promise<CriticalTime> {
  const { signal, onProgress, threads } = options;
  const points = field.target.kind === "points";
  if (points && field.target.n === 1) {
    return criticalTime(field.process, unavailable("one row: it has no covariance"), { criterion: "spectral", method: "not computed" });
  }
  const spectrum = options.spectrum ?? (await field.target.spectrum({ count: 1, signal, onProgress, threads }));
  const top = spectrum.eigenvalues[0]!;
  return criticalTime(field.process, halfLogarithm(top, spectrum.standardErrors[0]!), {
    criterion: "spectral",
    method: `1/2 log of the top covariance eigenvalue ${rounded(top)}${points ? ", standard error over rows (delta method)" : ""}`,
  });
}

/** 1/2 log Lambda, with se(Lambda) / (2 Lambda). */
function halfLogarithm(top: number, error: number): Estimate {
  const time = spectralSpeciationTime(top);
  if (time !== null) return atTime(time, error / (2 * top));
  return unavailable(
    `top eigenvalue ${rounded(top)} <= 1: no speciation, no direction of the data is wider than the noise. Are the data scaled as meant?`,
  );
}

/** An OU time with its standard error; the interval cannot pass 0. */
function atTime(time: number, standardError: number): Estimate {
  return standardError === 0 ? exact(time) : withInterval(time, standardError, { range: [0, Infinity] });
}

function cloning(field: Field, curves: RegimeCurves): CriticalTime {
  const threshold = cloningThreshold(curves.classFractions!);
  const { estimate, count } = crossing(curves.ouTime, curves.perDraw.classSquares!, {
    level: threshold,
    direction: "falling",
    which: "largest",
    quantity: "the cloning probability sum_c p(c|x)^2",
  });
  const several = count > 1 ? `; the largest of ${count} crossings` : "";
  return criticalTime(field.process, estimate, {
    criterion: "cloning",
    threshold,
    method: `mean of sum_c p(c|x)^2 falls through ${rounded(threshold)}, ${curves.draws} draws${several}`,
  });
}

/**
 * Where d H(c|x_t) / dt is largest: the derivative of the mean curve at the middle (in log t) of each two neighbouring times, from
 * the cubic through four, and the vertex of the parabola through the largest three. null when that is at an end of the range.
 * More smoothing would bias it: with common random numbers the mean curve is smooth already.
 */
export function steepestTime(ouTimes: ArrayLike<number>, heights: Float64Array): number | null {
  const x = Float64Array.from(ouTimes, Math.log);
  const middles: number[] = [];
  const rates: number[] = [];
  for (let j = 1; j + 2 < x.length; j++) {
    const middle = (x[j]! + x[j + 1]!) / 2;
    const { slopes } = lagrange(x.subarray(j - 1, j + 3), middle);
    middles.push(middle);
    rates.push(slopes.reduce((sum, slope, k) => sum + slope * heights[j - 1 + k]!, 0) / Math.exp(middle));
  }
  const peak = rates.indexOf(Math.max(...rates));
  if (peak < 1 || peak + 1 >= rates.length) return null;
  const left = (rates[peak]! - rates[peak - 1]!) / (middles[peak]! - middles[peak - 1]!);
  const right = (rates[peak + 1]! - rates[peak]!) / (middles[peak + 1]! - middles[peak]!);
  const curvature = (right - left) / (middles[peak + 1]! - middles[peak - 1]!);
  if (!(curvature < 0)) return null;
  // Newton's form of the parabola; its slope midway between the left two nodes is `left`.
  return Math.exp((middles[peak - 1]! + middles[peak]!) / 2 - left / (2 * curvature));
}

function entropyRate(field: Field, curves: RegimeCurves, seed: number | bigint): CriticalTime {
  const draws = curves.perDraw.classEntropy!;
  const method = `largest d H(c|x)/dt, t OU time, ${curves.draws} draws, bootstrap over draws`;
  return criticalTime(field.process, steepestEstimate(curves.ouTime, draws, seed), { criterion: "entropy-rate", method });
}

function steepestEstimate(ouTimes: Float64Array, draws: RegimeCurves["perDraw"]["entropy"], seed: number | bigint): Estimate {
  if (ouTimes.length < 6) return unavailable(`${ouTimes.length} times: the steepest point of a curve needs at least 6, better 24`);
  const value = steepestTime(ouTimes, meanCurve(draws));
  const range = `[${rounded(ouTimes[0]!)}, ${rounded(ouTimes[ouTimes.length - 1]!)}]`;
  if (value === null) return unavailable(`the class entropy is steepest at an end of ${range} in OU time: extend times`);
  const { values, missing } = bootstrap(draws, (means) => steepestTime(ouTimes, means), { seed });
  const resamples = values.length + missing;
  if (missing > 0.025 * resamples) {
    return unavailable(
      `the steepest point of the class entropy is not resolved: ${missing} of ${resamples} resamples have none inside ${range}. ` +
        "Raise draws or extend times",
    );
  }
  return { value, standardError: moments(values).deviation, ci95: percentileInterval(values), status: "ok" };
}

/**
 * With sigma^2 = b^2/a^2 the condition says that B - C_w - sigma^2 I, B the between-class covariance, has top eigenvalue 0: so sigma^2 is
 * the top eigenvalue of B - C_w, and its eigenvector the direction w along which the classes part. In the Ritz basis C_w = diag(theta)
 * and B = sum_c v_c v_c^T, v_c = sqrt(pi_c) (m_c - m).
 */
async function kappa(field: Field, run: RunOptions): Promise<CriticalTime> {
  const method =
    "top eigenvalue of the between-class covariance, whitened by the noised within-class covariance, is 1 " +
    `(two balanced classes: kappa = 1)${field.target.kind === "points" ? "; standard error over rows, class fractions given" : ""}`;
  return criticalTime(field.process, await kappaEstimate(field, run), { criterion: "kappa", method });
}

async function kappaEstimate(field: Field, { signal, onProgress, threads }: RunOptions): Promise<Estimate> {
  const { target } = field;
  const labels = target.dataset?.labels ?? null;
  if (labels !== null) {
    const rows = new Int32Array(target.classes);
    for (const label of labels) rows[label]! += 1;
    const small = rows.findIndex((count) => count < 2);
    if (small >= 0) {
      const value = target.dataset!.classValues?.[small] ?? small;
      return unavailable(`class ${value} has ${rows[small]!} row: a covariance inside the class needs at least 2`);
    }
  }
  const { ritzValues, classCoordinates, ritzVectors, classFractions } = await target.classSpectrum({ signal, onProgress, threads });
  const width = ritzValues.length;
  const weighted = Array.from(classFractions, (fraction, c) => {
    return classCoordinates.data.subarray(c * width, (c + 1) * width).map((value) => value * Math.sqrt(fraction));
  });
  const between = weighted.reduce((sum, row) => row.reduce((rest, value) => rest + value * value, sum), 0);
  if (!(between > 0)) return unavailable("all classes have the same mean: this criterion sees differences of means only");

  const { value: variance, vector, scale } = await topEigenpair(weighted, ritzValues, signal ?? undefined);
  if (!(variance > 1e-14 * scale)) {
    return unavailable(`the classes are less than one within-class width apart at every t (top eigenvalue below 1): no speciation`);
  }
  const time = ouTimeFrom("sigma", Math.sqrt(variance));
  if (labels === null) return exact(time);

  const direction = vector;
  const norm = Math.sqrt(direction.reduce((sum, value, j) => sum + value * value * (ritzValues[j]! + variance), 0));
  for (let j = 0; j < width; j++) direction[j]! /= norm;
  const standardError = await kappaError(field, { direction, ritzVectors, classCoordinates, labels }, { signal, threads });
  const squaredLength = direction.reduce((sum, value) => sum + value * value, 0);
  // d lambda / d sigma^2 = -|w|^2 at lambda = 1, and dt = d sigma^2 / (2 (1 + sigma^2)).
  return atTime(time, standardError / (2 * squaredLength * (1 + variance)));
}

/** Longest that the event loop waits for an eigenpair, ms. */
const patience = 10;

/**
 * Top eigenpair of sum_c v_c v_c^T - diag(theta) and the size of its spectrum: Lanczos with full orthogonalisation, which ends with the
 * exact pair after at most as many steps as there are coordinates, from a fixed start. Other events get their turn meanwhile.
 */
async function topEigenpair(
  rows: readonly Float64Array[],
  theta: Float64Array,
  signal: AbortSignal | undefined,
): Promise<{ value: number; vector: Float64Array; scale: number }> {
  const size = theta.length;
  const basis: Float64Array[] = [];
  const alpha: number[] = [];
  const beta: number[] = [];
  let next: Float64Array = Float64Array.from({ length: size }, (_, j) => Math.cos(j * (j + 1)));
  let length = Math.sqrt(inner(next, next));
  let scale = 0;
  let since = performance.now();
  for (;;) {
    const current = next.map((value) => value / length);
    basis.push(current);
    next = current.map((value, j) => -theta[j]! * value);
    for (const row of rows) {
      addScaled(next, inner(row, current), row);
      if (performance.now() - since < patience) continue;
      await setImmediate();
      signal?.throwIfAborted();
      since = performance.now();
    }
    alpha.push(inner(current, next));
    // Twice is enough (Kahan and Parlett).
    for (const _ of [1, 2]) {
      for (const earlier of basis) addScaled(next, -inner(earlier, next), earlier);
    }
    length = Math.sqrt(inner(next, next));
    scale = Math.max(scale, Math.abs(alpha[alpha.length - 1]!) + length);
    const complete = basis.length === size || !(length > 1e-14 * scale);
    if (complete || basis.length % 8 === 0) {
      const { value, vector } = topOfTridiagonal(alpha, beta);
      if (complete || length * Math.abs(vector[vector.length - 1]!) < 1e-12 * scale) {
        const combined = new Float64Array(size);
        basis.forEach((earlier, k) => addScaled(combined, vector[k]!, earlier));
        return { value, vector: combined, scale };
      }
    }
    beta.push(length);
  }
}

function inner(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let j = 0; j < x.length; j++) sum += x[j]! * y[j]!;
  return sum;
}

function addScaled(sum: Float64Array, factor: number, x: Float64Array): void {
  for (let j = 0; j < x.length; j++) sum[j]! += factor * x[j]!;
}

/**
 * Top eigenpair of the symmetric tridiagonal matrix T with diagonal alpha and off-diagonal beta: the last pivot of x - T to turn positive as x
 * grows gives the value by bisection, and two steps of inverse iteration just above it, where x - T is positive definite, the vector.
 */
function topOfTridiagonal(alpha: readonly number[], beta: readonly number[]): { value: number; vector: Float64Array } {
  const size = alpha.length;
  const reach = alpha.map((value, k) => Math.abs(value) + Math.abs(beta[k - 1] ?? 0) + Math.abs(beta[k] ?? 0)).reduce((x, y) => Math.max(x, y), 0);
  const above = (x: number): boolean => {
    let pivot = x - alpha[0]!;
    for (let k = 1; pivot > 0 && k < size; k++) pivot = x - alpha[k]! - beta[k - 1]! ** 2 / pivot;
    return pivot > 0;
  };
  let low = -reach;
  let high = reach * (1 + 1e-15) + Number.MIN_VALUE;
  for (;;) {
    const middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    if (above(middle)) high = middle;
    else low = middle;
  }
  const shift = high + 1e-14 * reach + Number.MIN_VALUE;
  let vector = new Float64Array(size).fill(1);
  for (const _ of [1, 2, 3]) {
    const pivots = [shift - alpha[0]!];
    for (let k = 1; k < size; k++) {
      const factor = beta[k - 1]! / pivots[k - 1]!;
      pivots.push(shift - alpha[k]! - factor * beta[k - 1]!);
      vector[k]! += factor * vector[k - 1]!;
    }
    for (let k = size - 1; k >= 0; k--) {
      vector[k] = (vector[k]! + (k + 1 < size ? beta[k]! * vector[k + 1]! : 0)) / pivots[k]!;
    }
    const norm = Math.sqrt(inner(vector, vector));
    vector = vector.map((value) => value / norm);
  }
  return { value: high, vector };
}

/**
 * Standard error over rows of lambda = w^T B w, w^T (C_w + sigma^2 I) w = 1, class fractions given. First-order change of lambda
 * by row i of class c (influence function): 2 beta_c s_i - (s_i^2 - mean s^2) at lambda = 1, s_i = w . (y_i - m_c), beta_c = w . (m_c - m).
 */
async function kappaError(
  field: Field,
  at: {
    readonly direction: Float64Array;
    readonly ritzVectors: { readonly data: Float64Array; readonly shape: readonly number[] };
    readonly classCoordinates: { readonly data: Float64Array };
    readonly labels: Int32Array;
  },
  run: RunOptions,
): Promise<number> {
  const { direction, ritzVectors, classCoordinates, labels } = at;
  const { n, d, weights, classes } = field.target;
  const width = direction.length;
  const w = new Float64Array(d);
  for (let j = 0; j < width; j++) {
    for (let k = 0; k < d; k++) w[k]! += direction[j]! * ritzVectors.data[j * d + k]!;
  }
  const beta = Array.from({ length: classes }, (_, c) => {
    return direction.reduce((sum, value, j) => sum + value * classCoordinates.data[c * width + j]!, 0);
  });
  const projections = (await field.target.project({ data: w, shape: [1, d] }, "class", run)).data;
  const weightOf = (i: number): number => (weights === null ? 1 / n : weights[i]!);
  let meanSquare = 0;
  for (let i = 0; i < n; i++) meanSquare += weightOf(i) * projections[i]! ** 2;
  let variance = 0;
  for (let i = 0; i < n; i++) {
    const s = projections[i]!;
    variance += (weightOf(i) * (2 * beta[labels[i]!]! * s - (s * s - meanSquare))) ** 2;
  }
  // A row of weight 0 is no row.
  const rows = weights === null ? n : weights.reduce((count, weight) => count + (weight > 0 ? 1 : 0), 0);
  return Math.sqrt(variance * (rows / (rows - 1)));
}
