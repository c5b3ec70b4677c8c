/**
 * `npm run bench`: the tables of bench/README.md, printed one after the other. Progress goes to stderr, tables to stdout. A peer that is
 * not installed is named as missing and never makes the bench fail.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { heldContenders, ours, peers, torchMixtures } from "./contenders.mjs";
import { describeMachine, measureCeilings } from "./machine.mjs";
import { mappedTable } from "./mapped.mjs";
import { measure, measureInTurns, startChildren } from "./measure.mjs";
import { parseOptions, usage } from "./options.mjs";
import { comparisonHeads, comparisonRows, median, missingLines, printTable, threeDigits } from "./table.mjs";
import { trajectoriesTable } from "./trajectories.mjs";
import { growthShape, mixtures, shapes, writeMixture, writePoints } from "./workloads.mjs";

const root = resolve(fileURLToPath(new URL("..", import.meta.url)));
const options = readOptions();
const folder = mkdtempSync(join(tmpdir(), "diffusion-regimes-bench-"));
const settings = {
  ...options,
  modules: resolve(options.modules ?? root),
  processors: availableParallelism(),
  say: (line) => console.error(`[bench] ${line}`),
};
const missing = new Map();
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));
const record = { machine: describeMachine(root), command: ["npm run bench --", ...process.argv.slice(2)].join(" "), tables: {} };

function readOptions() {
  try {
    const parsed = parseOptions(process.argv.slice(2));
    if (!parsed.help) return parsed;
    console.log(usage);
    process.exit(0);
  } catch (error) {
    console.error(`${error.message}\n\n${usage}`);
    process.exit(2);
  }
}

const wanted = (contenders) => contenders.filter(({ name }) => options.only === null || options.only.includes(name));

/** Measures one workload with every number of threads and prints a block of rows per noise level. */
async function blocksOf(workload, contenders) {
  const rows = [];
  for (const threads of options.threads) {
    for (const { level, results } of await measure(workload, contenders, threads, settings, missing)) {
      const { batch, n, d, name, source } = workload;
      const paths = results.filter(({ note }) => note !== "").map((row) => `${row.name}: ${row.note}`).join("; ");
      rows.push("", `${name}: ${batch} x ${n} x ${d}, ${source}, ${level.name}, ${threads} thread${threads > 1 ? "s" : ""}${paths === "" ? "" : ` [${paths}]`}`);
      rows.push(...comparisonRows(results, workload, record.ceilings[threads]));
      (record.tables[name] ??= []).push({ batch, n, d, source, threads, level, results });
    }
  }
  return rows;
}

/** Printed shape by shape, so that a run that is cut short leaves what it has. */
async function comparison(names, contenders) {
  for (const name of names) {
    settings.say(`writing the data of shape ${name}`);
    const at = join(folder, name);
    const workload = writePoints(at, name, shapes[name], options.noise);
    console.log(`${printTable(comparisonHeads, await blocksOf(workload, contenders))}\n`);
    rmSync(at, { recursive: true });
  }
}

async function mixtureTable() {
  for (const [name, parameters] of Object.entries(mixtures)) {
    settings.say(`writing the ${name} mixture`);
    const workload = writeMixture(join(folder, name), name, parameters, options.noise);
    console.log(`${printTable(comparisonHeads, await blocksOf(workload, wanted([ours, torchMixtures])))}\n`);
    rmSync(workload.folder, { recursive: true });
  }
}

/** 100 times x 1000 draws at once, against numpy at 6 of those times, multiplied, and against the two products that fix all times. */
async function sweepTable() {
  const [times, draws, measured] = [100, options.quick ? 100 : 1000, 6];
  const readings = ["logDensity", "entropy"];
  const workload = writePoints(join(folder, "sweep"), "sweep", shapes.A, ["middle"]);
  const numpy = peers.find(({ name }) => name === "numpy");
  const rows = [];
  for (const threads of options.threads) {
    const children = await startChildren(wanted([ours, numpy]), workload, threads, settings, missing);
    const asking = (name, request) => async () => children.find(({ contender }) => contender.name === name)?.ask({ op: "other", draws, ...request });
    const parts = [
      { name: "ours, all times at once", steps: [asking("ours", { times, readings })], factor: 1 },
      { name: "numpy, the two products only", steps: [asking("numpy", { what: "products" })], factor: 1 },
      {
        name: `numpy, time after time (${measured} measured, x ${times}/${measured})`,
        steps: Array.from({ length: measured }, (_, j) => {
          const ratio = 0.01 * 1e4 ** ((j + 0.5) / measured);
          return asking("numpy", { what: "time", a: 1 / Math.hypot(1, ratio), b: ratio / Math.hypot(1, ratio) });
        }),
        factor: times / measured,
      },
    ].map((part) => ({ ...part, wall: [], processor: [] }));
    for (let round = 0; round < Math.min(options.repetitions, 3); round++) {
      settings.say(`sweep, threads ${threads}, round ${round + 1}`);
      for (const { steps, factor, wall, processor } of parts) {
        const answers = [];
        for (const step of steps) answers.push(await step());
        if (answers.includes(undefined)) continue;
        wall.push((factor * answers.reduce((sum, { ms }) => sum + ms, 0)) / 1000);
        processor.push((factor * answers.reduce((sum, { cpuMs }) => sum + cpuMs, 0)) / 1000);
      }
    }
    for (const child of children) child.close();
    const own = parts[0];
    for (const { name, wall, processor } of parts.filter(({ wall }) => wall.length > 0)) {
      const ratio = (values, ownValues) => (ownValues.length === 0 ? "-" : threeDigits(median(values) / median(ownValues)));
      rows.push([
        name, String(threads), threeDigits(median(wall)), threeDigits(Math.min(...wall)), threeDigits(median(processor)),
        ratio(wall, own.wall), ratio(processor, own.processor),
      ]);
    }
    (record.tables.sweep ??= []).push({ threads, times, draws, parts: parts.map(({ name, wall, processor }) => ({ name, wall, processor })) });
  }
  console.log(`Sweep: ${times} times x ${draws} draws on ${workload.source}, log density and entropy\n`);
  console.log(`${printTable(["", "threads", "s", "min", "CPU s", "wall over ours", "CPU over ours"], rows)}\n`);
}

