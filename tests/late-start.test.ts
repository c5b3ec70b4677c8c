/** Late start and the audit of discretisation: known answers, laws that are known, and results that can be sent. */
import { describe, expect, it } from "vitest";
import { openDataset } from "../lib/data.js";
import { discretisationAudit } from "../lib/experiments/discretisation-audit.js";
import { lateStart, secondDifferences, sharpestBend } from "../lib/experiments/late-start.js";
import { diffuse, type Field } from "../lib/field.js";
import { lateStartSvg } from "../lib/report/late-start.js";
import { ddpm, ornsteinUhlenbeck, variancePreserving } from "../lib/process.js";
import { gaussianOf } from "../lib/sampler.js";
import { empirical, gaussianMixture } from "../lib/target.js";
import { expectGolden, goldenCases, matrix } from "./golden_cases.js";

/** Two narrow Gaussians at +-3 in the plane. */
function pair(): Field {
  const target = gaussianMixture({ weights: [0.3, 0.7], means: matrix([[3, 1], [-3, 1]]), covariances: { type: "spherical", variances: [0.1, 0.1] } });
  return diffuse(target, variancePreserving());
}

describe("golden cases", () => {
  it.each(goldenCases("fid-second-derivative"))("$name", ({ inputs, expected, tol }) => {
    const times = inputs["startTimes"] as number[];
    expectGolden("secondDifference", secondDifferences(times, inputs["fid"]), expected["secondDifference"], tol);
    expect(times[sharpestBend(times, inputs["fid"])!]).toBe(expected["argmaxStart"]);
  });

  it.each(goldenCases("gls-moments"))("$name: the Gaussian late start", async ({ inputs, expected, tol }) => {
    using target = empirical(await openDataset(matrix(inputs["data"])));
    using gaussian = await gaussianOf(target, {});
    const { a, b } = ddpm().marginal(inputs["k"]);
    const { means, covariances } = gaussian.mixture!;
    const matrices = (covariances as { readonly matrices: Float64Array }).matrices;
    const mean = Array.from(means.data, (value) => a * value);
    const cov = Array.from(matrices, (value, at) => a * a * value + (at % 3 === 0 ? b * b : 0));
    expectGolden("mean", mean, expected["mean"], tol);
    expectGolden("cov", cov, expected["cov"], tol);
    const [z0, z1] = inputs["z"] as [number, number];
    const l00 = Math.sqrt(cov[0]!);
    const l10 = cov[2]! / l00;
    expectGolden("sample", [mean[0]! + l00 * z0, mean[1]! + l10 * z0 + Math.sqrt(cov[3]! - l10 * l10) * z1], expected["sample"], tol);
  });
});

