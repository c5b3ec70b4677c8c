/**
 * Target distributions p_0: what the forward process starts from. A target is a weighted set of components, data points
 * (`empirical`) or Gaussians (`gaussianMixture`), and owns the native handle over which every reading is computed.
 */
import { createHash } from "node:crypto";
import { elementCount, type NdArray, type RealArray } from "./array.js";
import { checkWeights, flat, flatCovariances, type CovarianceParameters } from "./components.js";
import { Dataset, openDataset } from "./data.js";
import { RegimesError, checkChoice, checkOptionNames } from "./errors.js";
import {
  native,
  runJob,
  runOptionNames,
  seedOf,
  toRegimesError,
  type NativeCovariance,
  type NativeHandle,
  type NativeSpectrumRequest,
  type NativeSpectrumResult,
  type RunOptions,
} from "./native.js";

/** Leading eigenpairs of the covariance of a target. */
export interface Spectrum {
  /** Descending, in squared data units. */
  readonly eigenvalues: Float64Array<ArrayBuffer>;
  /**
   * Standard errors over rows, sd((u . (y - mean))^2) sqrt(sum pi_i^2) (delta method; sum pi_i^2 = 1/n without weights); zero for
   * mixtures.
   */
  readonly standardErrors: Float64Array<ArrayBuffer>;
  /** |C u - lambda u|: the eigenvalue is within this distance of an exact one. */
  readonly residuals: Float64Array<ArrayBuffer>;
  /** Unit eigenvectors, [count, d]. */
  readonly vectors: NdArray;
  /** tr C, the sum of all eigenvalues. */
  readonly trace: number;
  /** Of the target, [d]. */
  readonly mean: Float64Array<ArrayBuffer>;
}

export interface SpectrumOptions extends RunOptions {
  /** Number of leading eigenpairs, default 6, at most d. */
  readonly count?: number | undefined;
  /** Residual to reach, relative to the leading eigenvalue, default 1e-10. */
  readonly tolerance?: number | undefined;
}

/**
 * The within-class covariance C_w projected onto the block Krylov space of the centred class means m_c - m: for s > 0,
 * (m_c - m)^T (C_w + s I)^-1 (m_c' - m) = sum_j g_cj g_c'j / (theta_j + s).
 */
export interface ClassSpectrum {
  /** theta_j, descending, [m]. */
  readonly ritzValues: Float64Array<ArrayBuffer>;
  /** g, [classes, m]. */
  readonly classCoordinates: NdArray;
  /** Orthonormal directions of the theta_j, [m, d]. */
  readonly ritzVectors: NdArray;
  readonly classFractions: Float64Array<ArrayBuffer>;
}

/** The components of a mixture as they are stored: flat C-order float64 arrays. */
export interface Mixture {
  /** null when uniform. */
  readonly weights: Float64Array | null;
  /** [k, d]. */
  readonly means: NdArray;
  readonly covariances: NativeCovariance;
}

