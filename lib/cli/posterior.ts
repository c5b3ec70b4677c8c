/** `posterior`: the exact log density, score and posterior weights at given points. */
import { describeProcess, diffuse, openDataset, processByName, type NdArray, type Precision } from "../index.js";
import { RegimesError, printable } from "../errors.js";
import { count, significant } from "../report/numbers.js";
import { envelope } from "./envelope.js";
import { openTarget, type DataFlags } from "./source.js";
import { plain, table, type Terminal } from "./terminal.js";

export interface PosteriorFlags extends DataFlags {
  readonly queries: string;
  readonly time: number;
  readonly process: string;
  readonly precision: Precision;
  readonly threads?: number;
}

/** Rows shown without --json. */
const shown = 20;
/** Numbers that fit into one JSON text: V8 ends strings at 2^29 characters, a number takes up to 25. */
const largestJson = 2e7;

export async function posterior(path: string, flags: PosteriorFlags, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const { threads, time: t, precision, queries } = flags;
  const started = performance.now();
  const target = await openTarget(path, flags, { signal, threads, onProgress: terminal.stage("reading") });
  const process = processByName(flags.process);
  using points = await openDataset(queries, { signal, threads });
  if (points.d !== target.d) {
    const found = `shape [${points.n}, ${points.d}]`;
    throw new RegimesError("E_SHAPE", `${printable(queries)}: ${found}, need [batch, ${target.d}]: ${printable(path)} has d = ${target.d}`);
  }
  if (terminal.json && 2 * points.n * points.d > largestJson) {
    const advice = `Split ${queries} into parts of ${Math.max(1, Math.floor(largestJson / (2 * points.d)))} rows, or use the library`;
    throw new RegimesError("E_OPTION", `scores of ${points.n} queries in ${points.d} dimensions do not fit into one JSON object. ${advice}`);
  }
  const opened = performance.now();
  const answer = await diffuse(target, process).posterior(points.rows(0, points.n), {
    t,
    precision,
    readings: ["logDensity", "entropy", "effectiveCount", "nearest", "score", "denoised"],
    signal,
    threads,
    onProgress: terminal.stage("posterior"),
  });
  const finished = performance.now();
  const { logDensity, entropy, effectiveCount, nearest, score, denoised, errorBound } = answer;
  const row = ({ data }: NdArray, q: number): Float64Array => data.subarray(q * target.d, (q + 1) * target.d);
  const rows = (array: NdArray): number[][] => Array.from({ length: points.n }, (_, q) => Array.from(row(array, q)));
  // Those of the queries are about repeated rows, which mean nothing there.
  const warnings = target.dataset?.warnings ?? [];
  const value = envelope("posterior", {
    config: {
      source: path,
      queries,
      time: t,
      ouTime: process.ouTime(t),
      process: process.name,
      processParameters: describeProcess(process).parameters,
      scale: target.dataset?.scale ?? null,
      precision,
      threads: answer.meta.threads,
      ...(flags.n === undefined ? {} : { n: flags.n, seed: String(flags.seed) }),
    },
    result: {
      logDensity: Array.from(logDensity),
      entropy: Array.from(entropy),
      effectiveCount: Array.from(effectiveCount),
      nearest: { index: Array.from(nearest.index), weight: Array.from(nearest.weight) },
      score: rows(score),
      denoised: rows(denoised),
      errorBound: { logDensity: Array.from(errorBound.logDensity), score: Array.from(errorBound.score) },
    },
    warnings,
    timing: { openMs: opened - started, posteriorMs: finished - opened, totalMs: finished - started },
    meta: answer.meta,
  });
  terminal.result(value, () => {
    const number = (x: number): string => plain(significant(x, 6));
    const lines = Array.from({ length: Math.min(points.n, shown) }, (_, q) => [
      String(q),
      number(logDensity[q]!),
      number(entropy[q]!),
      number(effectiveCount[q]!),
      `${nearest.index[q]!} (${number(nearest.weight[q]!)})`,
      number(norm(row(score, q))),
    ]);
    const head = ["query", "log density (nats)", "entropy (nats)", "effective count", "nearest (weight)", "|score|"];
    const rest = points.n > shown ? `\n... ${plain(count(points.n - shown))} more: --json has all queries, scores and denoised points` : "";
    return table([head, ...lines]) + rest;
  });
  terminal.warnings(warnings);
}

function norm(vector: Float64Array): number {
  return Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
}
