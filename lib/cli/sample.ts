/** `sample`: reverse trajectories of a data set or a mixture, as samples.npy, a table of trajectories and a page. */
import { basename, join } from "node:path";
import { generation, describeProcess, diffuse, processByName, renderGeneration, type Generation, type Precision, type SamplerName } from "../index.js";
import { quantileOf } from "../estimate.js";
import { csv } from "../report/markup.js";
import { count, estimateText, intervalText, percent, significant } from "../report/numbers.js";
import { envelope } from "./envelope.js";
import { npy } from "./npy-file.js";
import { checkFolder, defaultFolder, writeFolder } from "./output-folder.js";
import { openTarget, type DataFlags } from "./source.js";
import { plain, table, type Terminal } from "./terminal.js";

export interface SampleFlags extends DataFlags {
  readonly process: string;
  readonly sampler: SamplerName | "adaptive";
  readonly steps: number;
  readonly schedule: "log-snr" | "ou-time" | "process" | "sigma" | "karras";
  readonly start: "standard" | "marginal" | "gaussian";
  readonly count: number;
  readonly from?: number;
  readonly to?: number;
  readonly eta?: number;
  readonly tolerance?: number;
  readonly reduce: "auto" | "none";
  readonly seed: number | bigint;
  readonly threads?: number;
  readonly precision: Precision;
  readonly out?: string;
}

export async function sampleVerb(path: string, flags: SampleFlags, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const { sampler, steps, schedule, start, from, to, eta, tolerance, reduce, seed, threads, precision } = flags;
  const started = performance.now();
  if (flags.out !== undefined) await checkFolder(flags.out);
  const target = await openTarget(path, flags, { signal, threads, onProgress: terminal.stage("reading") });
  const process = processByName(flags.process);
  const name = target.dataset?.name ?? basename(path);
  const folder = flags.out ?? `${defaultFolder(name)}-samples`;
  if (flags.out === undefined) await checkFolder(folder);
  const opened = performance.now();
  const own = { ...(eta === undefined ? {} : { eta }), ...(tolerance === undefined ? {} : { tolerance: { absolute: tolerance, relative: tolerance } }) };
  const settings = { sampler, steps, schedule, start, count: flags.count, seed, precision, reduce, ...own };
  const result = await generation(diffuse(target, process), { ...settings, from, to, threads, signal, onProgress: terminal.stage("sampling") });
  const finished = performance.now();
  const { run } = result;
  const { backend, backendReason, version } = run.meta!;
  const warnings = target.dataset?.warnings ?? [];
  const answer = envelope("sample", {
    config: {
      source: path,
      process: process.name,
      processParameters: describeProcess(process).parameters,
      ...settings,
      seed: String(seed),
      from: run.grid[0]!.t,
      to: run.grid.at(-1)!.t,
      scale: target.dataset?.scale ?? null,
      threads: run.meta!.threads,
    },
    result: {
      samples: "samples.npy",
      shape: run.samples.shape,
      evaluations: run.evaluations,
      reduction: run.reduction,
      speciation: result.speciation,
      collapse: result.collapse,
      classValues: result.classValues,
      classOf: asArray(result.classOf),
      classSettled: asArray(result.classSettled),
      nearest: { index: asArray(result.nearest.index), weight: asArray(result.nearest.weight) },
      nearestSettled: asArray(result.nearestSettled),
    },
    warnings,
    timing: { openMs: opened - started, sampleMs: run.meta!.wallMs, totalMs: finished - started },
    meta: { version, backend, backendReason },
  });
  await writeFolder(folder, {
    "samples.npy": npy(run.samples.data, run.samples.shape),
    "trajectories.csv": trajectoriesCsv(result),
    "result.json": `${JSON.stringify(answer, null, 1)}\n`,
    "report.html": renderGeneration(result, { title: name }),
  });
  terminal.result(answer, () => summary(result, flags));
  terminal.warnings(warnings);
  terminal.note(`samples: ${join(folder, "samples.npy")}   report: ${join(folder, "report.html")}   (opens offline)`);
}

function asArray(values: ArrayLike<number> | null): number[] | null {
  return values === null ? null : Array.from(values);
}

function summary(result: Generation, { sampler, steps, count: asked }: SampleFlags): string {
  const { run, classOf, classValues, nearest, nearestSettled, classSettled, speciation, collapse } = result;
  const number = (value: number): string => plain(significant(value, 3));
  const alone = nearest.weight.filter((weight) => weight > 0.99).length / asked;
  const rows = [
    ["speciation t_S", speciation.criterion, speciation.value === null ? "no value" : plain(estimateText(speciation)), plain(intervalText(speciation))],
    ...(collapse === null ? [] : [["collapse   t_C", collapse.criterion, collapse.value === null ? "no value" : plain(estimateText(collapse)), plain(intervalText(collapse))]]),
    ...(classSettled === null ? [] : [["class settled", "median of trajectories", number(median(classSettled)), ""]]),
    ...(collapse === null ? [] : [["datum settled", "median of trajectories", number(median(nearestSettled)), ""]]),
  ];
  const kinds = classOf === null ? "" : `, ${new Set(classOf).size} of ${classValues!.length} classes reached`;
  return [
    `${plain(count(asked))} trajectories by ${sampler}, ${plain(count(steps))} steps from t = ${number(run.grid[0]!.t)} to ${number(run.grid.at(-1)!.t)}, ${run.evaluations} evaluations each${kinds}`,
    ...(collapse === null ? [] : [`${plain(percent(alone))} end on a single datum (weight above 0.99)`]),
    "",
    table([["time", "by", "OU time", "95 % interval"], ...rows]),
  ].join("\n");
}

function median(values: Float64Array): number {
  return quantileOf(values.slice().sort(), 0.5);
}

function trajectoriesCsv({ classOf, classValues, classSettled, nearest, nearestSettled }: Generation): string {
  return csv(
    ["trajectory", "class", "class_settled_ou_time", "nearest", "nearest_weight", "nearest_settled_ou_time"],
    Array.from(nearest.index, (index, i) => [
      i,
      classOf === null ? null : classValues![classOf[i]!]!,
      classSettled?.[i] ?? null,
      index,
      nearest.weight[i]!,
      nearestSettled[i]!,
    ]),
  );
}
