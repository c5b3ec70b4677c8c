/** Exact readings through the public API: golden cases, laws they must obey, invariances, extremes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { NdArray, PointsInput } from "../lib/array.js";
import { openDataset } from "../lib/data.js";
import { diffuse, type Field, type PosteriorReading } from "../lib/field.js";
import { edm, ornsteinUhlenbeck } from "../lib/process.js";
import type { CovarianceParameters } from "../lib/components.js";
import { native } from "../lib/native.js";
import { empirical, gaussianMixture, sampleTarget, type Target } from "../lib/target.js";
import { expectGolden, goldenCases, matrix, type GoldenCase } from "./golden_cases.js";

const allReadings: readonly PosteriorReading[] = [
  "logDensity",
  "denoised",
  "score",
  "entropy",
  "sumSquares",
  "effectiveCount",
  "nearest",
  "covarianceTrace",
  "divergence",
];

async function empiricalField(data: readonly number[][], weights?: number[], process = ornsteinUhlenbeck()): Promise<Field> {
  const dataset = await openDataset(matrix(data));
  return diffuse(empirical(dataset, weights === undefined ? {} : { weights }), process);
}

/** A copy of what a target shows, as a caller could make one. */
function fields(target: Target): Target {
  const { kind, n, d, weights, classes, classFractions, dataset, mixture, fingerprint, magnitude } = target;
  return { kind, n, d, weights, classes, classFractions, dataset, mixture, fingerprint, magnitude } as unknown as Target;
}

function covarianceOf(c: GoldenCase["inputs"]["covariance"]): CovarianceParameters {
  const flat = (value: unknown): Float64Array => Float64Array.from([value].flat(4) as number[]);
  switch (c.type) {
    case "spherical":
      return { type: "spherical", variances: c.variances };
    case "diagonal":
      return { type: "diagonal", variances: flat(c.variances) };
    case "full":
      return { type: "full", matrices: flat(c.matrices) };
    default:
      return {
        type: "low-rank",
        diagonals: flat(c.psi),
        factors: { data: flat(c.W), shape: [c.W.length, c.W[0].length, c.W[0][0].length] },
      };
  }
}

describe("queries", () => {
  it("are read in any layout and element type, and left as they are", async () => {
    const d = 19;
    const rows = 5;
    const field = await empiricalField(Array.from({ length: 7 }, (_, i) => Array.from({ length: d }, (_, j) => Math.cos(i * d + j))));
    const values = Float32Array.from({ length: rows * d }, (_, k) => Math.sin(k));
    const ask = async (x: PointsInput): Promise<number[]> => {
      const before = [...x.data];
      const { score } = await field.posterior(x, { t: 0.3, readings: ["score"] });
      expect([...x.data]).toEqual(before);
      return [...score.data];
    };
    const expected = await ask({ data: Float64Array.from(values), shape: [rows, d] });
    const shared = new Float32Array(new SharedArrayBuffer(4 * rows * d));
    shared.set(values);
    const within = new Float64Array(rows * d + 3);
    within.set(values, 3);
    const padded = new Float32Array(rows * (d + 2)).fill(Number.NaN);
    const transposed = new Float64Array(rows * d);
    values.forEach((value, k) => {
      const [i, j] = [Math.floor(k / d), k % d];
      padded[i * (d + 2) + j] = value;
      transposed[j * rows + i] = value;
    });
    const inputs: readonly PointsInput[] = [
      { data: values, shape: [rows, d] },
      { data: shared, shape: [rows, d] },
      { data: within.subarray(3), shape: [rows, d] },
      { data: padded, shape: [rows, d], strides: [d + 2, 1] },
      { data: transposed, shape: [rows, d], strides: [1, rows] },
    ];
    for (const input of inputs) expect(await ask(input)).toEqual(expected);
    const whole = { data: Int8Array.from(values, (_, k) => (k % 5) - 2) as unknown as Float32Array, shape: [rows, d] };
    expect(await ask(whole)).toEqual(await ask({ ...whole, data: Float64Array.from(whole.data) }));
  });
});

describe("golden cases of an empirical measure", () => {
  it.each(goldenCases("emp-"))("$name", async ({ inputs, expected, tol }) => {
    const atSigma = inputs["t"] === undefined;
    const field = await empiricalField(inputs["data"], inputs["weights"], atSigma ? edm() : ornsteinUhlenbeck());
    const t = atSigma ? inputs["b"] : inputs["t"];
    for (const precision of ["float64", "exact"] as const) {
      const p = await field.posterior(matrix([inputs["x"]]), { t, readings: allReadings, precision, top: field.n });
      expectGolden("logDensity", p.logDensity, expected["logDensity"], tol);
      expectGolden("score", p.score.data, expected["score"], tol);
      expectGolden("denoised", p.denoised.data, expected["denoiser"], tol);
      expectGolden("covarianceTrace", p.covarianceTrace, expected["posteriorCovTrace"], tol);
      expectGolden("entropy", p.entropy, expected["entropy"], tol);
      expectGolden("effectiveCount", p.effectiveCount, expected["participation"], tol);
      expectGolden("divergence", p.divergence, expected["divScore"], tol);
      const weights = new Float64Array(field.n);
      p.top.index.data.forEach((index, k) => (weights[index] = p.top.weight.data[k]!));
      expectGolden("weights", weights, expected["weights"], tol);
      expect(p.nearest.index[0]).toBe(p.top.index.data[0]);
    }
  });

  it("keeps the relative precision of tiny entropies and variances when one datum has all the weight", async () => {
    const [far] = goldenCases("emp-2d-far-x");
    const field = await empiricalField(far!.inputs["data"]);
    const p = await field.posterior(matrix([far!.inputs["x"]]), { t: far!.inputs["t"], readings: ["entropy", "covarianceTrace"] });
    expectGolden("entropy", p.entropy, far!.expected["entropy"], { rel: 1e-9, abs: 0 });
    expectGolden("covarianceTrace", p.covarianceTrace, far!.expected["posteriorCovTrace"], { rel: 1e-9, abs: 0 });
  });
});

