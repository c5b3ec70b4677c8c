import { describe, expect, it } from "vitest";
import type { NdArray } from "../lib/array.js";
import {
  bootstrap,
  crossing,
  exact,
  lagrange,
  meanEstimate,
  percentileInterval,
  reciprocal,
  scaled,
  studentQuantile,
  unavailable,
  withInterval,
  type CrossingOptions,
} from "../lib/estimate.js";
import { classEntropyDraws, covered, logSpaced, normals } from "./synthetic.js";

const matrix = (rows: number[][]): NdArray => ({ data: Float64Array.from(rows.flat()), shape: [rows.length, rows[0]!.length] });

const rising: CrossingOptions = { level: 0.5, direction: "rising", which: "largest", quantity: "the curve" };

describe("means", () => {
  it("gives the sample mean, sd/sqrt(N) and Student's interval", () => {
    const estimate = meanEstimate([1, 2, 3, 4]);
    const standardError = Math.sqrt(5 / 3 / 4);
    expect(estimate.value).toBe(2.5);
    expect(estimate.standardError).toBeCloseTo(standardError, 14);
    expect(estimate.ci95![0]).toBeCloseTo(2.5 - 3.182446305 * standardError, 12);
    expect(estimate.status).toBe("ok");
  });

  it("cuts the interval to the range and leaves the value alone", () => {
    const estimate = meanEstimate([0.6, 1, 1, 0.6, 1, 1, 0.6, 1, 1, 1], { range: [0, 0.9] });
    expect(estimate.value).toBeCloseTo(0.88, 14);
    expect(estimate.ci95![1]).toBe(0.9);
    expect(estimate.ci95![0]).toBeCloseTo(0.88 - 2.262157163 * Math.sqrt((0.16 * 0.3 * 0.7) / 9), 8);
  });

  it("never claims +-0 for draws of a bounded quantity that happen to be equal", () => {
    const estimate = meanEstimate(new Float64Array(1000).fill(1), { range: [0, 1] });
    expect(estimate.value).toBe(1);
    expect(estimate.ci95![1]).toBe(1);
    // Exact one-sided 95 % bound for 0 events in 1000: 1 - 0.05^(1/1000).
    expect(estimate.ci95![0]).toBeCloseTo(0.05 ** 0.001, 12);
    expect(estimate.standardError).toBeGreaterThan(0);
  });

  it("does not claim to have counted events that 300 draws hardly ever see", () => {
    // Draws are 1 with probability 0.002, else 1e-9 times a number of many decades. 300 draws see no 1 in 55 % of the replicates, and
    // Student's interval alone then misses.
    let covering = 0;
    for (let seed = 1; seed <= 400; seed++) {
      const chance = normals(seed, 300);
      const small = normals(seed + 1000, 300);
      // P(g > 2.8782) = 0.002.
      const estimate = meanEstimate(small.map((z, r) => (chance[r]! > 2.8782 ? 1 : 1e-9 * Math.exp(4 * z))), { range: [0, 1] });
      if (estimate.ci95![0] <= 0.002 && 0.002 <= estimate.ci95![1]) covering += 1;
    }
    expect(covering).toBeGreaterThanOrEqual(0.925 * 400);
  });

  it("gives no error bar from one draw", () => {
    expect(meanEstimate([1])).toEqual({ value: null, standardError: null, ci95: null, status: expect.stringContaining("fewer than 2") });
  });

  it("keeps the digits of nearly equal values", () => {
    const estimate = meanEstimate([1e8, 1e8 + 1e-6, 1e8 + 2e-6]);
    expect(estimate.standardError! * Math.sqrt(3)).toBeCloseTo(1e-6, 7);
  });

  it("has Student's quantiles to 1e-6 at both sides of the switch from table to series", () => {
    const known: [number, number][] = [
      [1, 12.706204736],
      [12, 2.17881283],
      [13, 2.160368656],
      [20, 2.085963447],
      [999, 1.962341461],
      [Infinity, 1.959963985],
    ];
    for (const [freedom, quantile] of known) expect(Math.abs(studentQuantile(freedom) / quantile - 1)).toBeLessThan(1e-6);
  });

  it("inverts an estimate by the delta method and stays in range", () => {
    const inverse = reciprocal(withInterval(0.5, 0.01), [1, 100]);
    expect(inverse.value).toBe(2);
    expect(inverse.standardError).toBeCloseTo(0.04, 14);
    expect(inverse.ci95![0]).toBeCloseTo(1 / (0.5 + 1.959963984540054 * 0.01), 12);
    expect(reciprocal(withInterval(0.01, 0.02), [1, 100]).ci95![1]).toBe(100);
    expect(reciprocal(unavailable("why"), [1, 100]).status).toBe("why");
  });

  it("scales all numbers of an estimate", () => {
    const half = scaled({ value: 2, standardError: 1, ci95: [1, 3], status: "ok" }, 0.5);
    expect(half).toEqual({ value: 1, standardError: 0.5, ci95: [0.5, 1.5], status: "ok" });
    expect(exact(3)).toEqual({ value: 3, standardError: 0, ci95: [3, 3], status: "ok" });
  });

  it("covers a known mean in 92.5 to 97.5 % of 400 replicates", () => {
    const intervals = Array.from({ length: 400 }, (_, r) => meanEstimate(normals(r + 1, 40).map((z) => Math.exp(0.3 * z))));
    expect(covered(intervals, Math.exp(0.045))).toBe("92.5 to 97.5 %");
  });
});

