/**
 * How good samples are: distances of their law to the target, with error bars, and how many of them are training data. There is no
 * Inception network here, so the Frechet distance is that of pixels or of principal components, and bears that name.
 */
import type { PointsInput } from "./array.js";
import { RegimesError, checkChoice, checkOptionNames } from "./errors.js";
import type { Estimate } from "./estimate.js";
import { runJob, runOptionNames, seedOf, type RunOptions } from "./native.js";
import type { Target } from "./target.js";
import { frechetMeasure } from "./quality/frechet.js";
import { estimateOf, type Measure } from "./quality/measured.js";
import { slicedWassersteinMeasure } from "./quality/sliced.js";

export { frechetDistance, type GaussianLaw } from "./quality/frechet.js";
export { estimateOf, type Measure, type Measured } from "./quality/measured.js";
export { memorisationRatio, type Memorisation, type MemorisationOptions } from "./quality/memorised.js";

const measureNames = ["frechet-pixel", "frechet-pca", "sliced-wasserstein"] as const;

/**
 * "frechet-pixel": squared Frechet distance of means and covariances in data space, d at most 4096. "frechet-pca": the same of the
 * projections on the `rank` leading principal directions of the target. Both in squared data units. "sliced-wasserstein": SW_2 over
 * random directions, in data units.
 */
export type MeasureName = (typeof measureNames)[number];

export interface MeasureOptions {
  /** Default "frechet-pixel". */
  readonly measure?: MeasureName | undefined;
  /** With "frechet-pca": how many principal directions, default min(64, d). */
  readonly rank?: number | undefined;
  /** With "sliced-wasserstein": how many directions, default 64. */
  readonly projections?: number | undefined;
  /** Of the directions, and of the draws of the floor. */
  readonly seed: number | bigint;
}

/** The names of `MeasureOptions`, for option checks. */
export const measureOptionNames: readonly string[] = ["measure", "rank", "projections"];

export interface SampleQuality {
  /** Name of the measure, with its rank. */
  readonly measure: string;
  /**
   * The distance; its standard error is over the samples to first order (infinitesimal jackknife) and over the directions, and does not
   * contain the bias, which is upwards.
   */
  readonly distance: Estimate;
  /** What as many draws of the target itself give: no samples of that number can be told from the target below about this. */
  readonly floor: Estimate;
  /** Eigenvalues that rounding put below 0, and that counted as 0. */
  readonly clipped: number;
}

/**
 * The distance of samples [count, d] to a target.
 * @throws RegimesError E_OPTION, E_SHAPE, E_NONFINITE, E_DISPOSED.
 */
export async function sampleQuality(samples: PointsInput, target: Target, options: MeasureOptions & RunOptions): Promise<SampleQuality> {
  checkOptionNames("sampleQuality", options, [...measureOptionNames, "seed", ...runOptionNames]);
  const { measure: _, rank: __, projections: ___, seed, ...run } = options;
  const measure = await measureOf(target, options, run);
  const measured = await measure.of(samples, run);
  const floor = await floorOf(measure, target, measured.influence.length, seedOf(seed), run);
  return { measure: measure.name, distance: estimateOf(measured), floor, clipped: measured.clipped };
}

/** @internal A measure that is made ready once for many sets of samples. */
export async function measureOf(target: Target, options: MeasureOptions, run: RunOptions): Promise<Measure> {
  const name = checkChoice("measure", options.measure ?? "frechet-pixel", measureNames);
  const { d } = target;
  const count = (option: "rank" | "projections", owner: MeasureName, most: number): number => {
    const value = options[option] ?? Math.min(64, most);
    if (options[option] !== undefined && name !== owner) {
      throw new RegimesError("E_OPTION", `${option} goes with the measure "${owner}", not "${name}"`);
    }
    if (Number.isSafeInteger(value) && value >= 1 && value <= most) return value;
    throw new RegimesError("E_OPTION", `${option} is ${value}, need a whole number from 1 to ${most}`);
  };
  const rank = count("rank", "frechet-pca", d);
  const projections = count("projections", "sliced-wasserstein", 2 ** 16);
  if (name === "sliced-wasserstein") return slicedWassersteinMeasure(target, projections, seedOf(options.seed));
  return frechetMeasure(target, name === "frechet-pca" ? rank : undefined, run);
}

/** @internal The measure of `count` draws of the target itself. */
export async function floorOf(measure: Measure, target: Target, count: number, seed: bigint, run: RunOptions): Promise<Estimate> {
  const request = { a: 1, b: 0, seed, first: 0, count };
  const draws = await runJob(run, (addon, threads, progress) => addon.sample(target.handle, request, threads, progress));
  return estimateOf(await measure.of({ data: draws.x, shape: [count, target.d] }, run));
}