describe("golden cases of Gaussian mixtures", () => {
  it.each(goldenCases("gmm-").filter(({ inputs }) => inputs["covariance"] !== undefined))("$name", async ({ inputs, expected, tol }) => {
    const means = matrix(inputs["means"]);
    const target = gaussianMixture({ weights: inputs["weights"], means, covariances: covarianceOf(inputs["covariance"]) });
    const field = diffuse(target, ornsteinUhlenbeck());
    const d = field.d;
    for (const precision of ["float64", "exact"] as const) {
      const p = await field.posterior(matrix([inputs["x"]]), {
        t: inputs["t"],
        readings: [...allReadings, "classWeights"],
        precision,
      });
      expectGolden("logDensity", p.logDensity, expected["logDensity"], tol);
      expectGolden("score", p.score.data, expected["score"], tol);
      expectGolden("denoised", p.denoised.data, expected["denoiser"], tol);
      expectGolden("covarianceTrace", p.covarianceTrace, expected["posteriorCovTrace"], tol);
      if (expected["responsibilities"] === undefined) continue;
      expectGolden("classWeights", p.classWeights.data, expected["responsibilities"], tol);
      expectGolden("entropy", p.entropy, expected["responsibilityEntropy"], tol);
      expectGolden("divergence", p.divergence, expected["divScore"], tol);
      // The Jacobian column by column: grad score times the unit vectors.
      const units = matrix(Array.from({ length: d }, (_, i) => Array.from({ length: d }, (__, j) => (i === j ? 1 : 0))));
      const x = matrix(units.data.length === 0 ? [] : Array.from({ length: d }, () => inputs["x"]));
      const j = await field.posterior(x, { t: inputs["t"], readings: ["scoreJacobianProducts"], vectors: units, precision });
      expectGolden("jacobian", j.scoreJacobianProducts.data, expected["jacobian"], tol);
    }
  });
});

describe("golden cases of the excess entropy, by quadrature over posterior readings", () => {
  it.each(goldenCases("excess-entropy-"))("$name", async ({ inputs, expected, tol }) => {
    const data = inputs["data"] as number[][];
    const d = data[0]!.length;
    const field = await empiricalField(data);
    expectGolden("alpha", Math.log(field.n) / d, expected["alpha"], tol);
    for (const [k, t] of (inputs["t"] as number[]).entries()) {
      const a = Math.exp(-t);
      const b = Math.sqrt(-Math.expm1(-2 * t));
      // The trapezoid rule converges exponentially for Gaussian bumps sampled well below their width.
      const step = d === 1 ? b / 12 : b / 8;
      const axes = Array.from({ length: d }, (_, j) => {
        const low = Math.min(...data.map((row) => row[j]!)) * a - 9 * b;
        const high = Math.max(...data.map((row) => row[j]!)) * a + 9 * b;
        return Array.from({ length: Math.ceil((high - low) / step) }, (__, i) => low + i * step);
      });
      const points = d === 1 ? axes[0]!.map((x) => [x]) : axes[0]!.flatMap((x) => axes[1]!.map((y) => [x, y]));
      const p = await field.posterior(matrix(points), { t, readings: ["logDensity", "entropy", "sumSquares", "covarianceTrace"] });
      const integral = (values: ArrayLike<number>): number =>
        p.logDensity.reduce((sum, log, q) => sum + Math.exp(log) * values[q]!, 0) * step ** d;
      expectGolden("probability", integral(p.logDensity.map(() => 1)), 1, { rel: 1e-9, abs: 0 });
      expectGolden("excess entropy", integral(p.entropy) / d, expected["excessEntropy"][k], tol);
      expectGolden("collapse cloning", integral(p.sumSquares), expected["phiC"][k], tol);
      expectGolden("mmse", integral(p.covarianceTrace), expected["mmse"][k], tol);
    }
  });
});

