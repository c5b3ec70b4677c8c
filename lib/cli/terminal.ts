/**
 * What the program says, and where: results on stdout, everything else (progress, notes, warnings) on stderr. No colours. On a
 * terminal progress is one line that is rewritten; otherwise, under TERM=dumb or in CI, it is one plain line every ten seconds.
 */
import { stdout, stderr } from "node:process";
import { printable } from "../errors.js";

/**
 * Control and direction characters are escaped, so that a hostile file name cannot drive the terminal. Line feeds pass: who puts a name
 * into a text of several lines makes it `printable` there, or it could forge a line.
 */
function visibleLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}

/** A number formatted for the page, in characters that every terminal shows and every program reads: 7.56e-6, 1 797, 0.8 +- 0.1. */
export function plain(text: string): string {
  return text
    .replaceAll(/\s?\u00d7\s?10([\u207b\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+)/g, (_, power: string) => `e${asciiPower(power)}`)
    .replaceAll(/[\u00a0\u2009\u202f]/g, " ")
    .replaceAll("\u00d7", "x")
    .replaceAll("\u2212", "-")
    .replaceAll("\u00b1", "+-");
}

const superscripts = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";

function asciiPower(power: string): string {
  return Array.from(power, (sign) => (sign === "\u207b" ? "-" : superscripts.indexOf(sign))).join("");
}

/** A table of left-aligned text columns, two spaces apart, without trailing spaces. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  const cells = rows.map((row) => row.map(printable));
  for (const row of cells) row.forEach((cell, j) => (widths[j] = Math.max(widths[j] ?? 0, cell.length)));
  return cells.map((row) => row.map((cell, j) => cell.padEnd(widths[j]!)).join("  ").trimEnd()).join("\n");
}

/** What the flags of the same names say; `progress` is false after --no-progress. */
export interface TerminalFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly progress?: boolean;
}

const linePeriodMs = 10_000;
const drawPeriodMs = 100;

export class Terminal {
  readonly json: boolean;
  readonly #quiet: boolean;
  readonly #progress: boolean;
  readonly #rewrites: boolean;
  #drawn = false;

  constructor({ json = false, quiet = false, progress = true }: TerminalFlags) {
    this.json = json;
    this.#quiet = quiet;
    this.#progress = progress && !quiet;
    this.#rewrites = stderr.isTTY === true && process.env["TERM"] !== "dumb" && !process.env["CI"];
  }

  /** The result: with --json one JSON object on one line, else `text()`. The only thing that reaches stdout. */
  result(value: unknown, text: () => string): void {
    this.#clear();
    stdout.write(this.json ? `${JSON.stringify(value)}\n` : `${visibleLines(text())}\n`);
  }

  /** A remark of one line on stderr, silent under --quiet. */
  note(text: string): void {
    if (this.#quiet) return;
    this.#clear();
    stderr.write(`${printable(text)}\n`);
  }

  /** Each distinct warning once, with its count. */
  warnings(texts: readonly string[]): void {
    const counts = new Map<string, number>();
    for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
    for (const [text, count] of counts) this.note(`warning: ${text}${count > 1 ? ` (${count} times)` : ""}`);
  }

  /** An error, shown even under --quiet. */
  error(text: string): void {
    this.#clear();
    stderr.write(`${visibleLines(text)}\n`);
  }

  /** A progress callback for one stage; fractions in [0, 1]. */
  stage(label: string): (fraction: number) => void {
    if (!this.#progress) return () => undefined;
    const started = performance.now();
    let last = this.#rewrites ? -Infinity : started;
    return (fraction) => {
      const now = performance.now();
      if (now - last < (this.#rewrites ? drawPeriodMs : linePeriodMs)) return;
      last = now;
      const line = progressLine(label, fraction, now - started, this.#rewrites ? 16 : 24);
      if (!this.#rewrites) {
        stderr.write(`${line}\n`);
        return;
      }
      stderr.write(`\r${line.slice(0, (stderr.columns ?? 80) - 1)}\u001b[K`);
      this.#drawn = true;
    };
  }

  /** The same for a computation that names its stages as it goes. */
  stages(): (fraction: number, label: string) => void {
    let current = "";
    let report = this.stage(current);
    return (fraction, label) => {
      if (label !== current) report = this.stage(label);
      current = label;
      report(fraction);
    };
  }

  #clear(): void {
    if (this.#drawn) stderr.write("\r\u001b[K");
    this.#drawn = false;
  }
}

/**
 * An estimate of the time left is given only after 3 %, where it begins to mean something. With a bar of 16 the line fits into 79
 * characters up to 99999 s.
 */
function progressLine(label: string, fraction: number, elapsedMs: number, width: number): string {
  const filled = Math.round(fraction * width);
  const bar = "#".repeat(filled) + ".".repeat(width - filled);
  const left = fraction > 0.03 ? `, about ${seconds((elapsedMs * (1 - fraction)) / fraction)} left` : "";
  return `  ${label.padEnd(16)} ${bar} ${String(Math.floor(100 * fraction)).padStart(3)} %  ${seconds(elapsedMs)} elapsed${left}`;
}

function seconds(ms: number): string {
  return ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}
