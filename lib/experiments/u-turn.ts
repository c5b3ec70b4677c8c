/**
 * U-turns (forward-backward experiments; Sclocchi, Favero, Wyart 2024): a sample of the target is noised to a time t and brought back by a
 * reverse sampler. Does it return to its class, to its datum? Under a stochastic sampler, by Bayes' rule and up to the error of finite steps,
 *   P(same class) = E p(c_0|x_t) = E sum_c p(c|x_t)^2,   P(same datum) = E w_own(x_t) = E sum_i w_i(x_t)^2   (equal rows are one datum),
 * the cloning probabilities. Deterministic samplers return elsewhere: for them the U-turn is what cloning cannot be.
 */
import { RegimesError, checkChoice, checkOptionNames } from "../errors.js";
import { meanEstimate, type Estimate } from "../estimate.js";
import type { Field, Meta } from "../field.js";
import { seedOf } from "../native.js";
import { reverseGrid, samplerNames, samplingOf, trajectoryOptionNames, type ReverseRun, type SamplerName, type Schedule, type TrajectoryOptions } from "../sampler.js";
import { endsOf, metaOfRuns, progressInParts, workingField } from "./ends.js";

/** Options of `uTurn`. */
export interface UTurnOptions extends TrajectoryOptions {
  /** Where the trajectories turn, in the process's clock. */
  readonly times: readonly number[] | Float64Array;
  /** Trajectories at each time. */
  readonly count: number;
  /** Steps of each way back. */
  readonly steps: number;
  /** Where the way back ends; default OU time 1e-3. */
  readonly to?: number | undefined;
  /** How the steps lie, default "log-snr". */
  readonly schedule?: Exclude<Schedule, ArrayLike<number>> | undefined;
}

/** Results at each time, in the order asked for. */
export interface UTurn {
  /** Process clock. */
  readonly times: readonly number[];
  readonly ouTimes: readonly number[];
  /** Fraction that returns to the class it came from, null without classes. Trajectories are the same draws at all times. */
  readonly returnToClass: readonly Estimate[] | null;
  /** Fraction that returns to the datum it came from, null for a mixture. */
  readonly returnToDatum: readonly Estimate[] | null;
  /** What each would be for a stochastic sampler without the error of finite steps. */
  readonly exact: { readonly returnToClass: "E sum_c p(c|x_t)^2"; readonly returnToDatum: "E sum_i w_i(x_t)^2" };
  readonly count: number;
  readonly sampler: SamplerName;
  readonly steps: number;
  readonly seed: string;
  /** Dimension that the dynamics ran in, where it was reduced (see `sampleReverse`). */
  readonly reduction: { readonly dimension: number } | null;
  /** Of the target. */
  readonly fingerprint: string;
  readonly meta: Meta;
}

/**
 * Forward to each time and back. Trajectory r starts from the same x_0 with the same noises at all times, so that curves are smooth.
 * @throws RegimesError E_OPTION; E_DOMAIN for times that the process does not reach or that lie below `to`.
 */
export async function uTurn(field: Field, options: UTurnOptions): Promise<UTurn> {
  checkOptionNames("uTurn", options, ["times", "count", "steps", "to", "schedule", ...trajectoryOptionNames]);
  const { count, steps, to, schedule, sampler = "ddpm" } = options;
  const started = performance.now();
  checkChoice("sampler", sampler, samplerNames);
  if (!(Array.isArray(options.times) || options.times instanceof Float64Array) || options.times.length === 0) {
    throw new RegimesError("E_OPTION", `times is ${String(options.times)}, need an array of times`);
  }
  if (!Number.isSafeInteger(count) || count < 2) throw new RegimesError("E_OPTION", `count is ${count}, need a whole number >= 2`);
  if (typeof schedule === "object" && !("karras" in schedule)) throw new RegimesError("E_OPTION", "a U-turn makes its grid for each time: name a schedule");
  const grids = Array.from(options.times, (from) => reverseGrid(field.process, { from, to, steps, schedule }));

  const { inner, reduction } = await workingField(field, options);
  const part = progressInParts(options.onProgress, grids.length);
  const toClass: Estimate[] = [];
  const toDatum: Estimate[] = [];
  let last: ReverseRun | undefined;
  for (const grid of grids) {
    const turn = { ...samplingOf(options), ...part(1), schedule: grid.map(({ t }) => t), start: "marginal", count } as const;
    const { classes, data, run } = await endsOf(inner, turn);
    const origin = run.startComponents!;
    const fraction = (returned: (r: number) => boolean): Estimate => meanEstimate(Float64Array.from({ length: count }, (_, r) => (returned(r) ? 1 : 0)), { range: [0, 1] });
    if (classes !== null) toClass.push(fraction((r) => classes[r] === classOf(field, origin[r]!)));
    if (data !== null) toDatum.push(fraction((r) => sameRow(field, data[r]!, origin[r]!)));
    last = run;
  }
  return {
    times: Array.from(options.times),
    ouTimes: grids.map(([first]) => first!.ouTime),
    returnToClass: toClass.length > 0 ? toClass : null,
    returnToDatum: toDatum.length > 0 ? toDatum : null,
    exact: { returnToClass: "E sum_c p(c|x_t)^2", returnToDatum: "E sum_i w_i(x_t)^2" },
    count,
    sampler,
    steps,
    seed: String(seedOf(options.seed)),
    reduction,
    fingerprint: field.target.fingerprint,
    meta: metaOfRuns(last!, started),
  };
}

/** Class of a component: the label of a datum, or the Gaussian itself. */
function classOf({ target }: Field, component: number): number {
  return target.kind === "mixture" ? component : target.dataset!.labels![component]!;
}

function sameRow({ target: { dataset } }: Field, i: number, j: number): boolean {
  if (i === j || dataset!.distinctRows === dataset!.n) return i === j;
  const other = dataset!.rows(j, j + 1).data;
  return dataset!.rows(i, i + 1).data.every((value, k) => value === other[k]);
}
