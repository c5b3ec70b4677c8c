/**
 * Class labels: whole numbers in the int32 range, one per row of the source; from an array, from a file, or from a column of the
 * source, which then leaves the data.
 */
import { checkAttached } from "../array.js";
import { RegimesError, nearestWord, printable } from "../errors.js";
import type { Stored } from "./elements.js";
import { readDataFile, type ReadOptions } from "./file.js";
import { parseFile, type NumericArray, type Table, type TableShape } from "./table.js";

/** A path; values, one per row of the source; or a column of the source, by index or by header name. */
export type LabelSource = string | readonly number[] | NumericArray | number | { readonly column: number | string };

/** A label source that no longer depends on memory of the caller. */
export type FixedLabelSource = string | Int32Array | { readonly column: number | string } | null;

/** Copies arrays. @throws RegimesError E_LABELS, E_OPTION, E_DETACHED. */
export function fixLabelSource(source: LabelSource | null | undefined): FixedLabelSource {
  if (source === undefined || source === null) return null;
  if (typeof source === "string") return source;
  if (typeof source === "number") return { column: source };
  if (Array.isArray(source)) return toLabelValues("labels", source);
  if (ArrayBuffer.isView(source)) {
    checkAttached("labels", source);
    return toLabelValues("labels", source);
  }
  if (typeof source === "object" && "column" in source) return { column: source.column };
  throw new RegimesError("E_OPTION", "labels: expected a path, an array of whole numbers, a column index or {column: index or name}");
}

/**
 * The data without the label column, and the label values of all rows or null.
 * @throws RegimesError E_LABELS for a wrong count or kind; E_OPTION for an unknown column; as the parsers do for a file.
 */
export async function splitLabels(
  table: Table,
  source: FixedLabelSource,
  options: ReadOptions,
): Promise<{ table: Table; labels: Int32Array | null; column: number | null }> {
  if (source === null) return { table, labels: null, column: null };
  if (typeof source === "object" && "column" in source) {
    const column = findColumn(table, source.column);
    const labels = toLabelValues(`${table.what}, column ${column}`, takeColumn(table, column));
    return { table: withoutColumn(table, column), labels, column };
  }
  return { table, labels: await labelsOf(table, source, options), column: null };
}

/** The label values of all rows from a file or an array. @throws RegimesError as `splitLabels`. */
export async function labelsOf({ what, n }: TableShape, source: string | Int32Array, options: ReadOptions): Promise<Int32Array> {
  const labels = typeof source === "string" ? await readLabels(source, options) : source;
  if (labels.length !== n) throw new RegimesError("E_LABELS", `${what} has ${n} rows, there are ${labels.length} labels`);
  return labels;
}

/** The distinct values, ascending, and for each label its index among them. */
export function indexLabels(values: Int32Array): { labels: Int32Array; classValues: Int32Array } {
  const classValues = Int32Array.from(new Set(values)).toSorted();
  const indexOf = new Map(Array.from(classValues, (value, index) => [value, index]));
  return { labels: values.map((value) => indexOf.get(value)!), classValues };
}

async function readLabels(path: string, options: ReadOptions): Promise<Int32Array> {
  const file = await readDataFile(path, options);
  const { stored, shape } = parseFile(file, undefined, 1);
  const isList = shape.length === 1 || (shape.length === 2 && shape[1] === 1);
  if (!isList) throw new RegimesError("E_LABELS", `${file.what}: shape (${shape.join(", ")}), labels are one column: (n,) or (n, 1)`);
  return toLabelValues(file.what, stored);
}

function toLabelValues(what: string, numbers: ArrayLike<number | bigint>): Int32Array {
  const values = new Int32Array(numbers.length);
  for (let k = 0; k < values.length; k++) {
    const value = Number(numbers[k]);
    if ((value | 0) !== value) {
      throw new RegimesError("E_LABELS", `${what}: label ${k} is ${String(numbers[k])}, need whole numbers from -2^31 to 2^31 - 1`);
    }
    values[k] = value;
  }
  return values;
}

function findColumn({ what, d, columnNames }: Table, column: number | string): number {
  if (typeof column === "number") {
    if (Number.isInteger(column) && column >= 0 && column < d) return column;
    throw new RegimesError("E_OPTION", `labels: column ${column} of ${what}, which has columns 0 to ${d - 1}`);
  }
  if (columnNames === null) throw new RegimesError("E_OPTION", `labels: ${what} has no column names; give the index of the column`);
  const index = columnNames.indexOf(column);
  if (index >= 0) return index;
  const near = nearestWord(column, columnNames);
  const hint = near === undefined ? `It has ${printable(columnNames.slice(0, 20).join(", "))}` : `Did you mean "${printable(near)}"?`;
  throw new RegimesError("E_OPTION", `labels: ${what} has no column "${printable(column)}". ${hint}`);
}

function takeColumn({ stored, n, d }: Table, column: number): Float64Array {
  return Float64Array.from({ length: n }, (_, row) => stored[row * d + column]!);
}

function withoutColumn(table: Table, column: number): Table {
  const { stored, n, d, what } = table;
  if (d === 1) throw new RegimesError("E_SHAPE", `${what}: its only column is the labels, no data are left`);
  const kept = new (stored.constructor as new (length: number) => Stored)(n * (d - 1));
  for (let row = 0; row < n; row++) {
    kept.set(stored.subarray(row * d, row * d + column), row * (d - 1));
    kept.set(stored.subarray(row * d + column + 1, (row + 1) * d), row * (d - 1) + column);
  }
  return { ...table, stored: kept, d: d - 1, imageShape: null };
}
