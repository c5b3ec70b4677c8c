/**
 * Reverse sampling: trajectories of the generative process under an exact score, or under one of the caller's own. Samplers are whole
 * step functions (sampler/steps.ts) over a grid of noise levels (sampler/grid.ts), traced into a program that native code runs for all
 * trajectories with the state kept there; observers read what is asked for along the way.
 *
 * A trajectory is a function of (seed, its number, its start) alone: batch, threads and neighbours do not change a bit of it.
 */
import { copyRows, type NdArray, type PointsInput } from "./array.js";
import { RegimesError, checkChoice, checkOptionNames } from "./errors.js";
import { checkRange, metaOf, type Field, type Meta, type Path, type Precision } from "./field.js";
import { checkRun, native, nativePaths, runJob, runOptionNames, seedOf, type NativeSimulateResult, type RunOptions } from "./native.js";
import type { Process } from "./process.js";
import { nodeAt, reverseGrid, type GridOptions, type Node } from "./sampler/grid.js";
import { interpret, type ScoreModel } from "./sampler/interpret.js";
import { startDraws, type Start, type StartDraws } from "./sampler/start.js";
import { samplerStep, type SamplerName, type SamplerParameters } from "./sampler/steps.js";
import { Trace, type Program } from "./sampler/trace.js";

export { reverseGrid, scheduleNames, type GridOptions, type Node, type Schedule } from "./sampler/grid.js";
export type { ScoreModel } from "./sampler/interpret.js";
export { gaussianOf, type GaussianCovariance, type Start } from "./sampler/start.js";
export { samplerNames, samplers, type SamplerName, type SamplerParameters } from "./sampler/steps.js";

const observableNames = ["states", "denoised", "norm", "projections", "logDensity", "entropy", "sumSquares", "nearest", "classWeights", "survivors"] as const;

/** What can be seen along trajectories; units and ranges are those of `PosteriorReading`. */
export type Observable = (typeof observableNames)[number];

/** What to keep along the way. */
export interface RecordOptions {
  /** Record the state before every `every`-th step, and always the last one; default 1. */
  readonly every?: number | undefined;
  readonly observe: readonly Observable[];
  /** With "projections": directions u [p, d]; x . u is recorded. */
  readonly directions?: PointsInput | undefined;
}

/** Options of `sampleReverse`. */
export interface SampleReverseOptions extends RunOptions, GridOptions, SamplerParameters {
  readonly sampler: SamplerName;
  /** Number of trajectories. */
  readonly count: number;
  readonly seed: number | bigint;
  /** Number of the first trajectory, default 0: a run can be made in parts, or be continued with more. */
  readonly firstTrajectory?: number | undefined;
  /** Default "standard". */
  readonly start?: Start | undefined;
  /** What the run ends with: the state at `to` (default), or its denoised mean, the last step to no noise of most samplers. */
  readonly end?: "state" | "denoised" | undefined;
  readonly record?: RecordOptions | undefined;
  readonly precision?: Precision | undefined;
  /** Most trajectories that advance together; default chosen by memory. Changes no result. */
  readonly batch?: number | undefined;
  /**
   * Drop data for good from a trajectory's sums once their weight is certified to stay below 1e-13 (default true, for points): late
   * steps then cost next to nothing. False evaluates every step anew.
   */
  readonly carry?: boolean | undefined;
}

/** Readings at the recorded times: only those asked for are there. */
export interface Observed {
  /** [records, count, d]. */
  readonly states: NdArray;
  readonly denoised: NdArray;
  /** |x|, [records, count]; the others of this shape. */
  readonly norm: NdArray;
  /** [records, count, p]. */
  readonly projections: NdArray;
  readonly logDensity: NdArray;
  readonly entropy: NdArray;
  readonly sumSquares: NdArray;
  readonly nearest: { readonly index: NdArray<Int32Array<ArrayBuffer>>; readonly weight: NdArray };
  /** [records, count, classes]. */
  readonly classWeights: NdArray;
  readonly survivors: NdArray<Int32Array<ArrayBuffer>>;
}

