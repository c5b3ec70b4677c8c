import { describe, expect, it } from "vitest";
import { openDataset } from "../lib/data.js";
import { diffuse } from "../lib/field.js";
import { ornsteinUhlenbeck } from "../lib/process.js";
import { regimes } from "../lib/regimes.js";
import { speciationTime, steepestTime } from "../lib/speciation.js";
import { empirical, gaussianMixture, sampleTarget, symmetricEigen, type Spectrum, type Target } from "../lib/target.js";
import { classEntropy, cloningThreshold, entropyRateKappa, timeOfKappa } from "../lib/theory.js";
import { fashion } from "./fashion.js";
import { covered, fakeField, logSpaced, twoClassField } from "./synthetic.js";

const spectrumOf = (eigenvalue: number, standardError: number): Spectrum => ({
  mean: Float64Array.of(0),
  eigenvalues: Float64Array.of(eigenvalue),
  standardErrors: Float64Array.of(standardError),
  residuals: Float64Array.of(0),
  vectors: { data: Float64Array.of(1), shape: [1, 1] },
  trace: eigenvalue,
});

const withTop = (eigenvalue: number, standardError: number): ReturnType<typeof fakeField> =>
  fakeField({ target: { spectrum: () => Promise.resolve(spectrumOf(eigenvalue, standardError)) } });

describe("the spectral criterion", () => {
  it("is half the logarithm of the top eigenvalue, with its relative error", async () => {
    const time = await speciationTime(withTop(19.8098, 0.1), { criterion: "spectral" });
    expect(time.value).toBeCloseTo(1.49309, 5);
    expect(time.standardError).toBeCloseTo(0.1 / (2 * 19.8098), 12);
    expect(time.clocks!.ddpmStep).toBeCloseTo(541.1, 1);
    expect(time.criterion).toBe("spectral");
    expect(time.method).toContain("over rows");
  });

  it("takes a spectrum that is at hand", async () => {
    const time = await speciationTime(fakeField({}), { criterion: "spectral", spectrum: spectrumOf(Math.exp(2), 0) });
    expect(time.value).toBeCloseTo(1, 14);
    expect(time.standardError).toBe(0);
  });

  it("never gives a negative time: the status has the eigenvalue instead", async () => {
    const small = await speciationTime(withTop(0.83, 0.01), { criterion: "spectral" });
    expect(small.value).toBeNull();
    expect(small.status).toMatch(/^top eigenvalue 0\.83 <= 1: no speciation/);
    expect((await speciationTime(withTop(0, 0), { criterion: "spectral" })).status).toMatch(/^top eigenvalue 0 <= 1: no speciation/);
    expect((await speciationTime(withTop(1.05, 0.2), { criterion: "spectral" })).ci95![0]).toBe(0);
  });

  it("has no answer for one row", async () => {
    const time = await speciationTime(fakeField({ target: { n: 1 } }), { criterion: "spectral" });
    expect(time.status).toBe("one row: it has no covariance");
  });
});

const t0 = 1.2;
const times = logSpaced(0.15, 4, 24);

describe("the cloning criterion", () => {
  it("covers the time of kappa = 1 in 92.5 to 97.5 % of 400 replicates", async () => {
    const estimates = await Promise.all(
      Array.from({ length: 400 }, async (_, r) => {
        const field = twoClassField(t0, 5000 + r, 200);
        const curves = await regimes(field, { times, draws: 200, seed: 1 });
        return speciationTime(field, { criterion: "cloning", curves });
      }),
    );
    expect(covered(estimates, t0)).toBe("92.5 to 97.5 %");
  });

  it("states the threshold of its number of classes", async () => {
    const field = fakeField({
      target: { n: 100, classes: 10, classFractions: new Float64Array(10).fill(0.1) },
      readings: {
        entropy: (t) => t,
        sumSquares: () => 0.5,
        classEntropy: () => 1,
        classSquares: (t, r) => 0.1 + 0.9 * Math.exp(-t * t) + r * 1e-4,
      },
    });
    const curves = await regimes(field, { times, draws: 2, seed: 1 });
    const time = await speciationTime(field, { criterion: "cloning", curves });
    expect(time.threshold).toBe(cloningThreshold(new Float64Array(10).fill(0.1)));
    expect(time.threshold).toBeCloseTo(0.59536, 5);
    expect(0.1 + 0.9 * Math.exp(-time.value! * time.value!)).toBeCloseTo(time.threshold!, 3);
    expect(time.method).toContain("0.5954");
  });

  it("makes its own curves when none are given", async () => {
    const time = await speciationTime(twoClassField(t0, 4), { criterion: "cloning" });
    expect(Math.abs(time.value! - t0)).toBeLessThan(5 * time.standardError!);
  });

  it("needs classes, and more than one", async () => {
    await expect(speciationTime(fakeField({}), { criterion: "cloning" })).rejects.toMatchObject({ code: "E_LABELS" });
    await expect(speciationTime(fakeField({}), { criterion: "kappa" })).rejects.toMatchObject({ code: "E_LABELS" });
    const one = fakeField({ target: { classes: 1, classFractions: Float64Array.of(1) } });
    expect((await speciationTime(one, { criterion: "cloning" })).status).toMatch(/^one class/);
    await expect(speciationTime(one, { criterion: "clonning" as never })).rejects.toMatchObject({ code: "E_OPTION" });
    await expect(speciationTime(one, { criterion: "cloning", curve: 1 } as never)).rejects.toMatchObject({ code: "E_OPTION" });
  });
});

