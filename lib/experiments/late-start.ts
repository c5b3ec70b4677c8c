/**
 * Late start (Raya and Ambrogioni 2023): the quality of samples against the time at which the reverse process begins, for a number of
 * denoising steps that stays the same. Until the first bifurcation the marginals are nearly Gaussian and nothing is lost by a start
 * there; past it a start from N(0, I), and later one from the data's mean and covariance (Gaussian late start), has lost what the paths
 * chose.
 *
 * A run of `steps` denoising steps goes through `steps` noise levels, from the start down to `to`, and ends with the denoised mean of
 * the last one. Draws are the same for all start times, so that differences along a curve are sharper than the values.
 *
 * The Frechet distance knows two moments, which a Gaussian start has right: of a smooth target (a mixture) it cannot tell a Gaussian
 * start at t = 0 from the truth. The sliced Wasserstein distance can; it is reported beside it, or is the measure itself when asked for.
 */
import { RegimesError, checkChoice, checkOptionNames } from "../errors.js";
import type { NdArray } from "../array.js";
import { bootstrap, drawsAt, meanEstimate, moments, percentileInterval, unavailable, type Estimate } from "../estimate.js";
import { diffuse, type Field } from "../field.js";
import { runOptionNames, seedOf, type RunOptions } from "../native.js";
import type { DiscreteProcess, Process } from "../process.js";
import { estimateOf, floorOf, measureOf, measureOptionNames, memorisationRatio, type Measure, type MeasureOptions } from "../quality.js";
import { gaussianOf, reverseGrid, sampleReverse, type GridOptions, type Start } from "../sampler.js";
import { sdeInstabilityTime, spectralSpeciationTime } from "../theory.js";
import type { Target } from "../target.js";
import { nameOf, parametersOf, type SamplerChoice } from "./sampler-choice.js";

const gridNames = ["process", "log-snr", "ou-time", "sigma", "karras", "raya-ambrogioni"] as const;

/** "standard": N(0, I) (`Start`); "gaussian": the mean and covariance of the noised data; or the latter with less of its covariance. */
export type StartLaw = "standard" | "gaussian" | Extract<Start, { readonly law: string }>;

export interface LateStartOptions extends RunOptions, MeasureOptions {
  readonly samplers: readonly SamplerChoice[];
  /** Denoising steps of every run: evaluations of the score for samplers that need one per step. */
  readonly steps: number;
  /** Start times in the process's clock, or how many of them, evenly spaced up to OU time 5 or the largest that the process reaches. */
  readonly starts: number | ArrayLike<number>;
  /** Default both. */
  readonly startLaws?: readonly StartLaw[] | undefined;
  /** Samples per start time. */
  readonly samples: number;
  /** Time of the last denoising step; default OU time 1e-3, or the smallest that the process reaches. */
  readonly to?: number | undefined;
  /**
   * How the steps lie between start and end, by default evenly in the process's clock. "raya-ambrogioni": their whole steps
   * linspace(0, start, steps) of a DDPM process, with `starts` that are steps.
   */
  readonly grid?: (typeof gridNames)[number] | undefined;
}

/** Quality at one start time. */
export interface LateStartPoint {
  readonly t: number;
  readonly ouTime: number;
  /** Passes over the target per sample. */
  readonly evaluations: number;
  /** By the study's measure. */
  readonly distance: Estimate;
  /** Data units. */
  readonly slicedWasserstein: Estimate;
  /** Fraction of samples nearer to a datum than a third of the distance to the next; null for a mixture. */
  readonly memorised: Estimate | null;
}

