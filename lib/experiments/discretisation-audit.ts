/**
 * What discretisation costs: samplers, schedules and numbers of steps against the exact law. Every run starts from the exact marginal
 * p_from, so that an exact sampler would end on p_to exactly, and all deviations are those of its steps and of finite sampling.
 *
 * The same starts and noises serve all runs of a schedule. A deterministic sampler is also compared with a fine Heun run from the same
 * starts; its measured order is the slope of that distance in the step size. For data, the exact reverse SDE ends on datum i with the
 * posterior probability w_i(x_from) of its start, so E w_end(x_from) = E sum_i w_i^2 (theory of cloning).
 */
import { RegimesError, checkOptionNames } from "../errors.js";
import { meanEstimate, unavailable, withInterval, type Estimate } from "../estimate.js";
import type { Field } from "../field.js";
import { runOptionNames, seedOf, type RunOptions } from "../native.js";
import { floorOf, estimateOf, measureOf, type Measure } from "../quality.js";
import { reverseGrid, sampleReverse, samplers, type Node, type ReverseRun, type Schedule } from "../sampler.js";
import { gaussianMixture, type Mixture, type Target } from "../target.js";
import { drawsNoise, nameOf, parametersOf, type SamplerChoice } from "./sampler-choice.js";

export interface DiscretisationAuditOptions extends RunOptions {
  readonly samplers: readonly SamplerChoice[];
  /** Schedules by name, or { karras: rho }; default "log-snr". */
  readonly schedules?: readonly Exclude<Schedule, ArrayLike<number>>[] | undefined;
  /** Numbers of steps; three or more, doubling, measure an order best. */
  readonly steps: readonly number[];
  /** Trajectories of each run. */
  readonly samples: number;
  readonly seed: number | bigint;
  /** First and last time in the process's clock; defaults as in `sampleReverse`. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  /** Heun steps of the reference of deterministic samplers, default 8 times the largest of `steps`, at least 512. */
  readonly referenceSteps?: number | undefined;
}

/** One sampler on one schedule with one number of steps; deviations from the exact law have value 0 for an exact sampler. */
export interface AuditCell {
  readonly sampler: string;
  readonly schedule: string;
  readonly steps: number;
  /** Passes over the target per sample. */
  readonly evaluations: number;
  /** |E x - m|^2 / tr C, unbiased. */
  readonly meanShift: Estimate;
  /** E |x - m|^2 / tr C - 1. */
  readonly varianceError: Estimate;
  /** Data units; of a mixture to p_to, of data the denoised end points to the data. Compare with the floor. */
  readonly slicedWasserstein: Estimate;
  /** E p(c | x) less the exact probability, for each class; null without at least two classes. */
  readonly classErrors: readonly Estimate[] | null;
  /** Root mean square distance per coordinate to the end points of the reference; null for samplers that draw noise. */
  readonly endPointError: Estimate | null;
  /** For data: fraction of end points whose nearest datum has posterior weight 0.99 or more. */
  readonly onDatum: Estimate | null;
  /** For data and samplers that draw noise: E w_end(x_from) - E sum w^2. */
  readonly endWeightError: Estimate | null;
}

/** Slope of log error in log step size over the (at most three) finest numbers of steps at which the error is resolved. */
export interface MeasuredOrder {
  readonly sampler: string;
  readonly schedule: string;
  readonly of: "end points" | "variance";
  readonly order: Estimate;
  /** Of the sampler's theory; weak order for one that draws noise. */
  readonly theory: number;
}

export interface DiscretisationAudit {
  readonly kind: "discretisation-audit";
  readonly samples: number;
  readonly seed: string;
  readonly process: string;
  readonly from: number;
  readonly to: number;
  /** What as many exact draws give. */
  readonly floor: { readonly slicedWasserstein: Estimate };
  readonly cells: readonly AuditCell[];
  readonly orders: readonly MeasuredOrder[];
}

const optionNames: readonly string[] = [
  "samplers", "schedules", "steps", "samples", "seed", "from", "to", "referenceSteps", ...runOptionNames,
];

