import { describe, expect, it } from "vitest";
import { openDataset } from "../lib/data.js";
import type { Estimate } from "../lib/estimate.js";
import { diffuse } from "../lib/field.js";
import { ddpm, ornsteinUhlenbeck, variancePreserving } from "../lib/process.js";
import { criticalTime, curvesFor, defaultTimes, noData, oneRow, processTimeAt, regimes, timeGrid } from "../lib/regimes.js";
import { exact, unavailable } from "../lib/estimate.js";
import { empirical, gaussianMixture, sampleTarget, type Target } from "../lib/target.js";
import { cloningProbability, excessEntropyBoundPerDimension, excessEntropyPerDimension, kappaAt } from "../lib/theory.js";
import { fashion } from "./fashion.js";
import { covered, fakeField, normals, twoClassField } from "./synthetic.js";

const n = 100;
const d = 4;
const jitter = normals(11, 64);
/** Entropy rising from 0 to log n around OU time 1, with a little spread over draws. */
const entropy = (t: number, r: number): number => Math.log(n) / (1 + Math.exp(-4 * Math.log(t) + 0.3 * jitter[r % 64]!));
const sumSquares = (t: number, r: number): number => Math.exp(-entropy(t, r));
const points = fakeField({ target: { n, d }, readings: { entropy, sumSquares } });

describe("the grid of times", () => {
  it("is logarithmic between its ends, which are exact", () => {
    const times = timeGrid({ from: 0.05, to: 4, count: 24 });
    expect(times.length).toBe(24);
    expect(times[0]).toBe(0.05);
    expect(times[23]).toBe(4);
    for (let j = 2; j < 24; j++) expect(times[j]! / times[j - 1]!).toBeCloseTo(times[1]! / times[0]!, 12);
  });

  it("takes increasing arrays as they are, step 0 of a discrete process included", () => {
    expect(timeGrid([0, 499, 999])).toEqual(Float64Array.of(0, 499, 999));
    expect(timeGrid(Float64Array.of(0.1, 0.2))).toEqual(Float64Array.of(0.1, 0.2));
  });

  const refused: [string, unknown, string][] = [
    ["an empty array", [], "E_DOMAIN"],
    ["NaN", [0.1, Number.NaN], "E_DOMAIN"],
    ["decreasing times", [0.2, 0.1], "E_DOMAIN"],
    ["repeated times", [0.1, 0.1], "E_DOMAIN"],
    ["from 0", { from: 0, to: 1, count: 3 }, "E_DOMAIN"],
    ["a range backwards", { from: 2, to: 1, count: 3 }, "E_DOMAIN"],
    ["more times than there are numbers between the ends", { from: 1, to: 1 + 2 ** -52, count: 3 }, "E_DOMAIN"],
    ["an infinite end", { from: 2, to: Infinity, count: 3 }, "E_DOMAIN"],
    ["one point of a range", { from: 1, to: 2, count: 1 }, "E_OPTION"],
    ["a misspelled key", { from: 1, to: 2, counts: 3 }, "E_OPTION"],
    ["nothing", undefined, "E_OPTION"],
  ];
  it.each(refused)("refuses %s", (_, times, code) => {
    expect(() => timeGrid(times as never)).toThrow(expect.objectContaining({ code }));
  });
});

