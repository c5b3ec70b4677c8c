/**
 * Loads the native addon and mirrors its exports with types; the only module that touches the .node file. It is loaded by the
 * first call that needs it, not at import, so that closed forms, types and `--help` work without a binary.
 *
 * Long operations run on the addon's own threads and come back as jobs; `runJob` turns a job into a promise that honours
 * `signal` (rejects with the signal's reason) and reports progress.
 * Over 400 lines because the types of the whole surface of the addon stand together.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { RegimesError, type ErrorCode } from "./errors.js";

/** Opaque native handle that owns its memory: the rows of a data set, or the components of a target. */
export interface NativeHandle {
  dispose(): void;
}

/** Rows as stored; the values are `stored * scale + shift` in float64. */
export interface NativeDatasetInput {
  readonly stored: Uint8Array | Float32Array | Float64Array;
  readonly n: number;
  readonly d: number;
  readonly scale: number;
  readonly shift: number;
}

/** Rows inside an open file, which native code keeps a descriptor of its own for. */
export interface NativeMappedInput {
  readonly descriptor: number;
  /** The file as messages name it. */
  readonly what: string;
  readonly fileBytes: number;
  /** Byte of the first row. */
  readonly offset: number;
  readonly dtype: "uint8" | "float16" | "float32" | "float64";
  readonly n: number;
  readonly d: number;
}

/** Statistics of the stored values (before scale and shift). */
export interface NativeStatistics {
  readonly mean: number;
  /** Population variance (divided by n d). */
  readonly variance: number;
  readonly minimum: number;
  readonly maximum: number;
  readonly nonfinite: { readonly count: number; readonly row: number; readonly column: number };
  readonly distinctRows: number;
}

export type NativeCovariance =
  | { readonly type: "spherical"; readonly variances: Float64Array }
  | { readonly type: "diagonal"; readonly variances: Float64Array }
  | { readonly type: "full"; readonly matrices: Float64Array }
  | { readonly type: "low-rank"; readonly diagonals: Float64Array; readonly factors: Float64Array; readonly rank: number };

/** Names of the readings that `posterior` computes on request. */
export type NativePosteriorReading =
  | "logDensity"
  | "denoised"
  | "score"
  | "entropy"
  | "sumSquares"
  | "nearest"
  | "classWeights"
  | "covarianceTrace"
  | "covarianceProducts"
  | "jacobianProducts"
  | "divergence";

/** What a result promises, see `Precision` in field.ts. */
export type NativePrecision = "exact" | "float64" | "fast";

/** How one query was answered, by the number that native code gives it: see `Path` in field.ts. In simulations 3 means "mixed". */
export const nativePaths = ["float64", "refined", "dense"] as const;

/** Their names by their indices, "mixed" for an index of none. */
export function pathNames(path: Uint8Array): ((typeof nativePaths)[number] | "mixed")[] {
  // A loop over room that is there: a run of many steps has millions.
  const names: ((typeof nativePaths)[number] | "mixed")[] = Array(path.length);
  for (let k = 0; k < path.length; k++) names[k] = nativePaths[path[k]!] ?? "mixed";
  return names;
}

export interface NativePosteriorRequest {
  readonly a: number;
  readonly b: number;
  /** [batch, d], copied at the call. */
  readonly x: Float64Array;
  readonly batch: number;
  readonly readings: readonly NativePosteriorReading[];
  /** Number of heaviest components to return, 0 for none. */
  readonly top: number;
  /** One vector per query for the products, [batch, d]. */
  readonly vectors: Float64Array | null;
  readonly precision: NativePrecision;
}

export interface NativePosteriorResult {
  readonly logDensity?: Float64Array<ArrayBuffer>;
  readonly denoised?: Float64Array<ArrayBuffer>;
  readonly score?: Float64Array<ArrayBuffer>;
  readonly entropy?: Float64Array<ArrayBuffer>;
  readonly sumSquares?: Float64Array<ArrayBuffer>;
  readonly nearestIndex?: Int32Array<ArrayBuffer>;
  readonly nearestWeight?: Float64Array<ArrayBuffer>;
  readonly classWeights?: Float64Array<ArrayBuffer>;
  readonly topIndex?: Int32Array<ArrayBuffer>;
  readonly topWeight?: Float64Array<ArrayBuffer>;
  readonly covarianceTrace?: Float64Array<ArrayBuffer>;
  readonly covarianceProducts?: Float64Array<ArrayBuffer>;
  readonly jacobianProducts?: Float64Array<ArrayBuffer>;
  readonly divergence?: Float64Array<ArrayBuffer>;
  readonly errorLogDensity: Float64Array<ArrayBuffer>;
  /** With "score" or "denoised". */
  readonly errorScore?: Float64Array<ArrayBuffer>;
  /** Number of components that entered the sums of each query. */
  readonly survivors: Int32Array<ArrayBuffer>;
  /** Index into `nativePaths` of each query. */
  readonly path: Uint8Array<ArrayBuffer>;
  /** Memory of what was built beside the rows of the target so far. */
  readonly layoutBytes: number;
}

