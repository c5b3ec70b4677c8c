/** Copies of rows for native code, each number looked at on the way: one native pass for all of it. */
import { allocate, checkAttached, checkFinite, checkedRows, consecutive, copyPart, type CopiedRows, type PointsInput, type Rows } from "../array.js";
import { native } from "../native.js";
import type { Pace } from "./pace.js";

/** A copy whose values are finite. */
export interface MeasuredRows extends CopiedRows {
  /** max |x|; 0 for no numbers. */
  readonly largest: number;
}

/** A copy that has served: calls in a loop are of one size, and fresh pages cost more than the copy. */
let spare: Float64Array<ArrayBuffer> | undefined;

/** Numbers that are kept at most: 32 MB. */
const mostSpare = 2 ** 22;

/** Numbers handled between rests. */
const numbersAtOnce = 2 ** 16;

/** A copy at once. Worth a `leaveCopy` when it has served. @throws RegimesError as `copyRows`. */
export function takeRows(what: string, input: PointsInput, columns: number): MeasuredRows {
  const from = checkedRows(what, input, columns);
  const data = takeSpare(from.rows * columns) ?? allocate(what, from.rows * columns);
  return measured(what, data, columns, copyMeasured(from, 0, from.rows, data));
}

/** The copy in small pieces with rests between them: the input has to stay as it is until the end. */
export async function takeRowsInPieces(what: string, input: PointsInput, columns: number, rest: Pace): Promise<MeasuredRows> {
  const from = checkedRows(what, input, columns);
  const data = allocate(what, from.rows * columns);
  const piece = Math.max(1, Math.floor(numbersAtOnce / columns));
  let largest = 0;
  for (let row = 0; row < from.rows; row += piece) {
    checkAttached(what, input.data);
    largest = Math.max(largest, copyMeasured(from, row, Math.min(from.rows, row + piece), data));
    const wait = rest();
    if (wait !== null) await wait;
  }
  return measured(what, data, columns, largest);
}

/** Leaves a copy that nobody reads any more to the next call. */
export function leaveCopy(data: Float64Array<ArrayBuffer>): void {
  if (data.length <= mostSpare) spare = data;
}

function takeSpare(count: number): Float64Array<ArrayBuffer> | undefined {
  if (spare?.length !== count) return undefined;
  const taken = spare;
  spare = undefined;
  return taken;
}

/** Copies rows [begin, end) to their places in `copy`; @returns max |x|, NaN where one of them is not finite. */
function copyMeasured(from: Rows, begin: number, end: number, copy: Float64Array): number {
  const to = copy.subarray(begin * from.columns, end * from.columns);
  const numbers = consecutive(from, begin, end);
  if (numbers instanceof Float32Array || numbers instanceof Float64Array) return native().copyNumbers(numbers, to);
  copyPart(from, begin, end, copy);
  return native().copyNumbers(to, to);
}

function measured(what: string, data: Float64Array<ArrayBuffer>, columns: number, largest: number): MeasuredRows {
  if (!Number.isFinite(largest)) checkFinite(what, data, columns);
  return { data, rows: data.length / columns, columns, largest };
}
