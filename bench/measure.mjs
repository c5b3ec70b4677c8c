/**
 * Interleaved measurement of one workload: every contender is loaded and warmed up, then they run one after the other, round by round,
 * so that a slow minute of the machine hits all of them. Times are medians over rounds; a contender too slow for the whole batch runs
 * on part of its queries and is scaled, which `scaledFrom` says.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Child, Missing } from "./child.mjs";
import { ours } from "./contenders.mjs";
import { median, worstRelativeError } from "./table.mjs";

/** Lets the worker threads of the one before go to sleep, ms: several libraries spin for a while after their work. */
const settling = 30;

/**
 * Starts the contenders that can run on the workload with that many threads; the others are noted in `missing`.
 * @returns the loaded children.
 */
export async function startChildren(contenders, workload, threads, settings, missing) {
  const children = [];
  for (const contender of contenders) {
    if (missing.has(contender.name)) continue;
    const child = new Child(contender, threads, settings);
    try {
      const { version } = await child.ask({ op: "load", folder: workload.folder });
      children.push(Object.assign(child, { version }));
    } catch (error) {
      child.close();
      missing.set(contender.name, error instanceof Missing ? error.message : `${workload.name}: ${error.message}`);
      if (!(error instanceof Missing)) settings.say(`  ${contender.name} failed: ${error.message}`);
    }
  }
  return children;
}

/**
 * Warms up with more and more queries; @returns how many of the batch fit into `longest` ms. Each size runs twice, since the first run
 * also pays for cold pages and threads; a batch four times as large takes at most four times as long, mostly less, so that up to twice
 * `longest` is tried: scaling from few queries would wrong those who live by large products.
 */
async function affordableRows(child, batch, longest) {
  for (let rows = Math.min(batch, 8); ; rows = Math.min(batch, rows * 4)) {
    const first = await child.ask({ op: "run", rows });
    const second = first.ms > 2 * longest ? first : await child.ask({ op: "run", rows });
    const perRow = Math.min(first.ms, second.ms) / rows;
    const next = Math.min(batch, rows * 4);
    if (rows < batch && perRow * next <= 2 * longest) continue;
    return perRow * batch <= 2 * longest ? batch : Math.min(batch, Math.max(1, Math.floor(longest / perRow)));
  }
}

/** The mean of so many calls as take `together` ms, one after the other: one where that is 0. */
async function sample({ child, rows }, together) {
  let ms = 0, cpuMs = 0, calls = 0, note;
  do {
    const answer = await child.ask({ op: "run", rows });
    ms += answer.ms;
    cpuMs += answer.cpuMs;
    calls++;
    ({ note } = answer);
  } while (ms < together);
  return { ms: ms / calls, cpuMs: cpuMs / calls, note };
}

/** A child that is about to be timed on the level that it is prepared for. */
async function entryOf(child, batch, longest) {
  return { child, batch, rows: await affordableRows(child, batch, longest), times: [], processor: [], note: "" };
}

/** One sample of each, round by round. */
async function takeRounds(running, children, settings, missing) {
  for (let round = 0; round < settings.repetitions; round++) {
    for (const entry of running) {
      await pause(settling);
      await orLeave(entry.child, children, missing, settings, async () => {
        const { ms, cpuMs, note } = await sample(entry, settings.together ?? 0);
        entry.times.push((ms * entry.batch) / entry.rows);
        entry.processor.push((cpuMs * entry.batch) / entry.rows);
        entry.note = note ?? "";
      });
    }
  }
}

async function resultOf({ child, batch, rows, times, processor, note }, errors) {
  const { mb } = await child.ask({ op: "memory" });
  const { name, precision, held } = child.contender;
  return {
    name, precision, held, version: child.version, note, errors, peakMb: mb,
    ms: median(times), least: Math.min(...times), cpuMs: median(processor), scaledFrom: rows === batch ? null : rows,
  };
}

/**
 * One contender on several workloads of the same noise levels, whole batches, in turns, so that what compares them is of one time.
 * @returns [{level, workload, result}]
 */