/** Names of the readings that `sweep` computes on request, each [times, draws]. */
export type NativeSweepReading = "logDensity" | "entropy" | "sumSquares" | "ownLogWeight" | "classSquares" | "classEntropy";

export interface NativeSweepRequest {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly seed: bigint;
  readonly first: number;
  readonly count: number;
  readonly readings: readonly NativeSweepReading[];
  readonly precision: NativePrecision;
}

export type NativeSweepResult = Pick<NativePosteriorResult, "path" | "layoutBytes"> & { readonly component: Int32Array<ArrayBuffer> } & {
  readonly [reading in NativeSweepReading]?: Float64Array<ArrayBuffer>;
};

export interface NativeSampleRequest {
  readonly a: number;
  readonly b: number;
  readonly seed: bigint;
  readonly first: number;
  readonly count: number;
}

export interface NativeSampleResult {
  readonly x: Float64Array<ArrayBuffer>;
  readonly component: Int32Array<ArrayBuffer>;
}

/** A program of reverse dynamics (native/core/operations.h, SimulateRequest). */
export interface NativeSimulateRequest {
  /** Five per step. combine: 0, out, first term, number of terms, draw; denoise: 1, out, in, record, not read. */
  readonly integers: Int32Array;
  /** Three per step. combine: noise, 0, 0; denoise: a, b, not read. */
  readonly reals: Float64Array;
  readonly stepCount: number;
  readonly terms: Int32Array;
  readonly factors: Float64Array;
  readonly termCount: number;
  readonly registers: number;
  readonly result: number;
  readonly seed: bigint;
  readonly first: number;
  readonly count: number;
  /** Most trajectories at a time, 0 = native code chooses. */
  readonly batch: number;
  readonly precision: NativePrecision;
  /** Given rows [count, d]; or draws startA x_0 + startB z of a target; or startB z. */
  readonly start: Float64Array | null;
  readonly startTarget: NativeHandle | null;
  readonly startA: number;
  readonly startB: number;
  readonly records: number;
  readonly observe: readonly string[];
  /** With "projections", [directionCount, d]. */
  readonly directions: Float64Array | null;
  readonly directionCount: number;
  readonly carry: boolean;
  /** Error control (native/core/simulate_adaptive.h): the program is the levels to stop at. */
  readonly adaptive: { readonly absolute: number; readonly relative: number; readonly endDenoised: boolean } | null;
}

/** Observations are [records, count, ...]. */
export type NativeSimulateResult = Pick<NativePosteriorResult, "path" | "layoutBytes"> & {
  readonly [reading in "states" | "denoised" | "norm" | "projections" | "logDensity" | "entropy" | "sumSquares" | "nearestWeight" | "classWeights"]?: Float64Array<ArrayBuffer>;
} & {
  readonly x: Float64Array<ArrayBuffer>;
  /** Where the start was drawn from a target. */
  readonly startComponent?: Int32Array<ArrayBuffer>;
  readonly nearestIndex?: Int32Array<ArrayBuffer>;
  readonly survivors?: Int32Array<ArrayBuffer>;
  /** With `carry`, per trajectory. */
  readonly refreshes?: Int32Array<ArrayBuffer>;
  readonly carriedSteps?: Int32Array<ArrayBuffer>;
  /** With `adaptive`, per trajectory. */
  readonly accepted?: Int32Array<ArrayBuffer>;
  readonly rejected?: Int32Array<ArrayBuffer>;
  readonly error?: Float64Array<ArrayBuffer>;
};

