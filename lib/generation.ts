/**
 * The generative process watched from outside: reverse trajectories seen along the widest direction of the data, when each chose its
 * class and when it fell onto its datum, beside the two transitions that theory and averages give for the same field.
 */
import { RegimesError, checkOptionNames } from "./errors.js";
import type { Field } from "./field.js";
import { collapseTime } from "./collapse.js";
import { runOptionNames } from "./native.js";
import { defaultTimes, regimes, type CriticalTime } from "./regimes.js";
import { sampleReverse, settledRecords, type ReverseRun, type SampleReverseOptions } from "./sampler.js";
import { speciationTime } from "./speciation.js";

/** Options of `generation`: those of `sampleReverse`, and how often and how much is kept. */
export interface GenerationOptions extends Omit<SampleReverseOptions, "record" | "end"> {
  /** Steps between two records, default about 60 records in all. */
  readonly every?: number | undefined;
  /** Trajectories whose whole states are kept, default 8. */
  readonly watched?: number | undefined;
  /** Forward draws behind the two critical times, default 400. */
  readonly draws?: number | undefined;
}

/** What `generation` returns. Arrays over records are noisiest first. */
export interface Generation {
  readonly run: ReverseRun;
  /** x . u along the unit leading eigenvector u of the data covariance, [records][count]. */
  readonly projection: readonly Float64Array[];
  /** Index of the class with the largest posterior weight at the end, per trajectory; null without classes. */
  readonly classOf: Int32Array | null;
  /** Values of the classes: labels, or component numbers of a mixture. */
  readonly classValues: readonly number[] | null;
  /** OU time of the first record from which on the heaviest class is that of the end; the first time of all where it never changed. */
  readonly classSettled: Float64Array | null;
  /** The same of the nearest component: the trajectory criterion of collapse (Biroli et al. 2024), at the resolution of the records. */
  readonly nearestSettled: Float64Array;
  /** Component nearest at the end, and its weight. */
  readonly nearest: { readonly index: Int32Array; readonly weight: Float64Array };
  /** States of the first trajectories, [records, watched, d]. */
  readonly watched: NonNullable<ReverseRun["observed"]["states"]>;
  /** [height, width] where rows are images. */
  readonly imageShape: readonly [number, number] | null;
  readonly speciation: CriticalTime;
  /** Null for a mixture, which has no data to fall onto. */
  readonly collapse: CriticalTime | null;
}

/**
 * Samples `count` trajectories and watches them. The critical times are estimated from the field itself, not from the trajectories.
 * @throws RegimesError as `sampleReverse`.
 */
export async function generation(field: Field, options: GenerationOptions): Promise<Generation> {
  const { every, watched = 8, draws = 400, ...sampling } = options;
  if (!Number.isSafeInteger(watched) || watched < 1) throw new RegimesError("E_OPTION", `watched is ${watched}, need a whole number >= 1`);
  checkOptionNames("generation", sampling, generationOptionNames);
  const { target } = field;
  const { signal, threads, onProgress } = options;
  const quiet = { signal, threads };
  const { vectors } = await target.spectrum({ count: 1, ...quiet });
  const stride = every ?? Math.max(1, Math.round(stepsOf(options) / 60));
  const observe = target.classes > 0 ? (["projections", "nearest", "classWeights"] as const) : (["projections", "nearest"] as const);
  const run = await sampleReverse(field, { ...sampling, record: { every: stride, observe, directions: vectors } });
  const few = { ...sampling, count: Math.min(watched, options.count), start: startOf(options, watched, field.d), onProgress: undefined };
  const states = await sampleReverse(field, { ...few, record: { every: stride, observe: ["states"] } });
  const { projections, nearest, classWeights } = run.observed;
  const records = run.times.length;
  const { count } = options;
  const heaviest = classWeights === undefined ? null : largest(classWeights.data, records * count, target.classes);
  const last = (records - 1) * count;
  const settled = (index: Int32Array): Float64Array => Float64Array.from(settledRecords(index, count), (record) => run.ouTimes[record]!);
  const times = await defaultTimes(field, quiet);
  const curves = await regimes(field, { times, draws, seed: options.seed, ...quiet });
  const criterion = target.classes > 1 ? "cloning" : "spectral";
  onProgress?.(1);
  return {
    run,
    projection: Array.from({ length: records }, (_, r) => projections!.data.subarray(r * count, (r + 1) * count)),
    classOf: heaviest?.slice(last) ?? null,
    classValues: target.classes === 0 ? null : Array.from(target.dataset?.classValues ?? Int32Array.from({ length: target.classes }, (_, k) => k)),
    classSettled: heaviest === null ? null : settled(heaviest),
    nearestSettled: settled(nearest!.index.data),
    nearest: { index: nearest!.index.data.slice(last), weight: nearest!.weight.data.slice(last) },
    watched: states.observed.states!,
    imageShape: target.dataset?.imageShape ?? null,
    speciation: await speciationTime(field, { criterion, seed: options.seed, ...(criterion === "cloning" ? { curves } : {}), ...quiet }),
    collapse: target.kind === "mixture" ? null : await collapseTime(field, { criterion: "excess-entropy", curves, ...quiet }),
  };
}

const generationOptionNames: readonly string[] = [
  "sampler", "count", "seed", "firstTrajectory", "start", "precision", "batch", "carry", "reduce",
  "steps", "from", "to", "schedule", "eta", "variance", "churn", "corrector", "tolerance", ...runOptionNames,
];

function stepsOf({ steps, schedule }: GenerationOptions): number {
  if (steps !== undefined) return steps;
  return typeof schedule === "object" && "length" in schedule ? schedule.length - 1 : 1;
}

/** Given states of the first trajectories; laws stay as they are. */
function startOf({ start }: GenerationOptions, watched: number, d: number): SampleReverseOptions["start"] {
  if (typeof start !== "object" || !("data" in start)) return start;
  if (start.shape.length === 1) return start;
  return { data: start.data, shape: [Math.min(watched, start.shape[0]!), d], strides: start.strides ?? [d, 1] };
}

function largest(weights: Float64Array, places: number, classes: number): Int32Array {
  return Int32Array.from({ length: places }, (_, place) => {
    let best = 0;
    for (let c = 1; c < classes; c++) if (weights[place * classes + c]! > weights[place * classes + best]!) best = c;
    return best;
  });
}
