/**
 * The Node side of the contenders' protocol (child.mjs), and the files of a workload. A solver has `prepare(level)`, not timed,
 * `evaluate(x, rows)`, timed, and `score(x, rows)`: the float64 scores of the same evaluation.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const threads = Number(process.env.BENCH_THREADS ?? 1);

/** Resolves to a module of the folder that holds the optional peers. */
export const optionalModules = join(process.env.BENCH_MODULES ?? process.cwd(), "package.json");

export function floats(folder, name) {
  const bytes = readFileSync(join(folder, name));
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** Scores (a D - x) / b^2 in float64 from float32 denoised means: the peer loses nothing in this step. */
export function scoreOfDenoised(denoised, x, { a, b }) {
  return Float64Array.from(denoised, (mean, k) => (a * mean - x[k]) / (b * b));
}

/** |x|^2 / 2 of every row, rounded once. */
export function halfSquares(rows, n, d) {
  const halves = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let k = i * d; k < (i + 1) * d; k++) sum += rows[k] * rows[k];
    halves[i] = sum / 2;
  }
  return halves;
}

/** Wall and processor time in ms of `work`, and its result. */
export async function timed(work) {
  const before = process.cpuUsage();
  const started = performance.now();
  const result = await work();
  const ms = performance.now() - started;
  const { user, system } = process.cpuUsage(before);
  return { ms, cpuMs: (user + system) / 1000, result };
}

/** Peak resident memory of this process in MB: of its own pages where Linux tells, else what getrusage says. */
function peakMemory() {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
  } catch {
    return process.resourceUsage().maxRSS / 1024;
  }
}

/** Answers requests until stdin ends. `open(workload)` loads the data and resolves to a solver, or throws where a package is missing. */
export async function serve(open) {
  let solver;
  let workload;
  let queries;
  let level;
  const answers = {
    async load({ folder }) {
      workload = JSON.parse(readFileSync(join(folder, "workload.json"), "utf8"));
      workload.folder = folder;
      solver = await open(workload);
      return { ready: true, version: solver.version };
    },
    async prepare({ index }) {
      level = workload.levels[index];
      queries = Object.fromEntries(["typical", "tie"].filter((kind) => workload.checked[kind] > 0).map((kind) => [kind, floats(workload.folder, `${kind}-${index}.f32`)]));
      await solver.prepare(level);
      return {};
    },
    async run({ rows }) {
      const x = queries.typical.subarray(0, rows * workload.d);
      const { ms, cpuMs, result } = await timed(() => solver.evaluate(x, rows));
      return { ms, cpuMs, note: result?.note };
    },
    async score({ kind, out, precision }) {
      const rows = workload.checked[kind];
      writeFileSync(out, await solver.score(queries[kind].subarray(0, rows * workload.d), rows, level, precision));
      return {};
    },
    memory: () => ({ mb: peakMemory() }),
    async other(request) {
      const { ms, cpuMs, note } = await solver.other(request);
      return { ms, cpuMs, note };
    },
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = await answers[request.op](request);
    } catch (error) {
      const absent = ["MODULE_NOT_FOUND", "ERR_MODULE_NOT_FOUND"].includes(error.code);
      answer = absent ? { missing: error.message.split("\n")[0] } : { failed: error.stack };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}