export async function measureInTurns(workloads, contender, threads, settings, missing) {
  const children = [];
  const rows = [];
  try {
    for (const workload of workloads) {
      for (const child of await startChildren([contender], workload, threads, settings, missing)) children.push(Object.assign(child, { workload }));
    }
    for (const [index, level] of workloads[0].levels.entries()) {
      settings.say(`${workloads.map(({ name }) => name).join(", ")}, ${level.name}, threads ${threads}`);
      const running = [];
      for (const child of children) {
        await child.ask({ op: "prepare", index });
        running.push(await entryOf(child, child.workload.batch, Infinity));
      }
      await takeRounds(running, children, settings, missing);
      for (const entry of running.filter(({ times }) => times.length === settings.repetitions)) {
        rows.push({ level, workload: entry.child.workload, result: await resultOf(entry, {}) });
      }
    }
  } finally {
    for (const child of children) child.close();
  }
  return rows;
}

/** All noise levels of a workload with one number of threads: [{level, results}], results as comparisonRows takes them. */
export async function measure(workload, contenders, threads, settings, missing) {
  const { repetitions, longest, say } = settings;
  const reference = await scoresOfReference(workload, settings);
  const children = await startChildren(contenders, workload, threads, settings, missing);
  const blocks = [];
  try {
    for (const [index, level] of workload.levels.entries()) {
      say(`${workload.name}, ${level.name}, threads ${threads}: ${children.map(({ contender }) => contender.name).join(", ")}`);
      const running = [];
      for (const child of children) {
        await orLeave(child, children, missing, settings, async () => {
          await child.ask({ op: "prepare", index });
          running.push(await entryOf(child, workload.batch, longest));
        });
      }
      await takeRounds(running, children, settings, missing);
      const results = [];
      for (const entry of running.filter(({ times }) => times.length === repetitions)) {
        await orLeave(entry.child, children, missing, settings, async () => {
          results.push(await resultOf(entry, reference === null ? {} : await errorsOf(entry.child, workload, index, reference)));
        });
      }
      blocks.push({ level, results });
    }
  } finally {
    for (const child of children) child.close();
  }
  return blocks;
}

/** Does `step`; a contender that fails at it is noted and leaves, and the bench goes on. */
async function orLeave(child, children, missing, { say }, step) {
  if (!children.includes(child)) return;
  try {
    await step();
  } catch (error) {
    say(`  ${child.contender.name} leaves: ${error.message}`);
    missing.set(child.contender.name, error.message.split("\n")[0].slice(0, 200));
    children.splice(children.indexOf(child), 1);
    child.close();
  }
}

function readScores(path) {
  const bytes = readFileSync(path);
  return new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

const kinds = (workload) => ["typical", "tie"].filter((kind) => workload.checked[kind] > 0);

/** Our float64 scores for each level and kind of query, computed once per workload. */
async function scoresOfReference(workload, settings) {
  if (kinds(workload).length === 0) return null;
  workload.reference ??= await (async () => {
    const child = new Child({ ...ours, env: { DIFFUSION_REGIMES_BACKEND: "" } }, settings.processors, settings);
    const out = join(workload.folder, "reference.f64");
    const all = [];
    try {
      await child.ask({ op: "load", folder: workload.folder });
      for (const index of workload.levels.keys()) {
        await child.ask({ op: "prepare", index });
        const scores = {};
        for (const kind of kinds(workload)) {
          await child.ask({ op: "score", kind, out, precision: "float64" });
          scores[kind] = readScores(out);
        }
        all.push(scores);
      }
    } finally {
      child.close();
    }
    return all;
  })();
  return workload.reference;
}

async function errorsOf(child, workload, index, reference) {
  const errors = {};
  const out = join(workload.folder, "scores.f64");
  for (const kind of kinds(workload)) {
    await child.ask({ op: "score", kind, out });
    errors[kind] = worstRelativeError(readScores(out), reference[index][kind], workload.d);
  }
  return errors;
}
