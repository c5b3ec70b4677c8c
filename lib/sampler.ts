/**
 * Reverse sampling: trajectories of the generative process under an exact score, or under one of the caller's own. Samplers are whole
 * step functions (sampler/steps.ts) over a grid of noise levels (sampler/grid.ts), traced into a program that native code runs for all
 * trajectories with the state kept there; observers read what is asked for along the way.
 *
 * A trajectory is a function of (seed, its number, its start) alone: batch, threads and neighbours do not change a bit of it.
 * Over 400 lines because the options of a run and what it returns stand beside the one function that reads them.
 */
import { RegimesError, checkChoice, checkOptionNames } from "./errors.js";
import { checkRange, metaOf, type Field, type Meta, type Path, type Precision } from "./field.js";
import { checkRun, pathNames, runJob, runOptionNames, seedOf, threadsOf, type NativeSimulateResult, type RunOptions } from "./native.js";
import { pace, type Pace } from "./native/pace.js";
import type { Process } from "./process.js";
import type { Target } from "./target.js";
import { checkedTolerance, levelsProgram, type AdaptiveSteps, type Tolerance } from "./sampler/adaptive.js";
import { gridNodes, nodeAt, type GridOptions, type Node } from "./sampler/grid.js";
import { interpret, noise, type ScoreModel } from "./sampler/interpret.js";
import { lift, liftedReadings, readingsToLift } from "./sampler/lift.js";
import { checkRecord, observations, ofState, wholeAtLeast, type CheckedRecord, type Observed, type RecordOptions } from "./sampler/record.js";
import { complementLaw, dot, flowLaw, reducedRows, reductionOf, type ComplementStart, type Reduction } from "./sampler/reduction.js";
import { startDraws, type Start, type StartDraws } from "./sampler/start.js";
import { samplerNames, samplerStep, type SamplerName, type SamplerParameters } from "./sampler/steps.js";
import { Trace, type Program } from "./sampler/trace.js";

export type { AdaptiveSteps, Tolerance } from "./sampler/adaptive.js";
export { gridThrough, reverseGrid, scheduleNames, type GridOptions, type Node, type Schedule } from "./sampler/grid.js";
export type { ScoreModel } from "./sampler/interpret.js";
export { settledRecords, type Observable, type Observed, type RecordOptions } from "./sampler/record.js";
export { reducedField } from "./sampler/reduction.js";
export { samplingOf, trajectoryOptionNames, type TrajectoryOptions } from "./sampler/trajectories.js";
export { gaussianOf, type GaussianCovariance, type Start } from "./sampler/start.js";
export { samplerNames, samplers, type SamplerFacts, type SamplerName, type SamplerParameters } from "./sampler/steps.js";

/** Options of `sampleReverse`. */
export interface SampleReverseOptions extends RunOptions, GridOptions, SamplerParameters {
  /** A sampler in given steps, or "adaptive": the probability-flow ODE in steps of its own, which stops at the grid's times (default one step). */
  readonly sampler: SamplerName | "adaptive";
  /** Of "adaptive". */
  readonly tolerance?: Tolerance | undefined;
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
  /**
   * "auto" (default): mixtures whose Gaussians share one spherical variance run in the span of their centred means, where that is
   * less than half of the dimensions and a lifted reading ("states", "denoised", "norm", "projections", "logDensity") has at most 64
   * records; the rest is drawn from its exact law. Same law, other bits, and `reduction` of the result tells. "none": all dimensions.
   */
  readonly reduce?: "auto" | "none" | undefined;
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
  /**
   * Passes over the target per trajectory ("adaptive": the most of any), and how each was answered (none for a score of one's own;
   * "adaptive": on the way to each time of the grid).
   */
  readonly evaluations: number;
  readonly paths: readonly (Path | "mixed")[];
  /** With state carried along: passes over all data after the first, and evaluations answered from a list, per trajectory. */
  readonly carried: { readonly refreshes: Int32Array<ArrayBuffer>; readonly steps: Int32Array<ArrayBuffer> } | null;
  /** Steps of "adaptive". */
  readonly adaptive: AdaptiveSteps | null;
  /** Dimension that the dynamics ran in, where it was reduced. */
  readonly reduction: { readonly dimension: number } | null;
  readonly meta: Meta | null;
}

