/** Distances of samples to a target: known answers, closed forms, errors against leaving samples out. */
import { describe, expect, it } from "vitest";
import type { NdArray } from "../lib/array.js";
import { openDataset } from "../lib/data.js";
import { normalDistribution } from "../lib/quadrature.js";
import { estimateOf, frechetDistance, measureOf, memorisationRatio, sampleQuality } from "../lib/quality.js";
import { empirical, gaussianMixture, sampleTarget, type Target } from "../lib/target.js";
import { expectGolden, goldenCases, matrix } from "./golden_cases.js";

async function drawsOf(target: Target, count: number, seed: number): Promise<NdArray> {
  const draws = await sampleTarget(target, count, { seed, dtype: "float64" });
  return draws.rows(0, count);
}

function gaussian(mean: readonly number[], matrices: readonly number[]): Target {
  return gaussianMixture({ means: { data: Float64Array.from(mean), shape: [1, mean.length] }, covariances: { type: "full", matrices } });
}

const skew = gaussian([1, -2, 0.5], [2, 0.5, 0.1, 0.5, 1, -0.3, 0.1, -0.3, 0.4]);

describe("frechetDistance", () => {
  it.each(goldenCases("frechet"))("is that of the golden case $name", async ({ inputs, expected, tol }) => {
    const law = (k: number) => ({ mean: inputs[`mean${k}`] as number[], covariance: matrix(inputs[`cov${k}`]) });
    const { value, clipped } = await frechetDistance(law(1), law(2));
    expectGolden("d2", value, expected["d2"], tol);
    expectGolden("d2, exchanged", (await frechetDistance(law(2), law(1))).value, expected["d2"], tol);
    expect(clipped).toBe(0);
  });

  it("of two point masses is their squared distance, and says what it clipped", async () => {
    const zero = { data: new Float64Array(4), shape: [2, 2] };
    expect(await frechetDistance({ mean: [0, 3], covariance: zero }, { mean: [4, 0], covariance: zero })).toEqual({ value: 25, clipped: 0 });
    const nearly = { data: Float64Array.from([1, 1, 1, 1 - 1e-15]), shape: [2, 2] };
    expect((await frechetDistance({ mean: [0, 0], covariance: nearly }, { mean: [0, 0], covariance: nearly })).clipped).toBeGreaterThan(0);
  });

  it("refuses laws of two dimensions", async () => {
    const one = { mean: [0], covariance: { data: new Float64Array(1), shape: [1, 1] } };
    const two = { mean: [0, 0], covariance: { data: new Float64Array(4), shape: [2, 2] } };
    await expect(frechetDistance(one, two)).rejects.toThrow("E_SHAPE");
  });
});