describe("the entropy-rate criterion", () => {
  // With kappa = e^(t0 - t), dH/dt is largest at kappa = 1.22814 (reference case class-entropy).
  const truth = t0 - Math.log(entropyRateKappa);

  it("finds the steepest point of the exact curve to the bias of its grid", () => {
    const heights = (grid: Float64Array): Float64Array => grid.map((t) => classEntropy(Math.exp(t0 - t)));
    const coarse = steepestTime(times, heights(times))! - truth;
    const grid = logSpaced(0.15, 4, 47);
    const fine = steepestTime(grid, heights(grid))! - truth;
    expect(Math.abs(coarse)).toBeLessThan(0.01);
    // Second order in the spacing: halving it divides the bias by about 4.
    expect(Math.abs(fine)).toBeLessThan(Math.abs(coarse) / 2 + 5e-4);
  });

  it("covers the truth in 92.5 to 97.5 % of 400 replicates", async () => {
    const grid = logSpaced(0.4, 2.4, 24);
    const estimates = await Promise.all(
      Array.from({ length: 400 }, async (_, r) => {
        const field = twoClassField(t0, 9000 + r, 200);
        const curves = await regimes(field, { times: grid, draws: 200, seed: 1 });
        return speciationTime(field, { criterion: "entropy-rate", curves, seed: r });
      }),
    );
    expect(covered(estimates, truth)).toBe("92.5 to 97.5 %");
  });

  it("has no answer when the curve is steepest at an end, or has too few times", async () => {
    const at = async (grid: Float64Array): Promise<string> => {
      const field = twoClassField(t0, 3);
      const curves = await regimes(field, { times: grid, draws: 100, seed: 1 });
      return (await speciationTime(field, { criterion: "entropy-rate", curves })).status;
    };
    expect(await at(logSpaced(1.6, 4, 12))).toContain("extend times");
    expect(await at(logSpaced(0.2, 4, 5))).toContain("at least 6");
  });
});

/** 1/2 N(m, C) + 1/2 N(-m, C) with diagonal C. */
function pairOf(half: readonly number[], variances: readonly number[]): Target {
  const d = half.length;
  return gaussianMixture({
    means: { data: Float64Array.from([...half, ...half.map((value) => -value)]), shape: [2, d] },
    covariances: { type: "diagonal", variances: Float64Array.from([...variances, ...variances]) },
  });
}

const half = [3, 1, 0];
const variances = [2, 0.5, 4];
const truth = timeOfKappa({ halfSeparation: half, variance: variances })!;