/**
 * Compares samplers, schedules and numbers of steps with the exact law.
 * @throws RegimesError E_OPTION, E_DOMAIN.
 */
export async function discretisationAudit(field: Field, options: DiscretisationAuditOptions): Promise<DiscretisationAudit> {
  checkOptionNames("discretisationAudit", options, optionNames);
  const { schedules = ["log-snr"], samples, seed, from, to, signal, threads, onProgress } = options;
  for (const name of ["samplers", "steps"] as const) {
    const given = options[name];
    if (!Array.isArray(given) || given.length === 0) {
      throw new RegimesError("E_OPTION", `${name} is ${String(given)}, need an array of at least one`);
    }
  }
  if (!Number.isSafeInteger(samples) || samples < 2) {
    throw new RegimesError("E_OPTION", `samples is ${String(samples)}, need a whole number >= 2`);
  }
  const run: RunOptions = { signal, threads };
  const { target, process } = field;
  const [first, last] = reverseGrid(process, { steps: 1, from, to }) as [Node, Node];
  const steps = [...options.steps].sort((one, other) => one - other);
  const { referenceSteps = Math.max(512, 8 * steps.at(-1)!) } = options;
  const law = target.mixture === null ? target : noised(target.mixture, last);
  try {
    const sliced = await measureOf(law, { measure: "sliced-wasserstein", seed }, run);
    const setting: Setting = { field, options, run, first, last, sliced, ...(await momentsAt(target, last, run)) };
    const cells: AuditCell[] = [];
    const orders: MeasuredOrder[] = [];
    let done = 0;
    const total = schedules.length * options.samplers.length * steps.length;
    for (const schedule of schedules) {
      const deterministic = options.samplers.some((choice) => !drawsNoise(choice));
      const reference = deterministic ? await referenceRun(setting, schedule, referenceSteps) : null;
      for (const choice of options.samplers) {
        const own: AuditCell[] = [];
        for (const count of steps) {
          own.push(await measureCell(setting, choice, schedule, count, reference));
          onProgress?.(++done / total);
        }
        cells.push(...own);
        orders.push(orderOf(choice, own, reference));
      }
    }
    const floor = { slicedWasserstein: await floorOf(sliced, law, samples, seedOf(seed), run) };
    const setup = { samples, seed: String(seedOf(seed)), process: process.name, from: first.t, to: last.t };
    return { kind: "discretisation-audit", ...setup, floor, cells, orders };
  } finally {
    if (law !== target) law.dispose();
  }
}

interface Setting {
  readonly field: Field;
  readonly options: DiscretisationAuditOptions;
  readonly run: RunOptions;
  readonly first: Node;
  readonly last: Node;
  readonly sliced: Measure;
  /** Mean [d] and total variance of p_to. */
  readonly mean: Float64Array;
  readonly variance: number;
}

interface Reference {
  readonly ends: Float64Array;
  /** Root mean square error per coordinate, from half as many steps (Richardson). */
  readonly error: number;
}

type AuditSchedule = Exclude<Schedule, ArrayLike<number>>;

/** The mixture at noise level (a, b): means a m_k, covariances a^2 C_k + b^2 I. */
function noised({ weights, means, covariances }: Mixture, { a, b }: Node): Target {
  const [k, d] = means.shape as [number, number];
  const widen = (values: Float64Array): Float64Array => values.map((value) => a * a * value + b * b);
  const moved = { data: means.data.map((value) => a * value), shape: [k, d] };
  const given = weights === null ? {} : { weights };
  switch (covariances.type) {
    case "spherical":
    case "diagonal":
      return gaussianMixture({ ...given, means: moved, covariances: { type: covariances.type, variances: widen(covariances.variances) } });
    case "full": {
      const matrices = covariances.matrices.map((value, at) => a * a * value + (at % (d * d) % (d + 1) === 0 ? b * b : 0));
      return gaussianMixture({ ...given, means: moved, covariances: { type: "full", matrices } });
    }
    case "low-rank": {
      const factors = { data: covariances.factors.map((value) => a * value), shape: [k, d, covariances.rank] };
      const diagonals = widen(covariances.diagonals);
      return gaussianMixture({ ...given, means: moved, covariances: { type: "low-rank", diagonals, factors } });
    }
  }
}

