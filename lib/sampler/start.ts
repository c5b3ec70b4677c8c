/** Where reverse trajectories start: the laws of x at the first noise level. */
import type { PointsInput } from "../array.js";
import { RegimesError, checkChoice, checkOptionNames } from "../errors.js";
import type { RunOptions } from "../native.js";
import { gaussianMixture, type Target } from "../target.js";
import type { Pace } from "../native/pace.js";
import { takeRowsInPieces } from "../native/rows.js";
import type { Node } from "./grid.js";

const lawNames = ["standard", "marginal", "gaussian"] as const;
const covarianceNames = ["full", "low-rank", "diagonal"] as const;

/** How much of the covariance the law "gaussian" keeps. */
export type GaussianCovariance = (typeof covarianceNames)[number];

/**
 * "standard": N(0, (a^2 + b^2) I), which is N(0, I) for variance-preserving processes at any time (default). "marginal": the exact law,
 * x = a x_0 + b z with x_0 from the target. "gaussian": N(a m, a^2 C + b^2 I) with the target's mean m and covariance C (Raya and
 * Ambrogioni 2023, Gaussian late start): whole, its `rank` leading eigenpairs with the rest spread evenly ("low-rank"), or its
 * diagonal. Or the states themselves, [count, d].
 */
export type Start =
  | (typeof lawNames)[number]
  | { readonly law: "gaussian"; readonly covariance?: GaussianCovariance; readonly rank?: number }
  | PointsInput;

/** A start as native code takes it. */
export interface StartDraws {
  readonly rows: Float64Array<ArrayBuffer> | null;
  /** max |x| of the rows; 0 without. */
  readonly reach: number;
  readonly target: Target | null;
  readonly a: number;
  readonly b: number;
}

/** The start of `count` trajectories at the level `node`; `target` is null for a score of one's own. */
export async function startDraws(
  start: Start,
  node: Node,
  target: Target | null,
  shape: { readonly count: number; readonly d: number },
  { signal, threads }: RunOptions,
  rest: Pace,
): Promise<StartDraws> {
  const { a, b } = node;
  if (typeof start === "object" && "data" in start) {
    const { data, rows, largest } = await takeRowsInPieces("start", start, shape.d, rest);
    if (rows !== shape.count) throw new RegimesError("E_SHAPE", `start: ${rows} rows for ${shape.count} trajectories`);
    return { rows: data, reach: largest, target: null, a: 0, b: 0 };
  }
  if (typeof start === "object") checkOptionNames("start", start, ["law", "covariance", "rank"]);
  const law = checkChoice("start", typeof start === "string" ? start : start.law, lawNames);
  const options: { covariance?: GaussianCovariance; rank?: number } = typeof start === "object" ? start : {};
  if (law !== "gaussian" && (options.covariance !== undefined || options.rank !== undefined)) {
    throw new RegimesError("E_OPTION", `covariance and rank go with the start "gaussian", not with "${law}"`);
  }
  if (law === "standard") return { rows: null, reach: 0, target: null, a: 0, b: Math.hypot(a, b) };
  if (target === null) throw new RegimesError("E_OPTION", `start "${law}" needs a field; with a score of your own, pass "standard" or the states`);
  if (law === "marginal") return { rows: null, reach: 0, target, a, b };
  return { rows: null, reach: 0, target: await gaussianOf(target, options, { signal, threads }), a, b };
}

/**
 * The Gaussian with the mean and covariance of a target. @throws RegimesError E_SHAPE for "full" above d = 4096, E_OPTION.
 */
export async function gaussianOf(
  target: Target,
  options: { readonly covariance?: GaussianCovariance; readonly rank?: number },
  run: RunOptions = {},
): Promise<Target> {
  const { d } = target;
  const covariance = checkChoice("covariance", options.covariance ?? "full", covarianceNames);
  const { rank } = options;
  if ((covariance === "low-rank") !== (rank !== undefined)) throw new RegimesError("E_OPTION", `rank goes with the covariance "low-rank", and that with a rank`);
  if (covariance === "low-rank") {
    const spectrum = await target.spectrum({ count: rank, ...run });
    const kept = spectrum.eigenvalues.reduce((sum, value) => sum + value, 0);
    const rest = rank! < d ? Math.max(0, spectrum.trace - kept) / (d - rank!) : 0;
    const factors = new Float64Array(d * rank!);
    for (let k = 0; k < rank!; k++) {
      const length = Math.sqrt(Math.max(0, spectrum.eigenvalues[k]! - rest));
      for (let j = 0; j < d; j++) factors[j * rank! + k] = length * spectrum.vectors.data[k * d + j]!;
    }
    return one(spectrum.mean, { type: "low-rank", diagonals: new Float64Array(d).fill(rest), factors: { data: factors, shape: [1, d, rank!] } });
  }
  const { mean, matrix } = await target.covariance(run);
  if (covariance === "diagonal") {
    return one(mean, { type: "diagonal", variances: mean.map((_, j) => matrix.data[j * d + j]!) });
  }
  return one(mean, { type: "full", matrices: matrix.data });
}

function one(mean: Float64Array<ArrayBuffer>, covariances: Parameters<typeof gaussianMixture>[0]["covariances"]): Target {
  return gaussianMixture({ means: { data: mean, shape: [1, mean.length] }, covariances });
}
