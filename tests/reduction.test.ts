/** Runs in the span of a mixture's means have the law of the plain ones: exact where nothing is drawn, in moments where something is. */
import { describe, expect, it } from "vitest";
import { diffuse, type Field } from "../lib/field.js";
import { ornsteinUhlenbeck, varianceExploding } from "../lib/process.js";
import { sampleReverse, type Node, type SampleReverseOptions } from "../lib/sampler.js";
import { complementLaw, reductionOf } from "../lib/sampler/reduction.js";
import { Trace } from "../lib/sampler/trace.js";
import { empirical, gaussianMixture, type Target } from "../lib/target.js";
import { openDataset } from "../lib/data.js";
import { normals } from "./synthetic.js";

const d = 9;

/** Three Gaussians of variance 0.7 around a centre outside the span of their differences. */
function three(variances = [0.7, 0.7, 0.7]): Target {
  const data = normals(3, 3 * d).map((value, i) => 1.5 * value + (i % d === d - 1 ? 2 : 0));
  return gaussianMixture({ weights: [0.5, 0.3, 0.2], means: { data, shape: [3, d] }, covariances: { type: "spherical", variances } });
}

const field = diffuse(three(), ornsteinUhlenbeck());

/** The same run both ways. */
async function both(of: Field, options: Omit<SampleReverseOptions, "count" | "seed"> & { count?: number }) {
  const common = { seed: 5, count: 7, ...options };
  return { reduced: await sampleReverse(of, common), plain: await sampleReverse(of, { ...common, reduce: "none" }) };
}

function largestDifference(left: ArrayLike<number>, right: ArrayLike<number>): number {
  expect(left.length).toBe(right.length);
  return Array.from(left).reduce((most, value, i) => Math.max(most, Math.abs(value - right[i]!)), 0);
}

describe("the span of the means", () => {
  it("has an orthonormal basis in which the means keep their distances and the rest is common to all", async () => {
    const { basis, dimension, target, rest } = (await reductionOf(field.target))!;
    expect(dimension).toBe(2);
    const rows = Array.from({ length: dimension }, (_, i) => basis.subarray(i * d, (i + 1) * d));
    const product = (u: ArrayLike<number>, v: ArrayLike<number>): number => Array.from(u).reduce((sum, value, j) => sum + value * v[j]!, 0);
    rows.forEach((u, i) => rows.forEach((v, j) => expect(product(u, v)).toBeCloseTo(i === j ? 1 : 0, 14)));
    const { means } = field.target.mixture!;
    for (let k = 0; k < 3; k++) {
      const rebuilt = rest.map((value, j) => value + rows.reduce((sum, u, i) => sum + target.mixture!.means.data[2 * k + i]! * u[j]!, 0));
      expect(largestDifference(rebuilt, means.data.subarray(k * d, (k + 1) * d))).toBeLessThan(1e-14);
    }
  });

  it("is one direction for one Gaussian and for equal means", async () => {
    const one = gaussianMixture({ means: { data: new Float64Array(d).fill(1), shape: [1, d] }, covariances: { type: "spherical", variances: [1] } });
    const twice = gaussianMixture({ means: { data: new Float64Array(2 * d).fill(1), shape: [2, d] }, covariances: { type: "spherical", variances: [1, 1] } });
    expect((await reductionOf(one))!.dimension).toBe(1);
    expect((await reductionOf(twice))!.dimension).toBe(1);
  });

  it("is not looked for where the reduction would not be exact or would not pay", async () => {
    const points = empirical(await openDataset({ data: normals(1, 2 * d), shape: [2, d] }));
    const diagonal = gaussianMixture({ means: { data: new Float64Array(d), shape: [1, d] }, covariances: { type: "diagonal", variances: new Float64Array(d).fill(1) } });
    const crowded = gaussianMixture({ means: { data: normals(2, 5 * 8), shape: [5, 8] }, covariances: { type: "spherical", variances: new Float64Array(5).fill(1) } });
    for (const target of [points, diagonal, crowded, three([0.7, 0.7, 0.8])]) expect(await reductionOf(target)).toBeNull();
  });
});