describe("regimes", () => {
  it("averages one sweep into curves in their stated units", async () => {
    const times = [0.2, 0.5, 1, 2, 4];
    const sweeps: unknown[] = [];
    const field = fakeField({ target: { n, d }, readings: { entropy, sumSquares }, onSweep: (options) => sweeps.push(options.readings) });
    const curves = await regimes(field, { times, draws: 64, seed: 5 });
    expect(sweeps).toEqual([["entropy", "sumSquares"]]);
    expect(curves.alpha).toBeCloseTo(Math.log(100) / 4, 14);
    times.forEach((t, j) => {
      const mean = Array.from({ length: 64 }, (_, r) => entropy(t, r)).reduce((sum, value) => sum + value, 0) / 64;
      const phi = Array.from({ length: 64 }, (_, r) => sumSquares(t, r)).reduce((sum, value) => sum + value, 0) / 64;
      expect(curves.excessEntropyOverAlpha[j]!.value).toBeCloseTo(mean / Math.log(100), 12);
      expect(curves.collapseCloning[j]!.value).toBeCloseTo(phi, 12);
      expect(curves.effectiveCount[j]!.value).toBeCloseTo(1 / phi, 10);
      expect(curves.effectiveCount[j]!.standardError).toBeCloseTo(curves.collapseCloning[j]!.standardError! / phi ** 2, 10);
    });
    expect(curves.speciationCloning).toBeNull();
    expect(curves.classEntropyOverPrior).toBeNull();
    expect(curves.perDraw.entropy.shape).toEqual([5, 64]);
    expect(curves.seed).toBe("5");
  });

  it("doubles the draws until every curve has the standard error asked for, as one call with that many draws", async () => {
    const times = [0.2, 0.5, 1, 2, 4];
    const sweeps: [number | undefined, number][] = [];
    const field = fakeField({ target: { n, d }, readings: { entropy, sumSquares }, onSweep: ({ first, draws }) => sweeps.push([first, draws]) });
    const few = await regimes(field, { times, draws: 32, seed: 5 });
    const largest = (curves: typeof few): number =>
      Math.max(...[...curves.excessEntropyOverAlpha, ...curves.collapseCloning].map(({ standardError }) => standardError!));
    const target = largest(few) / 2.5;
    sweeps.length = 0;
    const { targetReached, ...enough } = await regimes(field, { times, draws: 32, targetStandardError: target, seed: 5 });
    expect(targetReached).toBe(true);
    expect(sweeps).toEqual([
      [0, 32],
      [32, 32],
      [64, 64],
      [128, 128],
    ]);
    expect(largest(enough)).toBeLessThanOrEqual(target);
    const once = await regimes(field, { times, draws: 256, seed: 5 });
    expect({ ...enough, meta: null }).toEqual({ ...once, meta: null });
  });

  it("stops at maxDraws and says so", async () => {
    const field = fakeField({ target: { n, d }, readings: { entropy, sumSquares } });
    const fractions: number[] = [];
    const options = { times: [0.5, 1], draws: 10, targetStandardError: 1e-9, maxDraws: 35, seed: 5, onProgress: (done: number) => fractions.push(done) };
    const curves = await regimes(field, options);
    expect(curves.targetReached).toBe(false);
    expect(curves.draws).toBe(35);
    expect(curves.perDraw.entropy.shape).toEqual([2, 35]);
    expect((await regimes(field, { times: [0.5, 1], draws: 35, seed: 5 })).targetReached).toBeUndefined();
  });

  it.each([
    ["a target of 0", { targetStandardError: 0 }],
    ["a target that is no number", { targetStandardError: Number.NaN }],
    ["fewer draws at most than to begin with", { targetStandardError: 0.1, draws: 100, maxDraws: 50 }],
    ["maxDraws without a target", { maxDraws: 50 }],
    ["a seed that is no whole number", { seed: 1.5 }],
  ])("refuses %s", async (_, options) => {
    await expect(regimes(points, { times: [1], seed: 1, ...options })).rejects.toMatchObject({ code: "E_OPTION" });
  });

  it("normalises by the entropy of unequal weights and of unequal classes", async () => {
    const field = fakeField({
      target: { n: 2, d: 3, weights: Float64Array.of(0.25, 0.75), classes: 2, classFractions: Float64Array.of(0.25, 0.75) },
      readings: { entropy: () => 0.1, sumSquares: () => 0.9, classSquares: () => 0.9, classEntropy: () => 0.1 },
    });
    const curves = await regimes(field, { times: [1], draws: 2, seed: 1 });
    const prior = -0.25 * Math.log(0.25) - 0.75 * Math.log(0.75);
    expect(curves.alpha).toBeCloseTo(prior / 3, 14);
    expect(curves.excessEntropyOverAlpha[0]!.value).toBeCloseTo(0.1 / prior, 14);
    expect(curves.classEntropyOverPrior![0]!.value).toBeCloseTo(0.1 / prior, 14);
  });

  it("gives a mixture classes but no collapse", async () => {
    const field = fakeField({
      target: { kind: "mixture", n: 2, d: 3, classes: 2, classFractions: Float64Array.of(0.5, 0.5) },
      readings: { entropy: () => 0.1, sumSquares: () => 0.9 },
    });
    const curves = await regimes(field, { times: [1], draws: 2, seed: 1 });
    expect(curves.excessEntropyOverAlpha[0]).toEqual(unavailable(noData));
    expect(curves.collapseCloning[0]).toEqual(unavailable(noData));
    expect(curves.effectiveCount[0]).toEqual(unavailable(noData));
    expect(curves.speciationCloning![0]!.value).toBe(0.9);
    expect(curves.classEntropyOverPrior![0]!.value).toBeCloseTo(0.1 / Math.LN2, 14);
  });

  it("says that one row is collapsed at every t", async () => {
    const field = fakeField({ target: { n: 1 }, readings: { entropy: () => 0, sumSquares: () => 1 } });
    const curves = await regimes(field, { times: [1], draws: 3, seed: 1 });
    expect(curves.excessEntropyOverAlpha[0]).toEqual(unavailable(oneRow));
    expect(curves.effectiveCount[0]!.value).toBe(1);
  });

  it("refuses missing seeds, single draws, unknown options and times outside the process", async () => {
    const rejects = async (options: object, code: string): Promise<void> => {
      await expect(regimes(points, options as never)).rejects.toMatchObject({ code });
    };
    await rejects({ times: [1], draws: 10 }, "E_OPTION");
    await rejects({ times: [1], draws: 1, seed: 1 }, "E_OPTION");
    await rejects({ times: [1], draw: 10, seed: 1 }, "E_OPTION");
    await rejects({ times: [0], seed: 1 }, "E_DOMAIN");
    const field = fakeField({ process: variancePreserving() });
    await expect(regimes(field, { times: [2], seed: 1 })).rejects.toMatchObject({ code: "E_DOMAIN" });
  });
});

