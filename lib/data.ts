/**
 * Data sets: n rows of d numbers, with labels where there are any. `openDataset` reads a file (.npy, IDX, CSV, TSV, safetensors; gzipped
 * or not), the embedded digits or an array in memory, selects rows, states the scaling, and hands the rows to native memory once.
 *
 * The values of a data set are exact: `stored * scale + shift` in float64, whatever the stored type. Nothing is scaled, dropped or
 * rounded unless asked for; what was done stands in `scale` and `warnings`, and all of it enters `fingerprint`.
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { NdArray } from "./array.js";
import { RegimesError, checkChoice, checkOptionNames, printable } from "./errors.js";
import type { ElementType } from "./formats/elements.js";
import { fixLabelSource, indexLabels, splitLabels, type LabelSource } from "./formats/labels.js";
import { chooseRows, dropNonfinite, fixRowSelection, gatherRows, type RowSelection } from "./formats/rows.js";
import { copyTable, readTable, type DataInput, type NumericArray, type Table, type TableOptions } from "./formats/table.js";
import { checkRun, native, runJob, runOptionNames, toRegimesError, type NativeHandle, type NativeStatistics, type RunOptions } from "./native.js";

export type { DataInput, ElementType, LabelSource, NumericArray, RowSelection };

export type ScaleName = "none" | "unit" | "symmetric" | "standardize";

/** How values follow from stored numbers: value = stored * scale + shift. */
export interface Scale {
  readonly name: ScaleName;
  readonly scale: number;
  readonly shift: number;
  /** The stated maximum, for "unit" and "symmetric". */
  readonly maximum?: number;
  /** Global mean and population standard deviation of the stored numbers, for "standardize". */
  readonly mean?: number;
  readonly standardDeviation?: number;
}

export interface DatasetOptions extends RunOptions {
  /** Class labels, whole numbers. A number is a column index, a string a path; the column leaves the data. */
  readonly labels?: LabelSource | null | undefined;
  /** Rows to keep, default all. */
  readonly rows?: RowSelection | undefined;
  /** Keep only rows with these label values. */
  readonly classes?: readonly number[] | undefined;
  /**
   * "none" (default); "unit": stored / maximum; "symmetric": 2 stored / maximum - 1; "standardize": (stored - mean) / standard deviation,
   * one global mean and population standard deviation over the selected rows.
   */
  readonly scale?: ScaleName | undefined;
  /** What counts as 1 in "unit" and "symmetric"; default 255 for uint8, 16 for the embedded digits, else required. */
  readonly maximum?: number | undefined;
  /** "error" (default) refuses NaN and infinities; "drop" leaves out their rows and says so in `warnings`. */
  readonly nonfinite?: "error" | "drop" | undefined;
  /** Read arrays of more than two dimensions as rows of all the others; IDX images need no such word. */
  readonly flatten?: boolean | undefined;
  /** Name of the tensor in a safetensors file, default its only one or its only two-dimensional one. */
  readonly tensor?: string | undefined;
  /** Largest number of bytes read or unpacked, default 16 GiB. */
  readonly maxBytes?: number | undefined;
  /** Name in results and reports, default the file name. */
  readonly name?: string | undefined;
}

const optionNames: readonly string[] = [
  "labels",
  "rows",
  "classes",
  "scale",
  "maximum",
  "nonfinite",
  "flatten",
  "tensor",
  "maxBytes",
  "name",
  ...runOptionNames,
];

/** 8 x 8 pixels from 0 to 16 and, in the last column, the label. */
const digitsPath = join(dirname(fileURLToPath(import.meta.url)), "..", "data", "digits.csv.gz");

/** Larger magnitudes would overflow when squared and summed. */
const largestMagnitude = 1e150;

interface DatasetParts {
  readonly name: string;
  readonly n: number;
  readonly d: number;
  readonly dtype: ElementType;
  readonly labels: Int32Array | null;
  readonly classValues: Int32Array | null;
  readonly scale: Scale;
  readonly distinctRows: number;
  readonly magnitude: number;
  readonly fingerprint: string;
  readonly warnings: readonly string[];
  readonly imageShape: readonly [height: number, width: number] | null;
  readonly handle: NativeHandle;
}

