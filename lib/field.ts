/**
 * The diffused field p_t of a target under a forward process, x_t = a x_0 + b z: exact readings of the posterior of the components
 * given x_t = x, forward draws, and coupled draws at all times. Every reading follows from one pass over the components:
 *   l_i(x) = log pi_i - |x - a y_i|^2 / (2 b^2),   w = softmax(l),   log p_t(x) = logsumexp(l) - d/2 log(2 pi b^2)
 * (Gaussian components: with S_k = a^2 C_k + b^2 I in place of b^2 I).
 */
import type { NdArray, PointsInput } from "./array.js";
import { RegimesError, checkChoice, checkOptionNames } from "./errors.js";
import {
  native,
  nativePaths,
  pathNames,
  runJob,
  runOptionNames,
  seedOf,
  threadsOf,
  type NativePosteriorReading,
  type NativePosteriorResult,
  type NativePrecision,
  type NativeSweepReading,
  type RunOptions,
} from "./native.js";
import { leaveCopy, takeRows } from "./native/rows.js";
import type { Marginal, Process } from "./process.js";
import type { Target } from "./target.js";

/**
 * How exact a result has to be. "float64": every difference and sum in float64. "exact" (default): score within 1e-5 of
 * (|x| + a |denoised|) / b^2, log density within 1e-4 nat, at every noise level. "fast": approximate, 1e-2, answered like "exact"
 * today. `errorBound` holds for what was done, `meta.path` says what that was.
 */
export type Precision = NativePrecision;

const precisions: readonly Precision[] = ["exact", "float64", "fast"];

/**
 * How a query was answered. "float64": all components, differences in float64. "refined": the same arithmetic over the survivors of a
 * screening with rigorous bounds, which leaves out less than 2^-53 of the posterior mass. "dense": all components, products in split
 * or single precision. The choice is a function of the query, the data and the readings asked for.
 */
export type Path = (typeof nativePaths)[number];

/** What a result was made with. */
export interface Meta {
  readonly version: string;
  /** Backend, e.g. "cpu-avx512", and why it was chosen. */
  readonly backend: string;
  readonly backendReason: string;
  /** The precision asked for and the arithmetic that answered: "mixed" when queries took different paths. */
  readonly precision: Precision;
  readonly path: Path | "mixed";
  /** Bytes that the target holds beside its rows or components, to answer faster: built by the first call that gains by it, 0 before. */
  readonly memory: number;
  /** Decimal digits of the seed, null where nothing was drawn. */
  readonly seed: string | null;
  readonly threads: number;
  readonly wallMs: number;
}

/** Readings of the posterior at x; D = E[x_0 | x_t = x]. */
export type PosteriorReading =
  /** log p_t(x), nats, total over dimensions: [batch]. */
  | "logDensity"
  /** D, in data units: [batch, d]. */
  | "denoised"
  /** grad log p_t(x) = (a D - x) / b^2 (Robbins and Tweedie): [batch, d]. */
  | "score"
  /** H(w) = -sum w log w, nats, in [0, log n]: [batch]. */
  | "entropy"
  /** sum w^2, in [1/n, 1]: [batch]. */
  | "sumSquares"
  /** 1 / sum w^2, in [1, n]: [batch]. */
  | "effectiveCount"
  /** Heaviest component, the first of equals: {index, weight}, each [batch]. */
  | "nearest"
  /** p(c | x) for every class: [batch, classes]. */
  | "classWeights"
  /** tr Cov(x_0 | x), squared data units, >= 0: [batch]. */
  | "covarianceTrace"
  /** Cov(x_0 | x) u for the given `vectors`: [batch, d]. */
  | "covarianceProducts"
  /** (grad score) u = -u / b^2 + (a^2 / b^4) Cov u: [batch, d]. */
  | "scoreJacobianProducts"
  /** div score = -d / b^2 + (a^2 / b^4) tr Cov: [batch]. */
  | "divergence";

const readingNames: readonly PosteriorReading[] = [
  "logDensity",
  "denoised",
  "score",
  "entropy",
  "sumSquares",
  "effectiveCount",
  "nearest",
  "classWeights",
  "covarianceTrace",
  "covarianceProducts",
  "scoreJacobianProducts",
  "divergence",
];

const sweepReadingNames: readonly NativeSweepReading[] = ["logDensity", "entropy", "sumSquares", "ownLogWeight", "classSquares", "classEntropy"];

/** Options of `field.posterior`. */
export interface PosteriorOptions extends RunOptions {
  /** Time in the process's clock. */
  readonly t: number;
  /** Default ["logDensity", "score"]. */
  readonly readings?: readonly PosteriorReading[] | undefined;
  readonly precision?: Precision | undefined;
  /** Also return the `top` heaviest components, at most n. */
  readonly top?: number | undefined;
  /** One vector per query for the products, [batch, d]. */
  readonly vectors?: PointsInput | undefined;
}

