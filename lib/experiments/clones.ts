/**
 * Cloning experiments (Biroli, Bonnaire, De Bortoli, Mezard 2024): a reverse trajectory, the trunk, is split at a time t into two that go
 * on with independent noises; do both end in the same class, or on the same datum? With the exact score and fine steps
 *   P(same class) = E sum_c p(c|x_t)^2,   P(same datum) = E sum_i w_i(x_t)^2   (equal rows are one datum, their weights added),
 * the curves `speciationCloning` and `collapseCloning` of `regimes`, which need no clones: this is the experiment itself, with the bias
 * of a sampler's finite steps in it.
 */
import { RegimesError, checkOptionNames } from "../errors.js";
import { meanEstimate, type Estimate } from "../estimate.js";
import type { Field, Meta } from "../field.js";
import { seedOf } from "../native.js";
import { gridThrough, sampleReverse, samplingOf, trajectoryOptionNames, type GridOptions, type SamplerName, type TrajectoryOptions } from "../sampler.js";
import { endsOf, metaOfRuns, progressInParts, stochasticSampler, workingField, type Ends } from "./ends.js";

/** Options of `clones`. `from`, `to`, `steps` and `schedule` make the grid of the trunk, to which the branch times are added. */
export interface ClonesOptions extends TrajectoryOptions, GridOptions {
  /** Times of splitting, in the process's clock, between `to` and `from`. */
  readonly branchTimes: readonly number[] | Float64Array;
  /** Trunks; each is split into two at every branch time. */
  readonly pairs: number;
  /** Where trunks start: "marginal" (default), the exact law at `from`, or "standard", N(0, (a^2 + b^2) I). */
  readonly start?: "marginal" | "standard" | undefined;
}

/** Results at each branch time, in the order asked for. */
export interface Clones {
  /** Process clock. */
  readonly times: readonly number[];
  readonly ouTimes: readonly number[];
  /**
   * Fraction of pairs whose clones end in the same class, null without classes. Pairs are independent at one time; estimates at
   * different times share their trunks.
   */
  readonly speciationCloning: readonly Estimate[] | null;
  /** Fraction whose clones end on the same datum, null for a mixture. */
  readonly collapseCloning: readonly Estimate[] | null;
  /** What each would be without the error of finite steps. */
  readonly exact: { readonly speciationCloning: "E sum_c p(c|x_t)^2"; readonly collapseCloning: "E sum_i w_i(x_t)^2" };
  readonly pairs: number;
  readonly sampler: SamplerName;
  /** Steps of a whole trajectory, branch times included, and its ends in the process's clock. */
  readonly steps: number;
  readonly from: number;
  readonly to: number;
  readonly seed: string;
  /** Dimension that the dynamics ran in, where it was reduced (see `sampleReverse`). */
  readonly reduction: { readonly dimension: number } | null;
  /** Of the target. */
  readonly fingerprint: string;
  readonly meta: Meta;
}

/** Ranges of trajectory numbers: those of trunks, then two for each branch time. */
const range = 2 ** 32;
/** Numbers of the states at all branch times that are held at once. */
const heldNumbers = 2 ** 23;

/**
 * Simulated cloning probabilities at all branch times from one trunk per pair. The trunk of pair p is trajectory p; its clones from
 * branch time j are trajectories 2^32 (1 + 2 j) + p and 2^32 (2 + 2 j) + p: no two share a noise.
 * @throws RegimesError E_OPTION, also for a sampler without noise, whose clones coincide; E_DOMAIN for branch times outside the run.
 */