/** Of p_to as a law: for data the covariance is that of the measure, not its unbiased estimate. */
async function momentsAt(target: Target, { a, b }: Node, run: RunOptions): Promise<Pick<Setting, "mean" | "variance">> {
  const { mean, trace } = await target.spectrum({ count: 1, ...run });
  const spread = target.weights === null ? 1 / target.n : target.weights.reduce((sum, weight) => sum + weight * weight, 0);
  const own = target.kind === "points" ? trace * (1 - spread) : trace;
  return { mean: mean.map((value) => a * value), variance: a * a * own + b * b * target.d };
}

function simulate(
  { field, options, run, first, last }: Setting,
  choice: SamplerChoice,
  schedule: AuditSchedule,
  steps: number,
  observed: boolean,
): Promise<ReverseRun> {
  const { samples: count, seed } = options;
  const { classes, kind } = field.target;
  const observe = [
    ...(classes > 1 ? (["classWeights"] as const) : []),
    ...(kind === "points" ? (["states", "denoised", "nearest", "sumSquares", "logDensity"] as const) : []),
  ];
  const record = observed ? { record: { every: steps, observe } } : {};
  const grid = { schedule, steps, from: first.t, to: last.t };
  return sampleReverse(field, { ...parametersOf(choice), ...grid, start: "marginal", count, seed, ...record, ...run });
}

async function referenceRun(setting: Setting, schedule: AuditSchedule, steps: number): Promise<Reference> {
  const fine = (await simulate(setting, "heun", schedule, steps, false)).samples;
  const coarse = (await simulate(setting, "heun", schedule, Math.ceil(steps / 2), false)).samples;
  const mean = meanOf(distances(fine.data, coarse.data, setting.field.d));
  return { ends: fine.data, error: Math.sqrt(mean) / 3 };
}

async function measureCell(
  setting: Setting,
  choice: SamplerChoice,
  schedule: AuditSchedule,
  steps: number,
  reference: Reference | null,
): Promise<AuditCell> {
  const { field, sliced, run } = setting;
  const { target, d } = field;
  const outcome = await simulate(setting, choice, schedule, steps, true);
  const { data } = outcome.samples;
  const count = outcome.samples.shape[0];
  const noisy = drawsNoise(choice);
  const { denoised, nearest, classWeights } = outcome.observed;
  const ends = denoised === undefined ? outcome.samples : { data: denoised.data.slice(count * d), shape: [count, d] };
  const weights = nearest?.weight.data.subarray(count);
  return {
    sampler: nameOf(choice),
    schedule: typeof schedule === "string" ? schedule : `karras ${schedule.karras}`,
    steps,
    evaluations: outcome.evaluations,
    ...momentErrors(data, count, setting),
    slicedWasserstein: estimateOf(await sliced.of(ends, run)),
    classErrors: classWeights === undefined ? null : classErrors(classWeights.data.subarray(count * target.classes), count, target),
    endPointError: noisy || reference === null ? null : rootMeanSquare(distances(data, reference.ends, d)),
    onDatum: weights === undefined ? null : meanEstimate(weights.map((weight) => (weight >= 0.99 ? 1 : 0)), { range: [0, 1] }),
    endWeightError: noisy && target.kind === "points" ? endWeightError(outcome, setting, count) : null,
  };
}

function momentErrors(
  x: Float64Array,
  count: number,
  { mean, variance, field: { d } }: Setting,
): Pick<AuditCell, "meanShift" | "varianceError"> {
  const squares = new Float64Array(count);
  const shift = new Float64Array(d);
  for (let r = 0; r < count; r++) {
    for (let j = 0; j < d; j++) {
      const offset = x[r * d + j]! - mean[j]!;
      squares[r]! += (offset * offset) / variance;
      shift[j]! += offset / count;
    }
  }
  // |mean offset|^2 holds tr C / N of noise; its own error from the projections on it, and from that noise (at most tr C / N again).
  const length = shift.reduce((sum, value) => sum + value * value, 0) / variance;
  const spread = (meanOf(squares) - length) / (count - 1);
  const along = new Float64Array(count);
  for (let r = 0; r < count; r++) for (let j = 0; j < d; j++) along[r]! += ((x[r * d + j]! - mean[j]!) * shift[j]!) / variance;
  const slope = meanEstimate(along).standardError!;
  return {
    meanShift: withInterval(length - spread, Math.hypot(2 * slope, Math.SQRT2 * spread)),
    varianceError: meanEstimate(squares.map((value) => value - 1)),
  };
}