/** Rows of numbers in native memory, immutable. Made by `openDataset`. */
export class Dataset {
  readonly name: string;
  readonly n: number;
  readonly d: number;
  /** Element type of the source: "uint8", "float32", ..., "text" for a decimal table. */
  readonly dtype: ElementType;
  /** Index into `classValues` per row, or null. */
  readonly labels: Int32Array | null;
  /** Distinct label values, ascending, or null. */
  readonly classValues: Int32Array | null;
  readonly scale: Scale;
  /** Number of different rows, at most n. */
  readonly distinctRows: number;
  /** Largest absolute value, scaled. */
  readonly magnitude: number;
  /**
   * sha256 (hex) of the line `{"dtype", "shape": [n, d], "scale", "shift", "labels": true or false}` as JSON with a line feed, the
   * stored bytes of the selected rows (little-endian, C order) and, with labels, the label value of each row as int32.
   */
  readonly fingerprint: string;
  /** What the caller should know, one sentence each. */
  readonly warnings: readonly string[];
  /** [height, width] where rows are images of one channel. */
  readonly imageShape: readonly [height: number, width: number] | null;
  #handle: NativeHandle | undefined;

  /** @internal */
  constructor(parts: DatasetParts) {
    this.name = parts.name;
    this.n = parts.n;
    this.d = parts.d;
    this.dtype = parts.dtype;
    this.labels = parts.labels;
    this.classValues = parts.classValues;
    this.scale = parts.scale;
    this.distinctRows = parts.distinctRows;
    this.magnitude = parts.magnitude;
    this.fingerprint = parts.fingerprint;
    this.warnings = parts.warnings;
    this.imageShape = parts.imageShape;
    this.#handle = parts.handle;
  }

  /** @internal The native rows. @throws RegimesError E_DISPOSED after `dispose()`. */
  get handle(): NativeHandle {
    if (this.#handle === undefined) throw new RegimesError("E_DISPOSED", `data set ${printable(this.name)} was disposed. Open it again`);
    return this.#handle;
  }

  /** Scaled values of rows [from, to), shape [to - from, d]. @throws RegimesError E_SHAPE outside 0 <= from <= to <= n, E_DISPOSED. */
  rows(from: number, to: number): NdArray {
    const handle = this.handle;
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || to < from || to > this.n) {
      throw new RegimesError("E_SHAPE", `rows ${from} to ${to} of ${printable(this.name)}: need 0 <= from <= to <= n = ${this.n}`);
    }
    return { data: native().datasetRows(handle, from, to), shape: [to - from, this.d] };
  }

