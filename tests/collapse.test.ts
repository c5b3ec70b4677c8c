import { describe, expect, it } from "vitest";
import { collapseTime } from "../lib/collapse.js";
import { openDataset, type Dataset } from "../lib/data.js";
import { diffuse } from "../lib/field.js";
import { ornsteinUhlenbeck } from "../lib/process.js";
import { noData, regimes } from "../lib/regimes.js";
import { empirical, gaussianMixture, sampleTarget, type Mixture, type Target } from "../lib/target.js";
import { populationCollapseTime, surrogateCollapseTime } from "../lib/theory.js";
import { fashion } from "./fashion.js";
import { classEntropyOf, covered, fakeField, logSpaced, normals } from "./synthetic.js";

const n = 1000;
const times = logSpaced(0.05, 4, 24);

/** Collapse around t0: entropy of two data, one of them n times as likely, at distance e^(t0 - t) of noise widths. */
function collapsingField(t0: number, seed: number, draws: number): ReturnType<typeof fakeField> {
  const g = normals(seed, draws);
  const weight = (t: number, r: number): number => 1 / (1 + Math.exp(-4 * (Math.log(t0 / t) + 0.5 * g[r]!)));
  return fakeField({ target: { n, d: 10 }, readings: { entropy: (t, r) => Math.log(n) * (1 - weight(t, r)), sumSquares: weight } });
}

describe("collapse measured on the data", () => {
  it("covers the time of sum w^2 = 1/2 in 92.5 to 97.5 % of 400 replicates", async () => {
    // The mean of a logistic function of a symmetric variable is 1/2 at its centre: the truth is t0.
    const estimates = await Promise.all(
      Array.from({ length: 400 }, async (_, r) => {
        const field = collapsingField(0.7, r + 1, 100);
        const curves = await regimes(field, { times, draws: 100, seed: 1 });
        return collapseTime(field, { criterion: "cloning", curves });
      }),
    );
    expect(covered(estimates, 0.7)).toBe("92.5 to 97.5 %");
  });

  it("reads the threshold as a fraction of alpha", async () => {
    const field = collapsingField(0.7, 1, 400);
    const curves = await regimes(field, { times, draws: 400, seed: 1 });
    const half = await collapseTime(field, { criterion: "excess-entropy", threshold: 0.5, curves });
    const cloning = await collapseTime(field, { criterion: "cloning", curves });
    // Here f/alpha = 1 - sum w^2, draw by draw.
    expect(half.value).toBeCloseTo(cloning.value!, 10);
    expect(half.standardError).toBeCloseTo(cloning.standardError!, 10);
    expect(half.threshold).toBe(0.5);
    const usual = await collapseTime(field, { criterion: "excess-entropy", curves });
    expect(usual.threshold).toBe(0.05);
    expect(usual.value).toBeLessThan(half.value!);
    expect(usual.clocks!.ouTime).toBe(usual.value);
  });

  it("says which way to extend the times", async () => {
    const field = collapsingField(0.7, 1, 50);
    const curves = await regimes(field, { times: [1, 2, 4], draws: 50, seed: 1 });
    const time = await collapseTime(field, { criterion: "excess-entropy", curves });
    expect(time.value).toBeNull();
    expect(time.status).toBe("the excess entropy over alpha stays above 0.05 on [1, 4] in OU time: extend times to smaller t");
  });

  it("has a reason instead of a value for one row, equal rows and mixtures", async () => {
    const status = async (target: Partial<Target>): Promise<string> =>
      (await collapseTime(fakeField({ target }), { criterion: "excess-entropy" })).status;
    expect(await status({ n: 1 })).toBe("one row: collapsed at every t");
    expect(await status({ n: 7, dataset: { n: 7, distinctRows: 1 } as Dataset })).toBe("all 7 rows are equal: collapsed at every t");
    expect(await status({ kind: "mixture" })).toBe(noData);
  });

  it("mentions duplicates above 1 %", async () => {
    const method = async (distinctRows: number): Promise<string> => {
      const dataset = { n, distinctRows } as Dataset;
      const field = fakeField({ target: { n, dataset }, readings: { entropy: (t) => Math.log(n) * t, sumSquares: () => 1 } });
      return (await collapseTime(field, { criterion: "excess-entropy", times: [0.01, 0.1, 0.5], draws: 2 })).method;
    };
    expect(await method(989)).toContain("11 of 1000 rows repeat another");
    expect(await method(990)).not.toContain("repeat");
  });

  it("refuses options that do not belong together", async () => {
    const field = collapsingField(0.7, 1, 50);
    const rejects = async (options: object, code: string): Promise<void> => {
      await expect(collapseTime(field, options as never)).rejects.toMatchObject({ code });
    };
    await rejects({ criterion: "excess-entropy", threshold: 0 }, "E_DOMAIN");
    await rejects({ criterion: "excess-entropy", threshold: 1 }, "E_DOMAIN");
    await rejects({ criterion: "cloning", threshold: 0.5 }, "E_OPTION");
    await rejects({ criterion: "population", n: 10 }, "E_OPTION");
    await rejects({ criterion: "entropy" }, "E_OPTION");
    await rejects({ criterion: "cloning", tresh: 1 }, "E_OPTION");
  });
});

