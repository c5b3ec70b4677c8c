/**
 * Collapse: the time below which a generated sample is bound to one datum (memorisation). Four criteria; each result names its own.
 *   excess-entropy  E H(w(x_t)) = threshold * H(pi), threshold a stated fraction (default 0.05) of alpha = H(pi)/d
 *   cloning         E sum_i w_i^2 = 1/2: half of the pairs of clones end on the same datum
 *   population      f(t) = alpha - I(x_0; x_t)/d = 0 for the population the data were drawn from (Biroli et al. 2024, Eq. 5): a mixture,
 *                   with the class information I(c; x_t) that the published curve drops; for data a Gaussian with their covariance
 *   trajectory      mean time of the last switch of the nearest datum along reverse trajectories (collapse/trajectory.ts)
 * The empirical excess entropy itself never vanishes at t > 0, hence the threshold.
 */
import { setImmediate } from "node:timers/promises";
import type { NdArray } from "./array.js";
import { trajectoryCollapse, trajectoryCollapseOptionNames, type TrajectoryCollapse, type TrajectoryCollapseOptions } from "./collapse/trajectory.js";
import { RegimesError, checkChoice, checkOptionNames } from "./errors.js";
import { crossing, exact, rounded, unavailable, withInterval, type Estimate } from "./estimate.js";
import type { Field } from "./field.js";
import type { RunOptions } from "./native.js";
import { clocks } from "./process.js";
import {
  criticalTime,
  curveOptionNames,
  curvesFor,
  noData,
  oneRow,
  processTimeAt,
  timeGrid,
  weightEntropy,
  type CriticalTime,
  type CurveOptions,
} from "./regimes.js";
import { gaussianMixture, type Mixture, type Target } from "./target.js";
import { information, populationCollapseTime, surrogateCollapseTime, type Population } from "./theory.js";

export type CollapseCriterion = "excess-entropy" | "cloning" | "population" | "trajectory";

export const collapseCriteria: readonly CollapseCriterion[] = ["excess-entropy", "cloning", "population", "trajectory"];

/** All eigenvalues are computed densely up to this min(n, d). */
export const largestDenseSpectrum = 4096;

/** Options of `collapseTime` for all criteria but "trajectory"; draws and seed also serve "population" of a mixture without a closed form. */
export interface CollapseOptions extends CurveOptions {
  readonly criterion: Exclude<CollapseCriterion, "trajectory">;
  /** "excess-entropy": fraction of alpha in (0, 1), default 0.05. */
  readonly threshold?: number | undefined;
  /** "population" of a mixture: how many data are drawn from it. */
  readonly n?: number | undefined;
  /** "population" of data: all eigenvalues of their covariance where they are at hand, to save computing them again. */
  readonly eigenvalues?: Float64Array | undefined;
}

/**
 * The collapse time in OU time by one of four criteria (head of this file). Without a transition there is no value and the status says
 * why. Error bars of "excess-entropy" and "cloning" are over draws, of "trajectory" over trajectories, for the given data.
 * @throws RegimesError E_DOMAIN for a threshold outside (0, 1) or n <= 0, E_OPTION for options that do not belong to the criterion and
 * for curves of another target; E_SHAPE, E_NONFINITE, E_NOT_PSD for eigenvalues that no covariance of these data can have.
 */
export async function collapseTime(field: Field, options: TrajectoryCollapseOptions): Promise<TrajectoryCollapse>;
export async function collapseTime(field: Field, options: CollapseOptions): Promise<CriticalTime>;
export async function collapseTime(field: Field, options: CollapseOptions | TrajectoryCollapseOptions): Promise<CriticalTime | TrajectoryCollapse> {
  checkChoice("criterion", options?.criterion, collapseCriteria);
  if (options.criterion === "trajectory") {
    checkOptionNames(`collapseTime by "trajectory"`, options, trajectoryCollapseOptionNames);
    const why = nothingToCollapse(field.target);
    if (why === null) return trajectoryCollapse(field, options);
    return { ...criticalTime(field.process, unavailable(why), { criterion: "trajectory", method: "not computed" }), distribution: null };
  }
  checkOptionNames("collapseTime", options, ["criterion", "threshold", "n", "eigenvalues", ...curveOptionNames]);
  const { criterion, threshold, n } = options;
  if (threshold !== undefined && criterion !== "excess-entropy") {
    throw new RegimesError("E_OPTION", `threshold belongs to criterion "excess-entropy", not to "${criterion}"`);
  }
  if (threshold !== undefined) checkThreshold(threshold);
  if (n !== undefined && (criterion !== "population" || field.target.kind !== "mixture")) {
    throw new RegimesError("E_OPTION", 'n belongs to criterion "population" of a mixture; data bring their own n');
  }
  if (options.eigenvalues !== undefined) checkEigenvalues(field.target, options);
  if (criterion === "population") return population(field, options);
  return measured(field, criterion, options);
}