describe("a reduced run", () => {
  const rows = { data: normals(8, 7 * d), shape: [7, d] };
  const observe = ["states", "denoised", "norm", "projections", "logDensity", "entropy", "sumSquares", "nearest", "classWeights"] as const;

  it.each([["ddim"], ["heun"], ["dpm-solver++2m"], ["pndm"], ["probability-flow-euler"]] as const)("of %s from given rows is the plain one up to rounding, in every reading", async (sampler) => {
    for (const process of [ornsteinUhlenbeck(), varianceExploding()]) {
      const options = { sampler, steps: 12, start: rows, record: { every: 5, observe, directions: { data: normals(9, 2 * d), shape: [2, d] } } };
      const { reduced, plain } = await both(diffuse(field.target, process), options);
      expect(reduced.reduction).toEqual({ dimension: 2 });
      expect(plain.reduction).toBeNull();
      const size = Math.max(1, ...plain.observed.norm!.data);
      expect(largestDifference(reduced.samples.data, plain.samples.data)).toBeLessThan(1e-12 * size);
      for (const name of observe) {
        if (name === "nearest") expect(reduced.observed.nearest!.index).toEqual(plain.observed.nearest!.index);
        else expect(largestDifference(reduced.observed[name]!.data, plain.observed[name]!.data), name).toBeLessThan(1e-11 * size * size);
      }
    }
  });

  it("ends with the denoised mean where that is asked for", async () => {
    const { reduced, plain } = await both(field, { sampler: "ddim", steps: 6, start: rows, end: "denoised" });
    expect(largestDifference(reduced.samples.data, plain.samples.data)).toBeLessThan(1e-12);
  });

  it.each([["ddpm", "standard"], ["euler-maruyama", "marginal"], ["sde-dpm-solver++2m", "gaussian"], ["predictor-corrector", "standard"]] as const)(
    "of %s from %s has the means and covariances of the plain one, between records too",
    async (sampler, start) => {
      const count = 4000;
      const { reduced, plain } = await both(field, { sampler, steps: 8, from: 2, to: 0.05, start, count, record: { every: 4, observe: ["states", "logDensity"] } });
      expect(reduced.reduction).not.toBeNull();
      // One function of each trajectory per test: products of coordinates at two records, or a coordinate, or a log density.
      const value = (run: typeof plain, record: number, r: number, j: number): number => run.observed.states!.data[(record * count + r) * d + j]!;
      const functions: ((run: typeof plain, r: number) => number)[] = [];
      for (let j = 0; j < d; j++) {
        for (let k = j; k < d; k += 3) for (const [p, q] of [[0, 1], [1, 2], [2, 2]] as const) functions.push((run, r) => value(run, p, r, j) * value(run, q, r, k));
        functions.push((run, r) => value(run, 1, r, j), (run, r) => run.samples.data[r * d + j]!);
      }
      for (let record = 0; record < 3; record++) functions.push((run, r) => run.observed.logDensity!.data[record * count + r]!);
      const scores = functions.map((of) => {
        const [left, right] = [reduced, plain].map((run) => moments(Float64Array.from({ length: count }, (_, r) => of(run, r))));
        return (left!.mean - right!.mean) / Math.sqrt((left!.variance + right!.variance) / count);
      });
      // Some 80 dependent standard normals: beyond 4.5 once in 2000 such tests; their squares average 1.
      expect(Math.max(...scores.map(Math.abs))).toBeLessThan(4.5);
      expect(scores.reduce((sum, z) => sum + z * z, 0) / scores.length).toBeLessThan(2);
    },
  );

  it("ends, for one Gaussian, with the law that the affine dynamics have", async () => {
    const mean = normals(4, d);
    const one = diffuse(gaussianMixture({ means: { data: mean, shape: [1, d] }, covariances: { type: "spherical", variances: [0.5] } }), ornsteinUhlenbeck());
    const count = 5000;
    const run = await sampleReverse(one, { sampler: "ddpm", steps: 40, from: 3, to: 0.1, start: "marginal", count, seed: 2 });
    const { shift, width } = gaussianEnd(run.grid, 0.5);
    for (let j = 0; j < d; j++) {
      const column = moments(Float64Array.from({ length: count }, (_, r) => run.samples.data[r * d + j]!));
      expect(Math.abs(column.mean - shift * mean[j]!)).toBeLessThan(4.5 * Math.sqrt(width / count));
      expect(Math.abs(column.variance / width - 1)).toBeLessThan(4.5 * Math.sqrt(2 / count));
    }
  });

  it("gives a trajectory the same bits whatever the others, the batch and what is recorded, and its last record is its end", async () => {
    const options = { sampler: "ddpm", steps: 10, seed: 9 } as const;
    const all = await sampleReverse(field, { ...options, count: 20 });
    const part = await sampleReverse(field, { ...options, count: 5, firstTrajectory: 8, batch: 2, threads: 2, record: { every: 3, observe: ["states"] } });
    expect(part.samples.data).toEqual(all.samples.data.slice(8 * d, 13 * d));
    expect(part.observed.states!.data.slice(-5 * d)).toEqual(part.samples.data);
  });

  it("follows the flow with error control to where it leads in all dimensions", async () => {
    const start = { data: normals(12, 4 * d), shape: [4, d] };
    for (const end of ["state", "denoised"] as const) {
      const observe = ["states", "denoised", "norm", "logDensity", "classWeights"] as const;
      const options = { sampler: "adaptive", tolerance: { absolute: 1e-9, relative: 1e-9 }, steps: 3, from: 2, to: 0.05, count: 4, seed: 1, start, end, record: { observe } } as const;
      const [reduced, plain] = [await sampleReverse(field, options), await sampleReverse(field, { ...options, reduce: "none" })];
      expect([reduced.reduction, plain.reduction]).toEqual([{ dimension: 2 }, null]);
      const near = (one: ArrayLike<number>, other: ArrayLike<number>): void => {
        expect(one.length).toBe(other.length);
        for (let k = 0; k < one.length; k++) expect(Math.abs(one[k]! - other[k]!)).toBeLessThan(1e-6 * (1 + Math.abs(other[k]!)));
      };
      near(reduced.samples.data, plain.samples.data);
      for (const name of ["states", "denoised", "norm", "classWeights"] as const) near(reduced.observed[name]!.data, plain.observed[name]!.data);
      near(reduced.observed.logDensity!.data, plain.observed.logDensity!.data);
    }
    const drawn = await sampleReverse(field, { sampler: "adaptive", from: 2, to: 0.05, count: 4, seed: 1, start: "marginal" });
    expect(drawn.reduction).toEqual({ dimension: 2 });
    expect(drawn.evaluations).toBeGreaterThan(1);
  });

  it("costs in a million dimensions what the drawing of the samples costs", async () => {
    const wide = 1_000_000;
    const data = new Float64Array(2 * wide).fill(2e-3).fill(-2e-3, wide);
    const pair = diffuse(gaussianMixture({ means: { data, shape: [2, wide] }, covariances: { type: "spherical", variances: [1, 1] } }), ornsteinUhlenbeck());
    const run = await sampleReverse(pair, { sampler: "ddpm", steps: 100, count: 1, seed: 1, record: { every: 50, observe: ["classWeights"] } });
    expect(run.reduction).toEqual({ dimension: 1 });
    expect(run.observed.classWeights!.shape).toEqual([3, 1, 2]);
    // The discrete steps start from N(0, I) and not from the marginal: for variance 1 that is the same.
    const { width } = gaussianEnd(run.grid, 1);
    expect(Math.abs(moments(run.samples.data).variance / width - 1)).toBeLessThan(4.5 * Math.sqrt(2 / wide));
  });

  it("records at given times of the grid alone", async () => {
    const times = [2, 1, 0.5, 0.1];
    const run = await sampleReverse(field, { sampler: "ddpm", schedule: times, count: 3, seed: 1, record: { times: [1, 0.1], observe: ["norm"] } });
    expect([...run.times]).toEqual([1, 0.1]);
    expect(run.observed.norm!.shape).toEqual([2, 3]);
    await expect(sampleReverse(field, { sampler: "ddpm", schedule: times, count: 3, seed: 1, record: { times: [0.7], observe: ["norm"] } })).rejects.toMatchObject({ code: "E_DOMAIN" });
    await expect(sampleReverse(field, { sampler: "ddpm", schedule: times, count: 3, seed: 1, record: { times: [1], every: 2, observe: ["norm"] } })).rejects.toMatchObject({ code: "E_OPTION" });
  });

  it("is not made where the start has no rotation-invariant law, nor with many lifted records", async () => {
    const diagonal = await sampleReverse(field, { sampler: "ddim", steps: 4, count: 2, seed: 1, start: { law: "gaussian", covariance: "diagonal" } });
    expect(diagonal.reduction).toBeNull();
    const many = { sampler: "ddim", steps: 80, count: 2, seed: 1 } as const;
    expect((await sampleReverse(field, { ...many, record: { observe: ["norm"] } })).reduction).toBeNull();
    expect((await sampleReverse(field, { ...many, record: { observe: ["classWeights"] } })).reduction).toEqual({ dimension: 2 });
  });
});

