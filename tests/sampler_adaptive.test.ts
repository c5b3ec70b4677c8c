/** The probability-flow ODE with error control: against closed forms, its tolerances, its stops, and the independence of trajectories. */
import { beforeAll, describe, expect, it } from "vitest";
import { openDataset } from "../lib/data.js";
import { diffuse, type Field } from "../lib/field.js";
import { edm, ornsteinUhlenbeck, variancePreserving } from "../lib/process.js";
import { sampleReverse, type ReverseRun, type SampleReverseOptions } from "../lib/sampler.js";
import { empirical, gaussianMixture } from "../lib/target.js";
import { matrix } from "./golden_cases.js";

const mean = [0.7, -1, 2];
const variances = [0.5, 0.01, 3];
let gaussian: Field;
let digits: Field;
beforeAll(async () => {
  gaussian = diffuse(gaussianMixture({ means: matrix([mean]), covariances: { type: "diagonal", variances: Float64Array.from(variances) } }), variancePreserving());
  digits = diffuse(empirical(await openDataset("digits", { scale: "standardize" })), variancePreserving());
});

/** The flow of a Gaussian keeps (x_j - a m_j) / sqrt(a^2 v_j + b^2). */
function followed(run: ReverseRun, starts: Float64Array): Float64Array {
  const [first, last] = [run.grid[0]!, run.grid.at(-1)!];
  const deviation = ({ a, b }: { a: number; b: number }, j: number): number => Math.sqrt(a * a * variances[j]! + b * b);
  return starts.map((x, i) => last.a * mean[i % 3]! + ((x - first.a * mean[i % 3]!) * deviation(last, i % 3)) / deviation(first, i % 3));
}

