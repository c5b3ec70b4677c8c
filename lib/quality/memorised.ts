/**
 * Memorisation by the ratio |g - y_(1)| / |g - y_(2)| of the distances (not squared) of a sample g to its nearest and second nearest
 * datum; memorised when it is below 1/3 (Yoon et al. 2023). Equal data count as one: beside a duplicate every ratio would be 1.
 */
import type { PointsInput } from "../array.js";
import { RegimesError, checkOptionNames } from "../errors.js";
import { meanEstimate, type Estimate } from "../estimate.js";
import { runJob, runOptionNames, type RunOptions } from "../native.js";
import { empirical, type Target } from "../target.js";
import { breathe, sampleRows } from "./measured.js";

export interface MemorisationOptions extends RunOptions {
  /** A sample counts as memorised below this ratio, default 1/3. */
  readonly threshold?: number | undefined;
}

export interface Memorisation {
  /** In [0, 1], one per sample; 0 on a datum. */
  readonly ratios: Float64Array<ArrayBuffer>;
  /** Row of the nearest datum. */
  readonly nearest: Int32Array<ArrayBuffer>;
  /** Distance to it, data units. */
  readonly distances: Float64Array<ArrayBuffer>;
  /** Fraction of samples with ratio < threshold. */
  readonly fraction: Estimate;
}

/**
 * The memorisation ratio of each sample [count, d]; the two nearest of all data, whatever their weights, by float64 differences.
 * @throws RegimesError E_OPTION for a target without data, E_SHAPE for data that are all equal, E_NONFINITE.
 */
export async function memorisationRatio(samples: PointsInput, target: Target, options: MemorisationOptions = {}): Promise<Memorisation> {
  checkOptionNames("memorisationRatio", options, ["threshold", ...runOptionNames]);
  const { threshold = 1 / 3, ...run } = options;
  if (!(threshold > 0 && threshold <= 1)) throw new RegimesError("E_OPTION", `threshold is ${threshold}, need a number in (0, 1]`);
  const { dataset } = target;
  if (dataset === null) throw new RegimesError("E_OPTION", "memorisation is of data: a mixture has none");
  if (dataset.distinctRows < 2) throw new RegimesError("E_SHAPE", "the second nearest datum needs at least two different rows");
  const { data, rows: count } = sampleRows(samples, target.d);
  const plain = target.weights === null ? null : empirical(dataset);
  try {
    const found = await twoNearest(plain ?? target, data, count, run);
    const ratios = found.first.map((distance, r) => distance / found.second[r]!);
    const fraction = meanEstimate(ratios.map((ratio) => (ratio < threshold ? 1 : 0)), { range: [0, 1] });
    return { ratios, nearest: found.nearest, distances: found.first, fraction };
  } finally {
    plain?.dispose();
  }
}

interface Nearest {
  readonly nearest: Int32Array<ArrayBuffer>;
  readonly first: Float64Array<ArrayBuffer>;
  /** Distance to the nearest datum that differs from the nearest. */
  readonly second: Float64Array<ArrayBuffer>;
}

/** The heaviest data under a = 1 and small noise are the nearest; more of them are asked for where they are copies of one another. */
async function twoNearest(target: Target, x: Float64Array<ArrayBuffer>, count: number, run: RunOptions): Promise<Nearest> {
  const { d, n } = target;
  const b = await noiseBetween(target, run);
  const result = { nearest: new Int32Array(count), first: new Float64Array(count), second: new Float64Array(count) };
  let open = Array.from({ length: count }, (_, r) => r);
  for (let top = 2; open.length > 0; top = Math.min(n, 8 * top)) {
    const queries = new Float64Array(open.length * d);
    open.forEach((r, k) => queries.set(x.subarray(r * d, (r + 1) * d), k * d));
    const index = await heaviest(target, queries, open.length, b, top, run);
    const undecided: number[] = [];
    for (const [k, r] of open.entries()) {
      const near = Array.from(index.subarray(k * top, (k + 1) * top), (row) => ({ row, values: target.dataset!.rows(row, row + 1).data }))
        .map(({ row, values }) => ({ row, values, distance: distanceOf(queries.subarray(k * d, (k + 1) * d), values) }))
        .sort((one, other) => one.distance - other.distance || one.row - other.row);
      const own = near[0]!;
      const other = near.find(({ values }) => values.some((value, j) => value !== own.values[j]));
      result.nearest[r] = own.row;
      result.first[r] = own.distance;
      result.second[r] = other?.distance ?? 0;
      if (other === undefined) undecided.push(r);
      if ((k + 1) % 256 === 0) await breathe(run);
    }
    open = undecided;
  }
  return result;
}

async function heaviest(
  target: Target,
  x: Float64Array,
  batch: number,
  b: number,
  top: number,
  run: RunOptions,
): Promise<Int32Array<ArrayBuffer>> {
  const request = { a: 1, b, x, batch, readings: [], top, vectors: null, precision: "exact" } as const;
  return (await runJob(run, (addon, threads, progress) => addon.posterior(target.handle, request, threads, progress))).topIndex!;
}

/**
 * A noise level at which the second nearest datum of a datum keeps a weight of about e^-16: large enough for the two nearest to survive
 * the screening, small enough for little else. It decides the time taken, and no result.
 */
async function noiseBetween(target: Target, run: RunOptions): Promise<number> {
  const { n, d, dataset, magnitude } = target;
  const probes = Math.min(32, n);
  const rows = Array.from({ length: probes }, (_, k) => dataset!.rows(Math.floor((k * n) / probes), Math.floor((k * n) / probes) + 1).data);
  const x = new Float64Array(probes * d);
  rows.forEach((row, k) => x.set(row, k * d));
  const index = await heaviest(target, x, probes, magnitude / 1000 || 1, 2, run);
  const gaps = rows
    .map((row, k) => Math.max(...[index[2 * k]!, index[2 * k + 1]!].map((i) => distanceOf(row, dataset!.rows(i, i + 1).data))))
    .filter((distance) => distance > 0)
    .sort((one, other) => one - other);
  return (gaps[Math.floor(gaps.length / 2)] ?? magnitude) / Math.sqrt(2 * 16);
}

function distanceOf(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let j = 0; j < x.length; j++) sum += (x[j]! - y[j]!) ** 2;
  return Math.sqrt(sum);
}
