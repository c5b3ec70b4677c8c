import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RegimesError, type ErrorCode } from "../lib/errors.js";
import { clocks, ddpm, firstStepBelow, ouTimeFrom } from "../lib/process.js";
import {
  classEntropy,
  classEntropyRate,
  cloningAtKappaOne,
  cloningProbability,
  cloningThreshold,
  collapseCloningBound,
  entropyRateKappa,
  entropyRateMaximum,
  excessEntropyBoundPerDimension,
  excessEntropyPerDimension,
  information,
  kappaAt,
  kappaOfCloning,
  populationCollapseTime,
  sdeInstabilityTime,
  spectralSpeciationTime,
  surrogateCollapseTime,
  timeOfKappa,
  type Population,
} from "../lib/theory.js";

interface Case {
  readonly name: string;
  readonly inputs: any;
  readonly expected: any;
  readonly tol: { readonly rel: number; readonly abs: number };
}

function readGolden(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`golden/${name}`, import.meta.url), "utf8"));
}

const { cases } = readGolden("reference_values.json") as { cases: Case[] };

function goldenCase(name: string): Case {
  const found = cases.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no golden case ${name}`);
  return found;
}

/** Largest |got - expected| in units of the case's own tolerance: at most 1 passes. */
function worst({ tol }: Case, got: readonly (number | null)[], expected: readonly number[]): number {
  if (got.length !== expected.length) return Infinity;
  return Math.max(...expected.map((w, k) => Math.abs((got[k] ?? NaN) - w) / (tol.abs + tol.rel * Math.abs(w))));
}

function codeOf(call: () => unknown): ErrorCode {
  try {
    call();
  } catch (error) {
    if (error instanceof RegimesError) return error.code;
    throw error;
  }
  throw new Error("the call did not throw");
}

const kappas = fc.double({ min: 1e-6, max: 8, noNaN: true });
const eigenvalueLists = fc.array(fc.double({ min: 1e-3, max: 50, noNaN: true }), { minLength: 1, maxLength: 12 });

describe("golden cases", () => {
  it("spec-lambda-12x6: spectral speciation and SDE instability of the top eigenvalue", () => {
    const each = goldenCase("spec-lambda-12x6");
    const lambda = each.expected.eigenvaluesUnbiasedCentred[0];
    const got = [spectralSpeciationTime(lambda), sdeInstabilityTime(lambda)];
    expect(worst(each, got, [each.expected.tS, each.expected.tSdeInstability])).toBeLessThanOrEqual(1);
  });

  it("speciation-step-table1: spectral speciation times of published eigenvalues, and their DDPM steps", () => {
    const each = goldenCase("speciation-step-table1");
    const lambdas: number[] = each.inputs.Lambda;
    expect(worst(each, lambdas.map(spectralSpeciationTime), each.expected.tS)).toBeLessThanOrEqual(1);
    expect(lambdas.map((lambda) => firstStepBelow(ddpm(), 1 / lambda))).toEqual(each.expected.step);
  });

  it("phi-gmm-published-grid", () => {
    const each = goldenCase("phi-gmm-published-grid");
    const got = Object.keys(each.expected).map((key) => {
      const [d, t] = key.match(/[\d.]+/g)!.map(Number) as [number, number];
      return cloningProbability(kappaAt(t, { halfSeparation: Math.sqrt(d), variance: 1 }));
    });
    expect(got.length).toBe(7);
    expect(worst(each, got, Object.values(each.expected))).toBeLessThanOrEqual(1);
  });

  it("phi-universal-kappa1", () => {
    const each = goldenCase("phi-universal-kappa1");
    expect(worst(each, [cloningProbability(1), cloningAtKappaOne], [each.expected.phi, each.expected.phi])).toBeLessThanOrEqual(1);
  });

  it("phi-gmm-sigma: kappa and the three forms of the speciation time with a variance that is not 1", () => {
    const each = goldenCase("phi-gmm-sigma");
    const { d, mu, sigma2, t } = each.inputs;
    const pair = { halfSeparation: mu * Math.sqrt(d), variance: sigma2 };
    const { phi, kappa, tS_exact_kappa1: exact, tS_lambda: spectral, tS_leading: leading } = each.expected;
    const got = [
      cloningProbability(kappaAt(t, pair)),
      kappaAt(t, pair),
      timeOfKappa(pair),
      spectralSpeciationTime(d * mu ** 2 + sigma2),
      spectralSpeciationTime(d * mu ** 2),
    ];
    expect(worst(each, got, [phi, kappa, exact, spectral, leading])).toBeLessThanOrEqual(1);
  });

  it("class-entropy", () => {
    const each = goldenCase("class-entropy");
    const got = each.inputs.kappas.map(classEntropy);
    expect(worst(each, [...got, entropyRateKappa], [...each.expected.H, each.expected.kappaOfMaxEntropyRate])).toBeLessThanOrEqual(1);
  });

  it.each(cases.filter(({ name }) => name.startsWith("tC-gaussian-")).map((each) => [each.name, each] as const))("%s", (_, each) => {
    const { n, d, sigma2: variance } = each.inputs;
    const time = populationCollapseTime({ n, d, variance })!;
    expect(worst(each, [time, clocks(time).sigma ** 2], [each.expected.tC, each.expected.edmSigma2])).toBeLessThanOrEqual(1);
  });

  it("tC-anisotropic", () => {
    const each = goldenCase("tC-anisotropic");
    const { eigenvalues, n } = each.inputs;
    expect(worst(each, [populationCollapseTime({ n, d: 8, variance: eigenvalues })], [each.expected.tC])).toBeLessThanOrEqual(1);
  });

  it("tC-gmm-class-corrected: with the class term, as published, and as published with n/2", () => {
    const each = goldenCase("tC-gmm-class-corrected");
    const { n, d } = each.inputs;
    const { tC, tCpaper, tChalfN } = each.expected;
    const got = [
      populationCollapseTime({ n, d, variance: 1, halfSeparation: Math.sqrt(d) }),
      populationCollapseTime({ n, d, variance: 1 }),
      populationCollapseTime({ n: n / 2, d, variance: 1 }),
    ];
    expect(worst(each, got, [tC, tCpaper, tChalfN])).toBeLessThanOrEqual(1);
  });

  it("gmm-collapse-fig3-d256: excess entropy with the class term, and its finite-size bound", () => {
    const each = goldenCase("gmm-collapse-fig3-d256");
    const { n, d, t } = each.inputs;
    const population = { n, d, variance: 1, halfSeparation: Math.sqrt(d) };
    const alpha = Math.log(n) / d;
    const exact = t.map((time: number) => excessEntropyPerDimension(time, population) / alpha);
    const bound = t.map((time: number) => excessEntropyBoundPerDimension(time, population) / alpha);
    expect(worst(each, exact, each.expected.fPopulationOverAlpha)).toBeLessThanOrEqual(1);
    expect(worst(each, bound, each.expected.softplusBoundOverAlpha)).toBeLessThanOrEqual(1);
  });
});

describe("published curves of Biroli et al. 2024", () => {
  interface Curves {
    readonly gmmPhi: Record<"t" | "d256" | "d1024" | "d4096" | "d16384", number[]>;
    readonly gmmExcessEntropyOverAlpha: Record<"t" | "d256" | "d1024" | "d4096" | "se256" | "se1024" | "se4096", number[]>;
  }
  const { gmmPhi, gmmExcessEntropyOverAlpha } = readGolden("published_curves.json") as Curves;

  it.each([256, 1024, 4096, 16_384] as const)("Fig. 2, d = %d: phi within 4 binomial standard errors at every time", (d) => {
    const beyond = gmmPhi.t.flatMap((t, i) => {
      const phi = cloningProbability(kappaAt(t, { halfSeparation: Math.sqrt(d), variance: 1 }));
      const error = Math.sqrt((phi * (1 - phi)) / 1e4);
      return Math.abs(gmmPhi[`d${d}`][i]! - phi) <= 4 * error ? [] : [{ t, published: gmmPhi[`d${d}`][i], phi, error }];
    });
    expect(gmmPhi[`d${d}`].length).toBe(19);
    expect(beyond).toEqual([]);
  });

  // Within 4 standard errors + 0.003, which is what the excess entropy differs by between data sets of this size. Below f/alpha = 0.3 the
  // finite size rounds the corner.
  it.each([256, 1024, 4096] as const)("Fig. 3, d = %d: excess entropy above collapse, with the class term", (d) => {
    const population = { n: 20_000, d, variance: 1, halfSeparation: Math.sqrt(d) };
    const theory = gmmExcessEntropyOverAlpha.t.map((t) => (excessEntropyPerDimension(t, population) * d) / Math.log(20_000));
    const above = theory.flatMap((value, i) => (value > 0.3 ? [i] : []));
    const error = gmmExcessEntropyOverAlpha[`se${d}`];
    const far = above.filter((i) => Math.abs(gmmExcessEntropyOverAlpha[`d${d}`][i]! - theory[i]!) > 4 * error[i]! + 0.003);
    expect(above.length).toBeGreaterThan(13);
    expect(far).toEqual([]);
  });

  it("Fig. 3: the finite-size bound is above the measured excess entropy at every time", () => {
    for (const d of [256, 1024, 4096] as const) {
      const population = { n: 20_000, d, variance: 1, halfSeparation: Math.sqrt(d) };
      gmmExcessEntropyOverAlpha.t.forEach((t, i) => {
        const bound = (excessEntropyBoundPerDimension(t, population) * d) / Math.log(20_000);
        expect(gmmExcessEntropyOverAlpha[`d${d}`][i]! - 4 * gmmExcessEntropyOverAlpha[`se${d}`][i]! - 0.003).toBeLessThanOrEqual(bound);
      });
    }
  });

  it("Fig. 3, d = 256: the published theory curve is the one without the class term", () => {
    const published = [0.9823, 0.9611, 0.9147, 0.8124, 0.5856, 0.0744];
    const got = [3.296, 2.904, 2.512, 2.12, 1.728, 1.336].map((t) => {
      return (excessEntropyPerDimension(t, { n: 20_000, d: 256, variance: 1 }) * 256) / Math.log(20_000);
    });
    published.forEach((value, i) => expect(got[i]).toBeCloseTo(value, 4));
  });
});

describe("two symmetric classes", () => {
  it("phi is the integral of (G+^2 + G-^2)/(G+ + G-)/2", () => {
    for (const kappa of [0.05, 0.4, 1, 2.5]) {
      let sum = 0;
      const h = 1 / 64;
      for (let y = -12; y <= 12; y += h) {
        const [plus, minus] = [kappa, -kappa].map((m) => Math.exp(-((y - m) ** 2) / 2) / Math.sqrt(2 * Math.PI)) as [number, number];
        sum += ((plus * plus + minus * minus) / (plus + minus)) * (h / 2);
      }
      expect(Math.abs(cloningProbability(kappa) - sum)).toBeLessThan(1e-14);
    }
  });

  it("phi has its tabulated values 0.75 and 0.9", () => {
    expect(cloningProbability(0.92241)).toBeCloseTo(0.75, 5);
    expect(cloningProbability(1.49261)).toBeCloseTo(0.9, 5);
  });

  it("phi goes from 1/2 to 1 and the class entropy from log 2 to 0, and neither passes its limit", () => {
    expect([cloningProbability(0), classEntropy(0), cloningProbability(1e9), classEntropy(1e9)]).toEqual([0.5, Math.LN2, 1, 0]);
    fc.assert(
      fc.property(fc.double({ min: 0, max: 60, noNaN: true }), (kappa) => {
        expect(cloningProbability(kappa)).toBeGreaterThanOrEqual(0.5);
        expect(cloningProbability(kappa)).toBeLessThanOrEqual(1);
        expect(classEntropy(kappa)).toBeGreaterThanOrEqual(0);
        expect(classEntropy(kappa)).toBeLessThanOrEqual(Math.LN2);
      }),
      { seed: 1 },
    );
  });

  it("phi at small kappa is 1/2 + kappa^2/2 and the information kappa^2/2", () => {
    for (const kappa of [1e-3, 1e-2]) {
      expect(Math.abs(cloningProbability(kappa) - 0.5 - kappa ** 2 / 2)).toBeLessThan(kappa ** 4);
      expect(Math.abs(Math.LN2 - classEntropy(kappa) - kappa ** 2 / 2)).toBeLessThan(kappa ** 4);
    }
  });

  it("phi rises and the class entropy falls with kappa", () => {
    fc.assert(
      fc.property(kappas, kappas, (k, l) => {
        fc.pre(Math.abs(k - l) > 1e-4);
        const [low, high] = [Math.min(k, l), Math.max(k, l)];
        expect(cloningProbability(high)).toBeGreaterThanOrEqual(cloningProbability(low));
        expect(classEntropy(high)).toBeLessThan(classEntropy(low));
      }),
      { seed: 2 },
    );
  });

  it("the inverse of phi is its inverse", () => {
    fc.assert(
      fc.property(fc.double({ min: 0.01, max: 5, noNaN: true }), (kappa) => {
        const phi = cloningProbability(kappa);
        const slope = (cloningProbability(kappa * 1.001) - phi) / (kappa * 0.001);
        expect(Math.abs(kappaOfCloning(phi)! - kappa)).toBeLessThanOrEqual((8 * Number.EPSILON) / slope);
      }),
      { seed: 3 },
    );
    expect([0, 0.3, 0.4999, 1].map(kappaOfCloning)).toEqual([null, null, null, null]);
    expect(kappaOfCloning(0.5)).toBe(0);
  });

  it("the information obeys dI/d(kappa^2) = 1 - phi, the I-MMSE relation", () => {
    for (const kappa of [0.3, 1, 2]) {
      const h = 1e-4;
      const derivative = (classEntropy(Math.sqrt(kappa ** 2 - h)) - classEntropy(Math.sqrt(kappa ** 2 + h))) / (2 * h);
      expect(derivative).toBeCloseTo(1 - cloningProbability(kappa), 8);
    }
  });

  it("the class entropy changes fastest at entropyRateKappa, 0.2055 after speciation in generation", () => {
    const h = 1e-4;
    const rates = [-h, h].map((offset) => classEntropyRate(entropyRateKappa + offset)) as [number, number];
    expect(Math.abs(rates[1] - rates[0])).toBeLessThan(1e-11);
    for (const rate of rates) expect(rate).toBeLessThan(entropyRateMaximum);
    expect(entropyRateMaximum).toBeCloseTo(0.47952, 5);
    expect(Math.log(entropyRateKappa)).toBeCloseTo(0.2055, 4);
  });

  it("classEntropyRate is dH/dt for classes of variance 1, and over a^2 variance + b^2 else", () => {
    for (const variance of [1, 0.3, 4]) {
      const pair = { halfSeparation: 5, variance };
      const t = 1.1;
      const h = 1e-4;
      const slope = (classEntropy(kappaAt(t + h, pair)) - classEntropy(kappaAt(t - h, pair))) / (2 * h);
      const width = variance * Math.exp(-2 * t) - Math.expm1(-2 * t);
      expect(slope).toBeCloseTo(classEntropyRate(kappaAt(t, pair)) / width, 7);
    }
  });

  it("the threshold for any number of classes is 0.7752 for two, and lies between chance and 1", () => {
    expect(cloningThreshold([0.5, 0.5])).toBeCloseTo(0.7752002454, 10);
    expect(cloningThreshold([1])).toBe(1);
    const ten = cloningThreshold(new Float64Array(10).fill(0.1));
    expect(ten).toBeCloseTo(0.1 + 0.5504004908 * 0.9, 9);
    for (const bad of [[], [0.5], [0.7, 0.7], [1.5, -0.5], [NaN, 1]]) expect(codeOf(() => cloningThreshold(bad))).toBe("E_WEIGHTS");
  });
});

describe("kappa", () => {
  it("kappaAt and timeOfKappa are inverse, for one variance and for a spectrum", () => {
    fc.assert(
      fc.property(eigenvalueLists, fc.double({ min: 0.2, max: 3, noNaN: true }), (variance, t) => {
        const pair = { halfSeparation: variance.map((l, i) => (i % 2 === 0 ? 1 : -2) * Math.sqrt(l)), variance };
        expect(timeOfKappa(pair, kappaAt(t, pair))! / t).toBeCloseTo(1, 10);
        const spherical = { halfSeparation: 3, variance: variance[0]! };
        expect(timeOfKappa(spherical, kappaAt(t, spherical))! / t).toBeCloseTo(1, 10);
      }),
      { seed: 4 },
    );
  });

  it("a spectrum of equal eigenvalues is one variance, and one variance serves many coordinates", () => {
    const spherical = { halfSeparation: 5, variance: 2 };
    for (const pair of [
      { halfSeparation: [3, -4, 0], variance: [2, 2, 2] },
      { halfSeparation: [3, -4], variance: 2 },
    ]) {
      expect(kappaAt(0.7, pair)).toBeCloseTo(kappaAt(0.7, spherical), 14);
      expect(timeOfKappa(pair)).toBeCloseTo(timeOfKappa(spherical)!, 13);
    }
  });

  it("classes closer than their width have no speciation time", () => {
    expect(timeOfKappa({ halfSeparation: 1, variance: 1 })).toBeNull();
    expect(timeOfKappa({ halfSeparation: [1, 0], variance: [2, 0] })).toBeNull();
    expect(timeOfKappa({ halfSeparation: 0, variance: 0 })).toBeNull();
  });

  it("points without width have kappa = |m|/sigma at every time that float64 holds", () => {
    const point = { halfSeparation: 2, variance: 0 };
    expect(kappaAt(1e-200, point) * clocks(1e-200).sigma).toBeCloseTo(2, 14);
    expect(kappaAt(1e3, point)).toBe(0);
  });
});

describe("single-number criteria", () => {
  it("no direction wider than the noise: no spectral speciation time", () => {
    expect([0, 0.5, 1].map(spectralSpeciationTime)).toEqual([null, null, null]);
  });

  it("two deltas at +-1 lose stability at 0.4407, and large c is log 2 / 2 above the spectral time", () => {
    expect(sdeInstabilityTime(1)).toBeCloseTo(0.4407, 4);
    expect(sdeInstabilityTime(1e6)! - spectralSpeciationTime(1e6)!).toBeCloseTo(Math.LN2 / 2, 11);
    expect(sdeInstabilityTime(0)).toBeNull();
    // The condition itself, theta^2 = sqrt(1 + c^2) - c.
    expect(Math.exp(-2 * sdeInstabilityTime(2.7)!)).toBeCloseTo(Math.sqrt(1 + 2.7 ** 2) - 2.7, 14);
  });
});

describe("collapse of a population", () => {
  it("the excess entropy vanishes at the collapse time and rises to alpha", () => {
    fc.assert(
      fc.property(eigenvalueLists, fc.double({ min: 2, max: 1e6, noNaN: true }), fc.boolean(), (variance, n, classes) => {
        const gaussian: Population = { n, d: variance.length + 1, variance };
        const population = classes ? { ...gaussian, halfSeparation: variance.map(() => 1.5) } : gaussian;
        const t = populationCollapseTime(population)!;
        const alpha = Math.log(n) / population.d;
        expect(Math.abs(excessEntropyPerDimension(t, population))).toBeLessThan(1e-11 * alpha);
        expect(excessEntropyPerDimension(t * 1.01, population)).toBeGreaterThan(0);
        expect(excessEntropyPerDimension(t * 0.99, population)).toBeLessThan(0);
        expect(excessEntropyPerDimension(30, population)).toBeLessThanOrEqual(alpha);
        expect(excessEntropyPerDimension(30, population)).toBeCloseTo(alpha, 10);
      }),
      { seed: 5, numRuns: 50 },
    );
  });

  it("more data collapse later in generation, wider data earlier", () => {
    const at = (n: number, variance: number): number => populationCollapseTime({ n, d: 50, variance })!;
    expect(at(1000, 1)).toBeLessThan(at(100, 1));
    expect(at(1000, 2)).toBeGreaterThan(at(1000, 1));
  });

  it("a spectrum of equal eigenvalues is the spherical case, and missing ones are zero", () => {
    const spherical = populationCollapseTime({ n: 500, d: 4, variance: 3 })!;
    expect(populationCollapseTime({ n: 500, d: 4, variance: [3, 3, 3, 3] })).toBeCloseTo(spherical, 13);
    expect(populationCollapseTime({ n: 500, d: 9, variance: [3, 3, 3, 3] })).toBeCloseTo(spherical, 13);
    expect(populationCollapseTime({ n: 500, d: 9, variance: [3, 3, 3, 3, 0, -1e-13] })).toBeCloseTo(spherical, 13);
  });

  it("far classes cost log 2 of information, touching ones nothing", () => {
    const gaussian = { d: 3, variance: 1 };
    expect(information(0.5, { ...gaussian, halfSeparation: 100 }) - information(0.5, gaussian)).toBeCloseTo(Math.LN2, 12);
    expect(information(0.5, { ...gaussian, halfSeparation: 0 })).toBeCloseTo(information(0.5, gaussian), 14);
    expect(information(0.5, gaussian)).toBeCloseTo((3 / 2) * Math.log1p(1 / clocks(0.5).sigma ** 2), 14);
  });

  it("without a datum to spare, or without width, there is no collapse time", () => {
    expect(populationCollapseTime({ n: 1, d: 2, variance: 1 })).toBeNull();
    expect(populationCollapseTime({ n: 10, d: 2, variance: 0 })).toBeNull();
    expect(populationCollapseTime({ n: 10, d: 2, variance: [] })).toBeNull();
    expect(populationCollapseTime({ n: 10, d: 2, variance: 0, halfSeparation: 4 })).toBeNull();
    expect(surrogateCollapseTime({ n: 10, d: 2, variance: [0, 0] })).toBeNull();
  });

  it("the collapse time of huge data sets and dimensions is finite and ordered", () => {
    const times = [1e1, 1e6, 1e300].map((n) => populationCollapseTime({ n, d: 1_000_000, variance: 1 })!);
    expect(times.every((time) => Number.isFinite(time) && time > 0)).toBe(true);
    expect(times).toEqual(times.toSorted((left, right) => right - left));
  });
});

describe("finite size", () => {
  it("the bounds have the tabulated values for n = 3000, d = 60 around collapse", () => {
    const collapse = clocks(populationCollapseTime({ n: 3000, d: 60, variance: 1 })!).sigma ** 2;
    const table: [number, number, number][] = [
      [0.5, 0.033, 0.892],
      [0.8, 0.131, 0.65],
      [1, 0.207, 0.5],
      [1.3, 0.313, 0.331],
      [2, 0.495, 0.131],
    ];
    for (const [ratio, softplus, cloning] of table) {
      const t = ouTimeFrom("sigma", Math.sqrt(ratio * collapse));
      const population = { n: 3000, d: 60, variance: 1 };
      expect((excessEntropyBoundPerDimension(t, population) * 60) / Math.log(3000)).toBeCloseTo(softplus, 3);
      expect(collapseCloningBound(t, population)).toBeCloseTo(cloning, 3);
    }
  });

  it("the excess entropy bound is above the population's and above 0, the cloning bound goes from 1 to 1/(1 + n)", () => {
    fc.assert(
      fc.property(fc.double({ min: 0.05, max: 6, noNaN: true }), eigenvalueLists, (t, variance) => {
        const population = { n: 1000, d: variance.length, variance };
        const bound = excessEntropyBoundPerDimension(t, population);
        expect(bound).toBeGreaterThanOrEqual(0);
        expect(bound).toBeGreaterThanOrEqual(excessEntropyPerDimension(t, population));
        const cloning = collapseCloningBound(t, population);
        expect(cloning).toBeGreaterThanOrEqual(0);
        expect(cloning).toBeLessThanOrEqual(1);
      }),
      { seed: 6 },
    );
    expect(collapseCloningBound(1e-3, { n: 1000, d: 400, variance: 1 })).toBeCloseTo(1, 13);
    expect(collapseCloningBound(40, { n: 1000, d: 400, variance: 1 })).toBeCloseTo(1 / 1001, 12);
  });
});

describe("Gaussian surrogate", () => {
  it("its standard error is the delta method over independent eigenvalues with se(l) = l sqrt(2/n)", () => {
    const eigenvalues = [9, 4, 2.5, 1, 0.2, 0.01];
    const n = 700;
    const surrogate = surrogateCollapseTime({ n, d: 6, variance: eigenvalues })!;
    expect(surrogate.value).toBe(populationCollapseTime({ n, d: 6, variance: eigenvalues }));
    const parts = eigenvalues.map((l, i) => {
      const at = (factor: number): number => {
        return populationCollapseTime({ n, d: 6, variance: eigenvalues.map((each, j) => (i === j ? each * factor : each)) })!;
      };
      return ((at(1.0001) - at(0.9999)) / (0.0002 * l)) * l * Math.sqrt(2 / n);
    });
    expect(Math.hypot(...parts) / surrogate.standardError).toBeCloseTo(1, 6);
  });

  it("counts one number d times", () => {
    const one = surrogateCollapseTime({ n: 100, d: 3, variance: 2 })!;
    const many = surrogateCollapseTime({ n: 100, d: 3, variance: [2, 2, 2] })!;
    expect(one.value).toBeCloseTo(many.value, 14);
    expect(one.standardError).toBeCloseTo(many.standardError, 14);
  });
});

describe("a caller's mistake", () => {
  const population = { n: 10, d: 2, variance: 1 };
  it.each([
    ["a negative kappa", "E_DOMAIN", () => cloningProbability(-1)],
    ["kappa NaN", "E_DOMAIN", () => classEntropy(NaN)],
    ["an infinite kappa", "E_DOMAIN", () => classEntropyRate(Infinity)],
    ["a probability above 1", "E_DOMAIN", () => kappaOfCloning(1.1)],
    ["a negative eigenvalue", "E_DOMAIN", () => spectralSpeciationTime(-1)],
    ["an eigenvalue NaN", "E_DOMAIN", () => sdeInstabilityTime(NaN)],
    ["t = 0", "E_DOMAIN", () => excessEntropyPerDimension(0, population)],
    ["t NaN", "E_DOMAIN", () => kappaAt(NaN, { halfSeparation: 1, variance: 1 })],
    ["kappa 0 as a target", "E_DOMAIN", () => timeOfKappa({ halfSeparation: 1, variance: 1 }, 0)],
    ["n = 0", "E_DOMAIN", () => populationCollapseTime({ ...population, n: 0 })],
    ["half a dimension", "E_DOMAIN", () => populationCollapseTime({ ...population, d: 1.5 })],
    ["an infinite variance", "E_DOMAIN", () => collapseCloningBound(1, { ...population, variance: Infinity })],
    ["a coordinate NaN", "E_DOMAIN", () => kappaAt(1, { halfSeparation: [NaN], variance: [1] })],
    ["more eigenvalues than dimensions", "E_SHAPE", () => information(1, { d: 2, variance: [1, 1, 1] })],
    ["more coordinates than eigenvalues", "E_SHAPE", () => kappaAt(1, { halfSeparation: [1, 1], variance: [1] })],
    ["a distance beside eigenvalues", "E_SHAPE", () => kappaAt(1, { halfSeparation: 1, variance: [1] })],
    ["an eigenvalue below zero", "E_NOT_PSD", () => surrogateCollapseTime({ ...population, variance: [1, -0.1] })],
  ] as const)("%s is %s", (_, code, call) => {
    expect(codeOf(call)).toBe(code);
  });
});