/** A mixture as a target without native code; its class entropy comes from draws at kappa = e^(t0 - t). */
function mixtureField(mixture: Mixture, trace: number, t0 = 0): ReturnType<typeof fakeField> {
  const [k, d] = mixture.means.shape as [number, number];
  const g = normals(77, 1000);
  const entropy = (t: number, r: number): number => classEntropyOf(Math.exp(t0 - t), g[r]!);
  return fakeField({
    target: { kind: "mixture", n: k, d, classes: k, mixture, spectrum: () => Promise.resolve({ trace } as never) },
    readings: { entropy },
  });
}

const gaussian = (d: number, variance: number): Mixture => ({
  weights: null,
  means: { data: new Float64Array(d), shape: [1, d] },
  covariances: { type: "spherical", variances: Float64Array.of(variance) },
});

const pair = (d: number, variances: readonly [number, number]): Mixture => ({
  weights: null,
  means: { data: Float64Array.from({ length: 2 * d }, (_, i) => (i < d ? 1 : -1)), shape: [2, d] },
  covariances: { type: "spherical", variances: Float64Array.from(variances) },
});

describe("collapse of a population", () => {
  it("has the closed form of one Gaussian (reference cases tC-gaussian-*)", async () => {
    const cases: [number, number, number, number][] = [
      [20000, 256, 1, 1.298789686755865],
      [20000, 4096, 1, 2.6670744411666036],
      [1000, 16, 2, 0.44975367338479],
    ];
    for (const [count, d, variance, expected] of cases) {
      const time = await collapseTime(mixtureField(gaussian(d, variance), d * variance), { criterion: "population", n: count });
      expect(time.value).toBeCloseTo(expected, 9);
      expect(time.standardError).toBe(0);
      expect(time.method).toContain("closed form");
    }
  });

  it("has the class term for a pair (reference case tC-gmm-class-corrected)", async () => {
    const time = await collapseTime(mixtureField(pair(256, [1, 1]), 512), { criterion: "population", n: 20000 });
    expect(time.value).toBeCloseTo(1.3337308785480497, 9);
    expect(time.method).toContain("class term");
  });

  it("takes diagonal covariances of a pair in closed form too", async () => {
    const variance = Float64Array.of(10, 5, 2, 1, 0.5, 0.1, 0.01, 0.01);
    const mixture: Mixture = {
      weights: Float64Array.of(0.5, 0.5),
      means: { data: Float64Array.from([...variance.map(() => 1), ...variance.map(() => -1)]), shape: [2, 8] },
      covariances: { type: "diagonal", variances: Float64Array.from([...variance, ...variance]) },
    };
    const time = await collapseTime(mixtureField(mixture, 26.62), { criterion: "population", n: 100 });
    expect(time.value).toBeCloseTo(populationCollapseTime({ n: 100, d: 8, variance, halfSeparation: new Float64Array(8).fill(1) })!, 12);
  });

  it("averages the class term by a sweep where there is no closed form, to the same value", async () => {
    // Variances that differ in the last digits: the same population, but not one that the closed form knows. Classes that are not
    // resolved at collapse, so that the average matters: d = 16, kappa = 4 e^-t.
    const d = 16;
    const count = 50;
    const closed = populationCollapseTime({ n: count, d, variance: 1, halfSeparation: 4 })!;
    const field = mixtureField(pair(d, [1, 1 + 1e-13]), 2 * d, Math.log(4));
    const time = await collapseTime(field, { criterion: "population", n: count, draws: 1000 });
    expect(time.method).toContain("averaged over 1000 draws");
    expect(time.standardError).toBeGreaterThan(0);
    expect(Math.abs(time.value! - closed)).toBeLessThan(4 * time.standardError!);
    expect(time.standardError).toBeLessThan(0.02);
  });

  it("needs n for a mixture", async () => {
    const field = mixtureField(gaussian(2, 1), 2);
    await expect(collapseTime(field, { criterion: "population" })).rejects.toMatchObject({ code: "E_OPTION" });
    await expect(collapseTime(field, { criterion: "population", n: 0 })).rejects.toMatchObject({ code: "E_DOMAIN" });
    expect((await collapseTime(field, { criterion: "population", n: 1 })).status).toBe("one row: collapsed at every t");
  });

  it("is none for a population of points", async () => {
    const points = mixtureField(gaussian(2, 0), 0);
    expect((await collapseTime(points, { criterion: "population", n: 10 })).status).toContain("no collapse");
  });

  it("uses the Gaussian surrogate for data and says so (reference case tC-anisotropic)", async () => {
    const variance = Float64Array.of(10, 5, 2, 1, 0.5, 0.1, 0.01, 0.01);
    const field = fakeField({ target: { n: 100, d: 8, allEigenvalues: () => Promise.resolve(variance) } });
    const time = await collapseTime(field, { criterion: "population" });
    expect(time.value).toBeCloseTo(0.19684557030956032, 10);
    expect(time.standardError).toBe(surrogateCollapseTime({ n: 100, d: 8, variance })!.standardError);
    expect(time.ci95![0]).toBeLessThan(time.value!);
    expect(time.method).toContain("Gaussian surrogate");
  });

  it("has no surrogate for constant data, one row, or more dimensions than are diagonalised", async () => {
    const status = async (target: Partial<Target>): Promise<string> =>
      (await collapseTime(fakeField({ target }), { criterion: "population" })).status;
    expect(await status({ n: 100, d: 2, allEigenvalues: () => Promise.resolve(new Float64Array(2)) })).toContain("collapsed at every t");
    expect(await status({ n: 1, d: 2 })).toBe("one row: collapsed at every t");
    expect(await status({ n: 5000, d: 4097 })).toContain("min(n, d) = 4097");
  });
});

