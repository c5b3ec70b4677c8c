/**
 * Sliced Wasserstein distance (Rabin et al. 2012; Bonneel et al. 2015): SW_2^2 = mean over directions u of W_2^2 between the laws of
 * u . x, and one-dimensional optimal transport is exact, W_2^2 = int_0^1 (Q(v) - Q'(v))^2 dv with quantile functions Q, Q'.
 *
 * N sorted samples x_i against the target: W_2^2 = 1/N sum_i (x_i - T_i)^2 + (E y^2 - 1/N sum_i T_i^2), T_i the mean of the target's Q
 * over ((i - 1)/N, i/N]. Its first-order change for a sample is the Kantorovich potential, int 2 (x - T) dx.
 */
import { moments } from "../estimate.js";
import { native, type RunOptions } from "../native.js";
import { normalDistribution } from "../quadrature.js";
import type { Target } from "../target.js";
import { Points, breathe, sampleRows, type Measure, type Measured } from "./measured.js";

/** Directions handled at a time, by which the memory is bounded: 8 n of them for n data. */
const block = 8;

/** What N samples meet along each direction. */
interface Levels {
  /** T_i less the mean of the target, per direction. */
  readonly means: readonly Float64Array<ArrayBuffer>[];
  /** E y^2 - 1/N sum T^2, about the mean. */
  readonly within: readonly number[];
  readonly centres: readonly number[];
}

/** "sliced-wasserstein", in data units; the directions follow from the seed. */
export function slicedWassersteinMeasure(target: Target, projections: number, seed: bigint): Measure {
  const { d } = target;
  const directions = native().normals({ seed, first: 0, count: projections, d, draw: null });
  for (let p = 0; p < projections; p++) {
    const u = directions.subarray(p * d, (p + 1) * d);
    const length = Math.sqrt(u.reduce((sum, value) => sum + value * value, 0));
    for (let j = 0; j < d; j++) u[j]! /= length;
  }
  const known = new Map<number, Promise<Levels>>();
  const levelsOf = (count: number, run: RunOptions): Promise<Levels> => {
    const levels = known.get(count) ?? levelsFor(target, directions, projections, count, run);
    known.set(count, levels);
    levels.catch(() => known.delete(count));
    return levels;
  };
  return {
    name: "sliced-wasserstein",
    of: async (samples, run = {}) => {
      const { data, rows } = sampleRows(samples, d);
      const levels = await levelsOf(rows, run);
      using points = new Points(data, rows, d);
      return compare(await points.project(directions, projections, run), rows, levels, run);
    },
  };
}

/** Samples [rows, directions] against the target. */
async function compare(projected: Float64Array, rows: number, { means, within, centres }: Levels, run: RunOptions): Promise<Measured> {
  const projections = means.length;
  const influence = new Float64Array(rows);
  const squares = new Float64Array(projections);
  const x = new Float64Array(rows);
  for (let p = 0; p < projections; p++) {
    for (let r = 0; r < rows; r++) x[r] = projected[r * projections + p]! - centres[p]!;
    const order = Uint32Array.from(x, (_, r) => r).sort((r, s) => x[r]! - x[s]!);
    let square = 0;
    let potential = 0;
    let before = 0;
    for (let i = 0; i < rows; i++) {
      const difference = x[order[i]!]! - means[p]![i]!;
      square += difference * difference;
      if (i > 0) potential += (x[order[i]!]! - x[order[i - 1]!]!) * (difference + before);
      influence[order[i]!]! += potential / projections;
      before = difference;
    }
    squares[p] = square / rows + within[p]!;
    await breathe(run);
  }
  const { mean, deviation } = moments(squares);
  const value = Math.sqrt(mean);
  const average = moments(influence).mean;
  const halved = value > 0 ? 1 / (2 * value) : 0;
  const centred = influence.map((change) => (change - average) * halved);
  return { value, influence: centred, otherError: (deviation / Math.sqrt(projections)) * halved, clipped: 0 };
}

async function levelsFor(target: Target, directions: Float64Array, projections: number, count: number, run: RunOptions): Promise<Levels> {
  const levels = { means: [] as Float64Array<ArrayBuffer>[], within: [] as number[], centres: [] as number[] };
  const { n, d } = target;
  for (let first = 0; first < projections; first += block) {
    const width = Math.min(block, projections - first);
    const part = directions.subarray(first * d, (first + width) * d);
    const projected = await target.project({ data: part.slice(), shape: [width, d] }, "none", run);
    for (let p = 0; p < width; p++) {
      const y = new Float64Array(n);
      let centre = 0;
      for (let i = 0; i < n; i++) {
        y[i] = projected.data[i * width + p]!;
        centre += y[i]! * (target.weights?.[i] ?? 1 / n);
      }
      const own = y.map((value) => value - centre);
      const law =
        target.kind === "points"
          ? pointLevels(own, target.weights, count)
          : mixtureLevels(own, deviationsAlong(target, part.subarray(p * d, (p + 1) * d)), target.weights, count);
      levels.means.push(law.means);
      levels.within.push(Math.max(0, law.secondMoment - law.means.reduce((sum, value) => sum + value * value, 0) / count));
      levels.centres.push(centre);
      await breathe(run);
    }
  }
  return levels;
}

