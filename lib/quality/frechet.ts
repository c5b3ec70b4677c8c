/**
 * The Frechet distance of two Gaussians (Frechet 1957; Dowson and Landau 1982), squared as in FID (Heusel et al. 2017):
 *   |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2,
 * and of samples to a target by their means and unbiased covariances, in pixel space or in the target's leading principal directions.
 *
 * Of N samples in d dimensions it is biased upwards, by an amount that falls as 1/N and grows with d: compare it with its value for as
 * many draws of the target itself. Its first-order change for a sample x is, with the transport map A C2 A = C1,
 *   2 (m2 - m1) . (x - m2) + (x - m2)^T (I - A) (x - m2) - tr (I - A) C2,   A = C1^1/2 (C1^1/2 C2 C1^1/2)^-1/2 C1^1/2.
 */
import { elementCount, type NdArray, type PointsInput, type RealArray } from "../array.js";
import { flat } from "../components.js";
import { RegimesError } from "../errors.js";
import { moments } from "../estimate.js";
import type { RunOptions } from "../native.js";
import { symmetricEigen, type Target } from "../target.js";
import { Points, breathe, sampleRows, type Measure, type Measured } from "./measured.js";

/** The first two moments of a law: mean [d], covariance [d, d]. */
export interface GaussianLaw {
  readonly mean: ArrayLike<number>;
  readonly covariance: NdArray<RealArray>;
}

/** A law whose covariance is diagonal, with `variances`, along the rows of `vectors` [rank, d]. */
interface Principal {
  readonly mean: Float64Array;
  readonly variances: Float64Array<ArrayBuffer>;
  readonly vectors: Float64Array;
  readonly rank: number;
  readonly clipped: number;
}

/**
 * Squared Frechet distance, in squared data units. Rounding is up to about 1e-8 of the largest variance for each direction in which a
 * covariance is singular; `clipped` eigenvalues were put below 0 by rounding and counted as 0.
 * @throws RegimesError E_SHAPE, E_NONFINITE.
 */
export async function frechetDistance(
  first: GaussianLaw,
  second: GaussianLaw,
  run: RunOptions = {},
): Promise<{ readonly value: number; readonly clipped: number }> {
  const d = first?.mean?.length ?? 0;
  elementCount("mean", [d]);
  if (d === 0 || second?.mean?.length !== d) {
    throw new RegimesError("E_SHAPE", `means of ${d} and ${second?.mean?.length ?? "no"} numbers, need as many in both, at least 1`);
  }
  const basis = await principalAxes(flat("mean", first.mean, [d]), flat("covariance", first.covariance, [d, d]), run);
  const shift = flat("mean", second.mean, [d]).map((value, j) => value - basis.mean[j]!);
  const half = await rotated(flat("covariance", second.covariance, [d, d]), basis, run);
  const covariance = await rotated(transposed(half, d), basis, run);
  const { trace, clipped } = await overlap(basis.variances, covariance, run);
  const value = sum(shift.map((delta) => delta * delta)) + sum(basis.variances) + traceOf(covariance, d) - 2 * trace;
  return { value: Math.max(0, value), clipped: basis.clipped + clipped };
}

/**
 * "frechet-pixel", or with a rank "frechet-pca-<rank>": the distance of the projections on the target's leading principal directions.
 * @throws RegimesError E_SHAPE in pixel space above d = 4096, E_OPTION for a rank that is not from 1 to d.
 */
export async function frechetMeasure(target: Target, rank: number | undefined, run: RunOptions): Promise<Measure> {
  const basis = await principalTarget(target, rank, run);
  const name = rank === undefined ? "frechet-pixel" : `frechet-pca-${rank}`;
  return { name, of: (samples, own = {}) => measure(basis, target.d, samples, own) };
}

async function principalTarget(target: Target, rank: number | undefined, run: RunOptions): Promise<Principal> {
  if (rank === undefined) {
    const { mean, matrix } = await target.covariance(run);
    return principalAxes(mean, matrix.data, run);
  }
  const { mean, eigenvalues, vectors } = await target.spectrum({ count: rank, ...run });
  // Of fewer data than directions asked for there are fewer.
  return { mean, ...clip(eigenvalues), vectors: vectors.data, rank: eigenvalues.length };
}