export interface LateStartCurve {
  readonly sampler: string;
  readonly startLaw: string;
  /** By ascending start time. */
  readonly points: readonly LateStartPoint[];
  /** The start time with the smallest distance. */
  readonly best: { readonly t: number; readonly ouTime: number; readonly distance: Estimate };
  /** f'' of the distance at the interior start times. */
  readonly secondDifferences: readonly number[];
  /** The start time at which f'' is largest, with a bootstrap interval: an estimate of the first bifurcation time (their Fig. 4). */
  readonly bifurcation: { readonly t: Estimate; readonly ouTime: Estimate };
  /**
   * Is quality flat, and then lost? `until`: the latest start, so the smallest time, that is not significantly (two-sided 5 %) worse than
   * the full run; `spread`: the largest distance from there up over the smallest; `lost`: that at the smallest start time over that of the
   * full run.
   */
  readonly flat: { readonly until: number; readonly untilOuTime: number; readonly spread: number; readonly lost: number };
}

/** The best start of a law against the best start from N(0, I), same sampler and steps. */
export interface LateStartComparison {
  readonly sampler: string;
  readonly startLaw: string;
  /**
   * Least distance of this law less that of "standard": negative where this law is better. Bootstrap over draws, the choice of the best
   * included.
   */
  readonly difference: Estimate;
  /** difference / standard error. */
  readonly sigmas: number | null;
  readonly verdict: "better" | "worse" | "tie";
}

export interface LateStartStudy {
  readonly kind: "late-start";
  readonly measure: string;
  readonly steps: number;
  readonly samples: number;
  readonly seed: string;
  readonly process: string;
  readonly grid: string;
  /** Time of the last denoising step, in the process's clock. */
  readonly to: number;
  readonly starts: readonly number[];
  readonly ouTimes: readonly number[];
  /** What as many draws of the target itself give. */
  readonly floor: { readonly distance: Estimate; readonly slicedWasserstein: Estimate };
  /**
   * OU times at which theory expects the first bifurcation, from the top eigenvalue Lambda of the target's covariance: speciation
   * 1/2 log Lambda, and 1/2 asinh Lambda, the loss of stability of the reverse drift were all of Lambda the posterior variance at the
   * centre.
   */
  readonly expected: { readonly topVariance: number; readonly speciation: number | null; readonly drift: number | null };
  readonly curves: readonly LateStartCurve[];
  readonly comparisons: readonly LateStartComparison[];
}

const optionNames: readonly string[] = [
  "samplers", "steps", "starts", "startLaws", "samples", "to", "grid", "seed", ...measureOptionNames, ...runOptionNames,
];

/**
 * Quality against start time.
 * @throws RegimesError E_OPTION, E_DOMAIN for start times that the process does not reach or that are not above `to`; E_SHAPE.
 */
export async function lateStart(field: Field, options: LateStartOptions): Promise<LateStartStudy> {
  checkOptionNames("lateStart", options, optionNames);
  const plan = checkPlan(field, options);
  const { target, process } = field;
  const { signal, threads, seed, onProgress, samples } = options;
  const run: RunOptions = { signal, threads };
  const spectrum = await target.spectrum({ count: 1, ...run });
  const measure = await measureOf(target, options, run);
  const sliced = await measureOf(target, { measure: "sliced-wasserstein", seed }, run);
  const floor = {
    distance: await floorOf(measure, target, samples, seedOf(seed), run),
    slicedWasserstein: await floorOf(sliced, target, samples, seedOf(seed), run),
  };
  const curves: (LateStartCurve & { readonly matrix: NdArray })[] = [];
  const total = plan.samplers.length * plan.laws.length * plan.starts.length;
  let done = 0;
  for (const law of plan.laws) {
    const gaussian = law === "standard" ? null : await gaussianOf(target, covarianceOf(law), run);
    try {
      for (const choice of plan.samplers) {
        const points: LateStartPoint[] = [];
        const rows: Float64Array[] = [];
        for (const t of plan.starts) {
          const outcome = await measureStart(field, gaussian, choice, { t, schedule: plan.scheduleFrom(t), options, run, measure, sliced });
          points.push(outcome.point);
          rows.push(outcome.draws);
          onProgress?.(++done / total);
        }
        const matrix = stacked(rows);
        curves.push({ sampler: nameOf(choice), startLaw: lawName(law), matrix, ...readCurve(points, matrix, process, seed) });
      }
    } finally {
      gaussian?.dispose();
    }
  }
  const top = spectrum.eigenvalues[0]!;
  return {
    kind: "late-start",
    measure: measure.name,
    steps: options.steps,
    samples,
    seed: String(seedOf(seed)),
    process: process.name,
    grid: plan.grid,
    to: plan.to,
    starts: plan.starts,
    ouTimes: plan.starts.map((t) => process.ouTime(t)),
    floor,
    expected: { topVariance: top, speciation: spectralSpeciationTime(top), drift: sdeInstabilityTime(top) },
    curves: curves.map(({ sampler, startLaw, points, best, secondDifferences: bends, bifurcation, flat }) => ({ sampler, startLaw, points, best, secondDifferences: bends, bifurcation, flat })),
    comparisons: compareLaws(curves, seed),
  };
}

