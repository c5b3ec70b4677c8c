/** The probability-flow ODE with error control, whose steps are chosen as it runs: its options, and the levels that it stops at. */
import { RegimesError, checkOptionNames } from "../errors.js";
import type { Node } from "./grid.js";
import type { SamplerParameters } from "./steps.js";
import type { Program } from "./trace.js";

/**
 * Dormand and Prince's fifth order with its embedded fourth, for u = x / a in lambda = log(a / b): du/dlambda = E[x_0 | x_t] - u. A step
 * of a trajectory stands when the root mean square over coordinates of error / (absolute + relative |u|) is at most 1; where the run
 * was reduced, over those of the span: outside it the flow is known.
 */
export interface Tolerance {
  /** In data units, >= 0; default 1e-6. */
  readonly absolute?: number | undefined;
  /** Of |x / a|, >= 0; default 1e-6. One of the two must be above 0. Below 1e-5, ask for precision "float64" where a path is "dense". */
  readonly relative?: number | undefined;
}

/** What a run with error control says of each trajectory. */
export interface AdaptiveSteps {
  readonly accepted: Int32Array<ArrayBuffer>;
  readonly rejected: Int32Array<ArrayBuffer>;
  /** Sum over its steps of the estimated local error, root mean square over coordinates, in data units. */
  readonly error: Float64Array<ArrayBuffer>;
}

/** Both tolerances. @throws RegimesError E_OPTION. */
export function checkedTolerance(tolerance: Tolerance | undefined, parameters: SamplerParameters): { readonly absolute: number; readonly relative: number } {
  const given = Object.entries(parameters).find(([, value]) => value !== undefined);
  if (given !== undefined) throw new RegimesError("E_OPTION", `the sampler adaptive has no option "${given[0]}". It takes tolerance`);
  if (tolerance !== undefined) checkOptionNames("tolerance", tolerance, ["absolute", "relative"]);
  const { absolute = 1e-6, relative = 1e-6 } = tolerance ?? {};
  for (const [name, value] of [["absolute", absolute], ["relative", relative]] as const) {
    if (!(typeof value === "number" && value >= 0 && value < Infinity)) throw new RegimesError("E_OPTION", `tolerance.${name} is ${String(value)}, need a number >= 0`);
  }
  if (absolute + relative > 0) return { absolute, relative };
  throw new RegimesError("E_OPTION", "tolerance is 0 in absolute and relative terms, need one above 0");
}

/** Evaluations of the start register at all levels of a grid, recorded at some of its places, which is what native code takes. */
export function levelsProgram(grid: readonly Node[], places: ReadonlySet<number>): Program {
  const integers = new Int32Array(5 * grid.length);
  const reals = new Float64Array(3 * grid.length);
  let records = 0;
  grid.forEach(({ a, b, t }, k) => {
    integers.set([1, -1, 0, places.has(k) ? records++ : -1, 0], 5 * k);
    reals.set([a, b, t], 3 * k);
  });
  const none = { terms: new Int32Array(0), factors: new Float64Array(0), termCount: 0, evaluations: 0 };
  return { integers, reals, stepCount: grid.length, ...none, registers: 1, result: 0, records };
}