describe("crossings", () => {
  const times = logSpaced(0.1, 3, 12);

  it("finds the root of a curve that is cubic in log t exactly", () => {
    const curve = (x: number): number => 0.4 + 0.3 * x + 0.1 * x ** 2 + 0.2 * x ** 3;
    const shifts = [-0.02, 0.01, 0.01];
    const rows = Array.from(times, (t) => shifts.map((shift) => curve(Math.log(t)) + shift));
    const { estimate, count } = crossing(times, matrix(rows), rising);
    expect(count).toBe(1);
    expect(curve(Math.log(estimate.value!))).toBeCloseTo(0.5, 12);
    // All draws are shifted copies: se(t) = t * sd/sqrt(3) / slope.
    const x = Math.log(estimate.value!);
    const slope = 0.3 + 0.2 * x + 0.6 * x ** 2;
    expect(estimate.standardError).toBeCloseTo((estimate.value! * (Math.sqrt(0.0003) / Math.sqrt(3))) / slope, 10);
  });

  it("puts its interval around its value and both near the truth", () => {
    const t0 = 1.2;
    const draws = classEntropyDraws(times, t0, 300, 5);
    const { estimate } = crossing(times, draws, { ...rising, level: 0.3563163602131137 });
    expect(estimate.ci95![0]).toBeLessThan(estimate.value!);
    expect(estimate.ci95![1]).toBeGreaterThan(estimate.value!);
    expect(Math.abs(estimate.value! - t0)).toBeLessThan(5 * estimate.standardError!);
  });

  it("covers a known crossing in 92.5 to 97.5 % of 400 replicates", () => {
    // Two classes at separation kappa = e^(t0 - t): the mean class entropy passes H(kappa = 1) at t0 (reference case class-entropy).
    const t0 = 1.2;
    const grid = logSpaced(0.1, 4, 24);
    const estimates = Array.from({ length: 400 }, (_, r) => {
      return crossing(grid, classEntropyDraws(grid, t0, 200, 1000 + r), { ...rising, level: 0.3563163602131137 }).estimate;
    });
    expect(covered(estimates, t0)).toBe("92.5 to 97.5 %");
  });

  it("agrees with scaled input through factor", () => {
    const draws = classEntropyDraws(times, 1, 100, 3);
    const plain = crossing(times, draws, { ...rising, level: 0.3 });
    const twice = crossing(times, draws, { ...rising, level: 0.6, factor: 2 });
    expect(twice.estimate.value).toBeCloseTo(plain.estimate.value!, 12);
    expect(twice.estimate.standardError).toBeCloseTo(plain.estimate.standardError!, 12);
  });

  it("takes the stated one of several crossings and counts them", () => {
    const rows = [0.1, 0.9, 0.1, 0.9].map((height) => [height - 0.01, height + 0.01]);
    const grid = [1, 2, 3, 4];
    const largest = crossing(grid, matrix(rows), rising);
    const smallest = crossing(grid, matrix(rows), { ...rising, which: "smallest" });
    expect(largest.count).toBe(2);
    expect(largest.estimate.value).toBeGreaterThan(3);
    expect(smallest.estimate.value).toBeLessThan(2);
  });

  it("says which way to extend the times when the level is never met", () => {
    const high = matrix([[0.7, 0.8], [0.8, 0.9]]);
    const low = matrix([[0.1, 0.2], [0.2, 0.3]]);
    const status = (draws: NdArray, direction: "rising" | "falling"): string =>
      crossing([0.05, 4], draws, { ...rising, direction, quantity: "f/alpha" }).estimate.status;
    expect(status(high, "rising")).toBe("f/alpha stays above 0.5 on [0.05, 4] in OU time: extend times to smaller t");
    expect(status(high, "falling")).toBe("f/alpha stays above 0.5 on [0.05, 4] in OU time: extend times to larger t");
    expect(status(low, "rising")).toBe("f/alpha stays below 0.5 on [0.05, 4] in OU time: extend times to larger t");
    expect(status(low, "falling")).toBe("f/alpha stays below 0.5 on [0.05, 4] in OU time: extend times to smaller t");
    expect(status(matrix([[0.1, 0.2], [0.8, 0.9]]), "falling")).toContain("f/alpha only rises through 0.5");
  });

  it("refuses a crossing whose slope is noise", () => {
    const rows = [normals(1, 50), normals(2, 50)].map((row, j) => Array.from(row, (z) => 0.49 + 0.02 * j + z));
    const means = rows.map((row) => row.reduce((sum, value) => sum + value, 0) / 50);
    const direction = means[0]! < means[1]! ? "rising" : "falling";
    const { estimate } = crossing([1, 2], matrix(rows), { ...rising, direction, level: (means[0]! + means[1]!) / 2 });
    expect(estimate.status).toContain("is not resolved");
    expect(estimate.value).toBeNull();
  });

  it("needs two times and two draws", () => {
    expect(crossing([1], matrix([[1, 2]]), rising).estimate.status).toContain("1 time only");
    expect(crossing([1, 2], matrix([[1], [2]]), rising).estimate.status).toContain("fewer than 2");
  });
});