/** Nanoseconds per query and datum (and per dimension) as the data grow in number and in dimension. */
async function growthTable() {
  const numbers = options.quick ? [1e4, 1e5] : [1e4, 3e4, 1e5, 3e5, 1e6];
  const groups = [
    numbers.map((n) => growthShape(n, 28, 1)),
    [[16, 1], [28, 1], [32, 1], [32, 3], [64, 3]].map(([side, channels]) => growthShape(2e4, side, channels)),
  ];
  const rows = [];
  for (const shapes of groups) {
    const workloads = shapes.map((shape) => {
      const name = `growth-${shape.n}-${shape.d}`;
      return writePoints(join(folder, name), name, shape, options.noise, { alone: true });
    });
    for (const threads of options.threads) {
      // Short calls one after the other, as in a study: a sample takes as long for few data as for many.
      for (const { level, workload, result } of await measureInTurns(workloads, ours, threads, { ...settings, together: 200 }, missing)) {
        const { n, d, batch } = workload;
        const pairs = batch * n;
        const figures = [n, d].map(String).concat([result.ms, (1e6 * result.ms) / pairs, (1e6 * result.cpuMs) / pairs, (1e9 * result.cpuMs) / pairs / d].map(threeDigits));
        rows.push([level.name, String(threads), ...figures, result.note]);
        (record.tables.growth ??= []).push({ n, d, threads, level, results: [result] });
      }
    }
    for (const workload of workloads) rmSync(workload.folder, { recursive: true });
  }
  rows.sort((left, right) => left[0].localeCompare(right[0]) || Number(left[1]) - Number(right[1]));
  console.log(`Growth: ours, 256 queries, uint8 blob images (all n at d = 784, then all d at n = 20 000)\n`);
  console.log(`${printTable(["noise", "threads", "n", "d", "ms", "ns per query and datum", "CPU ns", "CPU ps per entry", "path"], rows)}\n`);
}

/** The backends that our addon can be forced to here. */
async function availableBackends() {
  const { native } = await import(new URL("../dist/native.js", import.meta.url).href);
  return native().backend().available;
}

const contenders = options.held ? [ours, ...peers, ...heldContenders(await availableBackends())] : [ours, ...peers];
const tables = {
  compare: () => comparison(options.shapes, wanted(contenders)),
  small: () => comparison(["F", "F4"], wanted([ours, ...peers])),
  mixtures: mixtureTable,
  sweep: sweepTable,
  samplers: () => trajectoriesTable(folder, settings, missing, record),
  mapped: () => mappedTable(folder, settings, missing, record),
  growth: growthTable,
  api: () => import("./api.bench.mjs"),
};

function printHead() {
  const { processor, flags, caches, memory, system, commit, date, load } = record.machine;
  console.log(`${record.command}\n${date}, commit ${commit}, load ${load}\n${processor} (${flags}), ${caches}, ${memory}\n${system}`);
  for (const [threads, ceiling] of Object.entries(record.ceilings)) {
    if (ceiling === null) console.log(`ceilings with ${threads} threads: not measured (no C++ compiler)`);
    else {
      const { float32, float32Avx2, int8, int8By, read } = ceiling;
      console.log(`ceilings, threads ${threads}: float32 ${threeDigits(float32)} GFlop/s (AVX2 ${threeDigits(float32Avx2)}), int8 ${threeDigits(int8)} Gop/s (${int8By}), memory read ${threeDigits(read)} GB/s`);
    }
  }
  console.log("");
}

const unknown = options.shapes.filter((name) => !(name in shapes));
if (unknown.length > 0) throw new Error(`unknown shape ${unknown.join(", ")}: need ${Object.keys(shapes).join(", ")}`);
record.ceilings = measureCeilings(folder, options.threads);
printHead();
for (const table of options.tables) await tables[table]();
for (const line of missingLines(missing)) console.log(line);
record.missing = Object.fromEntries(missing);
if (options.json !== null) writeFileSync(options.json, JSON.stringify(record, null, 1));