/** A target distribution. Create one with `empirical` or `gaussianMixture`. */
export interface Target {
  readonly kind: "points" | "mixture";
  /** Number of components: data points or Gaussians. */
  readonly n: number;
  readonly d: number;
  /** Component weights, null when uniform. */
  readonly weights: Float64Array | null;
  /** Number of classes: of the labels, or one per Gaussian; 0 without labels. */
  readonly classes: number;
  /** Probability of each class, or null without classes. */
  readonly classFractions: Float64Array | null;
  /** The data set behind an empirical target. */
  readonly dataset: Dataset | null;
  /** The components of a mixture. */
  readonly mixture: Mixture | null;
  /** sha256 over everything that defines the target. */
  readonly fingerprint: string;
  /** Largest absolute coordinate of a point or mean. */
  readonly magnitude: number;
  /** @internal The native components. */
  readonly handle: NativeHandle;
  /**
   * Leading eigenpairs of the covariance, matrix free (block Krylov with Rayleigh-Ritz residuals). Points: centred per coordinate,
   * unbiased (n - 1); mixtures: sum_k pi_k (C_k + (m_k - m)(m_k - m)^T).
   */
  spectrum(options?: SpectrumOptions): Promise<Spectrum>;
  /** All min(n - 1, d) (points) or d (mixtures) eigenvalues, descending, by a dense solver. @throws RegimesError E_SHAPE above 4096. */
  allEigenvalues(run?: RunOptions): Promise<Float64Array<ArrayBuffer>>;
  /** The mean [d] and the whole covariance [d, d] (points: unbiased). @throws RegimesError E_SHAPE above d = 4096. */
  covariance(run?: RunOptions): Promise<{ readonly mean: Float64Array<ArrayBuffer>; readonly matrix: NdArray }>;
  /** What the kappa criterion of speciation needs. @throws RegimesError E_LABELS without classes. */
  classSpectrum(run?: RunOptions): Promise<ClassSpectrum>;
  /** Products (y_i - c) . v_j of the components (points or means) with vectors [p, d]: [n, p]; c nothing, the mean, or the class mean. */
  project(vectors: NdArray, centre: "none" | "mean" | "class", run?: RunOptions): Promise<NdArray>;
  /** Gives the native memory back; running calls finish. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** What `gaussianMixture` takes. Arrays may be flat (C-order) or carry their shape. */
export interface MixtureParameters {
  /** [k], default uniform. */
  readonly weights?: ArrayLike<number> | undefined;
  /** [k, d]. */
  readonly means: NdArray<RealArray>;
  readonly covariances: CovarianceParameters;
}

/** Options of `empirical`. */
export interface EmpiricalOptions {
  /** One weight per row, default uniform. Zero leaves the row out. */
  readonly weights?: ArrayLike<number> | undefined;
  /** Divide the weights by their sum instead of refusing weights that do not sum to 1. */
  readonly normalize?: boolean | undefined;
}

/**
 * The empirical measure of a data set, p_0 = sum_i pi_i delta(y_i): the target of a model that has memorised its data.
 * @throws RegimesError E_WEIGHTS, E_SHAPE, E_DISPOSED.
 */
export function empirical(dataset: Dataset, options: EmpiricalOptions = {}): Target {
  checkOptionNames("empirical", options, ["weights", "normalize"]);
  if (!(dataset instanceof Dataset)) throw new RegimesError("E_OPTION", "empirical needs a Dataset: await openDataset(...) first");
  const { n, d, labels, classValues } = dataset;
  const weights = options.weights === undefined ? null : checkWeights(options.weights, n, options.normalize ?? false);
  const classes = classValues?.length ?? 0;
  const fingerprint = weights === null ? dataset.fingerprint : digest([dataset.fingerprint, weights]);
  const handle = calling(() => native().createEmpirical(dataset.handle, weights, labels, classes));
  const classFractions = labels === null ? null : fractions(labels, weights, classes);
  return new NativeTarget({
    kind: "points", n, d, weights, classes, classFractions, dataset, mixture: null, fingerprint, magnitude: dataset.magnitude, handle,
  });
}

/**
 * A mixture of Gaussians, p_0 = sum_k pi_k N(m_k, C_k); every Gaussian counts as a class. Full covariances are decomposed by the
 * first call that needs them, which then rejects with E_NOT_PSD for a negative eigenvalue.
 * @throws RegimesError E_SHAPE, E_WEIGHTS, E_NONFINITE, E_RANGE (means beyond 1e150), E_OPTION.
 */
export function gaussianMixture(parameters: MixtureParameters): Target {
  checkOptionNames("gaussianMixture", parameters, ["weights", "means", "covariances"]);
  const { means: given } = parameters;
  if (given?.shape === undefined || given.shape.length !== 2 || elementCount("means", given.shape) === 0) {
    throw new RegimesError("E_SHAPE", `means: shape [${given?.shape?.join(", ") ?? ""}], need [k, d] with k and d at least 1`);
  }
  const [k, d] = given.shape as [number, number];
  const means = flat("means", given, [k, d]);
  const magnitude = means.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (magnitude > 1e150) throw new RegimesError("E_RANGE", `means reach ${magnitude}, at most 1e150 can be squared and summed`);
  const covariances = flatCovariances(parameters.covariances, k, d);
  const weights = parameters.weights === undefined ? null : checkWeights(parameters.weights, k, false);
  const fractionsOfClasses = weights ?? new Float64Array(k).fill(1 / k);
  const parts: (string | Float64Array)[] = [JSON.stringify(["mixture", k, d, covariances.type]), fractionsOfClasses, means];
  for (const value of Object.values(covariances)) if (value instanceof Float64Array) parts.push(value);
  return new NativeTarget({
    kind: "mixture",
    n: k,
    d,
    weights,
    classes: k,
    classFractions: fractionsOfClasses,
    dataset: null,
    mixture: { weights, means: { data: means, shape: [k, d] }, covariances },
    fingerprint: digest(parts),
    magnitude,
    handle: calling(() => native().createMixture(fractionsOfClasses, means, k, d, covariances)),
  });
}

/** Options of `sampleTarget`. */
export interface SampleTargetOptions extends RunOptions {
  /** Same seed, same rows: row r depends on (seed, r) alone. */
  readonly seed: number | bigint;
  /** Element type of the stored rows, default "float32": a draw rounded to float32 is the datum. */
  readonly dtype?: "float32" | "float64" | undefined;
}

/**
 * Draws n data from a target into a data set, labelled by component (its index) for mixtures of two or more.
 * @throws RegimesError E_OPTION, E_NOT_PSD, E_OUT_OF_MEMORY.
 */
export async function sampleTarget(target: Target, n: number, options: SampleTargetOptions): Promise<Dataset> {
  checkOptionNames("sampleTarget", options, ["seed", "dtype", ...runOptionNames]);
  const { dtype = "float32", seed, signal, threads, onProgress } = options;
  checkChoice("dtype", dtype, ["float32", "float64"]);
  if (!Number.isSafeInteger(n) || n < 1) throw new RegimesError("E_OPTION", `n is ${n}, need a whole number of rows, at least 1`);
  const { d } = target;
  const key = seedOf(seed);
  const rows = calling(() => (dtype === "float32" ? new Float32Array(n * d) : new Float64Array(n * d)));
  const components = new Int32Array(n);
  const step = Math.max(1, Math.floor(2 ** 22 / d));
  for (let first = 0; first < n; first += step) {
    const count = Math.min(step, n - first);
    const part = await runJob({ signal, threads }, (addon, pool, progress) =>
      addon.sample(target.handle, { a: 1, b: 0, seed: key, first, count }, pool, progress),
    );
    rows.set(part.x, first * d);
    components.set(part.component, first);
    onProgress?.((first + count) / n);
  }
  const labels = target.kind === "mixture" && target.n > 1 ? components : null;
  return openDataset({ data: rows, shape: [n, d] }, { labels, name: `${n} draws, seed ${key}`, signal, threads });
}

/** Eigenvalues (ascending) and eigenvectors (rows, [n, n]) of a symmetric matrix. @throws RegimesError E_NONFINITE. */
export function symmetricEigen(
  matrix: Float64Array,
  n: number,
  run: RunOptions = {},
): Promise<{ readonly values: Float64Array<ArrayBuffer>; readonly vectors: Float64Array<ArrayBuffer> }> {
  return runJob(run, (addon, threads, progress) => addon.symmetricEigen(matrix, n, threads, progress));
}

type TargetParts = Omit<Target, "spectrum" | "allEigenvalues" | "covariance" | "classSpectrum" | "project" | "dispose" | typeof Symbol.dispose>;

class NativeTarget implements Target {
  readonly kind: "points" | "mixture";
  readonly n: number;
  readonly d: number;
  readonly weights: Float64Array | null;
  readonly classes: number;
  readonly classFractions: Float64Array | null;
  readonly dataset: Dataset | null;
  readonly mixture: Mixture | null;
  readonly fingerprint: string;
  readonly magnitude: number;
  #handle: NativeHandle | undefined;