/** Only the readings asked for are there; see `PosteriorReading` for shapes, units and ranges. */
export interface Posterior {
  readonly logDensity: Float64Array<ArrayBuffer>;
  readonly denoised: NdArray;
  readonly score: NdArray;
  readonly entropy: Float64Array<ArrayBuffer>;
  readonly sumSquares: Float64Array<ArrayBuffer>;
  readonly effectiveCount: Float64Array<ArrayBuffer>;
  readonly nearest: { readonly index: Int32Array<ArrayBuffer>; readonly weight: Float64Array<ArrayBuffer> };
  readonly classWeights: NdArray;
  readonly covarianceTrace: Float64Array<ArrayBuffer>;
  readonly covarianceProducts: NdArray;
  readonly scoreJacobianProducts: NdArray;
  readonly divergence: Float64Array<ArrayBuffer>;
  /** The `top` heaviest components, descending, ties by index: [batch, top] each. */
  readonly top: { readonly index: NdArray<Int32Array<ArrayBuffer>>; readonly weight: NdArray };
  /** Number of components that entered the sums of each query, n where none was left out: [batch]. Always there. */
  readonly survivors: Int32Array<ArrayBuffer>;
  /** How each query was answered: [batch]. Always there. */
  readonly paths: readonly Path[];
  readonly marginal: Marginal;
  readonly meta: Meta;
}

/**
 * Bounds on the errors of a result, per query and absolute, rigorous except on the dense path over data that are not bytes and over
 * mixtures, where float32 roundings count as independent (Higham and Mary 2019) and the bound is six standard deviations: nats for
 * `logDensity`, Euclidean norm for `score`, which is there when score or denoised was asked for. The (a, b) of the process count as exact.
 */
export type ErrorBound<R extends PosteriorReading> = { readonly logDensity: Float64Array<ArrayBuffer> } & ([
  Extract<R, "score" | "denoised">,
] extends [never]
  ? unknown
  : { readonly score: Float64Array<ArrayBuffer> });

/** What `field.posterior` returns: the readings asked for, the bounds, and what they were made with. */
export type PosteriorOf<R extends PosteriorReading> = Pick<Posterior, R | "top" | "survivors" | "paths" | "marginal" | "meta"> & { readonly errorBound: ErrorBound<R> };

/** Options of `field.sample`. */
export interface SampleOptions extends RunOptions {
  readonly count: number;
  /** Same seed, same draws: draw r depends on (seed, r) alone. */
  readonly seed: number | bigint;
  /** Number of the first draw, default 0: draws can be made in parts. */
  readonly first?: number | undefined;
}

/** Forward draws x_t = a x_0 + b z. */
export interface Samples {
  readonly data: Float64Array<ArrayBuffer>;
  readonly shape: readonly [count: number, d: number];
  /** The component each draw started from. */
  readonly components: Int32Array<ArrayBuffer>;
}

/** Options of `field.sweep`. */
export interface SweepOptions extends RunOptions {
  /** In the process's clock. */
  readonly times: ArrayLike<number>;
  readonly draws: number;
  readonly seed: number | bigint;
  readonly first?: number | undefined;
  readonly readings: readonly NativeSweepReading[];
  readonly precision?: Precision | undefined;
}

/** Readings along coupled draws, each [times, draws]: column r has the same x_0 and z at every time. */
export type Sweep = { readonly [reading in NativeSweepReading]?: NdArray } & {
  readonly components: Int32Array<ArrayBuffer>;
  readonly meta: Meta;
};

/** The diffused field of a target. Create one with `diffuse`. */
export interface Field {
  readonly target: Target;
  readonly process: Process;
  readonly n: number;
  readonly d: number;
  /** Forward draws at time t. @throws RegimesError E_DOMAIN, E_OPTION. */
  sample(t: number, options: SampleOptions): Promise<Samples>;
  /**
   * Exact readings at queries x [batch, d]. Results have the same bits for any number of threads and any split of the batch.
   * @throws RegimesError E_SHAPE, E_NONFINITE, E_RANGE, E_DETACHED for x; E_DOMAIN for t; E_OPTION; E_LABELS for class weights
   * without classes; E_NOT_PSD for a mixture's covariance.
   */
  posterior<R extends PosteriorReading = "logDensity" | "score">(
    x: PointsInput,
    options: PosteriorOptions & { readonly readings?: readonly R[] | undefined },
  ): Promise<PosteriorOf<R>>;
  /**
   * Readings along coupled forward draws at all times; for points the inner products that fix all times are computed once.
   * @throws RegimesError E_DOMAIN, E_OPTION, E_LABELS.
   */
  sweep(options: SweepOptions): Promise<Sweep>;
}