/** Throws unless the eigenvalues can be those of the covariance of the data: E_OPTION, E_SHAPE, E_NONFINITE, E_NOT_PSD. */
function checkEigenvalues(target: Target, { criterion, eigenvalues }: CollapseOptions): void {
  if (criterion !== "population" || target.kind !== "points") {
    throw new RegimesError("E_OPTION", 'eigenvalues belong to criterion "population" of data');
  }
  if (!(eigenvalues instanceof Float64Array)) {
    throw new RegimesError("E_OPTION", "eigenvalues: pass the Float64Array that target.allEigenvalues() returns");
  }
  const most = Math.min(target.n, target.d);
  if (eigenvalues.length === 0 || eigenvalues.length > most) {
    throw new RegimesError("E_SHAPE", `eigenvalues has ${eigenvalues.length} entries, need 1 to min(n, d) = ${most}`);
  }
  const bad = eigenvalues.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new RegimesError("E_NONFINITE", `eigenvalues[${bad}] is ${eigenvalues[bad]}, need finite numbers`);
  // Solvers leave some a rounding below 0.
  const largest = eigenvalues.reduce((most, value) => Math.max(most, value), 0);
  const negative = eigenvalues.findIndex((value) => value < -1e-10 * largest);
  if (negative >= 0) throw new RegimesError("E_NOT_PSD", `eigenvalues[${negative}] is ${eigenvalues[negative]}, need >= 0`);
}

/** Throws E_DOMAIN unless `threshold` is a fraction of alpha in (0, 1). */
export function checkThreshold(threshold: number): void {
  if (threshold > 0 && threshold < 1) return;
  throw new RegimesError("E_DOMAIN", `threshold is ${threshold}, need a fraction of alpha in (0, 1)`);
}

/** Where a curve over the given data crosses a level. */
async function measured(field: Field, criterion: "excess-entropy" | "cloning", options: CollapseOptions): Promise<CriticalTime> {
  const entropic = criterion === "excess-entropy";
  const threshold = entropic ? (options.threshold ?? 0.05) : 0.5;
  const why = nothingToCollapse(field.target);
  if (why !== null) return criticalTime(field.process, unavailable(why), { criterion, threshold, method: "not computed" });
  const curves = await curvesFor(field, options);
  const { estimate, count } = crossing(curves.ouTime, entropic ? curves.perDraw.entropy : curves.perDraw.sumSquares, {
    level: threshold,
    factor: entropic ? 1 / weightEntropy(field.target) : 1,
    direction: entropic ? "rising" : "falling",
    which: "largest",
    quantity: entropic ? "the excess entropy over alpha" : "the collapse-cloning probability sum w^2",
  });
  const formula = entropic ? `mean posterior entropy rises through ${rounded(threshold)} H(pi)` : "mean of sum w^2 falls through 1/2";
  const several = count > 1 ? `; the largest of ${count} crossings` : "";
  const method = `${formula}, ${curves.draws} draws, standard error over draws for these data${several}${duplicates(field.target)}`;
  return criticalTime(field.process, estimate, { criterion, threshold, method });
}

function nothingToCollapse(target: Target): string | null {
  if (target.kind === "mixture") return noData;
  if (isOneRow(target)) return oneRow;
  return target.dataset?.distinctRows === 1 ? `all ${target.n} rows are equal: collapsed at every t` : null;
}

/** One row, or one that has all the weight. */
function isOneRow(target: Target): boolean {
  return weightEntropy(target) === 0;
}

/** Duplicates keep the posterior entropy from vanishing: worth a word above 1 %. */
function duplicates({ dataset }: Target): string {
  if (dataset === null) return "";
  const repeated = dataset.n - dataset.distinctRows;
  return repeated > 0.01 * dataset.n ? `; ${repeated} of ${dataset.n} rows repeat another, which keeps the entropy up at small t` : "";
}

async function population(field: Field, options: CollapseOptions): Promise<CriticalTime> {
  const { target } = field;
  const { estimate, method } = target.kind === "mixture" ? await ofMixture(field, options) : await ofSurrogate(target, options);
  return criticalTime(field.process, estimate, { criterion: "population", method });
}

interface Answer {
  readonly estimate: Estimate;
  readonly method: string;
}