/** What `sampleReverse` returns. */
export interface ReverseRun {
  readonly samples: { readonly data: Float64Array<ArrayBuffer>; readonly shape: readonly [count: number, d: number] };
  /** The component that each start was drawn from, where it was drawn from the target. */
  readonly startComponents: Int32Array<ArrayBuffer> | null;
  /** The grid of noise levels, noisiest first. */
  readonly grid: readonly Node[];
  /** Recorded times, in the process's clock and in OU time. */
  readonly times: Float64Array<ArrayBuffer>;
  readonly ouTimes: Float64Array<ArrayBuffer>;
  readonly observed: Partial<Observed>;
  /** Passes over the target per trajectory, and how each was answered (none for a score of one's own). */
  readonly evaluations: number;
  readonly paths: readonly (Path | "mixed")[];
  /** With state carried along: passes over all data after the first, and evaluations answered from a list, per trajectory. */
  readonly carried: { readonly refreshes: Int32Array<ArrayBuffer>; readonly steps: Int32Array<ArrayBuffer> } | null;
  readonly meta: Meta | null;
}

const optionNames: readonly string[] = [
  "sampler", "count", "seed", "firstTrajectory", "start", "end", "record", "precision", "batch", "carry",
  "steps", "from", "to", "schedule", "eta", "variance", "churn", "corrector", ...runOptionNames,
];

/**
 * Samples by the reverse process of `source`: a field, whose score is exact, or a score function of one's own with its process and d.
 * @throws RegimesError E_OPTION, E_DOMAIN, E_SHAPE, E_LABELS; E_NONFINITE for a trajectory that leaves float64's range.
 */
export async function sampleReverse(source: Field | ScoreModel, options: SampleReverseOptions): Promise<ReverseRun> {
  checkOptionNames("sampleReverse", options, optionNames);
  const { process, d } = checkSource(source);
  const count = wholeAtLeast("count", options.count, 1);
  const first = wholeAtLeast("firstTrajectory", options.firstTrajectory ?? 0, 0);
  const batch = wholeAtLeast("batch", options.batch ?? 0, 0);
  const grid = reverseGrid(process, options);
  const record = checkRecord(options.record, d);
  const traced = traceRun(process, grid, options, record.every);
  const field = "target" in source ? source : null;
  const start = await startDraws(options.start ?? "standard", grid[0]!, field?.target ?? null, { count, d }, options);
  const places = { times: traced.recorded.map(({ t }) => t), ouTimes: traced.recorded.map(({ ouTime }) => ouTime) };
  const common = { grid, times: Float64Array.from(places.times), ouTimes: Float64Array.from(places.ouTimes), evaluations: traced.program.evaluations };
  const run: Run = { ...traced, start, count, first, batch, seed: seedOf(options.seed), record };
  if (field === null) return { ...common, ...(await ownScore(source as ScoreModel, run, options)) };
  for (const node of grid) checkRange(start.rows ?? new Float64Array(0), field.target, node);
  return { ...common, ...(await exactScore(field, run, options)) };
}

/** One run, checked. */
interface Run {
  readonly program: Program;
  readonly recorded: readonly Node[];
  readonly start: StartDraws;
  readonly count: number;
  readonly first: number;
  readonly batch: number;
  readonly seed: bigint;
  readonly record: CheckedRecord;
}

interface CheckedRecord {
  readonly every: number;
  readonly observe: readonly Observable[];
  readonly directions: Float64Array<ArrayBuffer> | null;
  readonly directionCount: number;
}

type Outcome = Omit<ReverseRun, "grid" | "times" | "ouTimes" | "evaluations">;

/** The program of a sampler over a grid; every = 0 records nothing. */
function traceRun(process: Process, grid: readonly Node[], options: SampleReverseOptions, every: number): { program: Program; recorded: Node[] } {
  const middle = (from: Node, to: Node): Node => nodeAt(process, (from.t + to.t) / 2);
  const { eta, variance, churn, corrector } = options;
  const step = samplerStep(options.sampler, { eta, variance, churn, corrector }, { steps: grid.length - 1, middle });
  const end = checkChoice("end", options.end ?? "state", ["state", "denoised"]);
  const trace = new Trace();
  const recorded: Node[] = [];
  let x = trace.start();
  for (let i = 0; i < grid.length; i++) {
    const node = grid[i]!;
    const last = i === grid.length - 1;
    if (every > 0 && (last || i % every === 0)) {
      trace.observe(x, node);
      recorded.push(node);
    }
    if (!last) x = trace.keep(step(trace, x, node, grid[i + 1]!));
  }
  if (end === "denoised") x = trace.denoise(x, grid[grid.length - 1]!);
  return { program: trace.program(x), recorded };
}