interface Law {
  readonly means: Float64Array<ArrayBuffer>;
  readonly secondMoment: number;
}

/** Means of the quantile function of weighted points over `count` equal cells. */
function pointLevels(y: Float64Array<ArrayBuffer>, weights: Float64Array | null, count: number): Law {
  const n = y.length;
  const order = weights === null ? null : Uint32Array.from(y, (_, i) => i).sort((i, k) => y[i]! - y[k]!);
  const sorted = order === null ? y.sort() : Float64Array.from(order, (i) => y[i]!);
  const massOf = (k: number): number => (order === null ? count / n : count * weights![order[k]!]!);
  const means = new Float64Array(count);
  let secondMoment = 0;
  for (let k = 0; k < n; k++) secondMoment += (massOf(k) / count) * sorted[k]! ** 2;
  let k = 0;
  let left = massOf(0);
  for (let i = 0; i < count; i++) {
    // One unit of mass per cell; the last point takes what rounding leaves.
    for (let open = 1; open > 0; ) {
      const taken = k === n - 1 ? open : Math.min(open, left);
      means[i]! += taken * sorted[k]!;
      open -= taken;
      left -= taken;
      if (left <= 0 && k < n - 1) left = massOf(++k);
    }
  }
  return { means, secondMoment };
}

/**
 * Means of the quantile function of sum_k pi_k N(m_k, s_k^2) over `count` equal cells, from
 * int_0^v Q = M(q) - q (F(q) - v), M(q) = sum_k pi_k (m_k Phi(z_k) - s_k phi(z_k)), z_k = (q - m_k)/s_k: an error of q enters squared.
 */
function mixtureLevels(centres: Float64Array, deviations: Float64Array, weights: Float64Array | null, count: number): Law {
  const n = centres.length;
  const weight = (k: number): number => weights?.[k] ?? 1 / n;
  const at = (q: number): { mass: number; density: number; part: number } => {
    let [mass, density, part] = [0, 0, 0];
    for (let k = 0; k < n; k++) {
      const [m, s] = [centres[k]!, deviations[k]!];
      const z = s > 0 ? (q - m) / s : q >= m ? Infinity : -Infinity;
      const below = weight(k) * normalDistribution(z);
      const bell = (weight(k) * Math.exp(-0.5 * z * z)) / Math.sqrt(2 * Math.PI);
      mass += below;
      density += s > 0 ? bell / s : 0;
      part += m * below - s * bell;
    }
    return { mass, density, part };
  };
  let low = Infinity;
  let high = -Infinity;
  let secondMoment = 0;
  for (let k = 0; k < n; k++) {
    low = Math.min(low, centres[k]! - 39 * deviations[k]!);
    high = Math.max(high, centres[k]! + 39 * deviations[k]!);
    secondMoment += weight(k) * (centres[k]! ** 2 + deviations[k]! ** 2);
  }
  const means = new Float64Array(count);
  const [start, end] = [low, high];
  let q = start;
  let before = 0;
  for (let i = 0; i < count; i++) {
    const level = (i + 1) / count;
    let below = 0;
    if (i === count - 1) below = at(end).part;
    else {
      [low, high] = [q, end];
      // Newton's step inside a bracket that only shrinks.
      for (let turn = 0; turn < 200; turn++) {
        const { mass, density, part } = at(q);
        below = part - q * (mass - level);
        if (Math.abs(mass - level) < 1e-13 || high - low <= 1e-13 * (end - start)) break;
        if (mass < level) low = q;
        else high = q;
        const step = q - (mass - level) / density;
        q = step > low && step < high ? step : (low + high) / 2;
      }
    }
    means[i] = count * (below - before);
    before = below;
  }
  return { means, secondMoment };
}

/** (u^T C_k u)^1/2 of the components of a mixture. */
function deviationsAlong({ mixture, n, d }: Target, u: Float64Array): Float64Array<ArrayBuffer> {
  const { covariances } = mixture!;
  return Float64Array.from({ length: n }, (_, k) => {
    let sum = 0;
    switch (covariances.type) {
      case "spherical":
        return Math.sqrt(covariances.variances[k]!);
      case "diagonal":
        for (let j = 0; j < d; j++) sum += covariances.variances[k * d + j]! * u[j]! ** 2;
        break;
      case "full":
        for (let i = 0; i < d; i++) {
          let row = 0;
          for (let j = 0; j < d; j++) row += covariances.matrices[(k * d + i) * d + j]! * u[j]!;
          sum += u[i]! * row;
        }
        break;
      case "low-rank":
        for (let j = 0; j < d; j++) sum += covariances.diagonals[k * d + j]! * u[j]! ** 2;
        for (let r = 0; r < covariances.rank; r++) {
          let along = 0;
          for (let j = 0; j < d; j++) along += covariances.factors[(k * d + j) * covariances.rank + r]! * u[j]!;
          sum += along * along;
        }
    }
    return Math.sqrt(Math.max(0, sum));
  });
}