describe("collapse of a population through the addon", () => {
  const n = 60;
  const means = { data: Float64Array.of(2, 1, 0, -2, -1, 0), shape: [2, 3] };
  const variances = [2, 0.5, 4];
  const closed = populationCollapseTime({ n, d: 3, variance: variances, halfSeparation: [2, 1, 0] })!;

  it("is the same number for the same population written with full or low-rank covariances", async () => {
    const matrix = [2, 0, 0, 0, 0.5, 0, 0, 0, 4];
    const full = { type: "full", matrices: [...matrix, ...matrix] } as const;
    // diag(1, 1/2, 4) + e_1 e_1^T.
    const factors = { data: Float64Array.of(1, 0, 0, 1, 0, 0), shape: [2, 3, 1] };
    const lowRank = { type: "low-rank", diagonals: [1, 0.5, 4, 1, 0.5, 4], factors } as const;
    for (const covariances of [full, lowRank]) {
      using target = gaussianMixture({ means, covariances });
      const time = await collapseTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "population", n, draws: 2000 });
      expect(time.method).toContain("averaged over 2000 draws");
      expect(Math.abs(time.value! - closed), covariances.type).toBeLessThan(4 * time.standardError!);
    }
  });

  it("covers the closed form in 92.5 to 97.5 % of 400 replicates of the sweep", async () => {
    const matrix = [2, 0, 0, 0, 0.5, 0, 0, 0, 4];
    using target = gaussianMixture({ means, covariances: { type: "full", matrices: [...matrix, ...matrix] } });
    const field = diffuse(target, ornsteinUhlenbeck());
    const estimates = await Promise.all(
      Array.from({ length: 400 }, (_, seed) => collapseTime(field, { criterion: "population", n, draws: 200, seed, threads: 1 })),
    );
    expect(covered(estimates, closed)).toBe("92.5 to 97.5 %");
  });

  it("covers the truth over Gaussian data sets in 92.5 to 97.5 % of 400 replicates of the surrogate", async () => {
    using gaussianTarget = gaussianMixture({
      means: { data: new Float64Array(4), shape: [1, 4] },
      covariances: { type: "diagonal", variances: [3, 1, 1, 0.3] },
    });
    const truth = populationCollapseTime({ n: 4000, d: 4, variance: [3, 1, 1, 0.3] })!;
    const estimates = [];
    for (let seed = 0; seed < 400; seed++) {
      using data = await sampleTarget(gaussianTarget, 4000, { seed });
      using target = empirical(data);
      estimates.push(await collapseTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "population", threads: 1 }));
    }
    expect(covered(estimates, truth)).toBe("92.5 to 97.5 %");
  });
});

