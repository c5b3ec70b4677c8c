/** Readings in all d dimensions of a run that was made in the span of a reduction: x = U^T y + p, with p drawn from its exact law. */
import { runJob, type NativeLiftResult, type NativeSimulateResult, type RunOptions } from "../native.js";
import type { Node } from "./grid.js";
import { semidefiniteFactor, type ComplementLaw, type ComplementStart, type Reduction } from "./reduction.js";

/** Readings that x itself is needed for, besides the posterior weights. */
export const liftedReadings = ["states", "denoised", "norm", "projections", "logDensity"] as const;

/** What a lift is to give, for trajectories first ... first + count - 1. */
export interface LiftRequest extends Pick<RunOptions, "signal" | "threads"> {
  readonly start: ComplementStart;
  readonly seed: bigint;
  readonly first: number;
  readonly count: number;
  readonly law: ComplementLaw;
  /** Levels of the records that `law` has beside the end. */
  readonly levels: readonly Node[];
  readonly observe: readonly string[];
  /** [directionCount, d]. */
  readonly directions: Float64Array | null;
  readonly directionCount: number;
}

/** Draws of p have numbers of their own, above those of any program. */
const firstDraw = 0xe0000000;

/** The reduced run's own readings that lifting `observe` starts from. */
export function readingsToLift(observe: readonly string[]): string[] {
  const lifted = observe.filter((name) => (liftedReadings as readonly string[]).includes(name));
  if (lifted.length === 0) return [];
  return ["states", ...lifted.filter((name) => name === "denoised" || name === "logDensity")];
}

/** The end x [count, d], and those of the readings that were asked for, of a reduced run whose result has `readingsToLift`. */
export function lift(reduction: Reduction, result: NativeSimulateResult, request: LiftRequest): Promise<NativeLiftResult> {
  const { law, levels, observe, directions, directionCount, seed, first, count, signal, threads } = request;
  const { basis, dimension, variance } = reduction;
  const d = reduction.rest.length;
  const { rows, mean, deviation } = request.start;
  const size = law.rest.length;
  // A drawn start is one more Gaussian, with a mean along q.
  const [middle, random] = rows === null ? [mean, deviation ** 2] : [0, 0];
  const covariance = law.covariance.map((value, i) => value + random * law.start[Math.floor(i / size)]! * law.start[i % size]!);
  return runJob({ signal, threads }, (addon, most, progress) =>
    addon.lift(
      {
        d,
        dimension,
        basis,
        rest: reduction.rest,
        variance,
        constant: law.rest.map((value, i) => value + law.start[i]! * middle),
        start: law.start,
        factor: semidefiniteFactor(covariance, size),
        rows,
        seed,
        first,
        count,
        firstDraw,
        ends: result.x,
        states: result.states ?? new Float64Array(0),
        denoised: result.denoised,
        logDensity: result.logDensity,
        records: levels.length,
        a: Float64Array.from(levels, ({ a }) => a),
        b: Float64Array.from(levels, ({ b }) => b),
        observe: observe.filter((name) => (liftedReadings as readonly string[]).includes(name)),
        directions,
        directionCount,
      },
      most,
      progress,
    ),
  );
}