describe("default times", () => {
  it("bracket the transition that the entropy shows", async () => {
    const times = await defaultTimes(points);
    expect(times.length).toBe(24);
    expect(entropy(times[0]!, 0)).toBeLessThan(0.02 * Math.log(n));
    expect(entropy(times[23]!, 0)).toBeGreaterThan(0.98 * Math.log(n));
    // The coarse grid has ratio 1.66; 1 % and 99 % are at t = 0.32 and 3.15 here.
    expect(times[0]).toBeGreaterThan(0.1);
    expect(times[23]).toBeLessThan(10);
  });

  it("are given in the process's clock, inside its range", async () => {
    const process = ddpm();
    const times = await defaultTimes(fakeField({ target: { n, d }, process, readings: { entropy, sumSquares } }), { count: 8 });
    expect(times.length).toBe(8);
    expect(times[0]).toBeGreaterThanOrEqual(0);
    expect(times[7]).toBeLessThanOrEqual(999);
    expect(entropy(process.ouTime(times[0]!), 0)).toBeLessThan(0.02 * Math.log(n));
  });

  it("fall back to 0.05 ... 4 when nothing changes", async () => {
    const field = fakeField({ target: { n: 1 }, readings: { entropy: () => 0, sumSquares: () => 1 } });
    const times = await defaultTimes(field, { count: 5 });
    expect(times[0]).toBe(0.05);
    expect(times[4]).toBe(4);
  });
});