/** Non-uniform second differences f''_i = 2 [(f_i+1 - f_i)/h_i - (f_i - f_i-1)/h_i-1] / (h_i + h_i-1) at the interior times. */
export function secondDifferences(times: ArrayLike<number>, values: ArrayLike<number>): number[] {
  return Array.from({ length: Math.max(0, times.length - 2) }, (_, k) => {
    const before = times[k + 1]! - times[k]!;
    const after = times[k + 2]! - times[k + 1]!;
    return (2 * ((values[k + 2]! - values[k + 1]!) / after - (values[k + 1]! - values[k]!) / before)) / (before + after);
  });
}

/** Interior index of the largest second difference; null of fewer than three times. */
export function sharpestBend(times: ArrayLike<number>, values: ArrayLike<number>): number | null {
  const bends = secondDifferences(times, values);
  return bends.length === 0 ? null : 1 + bends.indexOf(Math.max(...bends));
}

// ---- one start time -----------------------------------------------------------------------------------------------------------

interface StartRun {
  readonly t: number;
  readonly schedule: Pick<GridOptions, "schedule" | "steps" | "from" | "to">;
  readonly options: LateStartOptions;
  readonly run: RunOptions;
  readonly measure: Measure;
  readonly sliced: Measure;
}

async function measureStart(
  field: Field,
  gaussian: Target | null,
  choice: SamplerChoice,
  start: StartRun,
): Promise<{ readonly point: LateStartPoint; readonly draws: Float64Array }> {
  const { t, schedule, options, run, measure, sliced } = start;
  const { samples: count, seed } = options;
  const from = gaussian === null ? "standard" : await diffuse(gaussian, field.process).sample(t, { count, seed, ...run });
  const setting = { ...parametersOf(choice), ...schedule, ...run, count, seed, start: from, end: "denoised" } as const;
  const { samples, evaluations } = await sampleReverse(field, setting);
  const measured = await measure.of(samples, run);
  const memorised = field.target.dataset === null ? null : (await memorisationRatio(samples, field.target, run)).fraction;
  const slicedWasserstein = estimateOf(await sliced.of(samples, run));
  return {
    point: { t, ouTime: field.process.ouTime(t), evaluations, distance: estimateOf(measured), slicedWasserstein, memorised },
    draws: measured.influence.map((change) => measured.value + change),
  };
}

// ---- reading curves -----------------------------------------------------------------------------------------------------------

function readCurve(
  points: readonly LateStartPoint[],
  matrix: NdArray,
  process: Process,
  seed: number | bigint,
): Omit<LateStartCurve, "sampler" | "startLaw"> {
  const times = points.map(({ t }) => t);
  const values = points.map(({ distance }) => distance.value!);
  const least = values.indexOf(Math.min(...values));
  const { t, ouTime, distance } = points[least]!;
  return {
    points,
    best: { t, ouTime, distance },
    secondDifferences: secondDifferences(times, values),
    bifurcation: bifurcationOf(times, values, matrix, process, seed),
    flat: flatness(points, values, matrix),
  };
}