describe("the adaptive flow", () => {
  const options = { sampler: "adaptive", count: 40, seed: 4, record: { observe: ["states"] } } as const;

  it("follows the flow of a Gaussian as closely as its tolerance asks, in steps that grow as its fifth root", async () => {
    const steps: number[] = [];
    for (const tolerance of [1e-4, 1e-6, 1e-8, 1e-10]) {
      const run = await sampleReverse(gaussian, { ...options, tolerance: { absolute: tolerance, relative: tolerance } });
      const wanted = followed(run, run.observed.states!.data.subarray(0, 120));
      const { accepted, rejected, error } = run.adaptive!;
      for (let r = 0; r < 40; r++) {
        const off = Math.hypot(...[0, 1, 2].map((j) => run.samples.data[3 * r + j]! - wanted[3 * r + j]!)) / Math.sqrt(3);
        // The flow of a Gaussian contracts: local errors never grow. The estimate is that of the fourth order, the result of the fifth.
        expect(off).toBeLessThan(error[r]! + 1e-14);
        expect(error[r]!).toBeLessThan(100 * tolerance * accepted[r]!);
        expect(rejected[r]!).toBeLessThan(accepted[r]!);
      }
      steps.push(accepted.reduce((sum, value) => sum + value, 0) / 40);
      expect(run.evaluations).toBe(1 + 6 * Math.max(...accepted.map((value, r) => value + rejected[r]!)));
    }
    for (const i of [1, 2, 3]) expect(Math.log10(steps[i]! / steps[i - 1]!) / 2).toBeGreaterThan(i === 1 ? 0.1 : 0.17);
    expect(Math.log10(steps[3]! / steps[2]!) / 2).toBeLessThan(0.23);
  });

  it("agrees with many steps of Heun on the digits", async () => {
    const start = matrix(Array.from({ length: 4 }, (_, r) => Array.from({ length: 64 }, (__, j) => Math.sin(7 * r + j * j))));
    const shared = { count: 4, seed: 1, start, from: 0.8, to: 1e-2, precision: "float64" } as const;
    const adaptive = await sampleReverse(digits, { ...shared, sampler: "adaptive", tolerance: { absolute: 1e-9, relative: 1e-9 } });
    const heun = await sampleReverse(digits, { ...shared, sampler: "heun", steps: 1500, carry: false });
    // Heun's own error: that of 750 steps is four times as large.
    const coarse = await sampleReverse(digits, { ...shared, sampler: "heun", steps: 750, carry: false });
    const far = Math.max(...heun.samples.data.map((value, k) => Math.abs(value - coarse.samples.data[k]!)));
    const off = Math.max(...heun.samples.data.map((value, k) => Math.abs(value - adaptive.samples.data[k]!)));
    expect(off).toBeLessThan(far / 2 + 1e-7);
    expect(Math.max(...adaptive.adaptive!.accepted)).toBeLessThan(500);
  });

  it("stops at the times of the grid, where readings are those of the field, and hardly changes by that", async () => {
    const record = { every: 2, observe: ["states", "denoised", "norm", "entropy", "nearest"] } as const;
    const shared = { sampler: "adaptive", count: 12, seed: 9, from: 0.7, to: 0.01, precision: "float64", tolerance: { absolute: 1e-9, relative: 1e-9 } } as const;
    const run = await sampleReverse(digits, { ...shared, steps: 6, record });
    const straight = await sampleReverse(digits, shared);
    run.samples.data.forEach((value, k) => expect(Math.abs(value - straight.samples.data[k]!)).toBeLessThan(1e-6));
    expect(run.times.length).toBe(4);
    expect(run.paths.length).toBe(7);
    expect(run.observed.states!.data.slice(3 * 12 * 64)).toEqual(run.samples.data);
    for (let k = 0; k < 4; k++) {
      const states = run.observed.states!.data.slice(k * 768, (k + 1) * 768);
      const there = await digits.posterior({ data: states, shape: [12, 64] }, { t: run.times[k]!, readings: ["denoised", "entropy", "nearest"], precision: "float64" });
      expect(run.observed.denoised!.data.slice(k * 768, (k + 1) * 768)).toEqual(there.denoised.data);
      expect(run.observed.entropy!.data.slice(k * 12, (k + 1) * 12)).toEqual(there.entropy);
      expect(run.observed.nearest!.index.data.slice(k * 12, (k + 1) * 12)).toEqual(there.nearest.index);
    }
  });

  it("gives each trajectory the same bits whatever the others, the threads and the batch", async () => {
    const shared = { sampler: "adaptive", steps: 3, seed: 9, start: "marginal", from: 0.5, to: 0.01, tolerance: { absolute: 1e-5 } } as const;
    const whole = await sampleReverse(digits, { ...shared, count: 60, threads: 1 });
    for (const own of [{ threads: 2 }, { threads: 3, batch: 7 }]) {
      const again = await sampleReverse(digits, { ...shared, ...own, count: 60 });
      expect([again.samples, again.adaptive, again.startComponents]).toEqual([whole.samples, whole.adaptive, whole.startComponents]);
    }
    const part = await sampleReverse(digits, { ...shared, firstTrajectory: 20, count: 3 });
    expect(part.samples.data).toEqual(whole.samples.data.slice(20 * 64, 23 * 64));
    expect(part.adaptive!.accepted).toEqual(whole.adaptive!.accepted.slice(20, 23));
    expect(new Set(whole.adaptive!.accepted).size).toBeGreaterThan(1);
  });

  it("ends with the denoised mean where asked, and takes any process and schedule of times", async () => {
    for (const process of [variancePreserving(), edm(), ornsteinUhlenbeck()]) {
      const field = diffuse(digits.target, process);
      const shared = { sampler: "adaptive", count: 3, seed: 2, schedule: [1, 0.4, 0.1].map((t) => process.timeAt(t)), precision: "float64", tolerance: { relative: 1e-9, absolute: 1e-9 } } as const;
      const state = await sampleReverse(field, shared);
      const ended = await sampleReverse(field, { ...shared, end: "denoised" });
      const { denoised } = await field.posterior({ data: state.samples.data, shape: [3, 64] }, { t: process.timeAt(0.1), readings: ["denoised"], precision: "float64" });
      ended.samples.data.forEach((value, k) => expect(Math.abs(value - denoised.data[k]!)).toBeLessThan(1e-10));
    }
  });

  it("can be stopped, and tells its progress", async () => {
    const reason = new Error("enough");
    const stop = new AbortController();
    setTimeout(() => stop.abort(reason), 30);
    const long = { sampler: "adaptive", count: 100_000, seed: 1, to: 1e-3, signal: stop.signal } as const;
    await expect(sampleReverse(digits, long)).rejects.toBe(reason);
    const seen: number[] = [];
    await sampleReverse(gaussian, { sampler: "adaptive", count: 300, steps: 3, seed: 1, onProgress: (fraction) => seen.push(fraction) });
    expect([...seen].sort((one, other) => one - other)).toEqual(seen);
    expect(seen.at(-1)).toBe(1);
  });

  const wrong: readonly (readonly [string, Partial<SampleReverseOptions>, string, string])[] = [
    ["a tolerance of zero", { tolerance: { absolute: 0, relative: 0 } }, "E_OPTION", "need one above 0"],
    ["a negative tolerance", { tolerance: { absolute: -1 } }, "E_OPTION", "tolerance.absolute is -1"],
    ["a tolerance that is a number", { tolerance: 1e-6 as never }, "E_OPTION", "tolerance"],
    ["an unknown tolerance", { tolerance: { relativ: 1 } as never }, "E_OPTION", 'Did you mean "relative"'],
    ["parameters of other samplers", { eta: 0 }, "E_OPTION", 'no option "eta"'],
    ["a tolerance for steps that are given", { sampler: "ddim", steps: 3, tolerance: {} }, "E_OPTION", '"adaptive" has'],
    ["carried state", { carry: true }, "E_OPTION", "carry"],
    ["what float64 cannot reach", { tolerance: { absolute: 0, relative: 1e-30 } }, "E_DOMAIN", "loosen the tolerance"],
  ];
  it.each(wrong)("refuses %s", async (_, own, code, message) => {
    await expect(sampleReverse(gaussian, { sampler: "adaptive", count: 2, seed: 1, ...own })).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it("needs a field", async () => {
    const own = { d: 1, process: edm(), score: (x: { data: Float64Array }) => x.data.map((value) => -value) };
    await expect(sampleReverse(own, { sampler: "adaptive", count: 2, seed: 1, from: 3, to: 1 })).rejects.toMatchObject({ code: "E_OPTION", message: expect.stringContaining("needs a field") });
  });
});