describe("laws", () => {
  const dataset = { data: Float64Array.from({ length: 60 }, (_, k) => Math.sin(k * k + 1) * 2), shape: [20, 3] };
  const open = async (scale = 1, shift = 0, order?: number[]): Promise<Field> => {
    const rows = order ?? Array.from({ length: 20 }, (_, i) => i);
    const data = Float64Array.from(rows.flatMap((i) => [0, 1, 2].map((j) => dataset.data[i * 3 + j]! * scale + shift)));
    return diffuse(empirical(await openDataset({ data, shape: [20, 3] })), ornsteinUhlenbeck());
  };
  const x = matrix([
    [0.3, -0.2, 1.1],
    [1.9, 0.4, -0.8],
  ]);

  it("the score is the gradient of the log density, and its Jacobian and divergence are those of the score", async () => {
    const field = await open();
    const u = [0.6, -0.5, 0.3];
    for (const t of [0.02, 0.3, 2]) {
      const h = 1e-5 * Math.sqrt(-Math.expm1(-2 * t));
      const shifted = (v: readonly number[], sign: number): NdArray<Float64Array> => matrix([[0, 1, 2].map((j) => x.data[j]! + sign * h * v[j]!)]);
      const at = await field.posterior(matrix([[...x.data.subarray(0, 3)]]), {
        t,
        readings: ["score", "scoreJacobianProducts", "covarianceProducts", "covarianceTrace", "divergence"],
        vectors: matrix([u]),
      });
      const up = await field.posterior(shifted(u, 1), { t });
      const down = await field.posterior(shifted(u, -1), { t });
      const slope = (up.logDensity[0]! - down.logDensity[0]!) / (2 * h);
      const scale = Math.hypot(...at.score.data) + 1;
      const b2 = -Math.expm1(-2 * t);
      expect(slope).toBeCloseTo(u.reduce((sum, v, j) => sum + v * at.score.data[j]!, 0), -Math.log10(1e-6 * scale / b2));
      for (let j = 0; j < 3; j++) {
        const change = (up.score.data[j]! - down.score.data[j]!) / (2 * h);
        expect(Math.abs(change - at.scoreJacobianProducts.data[j]!)).toBeLessThan(1e-5 * (scale / b2));
        // Second-order Tweedie: Cov u = (b^2/a^2) (u + b^2 J u)
        const a2 = Math.exp(-2 * t);
        const covariance = (b2 / a2) * (u[j]! + b2 * at.scoreJacobianProducts.data[j]!);
        expect(Math.abs(covariance - at.covarianceProducts.data[j]!)).toBeLessThan(1e-12 * (b2 / a2 + at.covarianceTrace[0]!));
      }
      const trace = (-3 / b2) + (Math.exp(-2 * t) / b2 ** 2) * at.covarianceTrace[0]!;
      expect(Math.abs(at.divergence[0]! - trace)).toBeLessThan(1e-12 * (3 / b2 + Math.abs(trace)));
    }
  });

  it("scaling data, query and noise by a power of two is exact", async () => {
    const make = async (scale: number): Promise<Field> => diffuse((await open(scale)).target, edm());
    const one = await (await make(1)).posterior(x, { t: 0.3, readings: ["score", "entropy", "denoised"] });
    const eight = await (await make(8)).posterior(
      { data: x.data.map((v) => v * 8), shape: x.shape },
      { t: 2.4, readings: ["score", "entropy", "denoised"] },
    );
    // 0.3 * 8 = 2.4 exactly in binary, so nothing but exponents differs.
    expect(0.3 * 8).toBe(2.4);
    expect(eight.entropy).toEqual(one.entropy);
    expect(eight.denoised.data).toEqual(one.denoised.data.map((v) => v * 8));
    expect(eight.score.data).toEqual(one.score.data.map((v) => v / 8));
  });

  it("translating data and query, and permuting rows, changes nothing but roundings", async () => {
    const t = 0.2;
    const field = await open();
    const moved = await open(1, 100);
    const order = Array.from({ length: 20 }, (_, i) => (i * 7) % 20);
    const permuted = await open(1, 0, order);
    const readings = ["score", "logDensity", "entropy"] as const;
    const plain = await field.posterior(x, { t, readings });
    const other = await permuted.posterior(x, { t, readings });
    const shifted = await moved.posterior({ data: x.data.map((v) => v + 100 * Math.exp(-t)), shape: x.shape }, { t, readings });
    plain.score.data.forEach((value, k) => {
      expect(Math.abs(value - other.score.data[k]!)).toBeLessThan(1e-13 * (1 + Math.abs(value)));
      expect(Math.abs(value - shifted.score.data[k]!)).toBeLessThan(1e-11 * (1 + Math.abs(value)));
    });
    plain.logDensity.forEach((value, k) => expect(Math.abs(value - shifted.logDensity[k]!)).toBeLessThan(1e-10));
  });

  it("doubling the data set leaves the density alone and adds log 2 to the entropy", async () => {
    const field = await open();
    const twice = await openDataset({ data: Float64Array.from([...dataset.data, ...dataset.data]), shape: [40, 3] });
    const doubled = diffuse(empirical(twice), ornsteinUhlenbeck());
    const readings = ["logDensity", "entropy"] as const;
    const one = await field.posterior(x, { t: 0.4, readings });
    const two = await doubled.posterior(x, { t: 0.4, readings });
    one.logDensity.forEach((value, k) => {
      expect(Math.abs(two.logDensity[k]! - value)).toBeLessThan(1e-13 * (1 + Math.abs(value)));
      expect(Math.abs(two.entropy[k]! - one.entropy[k]! - Math.LN2)).toBeLessThan(1e-13);
    });
  });

  it("an empirical measure is the mixture of zero covariances", async () => {
    const field = await open();
    const mixture = diffuse(
      gaussianMixture({ means: { data: dataset.data, shape: [20, 3] }, covariances: { type: "spherical", variances: new Float64Array(20) } }),
      ornsteinUhlenbeck(),
    );
    const readings = [...allReadings, "covarianceProducts"] as const;
    const vectors = x;
    const points = await field.posterior(x, { t: 0.3, readings, vectors });
    const gaussians = await mixture.posterior(x, { t: 0.3, readings, vectors });
    for (const reading of ["logDensity", "entropy", "covarianceTrace", "divergence"] as const) {
      points[reading].forEach((value, k) => expect(Math.abs(value - gaussians[reading][k]!)).toBeLessThan(1e-12 * (1 + Math.abs(value))));
    }
    points.score.data.forEach((value, k) => expect(Math.abs(value - gaussians.score.data[k]!)).toBeLessThan(1e-12 * (1 + Math.abs(value))));
    points.covarianceProducts.data.forEach((value, k) => expect(Math.abs(value - gaussians.covarianceProducts.data[k]!)).toBeLessThan(1e-12));
  });

  it("weights sum to 1, entropies and counts stay in range, and exp(H) >= 1 / sum w^2, at any noise", async () => {
    const field = await open();
    const t = fc.double({ min: -17, max: 2, noNaN: true }).map((exponent) => 10 ** exponent);
    const point = fc.array(fc.double({ min: -1e3, max: 1e3, noNaN: true }), { minLength: 3, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(t, point, async (time, at) => {
        const p = await field.posterior(matrix([at]), { t: time, readings: allReadings, top: 20 });
        const sum = p.top.weight.data.reduce((total, weight) => total + weight, 0);
        expect(Math.abs(sum - 1)).toBeLessThan(4 * 20 * 2 ** -53);
        expect(p.entropy[0]).toBeGreaterThanOrEqual(0);
        expect(p.entropy[0]).toBeLessThanOrEqual(Math.log(20) * (1 + 1e-15));
        expect(Math.exp(p.entropy[0]!) * (1 + 1e-14)).toBeGreaterThanOrEqual(p.effectiveCount[0]!);
        for (const value of [...p.score.data, ...p.denoised.data, p.logDensity[0]!, p.divergence[0]!, p.errorBound.score[0]!]) {
          expect(Number.isFinite(value)).toBe(true);
        }
      }),
      { numRuns: 200, seed: 20240218 },
    );
  });
});

describe("extremes", () => {
  it("gives equal rows equal weights, bit for bit, at the smallest noise", async () => {
    const field = await empiricalField([[1], [3], [1], [1]], undefined, edm());
    const p = await field.posterior(matrix([[1]]), { t: 1e-150, readings: ["entropy", "denoised"], top: 4 });
    expect([...p.top.weight.data]).toEqual([1 / 3, 1 / 3, 1 / 3, 0]);
    expect([...p.top.index.data]).toEqual([0, 2, 3, 1]);
    expect(p.entropy[0]).toBeCloseTo(Math.log(3), 14);
  });

  it("normalises weights within a few roundings, however many there are", async () => {
    const n = 200_000;
    using dataset = await openDataset({ data: Float64Array.from({ length: n }, (_, i) => (i % 2 === 0 ? 1 : -1)), shape: [n, 1] });
    const answer = async (target: Target) => {
      const { logDensity } = await diffuse(target, edm()).posterior(matrix([[0.4]]), { t: 0.7, precision: "float64", readings: ["logDensity"] });
      return logDensity[0]!;
    };
    const weighted = await answer(empirical(dataset, { weights: new Float64Array(n).fill(0.1), normalize: true }));
    const uniform = await answer(empirical(dataset));
    expect(Math.abs(weighted - uniform)).toBeLessThan(1e-14);
  });

  it("answers one row exactly: weight 1, entropy 0, the score of one Gaussian", async () => {
    const field = await empiricalField([[0.3, -2]]);
    const t = 5e-17;
    const p = await field.posterior(matrix([[0.30000000001, -2]]), { t, readings: allReadings });
    expect(p.entropy[0]).toBe(0);
    expect(p.sumSquares[0]).toBe(1);
    expect([...p.denoised.data]).toEqual([0.3, -2]);
    const { a, b } = p.marginal;
    expect(p.score.data[0]).toBeCloseTo((a * 0.3 - 0.30000000001) / (b * b), -1);
    expect(p.covarianceTrace[0]).toBe(0);
  });

  it("stays finite for magnitudes up to 1e150 and refuses what would overflow, with the numbers", async () => {
    const field = await empiricalField([[1e150], [-1e150]], undefined, edm());
    const p = await field.posterior(matrix([[9e149]]), { t: 1e149, readings: ["logDensity", "score", "nearest"] });
    expect(Number.isFinite(p.logDensity[0])).toBe(true);
    expect(p.nearest.index[0]).toBe(0);
    await expect(field.posterior(matrix([[1e150]]), { t: 1e-8 })).rejects.toMatchObject({ code: "E_RANGE" });
    await expect(field.posterior(matrix([[1e151]]), { t: 1 })).rejects.toMatchObject({ code: "E_RANGE" });
  });

  it("answers queries that float32 cannot hold as float64 does", async () => {
    const [n, d] = [40_000, 16];
    const rows = Float64Array.from({ length: n * d }, (_, k) => Math.sin(1 + k * k));
    const field = diffuse(empirical(await openDataset({ data: rows, shape: [n, d] })), ornsteinUhlenbeck());
    for (const size of [1e36, 1e39, 1e100]) {
      const x = { data: Float64Array.from({ length: 32 * d }, (_, k) => size * Math.cos(3 * k)), shape: [32, d] };
      const [got, wanted] = [await field.posterior(x, { t: 0.5 }), await field.posterior(x, { t: 0.5, precision: "float64" })];
      expect(got.logDensity).toEqual(wanted.logDensity);
      expect(got.score).toEqual(wanted.score);
    }
  });

  it("reaches the Gaussian limit at large t by the same formula", async () => {
    const field = await empiricalField([[3, -1], [2, 5]]);
    const p = await field.posterior(matrix([[0.5, -0.25]]), { t: 300, readings: ["score", "entropy", "denoised"] });
    expect([...p.score.data]).toEqual([-0.5, 0.25]);
    expect(p.entropy[0]).toBeCloseTo(Math.LN2, 14);
    expect([...p.denoised.data]).toEqual([2.5, 2]);
  });

  it("leaves a component of weight zero out", async () => {
    const field = await empiricalField([[0], [1], [2]], [0.5, 0, 0.5]);
    const p = await field.posterior(matrix([[1]]), { t: 0.5, readings: ["denoised"], top: 3 });
    expect(p.top.index.data[2]).toBe(1);
    expect(p.top.weight.data[2]).toBe(0);
    expect(p.denoised.data[0]).toBeGreaterThan(0.9);
  });

  it("serves 100 000 dimensions", async () => {
    const d = 100_000;
    const data = Float64Array.from({ length: 3 * d }, (_, k) => Math.sin(k * 1.7));
    const field = diffuse(empirical(await openDataset({ data, shape: [3, d] })), ornsteinUhlenbeck());
    const x = await field.sample(0.01, { count: 2, seed: 1 });
    const p = await field.posterior(x, { t: 0.01, readings: ["nearest", "score"] });
    expect([...p.nearest.index]).toEqual([...x.components]);
    expect([...p.nearest.weight]).toEqual([1, 1]);
  });
});

describe("bad input", () => {
  it.each([
    ["a query of the wrong dimension", { data: new Float64Array(3), shape: [1, 3] }, { t: 1 }, "E_SHAPE"],
    ["a shape that its data do not fill", { data: new Float64Array(3), shape: [2, 2] }, { t: 1 }, "E_SHAPE"],
    ["NaN in the query", { data: Float64Array.of(0, Number.NaN), shape: [1, 2] }, { t: 1 }, "E_NONFINITE"],
    ["time zero", { data: new Float64Array(2), shape: [1, 2] }, { t: 0 }, "E_DOMAIN"],
    ["NaN time", { data: new Float64Array(2), shape: [1, 2] }, { t: Number.NaN }, "E_DOMAIN"],
    ["infinite time", { data: new Float64Array(2), shape: [1, 2] }, { t: Infinity }, "E_DOMAIN"],
    ["an unknown reading", { data: new Float64Array(2), shape: [1, 2] }, { t: 1, readings: ["scores"] }, "E_OPTION"],
    ["an unknown option", { data: new Float64Array(2), shape: [1, 2] }, { t: 1, thread: 2 }, "E_OPTION"],
    ["class weights without labels", { data: new Float64Array(2), shape: [1, 2] }, { t: 1, readings: ["classWeights"] }, "E_LABELS"],
    ["products without vectors", { data: new Float64Array(2), shape: [1, 2] }, { t: 1, readings: ["covarianceProducts"] }, "E_OPTION"],
  ])("%s gives a typed error", async (_, x, options, code) => {
    const field = await empiricalField([[1, 2], [3, 4]]);
    await expect(field.posterior(x as never, options as never)).rejects.toMatchObject({ name: "RegimesError", code });
  });

  it.each([0, 1, 15, 16, 17, 31, 33])("one number among many that is not finite is found at its place: %i", async (place) => {
    const field = await empiricalField([Array.from({ length: 17 }, (_, j) => j)]);
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      for (const data of [new Float64Array(34), new Float32Array(34)]) {
        data[place] = bad;
        const message = `E_NONFINITE x: 1 NaN or infinite values, first at row ${Math.floor(place / 17)} column ${place % 17}`;
        await expect(field.posterior({ data, shape: [2, 17] }, { t: 1 })).rejects.toThrow(message);
      }
    }
  });

  it.each([
    ["a data set where a target belongs", (data: never) => diffuse(data, ornsteinUhlenbeck()), "E_OPTION"],
    ["a process that was not called", (data: never) => diffuse(empirical(data), ornsteinUhlenbeck as never), "E_OPTION"],
    ["nothing where a data set belongs", () => empirical(undefined as never), "E_OPTION"],
  ])("%s gives a typed error", async (_, call, code) => {
    const dataset = (await openDataset(matrix([[1, 2]]))) as never;
    expect(() => call(dataset)).toThrowError(expect.objectContaining({ code }));
  });

  it.each([
    ["no options", { data: new Float64Array(2), shape: [1, 2] }, undefined, "E_OPTION"],
    ["big integers", { data: new BigInt64Array(2), shape: [1, 2] }, { t: 1 }, "E_SHAPE"],
    ["strides that leave the data", { data: new Float64Array(8), shape: [2, 2], strides: [4, -1] }, { t: 1 }, "E_SHAPE"],
    ["strides that are no numbers", { data: new Float64Array(8), shape: [2, 2], strides: ["a", "b"] }, { t: 1 }, "E_SHAPE"],
    ["half a stride", { data: new Float64Array(8), shape: [2, 2], strides: [2, 0.5] }, { t: 1 }, "E_SHAPE"],
    ["a shape of more than there is memory for", { data: new Float64Array(2), shape: [1e12, 2] }, { t: 1 }, "E_SHAPE"],
    ["one row repeated beyond all memory", { data: new Float64Array(2), shape: [1e15, 2], strides: [0, 1] }, { t: 1 }, "E_OUT_OF_MEMORY"],
    ["a truth for a time", { data: new Float64Array(2), shape: [1, 2] }, { t: true }, "E_DOMAIN"],
    ["a text for a time", { data: new Float64Array(2), shape: [1, 2] }, { t: "1" }, "E_DOMAIN"],
    ["a bigint for a time", { data: new Float64Array(2), shape: [1, 2] }, { t: 1n }, "E_DOMAIN"],
    ["a text for the readings", { data: new Float64Array(2), shape: [1, 2] }, { t: 1, readings: "score" }, "E_OPTION"],
    ["a number for the readings", { data: new Float64Array(2), shape: [1, 2] }, { t: 1, readings: 7 }, "E_OPTION"],
    ["a signal that is none", { data: new Float64Array(2), shape: [1, 2] }, { t: 1, signal: { aborted: false } }, "E_OPTION"],
    ["a text for a signal", { data: new Float64Array(2), shape: [1, 2] }, { t: 1, signal: "stop" }, "E_OPTION"],
    ["a number for onProgress", { data: new Float64Array(2), shape: [1, 2] }, { t: 1, onProgress: 5 }, "E_OPTION"],
  ])("%s gives a typed error", async (_, x, options, code) => {
    const field = await empiricalField([[1, 2], [3, 4]]);
    await expect(field.posterior(x as never, options as never)).rejects.toMatchObject({ name: "RegimesError", code });
  });

  it.each([
    ["a foreign target", (target: Target) => diffuse({ ...fields(target), handle: {} as never }, ornsteinUhlenbeck()), "E_OPTION"],
    ["a data set's handle for a target's", (target: Target) => diffuse({ ...fields(target), handle: target.dataset!.handle }, ornsteinUhlenbeck()), "E_OPTION"],
    ["a process that gives texts", (target: Target) => diffuse(target, { marginal: () => ({ a: "1", b: 1 }) } as never), "E_DOMAIN"],
    ["a process that gives NaN", (target: Target) => diffuse(target, { marginal: () => ({ a: Number.NaN, b: 1 }) } as never), "E_DOMAIN"],
    ["a process without noise", (target: Target) => diffuse(target, { marginal: () => ({ a: 1, b: 0 }) } as never), "E_DOMAIN"],
  ])("%s gives a typed error", async (_, make, code) => {
    const target = empirical(await openDataset(matrix([[1, 2], [3, 4]])));
    await expect(make(target).posterior(matrix([[0, 0]]), { t: 1 })).rejects.toMatchObject({ name: "RegimesError", code });
  });

  it("more components than 32 bits count are refused before their rows are looked at", () => {
    const rows = { stored: new Uint8Array(8), d: 1, scale: 1, shift: 0 };
    expect(() => native().createDataset({ ...rows, n: 2 ** 31 })).toThrow(/at most 2147483647/);
    expect(() => native().createDataset({ ...rows, n: 2 ** 31 - 1 })).toThrow(/does not have n d elements/);
  });

  it("a transferred buffer is told apart from an empty one", async () => {
    const field = await empiricalField([[1, 2], [3, 4]]);
    const data = new Float64Array(2);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    await expect(field.posterior({ data, shape: [1, 2] }, { t: 1 })).rejects.toMatchObject({ code: "E_DETACHED" });
  });

  it("a covariance with a negative eigenvalue is refused with its value", async () => {
    const covariances = { type: "full", matrices: Float64Array.of(1, 2, 2, 1) } as const;
    const field = diffuse(gaussianMixture({ means: matrix([[0, 0]]), covariances }), ornsteinUhlenbeck());
    await expect(field.posterior(matrix([[0, 0]]), { t: 1 })).rejects.toMatchObject({ code: "E_NOT_PSD" });
  });

  it.each([
    ["negative", [-0.5, 1.5]],
    ["NaN", [Number.NaN, 1]],
    ["all zero", [0, 0]],
    ["not summing to 1", [0.5, 0.6]],
  ])("%s weights are refused", async (_, weights) => {
    const dataset = await openDataset(matrix([[1], [2]]));
    expect(() => empirical(dataset, { weights })).toThrowError(expect.objectContaining({ code: "E_WEIGHTS" }));
  });

  it("results that cannot be allocated are a typed error, and the process goes on", async () => {
    const field = await empiricalField([[1, 2], [3, 4]]);
    await expect(field.sample(1, { count: 1e13, seed: 1 })).rejects.toMatchObject({ code: "E_OUT_OF_MEMORY" });
    await expect(field.sample(1, { count: Number.MAX_SAFE_INTEGER, seed: 1 })).rejects.toMatchObject({ code: "E_OUT_OF_MEMORY" });
    const sweep = field.sweep({ times: [1, 2], draws: 1e13, seed: 1, readings: ["entropy"] });
    await expect(sweep).rejects.toMatchObject({ code: "E_OUT_OF_MEMORY" });
    expect((await field.sample(1, { count: 1, seed: 1 })).components.length).toBe(1);
  });

  it("a sweep without times, or with a reading that does not exist, is refused", async () => {
    const field = await empiricalField([[1, 2], [3, 4]]);
    await expect(field.sweep({ times: [], draws: 4, seed: 1, readings: ["entropy"] })).rejects.toMatchObject({ code: "E_DOMAIN" });
    await expect(field.sweep({ times: [1], draws: 4, seed: 1, readings: ["entropi" as never] })).rejects.toMatchObject({ code: "E_OPTION" });
  });

  it("a low-rank covariance without a diagonal is solved within its bounds at small noise, and refused where float64 cannot", async () => {
    // x lies along the one factor W, |W|^2 = 204 and x = W / 4: S x = (b^2 + 204) x and log det S = 7 log b^2 + log(b^2 + 204).
    const factors = { data: Float64Array.from({ length: 8 }, (_, j) => j + 1), shape: [1, 8, 1] };
    const covariances = { type: "low-rank", diagonals: new Float64Array(8), factors } as const;
    const field = diffuse(gaussianMixture({ means: matrix([Array.from({ length: 8 }, () => 0)]), covariances }), edm());
    const x = matrix([Array.from({ length: 8 }, (_, j) => (j + 1) / 4)]);
    for (const b of [1e-2, 1e-6, 1e-8, 1e-9]) {
      const { logDensity, score, errorBound } = await field.posterior(x, { t: b });
      const total = b * b + 204;
      const exact = -0.5 * (12.75 / total + 14 * Math.log(b) + Math.log(total)) - 4 * Math.log(2 * Math.PI);
      expect(Math.abs(logDensity[0]! - exact)).toBeLessThanOrEqual(errorBound.logDensity[0]!);
      expect(Math.hypot(...score.data.map((value, j) => value + (j + 1) / 4 / total))).toBeLessThanOrEqual(errorBound.score[0]!);
      expect(Math.abs(logDensity[0]! - exact)).toBeLessThan(1e-10);
    }
    await expect(field.posterior(x, { t: 1e-12 })).rejects.toMatchObject({ code: "E_RANGE" });
  });

  it("inputs are copied at the call: writing to them afterwards changes nothing", async () => {
    const field = await empiricalField([[1, 2], [3, 4]]);
    const x = { data: Float64Array.of(1, 1), shape: [1, 2] };
    const before = await field.posterior(x, { t: 0.5 });
    const running = field.posterior(x, { t: 0.5 });
    x.data.fill(1e9);
    expect((await running).score.data).toEqual(before.score.data);
  });
});