  constructor(parts: TargetParts) {
    this.kind = parts.kind;
    this.n = parts.n;
    this.d = parts.d;
    this.weights = parts.weights;
    this.classes = parts.classes;
    this.classFractions = parts.classFractions;
    this.dataset = parts.dataset;
    this.mixture = parts.mixture;
    this.fingerprint = parts.fingerprint;
    this.magnitude = parts.magnitude;
    this.#handle = parts.handle;
  }

  get handle(): NativeHandle {
    if (this.#handle === undefined) throw new RegimesError("E_DISPOSED", "this target was disposed of. Create it again");
    return this.#handle;
  }

  async spectrum(options: SpectrumOptions = {}): Promise<Spectrum> {
    checkOptionNames("spectrum", options, ["count", "tolerance", ...runOptionNames]);
    const { count = Math.min(6, this.d), tolerance = 1e-10, ...run } = options;
    if (!Number.isSafeInteger(count) || count < 1 || count > this.d) {
      throw new RegimesError("E_OPTION", `count is ${count}, need a whole number from 1 to d = ${this.d}`);
    }
    if (!(tolerance > 0 && tolerance < 1)) throw new RegimesError("E_OPTION", `tolerance is ${tolerance}, need a number in (0, 1)`);
    const result = await this.#spectrum({ count, tolerance }, run);
    const leading = Math.min(count, result.eigenvalues.length);
    return {
      eigenvalues: result.eigenvalues.slice(0, leading),
      standardErrors: result.projectionDeviation.slice(0, leading).map((deviation) => deviation * Math.sqrt(this.#sumSquaredWeights())),
      residuals: result.residuals.slice(0, leading),
      vectors: { data: result.vectors, shape: [leading, this.d] },
      trace: result.trace,
      mean: result.mean,
    };
  }

  async allEigenvalues(run: RunOptions = {}): Promise<Float64Array<ArrayBuffer>> {
    return (await this.#spectrum({ complete: true }, run)).eigenvalues;
  }

  async covariance(run: RunOptions = {}): Promise<{ readonly mean: Float64Array<ArrayBuffer>; readonly matrix: NdArray }> {
    const { mean, matrix } = await runJob(run, (addon, threads, progress) => addon.covariance(this.handle, threads, progress));
    return { mean, matrix: { data: matrix, shape: [this.d, this.d] } };
  }

  async classSpectrum(run: RunOptions = {}): Promise<ClassSpectrum> {
    if (this.classes === 0) throw new RegimesError("E_LABELS", "the class spectrum needs labels: pass labels to openDataset");
    const result = await this.#spectrum({ within: true, classMeans: true }, run);
    const size = result.ritzValues.length;
    return {
      ritzValues: result.ritzValues,
      classCoordinates: { data: result.classCoordinates, shape: [this.classes, size] },
      ritzVectors: { data: result.ritzVectors, shape: [size, this.d] },
      classFractions: result.classFractions,
    };
  }

  async project(vectors: NdArray, centre: "none" | "mean" | "class", run: RunOptions = {}): Promise<NdArray> {
    checkChoice("centre", centre, ["none", "mean", "class"]);
    if (!Array.isArray(vectors?.shape)) throw new RegimesError("E_SHAPE", `vectors: expected {data, shape: [p, ${this.d}]}`);
    const count: number = vectors.shape[0];
    const request = { vectors: flat("vectors", vectors, [count, this.d]), count, centre };
    const result = await runJob(run, (addon, threads, progress) => addon.project(this.handle, request, threads, progress));
    return { data: result.projections, shape: [this.n, count] };
  }

  dispose(): void {
    this.#handle?.dispose();
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #sumSquaredWeights(): number {
    return this.weights === null ? 1 / this.n : this.weights.reduce((sum, weight) => sum + weight * weight, 0);
  }

  #spectrum(wanted: Partial<NativeSpectrumRequest>, run: RunOptions): Promise<NativeSpectrumResult> {
    const request = { count: 1, tolerance: 1e-10, within: false, complete: false, classMeans: false, ...wanted };
    return runJob(run, (addon, threads, progress) => addon.spectrum(this.handle, request, threads, progress));
  }
}

/** Native errors of synchronous calls as RegimesErrors; what V8 throws for an impossible allocation as E_OUT_OF_MEMORY. */
function calling<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof RangeError) throw new RegimesError("E_OUT_OF_MEMORY", error.message, { cause: error });
    throw toRegimesError(error);
  }
}

function fractions(labels: Int32Array, weights: Float64Array | null, classes: number): Float64Array<ArrayBuffer> {
  const result = new Float64Array(classes);
  labels.forEach((label, row) => {
    result[label]! += weights === null ? 1 : weights[row]!;
  });
  return weights === null ? result.map((count) => count / labels.length) : result;
}

function digest(parts: readonly (string | Float64Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(typeof part === "string" ? part : new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  return hash.digest("hex");
}