async function exactScore(field: Field, run: Run, options: SampleReverseOptions): Promise<Outcome> {
  const started = performance.now();
  const { target } = field;
  const { program, start, count, record } = run;
  const precision = checkChoice("precision", options.precision ?? "exact", ["exact", "float64", "fast"]);
  const carry = options.carry ?? target.kind === "points";
  if (record.observe.includes("classWeights") && target.classes === 0) {
    throw new RegimesError("E_LABELS", "classWeights needs classes: pass labels to openDataset");
  }
  const request = {
    ...packed(program),
    seed: run.seed,
    first: run.first,
    count,
    batch: run.batch,
    precision,
    start: start.rows,
    startTarget: start.target?.handle ?? null,
    startA: start.a,
    startB: start.b,
    records: program.records,
    observe: record.observe,
    directions: record.directions,
    directionCount: record.directionCount,
    carry,
  };
  const result = await runJob(options, (addon, threads, progress) => addon.simulate(target.handle, request, threads, progress));
  return {
    samples: { data: result.x, shape: [count, field.d] },
    startComponents: start.target === target ? (result.startComponent ?? null) : null,
    observed: observations(result, [program.records, count], field.d, target.classes, record.directionCount),
    paths: Array.from(result.path, (index) => nativePaths[index] ?? "mixed"),
    carried: result.refreshes === undefined ? null : { refreshes: result.refreshes, steps: result.carriedSteps! },
    meta: metaOf(started, options, precision, run.seed, result),
  };
}

function packed({ steps, registers, result }: Program): Pick<
  Parameters<ReturnType<typeof native>["simulate"]>[1],
  "integers" | "reals" | "stepCount" | "terms" | "factors" | "termCount" | "registers" | "result"
> {
  const integers = new Int32Array(5 * steps.length);
  const reals = new Float64Array(2 * steps.length);
  const terms: number[] = [];
  const factors: number[] = [];
  steps.forEach((step, k) => {
    if (step.kind === "combine") {
      integers.set([0, step.out, terms.length, step.terms.length, step.draw], 5 * k);
      reals[2 * k] = step.noise;
      terms.push(...step.terms);
      factors.push(...step.factors);
    } else {
      integers.set([1, step.out, step.in, step.record, 0], 5 * k);
      reals.set([step.at.a, step.at.b], 2 * k);
    }
  });
  const lists = { terms: Int32Array.from(terms), factors: Float64Array.from(factors), termCount: terms.length };
  return { integers, reals, stepCount: steps.length, ...lists, registers, result };
}

