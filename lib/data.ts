/**
 * Data sets: n rows of d numbers, with labels where there are any. `openDataset` reads a file (.npy, IDX, CSV, TSV, safetensors; gzipped
 * or not), the embedded digits or an array in memory, selects rows, states the scaling, and hands the rows to native memory once.
 *
 * The values of a data set are exact: `stored * scale + shift` in float64, whatever the stored type. Nothing is scaled, dropped or
 * rounded unless asked for; what was done stands in `scale` and `warnings`, and all of it enters `fingerprint`.
 *
 * Files larger than memory are mapped (option `map`): the rows stay in the file, and every result has the same bits.
 */
import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { NdArray } from "./array.js";
import { RegimesError, checkChoice, checkOptionNames, printable } from "./errors.js";
import { elementWidth, type ElementType, type Stored } from "./formats/elements.js";
import { fixLabelSource, indexLabels, labelsOf, splitLabels, type FixedLabelSource, type LabelSource } from "./formats/labels.js";
import { defaultMaxBytes, locateMapped, mappedBytes, type LocatedArray, type MapChoice } from "./formats/mapped.js";
import { chooseRows, dropNonfinite, fixRowSelection, gatherRows, rowRange } from "./formats/rows.js";
import type { FixedRowSelection, RowSelection } from "./formats/rows.js";
import { copyTable, readTable, rowsOf, type DataInput, type NumericArray, type TableOptions, type TableShape } from "./formats/table.js";
import { checkValues, magnitudeOf, resolveScale, type Scale, type ScaleName } from "./scale.js";
import { checkRun, native, runJob, runOptionNames, toRegimesError } from "./native.js";
import type { NativeHandle, NativeStatistics, RunOptions } from "./native.js";

export type { DataInput, ElementType, LabelSource, MapChoice, NumericArray, RowSelection, Scale, ScaleName };

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
  /**
   * true: leave the rows in the file and read them where they lie; E_OPTION says why where that cannot be. false: a copy in memory.
   * "auto" (default): map what can be mapped and is larger than a quarter of the available memory, than 16 GiB, or than Node can read.
   *
   * Mapped are .npy and safetensors of uint8, float16, float32 or float64: not gzipped, in C order and the machine's byte order, with
   * `rows` a range or absent, without `classes`, a label column or `nonfinite: "drop"`. Opening needs 24 bytes per row, the layouts
   * that posteriors and sweeps build at most an eighth of the memory that the process may use. While the data set is in use the file
   * must stay as it is: a call on one that was cut short or written to rejects with E_FILE_CHANGED; one that was replaced by another
   * goes on unchanged.
   */
  readonly map?: MapChoice | undefined;
  /** Largest number of bytes read or unpacked, default 16 GiB; mapped rows do not count. */
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
  "map",
  "maxBytes",
  "name",
  ...runOptionNames,
];

/** 8 x 8 pixels from 0 to 16 and, in the last column, the label. */
const digitsPath = join(dirname(fileURLToPath(import.meta.url)), "..", "data", "digits.csv.gz");

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
  readonly mapped: boolean;
  readonly handle: NativeHandle;
}