describe("sampleQuality", () => {
  it.each(["frechet-pixel", "frechet-pca"] as const)("%s is the distance of the moments of the samples", async (measure) => {
    const samples = await drawsOf(gaussian([0, 0, 0], [1, 0, 0, 0, 2, 0, 0, 0, 3]), 200, 3);
    using own = empirical(await openDataset(samples));
    const { mean, matrix: covariance } = await own.covariance();
    const law = await skew.covariance();
    const rank = measure === "frechet-pca" ? 3 : undefined;
    const { distance, measure: name } = await sampleQuality(samples, skew, { measure, rank, seed: 1 });
    const whole = await frechetDistance({ mean, covariance }, { mean: law.mean, covariance: law.matrix });
    expect(distance.value).toBeCloseTo(whole.value, 10);
    expect(name).toBe(rank === undefined ? "frechet-pixel" : "frechet-pca-3");
  });

  it("frechet-pca sees its principal directions alone", async () => {
    const target = gaussian([0, 0], [9, 0, 0, 1]);
    const samples = await drawsOf(gaussian([0, 5], [9, 0, 0, 1]), 2000, 4);
    const pca = await sampleQuality(samples, target, { measure: "frechet-pca", rank: 1, seed: 1 });
    const pixel = await sampleQuality(samples, target, { seed: 1 });
    expect(pca.distance.value!).toBeLessThan(0.1);
    expect(Math.abs(pixel.distance.value! - 25)).toBeLessThan(4 * pixel.distance.standardError! + 0.01);
  });

  it.each(["frechet-pixel", "sliced-wasserstein"] as const)("%s: what a sample is said to change is what leaving it out changes", async (name) => {
    const samples = await drawsOf(gaussian([0, 0, 0], [1, 0, 0, 0, 2, 0, 0, 0, 3]), 400, 5);
    const measure = await measureOf(skew, { measure: name, seed: 1 }, {});
    const { value, influence } = await measure.of(samples);
    expect(influence.reduce((sum, change) => sum + change, 0)).toBeCloseTo(0, 9);
    const errors: number[] = [];
    for (const left of [0, 17, 133, 399]) {
      const data = Float64Array.from([...samples.data.subarray(0, 3 * left), ...samples.data.subarray(3 * left + 3)]);
      const without = await measure.of({ data, shape: [399, 3] });
      errors.push((without.value - value) * -399 - influence[left]!);
    }
    // Second-order terms are O(1/N) of the spread.
    const spread = Math.sqrt(influence.reduce((sum, change) => sum + change * change, 0) / 400);
    for (const error of errors) expect(Math.abs(error)).toBeLessThan(0.1 * spread);
  });

  it.each(["frechet-pixel", "sliced-wasserstein"] as const)("%s: the standard error is the spread over repetitions", async (name) => {
    const source = gaussian([0, 0, 0], [1, 0, 0, 0, 2, 0, 0, 0, 3]);
    const measure = await measureOf(skew, { measure: name, seed: 1 }, {});
    const values: number[] = [];
    const errors: number[] = [];
    for (let k = 0; k < 60; k++) {
      const measured = await measure.of(await drawsOf(source, 500, 100 + k));
      values.push(measured.value);
      errors.push(estimateOf({ ...measured, otherError: 0 }).standardError!);
    }
    const mean = values.reduce((sum, value) => sum + value, 0) / 60;
    const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 59);
    const told = errors.reduce((sum, value) => sum + value, 0) / 60;
    // The spread of 60 values is known to 9 %.
    expect(Math.abs(spread / told - 1)).toBeLessThan(0.36);
  });

  it("sliced-wasserstein in one dimension is optimal transport: shifts and widths of Gaussians, points, weighted points", async () => {
    const line = (mean: number, variance: number): Target =>
      gaussianMixture({ means: { data: Float64Array.of(mean), shape: [1, 1] }, covariances: { type: "spherical", variances: [variance] } });
    const samples = await drawsOf(line(0, 1), 4000, 6);
    const options = { measure: "sliced-wasserstein", projections: 3, seed: 1 } as const;
    const moved = await sampleQuality(samples, line(3, 4), options);
    // W_2^2 = (m - m')^2 + (s - s')^2.
    expect(Math.abs(moved.distance.value! - Math.sqrt(10))).toBeLessThan(4 * moved.distance.standardError!);
    const data = await openDataset({ data: Float64Array.of(0, 1, 5), shape: [3, 1] });
    using weighted = empirical(data, { weights: [0.5, 0.25, 0.25] });
    const two = await sampleQuality({ data: Float64Array.of(0, 4), shape: [2, 1] }, weighted, options);
    // Half of the mass at 0 stays; of the rest a half each goes from 4 to 1 and to 5.
    expect(two.distance.value!).toBeCloseTo(Math.sqrt(9 / 4 + 1 / 4), 12);
  });

  it("sliced-wasserstein to a mixture is the distance to a great many draws of it, whatever its covariances", async () => {
    const means = { data: Float64Array.of(-3, 0, 3, 1), shape: [2, 2] };
    const samples = await drawsOf(gaussian([0, 0], [1, 0, 0, 1]), 500, 7);
    for (const covariances of [
      { type: "spherical", variances: [1, 0] },
      { type: "diagonal", variances: [1, 2, 0.5, 0.1] },
      { type: "full", matrices: [1, 0.3, 0.3, 2, 0.5, 0, 0, 1] },
      { type: "low-rank", diagonals: [0.1, 0.1, 0.2, 0.2], factors: { data: Float64Array.of(1, 1, 0, 2), shape: [2, 2, 1] } },
    ] as const) {
      using target = gaussianMixture({ weights: [0.3, 0.7], means, covariances });
      using drawn = empirical(await sampleTarget(target, 20_000, { seed: 8 }));
      const of = async (against: Target): Promise<number> => (await sampleQuality(samples, against, { measure: "sliced-wasserstein", projections: 16, seed: 2 })).distance.value!;
      // Means of 20 000 draws are off by 3/sqrt(20 000) in each direction.
      expect(Math.abs((await of(target)) - (await of(drawn))), covariances.type).toBeLessThan(0.06);
    }
  });

  it("has draws of the target at its floor, and refuses what does not fit", async () => {
    const { distance, floor } = await sampleQuality(await drawsOf(skew, 1000, 9), skew, { seed: 10 });
    expect(distance.value!).toBeLessThan(3 * floor.value! + 0.02);
    const samples = { data: new Float64Array(6), shape: [2, 3] };
    await expect(sampleQuality(samples, skew, { rank: 2, seed: 1 })).rejects.toThrow("rank goes with");
    await expect(sampleQuality(samples, skew, { measure: "frechet-pca", rank: 4, seed: 1 })).rejects.toThrow("from 1 to 3");
    await expect(sampleQuality({ data: new Float64Array(3), shape: [1, 3] }, skew, { seed: 1 })).rejects.toThrow("E_SHAPE");
  });
});