describe("the kappa criterion", () => {
  it("is the closed form for two Gaussian classes, without error", async () => {
    using target = pairOf(half, variances);
    const time = await speciationTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "kappa" });
    expect(time.value).toBeCloseTo(truth, 12);
    expect(time.standardError).toBe(0);
  });

  it("is the first splitting of a hierarchy of classes", async () => {
    // Four spherical classes at (+-4, +-1): the first coordinate splits at 4^2/(1 + sigma^2) = 1, whatever the second does.
    const means = Float64Array.of(4, 1, 4, -1, -4, 1, -4, -1);
    using target = gaussianMixture({ means: { data: means, shape: [4, 2] }, covariances: { type: "spherical", variances: [1, 1, 1, 1] } });
    const time = await speciationTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "kappa" });
    expect(time.value).toBeCloseTo(Math.log(4), 12);
  });

  it("is the top eigenvalue of the covariance between the classes less that inside, for 300 classes", async () => {
    // Spherical classes at c e_1 / 3 and others far less apart: sigma^2 = sum_c pi_c m_c^2 - 1 along the first coordinate.
    const classes = 300;
    const width = 200;
    const means = new Float64Array(classes * width);
    for (let c = 0; c < classes; c++) {
      means[c * width] = (c - (classes - 1) / 2) / 3;
      means[c * width + 1 + (c % (width - 1))] = 0.5;
    }
    using target = gaussianMixture({
      means: { data: means, shape: [classes, width] },
      covariances: { type: "spherical", variances: new Float64Array(classes).fill(1) },
    });
    const time = await speciationTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "kappa" });
    const centre = Array.from({ length: width }, (_, j) => Array.from({ length: classes }, (_, c) => means[c * width + j]!).reduce((x, y) => x + y, 0) / classes);
    const between = new Float64Array(width * width);
    for (let j = 0; j < width; j++) {
      for (let k = 0; k < width; k++) {
        for (let c = 0; c < classes; c++) between[j * width + k]! += ((means[c * width + j]! - centre[j]!) * (means[c * width + k]! - centre[k]!)) / classes;
      }
      between[j * width + j]! -= 1;
    }
    const variance = (await symmetricEigen(between, width)).values[width - 1]!;
    expect(time.value).toBeCloseTo(Math.log1p(1 / variance) / 2 + Math.log(variance) / 2, 9);
  });

  it("covers the truth over data sets in 92.5 to 97.5 % of 400 replicates, and so does the spectral criterion", async () => {
    // Close enough that the spread inside the classes makes a third of the variance of the estimate: sigma^2 = 0.48 at kappa = 1.
    const close = [1.5, 0.3, 0];
    const widths = [2, 0.5, 1];
    const kappaTruth = timeOfKappa({ halfSeparation: close, variance: widths })!;
    using mixture = pairOf(close, widths);
    const spectralTruth = (await speciationTime(diffuse(mixture, ornsteinUhlenbeck()), { criterion: "spectral" })).value!;
    const kappaTimes = [];
    const spectralTimes = [];
    for (let seed = 0; seed < 400; seed++) {
      using data = await sampleTarget(mixture, 4000, { seed });
      using target = empirical(data);
      const field = diffuse(target, ornsteinUhlenbeck());
      kappaTimes.push(await speciationTime(field, { criterion: "kappa", threads: 1 }));
      spectralTimes.push(await speciationTime(field, { criterion: "spectral", threads: 1 }));
    }
    expect(covered(kappaTimes, kappaTruth)).toBe("92.5 to 97.5 %");
    expect(covered(spectralTimes, spectralTruth)).toBe("92.5 to 97.5 %");
  });

  it("takes rows of weight 0 for no rows", async () => {
    using mixture = pairOf(half, variances);
    using data = await sampleTarget(mixture, 40, { seed: 1, dtype: "float64" });
    const rows = data.rows(0, 40).data;
    using more = await openDataset({ data: Float64Array.from([...rows, ...rows]), shape: [80, 3] }, { labels: [...data.labels!, ...data.labels!] });
    using weighted = empirical(more, { weights: Float64Array.from({ length: 80 }, (_, i) => (i < 40 ? 1 / 40 : 0)) });
    using plain = empirical(data, { weights: new Float64Array(40).fill(1 / 40) });
    const [a, b] = await Promise.all([weighted, plain].map((target) => speciationTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "kappa" })));
    expect(a!.value! / b!.value!).toBeCloseTo(1, 9);
    expect(a!.standardError! / b!.standardError!).toBeCloseTo(1, 9);
  });

  it("gives the same answer for weights as for repeated rows", async () => {
    using mixture = pairOf(half, variances);
    using data = await sampleTarget(mixture, 100, { seed: 1, dtype: "float64" });
    const rows = data.rows(0, 100).data;
    const twice = Float64Array.from([...rows, ...rows.subarray(0, 150)]);
    const labels = Array.from({ length: 150 }, (_, i) => data.labels![i % 100]!);
    using repeated = await openDataset({ data: twice, shape: [150, 3] }, { labels });
    const weights = Float64Array.from({ length: 100 }, (_, i) => (i < 50 ? 2 : 1) / 150);
    using weighted = empirical(data, { weights });
    using plain = empirical(repeated);
    const [a, b] = [weighted, plain].map((target) => speciationTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "kappa" }));
    // The values agree up to the normaliser n - 1 of the covariance, which weights have no exact counterpart of.
    expect(Math.abs((await a!).value! - (await b!).value!)).toBeLessThan(0.02);
    expect((await a!).standardError).toBeGreaterThan((await b!).standardError!);
  });

  it("says why there is no answer", async () => {
    const status = async (data: number[], labels: number[]): Promise<string> => {
      using opened = await openDataset({ data: Float64Array.from(data), shape: [data.length, 1] }, { labels });
      using target = empirical(opened);
      return (await speciationTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "kappa" })).status;
    };
    expect(await status([0, 1, 2], [4, 4, 9])).toBe("class 9 has 1 row: a covariance inside the class needs at least 2");
    expect(await status([-1, 1, -2, 2], [0, 0, 1, 1])).toContain("same mean");
    expect(await status([-1, 1.1, -0.9, 1.2], [0, 0, 1, 1])).toContain("less than one within-class width apart");
  });
});

