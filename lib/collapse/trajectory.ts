/**
 * Collapse along single trajectories: the time of the last switch of the nearest datum, after which a reverse trajectory is bound to the datum
 * that it ends on. The distribution over trajectories is what Biroli, Bonnaire, De Bortoli and Mezard (2024) call t_C-hat, and its mean
 * is theirs: the mean of OU times, not the OU time of a mean step.
 */
import { checkChoice } from "../errors.js";
import { meanEstimate, moments, quantileOf } from "../estimate.js";
import type { Field } from "../field.js";
import { ddpm } from "../process.js";
import { criticalTime, type CriticalTime } from "../regimes.js";
import { gridThrough, reverseGrid, sampleReverse, samplingOf, settledRecords, trajectoryOptionNames, type GridOptions, type TrajectoryOptions } from "../sampler.js";

/** Options of `collapseTime` with criterion "trajectory". */
export interface TrajectoryCollapseOptions extends Omit<TrajectoryOptions, "seed" | "reduce">, GridOptions {
  readonly criterion: "trajectory";
  /** Trajectories, default 256. */
  readonly count?: number | undefined;
  /** Default 1. */
  readonly seed?: number | bigint | undefined;
  /** Default 500, unless the schedule is one of times. */
  readonly steps?: number | undefined;
  /**
   * When the nearest datum is looked at: at "every-step" (default), or on the "published" grid, the OU times of steps 950, 900, ..., 50, 0
   * of the linear 1000-step DDPM schedule, where the run then ends.
   */
  readonly watch?: "every-step" | "published" | undefined;
}

/** The names of `TrajectoryCollapseOptions`, for option checks. */
export const trajectoryCollapseOptionNames: readonly string[] = [
  "criterion", "count", "watch", "steps", "from", "to", "schedule", ...trajectoryOptionNames.filter((name) => name !== "reduce"),
];

/** The mean over trajectories (OU time) as a critical time, with the distribution beside it. */
export interface TrajectoryCollapse extends CriticalTime {
  /** null where there is nothing to collapse onto. */
  readonly distribution: {
    /** OU time of each trajectory: the first watched one after its last switch. */
    readonly ouTimes: readonly number[];
    readonly deviation: number;
    readonly quantiles: { readonly [probability in "0.05" | "0.25" | "0.5" | "0.75" | "0.95"]: number };
    /** Trajectories that kept their first datum throughout: they count with the first watched time, where a switch may have been before. */
    readonly neverSwitched: number;
    /** Trajectories that switched before the very last watched time: they may do so again after it. */
    readonly switchedLast: number;
    /** Datum of each end. */
    readonly nearest: readonly number[];
    /** Watched OU times, decreasing. */
    readonly watched: readonly number[];
  } | null;
}

/** The collapse of trajectories of a field over data. @throws RegimesError E_OPTION, E_DOMAIN. */
export async function trajectoryCollapse(field: Field, options: TrajectoryCollapseOptions): Promise<TrajectoryCollapse> {
  const { count = 256, seed = 1, sampler = "ddpm" } = options;
  const watch = checkChoice("watch", options.watch ?? "every-step", ["every-step", "published"]);
  const grid = watch === "published" ? publishedGrid(field, options) : { nodes: reverseGrid(field.process, withSteps(options)), watched: null };
  const times = grid.watched ?? grid.nodes.map(({ t }) => t);
  const run = await sampleReverse(field, {
    ...samplingOf({ ...options, seed }),
    onProgress: options.onProgress,
    count,
    schedule: grid.nodes.map(({ t }) => t),
    record: { times, observe: ["nearest"] },
  });
  const watched = Array.from(run.ouTimes);
  const nearest = run.observed.nearest!.index.data;
  const last = watched.length - 1;
  const places = settledRecords(nearest, count);
  const ouTimes = places.map((place) => watched[place]!);
  const sorted = Float64Array.from(ouTimes).sort();
  const quantile = (p: number): number => quantileOf(sorted, p);
  const never = places.filter((place) => place === 0).length;
  const where = watch === "published" ? "the published grid of DDPM steps 950, 900, ..., 0" : `each of ${grid.nodes.length - 1} steps`;
  const censored = never === 0 ? "" : `; ${never} never switched and count with the first time`;
  return {
    ...criticalTime(field.process, meanEstimate(ouTimes), {
      criterion: "trajectory",
      method: `mean over ${count} ${sampler} trajectories of the OU time after the last switch of the nearest datum, watched at ${where}${censored}`,
    }),
    distribution: {
      ouTimes,
      deviation: moments(ouTimes).deviation,
      quantiles: { "0.05": quantile(0.05), "0.25": quantile(0.25), "0.5": quantile(0.5), "0.75": quantile(0.75), "0.95": quantile(0.95) },
      neverSwitched: never,
      switchedLast: last === 0 ? 0 : places.filter((place) => place === last).length,
      nearest: Array.from(nearest.subarray(last * count)),
      watched,
    },
  };
}

function withSteps(options: TrajectoryCollapseOptions): TrajectoryCollapseOptions {
  return typeof options.schedule === "object" && !("karras" in options.schedule) ? options : { ...options, steps: options.steps ?? 500 };
}

/** A run that ends at step 0 of DDPM and passes its steps 50, 100, ..., 950. */
function publishedGrid({ process }: Field, options: TrajectoryCollapseOptions): { nodes: ReturnType<typeof reverseGrid>; watched: number[] } {
  const { ouTimes } = ddpm();
  const watched = Array.from({ length: 20 }, (_, i) => process.timeAt(ouTimes[950 - 50 * i]!));
  return { nodes: gridThrough(process, { to: watched.at(-1), ...withSteps(options) }, watched), watched };
}