describe("critical times", () => {
  it("carry the other clocks, and null where the process never gets", () => {
    const process = variancePreserving();
    const inside = criticalTime(process, exact(1), { criterion: "spectral", method: "m" });
    expect(process.ouTime(inside.processTime!)).toBeCloseTo(1, 12);
    expect(inside.clocks!.sigma).toBeCloseTo(Math.sqrt(Math.expm1(2)), 12);
    expect(criticalTime(process, exact(7), { criterion: "spectral", method: "m" }).processTime).toBeNull();
    const none = criticalTime(process, unavailable("why"), { criterion: "cloning", method: "m", threshold: 0.5 });
    expect(none).toEqual({ ...unavailable("why"), criterion: "cloning", method: "m", threshold: 0.5, clocks: null, processTime: null });
  });

  it("let errors other than E_DOMAIN through", () => {
    const broken = { ...ornsteinUhlenbeck(), timeAt: () => { throw new TypeError("broken"); } };
    expect(() => processTimeAt(broken, 1)).toThrow(TypeError);
  });

  it("are read from curves of the same target only", async () => {
    const field = twoClassField(1, 3);
    const curves = await regimes(field, { times: [1, 2], draws: 10, seed: 1 });
    expect(await curvesFor(field, { curves })).toBe(curves);
    await expect(curvesFor(field, { curves: { ...curves, fingerprint: "other" } })).rejects.toMatchObject({ code: "E_OPTION" });
    expect((await curvesFor(field, { draws: 20 })).times.length).toBe(24);
  });
});

/** 1/2 N(m, I) + 1/2 N(-m, I) with m = (1, ..., 1) scaled to length `half`. */
function pairTarget(d: number, half: number): Target {
  const coordinate = half / Math.sqrt(d);
  const means = Float64Array.from({ length: 2 * d }, (_, i) => (i < d ? coordinate : -coordinate));
  return gaussianMixture({ means: { data: means, shape: [2, d] }, covariances: { type: "spherical", variances: [1, 1] } });
}

/** Distance of an estimate from a value that has an error itself, in combined standard errors. */
function sigmas(estimate: Estimate, value: number, error: number): number {
  return Math.abs(estimate.value! - value) / Math.hypot(estimate.standardError!, error);
}

describe("curves of Gaussian mixtures", () => {
  it("cover the exact cloning probability in 92.5 to 97.5 % of 400 replicates", async () => {
    using target = pairTarget(16, 4);
    const field = diffuse(target, ornsteinUhlenbeck());
    const exactValue = cloningProbability(kappaAt(1.2, { halfSeparation: 4, variance: 1 }));
    const estimates = await Promise.all(
      Array.from({ length: 400 }, async (_, seed) => (await regimes(field, { times: [1.2], draws: 200, seed })).speciationCloning![0]!),
    );
    expect(covered(estimates, exactValue)).toBe("92.5 to 97.5 %");
  });

  // Biroli et al. 2024, Fig. 2, by quadrature (reference cases phi-gmm-published-grid and theory 10.3).
  const cloning: [number, number[], number[]][] = [
    [256, [2, 2.5, 3, 3.5, 4, 4.5, 5], [0.97701, 0.86211, 0.70685, 0.59637, 0.53969, 0.51532, 0.50574]],
    [1024, [3, 3.5, 4, 4.5, 5], [0.91758, 0.76441, 0.63187, 0.55649, 0.52224]],
    [4096, [3.5, 4, 4.5, 5], [0.95992, 0.82614, 0.67644, 0.57942]],
    [16384, [4, 4.5, 5, 5.5], [0.9855, 0.88609, 0.72974, 0.6099]],
  ];
  it.each(cloning)("average to the exact cloning probabilities of Fig. 2 in %i dimensions", async (d, times, phi) => {
    using target = pairTarget(d, Math.sqrt(d));
    const curves = await regimes(diffuse(target, ornsteinUhlenbeck()), { times, draws: 1000, seed: 2 });
    phi.forEach((value, j) => expect(sigmas(curves.speciationCloning![j]!, value, 5e-6), `t = ${times[j]}`).toBeLessThan(4));
    // 1000 draws of a number between 1/2 and 1.
    for (const estimate of curves.speciationCloning!) expect(estimate.standardError).toBeLessThan(0.25 / Math.sqrt(1000));
  });

  it("agree with theory and with the published points for 20 000 data in 256 dimensions", async () => {
    // Biroli et al. 2024, Fig. 3: measured f/alpha, each +- 0.0023; 0.003 between data sets.
    const published: [number, number][] = [
      [1.336, 0.1597],
      [1.728, 0.5233],
      [2.12, 0.7498],
      [2.512, 0.8687],
      [2.904, 0.9326],
      [3.296, 0.966],
    ];
    using mixture = pairTarget(256, 16);
    using data = await sampleTarget(mixture, 20_000, { seed: 3 });
    using target = empirical(data);
    const times = published.map(([t]) => t);
    const curves = await regimes(diffuse(target, ornsteinUhlenbeck()), { times, draws: 200, seed: 4 });
    published.forEach(([t, measured], j) => {
      const estimate = curves.excessEntropyOverAlpha[j]!;
      expect(Math.abs(estimate.value! - measured), `t = ${t}`).toBeLessThan(4 * Math.hypot(estimate.standardError!, 0.0023) + 0.003);
      const population = { n: 20_000, d: 256, variance: 1, halfSeparation: 16 };
      const bound = excessEntropyBoundPerDimension(t, population) / curves.alpha;
      expect(estimate.value!, `bound at t = ${t}`).toBeLessThan(bound + 4 * estimate.standardError! + 0.003);
      if (t > 2) {
        const theory = excessEntropyPerDimension(t, population) / curves.alpha;
        expect(Math.abs(estimate.value! - theory), `theory at t = ${t}`).toBeLessThan(4 * estimate.standardError! + 0.003);
      }
    });
  });
});