/** The field of `target` under `process`. @throws RegimesError E_OPTION for what is not a target or not a process. */
export function diffuse(target: Target, process: Process): Field {
  if (target?.kind !== "points" && target?.kind !== "mixture") {
    throw new RegimesError("E_OPTION", "diffuse needs a target: empirical(dataset) or gaussianMixture({...})");
  }
  if (typeof process?.marginal !== "function") {
    throw new RegimesError("E_OPTION", "diffuse needs a process as its second argument, such as ornsteinUhlenbeck()");
  }
  return new NativeField(target, process);
}

class NativeField implements Field {
  readonly target: Target;
  readonly process: Process;

  constructor(target: Target, process: Process) {
    this.target = target;
    this.process = process;
  }

  get n(): number {
    return this.target.n;
  }

  get d(): number {
    return this.target.d;
  }

  async sample(t: number, options: SampleOptions): Promise<Samples> {
    checkOptionNames("sample", options, ["count", "seed", "first", ...runOptionNames]);
    const { a, b } = marginalAt(this.process, t);
    const { count, first } = drawRange(options);
    const request = { a, b, seed: seedOf(options.seed), first, count };
    const result = await runJob(options, (addon, threads, progress) => addon.sample(this.target.handle, request, threads, progress));
    return { data: result.x, shape: [count, this.d], components: result.component };
  }

  async posterior<R extends PosteriorReading = "logDensity" | "score">(
    x: PointsInput,
    options: PosteriorOptions & { readonly readings?: readonly R[] | undefined },
  ): Promise<PosteriorOf<R>> {
    checkOptionNames("posterior", options, ["t", "readings", "precision", "top", "vectors", ...runOptionNames]);
    const started = performance.now();
    const { target, d } = this;
    const marginal = marginalAt(this.process, options.t);
    const readings: readonly PosteriorReading[] = options.readings ?? ["logDensity", "score"];
    checkReadings(readings, readingNames);
    const precision = checkChoice("precision", options.precision ?? "exact", precisions);
    const top = options.top ?? 0;
    if (!Number.isSafeInteger(top) || top < 0 || top > target.n) {
      throw new RegimesError("E_OPTION", `top is ${top}, need a whole number from 0 to n = ${target.n}`);
    }
    if (readings.includes("classWeights") && target.classes === 0) {
      throw new RegimesError("E_LABELS", "classWeights needs classes: pass labels to openDataset");
    }
    const { data, rows: batch, largest } = takeRows("x", x, d);
    checkRange(largest, target, marginal);
    const vectors = productVectors(readings, options, batch, d);
    const request = { ...marginal, x: data, batch, readings: nativeReadings(readings), top, vectors, precision };
    const result = await runJob(options, (addon, threads, progress) => addon.posterior(target.handle, request, threads, progress));
    leaveCopy(data);
    const paths = pathNames(result.path) as readonly Path[];
    const rows = (values: Float64Array<ArrayBuffer> | undefined, columns = d): NdArray | undefined =>
      values === undefined ? undefined : { data: values, shape: [batch, columns] };
    const all = {
      logDensity: result.logDensity,
      denoised: rows(result.denoised),
      score: rows(result.score),
      entropy: result.entropy,
      sumSquares: readings.includes("sumSquares") ? result.sumSquares : undefined,
      effectiveCount: readings.includes("effectiveCount") ? result.sumSquares?.map((sum) => 1 / sum) : undefined,
      nearest: result.nearestIndex === undefined ? undefined : { index: result.nearestIndex, weight: result.nearestWeight },
      classWeights: rows(result.classWeights, target.classes),
      covarianceTrace: result.covarianceTrace,
      covarianceProducts: rows(result.covarianceProducts),
      scoreJacobianProducts: rows(result.jacobianProducts),
      divergence: result.divergence,
      top: top === 0 ? undefined : { index: { data: result.topIndex, shape: [batch, top] }, weight: rows(result.topWeight, top) },
      errorBound: { logDensity: result.errorLogDensity, ...(result.errorScore === undefined ? {} : { score: result.errorScore }) },
      survivors: result.survivors,
      paths,
      marginal,
      meta: metaOf(started, options, precision, null, result),
    };
    const there = Object.entries(all).filter(([, value]) => value !== undefined);
    return Object.fromEntries(there) as unknown as PosteriorOf<R>;
  }

