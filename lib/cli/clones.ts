/** `clones`: pairs of clones of reverse trajectories, over the exact curves of the same field. */
import { basename, join } from "node:path";
import { clones, describeProcess, diffuse, processByName, regimes, renderCloning, type Estimate, type Precision, type SamplerName, type TimesInput } from "../index.js";
import { csv } from "../report/markup.js";
import { count, estimateText, significant } from "../report/numbers.js";
import { envelope } from "./envelope.js";
import { checkFolder, defaultFolder, writeFolder } from "./output-folder.js";
import { openTarget, type DataFlags } from "./source.js";
import { plain, table, type Terminal } from "./terminal.js";

export interface ClonesFlags extends DataFlags {
  readonly process: string;
  readonly times: TimesInput;
  readonly pairs: number;
  readonly steps: number;
  readonly sampler: SamplerName;
  readonly draws: number;
  readonly seed: number | bigint;
  readonly threads?: number;
  readonly precision: Precision;
  readonly out?: string;
}

export async function clonesVerb(path: string, flags: ClonesFlags, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const { pairs, steps, sampler, draws, seed, threads, precision } = flags;
  const started = performance.now();
  if (flags.out !== undefined) await checkFolder(flags.out);
  const target = await openTarget(path, flags, { signal, threads, onProgress: terminal.stage("reading") });
  const process = processByName(flags.process);
  const name = target.dataset?.name ?? basename(path);
  const folder = flags.out ?? `${defaultFolder(name)}-clones`;
  if (flags.out === undefined) await checkFolder(folder);
  const opened = performance.now();
  const field = diffuse(target, process);
  const branchTimes = timesOf(flags.times);
  const run = await clones(field, { branchTimes, pairs, steps, sampler, seed, precision, threads, signal, onProgress: terminal.stage("clones") });
  const cloned = performance.now();
  const curves = await regimes(field, { times: branchTimes, draws, seed, precision, threads, signal, onProgress: terminal.stage("exact curves") });
  const finished = performance.now();
  const { meta, ...result } = run;
  const exact = { speciationCloning: curves.speciationCloning, collapseCloning: result.collapseCloning && curves.collapseCloning };
  const warnings = target.dataset?.warnings ?? [];
  const answer = envelope("clones", {
    config: {
      source: path, process: process.name, processParameters: describeProcess(process).parameters, times: Array.from(branchTimes),
      pairs, steps, sampler, draws, seed: String(seed), precision, scale: target.dataset?.scale ?? null, threads: meta.threads,
    },
    result: { ...result, exactCurves: exact },
    warnings,
    timing: { openMs: opened - started, clonesMs: cloned - opened, curvesMs: finished - cloned, totalMs: finished - started },
    meta,
  });
  const named = (["speciationCloning", "collapseCloning"] as const).filter((name) => result[name] !== null);
  const cells = ({ value, standardError }: Estimate): (number | null)[] => [value, standardError];
  await writeFolder(folder, {
    "result.json": `${JSON.stringify(answer, null, 1)}\n`,
    "clones.csv": csv(
      ["time", "ouTime", ...named.flatMap((name) => [name, `${name}StandardError`, `${name}Exact`, `${name}ExactStandardError`])],
      result.times.map((t, k) => [t, result.ouTimes[k]!, ...named.flatMap((name) => [...cells(result[name]![k]!), ...cells(exact[name]![k]!)])]),
    ),
    "report.html": renderCloning({ clones: run, curves }, { title: name }),
  });
  terminal.result(answer, () => {
    const text = (estimate: Estimate | undefined): string => (estimate?.value == null ? "no value" : plain(estimateText(estimate)));
    const words = { speciationCloning: "same class", collapseCloning: "same datum" };
    const rows = result.times.map((t, k) => [plain(significant(t, 4)), ...named.flatMap((name) => [text(result[name]![k]), text(exact[name]![k])])]);
    return [
      `${plain(count(pairs))} pairs of clones by ${sampler}, ${plain(count(steps))} steps`,
      "",
      table([["time", ...named.flatMap((name) => [words[name], "exact"])], ...rows]),
    ].join("\n");
  });
  terminal.warnings(warnings);
  terminal.note(`report: ${join(folder, "report.html")}   (opens offline; numbers in result.json and clones.csv)`);
}

/** The times of the flag, listed. */
function timesOf(input: TimesInput): number[] {
  if (!("from" in input)) return Array.from(input);
  const { from, to, count: total } = input;
  return Array.from({ length: total }, (_, k) => (k === total - 1 ? to : from * (to / from) ** (k / Math.max(1, total - 1))));
}