  /** Gives the native memory back (targets made from it keep their own hold). Twice is once. */
  dispose(): void {
    this.#handle?.dispose();
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Opens a data set: a path (.npy, IDX, .csv, .tsv, .safetensors, each also gzipped; known by its first bytes, then by its extension), the
 * word "digits" (the embedded 1797 x 64 digits with labels), or `{data, shape: [n, d]}`.
 *
 * Rows are first selected by `rows`, then by `classes`, then by `nonfinite: "drop"`; scaling looks at the rows that are left.
 * @throws RegimesError (as a rejection) E_FILE, E_FILE_CHANGED, E_HEADER, E_DTYPE, E_PICKLE_REFUSED, E_PARSE for files; E_SHAPE, E_LABELS,
 * E_OPTION, E_DETACHED for arguments; E_NONFINITE, E_RANGE (beyond 1e150, or integers beyond 2^53), E_DOMAIN (constant data cannot be
 * standardized) for values; E_OUT_OF_MEMORY, E_NO_BINARY.
 */
export async function openDataset(source: string | DataInput, options: DatasetOptions = {}): Promise<Dataset> {
  checkOptionNames("openDataset", options, optionNames);
  checkChoice("scale", options.scale ?? "none", ["none", "unit", "symmetric", "standardize"]);
  checkChoice("nonfinite", options.nonfinite ?? "error", ["error", "drop"]);
  checkRun(options);
  try {
    return await open(source, options);
  } catch (error) {
    // What V8 throws for an array that does not fit.
    const tooLarge = error instanceof RangeError && /array buffer|typed array length/i.test(error.message);
    if (tooLarge) throw new RegimesError("E_OUT_OF_MEMORY", `the data do not fit into memory: ${error.message}`, { cause: error });
    throw error;
  }
}

async function open(source: string | DataInput, options: DatasetOptions): Promise<Dataset> {
  // Everything the caller may write to afterwards is copied before the first await.
  const digits = source === "digits";
  if (digits && (options.labels ?? null) !== null) throw new RegimesError("E_OPTION", "labels: the digits bring their own labels");
  const labelSource = digits ? { column: 64 } : fixLabelSource(options.labels);
  const selection = fixRowSelection(options.rows);
  const reading = readOptions(options);
  const whole = typeof source === "string" ? await readTable(digits ? digitsPath : source, reading) : copyTable(source, reading.flatten);
  const { table, labels: allLabels, column } = await splitLabels(whole, labelSource, { ...reading, onProgress: undefined });

  const warnings = [...table.warnings];
  let kept = chooseRows(table, selection, allLabels, options.classes);
  if (options.nonfinite === "drop") {
    const { rows, dropped } = dropNonfinite(table, kept);
    if (dropped > 0) warnings.push(`${dropped} of ${kept?.length ?? table.n} rows of ${table.what} held NaN or infinity and were left out`);
    kept = rows;
  }
  const stored = kept === null ? table.stored : gatherRows(table, kept);
  const labels = allLabels === null || kept === null ? allLabels : Int32Array.from(kept, (row) => allLabels[row]!);
  const rows: Table = { ...table, stored, n: kept?.length ?? table.n };

  const handle = createRows(rows);
  try {
    const statistics = await runJob({ ...options, onProgress: within(options, 0.5, 0.9) }, (addon, threads, progress) =>
      addon.datasetStatistics(handle, threads, progress),
    );
    refuseNonfinite(rows, statistics, kept, column);
    const scale = resolveScale(rows, options, digits ? 16 : undefined, statistics);
    warnings.push(...checkValues(rows, scale, statistics));
    const fingerprint = await digest(rows, scale, labels, options.signal);
    options.onProgress?.(1);
    return new Dataset({
      name: options.name ?? (digits ? "digits" : table.name),
      n: rows.n,
      d: rows.d,
      dtype: rows.dtype,
      ...(labels === null ? { labels: null, classValues: null } : indexLabels(labels)),
      scale,
      distinctRows: statistics.distinctRows,
      magnitude: magnitudeOf(scale, statistics),
      fingerprint,
      warnings,
      imageShape: digits ? [8, 8] : rows.imageShape,
      handle: native().rescaledDataset(handle, scale.scale, scale.shift),
    });
  } finally {
    handle.dispose();
  }
}

function readOptions(options: DatasetOptions): TableOptions {
  const { maxBytes = 16 * 1024 ** 3, flatten = false, tensor, signal } = options;
  if (!(maxBytes >= 1)) throw new RegimesError("E_OPTION", `maxBytes is ${maxBytes}, need a number of bytes, at least 1`);
  return { maxBytes, flatten, tensor, signal, onProgress: within(options, 0, 0.5) };
}

/** Reports the progress of one stage as a part [from, to] of the whole. */
function within({ onProgress }: RunOptions, from: number, to: number): RunOptions["onProgress"] {
  return onProgress === undefined ? undefined : (fraction) => onProgress(from + (to - from) * fraction);
}

function createRows({ stored, n, d }: Table): NativeHandle {
  try {
    return native().createDataset({ stored, n, d, scale: 1, shift: 0 });
  } catch (error) {
    throw toRegimesError(error);
  }
}

/** Row and column are told as they are in the source. */
function refuseNonfinite({ what }: Table, { nonfinite }: NativeStatistics, kept: Int32Array | null, labelColumn: number | null): void {
  if (nonfinite.count === 0) return;
  const row = kept === null ? nonfinite.row : kept[nonfinite.row]!;
  const column = nonfinite.column + (labelColumn !== null && labelColumn <= nonfinite.column ? 1 : 0);
  throw new RegimesError(
    "E_NONFINITE",
    `${what}: ${nonfinite.count} NaN or infinite values, first at row ${row} column ${column} (counted from 0). ` +
      `Set nonfinite: "drop" (--nonfinite drop) to leave out such rows, or clean the file`,
  );
}

function resolveScale(
  { what, dtype }: Table,
  { scale: name = "none", maximum: stated }: DatasetOptions,
  ownMaximum: number | undefined,
  { mean, variance, minimum, maximum: largest }: NativeStatistics,
): Scale {
  if (name === "none" || name === "standardize") {
    if (stated !== undefined) throw new RegimesError("E_OPTION", `maximum: scale "${name}" takes none, only "unit" and "symmetric" do`);
    if (name === "none") return { name, scale: 1, shift: 0 };
    const standardDeviation = Math.sqrt(variance);
    // A constant may come with a rounding error for a variance, so equality decides.
    if (minimum === largest || standardDeviation === 0) {
      const found = `the values (${minimum} to ${largest}) have no spread`;
      throw new RegimesError("E_DOMAIN", `${what}: ${found}: constant data cannot be standardized`);
    }
    if (!Number.isFinite(standardDeviation)) throw beyondRange(what, Math.max(Math.abs(minimum), Math.abs(largest)));
    return { name, scale: 1 / standardDeviation, shift: -mean / standardDeviation, mean, standardDeviation };
  }
  const maximum = stated ?? ownMaximum ?? (dtype === "uint8" ? 255 : undefined);
  if (maximum === undefined) {
    const hint = `what counts as 1 (the values reach ${largest})`;
    throw new RegimesError("E_OPTION", `${what}: scale "${name}" of ${dtype} needs the option maximum, ${hint}`);
  }
  if (!(maximum > 0) || !Number.isFinite(2 / maximum) || !Number.isFinite(maximum)) {
    throw new RegimesError("E_OPTION", `maximum is ${maximum}, need a positive finite number`);
  }
  return name === "unit" ? { name, scale: 1 / maximum, shift: 0, maximum } : { name, scale: 2 / maximum, shift: -1, maximum };
}

/** Largest absolute value: the scaling is monotone, so one of the two ends has it. */
function magnitudeOf({ scale, shift }: Scale, { minimum, maximum }: NativeStatistics): number {
  return Math.max(Math.abs(minimum * scale + shift), Math.abs(maximum * scale + shift));
}

function beyondRange(what: string, magnitude: number): RegimesError {
  return new RegimesError("E_RANGE", `${what}: values reach magnitude ${magnitude}, the limit is ${largestMagnitude}. Rescale the data`);
}

/** Warnings about the values. @throws RegimesError E_RANGE for values beyond 1e150. */
function checkValues({ what, n }: Table, scale: Scale, statistics: NativeStatistics): string[] {
  const magnitude = magnitudeOf(scale, statistics);
  if (!(magnitude <= largestMagnitude)) throw beyondRange(what, magnitude);
  const { minimum, maximum: largest, distinctRows } = statistics;
  const { maximum } = scale;
  const warnings: string[] = [];
  if (maximum !== undefined && (minimum < 0 || largest > maximum)) {
    warnings.push(`values of ${what} lie in [${minimum}, ${largest}], outside [0, maximum = ${maximum}]`);
  }
  const duplicates = n - distinctRows;
  if (duplicates > 0.01 * n) {
    const percent = ((100 * duplicates) / n).toFixed(1);
    const meaning = "collapse onto a datum then means onto its copies";
    warnings.push(`${duplicates} of ${n} rows of ${what} (${percent} %) repeat another row; ${meaning}`);
  }
  return warnings;
}

/** See `Dataset.fingerprint`. In pieces, so that aborts come through; one update takes less than 2 GiB. */
async function digest(
  { stored, n, d, dtype }: Table,
  { scale, shift }: Scale,
  labels: Int32Array | null,
  signal: AbortSignal | undefined,
): Promise<string> {
  const hash = createHash("sha256");
  hash.update(`${JSON.stringify({ dtype, shape: [n, d], scale, shift, labels: labels !== null })}\n`);
  const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
  const piece = 32 * 1024 * 1024;
  for (let from = 0; from < bytes.length; from += piece) {
    hash.update(bytes.subarray(from, from + piece));
    await setImmediate();
    signal?.throwIfAborted();
  }
  if (labels !== null) hash.update(labels);
  return hash.digest("hex");
}