const optionNames: readonly string[] = [
  "sampler", "tolerance", "count", "seed", "firstTrajectory", "start", "end", "record", "precision", "batch", "carry", "reduce",
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
  if (!Number.isSafeInteger(first + count)) throw new RegimesError("E_OPTION", `firstTrajectory is ${first}, too large for ${count} more trajectories`);
  const batch = wholeAtLeast("batch", options.batch ?? 0, 0);
  checkRun(options);
  threadsOf(options);
  const rest = pace(options);
  const grid: Node[] = [];
  const adaptive = options.sampler === "adaptive";
  const oneStep = adaptive && options.steps === undefined && !isTimes(options.schedule);
  for (const node of gridNodes(process, oneStep ? { ...options, steps: 1 } : options)) {
    grid.push(node);
    const wait = rest();
    if (wait !== null) await wait;
  }
  const record = checkRecord(options.record, grid, d);
  const traced = await traceRun(process, grid, options, record, rest);
  const field = "target" in source ? source : null;
  const reduction = field === null ? null : await reductionFor(field.target, options, record, traced.recorded.length);
  const places = { times: traced.recorded.map(({ t }) => t), ouTimes: traced.recorded.map(({ ouTime }) => ouTime) };
  const common = { grid, times: Float64Array.from(places.times), ouTimes: Float64Array.from(places.ouTimes), evaluations: traced.program.evaluations };
  const law = options.start ?? "standard";
  const given = typeof law === "object" && "data" in law;
  // A law is drawn from in the reduced dimensions, given rows are projected on them.
  const where = reduction !== null && !given ? { target: reduction.target, d: reduction.dimension } : { target: field?.target ?? null, d };
  const start = await startDraws(law, grid[0]!, where.target, { count, d: where.d }, options, rest);
  const run: Run = { ...traced, grid, start, count, first, batch, seed: seedOf(options.seed), record };
  if (field === null) return { ...common, ...(await ownScore(source as ScoreModel, run, options)) };
  for (const node of grid) {
    checkRange(start.reach, field.target, node);
    const wait = rest();
    if (wait !== null) await wait;
  }
  return { ...common, ...(await (reduction === null ? exactScore(field.target, run, options) : reducedScore(field, reduction, run, options, rest))) };
}

/** One run, checked. */
interface Run {
  readonly grid: readonly Node[];
  readonly program: Program;
  readonly recorded: readonly Node[];
  readonly start: StartDraws;
  readonly count: number;
  readonly first: number;
  readonly batch: number;
  readonly seed: bigint;
  readonly record: CheckedRecord;
}

type Outcome = Omit<ReverseRun, "grid" | "times" | "ouTimes" | "evaluations"> & Partial<Pick<ReverseRun, "evaluations">>;

/** The program of a sampler over a grid, recorded at some of its places. */
async function traceRun(
  process: Process,
  grid: readonly Node[],
  options: SampleReverseOptions,
  { places, observe }: CheckedRecord,
  rest: Pace,
): Promise<{ program: Program; recorded: Node[] }> {
  const { eta, variance, churn, corrector } = options;
  const end = checkChoice("end", options.end ?? "state", ["state", "denoised"]);
  if (options.sampler === "adaptive") {
    checkedTolerance(options.tolerance, { eta, variance, churn, corrector });
    return { program: levelsProgram(grid, places), recorded: grid.filter((_, i) => places.has(i)) };
  }
  if (options.tolerance !== undefined) throw new RegimesError("E_OPTION", `the sampler ${options.sampler} has no option "tolerance"; "adaptive" has`);
  const middle = (from: Node, to: Node): Node => nodeAt(process, (from.t + to.t) / 2);
  const step = samplerStep(options.sampler, { eta, variance, churn, corrector }, { steps: grid.length - 1, middle });
  const pass = observe.some((name) => !ofState.includes(name));
  const trace = new Trace();
  const recorded: Node[] = [];
  let x = trace.start();
  for (let i = 0; i < grid.length; i++) {
    const node = grid[i]!;
    const last = i === grid.length - 1;
    if (places.has(i)) {
      trace.observe(x, node, pass);
      recorded.push(node);
    }
    if (!last) x = trace.keep(step(trace, x, node, grid[i + 1]!));
    const wait = rest();
    if (wait !== null) await wait;
  }
  if (end === "denoised") x = trace.denoise(x, grid[grid.length - 1]!);
  return { program: await trace.program(x, rest), recorded };
}

