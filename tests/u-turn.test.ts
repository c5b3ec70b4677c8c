/** U-turns against the posterior averages that they estimate. */
import { describe, expect, it } from "vitest";
import { openDataset } from "../lib/data.js";
import { uTurn } from "../lib/experiments/u-turn.js";
import { diffuse } from "../lib/field.js";
import { ornsteinUhlenbeck, variancePreserving } from "../lib/process.js";
import { empirical, gaussianMixture } from "../lib/target.js";
import { cloningProbability, kappaAt } from "../lib/theory.js";

function pair(d: number) {
  const data = new Float64Array(2 * d).fill(1).fill(-1, d);
  return diffuse(gaussianMixture({ means: { data, shape: [2, d] }, covariances: { type: "spherical", variances: [1, 1] } }), ornsteinUhlenbeck());
}

/** Distance of a fraction to a known probability, in standard errors of `count` independent trajectories. */
function deviation(value: number, truth: number, count: number): number {
  return Math.abs(value - truth) / Math.sqrt(Math.max(truth * (1 - truth), 1 / count) / count);
}

describe("U-turns", () => {
  it("return to their class as often as clones meet", async () => {
    const [d, count, times] = [16, 3000, [0.5, 1.2, 1.6, 2.5]];
    const result = await uTurn(pair(d), { times, count, steps: 100, sampler: "sde-dpm-solver++2m", seed: 4, to: 0.05 });
    expect(result).toMatchObject({ reduction: { dimension: 1 }, returnToDatum: null, ouTimes: times });
    result.returnToClass!.forEach(({ value }, j) => {
      const exact = cloningProbability(kappaAt(times[j]!, { halfSeparation: Math.sqrt(d), variance: 1 }));
      expect(deviation(value!, exact, count), `t = ${times[j]}`).toBeLessThan(4);
    });
    expect(JSON.parse(JSON.stringify(result))).toEqual(result);
  });

  it("return to their class more often without noise on the way back: the deterministic flow keeps what it can", async () => {
    const options = { times: [1.4], count: 2000, steps: 40, seed: 4 };
    const field = pair(16);
    const [noisy, still] = [await uTurn(field, options), await uTurn(field, { ...options, sampler: "ddim" })];
    expect(still.returnToClass![0]!.value! - noisy.returnToClass![0]!.value!).toBeGreaterThan(0.02);
  });

  it("return to their datum, of which equal rows are copies, and to its class", async () => {
    const digits = await openDataset("digits", { scale: "standardize", rows: { to: 200 } });
    const rows = digits.rows(0, 200).data;
    // Row 7 thrice more: one datum of weight 4 / 203.
    const data = Float64Array.from([...rows, ...[1, 2, 3].flatMap(() => [...rows.subarray(7 * 64, 8 * 64)])]);
    const labels = Int32Array.from([...digits.labels!, ...[1, 2, 3].map(() => digits.labels![7]!)]);
    const field = diffuse(empirical(await openDataset({ data, shape: [203, 64] }, { labels })), variancePreserving());
    const [times, count] = [[0.05, 0.25, 0.4], 500];
    const result = await uTurn(field, { times, count, steps: 80, seed: 2 });
    const draws = 3000;
    const { classSquares } = await field.sweep({ times, draws, seed: 5, readings: ["classSquares"] });
    for (const [j, t] of times.entries()) {
      const mean = (of: (r: number) => number): number => Array.from({ length: draws }, (_, r) => of(r)).reduce((sum, value) => sum + value, 0) / draws;
      expect(deviation(result.returnToClass![j]!.value!, mean((r) => classSquares!.data[j * draws + r]!), count), `class, t = ${t}`).toBeLessThan(4);
      // The sum over distinct data: equal rows have equal weights.
      const { data: x } = await field.sample(t, { count: draws, seed: 5 });
      const { top } = await field.posterior({ data: x, shape: [draws, 64] }, { t, readings: [], top: 203 });
      const squares = mean((r) => {
        let copies = 0;
        let sum = 0;
        for (let k = 203 * r; k < 203 * (r + 1); k++) {
          const weight = top.weight.data[k]!;
          if (top.index.data[k] === 7 || top.index.data[k]! >= 200) copies += weight;
          else sum += weight * weight;
        }
        return sum + copies * copies;
      });
      expect(deviation(result.returnToDatum![j]!.value!, squares, count), `datum, t = ${t}`).toBeLessThan(4);
    }
    expect(result.returnToDatum![0]!.value).toBe(1);
  });

  it("refuses times below the end, grids of its own and what it does not know", async () => {
    const options = { times: [1], count: 10, steps: 5, seed: 1 };
    await expect(uTurn(pair(8), { ...options, times: [1e-4] })).rejects.toMatchObject({ code: "E_DOMAIN" });
    for (const wrong of [{ times: [] }, { count: 1 }, { from: 2 }, { schedule: [2, 1] }, { sampler: "ddpmm" }] as object[]) {
      await expect(uTurn(pair(8), { ...options, ...wrong })).rejects.toMatchObject({ code: "E_OPTION" });
    }
  });
});
