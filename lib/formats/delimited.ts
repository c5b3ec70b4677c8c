/**
 * Tables of decimal numbers separated by commas, semicolons or tabs, with or without a line of column names. Every cell is a number
 * (nan and inf count as numbers, for the caller to refuse); anything else is an error with its place, never a guess.
 */
import { RegimesError, printable } from "../errors.js";
import type { ParsedArray, Stored } from "./elements.js";

const newline = 10;
const carriageReturn = 13;
const quote = 34;

/** Neither a cell nor a row is longer in an honest table; without limits one line of rubbish would become gigabytes of strings. */
const longestCell = 1024;
const mostColumns = 4_000_000;

export interface ParsedTable extends ParsedArray {
  readonly columnNames: readonly string[] | null;
  /** What the caller should know, one sentence each. */
  readonly warnings: readonly string[];
}

interface Cell {
  readonly text: string;
  readonly end: number;
}

/**
 * The table as [rows, columns], dtype "text"; stored in the smallest of uint8, float32, float64 that holds every number exactly.
 * The first row is a header when none of its cells is a number, or, with a warning, when it has names and its numbers count the other
 * columns (0, 1, 2, ... or 1, 2, 3, ..., as pandas writes them). Fields may be quoted; lines end in LF, CRLF or, throughout, CR.
 * @throws RegimesError E_PARSE with row and column, both counted from 1, the header included.
 */
export function parseDelimited(bytes: Uint8Array, what: string): ParsedTable {
  return new TableReader(bytes, what).read();
}

class TableReader {
  private readonly what: string;
  private readonly bytes: Buffer;
  private readonly length: number;
  private position: number;
  private row = 1;
  private delimiter = 44;

  constructor(bytes: Uint8Array, what: string) {
    this.what = what;
    this.bytes = withLineFeeds(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
      throw new RegimesError("E_PARSE", `${what}: UTF-16 text; save it as UTF-8`);
    }
    this.position = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
    let end = bytes.length;
    while (end > this.position && (bytes[end - 1] === newline || bytes[end - 1] === carriageReturn || bytes[end - 1] === 32)) end--;
    this.length = end;
  }

