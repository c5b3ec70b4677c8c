/** What is recorded along trajectories: where on the grid, which readings, and how native results become arrays. */
import { copyRows, type NdArray, type PointsInput } from "../array.js";
import { RegimesError, checkChoice, checkOptionNames } from "../errors.js";
import type { NativeSimulateResult } from "../native.js";
import type { Node } from "./grid.js";

/** What is read off the state, without a pass over the target. */
export const ofState: readonly string[] = ["states", "norm", "projections"];

const observableNames = [
  "states", "denoised", "norm", "projections", "logDensity", "entropy", "sumSquares", "nearest", "classWeights", "survivors",
] as const;

/** What can be seen along trajectories; units and ranges are those of `PosteriorReading`. */
export type Observable = (typeof observableNames)[number];

/** What to keep along the way. */
export interface RecordOptions {
  /** Record the state before every `every`-th step, and always the last one; default 1. */
  readonly every?: number | undefined;
  /** Or record at these times alone, in the process's clock; each must be one of the grid's. */
  readonly times?: ArrayLike<number> | undefined;
  readonly observe: readonly Observable[];
  /** With "projections": directions u [p, d]; x . u is recorded. */
  readonly directions?: PointsInput | undefined;
}

/** Readings at the recorded times: only those asked for are there. */
export interface Observed {
  /** [records, count, d]. */
  readonly states: NdArray;
  readonly denoised: NdArray;
  /** |x|, [records, count]; the others of this shape. */
  readonly norm: NdArray;
  /** [records, count, p]. */
  readonly projections: NdArray;
  readonly logDensity: NdArray;
  readonly entropy: NdArray;
  readonly sumSquares: NdArray;
  readonly nearest: { readonly index: NdArray<Int32Array<ArrayBuffer>>; readonly weight: NdArray };
  /** [records, count, classes]. */
  readonly classWeights: NdArray;
  readonly survivors: NdArray<Int32Array<ArrayBuffer>>;
}

/** A record option, checked. */
export interface CheckedRecord {
  /** Indices of the grid that are recorded. */
  readonly places: ReadonlySet<number>;
  readonly observe: readonly string[];
  readonly directions: Float64Array<ArrayBuffer> | null;
  readonly directionCount: number;
}

/** @throws RegimesError E_OPTION, E_SHAPE; E_DOMAIN for times that are not on the grid. */
export function checkRecord(record: RecordOptions | undefined, grid: readonly Node[], d: number): CheckedRecord {
  if (record === undefined) return { places: new Set(), observe: [], directions: null, directionCount: 0 };
  checkOptionNames("record", record, ["every", "times", "observe", "directions"]);
  if (!Array.isArray(record.observe)) throw new RegimesError("E_OPTION", `record.observe is ${String(record.observe)}, need an array of ${observableNames.join(", ")}`);
  for (const name of record.observe as readonly Observable[]) checkChoice("observe", name, observableNames);
  const wanted = record.observe.includes("projections");
  if (wanted !== (record.directions !== undefined)) throw new RegimesError("E_OPTION", `observe "projections" and record.directions go together`);
  const directions = record.directions === undefined ? null : copyRows("directions", record.directions, d);
  return { places: recordedPlaces(record, grid), observe: record.observe, directions: directions?.data ?? null, directionCount: directions?.rows ?? 0 };
}

function recordedPlaces({ every, times }: RecordOptions, grid: readonly Node[]): ReadonlySet<number> {
  if (times === undefined) {
    const step = wholeAtLeast("record.every", every ?? 1, 1);
    const places = new Set<number>();
    for (let i = 0; i < grid.length; i += step) places.add(i);
    return places.add(grid.length - 1);
  }
  if (every !== undefined) throw new RegimesError("E_OPTION", "record.every does not go with record.times, which say all");
  return new Set(
    Array.from(times, (t) => {
      const place = grid.findIndex((node) => node.t === t);
      if (place < 0) throw new RegimesError("E_DOMAIN", `record.times has ${t}, which is not a time of the grid: see reverseGrid, or pass a schedule of times`);
      return place;
    }),
  );
}

type Readings = { readonly [name in keyof NativeSimulateResult]?: NativeSimulateResult[name] | undefined };
type Widths = { readonly d: number; readonly classes: number; readonly directions: number };

/** The readings that are there, as arrays [records, count, ...]; `places` are these two. */
export function observations(result: Readings, places: readonly [number, number], { d, classes, directions }: Widths): Partial<Observed> {
  const of = <T>(data: T | undefined, ...width: number[]): NdArray<T> | undefined => (data === undefined ? undefined : { data, shape: [...places, ...width] });
  const all = {
    states: of(result.states, d),
    denoised: of(result.denoised, d),
    norm: of(result.norm),
    projections: of(result.projections, directions),
    logDensity: of(result.logDensity),
    entropy: of(result.entropy),
    sumSquares: of(result.sumSquares),
    nearest: result.nearestIndex === undefined ? undefined : { index: of(result.nearestIndex)!, weight: of(result.nearestWeight!)! },
    classWeights: of(result.classWeights, classes),
    survivors: of(result.survivors),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Partial<Observed>;
}

/** `value`, a whole number not below `least`. @throws RegimesError E_OPTION. */
export function wholeAtLeast(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new RegimesError("E_OPTION", `${name} is ${String(value)}, need a whole number >= ${least}`);
}

/** Per trajectory, the first record from which on `index` [records, count] keeps its last value. */
export function settledRecords(index: Int32Array, count: number): number[] {
  const last = index.length / count - 1;
  return Array.from({ length: count }, (_, i) => {
    let place = last;
    while (place > 0 && index[(place - 1) * count + i] === index[last * count + i]) place -= 1;
    return place;
  });
}