/** Trajectories of a reduction in all dimensions (native/core/lift.h, LiftRequest). */
export interface NativeLiftRequest {
  readonly d: number;
  readonly dimension: number;
  readonly basis: Float64Array;
  readonly rest: Float64Array;
  readonly variance: number;
  /** [1 + records], the end first. */
  readonly constant: Float64Array;
  readonly start: Float64Array;
  /** [1 + records, 1 + records], lower triangular. */
  readonly factor: Float64Array;
  /** Starts [count, d]. */
  readonly rows: Float64Array | null;
  readonly seed: bigint;
  readonly first: number;
  readonly count: number;
  readonly firstDraw: number;
  /** The reduced run: y at the end, and at the records what is to be lifted. */
  readonly ends: Float64Array;
  readonly states: Float64Array;
  readonly denoised?: Float64Array | undefined;
  readonly logDensity?: Float64Array | undefined;
  readonly records: number;
  readonly a: Float64Array;
  readonly b: Float64Array;
  /** Of "states", "denoised", "norm", "projections", "logDensity". */
  readonly observe: readonly string[];
  readonly directions: Float64Array | null;
  readonly directionCount: number;
}

/** Observations are [records, count, ...]. */
export type NativeLiftResult = Pick<NativeSimulateResult, "x" | "states" | "denoised" | "norm" | "projections" | "logDensity">;

export interface NativeSpectrumRequest {
  /** Number of leading eigenpairs. */
  readonly count: number;
  /** Relative residual at which an eigenpair counts as converged. */
  readonly tolerance: number;
  /** The within-class covariance instead of the total one. */
  readonly within: boolean;
  /** All eigenvalues by a dense solver (min(n, d) at most 4096), without vectors. */
  readonly complete: boolean;
  /** Put the centred class means into the start block and return their coordinates. */
  readonly classMeans: boolean;
}

export interface NativeSpectrumResult {
  /** Descending; with `complete`, all min(n - 1, d) (points) or d (mixture) of them. */
  readonly eigenvalues: Float64Array<ArrayBuffer>;
  /** |C u - lambda u| of each leading pair. */
  readonly residuals: Float64Array<ArrayBuffer>;
  /** [count, d]; empty with `complete`. */
  readonly vectors: Float64Array<ArrayBuffer>;
  /** sd((u . (y - mean))^2) over rows of each leading direction; zero for mixtures. */
  readonly projectionDeviation: Float64Array<ArrayBuffer>;
  readonly trace: number;
  readonly mean: Float64Array<ArrayBuffer>;
  /** All Ritz values of the Krylov space, and the coordinates of the centred class means in it, [classes, ritzValues.length]. */
  readonly ritzValues: Float64Array<ArrayBuffer>;
  readonly classCoordinates: Float64Array<ArrayBuffer>;
  /** Ritz vectors, [ritzValues.length, d], only with `classMeans`. */
  readonly ritzVectors: Float64Array<ArrayBuffer>;
  /** Fraction of rows (or of mixture weight) in each class. */
  readonly classFractions: Float64Array<ArrayBuffer>;
}

export interface NativeJob<T> {
  readonly promise: Promise<T>;
  cancel(): void;
}

export interface BackendInfo {
  /** "cpu-amx", "cpu-vnni", "cpu-avx512", "cpu-avx2", "cpu-portable" or "reference". */
  readonly chosen: string;
  readonly reason: string;
  /** Kernels of its integer products, or null. */
  readonly digits: string | null;
  /** Those this machine can run. */
  readonly available: readonly string[];
  readonly compiler: string;
}

type Progress = ((fraction: number) => void) | undefined;

