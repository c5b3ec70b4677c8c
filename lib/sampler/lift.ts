/** Readings in all d dimensions of a run that was made in the span of a reduction: x = U^T y + p, with p drawn from its exact law. */
import type { NativeSimulateResult } from "../native.js";
import type { Node } from "./grid.js";
import { addScaled, complementLaw, dot, drawComplements, gain, type LiftedRun, type Reduction } from "./reduction.js";
import type { Program } from "./trace.js";

/** Readings that x itself is needed for, besides the posterior weights. */
export const liftedReadings = ["states", "denoised", "norm", "projections", "logDensity"] as const;

/** What a lift is to give. */
export interface LiftRequest extends LiftedRun {
  readonly program: Program;
  readonly recorded: readonly Node[];
  readonly observe: readonly string[];
  /** [directionCount, d]. */
  readonly directions: Float64Array | null;
  readonly directionCount: number;
}

/** The reduced run's own readings that lifting `observe` starts from. */
export function readingsToLift(observe: readonly string[]): string[] {
  const lifted = observe.filter((name) => (liftedReadings as readonly string[]).includes(name));
  if (lifted.length === 0) return [];
  return ["states", ...lifted.filter((name) => name === "denoised" || name === "logDensity")];
}

/** The end x [count, d], and those of the readings that were asked for. */
type Lifted = { readonly x: Float64Array<ArrayBuffer> } & {
  readonly [name in (typeof liftedReadings)[number]]: Float64Array<ArrayBuffer> | undefined;
};

/** The lift of a reduced run, whose result has `readingsToLift`. */
export async function lift(reduction: Reduction, result: NativeSimulateResult, request: LiftRequest): Promise<Lifted> {
  const { program, recorded, observe, directions, directionCount, count } = request;
  const { basis, dimension, rest, variance } = reduction;
  const d = rest.length;
  const records = readingsToLift(observe).length > 0;
  const law = complementLaw(program, variance, records);
  const room = (name: string, width: number): Float64Array<ArrayBuffer> | undefined =>
    observe.includes(name) ? new Float64Array(recorded.length * count * width) : undefined;
  const seen = {
    states: room("states", d),
    denoised: room("denoised", d),
    norm: room("norm", 1),
    projections: room("projections", directionCount),
    logDensity: room("logDensity", 1),
  };
  const x = new Float64Array(count * d);
  /** p + U^T y of row `row` of reduced states or denoised means. */
  const lifted = (p: Float64Array, y: Float64Array, row: number): Float64Array => {
    const sum = p.slice();
    for (let i = 0; i < dimension; i++) addScaled(sum, y[row * dimension + i]!, basis.subarray(i * d, (i + 1) * d));
    return sum;
  };
  await drawComplements(reduction, law, request, (r, [end, ...along]) => {
    x.set(lifted(end!, result.x, r), r * d);
    along.forEach((p, record) => {
      const at = recorded[record]!;
      const row = record * count + r;
      const state = lifted(p, result.states!, row);
      seen.states?.set(state, row * d);
      if (seen.norm !== undefined) seen.norm[row] = Math.sqrt(dot(state, state));
      for (let k = 0; seen.projections !== undefined && k < directionCount; k++) {
        seen.projections[row * directionCount + k] = dot(state, directions!.subarray(k * d, (k + 1) * d));
      }
      const away = p.slice();
      addScaled(away, -at.a, rest);
      if (seen.denoised !== undefined) {
        const mean = rest.slice();
        addScaled(mean, gain(at, variance), away);
        seen.denoised.set(lifted(mean, result.denoised!, row), row * d);
      }
      if (seen.logDensity !== undefined) {
        const width = at.a ** 2 * variance + at.b ** 2;
        seen.logDensity[row] = result.logDensity![row]! - ((d - dimension) * Math.log(2 * Math.PI * width) + dot(away, away) / width) / 2;
      }
    });
  });
  return { x, ...seen };
}
