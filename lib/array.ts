/**
 * Arrays as they travel through the API: structural `{data, shape}` objects, C-order unless strides are given, so that values of
 * npyjs, zarrita and the like pass as they are. Results are always fresh, contiguous and C-order.
 */
import { RegimesError } from "./errors.js";

/** Element types of real inputs. */
export type RealArray = Float32Array | Float64Array;

/** An n-dimensional array; `strides` are in elements, C-order when absent. */
export interface NdArray<T = Float64Array<ArrayBuffer>> {
  readonly data: T;
  readonly shape: readonly number[];
  readonly strides?: readonly number[];
}

/** Rows are samples: shape [n, d]; a vector of length d is one row. */
export type PointsInput = NdArray<RealArray>;

/** Number of elements of a shape. @throws RegimesError E_SHAPE for a negative, fractional or unsafe extent. */
export function elementCount(what: string, shape: readonly number[]): number {
  let count = 1;
  for (const extent of shape) {
    if (!Number.isSafeInteger(extent) || extent < 0) {
      throw new RegimesError("E_SHAPE", `${what}: shape [${shape.join(", ")}] has an extent that is not a whole number`);
    }
    count *= extent;
  }
  if (!Number.isSafeInteger(count)) {
    throw new RegimesError("E_SHAPE", `${what}: shape [${shape.join(", ")}] has more than 2^53 elements`);
  }
  return count;
}

/** Throws E_DETACHED when the buffer behind `data` was transferred to someone else. */
export function checkAttached(what: string, data: ArrayBufferView): void {
  const buffer = data.buffer as ArrayBuffer & { detached?: boolean };
  // Node 20 has no ArrayBuffer.prototype.detached: there a detached buffer refuses to be sliced.
  const detached = buffer.detached ?? isDetached(buffer);
  if (detached) {
    throw new RegimesError("E_DETACHED", `${what}: its buffer was transferred away. Pass a copy, or transfer it afterwards`);
  }
}