  read(): ParsedTable {
    if (this.position >= this.length) throw new RegimesError("E_PARSE", `${this.what}: there is no row of numbers in it`);
    const start = this.position;
    this.delimiter = this.findDelimiter();
    const first = this.readTexts();
    const header = this.isHeader(first);
    const warnings: string[] = [];
    if (header && (first.some(isNumeric) || !first.some(isName))) warnings.push(`row 1 of ${this.what} taken as the header: ${listed(first)}`);
    if (header) this.row++;
    else this.position = start;
    const columns = first.length;
    const values = this.readRows(columns);
    return {
      stored: narrowest(values),
      shape: [values.length / columns, columns],
      dtype: "text",
      columnNames: header ? first.map((text) => text.replace(/^#\s*/, "")) : null,
      warnings,
    };
  }

  /** A row of data that is spoiled in a cell must not pass for column names: it would be lost. */
  private isHeader(first: readonly string[]): boolean {
    const word = first.findIndex((text) => !isNumeric(text));
    if (word < 0) return false;
    const comma = first.findIndex(isDecimalComma);
    if (comma >= 0) this.refuse(first[comma]!, comma);
    const numbers = first.filter(isNumeric);
    if (numbers.length === 0) {
      if (first.every(isMissing)) this.refuse(first[0]!, 0);
      return true;
    }
    const stray = first.findIndex((text) => !isNumeric(text) && !isName(text));
    if (stray >= 0) this.refuse(first[stray]!, stray);
    if (numbers.every((text, k) => text === String(k)) || numbers.every((text, k) => text === String(k + 1))) return true;
    return this.refuse(first[word]!, word, `"${shortened(first[word]!)}" is not a number, and the row is no header: it has numbers`);
  }

  private findDelimiter(): number {
    let quoted = false;
    let best = 44;
    for (let k = this.position; k < this.length && this.bytes[k] !== newline; k++) {
      const byte = this.bytes[k]!;
      if (byte === quote) quoted = !quoted;
      else if (!quoted && byte === 9) return 9;
      else if (!quoted && byte === 59) best = 59;
    }
    return best;
  }

  /** The cells of the row at `position` as text; moves behind it. */
  private readTexts(): string[] {
    const texts: string[] = [];
    for (;;) {
      const cell = this.readText(texts.length);
      if (texts.length === mostColumns) this.refuse(cell.text, mostColumns, `more than ${mostColumns} columns`);
      texts.push(cell.text);
      this.position = cell.end + 1;
      if (this.bytes[cell.end] === newline || cell.end >= this.length) return texts;
    }
  }

  /** The cell at `position`, unquoted and trimmed, and where it ends. */
  private readText(column: number): Cell {
    const { bytes, length, delimiter } = this;
    let end = this.position;
    if (bytes[end] !== quote) {
      while (end < length && bytes[end] !== delimiter && bytes[end] !== newline) end++;
      if (end - this.position > longestCell) this.refuse("", column, `a cell of ${end - this.position} bytes`);
      return { text: bytes.toString("utf8", this.position, end).trim(), end };
    }
    for (end++; end < length && bytes[end] !== newline; end++) {
      if (bytes[end] !== quote) continue;
      if (bytes[end + 1] !== quote) break;
      end++;
    }
    if (end - this.position > longestCell) this.refuse("", column, `a quoted cell of ${end - this.position} bytes`);
    const text = bytes.toString("utf8", this.position + 1, end).replaceAll('""', '"').trim();
    if (bytes[end] !== quote || end >= length) this.refuse(text, column, "a quote that does not close in its line");
    end++;
    while (end < length && (bytes[end] === 32 || bytes[end] === carriageReturn)) end++;
    if (end < length && bytes[end] !== delimiter && bytes[end] !== newline) this.refuse(text, column, "text after a closing quote");
    return { text, end };
  }

  private readRows(columns: number): Float64Array {
    const { bytes, length, delimiter } = this;
    let lines = 0;
    for (let k = this.position; k < length; k++) if (bytes[k] === newline) lines++;
    if (this.position < length) lines++;
    // A cell takes at least two bytes: a file with fewer is ragged and fails below, so nothing is allocated on the first row's word.
    const values = new Float64Array(Math.min(lines * columns, Math.ceil((length - this.position) / 2)));
    let count = 0;
    while (this.position < length) {
      for (let column = 0; ; column++) {
        let end = this.position;
        while (end < length && bytes[end] !== delimiter && bytes[end] !== newline) end++;
        let value = plainNumber(bytes, this.position, end);
        if (Number.isNaN(value)) {
          const cell = this.readText(column);
          if (!isNumeric(cell.text)) this.refuse(cell.text, column);
          value = toNumber(cell.text);
          end = cell.end;
        }
        const last = end >= length || bytes[end] === newline;
        if (last !== (column === columns - 1)) this.refuseRagged(column, columns);
        values[count++] = value;
        this.position = end + 1;
        if (last) break;
      }
      this.row++;
    }
    return values.subarray(0, count);
  }

  private refuseRagged(column: number, columns: number): never {
    const problem = column < columns - 1 ? `ends after column ${column + 1}` : `goes on after column ${columns}`;
    throw new RegimesError("E_PARSE", `${this.what}: row ${this.row} ${problem}, row 1 has ${columns} columns`);
  }

  private refuse(text: string, column: number, problem?: string): never {
    let hint = "";
    if (isDecimalComma(text)) hint = ". Decimal commas are not read: write 1.5, not 1,5";
    else if (/^\S+[ \t]+\S/.test(text)) hint = `. Columns are separated by commas, semicolons or tabs: np.savetxt(..., delimiter=",")`;
    const found = problem ?? (text === "" ? "an empty cell" : `"${shortened(text)}" is not a number`);
    throw new RegimesError("E_PARSE", `${this.what}: row ${this.row}, column ${column + 1}: ${found}${hint}`);
  }
}

const powersOfTen = Float64Array.from({ length: 23 }, (_, k) => Number(`1e${k}`));

/**
 * The number in bytes [start, end), correctly rounded; NaN when it is not written plainly and must be read as text. With at most 15
 * digits and a small power of ten both are exact and one rounding does (Clinger 1990), several times faster than a string.
 */
function plainNumber(bytes: Buffer, start: number, end: number): number {
  let k = start;
  let stop = end;
  while (k < stop && bytes[k] === 32) k++;
  while (stop > k && (bytes[stop - 1] === 32 || bytes[stop - 1] === carriageReturn)) stop--;
  const negative = bytes[k] === 45;
  if (negative || bytes[k] === 43) k++;
  let mantissa = 0;
  let digits = 0;
  let power = 0;
  let point = false;
  for (; k < stop; k++) {
    const byte = bytes[k]!;
    if (byte >= 48 && byte <= 57) {
      mantissa = mantissa * 10 + (byte - 48);
      digits++;
      if (point) power--;
    } else if (byte === 46 && !point) point = true;
    else break;
  }
  if (digits === 0) return NaN;
  if (k < stop) {
    if ((bytes[k]! | 32) !== 101) return NaN;
    k++;
    const negativePower = bytes[k] === 45;
    if (negativePower || bytes[k] === 43) k++;
    if (k === stop || stop - k > 3) return NaN;
    let written = 0;
    for (; k < stop; k++) {
      const byte = bytes[k]!;
      if (byte < 48 || byte > 57) return NaN;
      written = written * 10 + (byte - 48);
    }
    power += negativePower ? -written : written;
  }
  if (digits > 15 || power < -22 || power > 22) return Number(bytes.toString("latin1", start, stop));
  const value = power < 0 ? mantissa / powersOfTen[-power]! : mantissa * powersOfTen[power]!;
  return negative ? -value : value;
}

const decimal = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const special = /^[+-]?(?:nan|inf|infinity)$/i;

function isNumeric(text: string): boolean {
  return decimal.test(text) || special.test(text);
}

/** The value of a numeric text, correctly rounded. */
function toNumber(text: string): number {
  if (!special.test(text)) return Number(text);
  if (/nan/i.test(text)) return NaN;
  return text.startsWith("-") ? -Infinity : Infinity;
}

function isDecimalComma(text: string): boolean {
  return /^[+-]?\d+,\d+(?:[eE][+-]?\d+)?$/.test(text);
}

/** How tables write that a value is missing. */
function isMissing(text: string): boolean {
  return /^(?:|#?n\/?a|[+-]?nan|null|none|nil|missing|[+-]?inf(?:inity)?)$/i.test(text);
}

function isName(text: string): boolean {
  return /^[#\p{L}_]/u.test(text) && !isMissing(text);
}

function shortened(text: string): string {
  return printable(text.length > 40 ? `${text.slice(0, 40)}...` : text);
}

function listed(cells: readonly string[]): string {
  return cells.slice(0, 5).map(shortened).join(", ") + (cells.length > 5 ? ", ..." : "");
}

/** The lines of a file that ends them all in CR, ended in LF; any other file as it is. */
function withLineFeeds(bytes: Buffer): Buffer {
  if (bytes.includes(newline) || !bytes.includes(carriageReturn)) return bytes;
  const copy = Buffer.from(bytes);
  for (let k = copy.indexOf(carriageReturn); k >= 0; k = copy.indexOf(carriageReturn, k + 1)) copy[k] = newline;
  return copy;
}

/** The same numbers in the smallest stored type that holds each exactly. */
function narrowest(values: Float64Array): Stored {
  let bytes = true;
  for (let k = 0; k < values.length; k++) {
    const value = values[k]!;
    if (bytes && value === (value & 255)) continue;
    bytes = false;
    if (value !== Math.fround(value) && !Number.isNaN(value)) return values.slice();
  }
  return bytes ? new Uint8Array(values) : new Float32Array(values);
}