export interface NativeAddon {
  /** Version of the package the addon was built from. */
  readonly version: string;
  backend(): BackendInfo;
  createDataset(input: NativeDatasetInput): NativeHandle;
  /** Rows read where they lie in a file. Jobs on them reject with E_FILE_CHANGED once the file is not what it was. */
  mapDataset(input: NativeMappedInput): NativeHandle;
  /** Values (scaled) of rows [from, to), [to - from, d]. */
  datasetRows(dataset: NativeHandle, from: number, to: number): Float64Array<ArrayBuffer>;
  datasetStatistics(dataset: NativeHandle, threads: number, progress: Progress): NativeJob<NativeStatistics>;
  /** A data set over the same stored rows with another scale and shift; no copy. */
  rescaledDataset(dataset: NativeHandle, scale: number, shift: number): NativeHandle;
  createEmpirical(dataset: NativeHandle, weights: Float64Array | null, labels: Int32Array | null, classes: number): NativeHandle;
  createMixture(weights: Float64Array, means: Float64Array, k: number, d: number, covariance: NativeCovariance): NativeHandle;
  posterior(target: NativeHandle, request: NativePosteriorRequest, threads: number, progress: Progress): NativeJob<NativePosteriorResult>;
  sweep(target: NativeHandle, request: NativeSweepRequest, threads: number, progress: Progress): NativeJob<NativeSweepResult>;
  sample(target: NativeHandle, request: NativeSampleRequest, threads: number, progress: Progress): NativeJob<NativeSampleResult>;
  simulate(target: NativeHandle, request: NativeSimulateRequest, threads: number, progress: Progress): NativeJob<NativeSimulateResult>;
  lift(request: NativeLiftRequest, threads: number, progress: Progress): NativeJob<NativeLiftResult>;
  /** Standard normals [count, d] of trajectories first ...: those of a draw, or (null) of a start. Synchronous. */
  normals(request: { readonly seed: bigint; readonly first: number; readonly count: number; readonly d: number; readonly draw: number | null }): Float64Array<ArrayBuffer>;
  /** Mean [d] and covariance [d, d] (points: unbiased), d at most 4096. */
  covariance(target: NativeHandle, threads: number, progress: Progress): NativeJob<{ readonly mean: Float64Array<ArrayBuffer>; readonly matrix: Float64Array<ArrayBuffer> }>;
  spectrum(target: NativeHandle, request: NativeSpectrumRequest, threads: number, progress: Progress): NativeJob<NativeSpectrumResult>;
  /** Products of the rows with given vectors [p, d]: [n, p]; `centre` subtracts nothing, the mean, or the row's class mean. */
  project(
    target: NativeHandle,
    request: { readonly vectors: Float64Array; readonly count: number; readonly centre: "none" | "mean" | "class" },
    threads: number,
    progress: Progress,
  ): NativeJob<{ readonly projections: Float64Array<ArrayBuffer> }>;
  /** Eigenvalues (ascending) and vectors (rows) of a symmetric [n, n] matrix. */
  symmetricEigen(
    matrix: Float64Array,
    n: number,
    threads: number,
    progress: Progress,
  ): NativeJob<{ readonly values: Float64Array<ArrayBuffer>; readonly vectors: Float64Array<ArrayBuffer> }>;
  /** Copies numbers, `to` may be `from` itself; returns max |x|, NaN where one of them is not finite. */
  copyNumbers(from: Float32Array | Float64Array, to: Float64Array): number;
  /** Bytes that V8 counts outside its heap: array buffers, and what the handles said that they hold. */
  externalMemory(): number;
  /** Of this process, in bytes, where that may be less than the machine has; 0: none. What is built for speed keeps to an eighth. */
  limitMemory(bytes: number): void;
  /** Stops every running job; called when the process exits. */
  cancelAll(): void;
}

const require = createRequire(import.meta.url);
const packageRoot = join(dirname(fileURLToPath(import.meta.url)), "..");
let loaded: NativeAddon | undefined;

/** The addon, loaded once. @throws RegimesError E_NO_BINARY with every path tried, E_BACKEND for an unusable forced backend. */
export function native(): NativeAddon {
  if (loaded === undefined) {
    const addon = load();
    try {
      addon.backend();
    } catch (error) {
      throw toRegimesError(error);
    }
    addon.limitMemory(process.constrainedMemory?.() ?? 0);
    // Cleanup hooks of the addon do not run on process.exit() or an uncaught throw: stop its threads from here.
    process.once("exit", () => addon.cancelAll());
    loaded = addon;
  }
  return loaded;
}

/** The paths a binary is looked for, in order. `DIFFUSION_REGIMES_NATIVE` is exclusive. */
export function binaryCandidates(): readonly string[] {
  const forced = process.env["DIFFUSION_REGIMES_NATIVE"];
  if (forced !== undefined && forced !== "") return [forced];
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  const musl = process.platform === "linux" && report?.header?.glibcVersionRuntime === undefined;
  const triple = `${process.platform}-${process.arch}${musl ? "-musl" : ""}`;
  return [
    join(packageRoot, "build", "Release", "regimes.node"),
    join(packageRoot, "build", "Debug", "regimes.node"),
    join(packageRoot, "prebuilds", triple, "regimes.node"),
  ];
}