function bifurcationOf(
  times: readonly number[],
  values: readonly number[],
  matrix: NdArray,
  process: Process,
  seed: number | bigint,
): LateStartCurve["bifurcation"] {
  const place = sharpestBend(times, values);
  if (place === null) {
    const none = unavailable(`${times.length} start times have no second difference: ask for 3 or more`);
    return { t: none, ouTime: none };
  }
  const { values: resampled } = bootstrap(blocks(matrix), (means) => times[sharpestBend(times, means)!]!, { seed });
  const inClock = (clock: (t: number) => number): Estimate => bootstrapped(clock(times[place]!), resampled.map(clock));
  return { t: inClock((t) => t), ouTime: inClock((t) => process.ouTime(t)) };
}

function stacked(rows: readonly Float64Array[]): NdArray {
  const draws = rows[0]!.length;
  const data = new Float64Array(rows.length * draws);
  rows.forEach((row, k) => data.set(row, k * draws));
  return { data, shape: [rows.length, draws] };
}

/**
 * Means over at most 250 blocks of draws: they resample in a millisecond what draws would in a hundred. Up to a block of draws is left
 * out.
 */
function blocks(matrix: NdArray): NdArray {
  const size = Math.ceil(matrix.shape[1]! / 250);
  const count = Math.floor(matrix.shape[1]! / size);
  const meanOf = (draws: Float64Array): number => draws.reduce((sum, value) => sum + value, 0) / draws.length;
  const meansOf = (row: Float64Array): Float64Array =>
    Float64Array.from({ length: count }, (_, block) => meanOf(row.subarray(block * size, (block + 1) * size)));
  return stacked(Array.from({ length: matrix.shape[0]! }, (_, k) => meansOf(drawsAt(matrix, k))));
}

/** `resampled` ascending. */
function bootstrapped(value: number, resampled: Float64Array): Estimate {
  return { value, standardError: moments(resampled).deviation, ci95: percentileInterval(resampled), status: "ok" };
}

function flatness(points: readonly LateStartPoint[], values: readonly number[], matrix: NdArray): LateStartCurve["flat"] {
  const last = points.length - 1;
  const full = drawsAt(matrix, last);
  const loss = (k: number): Estimate => meanEstimate(drawsAt(matrix, k).map((value, r) => value - full[r]!));
  const first = points.findIndex((_, k) => k === last || loss(k).ci95![0] <= 0);
  const along = values.slice(first);
  const { t: until, ouTime: untilOuTime } = points[first]!;
  return { until, untilOuTime, spread: Math.max(...along) / Math.min(...along), lost: values[0]! / values[last]! };
}

function compareLaws(curves: readonly (LateStartCurve & { readonly matrix: NdArray })[], seed: number | bigint): LateStartComparison[] {
  return curves.flatMap((curve) => {
    const standard = curves.find(({ sampler, startLaw }) => startLaw === "standard" && sampler === curve.sampler);
    if (standard === undefined || standard === curve) return [];
    const starts = curve.points.length;
    const both = stacked([curve.matrix, standard.matrix].flatMap((matrix) => curve.points.map((_, k) => drawsAt(matrix, k))));
    const gain = (means: Float64Array): number => Math.min(...means.subarray(0, starts)) - Math.min(...means.subarray(starts));
    const value = curve.best.distance.value! - standard.best.distance.value!;
    const difference = bootstrapped(value, bootstrap(blocks(both), gain, { seed }).values);
    const { standardError, ci95 } = difference;
    const verdict = ci95![1] < 0 ? "better" : ci95![0] > 0 ? "worse" : "tie";
    const sigmas = standardError! > 0 ? value / standardError! : null;
    return [{ sampler: curve.sampler, startLaw: curve.startLaw, difference, sigmas, verdict } as const];
  });
}