describe("lateStart", () => {
  it("has the published shape on two classes: lost past the bifurcation, and later for the Gaussian start than for N(0, I)", async () => {
    const fractions: number[] = [];
    const options = { samplers: ["ddpm", { sampler: "ddim", eta: 0 }], steps: 8, starts: 8, samples: 500, seed: 1 } as const;
    const study = await lateStart(pair(), { ...options, onProgress: (fraction) => fractions.push(fraction) });
    expect(study.curves.map(({ sampler, startLaw }) => `${sampler}, ${startLaw}`)).toEqual(["ddpm, standard", "ddim eta 0, standard", "ddpm, gaussian", "ddim eta 0, gaussian"]);
    for (const curve of study.curves) {
      expect(curve.points.map(({ t }) => t)).toEqual(study.starts);
      expect(curve.points.every(({ evaluations, memorised }) => evaluations === 8 && memorised === null)).toBe(true);
      if (curve.startLaw === "standard") expect(curve.flat.lost).toBeGreaterThan(3);
      expect(curve.flat.untilOuTime).toBeLessThan(study.ouTimes.at(-1)!);
      const { t, ouTime } = curve.bifurcation;
      expect(study.starts).toContain(t.value);
      expect(study.ouTimes).toContain(ouTime.value);
      expect(t.ci95![0] <= t.value! && t.value! <= t.ci95![1]).toBe(true);
    }
    const [standard, gaussian] = [study.curves[1]!, study.curves[3]!];
    // Lambda = 0.21 * 36 + 0.1.
    expect(study.expected.topVariance).toBeCloseTo(7.66, 6);
    expect(study.expected.speciation).toBeCloseTo(Math.log(7.66) / 2, 6);
    expect(gaussian.flat.until).toBeLessThanOrEqual(standard.flat.until);
    expect(gaussian.points[0]!.distance.value!).toBeLessThan(standard.points[0]!.distance.value!);
    expect(study.comparisons.map(({ sampler }) => sampler)).toEqual(["ddpm", "ddim eta 0"]);
    expect(fractions.at(-1)).toBe(1);
    expect(JSON.parse(JSON.stringify(study))).toEqual(study);
    const svg = lateStartSvg(study);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    for (const label of ["ddpm, standard", "ddim eta 0, gaussian", "draws of the data"]) expect(svg).toContain(label);
    expect(await lateStart(pair(), { ...options, threads: 1 })).toEqual(study);
  });

  it("of data says how many samples are memorised: all, by the exact score", async () => {
    const field = diffuse(empirical(await openDataset("digits", { scale: "standardize" })), variancePreserving());
    const study = await lateStart(field, { samplers: ["ddim"], steps: 5, starts: 3, samples: 200, seed: 2, measure: "frechet-pca", rank: 8 });
    expect(study.measure).toBe("frechet-pca-8");
    for (const { points } of study.curves) {
      expect(points.every(({ memorised }) => memorised!.value! > 0.95)).toBe(true);
      expect(points.every(({ slicedWasserstein }) => slicedWasserstein.value! > 0)).toBe(true);
    }
  });

  it("takes the start times and whole steps of Raya and Ambrogioni", async () => {
    const field = diffuse(pair().target, ddpm());
    const study = await lateStart(field, { samplers: ["ddim"], steps: 3, starts: [999, 400, 50], samples: 100, seed: 1, startLaws: ["standard"], grid: "raya-ambrogioni" });
    expect(study.starts).toEqual([50, 400, 999]);
    expect(study.to).toBe(0);
    expect(study.comparisons).toEqual([]);
    const wrong = { samplers: ["ddim"], steps: 3, samples: 10, seed: 1, grid: "raya-ambrogioni" } as const;
    await expect(lateStart(field, { ...wrong, starts: [1] })).rejects.toThrow("whole step");
    await expect(lateStart(pair(), { ...wrong, starts: 4 })).rejects.toThrow("ddpm()");
  });

  it("refuses what it cannot run, and stops when told", async () => {
    const usable = { samplers: ["ddim"], steps: 5, starts: 4, samples: 10, seed: 1 } as const;
    await expect(lateStart(pair(), { ...usable, steps: 1 })).rejects.toThrow("steps is 1");
    await expect(lateStart(pair(), { ...usable, samplers: [] })).rejects.toThrow("E_OPTION");
    await expect(lateStart(pair(), { ...usable, starts: [0.5, 2] })).rejects.toThrow("E_DOMAIN");
    await expect(lateStart(pair(), { ...usable, starts: [1e-9] })).rejects.toThrow("E_DOMAIN");
    await expect(lateStart(pair(), { ...usable, startLaws: ["gausian" as "gaussian"] })).rejects.toThrow("gaussian");
    const stop = new AbortController();
    const reason = new Error("enough");
    await expect(lateStart(pair(), { ...usable, signal: stop.signal, onProgress: () => stop.abort(reason) })).rejects.toBe(reason);
  });
});

