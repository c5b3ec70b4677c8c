/** `analyze` and `demo`: the analysis of a data set as a table, as JSON, and as a folder with a report. */
import { basename, join } from "node:path";
import { printable } from "../errors.js";
import { analyze, processByName, renderReport, type Analysis, type Precision, type TimesInput } from "../index.js";
import { boundaries, headline } from "../report/headline.js";
import { csv } from "../report/markup.js";
import { count, estimateText, intervalText, significant } from "../report/numbers.js";
import { envelope } from "./envelope.js";
import { checkFolder, defaultFolder, writeFolder } from "./output-folder.js";
import { isMixture, openData, type DataFlags } from "./source.js";
import { plain, table, type Terminal } from "./terminal.js";

export interface AnalyzeFlags extends DataFlags {
  readonly process: string;
  readonly times?: TimesInput;
  readonly draws?: number;
  readonly seed: number | bigint;
  readonly threads?: number;
  readonly precision: Precision;
  readonly threshold?: number;
  readonly out?: string;
}

/** The embedded digits, standardised: small, and both transitions are there. */
export function demoVerb(flags: AnalyzeFlags, terminal: Terminal, signal: AbortSignal): Promise<void> {
  return analyzeVerb("demo", "digits", { scale: "standardize", out: "diffusion-regimes-demo", ...flags }, terminal, signal);
}

export async function analyzeVerb(command: string, path: string, flags: AnalyzeFlags, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const { threads, times, draws, seed, precision, threshold } = flags;
  const started = performance.now();
  if (flags.out !== undefined) await checkFolder(flags.out);
  const process = processByName(flags.process);
  using dataset = await openData(path, flags, { signal, threads, onProgress: terminal.stage("reading") });
  const title = isMixture(path) ? `${basename(path)}, ${dataset.name}` : dataset.name;
  const folder = flags.out ?? defaultFolder(isMixture(path) ? basename(path) : dataset.name);
  if (flags.out === undefined) await checkFolder(folder);
  const openMs = performance.now() - started;
  const analysis = await analyze(dataset, {
    process,
    times,
    draws,
    seed,
    precision,
    threshold,
    classes: flags.classes,
    threads,
    signal,
    onProgress: terminal.stages(),
  });
  const { meta, warnings, result } = analysis;
  const config = { data: path, ...asked(flags), ...analysis.config };
  const timing = { openMs, ...analysis.timing, totalMs: performance.now() - started };
  const answer = { ...envelope("analyze", { config, result, warnings, timing, meta }), command };
  await writeFolder(folder, {
    "result.json": `${JSON.stringify(answer, null, 1)}\n`,
    "curves.csv": curvesCsv(analysis),
    "report.html": renderReport({ ...analysis, timing }, { title }),
  });
  terminal.result(answer, () => summary(analysis, title));
  terminal.warnings(warnings);
  terminal.note(`report: ${join(folder, "report.html")}   (opens offline; numbers in result.json and curves.csv)`);
  if (command === "demo") terminal.note("next:   npx diffusion-regimes analyze your.npy");
}

/** What was asked for about the data, null where it was not; the scale and the classes are in the analysis. */
function asked({ labels, rows, maximum, nonfinite, flatten, tensor, n }: DataFlags): object {
  const given = { labels, rows, maximum, nonfinite, flatten, tensor, n };
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, value ?? null]));
}

function summary(analysis: Analysis, title: string): string {
  const { n, d, alpha, classValues } = analysis.result;
  const { process } = analysis.config;
  const classes = classValues === null ? "no labels" : `${classValues.length} ${classValues.length === 1 ? "class" : "classes"}`;
  const own = process !== "ornstein-uhlenbeck";
  const times = boundaries(analysis);
  const number = (value: number | null | undefined): string => (value == null ? "" : plain(significant(value, 4)));
  const rows = times.map(({ symbol, time }) => [
    symbol === "t_S" ? "speciation t_S" : "collapse   t_C",
    time.criterion,
    time.value === null ? "no value" : plain(estimateText(time)),
    plain(intervalText(time)),
    ...(own ? [number(time.processTime)] : []),
    number(time.clocks?.sigma),
    time.clocks?.ddpmStep == null ? "" : time.clocks.ddpmStep.toFixed(1),
  ]);
  const head = ["boundary", "criterion", "OU time", "95 % interval", ...(own ? [`${process} time`] : []), "sigma", "DDPM step (linear)"];
  const reasons = times.flatMap(({ symbol, time }) => (time.value === null ? [`${symbol} ${time.criterion}: ${time.status}`] : []));
  return [
    `${printable(title)}: n = ${plain(count(n))}, d = ${plain(count(d))}, alpha = log(n)/d = ${plain(significant(alpha, 4))}, ${classes}, scale ${analysis.result.scale.name}`,
    `${analysis.meta.backend}, ${analysis.meta.threads} threads, seed ${analysis.config.seed}, ${plain(count(analysis.config.draws))} draws at ${analysis.config.times.length} times`,
    "",
    table([head, ...rows]),
    ...(reasons.length === 0 ? [] : ["", ...reasons]),
    "",
    headline(analysis).sentence,
  ].join("\n");
}

/** Every curve with its standard error and interval, one row per time. */
function curvesCsv({ config, result }: Analysis): string {
  const { ouTime, ...curves } = result.curves;
  const present = Object.entries(curves).filter((entry): entry is [string, NonNullable<(typeof entry)[1]>] => entry[1] !== null);
  const columns = present.flatMap(([name]) => [name, `${name}StandardError`, `${name}Low`, `${name}High`]);
  return csv(
    ["time", "ouTime", ...columns],
    ouTime.map((time, j) => [
      config.times[j]!,
      time,
      ...present.flatMap(([, curve]) => [curve[j]!.value, curve[j]!.standardError, curve[j]!.ci95?.[0] ?? null, curve[j]!.ci95?.[1] ?? null]),
    ]),
  );
}
