/**
 * The synthetic figures of Biroli, Bonnaire, De Bortoli, Mezard (2024), from readings of the posterior instead of simulations:
 * Fig. 2 (cloning probability of two Gaussian classes) and Fig. 3 (excess entropy of n = 20 000 data drawn from them).
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { diffuse } from "../lib/field.js";
import { ornsteinUhlenbeck } from "../lib/process.js";
import { regimes } from "../lib/regimes.js";
import { empirical, gaussianMixture, sampleTarget, type Target } from "../lib/target.js";
import { cloningProbability, excessEntropyPerDimension, kappaAt } from "../lib/theory.js";

const published = JSON.parse(readFileSync(new URL("./golden/published_curves.json", import.meta.url), "utf8"));

/** 1/2 N(m, I) + 1/2 N(-m, I) with m = (1, ..., 1). */
function pair(d: number): Target {
  const data = new Float64Array(2 * d).fill(1).fill(-1, d);
  return gaussianMixture({ means: { data, shape: [2, d] }, covariances: { type: "spherical", variances: [1, 1] } });
}

describe("Fig. 2, cloning probability", () => {
  it.each([256, 1024, 4096, 16384])("posterior averages at d = %i are the closed form, and the published simulation", async (d) => {
    const curve = published.gmmPhi;
    const draws = 2000;
    const { speciationCloning, ouTime } = await regimes(diffuse(pair(d), ornsteinUhlenbeck()), { times: curve.t, draws, seed: 11 });
    const beyond: string[] = [];
    speciationCloning!.forEach((estimate, k) => {
      const exact = cloningProbability(kappaAt(ouTime[k]!, { halfSeparation: Math.sqrt(d), variance: 1 }));
      // Where every draw is sure of its class the sample has no spread left: the rule of three bounds what it can miss.
      const allowed = 4 * estimate.standardError! + 3 / draws * 0.05;
      expect(Math.abs(estimate.value! - exact), `t = ${ouTime[k]}`).toBeLessThan(allowed);
      const simulated = curve[`d${d}`][k] as number;
      const binomial = Math.sqrt(Math.max(exact * (1 - exact), 1e-4) / 10_000);
      if (Math.abs(simulated - estimate.value!) > 4 * Math.hypot(estimate.standardError!, binomial)) beyond.push(`t = ${ouTime[k]}`);
    });
    expect(beyond).toEqual([]);
  });
});

describe("Fig. 3, excess entropy of n = 20 000 data", () => {
  it.each([256, 1024, 4096])("agrees at d = %i with the published points and, above collapse, with the class-corrected theory", async (d) => {
    const curve = published.gmmExcessEntropyOverAlpha;
    const times = [...(curve.t as number[])].reverse();
    const n = 20_000;
    const data = await sampleTarget(pair(d), n, { seed: 21 });
    const draws = d === 4096 ? 200 : 400;
    const { excessEntropyOverAlpha, alpha } = await regimes(diffuse(empirical(data), ornsteinUhlenbeck()), { times, draws, seed: 22 });
    const wrong: string[] = [];
    times.forEach((t, k) => {
      const { value, standardError } = excessEntropyOverAlpha[k]!;
      const at = times.length - 1 - k;
      // 0.003: two data sets drawn from one population differ by that much.
      const allowed = 4 * Math.hypot(standardError!, curve[`se${d}`][at]) + 0.003;
      if (Math.abs(value! - curve[`d${d}`][at]) > allowed) wrong.push(`published t = ${t}: ${value} against ${curve[`d${d}`][at]}`);
      const theory = excessEntropyPerDimension(t, { n, d, variance: 1, halfSeparation: Math.sqrt(d) }) / alpha;
      if (theory > 0.3 && Math.abs(value! - theory) > 4 * standardError! + 0.003) wrong.push(`theory t = ${t}: ${value} against ${theory}`);
    });
    expect(wrong).toEqual([]);
  }, 120_000);
});