describe.skipIf(fashion === null)("curves of Fashion-MNIST (theory 10.4)", () => {
  // [t, f/alpha, its error, phi_C, its error], 200 draws for all rows and 400 for the first 2000.
  const all = [
    [0.1, 0.0046, 0.0017, 0.978, 0.006],
    [0.2, 0.035, 0.005, 0.853, 0.018],
    [0.4, 0.207, 0.01, 0.408, 0.027],
    [0.8, 0.566, 0.008, 0.033, 0.008],
    [1.2, 0.779, 0.005],
    [1.6, 0.888, 0.003],
    [2, 0.946, 0.0017],
    [3, 0.9924, 0.0003],
    [4, 0.99889, 0.00004],
  ];
  const first = [
    [0.2, 0.009, 0.001, 0.964, 0.004],
    [0.4, 0.077, 0.005, 0.759, 0.015],
    [0.8, 0.389, 0.008, 0.225, 0.012],
    [1.2, 0.672, 0.005, 0.03, 0.003],
    [1.6, 0.842, 0.003],
    [2, 0.923, 0.002],
  ];
  const cases: [string, number[][], number, number][] = [["all 60000 rows", all, 60_000, 200], ["the first 2000 rows", first, 2000, 400]];
  it.each(cases)("agree for %s within 4 combined standard errors", async (_, expected, to, draws) => {
    using data = await openDataset(fashion!.trainImages, { rows: { to }, scale: "unit" });
    using target = empirical(data);
    const curves = await regimes(diffuse(target, ornsteinUhlenbeck()), { times: expected.map(([t]) => t!), draws, seed: 1 });
    expected.forEach(([t, f, fError, phi, phiError], j) => {
      expect(sigmas(curves.excessEntropyOverAlpha[j]!, f!, fError!), `f at t = ${t}`).toBeLessThan(4);
      if (phi !== undefined) expect(sigmas(curves.collapseCloning[j]!, phi, phiError!), `phi_C at t = ${t}`).toBeLessThan(4);
    });
    expect(curves.alpha).toBeCloseTo(Math.log(to) / 784, 14);
  });
});