  async sweep(options: SweepOptions): Promise<Sweep> {
    checkOptionNames("sweep", options, ["times", "draws", "seed", "first", "readings", "precision", ...runOptionNames]);
    const started = performance.now();
    const precision = checkChoice("precision", options.precision ?? "exact", precisions);
    const { times } = options;
    const marginals = typeof times === "object" ? Array.from(times ?? [], (t) => marginalAt(this.process, t)) : [];
    if (marginals.length === 0) throw new RegimesError("E_DOMAIN", "sweep needs times: an array of at least one");
    for (const marginal of marginals) checkRange(0, this.target, marginal);
    const { count, first } = drawRange({ count: options.draws, first: options.first });
    const readings = options.readings ?? [];
    checkReadings(readings, sweepReadingNames);
    const ofClasses = readings.includes("classSquares") || readings.includes("classEntropy");
    if (ofClasses && this.target.classes === 0) throw new RegimesError("E_LABELS", "class readings need classes: pass labels to openDataset");
    const seed = seedOf(options.seed);
    const request = {
      a: Float64Array.from(marginals, ({ a }) => a),
      b: Float64Array.from(marginals, ({ b }) => b),
      seed,
      first,
      count,
      readings,
      precision,
    };
    const result = await runJob(options, (addon, threads, progress) => addon.sweep(this.target.handle, request, threads, progress));
    const curves: { -readonly [reading in NativeSweepReading]?: NdArray } = {};
    for (const reading of readings) curves[reading] = { data: result[reading]!, shape: [marginals.length, count] };
    return { ...curves, components: result.component, meta: metaOf(started, options, precision, seed, result) };
  }
}

/** @internal The marginal at t. @throws RegimesError E_DOMAIN for what is no time, or when the process gives no a >= 0, b > 0 there. */
function marginalAt(process: Process, t: number): Marginal {
  if (typeof t !== "number") throw new RegimesError("E_DOMAIN", `t is ${String(t)} (${typeof t}), need a number in the clock of the process`);
  const { a, b } = process.marginal(t);
  if (Number.isFinite(a) && Number.isFinite(b) && a >= 0 && b > 0) return { a, b };
  throw new RegimesError("E_DOMAIN", `${process.name ?? "the process"}: a is ${String(a)} and b is ${String(b)} at t = ${t}, need finite numbers, a >= 0 and b > 0`);
}

function checkReadings<T extends string>(readings: readonly T[], known: readonly T[]): void {
  if (!Array.isArray(readings)) throw new RegimesError("E_OPTION", `readings is ${String(readings)}, need an array of ${known.join(", ")}`);
  for (const reading of readings) checkChoice("reading", reading, known);
}

function nativeReadings(readings: readonly PosteriorReading[]): readonly NativePosteriorReading[] {
  return readings.map((reading) =>
    reading === "effectiveCount" ? "sumSquares" : reading === "scoreJacobianProducts" ? "jacobianProducts" : reading,
  );
}

function productVectors(readings: readonly PosteriorReading[], options: PosteriorOptions, batch: number, d: number): Float64Array | null {
  const wanted = readings.filter((reading) => reading === "covarianceProducts" || reading === "scoreJacobianProducts");
  if (wanted.length === 0) return null;
  if (options.vectors === undefined) throw new RegimesError("E_OPTION", `${wanted[0]} needs vectors, one per query: [batch, d]`);
  const { data, rows } = takeRows("vectors", options.vectors, d);
  if (rows !== batch) throw new RegimesError("E_SHAPE", `vectors: ${rows} rows for ${batch} queries`);
  return data;
}

/** @internal Squared distances over 2 b^2 must stay finite for every pair of component and query with |x_j| up to `largest`. */
export function checkRange(largest: number, { magnitude, d }: Target, { a, b }: Marginal): void {
  const reach = Math.log(largest + a * magnitude + b) * 2 + Math.log(d) - 2 * Math.log(b);
  if (largest > 1e150 || reach > Math.log(1e306) || !(b >= 1e-150 && b <= 1e150)) {
    throw new RegimesError("E_RANGE", `queries up to ${largest} against components up to ${magnitude} overflow at noise b = ${b}. Rescale the data`);
  }
}

function drawRange({ count, first = 0 }: { readonly count: number; readonly first?: number | undefined }): { count: number; first: number } {
  if (!Number.isSafeInteger(count) || count < 1) throw new RegimesError("E_OPTION", `the number of draws is ${count}, need a whole number >= 1`);
  if (!Number.isSafeInteger(first) || first < 0) throw new RegimesError("E_OPTION", `first is ${first}, need a whole number >= 0`);
  return { count, first };
}

/** @internal What a result was made with. */
export function metaOf(
  started: number,
  run: RunOptions,
  precision: Precision,
  seed: bigint | null,
  { path, layoutBytes }: Pick<NativePosteriorResult, "path" | "layoutBytes">,
): Meta {
  const addon = native();
  const { chosen, reason } = addon.backend();
  return {
    version: addon.version,
    backend: chosen,
    backendReason: reason,
    precision,
    path: (path.every((index) => index === path[0]) ? nativePaths[path[0] ?? 0] : undefined) ?? "mixed",
    memory: layoutBytes,
    seed: seed === null ? null : String(seed),
    threads: threadsOf(run),
    wallMs: performance.now() - started,
  };
}
