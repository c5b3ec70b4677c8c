/**
 * The numbers that define the components of a target, checked and flattened: weights, and the covariances of a mixture. Only
 * `target.ts` imports it.
 */
import { checkFinite, elementCount, type NdArray, type RealArray } from "./array.js";
import { RegimesError, checkChoice } from "./errors.js";
import type { NativeCovariance } from "./native.js";
import { CompensatedSum } from "./sum.js";

/** Numbers in C-order, flat or with their shape. */
export type Flexible = ArrayLike<number> | NdArray<RealArray>;

/** Covariances C_k, symmetric positive semi-definite; zero is allowed. */
export type CovarianceParameters =
  /** C_k = v_k I: variances [k]. */
  | { readonly type: "spherical"; readonly variances: Flexible }
  /** C_k = diag(v_k): variances [k, d]. */
  | { readonly type: "diagonal"; readonly variances: Flexible }
  /** matrices [k, d, d]. */
  | { readonly type: "full"; readonly matrices: Flexible }
  /** C_k = diag(psi_k) + W_k W_k^T: diagonals psi [k, d], factors W [k, d, r]. */
  | { readonly type: "low-rank"; readonly diagonals: Flexible; readonly factors: NdArray<RealArray> };

/** A copy of the weights of n components. @throws RegimesError E_SHAPE, E_WEIGHTS. */
export function checkWeights(given: ArrayLike<number>, n: number, normalize: boolean): Float64Array<ArrayBuffer> {
  if (given.length !== n) throw new RegimesError("E_SHAPE", `weights: ${given.length} of them for ${n} components`);
  const weights = Float64Array.from(given);
  const bad = weights.findIndex((weight) => !(weight >= 0 && weight < Infinity));
  if (bad >= 0) throw new RegimesError("E_WEIGHTS", `weights[${bad}] is ${weights[bad]}, need finite numbers >= 0`);
  const total = new CompensatedSum();
  for (const weight of weights) total.add(weight);
  const sum = total.value;
  if (!(sum < Infinity)) throw new RegimesError("E_WEIGHTS", "the sum of the weights exceeds float64. Scale them down");
  if (!(sum > 0)) throw new RegimesError("E_WEIGHTS", "all weights are zero");
  if (normalize) return weights.map((weight) => weight / sum);
  if (Math.abs(sum - 1) > 1e-9) {
    throw new RegimesError("E_WEIGHTS", `weights sum to ${sum}, need 1. Divide them by their sum (empirical: normalize: true)`);
  }
  return weights;
}

/** A C-order float64 copy of `values`, whose shape, if it has one, must be `shape`. */
export function flat(what: string, values: Flexible, shape: readonly number[]): Float64Array<ArrayBuffer> {
  const carried = (values as NdArray<RealArray>)?.shape as readonly number[] | undefined;
  const data: ArrayLike<number> = carried === undefined ? (values as ArrayLike<number>) : (values as NdArray<RealArray>).data;
  const strides = (values as NdArray<RealArray>)?.strides;
  const count = elementCount(what, shape);
  const fits = data?.length !== undefined && (carried === undefined || (carried.length === shape.length && carried.every((e, i) => e === shape[i])));
  if (!fits || (strides === undefined && data.length !== count)) {
    const got = `${carried === undefined ? "" : `shape [${carried.join(", ")}] with `}${data?.length ?? "no"} elements`;
    throw new RegimesError("E_SHAPE", `${what}: ${got}, need [${shape.join(", ")}], ${count} elements`);
  }
  const copy = strides === undefined ? Float64Array.from(data) : strided(what, data, shape, strides, count);
  checkFinite(what, copy, shape[shape.length - 1]!);
  return copy;
}

function strided(what: string, data: ArrayLike<number>, shape: readonly number[], strides: readonly number[], count: number): Float64Array<ArrayBuffer> {
  const copy = new Float64Array(count);
  const index = shape.map(() => 0);
  for (let k = 0; k < count; k++) {
    const at = index.reduce((sum, i, axis) => sum + i * strides[axis]!, 0);
    if (!(at >= 0 && at < data.length)) throw new RegimesError("E_SHAPE", `${what}: strides [${strides.join(", ")}] leave the data`);
    copy[k] = data[at]!;
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis]! === shape[axis]; axis--) index[axis] = 0;
  }
  return copy;
}

/** Covariances of k components in d dimensions as the addon takes them. @throws RegimesError E_SHAPE, E_OPTION, E_NONFINITE, E_NOT_PSD. */
export function flatCovariances(given: CovarianceParameters, k: number, d: number): NativeCovariance {
  const type = checkChoice("covariances.type", given?.type, ["spherical", "diagonal", "full", "low-rank"]);
  switch (given.type) {
    case "spherical":
      return { type: "spherical", variances: nonNegative("covariances.variances", flat("covariances.variances", given.variances, [k])) };
    case "diagonal":
      return { type: "diagonal", variances: nonNegative("covariances.variances", flat("covariances.variances", given.variances, [k, d])) };
    case "full":
      return { type: "full", matrices: flat("covariances.matrices", given.matrices, [k, d, d]) };
    case "low-rank": {
      const rank = given.factors?.shape?.[2];
      if (rank === undefined || rank < 1) throw new RegimesError("E_SHAPE", "covariances.factors: need shape [k, d, r] with r at least 1");
      const diagonals = nonNegative("covariances.diagonals", flat("covariances.diagonals", given.diagonals, [k, d]));
      return { type: "low-rank", diagonals, factors: flat("covariances.factors", given.factors, [k, d, rank]), rank };
    }
    default:
      throw new RegimesError("E_OPTION", `covariances.type ${type} is not known`);
  }
}

function nonNegative(what: string, variances: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const bad = variances.findIndex((variance) => variance < 0);
  if (bad >= 0) throw new RegimesError("E_NOT_PSD", `${what}[${bad}] is ${variances[bad]}, need >= 0`);
  return variances;
}
