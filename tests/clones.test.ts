/** Simulated clones against the posterior averages that they estimate. */
import { describe, expect, it } from "vitest";
import { openDataset } from "../lib/data.js";
import type { Estimate } from "../lib/estimate.js";
import { clones } from "../lib/experiments/clones.js";
import { diffuse } from "../lib/field.js";
import { ornsteinUhlenbeck, variancePreserving } from "../lib/process.js";
import { gridThrough } from "../lib/sampler.js";
import { empirical, gaussianMixture } from "../lib/target.js";
import { cloningProbability, kappaAt } from "../lib/theory.js";

function pair(d: number) {
  const data = new Float64Array(2 * d).fill(1).fill(-1, d);
  return diffuse(gaussianMixture({ means: { data, shape: [2, d] }, covariances: { type: "spherical", variances: [1, 1] } }), ornsteinUhlenbeck());
}

/** Distance to a known probability in standard errors of `count` independent pairs. */
function deviation({ value }: Estimate, truth: number, count: number): number {
  return (value! - truth) / Math.sqrt(Math.max(truth * (1 - truth), 1 / count) / count);
}

describe("clones of two Gaussian classes", () => {
  it.each(["auto", "none"] as const)("end in the same class as often as the closed form says, reduce: %s", async (reduce) => {
    const d = 16;
    const pairs = reduce === "auto" ? 3000 : 1000;
    const options = { branchTimes: [0.5, 1.2, 1.6, 2.5], pairs, steps: 100, sampler: "sde-dpm-solver++2m", seed: 3, to: 0.05, reduce } as const;
    const result = await clones(pair(d), options);
    expect(result.reduction).toEqual(reduce === "auto" ? { dimension: 1 } : null);
    expect(result.collapseCloning).toBeNull();
    expect(result.ouTimes).toEqual(options.branchTimes);
    result.speciationCloning!.forEach((estimate, j) => {
      const exact = cloningProbability(kappaAt(options.branchTimes[j]!, { halfSeparation: Math.sqrt(d), variance: 1 }));
      expect(Math.abs(deviation(estimate, exact, pairs)), `t = ${options.branchTimes[j]}`).toBeLessThan(4);
    });
  });

  it("has the face of the documentation and the same result on any number of threads, fit for JSON", async () => {
    const options = { branchTimes: [0.2, 0.4, 0.6], pairs: 50, steps: 20, seed: 1 };
    const field = pair(8);
    const one = await clones(field, { ...options, threads: 1 });
    const { meta, ...two } = await clones(field, { ...options, threads: 2 });
    expect(one).toMatchObject(two);
    expect(meta.threads).toBe(2);
    expect(JSON.parse(JSON.stringify(two))).toEqual(two);
    expect(two).toMatchObject({ pairs: 50, steps: 23, sampler: "ddpm", seed: "1", times: [0.2, 0.4, 0.6] });
  });

  it("tells progress up to 1 and stops when told to", async () => {
    const fractions: number[] = [];
    const controller = new AbortController();
    await clones(pair(8), { branchTimes: [1], pairs: 20, steps: 10, seed: 1, onProgress: (fraction) => fractions.push(fraction) });
    expect(fractions.every((fraction, i) => i === 0 || fraction >= fractions[i - 1]!)).toBe(true);
    expect(fractions.at(-1)).toBeLessThanOrEqual(1);
    controller.abort(new Error("enough"));
    await expect(clones(pair(8), { branchTimes: [1], pairs: 20, steps: 10, seed: 1, signal: controller.signal })).rejects.toThrow("enough");
  });

  it("refuses samplers without noise, times outside the run and what it does not know", async () => {
    const field = pair(8);
    const options = { branchTimes: [1], pairs: 10, steps: 5, seed: 1 };
    await expect(clones(field, { ...options, sampler: "ddim" })).rejects.toThrow(/E_OPTION sampler "ddim" draws no noise: clones of a deterministic trajectory coincide/);
    await expect(clones(field, { ...options, sampler: "heun" })).rejects.toMatchObject({ code: "E_OPTION" });
    await expect(clones(field, { ...options, sampler: "ddim", eta: 0.5 })).resolves.toMatchObject({ sampler: "ddim" });
    await expect(clones(field, { ...options, sampler: "heun", churn: { amount: 5 } })).resolves.toMatchObject({ sampler: "heun" });
    for (const branchTimes of [[5], [7], [1e-3], [1e-4]]) await expect(clones(field, { ...options, branchTimes })).rejects.toMatchObject({ code: "E_DOMAIN" });
    for (const wrong of [{ pairs: 1 }, { branchTimes: [] }, { times: [1] }, { start: "gaussian" }] as object[]) {
      await expect(clones(field, { ...options, ...wrong })).rejects.toMatchObject({ code: "E_OPTION" });
    }
  });
});

describe("clones of data", () => {
  it("end on the same datum as often as E sum w^2 says, and in the same class as often as E sum_c p(c|x)^2", async () => {
    const field = diffuse(empirical(await openDataset("digits", { scale: "standardize", rows: { to: 300 } })), variancePreserving());
    const branchTimes = [0.08, 0.2, 0.4];
    const pairs = 600;
    const result = await clones(field, { branchTimes, pairs, steps: 100, seed: 2, from: 0.6 });
    const { sumSquares, classSquares } = await field.sweep({ times: branchTimes, draws: 4000, seed: 5, readings: ["sumSquares", "classSquares"] });
    for (const [estimates, curve] of [[result.collapseCloning, sumSquares], [result.speciationCloning, classSquares]] as const) {
      estimates!.forEach((estimate, j) => {
        const exact = curve!.data.subarray(4000 * j, 4000 * (j + 1)).reduce((sum, value) => sum + value, 0) / 4000;
        expect(Math.abs(deviation(estimate, exact, pairs)), `t = ${branchTimes[j]}`).toBeLessThan(4);
      });
    }
  });
});

describe("a grid through given times", () => {
  it("keeps its ends, has each time once and takes the place of nodes that differ by rounding", () => {
    const process = ornsteinUhlenbeck();
    const options = { from: 2, to: 0.5, steps: 3, schedule: "ou-time" } as const;
    expect(gridThrough(process, options, [0.7, 1, 1.9, 0.7]).map(({ t }) => t)).toEqual([2, 1.9, 1.5, 1, 0.7, 0.5]);
    expect(gridThrough(process, options, [1 + 1e-13, 2]).map(({ t }) => t)).toEqual([2, 1.5, 1 + 1e-13, 0.5]);
    expect(() => gridThrough(process, options, [2.1])).toThrow(/E_DOMAIN/);
    expect(() => gridThrough(process, options, [0.4])).toThrow(/E_DOMAIN/);
  });
});