describe("sampleTarget", () => {
  it("draws rows that depend on the seed and their number alone, labelled by component", async () => {
    const mixture = gaussianMixture({ means: matrix([[-3, 0], [3, 0]]), covariances: { type: "spherical", variances: [1, 0.25] } });
    const few = await sampleTarget(mixture, 10, { seed: 7 });
    const many = await sampleTarget(mixture, 5000, { seed: 7 });
    expect(few.rows(0, 10).data).toEqual(many.rows(0, 10).data);
    expect(many.labels!.length).toBe(5000);
    const of = (component: number): number[] =>
      Array.from({ length: 5000 }, (_, i) => i).filter((i) => many.labels![i] === component).map((i) => many.rows(i, i + 1).data[0]!);
    for (const [component, mean, variance] of [[0, -3, 1], [1, 3, 0.25]] as const) {
      const values = of(component);
      const average = values.reduce((sum, v) => sum + v, 0) / values.length;
      expect(Math.abs(average - mean)).toBeLessThan(5 * Math.sqrt(variance / values.length));
    }
    expect((await sampleTarget(mixture, 10, { seed: 8 })).fingerprint).not.toBe(few.fingerprint);
  });
});

describe("how a query was answered", () => {
  it("is told query by query: float64 sums all data, screening fewer, and both agree within their bounds", async () => {
    const n = 4000;
    const d = 80;
    const data = Uint8Array.from({ length: n * d }, (_, k) => Math.floor(128 + 120 * Math.sin(k * 12.9898 + (k % d) * Math.floor(k / d))));
    const target = empirical(await openDataset({ data, shape: [n, d] }, { scale: "symmetric" }));
    const field = diffuse(target, edm());
    const t = 0.05;
    const x = await field.sample(t, { count: 12, seed: 1 });
    const all = await field.posterior(x, { t, precision: "float64" });
    expect(all.meta).toMatchObject({ precision: "float64", path: "float64", memory: 0 });
    expect(Array.from(all.survivors)).toEqual(Array(12).fill(n));
    expect(all.paths).toEqual(Array(12).fill("float64"));
    const exact = await field.posterior(x, { t });
    expect(exact.paths.length).toBe(12);
    for (const [q, path] of exact.paths.entries()) {
      expect(["float64", "refined", "dense"]).toContain(path);
      if (path === "refined") expect(exact.survivors[q]).toBeLessThan(n);
      else expect(exact.survivors[q]).toBe(n);
      expect(exact.survivors[q]).toBeGreaterThanOrEqual(1);
      const bound = all.errorBound.logDensity[q]! + exact.errorBound.logDensity[q]!;
      expect(Math.abs(all.logDensity[q]! - exact.logDensity[q]!)).toBeLessThanOrEqual(bound);
    }
    const distinct = new Set(exact.paths);
    expect(exact.meta.path).toBe(distinct.size === 1 ? exact.paths[0] : "mixed");
    if (exact.meta.backend !== "reference") expect(exact.meta.path).toBe("refined");
    // Norms and residuals of every row at least; the bytes themselves are used in place.
    expect(exact.meta.memory).toBeGreaterThan(12 * n);
    expect((await field.posterior(x, { t, precision: "float64" })).meta.memory).toBe(exact.meta.memory);
    expect((await field.sweep({ times: [t], draws: 2, seed: 1, readings: ["entropy"] })).meta.memory).toBe(exact.meta.memory);
  });

  it("is float64 for few data and for mixtures, which hold nothing beside their components", async () => {
    const mixture = diffuse(gaussianMixture({ means: matrix([[0], [1]]), covariances: { type: "spherical", variances: [1, 1] } }), ornsteinUhlenbeck());
    for (const field of [await empiricalField([[1], [2]]), mixture]) {
      const { meta, survivors, paths } = await field.posterior(matrix([[0], [3], [1]]), { t: 1 });
      expect(meta).toMatchObject({ precision: "exact", memory: 0 });
      expect(paths.length).toBe(3);
      expect(survivors.length).toBe(3);
      expect(survivors.every((count) => count >= 1 && count <= 2)).toBe(true);
    }
    const empty = await mixture.posterior({ data: new Float64Array(0), shape: [0, 1] }, { t: 1 });
    expect([empty.paths, empty.survivors.length, empty.meta.path]).toEqual([[], 0, "float64"]);
  });
});

