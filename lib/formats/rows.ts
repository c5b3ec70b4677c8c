/** Which rows of a source are kept: a range or indices, then classes, then finite values. */
import { RegimesError } from "../errors.js";
import type { Stored } from "./elements.js";
import type { Table, TableShape } from "./table.js";

/** Half-open range of rows, or row indices in the order wanted. */
export type RowSelection = { readonly from?: number; readonly to?: number } | readonly number[] | Int32Array | Uint32Array;

export type FixedRowSelection = { readonly from: number | undefined; readonly to: number | undefined } | Float64Array | null;

/** Copies indices, unchecked until the number of rows is known. @throws RegimesError E_OPTION. */
export function fixRowSelection(rows: RowSelection | undefined): FixedRowSelection {
  if (rows === undefined) return null;
  if (Array.isArray(rows) || ArrayBuffer.isView(rows)) return Float64Array.from(rows as ArrayLike<number>);
  if (rows === null || typeof rows !== "object" || Object.keys(rows).some((key) => key !== "from" && key !== "to")) {
    throw new RegimesError("E_OPTION", "rows: expected {from, to}, with to exclusive, or an array of row indices");
  }
  const { from, to } = rows as { from?: number; to?: number };
  return { from, to };
}

/**
 * Indices of the rows to keep, null for all.
 * @throws RegimesError E_SHAPE for rows that do not exist or an empty choice; E_LABELS for classes without labels or without rows.
 */
export function chooseRows(
  table: Table,
  selection: FixedRowSelection,
  labels: Int32Array | null,
  classes: readonly number[] | undefined,
): Int32Array | null {
  const { what, n } = table;
  let kept: Int32Array | null = null;
  if (selection instanceof Float64Array) {
    const wrong = selection.findIndex((row) => !Number.isInteger(row) || row < 0 || row >= n);
    if (wrong >= 0) throw new RegimesError("E_SHAPE", `rows: entry ${wrong} is ${selection[wrong]}, ${what} has rows 0 to ${n - 1}`);
    if (selection.length === 0) throw new RegimesError("E_SHAPE", "rows: an empty list, need at least one row");
    kept = Int32Array.from(selection);
  } else if (selection !== null) {
    const { from, to } = rowRange(table, selection);
    kept = Int32Array.from({ length: to - from }, (_, k) => from + k);
  }
  return classes === undefined ? kept : keepClasses(what, kept ?? everyRow(n), labels, classes);
}

/** The range of rows to keep. @throws RegimesError E_SHAPE for rows that do not exist or an empty range. */
export function rowRange(
  { what, n }: TableShape,
  { from = 0, to = n }: { readonly from?: number | undefined; readonly to?: number | undefined },
): { from: number; to: number } {
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to <= from || to > n) {
    throw new RegimesError("E_SHAPE", `rows {from: ${from}, to: ${to}}: ${what} has ${n} rows, need 0 <= from < to <= ${n}`);
  }
  return { from, to };
}

function keepClasses(what: string, rows: Int32Array, labels: Int32Array | null, classes: readonly number[]): Int32Array {
  const isList = Array.isArray(classes) || ArrayBuffer.isView(classes);
  if (!isList) throw new RegimesError("E_OPTION", "classes: expected a list of label values");
  if (labels === null) throw new RegimesError("E_LABELS", `classes: ${what} was opened without labels. Set the option labels`);
  const wanted = new Set(classes);
  const present = new Set(Int32Array.from(rows, (row) => labels[row]!));
  const absent = [...wanted].find((value) => !present.has(value));
  if (wanted.size === 0 || absent !== undefined) {
    const list = [...present].toSorted((left, right) => left - right);
    const shown = `${list.slice(0, 20).join(", ")}${list.length > 20 ? ", ..." : ""}`;
    const problem = absent === undefined ? "an empty list" : `no row has label ${absent}`;
    throw new RegimesError("E_LABELS", `classes: ${problem}. Labels of ${what}: ${shown}`);
  }
  return rows.filter((row) => wanted.has(labels[row]!));
}

/**
 * The rows without NaN and infinities and how many went; `rows` null stands for all.
 * @throws RegimesError E_NONFINITE when none is left.
 */
export function dropNonfinite(table: Table, rows: Int32Array | null): { rows: Int32Array | null; dropped: number } {
  const { stored, d, n, what } = table;
  if (stored instanceof Uint8Array) return { rows, dropped: 0 };
  const before = rows ?? everyRow(n);
  const after = before.filter((row) => {
    for (let k = row * d; k < (row + 1) * d; k++) if (!Number.isFinite(stored[k]!)) return false;
    return true;
  });
  if (after.length === 0) throw new RegimesError("E_NONFINITE", `${what}: every one of the ${before.length} rows holds NaN or infinity`);
  return after.length === before.length ? { rows, dropped: 0 } : { rows: after, dropped: before.length - after.length };
}

/** The chosen rows, copied one after another. */
export function gatherRows({ stored, d }: Table, rows: Int32Array): Stored {
  const gathered = new (stored.constructor as new (length: number) => Stored)(rows.length * d);
  for (let k = 0; k < rows.length; k++) gathered.set(stored.subarray(rows[k]! * d, (rows[k]! + 1) * d), k * d);
  return gathered;
}

function everyRow(n: number): Int32Array {
  return Int32Array.from({ length: n }, (_, k) => k);
}