export async function clones(field: Field, options: ClonesOptions): Promise<Clones> {
  const own = ["branchTimes", "pairs", "start", "steps", "from", "to", "schedule"];
  checkOptionNames("clones", options, [...own, ...trajectoryOptionNames]);
  const { pairs, start = "marginal" } = options;
  const started = performance.now();
  const sampler = stochasticSampler(options, "clones of a deterministic trajectory coincide (uTurn is the experiment that works)");
  if (start !== "marginal" && start !== "standard") throw new RegimesError("E_OPTION", `start is "${String(start)}", need "marginal" or "standard"`);
  if (!Number.isSafeInteger(pairs) || pairs < 2 || pairs > range) throw new RegimesError("E_OPTION", `pairs is ${pairs}, need a whole number from 2 to 2^32`);
  const grid = gridThrough(field.process, options, checkBranchTimes(options.branchTimes));
  const times = Array.from(options.branchTimes);
  const places = times.map((t) => grid.findIndex((node) => node.t === t));
  const last = grid.length - 1;
  const outside = places.findIndex((place) => place <= 0 || place >= last);
  if (outside >= 0) throw new RegimesError("E_DOMAIN", `branchTimes[${outside}] is ${times[outside]}, need a time inside the run, from ${grid[0]!.t} to ${grid[last]!.t}`);

  const { inner, reduction } = await workingField(field, options);
  const { d } = inner;
  const common = samplingOf(options);
  const schedule = grid.map(({ t }) => t);
  const deepest = Math.max(...places);
  const kinds = { classes: field.target.classes > 0, data: field.target.kind === "points" };
  const same = times.map(() => ({ classes: new Float64Array(pairs), data: new Float64Array(pairs) }));
  const continued = places.reduce((sum, place) => sum + 2 * (last - place), 0);
  const part = progressInParts(options.onProgress, pairs * (deepest + continued));
  const rows = Math.max(1, Math.min(pairs, Math.floor(heldNumbers / (times.length * d))));
  let run;
  for (let first = 0; first < pairs; first += rows) {
    const count = Math.min(rows, pairs - first);
    const record = { times, observe: ["states"] as const };
    const trunk = await sampleReverse(inner, {
      ...common, ...part(count * deepest), schedule: schedule.slice(0, deepest + 1), start, count, firstTrajectory: first, reduce: "none", record,
    });
    const states = trunk.observed.states!.data;
    for (const [j, place] of places.entries()) {
      // Records lie along the trunk.
      const at = trunk.times.indexOf(times[j]!) * count * d;
      const begin = { data: states.subarray(at, at + count * d), shape: [count, d] };
      const clone = (which: 0 | 1): Promise<Ends> => {
        const firstTrajectory = range * (1 + 2 * j + which) + first;
        return endsOf(inner, { ...common, ...part(count * (last - place)), schedule: schedule.slice(place), start: begin, count, firstTrajectory });
      };
      const left = await clone(0);
      const right = await clone(1);
      for (let r = 0; r < count; r++) {
        if (kinds.classes) same[j]!.classes[first + r] = left.classes![r] === right.classes![r] ? 1 : 0;
        if (kinds.data) same[j]!.data[first + r] = left.data![r] === right.data![r] ? 1 : 0;
      }
      run = right.run;
    }
  }
  const fractions = (of: "classes" | "data"): Estimate[] | null => (kinds[of] ? same.map((pair) => meanEstimate(pair[of], { range: [0, 1] })) : null);
  return {
    times,
    ouTimes: places.map((place) => grid[place]!.ouTime),
    speciationCloning: fractions("classes"),
    collapseCloning: fractions("data"),
    exact: { speciationCloning: "E sum_c p(c|x_t)^2", collapseCloning: "E sum_i w_i(x_t)^2" },
    pairs,
    sampler,
    steps: last,
    from: grid[0]!.t,
    to: grid[last]!.t,
    seed: String(seedOf(options.seed)),
    reduction,
    fingerprint: field.target.fingerprint,
    meta: metaOfRuns(run!, started),
  };
}

function checkBranchTimes(times: ClonesOptions["branchTimes"]): number[] {
  if (!(Array.isArray(times) || times instanceof Float64Array) || times.length === 0) {
    throw new RegimesError("E_OPTION", `branchTimes is ${String(times)}, need an array of times`);
  }
  if (times.length > 2 ** 19) throw new RegimesError("E_OPTION", `${times.length} branchTimes, at most 2^19 have numbers of their own`);
  return Array.from(times);
}