function classErrors(weights: Float64Array, count: number, { classes, classFractions }: Target): Estimate[] {
  const errorsOf = (c: number): Float64Array => Float64Array.from({ length: count }, (_, r) => weights[r * classes + c]! - classFractions![c]!);
  return Array.from({ length: classes }, (_, c) => meanEstimate(errorsOf(c)));
}

/** w_end(x_from) from the log density at the start, record 0; the end is the heaviest datum at the last record. */
function endWeightError({ observed }: ReverseRun, { field: { target, d }, first: { a, b } }: Setting, count: number): Estimate {
  const ends = observed.nearest!.index.data.subarray(count);
  const differences = new Float64Array(count);
  for (let r = 0; r < count; r++) {
    const i = ends[r]!;
    const y = target.dataset!.rows(i, i + 1).data;
    let square = 0;
    for (let j = 0; j < d; j++) square += (observed.states!.data[r * d + j]! - a * y[j]!) ** 2;
    const logLikelihood = -square / (2 * b * b) - (d / 2) * Math.log(2 * Math.PI * b * b);
    const logWeight = Math.log(target.weights?.[i] ?? 1 / target.n) + logLikelihood - observed.logDensity!.data[r]!;
    differences[r] = Math.exp(logWeight) - observed.sumSquares!.data[r]!;
  }
  return meanEstimate(differences);
}

/** Mean squared difference per coordinate of each row. */
function distances(x: Float64Array, y: Float64Array, d: number): Float64Array {
  return Float64Array.from({ length: x.length / d }, (_, r) => {
    let sum = 0;
    for (let j = r * d; j < (r + 1) * d; j++) sum += (x[j]! - y[j]!) ** 2;
    return sum / d;
  });
}

function meanOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function rootMeanSquare(squares: Float64Array): Estimate {
  const { value, standardError } = meanEstimate(squares);
  const root = Math.sqrt(value!);
  return withInterval(root, root > 0 ? standardError! / (2 * root) : 0, { range: [0, Infinity] });
}

/** Errors below 10 times that of the reference, or below 3 of their standard errors, say nothing of the order. */
function orderOf(choice: SamplerChoice, cells: readonly AuditCell[], reference: Reference | null): MeasuredOrder {
  const { sampler, schedule } = cells[0]!;
  const noisy = drawsNoise(choice);
  const resolved = cells.flatMap(({ steps, endPointError, varianceError }) => {
    const error = noisy ? varianceError : endPointError!;
    const size = Math.abs(error.value!);
    const least = Math.max(3 * error.standardError!, noisy ? 0 : 10 * reference!.error);
    return size > least ? [{ x: -Math.log(steps), y: Math.log(size), weight: (size / error.standardError!) ** 2 }] : [];
  });
  const theory = samplers[parametersOf(choice).sampler].order;
  return { sampler, schedule, of: noisy ? "variance" : "end points", order: slope(resolved.slice(-3)), theory };
}

/** Weighted least squares. */
function slope(points: readonly { readonly x: number; readonly y: number; readonly weight: number }[]): Estimate {
  if (points.length < 2) {
    return unavailable(`the error is resolved at ${points.length} numbers of steps, an order needs 2: fewer steps, or more samples`);
  }
  const total = points.reduce((sum, { weight }) => sum + weight, 0);
  const centre = points.reduce((sum, { x, weight }) => sum + (weight * x) / total, 0);
  const spread = points.reduce((sum, { x, weight }) => sum + weight * (x - centre) ** 2, 0);
  const product = points.reduce((sum, { x, y, weight }) => sum + weight * (x - centre) * y, 0);
  return withInterval(product / spread, 1 / Math.sqrt(spread));
}