/** Most records of a reading that has to be lifted: their joint law costs the square of that. */
const mostLiftedRecords = 64;

/** The reduction that a run is made in, or null. */
async function reductionFor(
  target: Target,
  options: SampleReverseOptions,
  record: CheckedRecord,
  records: number,
): Promise<Reduction | null> {
  if (checkChoice("reduce", options.reduce ?? "auto", ["auto", "none"]) === "none") return null;
  const { start } = options;
  const rotated = typeof start === "object" && "law" in start && (start.covariance ?? "full") !== "full";
  if (rotated || (records > mostLiftedRecords && readingsToLift(record.observe).length > 0)) return null;
  return reductionOf(target);
}

/** A run in the span of the means, and what lies outside it drawn after. */
async function reducedScore(field: Field, reduction: Reduction, run: Run, options: SampleReverseOptions, rest: Pace): Promise<Outcome> {
  const { record, program, recorded, count, first, seed } = run;
  void field.target.handle; // Throws once it was disposed of.
  const [{ rows }, { a, b }] = [run.start, run.grid[0]!];
  const weightsOnly = record.observe.filter((name) => !(liftedReadings as readonly string[]).includes(name));
  const inner: Run = {
    ...run,
    start: rows === null ? run.start : { ...run.start, rows: await reducedRows(reduction, rows, field.d, rest) },
    record: { ...record, observe: [...weightsOnly, ...readingsToLift(record.observe)], directions: null, directionCount: 0 },
  };
  const { result, outcome } = await simulated(reduction.target, inner, options);
  const standard = run.start.target === null;
  const { variance } = reduction;
  const start: ComplementStart = { rows, mean: standard ? 0 : a, deviation: standard ? run.start.b : Math.sqrt(a * a * variance + b * b) };
  const levels = readingsToLift(record.observe).length > 0 ? recorded : [];
  const law =
    options.sampler === "adaptive"
      ? flowLaw(run.grid, levels, variance, options.end === "denoised")
      : await complementLaw(program, variance, levels.length > 0, rest);
  const { x, ...lifted } = await lift(reduction, result, { ...options, ...record, law, levels, start, seed, first, count });
  const widths = { d: field.d, classes: field.target.classes, directions: record.directionCount };
  const observed = observations({ ...result, ...lifted }, [program.records, count], widths);
  return { ...outcome, samples: { data: x, shape: [count, field.d] }, observed, reduction: { dimension: reduction.dimension } };
}

async function exactScore(target: Target, run: Run, options: SampleReverseOptions): Promise<Outcome> {
  return (await simulated(target, run, options)).outcome;
}

