/** `late-start`: quality of few-step samples against the time that generation starts from. */
import { basename, join } from "node:path";
import { describeProcess, diffuse, lateStart, processByName, renderLateStart, type LateStartOptions, type SamplerName, type StartLaw } from "../index.js";
import { csv } from "../report/markup.js";
import { count, estimateText, intervalText, significant } from "../report/numbers.js";
import { envelope } from "./envelope.js";
import { checkFolder, defaultFolder, writeFolder } from "./output-folder.js";
import { openTarget, type DataFlags } from "./source.js";
import { plain, table, type Terminal } from "./terminal.js";

export interface LateStartFlags extends DataFlags {
  readonly process: string;
  readonly samplers: readonly SamplerName[];
  readonly steps: number;
  readonly starts: number;
  readonly startLaws: readonly (StartLaw & string)[];
  readonly samples: number;
  readonly measure?: LateStartOptions["measure"];
  readonly rank?: number;
  readonly seed: number | bigint;
  readonly threads?: number;
  readonly out?: string;
}

export async function lateStartVerb(path: string, flags: LateStartFlags, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const { samplers, steps, starts, startLaws, samples, measure, rank, seed, threads } = flags;
  const started = performance.now();
  if (flags.out !== undefined) await checkFolder(flags.out);
  const target = await openTarget(path, flags, { signal, threads, onProgress: terminal.stage("reading") });
  const process = processByName(flags.process);
  const name = target.dataset?.name ?? basename(path);
  const folder = flags.out ?? `${defaultFolder(name)}-late-start`;
  if (flags.out === undefined) await checkFolder(folder);
  const opened = performance.now();
  const settings = { samplers, steps, starts, startLaws, samples, measure, rank, seed };
  const study = await lateStart(diffuse(target, process), { ...settings, threads, signal, onProgress: terminal.stage("late starts") });
  const finished = performance.now();
  const warnings = target.dataset?.warnings ?? [];
  const answer = envelope("late-start", {
    config: {
      source: path, process: process.name, processParameters: describeProcess(process).parameters, ...settings, measure: study.measure,
      seed: String(seed), scale: target.dataset?.scale ?? null,
    },
    result: study,
    warnings,
    timing: { openMs: opened - started, studyMs: finished - opened, totalMs: finished - started },
  });
  await writeFolder(folder, {
    "result.json": `${JSON.stringify(answer, null, 1)}\n`,
    "late-start.csv": csv(
      ["sampler", "startLaw", "time", "ouTime", "distance", "distanceStandardError", "slicedWasserstein", "memorised"],
      study.curves.flatMap(({ sampler, startLaw, points }) =>
        points.map(({ t, ouTime, distance, slicedWasserstein, memorised }) => [
          sampler, startLaw, t, ouTime, distance.value, distance.standardError, slicedWasserstein.value, memorised?.value ?? null,
        ]),
      ),
    ),
    "report.html": renderLateStart(study, { title: name }),
  });
  terminal.result(answer, () => {
    const number = (value: number): string => plain(significant(value, 3));
    const rows = study.curves.map(({ sampler, startLaw, best, bifurcation }) => [
      sampler, startLaw, plain(estimateText(best.distance)), number(best.ouTime),
      bifurcation.ouTime.value === null ? "no value" : number(bifurcation.ouTime.value), plain(intervalText(bifurcation.ouTime)),
    ]);
    const verdicts = study.comparisons.map(({ sampler, startLaw, difference, verdict }) =>
      `${sampler}: the best ${startLaw} start is ${verdict === "tie" ? "no different from" : `${verdict} than`} the best N(0, I) start (difference ${plain(estimateText(difference))})`,
    );
    return [
      `${study.measure} distance of ${plain(count(samples))} samples after ${plain(count(steps))} steps; draws of the data themselves: ${plain(estimateText(study.floor.distance))}`,
      "",
      table([["sampler", "start", "least distance", "at OU time", "bifurcation", "95 % interval"], ...rows]),
      ...(verdicts.length === 0 ? [] : ["", ...verdicts]),
    ].join("\n");
  });
  terminal.warnings(warnings);
  terminal.note(`report: ${join(folder, "report.html")}   (opens offline; numbers in result.json and late-start.csv)`);
}
