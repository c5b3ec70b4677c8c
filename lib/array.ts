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
export interface Rows {
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
  const from = checkedRows(what, input, columns);
  const data = allocate(what, from.rows * from.columns);
  copyPart(from, 0, from.rows, data);
  checkFinite(what, data, from.columns);
  return { data, rows: from.rows, columns: from.columns };
}

/** Checks all but the values: that `input` has shape [rows, columns], and that its strides stay within its data. */
export function checkedRows(what: string, input: PointsInput, columns?: number): Rows {
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

/** The numbers of rows [begin, end) where they lie, null where they are not one after the other. */
export function consecutive({ data, columns, rowStride, columnStride }: Rows, begin: number, end: number): RealArray | null {
  return columnStride === 1 && rowStride === columns ? data.subarray(begin * columns, end * columns) : null;
}

/** Copies rows [begin, end) to their places in `copy`. */
export function copyPart(from: Rows, begin: number, end: number, copy: Float64Array): void {
  const { data, columns, rowStride, columnStride } = from;
  const numbers = consecutive(from, begin, end);
  if (numbers !== null) return copy.set(numbers, begin * columns);
  for (let i = begin; i < end; i++) {
    if (columnStride === 1) {
      copy.set(data.subarray(i * rowStride, i * rowStride + columns), i * columns);  // several times faster than element by element
      continue;
    }
    for (let j = 0; j < columns; j++) copy[i * columns + j] = data[i * rowStride + j * columnStride]!;
  }
}

/** Room for a copy. @throws RegimesError E_OUT_OF_MEMORY. */
export function allocate(what: string, count: number): Float64Array<ArrayBuffer> {
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