describe("what a mixture keeps of a time", () => {
  const [k, d, rank] = [24, 40, 3];
  const wave = (count: number, scale: number) => Float64Array.from({ length: count }, (_, i) => scale * Math.sin(1 + i * i * 0.37));
  const covariances = {
    type: "low-rank" as const,
    diagonals: { data: wave(k * d, 0.05).map((value) => 0.1 + Math.abs(value)), shape: [k, d] },
    factors: { data: wave(k * d * rank, 0.2), shape: [k, d, rank] },
  };
  const field = () => diffuse(gaussianMixture({ means: { data: wave(k * d, 0.7), shape: [k, d] }, covariances }), ornsteinUhlenbeck());
  const x = { data: wave(20 * d, 1.5), shape: [20, d] };
  const times = [0.05, 1.5, 0.05, 0.05, 1.5];
  const read = (of: ReturnType<typeof field>, t: number) => of.posterior(x, { t, readings: ["score", "logDensity", "entropy"] });

  it("changes no bit, for times in turn and for calls at once, and is told", async () => {
    const fresh = new Map<number, Awaited<ReturnType<typeof read>>>();
    for (const t of times) fresh.set(t, await read(field(), t));
    const keeping = field();
    const expectSame = (got: Awaited<ReturnType<typeof read>>, t: number) => {
      const wanted = fresh.get(t)!;
      expect(got.score).toEqual(wanted.score);
      expect(got.logDensity).toEqual(wanted.logDensity);
      expect(got.entropy).toEqual(wanted.entropy);
      expect(got.paths).toEqual(wanted.paths);
    };
    for (const t of times) {
      const got = await read(keeping, t);
      expectSame(got, t);
      expect(got.meta.memory).toBeGreaterThan(k * d);
    }
    const together = await Promise.all(times.map((t) => read(keeping, t)));
    together.forEach((got, index) => expectSame(got, times[index]!));
  });
});