describe("the cloning criterion on a mixture", () => {
  it("covers the time of kappa = 1 in 92.5 to 97.5 % of 400 replicates", async () => {
    using target = pairOf(half, variances);
    const field = diffuse(target, ornsteinUhlenbeck());
    const grid = { from: 0.4, to: 3, count: 16 };
    const estimates = await Promise.all(
      Array.from({ length: 400 }, (_, seed) => speciationTime(field, { criterion: "cloning", times: grid, draws: 200, seed, threads: 1 })),
    );
    expect(covered(estimates, truth)).toBe("92.5 to 97.5 %");
  });
});

describe.skipIf(fashion === null)("speciation of Fashion-MNIST (theory 10.4)", () => {
  it("has Lambda 19.8098 and t_S 1.49309 for all 60000 images", async () => {
    using data = await openDataset(fashion!.trainImages, { scale: "unit" });
    using target = empirical(data);
    const time = await speciationTime(diffuse(target, ornsteinUhlenbeck()), { criterion: "spectral" });
    expect(time.value).toBeCloseTo(1.49309, 5);
    expect(Math.exp(2 * time.value!)).toBeCloseTo(19.8098, 4);
    expect(time.standardError).toBeGreaterThan(0);
  });

  // [classes, Lambda, t_S, t(phi = 0.775), its error, t(kappa = 1)], 12000 images and 1500 draws each.
  const pairs: [number[], number, number, number, number, number][] = [
    [[0, 9], 26.0655, 1.6303, 1.557, 0.014, 1.534],
    [[1, 8], 27.629, 1.6594, 1.572, 0.014, 1.526],
    [[2, 5], 32.26, 1.7369, 1.407, 0.018, 1.389],
  ];
  it.each(pairs)("agrees for classes %j", async (classes, lambda, spectral, cloning, error, kappa) => {
    using data = await openDataset(fashion!.trainImages, { labels: fashion!.trainLabels, classes, scale: "unit" });
    using target = empirical(data);
    const field = diffuse(target, ornsteinUhlenbeck());
    expect(data.n).toBe(12_000);
    const tS = await speciationTime(field, { criterion: "spectral" });
    expect(Math.abs(Math.exp(2 * tS.value!) - lambda)).toBeLessThan(6e-4 * (lambda > 27 ? 10 : 1));
    expect(tS.value).toBeCloseTo(spectral, 4);
    const tKappa = await speciationTime(field, { criterion: "kappa" });
    expect(tKappa.value).toBeCloseTo(kappa, 3);
    const tCloning = await speciationTime(field, { criterion: "cloning", times: { from: 0.9, to: 2.4, count: 12 }, draws: 500, seed: 2 });
    expect(tCloning.threshold).toBeCloseTo(0.7752, 4);
    expect(Math.abs(tCloning.value! - cloning)).toBeLessThan(4 * Math.hypot(tCloning.standardError!, error));
  });
});

describe("a seed that is no whole number", () => {
  it("is refused by criteria that draw", async () => {
    for (const criterion of ["cloning", "entropy-rate"] as const) {
      const asked = speciationTime(twoClassField(1, 1, 10), { criterion, times: logSpaced(0.1, 4, 8), draws: 10, seed: 1.5 });
      await expect(asked).rejects.toMatchObject({ code: "E_OPTION" });
    }
  });
});