/** Rows of numbers in native memory or in a mapped file, immutable. Made by `openDataset`. */
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
   * stored bytes of the selected rows (little-endian, C order, float16 as float32; mapped or not) and, with labels, the label value of
   * each row as int32.
   */
  readonly fingerprint: string;
  /** What the caller should know, one sentence each. */
  readonly warnings: readonly string[];
  /** [height, width] where rows are images of one channel. */
  readonly imageShape: readonly [height: number, width: number] | null;
  /** Are the rows read where they lie in the file (see `DatasetOptions.map`)? */
  readonly mapped: boolean;
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
    this.mapped = parts.mapped;
    this.#handle = parts.handle;
  }

  /** @internal The native rows. @throws RegimesError E_DISPOSED after `dispose()`. */
  get handle(): NativeHandle {
    if (this.#handle === undefined) throw new RegimesError("E_DISPOSED", `data set ${printable(this.name)} was disposed. Open it again`);
    return this.#handle;
  }

  /**
   * Scaled values of rows [from, to), shape [to - from, d].
   * @throws RegimesError E_SHAPE outside 0 <= from <= to <= n, E_DISPOSED, E_FILE_CHANGED.
   */
  rows(from: number, to: number): NdArray {
    const handle = this.handle;
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || to < from || to > this.n) {
      throw new RegimesError("E_SHAPE", `rows ${from} to ${to} of ${printable(this.name)}: need 0 <= from <= to <= n = ${this.n}`);
    }
    try {
      return { data: native().datasetRows(handle, from, to), shape: [to - from, this.d] };
    } catch (error) {
      throw toRegimesError(error);
    }
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
  if (![undefined, true, false, "auto"].includes(options.map)) throw new RegimesError("E_OPTION", 'map: expected true, false or "auto"');
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
  if (typeof source === "string" && !digits) {
    const obstacle = copyNeeded(labelSource, selection, options);
    const array = await locateMapped(source, options.map ?? "auto", reading.tensor, obstacle);
    if (array !== null) return openMapped(array, source, labelSource, selection, options);
  } else if (options.map === true) {
    throw new RegimesError("E_OPTION", "map: only files can be mapped, and the embedded digits are packed");
  }
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
  const n = kept?.length ?? table.n;
  return finish({
    ...table,
    n,
    warnings,
    name: digits ? "digits" : table.name,
    imageShape: digits ? [8, 8] : table.imageShape,
    handle: createRows(() => native().createDataset({ stored, n, d: table.d, scale: 1, shift: 0 })),
    mapped: false,
    labels,
    ownMaximum: digits ? 16 : undefined,
    sourceRow: (row) => (kept === null ? row : kept[row]!),
    labelColumn: column,
    bytes: storedBytes(stored, options.signal),
    options,
  });
}

/** What in the options needs a copy of the rows. */
function copyNeeded(labels: FixedLabelSource, selection: FixedRowSelection, { classes, nonfinite }: DatasetOptions): string | undefined {
  if (labels !== null && typeof labels === "object" && "column" in labels) return "taking a column of labels out needs a copy";
  if (selection instanceof Float64Array) return "a list of rows needs a copy, a range {from, to} does not";
  if (classes !== undefined) return "choosing classes needs a copy";
  return nonfinite === "drop" ? 'nonfinite: "drop" needs a copy' : undefined;
}

async function openMapped(
  array: LocatedArray,
  path: string,
  labelSource: FixedLabelSource,
  selection: FixedRowSelection,
  options: DatasetOptions,
): Promise<Dataset> {
  try {
    const { what, dtype, fileBytes, dataStart, file } = array;
    const reading = readOptions(options);
    const whole = { what, name: basename(path), dtype, columnNames: null, warnings: [], ...rowsOf(what, array.shape, reading.flatten) };
    const fixed = labelSource as string | Int32Array | null;
    const allLabels = fixed === null ? null : await labelsOf(whole, fixed, { ...reading, onProgress: undefined });
    const { from, to } = rowRange(whole, selection === null || selection instanceof Float64Array ? {} : selection);
    const n = to - from;
    const rowBytes = whole.d * elementWidth[dtype];
    const offset = dataStart + from * rowBytes;
    return await finish({
      ...whole,
      n,
      handle: createRows(() => native().mapDataset({ descriptor: file.fd, what, fileBytes, offset, dtype, n, d: whole.d })),
      mapped: true,
      labels: allLabels?.slice(from, to) ?? null,
      ownMaximum: undefined,
      sourceRow: (row) => from + row,
      labelColumn: null,
      bytes: mappedBytes(array, offset, n * rowBytes, options.signal),
      options,
    });
  } finally {
    await array.file.close();
  }
}