function isDetached(buffer: ArrayBufferLike): boolean {
  if (buffer.byteLength > 0 || buffer instanceof SharedArrayBuffer) return false;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

/** Rows of an input, checked but for their values. */
interface Rows {
  readonly data: RealArray;
  readonly rows: number;
  readonly columns: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** A float64 C-order copy of rows. */
export interface CopiedRows {
  readonly data: Float64Array<ArrayBuffer>;
  readonly rows: number;
  readonly columns: number;
}

/**
 * A float64 C-order copy of `input`, checked to have shape [rows, columns] (a bare vector counts as one row).
 * Non-finite values throw E_NONFINITE with their place and number.
 * @returns the copy and its shape.
 */
export function copyRows(what: string, input: PointsInput, columns?: number): CopiedRows {
  const copy = takeRows(what, input, columns);
  checkFinite(what, copy.data, copy.columns);
  return copy;
}

/** The copy alone, as fast as it goes; `largestNumber` or `checkFinite` looks at the values. Worth a `leaveCopy` when it has served. */
export function takeRows(what: string, input: PointsInput, columns?: number): CopiedRows {
  const from = checkedRows(what, input, columns);
  const data = takeSpare(from.rows * from.columns) ?? allocate(what, from.rows * from.columns);
  copyPart(from, 0, from.rows, data);
  return { data, rows: from.rows, columns: from.columns };
}

/** A copy that has served: calls in a loop are of one size, and fresh pages cost more than the copy. */
let spare: Float64Array<ArrayBuffer> | undefined;

/** Numbers that are kept at most: 32 MB. */
const mostSpare = 2 ** 22;

function takeSpare(count: number): Float64Array<ArrayBuffer> | undefined {
  if (spare?.length !== count) return undefined;
  const taken = spare;
  spare = undefined;
  return taken;
}

/** Leaves a copy that nobody reads any more to the next call. */
export function leaveCopy(data: Float64Array<ArrayBuffer>): void {
  if (data.length <= mostSpare) spare = data;
}

/** May turn the event loop: null, or what to wait for. */
type Rest = () => Promise<void> | null;

/** Numbers handled between rests. */
export const numbersAtOnce: number = 2 ** 16;

/** The copy in small pieces with rests between them: the input has to stay as it is until the end. */
export async function takeRowsInPieces(what: string, input: PointsInput, columns: number | undefined, rest: Rest): Promise<CopiedRows> {
  const from = checkedRows(what, input, columns);
  const { rows, columns: width } = from;
  const data = allocate(what, rows * width);
  const piece = Math.max(1, Math.floor(numbersAtOnce / width));
  for (let row = 0; row < rows; row += piece) {
    checkAttached(what, input.data);
    copyPart(from, row, Math.min(rows, row + piece), data);
    const wait = rest();
    if (wait !== null) await wait;
  }
  return { data, rows, columns: width };
}

function checkedRows(what: string, input: PointsInput, columns?: number): Rows {
  const numeric = ArrayBuffer.isView(input?.data) && "length" in input.data && typeof input.data[0] !== "bigint";
  if (!numeric || !Array.isArray(input.shape)) {
    throw new RegimesError("E_SHAPE", `${what}: expected {data: Float64Array or Float32Array, shape: [rows, d]}`);
  }
  checkAttached(what, input.data);
  const shape = input.shape.length === 1 ? [1, input.shape[0]!] : input.shape;
  const wanted = `[batch, ${columns ?? "d"}]`;
  if (shape.length !== 2 || shape[1] === 0 || (columns !== undefined && shape[1] !== columns)) {
    throw new RegimesError("E_SHAPE", `${what}: shape [${input.shape.join(", ")}], need ${wanted}`);
  }
  const rows = shape[0]!;
  const width = shape[1]!;
  const count = elementCount(what, shape);
  const strides = input.strides ?? (input.shape.length === 1 ? [1] : [width, 1]);
  const rowStride = strides.length === 1 ? 0 : strides[0]!;
  const columnStride = strides[strides.length - 1]!;
  if (!strides.every((stride) => Number.isSafeInteger(stride) && stride >= 0)) {
    throw new RegimesError("E_SHAPE", `${what}: strides [${strides.join(", ")}], need whole numbers of elements, >= 0`);
  }
  const reach = [(rows - 1) * rowStride, (width - 1) * columnStride];
  const last = reach.reduce((sum, part) => sum + Math.max(part, 0), 0);
  if (count > 0 && last >= input.data.length) {
    const layout = `shape [${input.shape.join(", ")}] with strides [${strides.join(", ")}]`;
    throw new RegimesError("E_SHAPE", `${what}: ${layout} leaves its data of ${input.data.length} elements`);
  }
  if (input.strides === undefined && input.data.length !== count) {
    throw new RegimesError("E_SHAPE", `${what}: shape [${input.shape.join(", ")}] needs ${count} elements, data has ${input.data.length}`);
  }
  return { data: input.data, rows, columns: width, rowStride, columnStride };
}

/** Rows [begin, end). */
function copyPart({ data, columns, rowStride, columnStride }: Rows, begin: number, end: number, copy: Float64Array): void {
  if (columnStride === 1 && rowStride === columns) {
    copy.set(data.subarray(begin * columns, end * columns), begin * columns);
    return;
  }
  for (let i = begin; i < end; i++) {
    if (columnStride === 1) {
      copy.set(data.subarray(i * rowStride, i * rowStride + columns), i * columns);  // several times faster than element by element
      continue;
    }
    for (let j = 0; j < columns; j++) copy[i * columns + j] = data[i * rowStride + j * columnStride]!;
  }
}

function allocate(what: string, count: number): Float64Array<ArrayBuffer> {
  try {
    return new Float64Array(count);
  } catch (error) {
    throw new RegimesError("E_OUT_OF_MEMORY", `${what}: ${count} elements do not fit into memory`, { cause: error });
  }
}

/** Throws E_NONFINITE when `data`, read as rows of `columns` values, holds NaN or infinities. */
export function checkFinite(what: string, data: RealArray, columns: number): void {
  // Sums of v - v: not a number where any value is not finite. Two of them, as each addition waits for the one before.
  let sum = 0;
  let other = 0;
  const paired = data.length - (data.length % 2);
  for (let k = 0; k < paired; k += 2) {
    const left = data[k]!;
    const right = data[k + 1]!;
    sum += left - left;
    other += right - right;
  }
  if (paired < data.length) sum += data[paired]! - data[paired]!;
  if (sum + other === 0) return;
  let bad = 0;
  let first = -1;
  for (let k = 0; k < data.length; k++) {
    if (Number.isFinite(data[k]!)) continue;
    if (bad++ === 0) first = k;
  }
  if (bad > 0) {
    const row = Math.floor(first / columns);
    throw new RegimesError("E_NONFINITE", `${what}: ${bad} NaN or infinite values, first at row ${row} column ${first % columns}`);
  }
}