async function ofSurrogate(target: Target, { eigenvalues, signal, onProgress, threads }: CollapseOptions): Promise<Answer> {
  const method =
    "Gaussian surrogate with the covariance of the data: the largest entropy for this covariance, so its excess entropy lies below and " +
    "this time above those of the true population; standard error as for Gaussian rows";
  if (isOneRow(target)) return { estimate: unavailable(oneRow), method };
  const smaller = Math.min(target.n, target.d);
  if (smaller > largestDenseSpectrum) {
    const found = `needs all eigenvalues of the covariance: min(n, d) = ${smaller}, at most ${largestDenseSpectrum} are computed`;
    return { estimate: unavailable(`${found}. Use fewer rows or columns`), method };
  }
  const variance = eigenvalues ?? (await target.allEigenvalues({ signal, onProgress, threads }));
  const n = target.weights === null ? target.n : Math.exp(weightEntropy(target));
  const time = surrogateCollapseTime({ n, d: target.d, variance });
  if (time === null) return { estimate: unavailable("all eigenvalues of the covariance are 0: collapsed at every t"), method };
  return { estimate: withInterval(time.value, time.standardError, { range: [0, Infinity] }), method };
}

async function ofMixture(field: Field, options: CollapseOptions): Promise<Answer> {
  const { n } = options;
  if (n === undefined) throw new RegimesError("E_OPTION", 'criterion "population" of a mixture needs n, the number of data drawn from it');
  if (!(n > 0 && n < Infinity)) throw new RegimesError("E_DOMAIN", `n is ${n}, need a positive finite number`);
  if (n <= 1) return { estimate: unavailable(oneRow), method: "not computed" };
  const mixture = field.target.mixture!;
  const closed = closedForm(mixture, field.target.d);
  if (closed === null) return bySweep(field, n, options);
  const time = populationCollapseTime({ ...closed, n });
  const term = closed.halfSeparation === undefined ? "" : ", with the class term I(c; x_t)";
  return {
    estimate: time === null ? unavailable(`${rounded(n)} data from points repeat: no collapse of a population without width`) : exact(time),
    method: `closed form, I(x_0; x_t) = log n with n = ${n}${term}`,
  };
}

/** One Gaussian, or two of equal weight and equal spherical or diagonal covariance. */
function closedForm(mixture: Mixture, d: number): Omit<Population, "n"> | null {
  const { weights, means, covariances } = mixture;
  const components = means.shape[0]!;
  if (covariances.type !== "spherical" && covariances.type !== "diagonal") return null;
  const spherical = covariances.type === "spherical";
  const width = spherical ? 1 : d;
  const first = covariances.variances.subarray(0, width);
  const variance = spherical ? first[0]! : first;
  if (components === 1) return { d, variance };
  if (components !== 2 || (weights !== null && weights[0] !== weights[1])) return null;
  if (!first.every((value, i) => value === covariances.variances[width + i])) return null;
  const half = Float64Array.from({ length: d }, (_, i) => (means.data[d + i]! - means.data[i]!) / 2);
  return { d, variance, halfSeparation: spherical ? Math.sqrt(half.reduce((sum, value) => sum + value * value, 0)) : half };
}

/**
 * f(t) d = log n - 1/2 sum_k pi_k log det(I + C_k/sigma^2) - [H(pi) - E H(c|x_t)]: all but the last mean is exact, and that is
 * averaged over coupled draws. Since 0 <= I(c; x_t), and since a Gaussian has the largest information for a given variance, the root lies
 * between those of the first two terms and of the Gaussian with variance tr(C)/d in each direction.
 */
async function bySweep(field: Field, n: number, options: CollapseOptions): Promise<Answer> {
  const { target, process } = field;
  const { draws = 1000, seed = 1, precision, signal, onProgress, threads } = options;
  const method = `I(x_0; x_t) = log n with n = ${n}: information inside the classes exact, I(c; x_t) averaged over ${draws} draws`;
  const within = await withinInformation(target.mixture!, target.d, { signal, threads });
  const { trace } = await target.spectrum({ count: 1, signal, threads });
  const upper = populationCollapseTime({ n, d: target.d, variance: trace / target.d });
  const prior = weightEntropy(target);
  if (upper === null || Math.log(n) - (await within(upper * Math.exp(-50))) - prior > 0) {
    return { estimate: unavailable(`${rounded(n)} data hold more information than the mixture at every t: no collapse`), method };
  }
  const low = await lowerEnd(within, n, upper);
  const ouTimes = timeGrid({ from: low * 0.9, to: upper * 1.1, count: 24 });
  const times = Array.from(ouTimes, (t) => processTimeAt(process, t));
  if (times.includes(null)) {
    const found = `the process does not reach all OU times from ${rounded(low)} to ${rounded(upper)}, where collapse is`;
    return { estimate: unavailable(`${found}: use another process`), method };
  }
  const sweep = await field.sweep({
    times: Float64Array.from(times as number[]),
    draws,
    seed,
    readings: ["entropy"],
    precision,
    signal,
    onProgress,
    threads,
  });
  const excess = sweep.entropy!.data.slice();
  for (const [j, t] of ouTimes.entries()) {
    const known = Math.log(n) - (await within(t)) - prior;
    for (let r = 0; r < draws; r++) excess[j * draws + r]! += known;
  }
  const matrix: NdArray = { data: excess, shape: [ouTimes.length, draws] };
  const { estimate } = crossing(ouTimes, matrix, { level: 0, direction: "rising", which: "largest", quantity: "the excess entropy" });
  return { estimate, method };
}