describe("the spectrum of weighted data", () => {
  it("has the standard errors of the rows that count: a zero weight is a row that is not there", async () => {
    const rows = Array.from({ length: 60 }, (_, i) => [Math.sin(i * i), 3 * Math.cos(5 * i), Math.sin(7 * i)]);
    const half = empirical(await openDataset(matrix(rows.slice(0, 30))));
    const weights = rows.map((_, i) => (i < 30 ? 1 / 30 : 0));
    const weighted = empirical(await openDataset(matrix(rows)), { weights });
    const wanted = await half.spectrum({ count: 3 });
    const got = await weighted.spectrum({ count: 3 });
    for (let k = 0; k < 3; k++) {
      expect(got.eigenvalues[k]! / wanted.eigenvalues[k]!).toBeCloseTo(1, 10);
      expect(got.standardErrors[k]! / wanted.standardErrors[k]!).toBeCloseTo(1, 8);
    }
    // Half of the weight on one row: sum pi^2 is near 1/4 whatever the number of rows.
    const heavy = await empirical(await openDataset(matrix(rows)), { weights: rows.map((_, i) => (i === 0 ? 0.5 : 0.5 / 59)) }).spectrum({ count: 1 });
    const light = await empirical(await openDataset(matrix(rows))).spectrum({ count: 1 });
    expect(heavy.standardErrors[0]! / heavy.eigenvalues[0]!).toBeGreaterThan(2 * (light.standardErrors[0]! / light.eigenvalues[0]!));
  });

  it("is projected about a centre that exists, by vectors that have a shape", async () => {
    const target = empirical(await openDataset(matrix([[1, 2], [3, 4]])));
    await expect(target.project(matrix([[1, 0]]), "nonsense" as never)).rejects.toMatchObject({ code: "E_OPTION" });
    await expect(target.project({ data: new Float64Array(2) } as never, "none")).rejects.toMatchObject({ code: "E_SHAPE" });
    expect((await target.project(matrix([[1, 0]]), "mean")).data).toEqual(Float64Array.of(-1, 1));
  });
});