async function simulated(
  target: Target,
  run: Run,
  options: SampleReverseOptions,
): Promise<{ readonly result: NativeSimulateResult; readonly outcome: Outcome }> {
  const started = performance.now();
  const { program, start, count, record } = run;
  const precision = checkChoice("precision", options.precision ?? "exact", ["exact", "float64", "fast"]);
  const free = options.sampler === "adaptive";
  const adaptive = free ? { ...checkedTolerance(options.tolerance, {}), endDenoised: options.end === "denoised" } : null;
  const carry = options.carry ?? (target.kind === "points" && adaptive === null);
  if (adaptive !== null && carry) throw new RegimesError("E_OPTION", `carry is for samplers in given steps; "adaptive" does without`);
  if (typeof carry !== "boolean") throw new RegimesError("E_OPTION", `carry is ${String(carry)}, need true or false`);
  if (record.observe.includes("classWeights") && target.classes === 0) {
    throw new RegimesError("E_LABELS", "classWeights needs classes: pass labels to openDataset");
  }
  const request = {
    ...program,
    seed: run.seed,
    first: run.first,
    count,
    batch: run.batch,
    precision,
    start: start.rows,
    startTarget: start.target?.handle ?? null,
    startA: start.a,
    startB: start.b,
    observe: record.observe,
    directions: record.directions,
    directionCount: record.directionCount,
    carry,
    adaptive,
  };
  const result = await runJob(options, (addon, threads, progress) => addon.simulate(target.handle, request, threads, progress));
  const path = evaluated(result.path);
  const outcome: Outcome = {
    samples: { data: result.x, shape: [count, target.d] },
    startComponents: start.target === target ? (result.startComponent ?? null) : null,
    observed: observations(result, [program.records, count], { d: target.d, classes: target.classes, directions: record.directionCount }),
    paths: pathNames(path),
    carried: result.refreshes === undefined ? null : { refreshes: result.refreshes, steps: result.carriedSteps! },
    ...(adaptive === null ? { adaptive } : adaptiveSteps(result)),
    reduction: null,
    meta: metaOf(started, options, precision, run.seed, { ...result, path }),
  };
  return { result, outcome };
}

/** Those paths that were taken: a loop, as they may be millions. */
function evaluated(path: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const taken = new Uint8Array(path.length);
  let count = 0;
  for (let k = 0; k < path.length; k++) {
    if (path[k] !== notEvaluated) taken[count++] = path[k]!;
  }
  return taken.subarray(0, count);
}

function adaptiveSteps({ accepted, rejected, error }: NativeSimulateResult): Required<Pick<Outcome, "adaptive" | "evaluations">> {
  const most = accepted!.reduce((largest, steps, r) => Math.max(largest, steps + rejected![r]!), 0);
  return { adaptive: { accepted: accepted!, rejected: rejected!, error: error! }, evaluations: 1 + 6 * most };
}

/** Stands for the path of an observation that needed no pass. */
const notEvaluated = 255;

/** Numbers of a batch that a score of one's own gets at once, unless `batch` says otherwise. */
const ownBatchNumbers = 2 ** 20;

async function ownScore(model: ScoreModel, run: Run, options: SampleReverseOptions): Promise<Outcome> {
  const { program, start, count, first, seed, record } = run;
  const { d } = model;
  const rest = pace(options);
  if (options.sampler === "adaptive") throw new RegimesError("E_OPTION", `the sampler "adaptive" needs a field; step a score of your own by one of ${samplerNames.join(", ")}`);
  for (const name of ["precision", "carry"] as const) {
    if (options[name] !== undefined) throw new RegimesError("E_OPTION", `${name} is a matter of exact scores; it does not go with a score of your own`);
  }
  const fieldOnly = record.observe.filter((name) => !ofState.includes(name));
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
    const begin = start.rows?.slice(done * d, (done + part) * d) ?? (await noise({ seed, first: number, count: part, d, draw: null }, rest)).map((z) => start.b * z);
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
      options.onProgress?.((done + (part * steps) / program.stepCount) / count);
    };
    samples.set(await interpret(program, model, { start: begin, count: part, first: number, seed }, observe, afterStep, rest), done * d);
  }
  const observed = observations(seen, [program.records, count], { d, classes: 0, directions: record.directionCount });
  return { samples: { data: samples, shape: [count, d] }, startComponents: null, observed, paths: [], carried: null, adaptive: null, reduction: null, meta: null };
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

function isTimes(schedule: GridOptions["schedule"]): boolean {
  return typeof schedule === "object" && schedule !== null && "length" in schedule;
}
