import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gaussianMean, integrate, monotoneRoot, sigmoid, softplus } from "../lib/quadrature.js";

describe("integrate", () => {
  it.each([
    ["a polynomial of degree 22", (u: number) => u ** 22, 2, 2 ** 23 / 23],
    ["an exponential", Math.exp, 3, Math.expm1(3)],
    ["a narrow peak", (u: number) => 1 / (1e-6 + (u - 0.3) ** 2), 1, 1e3 * (Math.atan(700) + Math.atan(300))],
    ["a jump", (u: number) => (u < Math.SQRT1_2 ? 1 : 3), 1, Math.SQRT1_2 + 3 * (1 - Math.SQRT1_2)],
    ["zero", () => 0, 1, 0],
  ])("%s to 1e-13", (_, f, end, exact) => {
    expect(Math.abs(integrate(f, end) - exact)).toBeLessThanOrEqual(1e-13 * exact);
  });
});

describe("gaussianMean", () => {
  // mpmath, 40 digits, rounded to float64. Rows: m, s, E log(1 + e^(m + s g)), E 1/(1 + e^-(m + s g)).
  it.each([
    [-2e-6, 0.002, 0.6931466805601953, 0.4999995000005],
    [-0.18, 0.6, 0.6500622989839208, 0.4585520694265883],
    [-18, 6, 0.0038492475308675427, 0.002075539869951757],
    [-200, 20, 2.365713967298675e-23, 1.1941917356355699e-23],
    [-1800, 60, 1.5393884413105524e-197, 7.705452248280643e-198],
    [-200, 8, 1.0927656633766651e-73, 1.0927656633766651e-73],
    [-5, 20, 5.758610936082832, 0.40168788213840123],
    [3, 64, 27.070590962383942, 0.5186860779131484],
    [0.5, 0.01, 0.9740887342452736, 0.6224564534930487],
  ])("m = %d, s = %d to 1e-13, however small", (m, s, soft, logistic) => {
    expect(Math.abs(gaussianMean(softplus, m, s) / soft - 1)).toBeLessThan(1e-13);
    expect(Math.abs(gaussianMean(sigmoid, m, s) / logistic - 1)).toBeLessThan(1e-13);
  });

  it("of the logistic function at m and -m sums to 1", () => {
    fc.assert(
      fc.property(fc.double({ min: -30, max: 30, noNaN: true }), fc.double({ min: 0, max: 100, noNaN: true }), (m, s) => {
        expect(Math.abs(gaussianMean(sigmoid, m, s) + gaussianMean(sigmoid, -m, s) - 1)).toBeLessThan(1e-13);
      }),
      { seed: 1 },
    );
  });

  it("is the function itself without spread, and 0 where it underflows", () => {
    expect(gaussianMean(softplus, 1.25, 0)).toBeCloseTo(Math.log1p(Math.exp(1.25)), 14);
    expect(gaussianMean(softplus, 1e4, 0) / 1e4).toBeCloseTo(1, 13);
    expect(gaussianMean(sigmoid, -1e4, 3)).toBe(0);
  });
});

describe("monotoneRoot", () => {
  it("finds where a rising or a falling function changes sign, to the last bit", () => {
    fc.assert(
      fc.property(fc.double({ min: -50, max: 50, noNaN: true }), fc.boolean(), (root, rising) => {
        const found = monotoneRoot((x) => (rising ? x - root : root - x), -50, 50);
        expect(found).toBe(root === 0 ? 0 : root);
      }),
      { seed: 2 },
    );
    expect(monotoneRoot((x) => Math.exp(x) - 2, 0, 1)).toBeCloseTo(Math.LN2, 15);
  });

  it("finds roots at an end and jumps through zero", () => {
    expect(monotoneRoot((x) => x, 0, 1)).toBe(0);
    expect(monotoneRoot((x) => x - 1, 0, 1)).toBe(1);
    expect(monotoneRoot((x) => (x < 0.3 ? -1 : 1), 0, 1)).toBe(0.3);
  });

  it("is null when the ends have the same sign or are NaN", () => {
    expect(monotoneRoot((x) => x + 1, 0, 1)).toBeNull();
    expect(monotoneRoot((x) => -1 - x, 0, 1)).toBeNull();
    expect(monotoneRoot(() => NaN, 0, 1)).toBeNull();
  });
});