async function principalAxes(mean: Float64Array, covariance: Float64Array, run: RunOptions): Promise<Principal> {
  const { values, vectors } = await symmetricEigen(covariance, mean.length, run);
  return { mean, ...clip(values), vectors, rank: mean.length };
}

async function measure(basis: Principal, d: number, samples: PointsInput, run: RunOptions): Promise<Measured> {
  const { data, rows } = sampleRows(samples, d);
  for (let r = 0; r < rows; r++) for (let j = 0; j < d; j++) data[r * d + j]! -= basis.mean[j]!;
  await breathe(run);
  const { rank, variances } = basis;
  using points = new Points(data, rows, d);
  const coordinates = await points.project(basis.vectors, rank, run);
  using along = new Points(coordinates, rows, rank);
  const { mean, matrix } = await along.covariance(run);
  const { trace, clipped, transport } = await overlap(variances, matrix, run);
  const mapped = await along.project(transport, rank, run);
  const centre = mean.map((_, j) => dot(transport, j * rank, mean));
  const influence = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    let change = 0;
    for (let j = 0; j < rank; j++) {
      const offset = coordinates[r * rank + j]! - mean[j]!;
      const image = mapped[r * rank + j]! - centre[j]!;
      change += 2 * mean[j]! * offset + offset * offset - image * image;
    }
    influence[r] = change;
    if ((r + 1) % Math.max(1, Math.floor(2 ** 20 / rank)) === 0) await breathe(run);
  }
  const average = moments(influence).mean;
  for (let r = 0; r < rows; r++) influence[r]! -= average;
  const value = sum(mean.map((delta) => delta * delta)) + sum(variances) + traceOf(matrix, rank) - 2 * trace;
  return { value: Math.max(0, value), influence, otherError: 0, clipped: basis.clipped + clipped };
}

/**
 * tr S^1/2 of S = L^1/2 C L^1/2, L = diag(variances), and the rows L^1/2 v_j / s_j^1/4 of the transport map, (x . row_j)^2 summed being
 * x^T L^1/2 S^-1/2 L^1/2 x; none for eigenvalues that are zero up to rounding, which samples have no part in.
 */
async function overlap(
  variances: Float64Array,
  covariance: Float64Array,
  run: RunOptions,
): Promise<{ readonly trace: number; readonly clipped: number; readonly transport: Float64Array<ArrayBuffer> }> {
  const n = variances.length;
  const roots = variances.map(Math.sqrt);
  const product = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) product[i * n + j] = roots[i]! * roots[j]! * covariance[i * n + j]!;
  const { values, vectors } = await symmetricEigen(product, n, run);
  const rounding = n * Number.EPSILON * Math.abs(values[n - 1]!);
  const transport = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    if (!(values[j]! > rounding)) continue;
    const factor = values[j]! ** -0.25;
    for (let i = 0; i < n; i++) transport[j * n + i] = factor * roots[i]! * vectors[j * n + i]!;
  }
  const { variances: clean, clipped } = clip(values);
  return { trace: sum(clean.map(Math.sqrt)), clipped, transport };
}

/** Covariances have no negative eigenvalue; rounding puts some a little below 0. */
function clip(values: Float64Array): { readonly variances: Float64Array<ArrayBuffer>; readonly clipped: number } {
  return { variances: Float64Array.from(values, (value) => Math.max(0, value)), clipped: values.filter((value) => value < 0).length };
}

/** matrix V^T: the rows of a matrix [d, d] in the coordinates of a basis. */
async function rotated(matrix: Float64Array<ArrayBuffer>, basis: Principal, run: RunOptions): Promise<Float64Array<ArrayBuffer>> {
  using rows = new Points(matrix, basis.rank, basis.rank);
  return await rows.project(basis.vectors, basis.rank, run);
}

function transposed(matrix: Float64Array, n: number): Float64Array<ArrayBuffer> {
  const result = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) result[j * n + i] = matrix[i * n + j]!;
  return result;
}

function dot(rows: Float64Array, from: number, vector: Float64Array): number {
  return vector.reduce((total, value, j) => total + value * rows[from + j]!, 0);
}

function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0);
}

function traceOf(matrix: Float64Array, n: number): number {
  let total = 0;
  for (let j = 0; j < n; j++) total += matrix[j * n + j]!;
  return total;
}