describe("discretisationAudit", () => {
  it("measures the orders of deterministic samplers on a Gaussian, and their deviations shrink", async () => {
    const target = gaussianMixture({ means: matrix([[1, 1]]), covariances: { type: "diagonal", variances: [0.5, 3] } });
    const field = diffuse(target, ornsteinUhlenbeck());
    const audit = await discretisationAudit(field, { samplers: ["ddim", "probability-flow-euler", "heun", "dpm-solver++2m", "pndm", "ddpm"], steps: [16, 32, 64], samples: 400, seed: 1, from: 3, to: 0.02 });
    for (const { sampler, of, order, theory } of audit.orders.filter((row) => row.of === "end points")) {
      expect(of).toBe("end points");
      // 16 steps are not the limit: the slope is within 0.15 of the theory there.
      expect(Math.abs(order.value! - theory), sampler).toBeLessThan(0.15);
    }
    const noisy = audit.cells.filter(({ sampler }) => sampler === "ddpm");
    expect(noisy.every(({ endPointError, endWeightError, onDatum, classErrors }) => endPointError === null && endWeightError === null && onDatum === null && classErrors === null)).toBe(true);
    expect(Math.abs(noisy[2]!.varianceError.value!)).toBeLessThan(Math.abs(noisy[0]!.varianceError.value!));
    const fine = audit.cells.find(({ sampler, steps }) => sampler === "heun" && steps === 64)!;
    expect(Math.abs(fine.varianceError.value!)).toBeLessThan(4 * fine.varianceError.standardError!);
    expect(Math.abs(fine.meanShift.value!)).toBeLessThan(4 * fine.meanShift.standardError!);
    expect(fine.slicedWasserstein.value!).toBeLessThan(2 * audit.floor.slicedWasserstein.value! + 0.02);
    expect(JSON.parse(JSON.stringify(audit))).toEqual(audit);
  });

  it("finds the class fractions of a mixture, whatever its covariances", async () => {
    const means = matrix([[3, 1], [-3, 1]]);
    for (const covariances of [
      { type: "full", matrices: [0.1, 0, 0, 0.2, 0.3, 0.1, 0.1, 0.2] },
      { type: "low-rank", diagonals: [0.1, 0.1, 0.2, 0.2], factors: { data: Float64Array.of(0.3, 0, 0, 0.2), shape: [2, 2, 1] } },
    ] as const) {
      const field = diffuse(gaussianMixture({ weights: [0.3, 0.7], means, covariances }), ornsteinUhlenbeck());
      const audit = await discretisationAudit(field, { samplers: ["sde-dpm-solver++2m"], steps: [60], samples: 800, seed: 3, from: 3, to: 0.01 });
      const [cell] = audit.cells;
      for (const { value, standardError } of cell!.classErrors!) expect(Math.abs(value!)).toBeLessThan(4 * standardError!);
      expect(cell!.slicedWasserstein.value!).toBeLessThan(2 * audit.floor.slicedWasserstein.value! + 0.05);
      expect(audit.orders[0]!.order.status).toMatch(/an order needs 2/);
    }
  });

  it("of data finds the end points on data, by the posterior weights of their starts", async () => {
    const field = diffuse(empirical(await openDataset("digits", { scale: "standardize" })), variancePreserving());
    const from = field.process.timeAt(0.5);
    const audit = await discretisationAudit(field, { samplers: ["ddpm", "ddim"], steps: [8, 80], samples: 400, seed: 4, from, to: field.process.timeAt(0.01), referenceSteps: 100 });
    const [coarse, fine] = audit.cells.filter(({ sampler }) => sampler === "ddpm");
    expect(fine!.onDatum!.value!).toBeGreaterThan(0.99);
    const told = (estimate: NonNullable<typeof fine>["endWeightError"]): number => Math.abs(estimate!.value!) / estimate!.standardError!;
    expect(told(fine!.endWeightError)).toBeLessThan(4);
    expect(told(coarse!.endWeightError)).toBeGreaterThan(told(fine!.endWeightError));
    const deterministic = audit.cells.filter(({ sampler }) => sampler === "ddim");
    expect(deterministic.every(({ endWeightError, endPointError }) => endWeightError === null && endPointError!.value! > 0)).toBe(true);
  });
});