describe("memorisationRatio", () => {
  it.each(goldenCases("memorisation-ratio"))("is that of the golden case $name", async ({ inputs, expected, tol }) => {
    using target = empirical(await openDataset(matrix(inputs["training"])));
    const { ratios, fraction } = await memorisationRatio(matrix(inputs["generated"]), target);
    expectGolden("ratios", ratios, expected["ratios"], tol);
    expectGolden("fraction", fraction.value!, expected["fraction"], tol);
  });

  it("counts equal data once, however many, and takes no heed of weights", async () => {
    const rows = [...Array.from({ length: 40 }, () => [0, 0]), [1, 0], [0, 3]];
    const data = await openDataset(matrix(rows));
    using target = empirical(data, { weights: rows.map((_, i) => (i < 40 ? 1e-12 : 1)), normalize: true });
    const { ratios, nearest, distances } = await memorisationRatio(matrix([[0.1, 0], [0, 2.9]]), target);
    expect(ratios[0]).toBeCloseTo(0.1 / 0.9, 12);
    expect(ratios[1]).toBeCloseTo(0.1 / 2.9, 12);
    expect(nearest[1]).toBe(41);
    expect(distances[1]).toBeCloseTo(0.1, 12);
  });

  it("agrees with all distances on the digits", async () => {
    const data = await openDataset("digits");
    using target = empirical(data);
    const samples = await drawsOf(gaussianMixture({ means: { data: new Float64Array(64).fill(5), shape: [1, 64] }, covariances: { type: "spherical", variances: [20] } }), 20, 11);
    const { ratios } = await memorisationRatio(samples, target);
    const all = data.rows(0, data.n).data;
    ratios.forEach((ratio, r) => {
      const distances = Array.from({ length: data.n }, (_, i) => Math.hypot(...Array.from({ length: 64 }, (__, j) => samples.data[r * 64 + j]! - all[i * 64 + j]!))).sort((x, y) => x - y);
      expect(ratio).toBeCloseTo(distances[0]! / distances[1]!, 12);
    });
  });

  it("needs data, and two different ones", async () => {
    await expect(memorisationRatio({ data: new Float64Array(6), shape: [2, 3] }, skew)).rejects.toThrow("E_OPTION");
    using same = empirical(await openDataset({ data: new Float64Array(6).fill(1), shape: [2, 3] }));
    await expect(memorisationRatio({ data: new Float64Array(6), shape: [2, 3] }, same)).rejects.toThrow("E_SHAPE");
  });
});

describe("normalDistribution", () => {
  it.each([[0, 0.5], [1, 0.8413447460685429], [-3, 0.0013498980316300957], [-8, 6.22096057427178e-16], [-20, 2.7536241186062337e-89], [40, 1]])("at %d", (z, phi) => {
    expect(Math.abs(normalDistribution(z) - phi)).toBeLessThan(1e-15);
  });
});