/** Selected rows in native hands, and what is needed to look at them and to tell of them. */
interface OpenRows extends TableShape {
  readonly handle: NativeHandle;
  readonly mapped: boolean;
  readonly labels: Int32Array | null;
  /** What counts as 1 where nobody says. */
  readonly ownMaximum: number | undefined;
  /** Row of the source for each row. */
  readonly sourceRow: (row: number) => number;
  /** The column of the source that went, null for none. */
  readonly labelColumn: number | null;
  /** All stored bytes, in order. */
  readonly bytes: AsyncIterable<Uint8Array>;
  readonly options: DatasetOptions;
}

/** Takes `rows.handle` over. */
async function finish(rows: OpenRows): Promise<Dataset> {
  const { handle, labels, options } = rows;
  try {
    const statistics = await runJob({ ...options, onProgress: within(options, 0.5, 0.9) }, (addon, threads, progress) =>
      addon.datasetStatistics(handle, threads, progress),
    );
    refuseNonfinite(rows, statistics);
    const scale = resolveScale(rows, options, rows.ownMaximum, statistics);
    const warnings = [...rows.warnings, ...checkValues(rows, scale, statistics)];
    const fingerprint = await digest(rows, scale);
    options.onProgress?.(1);
    return new Dataset({
      name: options.name ?? rows.name,
      n: rows.n,
      d: rows.d,
      dtype: rows.dtype,
      ...(labels === null ? { labels: null, classValues: null } : indexLabels(labels)),
      scale,
      distinctRows: statistics.distinctRows,
      magnitude: magnitudeOf(scale, statistics),
      fingerprint,
      warnings,
      imageShape: rows.imageShape,
      mapped: rows.mapped,
      handle: native().rescaledDataset(handle, scale.scale, scale.shift),
    });
  } finally {
    handle.dispose();
  }
}

function readOptions(options: DatasetOptions): TableOptions {
  const { maxBytes = defaultMaxBytes, flatten = false, tensor, signal } = options;
  if (!(maxBytes >= 1)) throw new RegimesError("E_OPTION", `maxBytes is ${maxBytes}, need a number of bytes, at least 1`);
  return { maxBytes, flatten, tensor, signal, onProgress: within(options, 0, 0.5) };
}

/** Reports the progress of one stage as a part [from, to] of the whole. */
function within({ onProgress }: RunOptions, from: number, to: number): RunOptions["onProgress"] {
  return onProgress === undefined ? undefined : (fraction) => onProgress(from + (to - from) * fraction);
}

function createRows(create: () => NativeHandle): NativeHandle {
  try {
    return create();
  } catch (error) {
    throw toRegimesError(error);
  }
}

/** Row and column are told as they are in the source. */
function refuseNonfinite({ what, sourceRow, labelColumn }: OpenRows, { nonfinite }: NativeStatistics): void {
  if (nonfinite.count === 0) return;
  const row = sourceRow(nonfinite.row);
  const column = nonfinite.column + (labelColumn !== null && labelColumn <= nonfinite.column ? 1 : 0);
  throw new RegimesError(
    "E_NONFINITE",
    `${what}: ${nonfinite.count} NaN or infinite values, first at row ${row} column ${column} (counted from 0). ` +
      `Set nonfinite: "drop" (--nonfinite drop) to leave out such rows, or clean the file`,
  );
}

/** In pieces, so that aborts come through; one update takes less than 2 GiB. */
async function* storedBytes(stored: Stored, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
  const piece = 32 * 1024 * 1024;
  for (let from = 0; from < bytes.length; from += piece) {
    yield bytes.subarray(from, from + piece);
    await setImmediate();
    signal?.throwIfAborted();
  }
}

/** See `Dataset.fingerprint`. */
async function digest({ n, d, dtype, labels, bytes }: OpenRows, { scale, shift }: Scale): Promise<string> {
  const hash = createHash("sha256");
  hash.update(`${JSON.stringify({ dtype, shape: [n, d], scale, shift, labels: labels !== null })}\n`);
  for await (const piece of bytes) hash.update(piece);
  if (labels !== null) hash.update(labels);
  return hash.digest("hex");
}