describe("the numerical tools", () => {
  it("differentiates and interpolates cubics exactly", () => {
    const nodes = [-1, 0.5, 2, 3];
    const { values, slopes } = lagrange(nodes, 1.3);
    const sum = (weights: Float64Array, f: (x: number) => number): number => nodes.reduce((total, x, k) => total + weights[k]! * f(x), 0);
    expect(sum(values, (x) => x ** 3 - x)).toBeCloseTo(1.3 ** 3 - 1.3, 12);
    expect(sum(slopes, (x) => x ** 3 - x)).toBeCloseTo(3 * 1.3 ** 2 - 1, 12);
  });

  it("bootstraps the standard error of a mean, the same for the same seed", () => {
    const values = normals(9, 400);
    const rows: NdArray = { data: values, shape: [1, 400] };
    const first = bootstrap(rows, (means) => means[0]!, { seed: 7, resamples: 2000 });
    const again = bootstrap(rows, (means) => means[0]!, { seed: 7n, resamples: 2000 });
    const other = bootstrap(rows, (means) => means[0]!, { seed: 8, resamples: 2000 });
    expect(again.values).toEqual(first.values);
    expect(other.values).not.toEqual(first.values);
    const [low, high] = percentileInterval(first.values);
    const { standardError } = meanEstimate(values);
    // 2000 resamples fix the width of a 95 % interval to about 2.5 %; 12 % is nearly 5 sigma.
    expect((high - low) / (2 * 1.96 * standardError!)).toBeGreaterThan(0.88);
    expect((high - low) / (2 * 1.96 * standardError!)).toBeLessThan(1.12);
  });

  it("counts resamples without a value", () => {
    const rows: NdArray = { data: normals(3, 100), shape: [1, 100] };
    const { values, missing } = bootstrap(rows, (means) => (means[0]! > 0 ? means[0]! : null), { seed: 1, resamples: 200 });
    expect(values.length + missing).toBe(200);
    expect(missing).toBeGreaterThan(0);
  });
});