// ---- the plan -----------------------------------------------------------------------------------------------------------------

interface Plan {
  readonly samplers: readonly SamplerChoice[];
  readonly laws: readonly StartLaw[];
  readonly starts: readonly number[];
  readonly to: number;
  readonly grid: string;
  scheduleFrom(t: number): StartRun["schedule"];
}

function checkPlan({ process }: Field, options: LateStartOptions): Plan {
  const { samplers, startLaws = ["standard", "gaussian"], steps, samples } = options;
  for (const [name, given] of Object.entries({ samplers, startLaws })) {
    if (!Array.isArray(given) || given.length === 0) {
      throw new RegimesError("E_OPTION", `${name} is ${String(given)}, need an array of at least one`);
    }
  }
  for (const law of startLaws) checkChoice("startLaws", typeof law === "string" ? law : law.law, ["standard", "gaussian"]);
  whole("steps", steps, 2);
  whole("samples", samples, 2);
  const grid = checkChoice("grid", options.grid ?? "process", gridNames);
  if (grid === "raya-ambrogioni") return { samplers, laws: startLaws, grid, to: 0, ...wholeSteps(process, options) };
  const to = options.to ?? process.timeAt(Math.max(1e-3, process.ouRange[0]));
  const end = process.timeAt(Math.min(5, process.ouRange[1]));
  const starts = startTimes(options.starts, (k, count) => to + ((end - to) * k) / count);
  for (const from of starts) reverseGrid(process, { schedule: grid, from, to, steps: 1 });
  return { samplers, laws: startLaws, grid, to, starts, scheduleFrom: (from) => ({ schedule: grid, steps: steps - 1, from, to }) };
}

/** linspace(0, start, steps, dtype=int) of Raya and Ambrogioni's code, from above. */
function wholeSteps(process: Process, { steps, starts, to }: LateStartOptions): Pick<Plan, "starts" | "scheduleFrom"> {
  const betas = (process as DiscreteProcess).betas as Float64Array | undefined;
  if (betas === undefined || to !== undefined) {
    throw new RegimesError("E_OPTION", 'the grid "raya-ambrogioni" needs a process ddpm(), and goes to its step 0');
  }
  const times = startTimes(starts, (k, count) => Math.round(((betas.length - 1) * k) / count));
  const bad = times.find((t) => !Number.isSafeInteger(t) || t < steps - 1);
  if (bad !== undefined) throw new RegimesError("E_OPTION", `start ${bad}: need a whole step, at least steps - 1 = ${steps - 1}`);
  const linspace = (from: number): number[] => Array.from({ length: steps }, (_, i) => Math.floor((from * (steps - 1 - i)) / (steps - 1)));
  return { starts: times, scheduleFrom: (from) => ({ schedule: linspace(from) }) };
}

function startTimes(starts: LateStartOptions["starts"], nth: (k: number, count: number) => number): number[] {
  if (typeof starts === "number") return Array.from({ length: whole("starts", starts, 1) }, (_, k) => nth(k + 1, starts));
  const times = Array.from(starts ?? []).sort((one, other) => one - other);
  if (times.length === 0) throw new RegimesError("E_OPTION", "starts: need a number of start times, or times");
  return times;
}

function whole(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new RegimesError("E_OPTION", `${name} is ${String(value)}, need a whole number >= ${least}`);
}

/** How much of the covariance a law keeps, as `gaussianOf` takes it. */
function covarianceOf(law: Exclude<StartLaw, "standard">): Parameters<typeof gaussianOf>[1] {
  if (typeof law === "string") return {};
  const { covariance, rank } = law;
  return { ...(covariance === undefined ? {} : { covariance }), ...(rank === undefined ? {} : { rank }) };
}

function lawName(law: StartLaw): string {
  return typeof law === "string" ? law : [law.law, law.covariance, law.rank].filter((part) => part !== undefined).join(" ");
}