function load(): NativeAddon {
  const tried: string[] = [];
  for (const candidate of binaryCandidates()) {
    if (!existsSync(candidate)) {
      tried.push(`${candidate}: not there`);
      continue;
    }
    try {
      return require(candidate) as NativeAddon;
    } catch (error) {
      tried.push(`${candidate}: ${(error as Error).message}`);
    }
  }
  throw new RegimesError(
    "E_NO_BINARY",
    `the native addon is not built for ${process.platform}-${process.arch}, Node ${process.versions.node}. Tried:\n` +
      tried.map((line) => `  ${line}`).join("\n") +
      `\nBuild it once (needs g++ >= 11, make and CMake >= 3.22): npx diffusion-regimes build`,
  );
}

/** Options of every long call. */
export interface RunOptions {
  /** Aborting rejects the promise with `signal.reason` within 100 ms. */
  readonly signal?: AbortSignal | undefined;
  /** Called on the JavaScript thread with the fraction done, in [0, 1]. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
  /**
   * Native threads, default all processors; at most four per processor are used, and calls that do not fit beside the running ones
   * wait for their turn. Results do not depend on it.
   */
  readonly threads?: number | undefined;
}

/** The names of `RunOptions`, for option checks. */
export const runOptionNames: readonly string[] = ["signal", "onProgress", "threads"];

/** Throws E_OPTION for a `signal` or `onProgress` that is not one, and the reason of a signal that is aborted already. */
export function checkRun({ signal, onProgress }: RunOptions): void {
  const usable = signal == null || (typeof signal.throwIfAborted === "function" && typeof signal.addEventListener === "function");
  if (!usable) throw new RegimesError("E_OPTION", `signal is ${String(signal)}, need an AbortSignal`);
  if (onProgress != null && typeof onProgress !== "function") throw new RegimesError("E_OPTION", `onProgress is ${String(onProgress)}, need a function`);
  signal?.throwIfAborted();
}

/** The number of native threads that `options` mean. @throws RegimesError E_OPTION. */
export function threadsOf(options: RunOptions): number {
  const threads = options.threads ?? availableParallelism();
  if (!Number.isSafeInteger(threads) || threads < 1 || threads > 1024) {
    throw new RegimesError("E_OPTION", `threads is ${threads}, need a whole number from 1 to 1024`);
  }
  return threads;
}

/** A seed as 64 bits. @throws RegimesError E_OPTION for what is not a whole number >= 0. */
export function seedOf(seed: number | bigint): bigint {
  const whole = typeof seed === "bigint" || Number.isSafeInteger(seed);
  if (!whole || seed < 0) throw new RegimesError("E_OPTION", `seed is ${String(seed)}, need a whole number from 0 to 2^53, or a bigint`);
  return BigInt.asUintN(64, BigInt(seed));
}

/**
 * Starts a native job and waits for it: cancels it when the signal aborts, or when `onProgress` throws (rejecting with that
 * error), and maps native errors to `RegimesError`.
 */
export async function runJob<T>(
  options: RunOptions,
  start: (addon: NativeAddon, threads: number, progress: Progress) => NativeJob<T>,
): Promise<T> {
  const { signal, onProgress } = options;
  checkRun(options);
  const threads = threadsOf(options);
  let callbackError: { error: unknown } | undefined;
  let job: NativeJob<T> | undefined;
  const progress =
    onProgress == null
      ? undefined
      : (fraction: number): void => {
          try {
            if (callbackError === undefined) onProgress(fraction);
          } catch (error) {
            callbackError = { error };
            job?.cancel();
          }
        };
  const cancel = (): void => job?.cancel();
  try {
    job = start(native(), threads, progress);
    signal?.addEventListener("abort", cancel, { once: true });
    return await job.promise;
  } catch (error) {
    if (callbackError !== undefined) throw callbackError.error;
    if (signal?.aborted) throw signal.reason;
    throw toRegimesError(error);
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

/** Native errors carry `code` and a message without it. */
export function toRegimesError(error: unknown): unknown {
  if (error instanceof RegimesError || !(error instanceof Error)) return error;
  const code = (error as Error & { code?: string }).code;
  if (code === undefined || !code.startsWith("E_")) return error;
  return new RegimesError(code as ErrorCode, error.message, { cause: error });
}
