/**
 * A source as rows of numbers [n, d]: the parser for each format, arrays in memory, and the rule by which more than two dimensions
 * become rows.
 */
import { basename } from "node:path";
import { checkAttached, elementCount, type NdArray } from "../array.js";
import { RegimesError } from "../errors.js";
import { parseDelimited, type ParsedTable } from "./delimited.js";
import { decodeElements, hostLittleEndian, toRowMajor, type ElementType, type ParsedArray, type Stored } from "./elements.js";
import { readDataFile, type FileContents, type ReadOptions } from "./file.js";
import { parseIdx } from "./idx.js";
import { parseNpy } from "./npy.js";
import { parseSafetensors } from "./safetensors.js";

/** Typed arrays of real numbers. */
export type NumericArray =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Uint8ClampedArray
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array;

/** Rows in memory, shape [n, d]; copied at the call. */
export type DataInput = NdArray<NumericArray>;

export interface TableOptions extends ReadOptions {
  readonly flatten: boolean;
  readonly tensor: string | undefined;
}

/** What there is to know of rows besides their numbers. */
export interface TableShape {
  /** The source as messages name it. */
  readonly what: string;
  readonly name: string;
  readonly n: number;
  readonly d: number;
  readonly dtype: ElementType;
  readonly columnNames: readonly string[] | null;
  /** What reading it gave occasion to say, one sentence each. */
  readonly warnings: readonly string[];
  readonly imageShape: readonly [height: number, width: number] | null;
}

/** All rows of a source, labels column included where there is one. */
export interface Table extends TableShape {
  readonly stored: Stored;
}

/** The rows of a file. @throws RegimesError as the parsers do; E_SHAPE for what is not rows, E_OPTION for a tensor name elsewhere. */
export async function readTable(path: string, options: TableOptions): Promise<Table> {
  const file = await readDataFile(path, options);
  const { what } = file;
  if (options.tensor !== undefined && file.format !== "safetensors") {
    throw new RegimesError("E_OPTION", `tensor: ${what} is ${file.format}, only safetensors files have named tensors`);
  }
  const parsed = parseFile(file, options.tensor, 2);
  const rows = rowsOf(what, parsed.shape, options.flatten || (file.format === "idx" && parsed.shape.length === 3));
  const { columnNames, warnings } = "columnNames" in parsed ? parsed : { columnNames: null, warnings: [] };
  return { what, name: basename(path), stored: parsed.stored, dtype: parsed.dtype, columnNames, warnings, ...rows };
}

/** The array in a file; `dimensions` decides between the tensors of a safetensors file. */
export function parseFile(
  { format, bytes, what }: FileContents,
  tensor: string | undefined,
  dimensions: number,
): ParsedArray | ParsedTable {
  switch (format) {
    case "npy":
      return parseNpy(bytes, what);
    case "idx":
      return parseIdx(bytes, what);
    case "delimited":
      return parseDelimited(bytes, what);
    case "safetensors":
      return parseSafetensors(bytes, what, tensor, dimensions);
  }
}

const typeOf: Readonly<Record<string, Exclude<ElementType, "text">>> = {
  Float32Array: "float32",
  Float64Array: "float64",
  Uint8Array: "uint8",
  Uint8ClampedArray: "uint8",
  Int8Array: "int8",
  Uint16Array: "uint16",
  Int16Array: "int16",
  Uint32Array: "uint32",
  Int32Array: "int32",
  BigUint64Array: "uint64",
  BigInt64Array: "int64",
};

/** A copy of rows in memory. @throws RegimesError E_SHAPE, E_DTYPE, E_DETACHED, E_RANGE. */
export function copyTable(input: DataInput, flatten: boolean): Table {
  const what = "data";
  if (input === null || typeof input !== "object" || !ArrayBuffer.isView(input.data) || !Array.isArray(input.shape)) {
    throw new RegimesError("E_SHAPE", `${what}: expected a path, "digits" or {data: a typed array, shape: [n, d]}`);
  }
  const { data, shape, strides } = input;
  // The tag, unlike the constructor, is the same for Node's Buffer and for arrays of another realm.
  const tag = Object.prototype.toString.call(data).slice(8, -1);
  const dtype = Object.hasOwn(typeOf, tag) ? typeOf[tag] : undefined;
  if (dtype === undefined) throw new RegimesError("E_DTYPE", `${what}: ${tag} is not read, only ${Object.keys(typeOf).join(", ")}`);
  checkAttached(what, data);
  const count = elementCount(what, shape);
  const copy = Uint8Array.from(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const stored = decodeElements(what, copy, dtype, hostLittleEndian);
  if (strides === undefined) {
    if (stored.length !== count) {
      throw new RegimesError("E_SHAPE", `${what}: shape (${shape.join(", ")}) needs ${count} elements, data has ${stored.length}`);
    }
    return { what, name: what, stored, dtype, columnNames: null, warnings: [], ...rowsOf(what, shape, flatten) };
  }
  checkStrides(what, shape, strides, stored.length);
  const ordered = toRowMajor(stored, shape, strides);
  return { what, name: what, stored: ordered, dtype, columnNames: null, warnings: [], ...rowsOf(what, shape, flatten) };
}

function checkStrides(what: string, shape: readonly number[], strides: readonly number[], length: number): void {
  if (strides.length !== shape.length || !strides.every(Number.isSafeInteger)) {
    throw new RegimesError("E_SHAPE", `${what}: strides (${strides.join(", ")}) do not fit shape (${shape.join(", ")})`);
  }
  if (shape.includes(0)) return;
  let lowest = 0;
  let highest = 0;
  shape.forEach((extent, axis) => {
    const reach = (extent - 1) * strides[axis]!;
    lowest += Math.min(reach, 0);
    highest += Math.max(reach, 0);
  });
  if (lowest < 0 || highest >= length) {
    throw new RegimesError(
      "E_SHAPE",
      `${what}: shape (${shape.join(", ")}) with strides (${strides.join(", ")}) reaches elements ${lowest} to ${highest} of ${length}`,
    );
  }
}

/** An array of this shape as rows. @throws RegimesError E_SHAPE. */
export function rowsOf(what: string, shape: readonly number[], flatten: boolean): Pick<TableShape, "n" | "d" | "imageShape"> {
  const listed = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  if (shape.length < 2) {
    const hint = "A list of numbers can only be labels; data of d = 1 have shape (n, 1)";
    throw new RegimesError("E_SHAPE", `${what}: shape ${listed}, need rows x d. ${hint}`);
  }
  const n = shape[0]!;
  const d = shape.slice(1).reduce((product, extent) => product * extent, 1);
  if (n === 0 || d === 0) throw new RegimesError("E_SHAPE", `${what}: shape ${listed}, need at least one row and one column`);
  if (n >= 2 ** 31) throw new RegimesError("E_SHAPE", `${what}: ${n} rows, at most 2^31 - 1 are possible`);
  if (shape.length > 2 && !flatten) {
    throw new RegimesError("E_SHAPE", `${what}: shape ${listed}, need rows x d. Set flatten: true (--flatten) to use ${n} x ${d}`);
  }
  return { n, d, imageShape: imageShape(shape) };
}

/** [height, width] of [n, height, width], with a channel axis of 1 before or after allowed. */
function imageShape(shape: readonly number[]): readonly [number, number] | null {
  const [, first = 0, second = 0, third = 0] = shape;
  if (shape.length === 3) return [first, second];
  if (shape.length !== 4) return null;
  if (first === 1) return [second, third];
  return third === 1 ? [first, second] : null;
}