describe("the law of the complement", () => {
  it("refuses a program in which one draw enters two sums, whose moments it would get wrong", async () => {
    const trace = new Trace();
    const noise = trace.noise();
    const x = trace.keep(trace.start().plus(noise));
    const program = await trace.program(trace.keep(x.plus(noise)), () => null);
    await expect(complementLaw(program, 1, false, () => null)).rejects.toThrow(/E_INTERNAL/);
  });
});

/** Mean over m and variance at the end of DDPM's recursion for N(m, v I), started from its marginal. */
function gaussianEnd(grid: readonly Node[], v: number): { shift: number; width: number } {
  const marginal = ({ a, b }: Node): number => a * a * v + b * b;
  let [shift, width] = [grid[0]!.a, marginal(grid[0]!)];
  for (let i = 1; i < grid.length; i++) {
    const [from, to] = [grid[i - 1]!, grid[i]!];
    const ratio = (to.a * from.b) / (from.a * to.b);
    const gained = 1 - ratio ** -2;
    const slope = (from.a * v) / marginal(from);
    const factor = to.b / from.b / ratio + to.a * gained * slope;
    shift = factor * shift + to.a * gained * (1 - slope * from.a);
    width = factor ** 2 * width + to.b ** 2 * gained;
  }
  return { shift, width };
}

function moments(values: Float64Array): { mean: number; variance: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1) };
}