function observations(result: NativeSimulateResult, places: readonly [number, number], d: number, classes: number, directions: number): Partial<Observed> {
  const of = <T>(data: T | undefined, ...width: number[]): NdArray<T> | undefined => (data === undefined ? undefined : { data, shape: [...places, ...width] });
  const all = {
    states: of(result.states, d),
    denoised: of(result.denoised, d),
    norm: of(result.norm),
    projections: of(result.projections, directions),
    logDensity: of(result.logDensity),
    entropy: of(result.entropy),
    sumSquares: of(result.sumSquares),
    nearest: result.nearestIndex === undefined ? undefined : { index: of(result.nearestIndex)!, weight: of(result.nearestWeight!)! },
    classWeights: of(result.classWeights, classes),
    survivors: of(result.survivors),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Partial<Observed>;
}

/** Numbers of a batch that a score of one's own gets at once, unless `batch` says otherwise. */
const ownBatchNumbers = 2 ** 20;

async function ownScore(model: ScoreModel, run: Run, options: SampleReverseOptions): Promise<Outcome> {
  const { program, start, count, first, seed, record } = run;
  const { d } = model;
  const fieldOnly = record.observe.filter((name) => name !== "states" && name !== "norm" && name !== "projections");
  if (fieldOnly.length > 0) throw new RegimesError("E_OPTION", `${fieldOnly[0]} is a reading of a field; of a score of your own "states", "norm" and "projections" can be observed`);
  const places = program.records * count;
  const seen = {
    states: record.observe.includes("states") ? new Float64Array(places * d) : undefined,
    norm: record.observe.includes("norm") ? new Float64Array(places) : undefined,
    projections: record.observe.includes("projections") ? new Float64Array(places * record.directionCount) : undefined,
  };
  const samples = new Float64Array(count * d);
  const rows = run.batch > 0 ? run.batch : Math.max(1, Math.floor(ownBatchNumbers / d));
  for (let done = 0; done < count; done += rows) {
    const part = Math.min(rows, count - done);
    const number = first + done;
    const begin = start.rows?.slice(done * d, (done + part) * d) ?? native().normals({ seed, first: number, count: part, d, draw: null }).map((z) => start.b * z);
    const observe = (index: number, state: Float64Array<ArrayBuffer>): void => {
      const place = index * count + done;
      seen.states?.set(state, place * d);
      for (let r = 0; r < part; r++) {
        const x = state.subarray(r * d, (r + 1) * d);
        if (seen.norm !== undefined) seen.norm[place + r] = Math.sqrt(dot(x, x));
        for (let p = 0; seen.projections !== undefined && p < record.directionCount; p++) {
          seen.projections[(place + r) * record.directionCount + p] = dot(x, record.directions!.subarray(p * d, (p + 1) * d));
        }
      }
    };
    const afterStep = (steps: number): void => {
      checkRun(options);
      options.onProgress?.((done + (part * steps) / program.steps.length) / count);
    };
    samples.set(await interpret(program, model, { start: begin, count: part, first: number, seed }, observe, afterStep), done * d);
  }
  const observed = observations({ ...seen } as NativeSimulateResult, [program.records, count], d, 0, record.directionCount);
  return { samples: { data: samples, shape: [count, d] }, startComponents: null, observed, paths: [], carried: null, meta: null };
}

function dot(u: Float64Array, v: Float64Array): number {
  let sum = 0;
  for (let j = 0; j < u.length; j++) sum += u[j]! * v[j]!;
  return sum;
}

// ---- checks -----------------------------------------------------------------------------------------------------------------

function checkSource(source: Field | ScoreModel): { readonly process: Process; readonly d: number } {
  const own = typeof (source as ScoreModel)?.score === "function";
  const field = typeof (source as Field)?.posterior === "function";
  if (typeof source?.process?.marginal !== "function" || !(own || field)) {
    throw new RegimesError("E_OPTION", "sampleReverse needs a field, diffuse(target, process), or {d, process, score}");
  }
  wholeAtLeast("d", source.d, 1);
  return source;
}

function checkRecord(record: RecordOptions | undefined, d: number): CheckedRecord {
  if (record === undefined) return { every: 0, observe: [], directions: null, directionCount: 0 };
  checkOptionNames("record", record, ["every", "observe", "directions"]);
  const every = wholeAtLeast("record.every", record.every ?? 1, 1);
  if (!Array.isArray(record.observe)) throw new RegimesError("E_OPTION", `record.observe is ${String(record.observe)}, need an array of ${observableNames.join(", ")}`);
  for (const name of record.observe as readonly Observable[]) checkChoice("observe", name, observableNames);
  const wanted = record.observe.includes("projections");
  if (wanted !== (record.directions !== undefined)) throw new RegimesError("E_OPTION", `observe "projections" and record.directions go together`);
  const directions = record.directions === undefined ? null : copyRows("directions", record.directions, d);
  return { every, observe: record.observe, directions: directions?.data ?? null, directionCount: directions?.rows ?? 0 };
}

function wholeAtLeast(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new RegimesError("E_OPTION", `${name} is ${String(value)}, need a whole number >= ${least}`);
}