describe.skipIf(fashion === null)("collapse of Fashion-MNIST (theory 7.2 and 10.4)", () => {
  it("has the surrogate sigma_C^2 = 1.6540, t_C = 0.4880, above the measured times", async () => {
    using data = await openDataset(fashion!.trainImages, { scale: "unit" });
    using target = empirical(data);
    const time = await collapseTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "population" });
    expect(time.value).toBeCloseTo(0.488, 4);
    expect(Math.expm1(2 * time.value!)).toBeCloseTo(1.654, 3);
  });
});

describe("eigenvalues handed in", () => {
  const rows = { data: Float64Array.from([0, 0, 1, 0, 0, 2, 3, 1]), shape: [4, 2] };
  const refused: [string, unknown, string][] = [
    ["text", "3, 1", "E_OPTION"],
    ["a plain array", [3, 1], "E_OPTION"],
    ["none", new Float64Array(0), "E_SHAPE"],
    ["more than there are columns", Float64Array.of(3, 2, 1), "E_SHAPE"],
    ["NaN", Float64Array.of(3, Number.NaN), "E_NONFINITE"],
    ["negative ones", Float64Array.of(3, -1), "E_NOT_PSD"],
  ];
  it.each(refused)("are refused when they are %s", async (_, eigenvalues, code) => {
    using dataset = await openDataset(rows);
    using target = empirical(dataset);
    const field = diffuse(target, ornsteinUhlenbeck());
    await expect(collapseTime(field, { criterion: "population", eigenvalues: eigenvalues as Float64Array })).rejects.toMatchObject({ code });
  });

  it("belong to the criterion that reads them, and give its answer", async () => {
    using dataset = await openDataset(rows);
    using target = empirical(dataset);
    const field = diffuse(target, ornsteinUhlenbeck());
    const eigenvalues = await target.allEigenvalues();
    await expect(collapseTime(field, { criterion: "cloning", eigenvalues })).rejects.toMatchObject({ code: "E_OPTION" });
    expect(await collapseTime(field, { criterion: "population", eigenvalues })).toEqual(await collapseTime(field, { criterion: "population" }));
  });
});

describe("one row that has all the weight", () => {
  it("is collapsed at every t, like a single row", async () => {
    using dataset = await openDataset({ data: Float64Array.from([0, 0, 1, 0, 0, 2]), shape: [3, 2] });
    using target = empirical(dataset, { weights: [0, 1, 0] });
    const field = diffuse(target, ornsteinUhlenbeck());
    for (const criterion of ["excess-entropy", "cloning", "population"] as const) {
      const time = await collapseTime(field, { criterion });
      expect(time.value).toBeNull();
      expect(time.status).toBe("one row: collapsed at every t");
    }
  });
});