/** The OU time below `upper` where the information inside the classes is log n, to a percent; a thousandth of `upper` where there is none. */
async function lowerEnd(within: (ouTime: number) => Promise<number>, n: number, upper: number): Promise<number> {
  let [low, high] = [Math.log(upper) - 50, Math.log(upper)];
  if ((await within(Math.exp(low))) < Math.log(n)) return upper * 1e-3;
  while (high - low > 0.01) {
    const middle = (low + high) / 2;
    if ((await within(Math.exp(middle))) > Math.log(n)) low = middle;
    else high = middle;
  }
  return Math.exp(low);
}

/** Longest that the event loop waits for a sum over components, ms. */
const patience = 10;

/** t -> 1/2 sum_k pi_k log det(I + C_k / sigma^2), in nats; other events get their turn. */
async function withinInformation(mixture: Mixture, d: number, run: RunOptions): Promise<(ouTime: number) => Promise<number>> {
  const { weights, means, covariances } = mixture;
  const components = means.shape[0]!;
  const parts: ((ouTime: number) => number)[] = [];
  for (let k = 0; k < components; k++) parts.push(await gaussianInformation(covariances, k, d, run));
  return async (ouTime) => {
    let sum = 0;
    let since = performance.now();
    for (const [k, part] of parts.entries()) {
      sum += (weights?.[k] ?? 1 / components) * part(ouTime);
      if (performance.now() - since < patience) continue;
      await setImmediate();
      run.signal?.throwIfAborted();
      since = performance.now();
    }
    return sum;
  };
}

/** Eigenvalues of a covariance [d, d] by the native solver, on threads of its own. */
async function eigenvaluesOf(matrix: Float64Array, d: number, run: RunOptions): Promise<Float64Array> {
  using one = gaussianMixture({ means: { data: new Float64Array(d), shape: [1, d] }, covariances: { type: "full", matrices: matrix } });
  return nonNegative(await one.allEigenvalues(run));
}

/** t -> 1/2 log det(I + C_k / sigma^2) of one covariance of a mixture. */
async function gaussianInformation(covariances: Mixture["covariances"], k: number, d: number, run: RunOptions): Promise<(ouTime: number) => number> {
  switch (covariances.type) {
    case "spherical": {
      const variance = covariances.variances[k]!;
      return (ouTime) => information(ouTime, { d, variance });
    }
    case "diagonal": {
      const variance = covariances.variances.subarray(k * d, (k + 1) * d);
      return (ouTime) => information(ouTime, { d, variance });
    }
    case "full": {
      const variance = await eigenvaluesOf(covariances.matrices.slice(k * d * d, (k + 1) * d * d), d, run);
      return (ouTime) => information(ouTime, { d, variance });
    }
    case "low-rank": {
      // det(I + (psi + W W^T)/s) = det(I + psi/s) det(I_r + W^T (psi + s)^-1 W), s = sigma^2.
      const { rank } = covariances;
      const variance = covariances.diagonals.subarray(k * d, (k + 1) * d);
      const factors = covariances.factors.subarray(k * d * rank, (k + 1) * d * rank);
      return (ouTime) => {
        const noise = clocks(ouTime).sigma ** 2;
        const gram = new Float64Array(rank * rank);
        for (let i = 0; i < d; i++) {
          for (let r = 0; r < rank; r++) {
            const row = factors[i * rank + r]! / (variance[i]! + noise);
            for (let q = 0; q < rank; q++) gram[r * rank + q]! += row * factors[i * rank + q]!;
          }
        }
        return information(ouTime, { d, variance }) + logDeterminantAboveOne(gram, rank) / 2;
      };
    }
  }
}

/** log det(I + G) of a positive semi-definite G [n, n], by Cholesky; overwrites G. */
function logDeterminantAboveOne(gram: Float64Array, n: number): number {
  let sum = 0;
  for (let j = 0; j < n; j++) {
    // The pivot of I + G in column j is 1 + rest, rest >= 0.
    const rest = Math.max(0, gram[j * n + j]!);
    sum += Math.log1p(rest);
    for (let i = j + 1; i < n; i++) {
      const factor = gram[i * n + j]! / (1 + rest);
      for (let k = j + 1; k <= i; k++) gram[i * n + k]! -= factor * gram[k * n + j]!;
    }
  }
  return sum;
}

/** A covariance has no negative eigenvalue; rounding puts some a little below 0. */
function nonNegative(values: Float64Array): Float64Array {
  return values.map((value) => Math.max(0, value));
}
