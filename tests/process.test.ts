import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RegimesError, type ErrorCode } from "../lib/errors.js";
import {
  clocks,
  ddpm,
  describeProcess,
  edm,
  edmSchedule,
  firstStepBelow,
  ornsteinUhlenbeck,
  ouTimeFrom,
  processByName,
  processNames,
  rectifiedFlow,
  subVariancePreserving,
  varianceExploding,
  variancePreserving,
  type Clocks,
  type Process,
} from "../lib/process.js";

interface Case {
  readonly name: string;
  readonly inputs: Record<string, number & readonly number[]>;
  readonly expected: Record<string, number & readonly number[]>;
  readonly tol: { readonly rel: number; readonly abs: number };
}

const golden = JSON.parse(readFileSync(new URL("golden/reference_values.json", import.meta.url), "utf8")) as { cases: Case[] };

function goldenCase(name: string): Case {
  const found = golden.cases.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no golden case ${name}`);
  return found;
}

/** The values of `got` that miss those of a case by more than its own tolerance, and keys that only one of them has. */
function misses({ expected, tol }: Pick<Case, "expected" | "tol">, got: Record<string, ArrayLike<number> | number | null>): string[] {
  const keys = [...new Set([...Object.keys(expected), ...Object.keys(got)])];
  return keys.flatMap((key) => {
    const wanted = [expected[key] ?? []].flat();
    const value = got[key] ?? NaN;
    const values = typeof value === "number" ? [value] : Array.from(value);
    if (values.length !== wanted.length) return [`${key}: ${values.length} values for ${wanted.length}`];
    const near = (w: number, k: number): boolean => Math.abs(values[k]! - w) <= tol.abs + tol.rel * Math.abs(w);
    return wanted.flatMap((w, k) => (near(w, k) ? [] : [`${key}[${k}]: ${values[k]} for ${w}`]));
  });
}

/** The error that a call throws. */
function thrown(call: () => unknown): RegimesError {
  try {
    call();
  } catch (error) {
    if (error instanceof RegimesError) return error;
    throw error;
  }
  throw new Error("the call did not throw");
}

function codeOf(call: () => unknown): ErrorCode {
  return thrown(call).code;
}

// ---- an oracle: fixed-point arithmetic with 1500 bits after the point ----

const POINT = 1500;
const ONE = 1n << BigInt(POINT);

function power2(exponent: number): bigint {
  return 1n << BigInt(exponent);
}

/** Exponent e of x = m 2^e, 1 <= m < 2. */
function binaryExponent(x: number): number {
  const bits = new DataView(new Float64Array([x]).buffer);
  return ((bits.getUint16(6, true) >> 4) & 0x7ff) - 1023;
}

/** A normal float64 as fixed point, exactly. */
function fixed(x: number): bigint {
  if (x < 0) return -fixed(-x);
  if (x === 0) return 0n;
  const e = binaryExponent(x);
  // In two factors: 2^-e alone would overflow below 1e-300.
  const half = Math.trunc(e / 2);
  return BigInt(x * 2 ** -half * 2 ** -(e - half) * 2 ** 52) * power2(POINT + e - 52);
}

/** e^x for a fixed-point x. */
function fixedExp(x: bigint): bigint {
  if (x < 0n) return (ONE * ONE) / fixedExp(-x);
  const halvings = 64;
  const small = x >> BigInt(halvings - 20);
  let term = ONE;
  let sum = ONE;
  for (let k = 1n; term !== 0n; k++) {
    term = ((term * small) >> BigInt(POINT + 20)) / k;
    sum += term;
  }
  for (let k = 0; k < halvings; k++) sum = (sum * sum) >> BigInt(POINT);
  return sum;
}

function fixedSqrt(x: bigint): bigint {
  const radicand = x << BigInt(POINT);
  let root = 1n << BigInt((radicand.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (root + radicand / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** Natural logarithm of a positive fixed-point number, by Halley's iteration from float64. */
function fixedLog(x: bigint): bigint {
  const bits = x.toString(2).length;
  const leading = Number(x >> BigInt(bits - 60)) * 2 ** -59;
  let y = fixed(Math.log(leading) + (bits - 1 - POINT) * Math.LN2);
  for (let k = 0; k < 3; k++) {
    const e = fixedExp(y);
    y += (2n * ONE * (x - e)) / (x + e);
  }
  return y;
}

/** |got - exact| in units in the last place of the exact value. */
function ulps(got: number, exact: bigint): number {
  const magnitude = exact < 0n ? -exact : exact;
  const ulp = power2(magnitude.toString(2).length - 1 - 52);
  const error = fixed(got) - exact;
  return Number(((error < 0n ? -error : error) * 1000n) / ulp) / 1000;
}

const ouTimes = fc.double({ min: Math.log(1e-300), max: Math.log(700), noNaN: true }).map(Math.exp);
const nearSwitches = fc.constantFrom(0.2, 0.55, Math.LN2 / 2, 20).chain((centre) => {
  return fc.double({ min: -1e-3, max: 1e-3, noNaN: true }).map((offset) => centre + offset ** 3 * 1e4);
});

describe("golden cases", () => {
  it.each(golden.cases.filter(({ name }) => name.startsWith("bridge-")).map((each) => [each.name, each] as const))(
    "%s: one noise level in every clock",
    (_, each) => {
      const { a, b } = ornsteinUhlenbeck().marginal(each.inputs["ouTime"]!);
      const { sigma, logSnr, flowTime, vpTime } = clocks(each.inputs["ouTime"]!);
      expect(misses(each, {
        signalScale: a,
        noiseStd: b,
        alphaBar: a * a,
        edmSigma: sigma,
        snr: Math.exp(logSnr),
        halfLogSnr: logSnr / 2,
        flowTau: flowTime,
        vpLinearTime: vpTime,
      })).toEqual([]);
    },
  );

  it.each([0, 499, 999])("ddpm-linear-step-%d", (k) => {
    const process = ddpm();
    const { a, b } = process.marginal(k);
    const got = { alphaBar: process.alphaBar[k]!, ouTime: process.ouTime(k), edmSigma: b / a };
    expect(misses(goldenCase(`ddpm-linear-step-${k}`), got)).toEqual([]);
  });

  it("speciation-step-table1: the first step with alphaBar below 1/Lambda", () => {
    const each = goldenCase("speciation-step-table1");
    const process = ddpm();
    const steps = each.inputs["Lambda"]!.map((lambda) => firstStepBelow(process, 1 / lambda)!);
    const { tS, ...rest } = each.expected;
    expect(misses({ ...each, expected: rest }, { step: steps, ouTimeOfStep: steps.map((k) => process.ouTime(k)) })).toEqual([]);
    tS!.forEach((time, i) => expect(process.ouTime(steps[i]! - 1)).toBeLessThanOrEqual(time));
  });

  it("cosine-schedule, continuous and discrete with its clipped end", () => {
    const process = variancePreserving({ schedule: "cosine" });
    const discrete = ddpm({ schedule: "cosine" });
    expect(misses(goldenCase("cosine-schedule"), {
      alphaBar: process.marginal(0.5).a ** 2,
      ouTime: process.ouTime(0.5),
      beta_k: discrete.betas[500]!,
      beta_last: discrete.betas[999]!,
    })).toEqual([]);
  });

  it("edm-schedule-8", () => {
    expect(misses(goldenCase("edm-schedule-8"), { sigmas: edmSchedule({ steps: 8, sigmaMin: 0.002, sigmaMax: 80, rho: 7 }) })).toEqual([]);
  });

  it("subvp-marginal", () => {
    const { a, b } = subVariancePreserving({ betaMin: 0.1, betaMax: 20 }).marginal(0.4);
    expect(misses(goldenCase("subvp-marginal"), { meanScale: a, std: b, edmSigma: b / a })).toEqual([]);
  });

  // Columns: OU time (rounded), DDPM step, VP u, sigma, SNR, flow time, as tabulated in the theory notes.
  it.each([
    ["two deltas, reverse-SDE criterion", 0.4407, 291.7, 0.2926, 1.1892, Math.SQRT1_2, 0.5432],
    ["Lambda 7.66", 1.018, 445.9, 0.4474, 2.5807, 0.1502, 0.7207],
    ["Lambda 16.72", 1.4083, 525.3, 0.527, 3.9648, 0.0636, 0.7986],
    ["Lambda 3.05", 0.5576, 328.8, 0.3298, 1.4318, 0.4878, 0.5888],
    ["Lambda 60.52", 2.0515, 635.0, 0.6371, 7.715, 0.0168, 0.8853],
  ])("%s in every clock", (_, ouTime, step, u, sigma, snr, flow) => {
    const told = clocks(ouTime);
    expect(told.ddpmStep).toBeCloseTo(step, 1);
    expect(told.vpTime).toBeCloseTo(u, 4);
    expect(told.sigma).toBeCloseTo(sigma, 4);
    expect(Math.exp(told.logSnr)).toBeCloseTo(snr, 4);
    expect(told.flowTime).toBeCloseTo(flow, 4);
  });
});

describe("accuracy against fixed-point arithmetic of 1500 bits", () => {
  it("keeps a, b and log-SNR within 2 ulp for OU times from 1e-300 to 700", () => {
    const process = ornsteinUhlenbeck();
    const check = (t: number): void => {
      const a = fixedExp(-fixed(t));
      const bSquared = ONE - fixedExp(-2n * fixed(t));
      const marginal = process.marginal(t);
      expect(ulps(marginal.a, a)).toBeLessThanOrEqual(2);
      expect(ulps(marginal.b, fixedSqrt(bSquared))).toBeLessThanOrEqual(2);
      const logSnr = -2n * fixed(t) - fixedLog(bSquared);
      expect(ulps(clocks(t).logSnr, logSnr)).toBeLessThanOrEqual(2);
    };
    const times = fc.oneof(ouTimes, fc.double({ min: 1e-3, max: 3, noNaN: true }), nearSwitches);
    fc.assert(fc.property(times, check), { seed: 7, numRuns: 300 });
    for (const t of [1e-300, 1e-17, Math.LN2 / 2, 0.2, 0.55, 20, 350, 700]) check(t);
  });

  it("keeps OU time and log-SNR of sigma within 2 ulp for sigma from 1e-150 to 1e150", () => {
    const check = (sigma: number): void => {
      const square = (fixed(sigma) * fixed(sigma)) >> BigInt(POINT);
      expect(ulps(2 * ouTimeFrom("sigma", sigma), fixedLog(ONE + square))).toBeLessThanOrEqual(2);
      expect(edm().marginal(sigma)).toEqual({ a: 1, b: sigma });
    };
    const sigmas = fc.double({ min: Math.log(1e-150), max: Math.log(1e150), noNaN: true }).map(Math.exp);
    fc.assert(fc.property(sigmas, check), { seed: 8, numRuns: 200 });
    for (const sigma of [1e-150, 1e-8, 1, 1e8, 1e150]) check(sigma);
  });

  it("sums a hundred thousand steps of a schedule without losing digits", () => {
    const process = ddpm({ betas: new Float64Array(100_000).fill(1e-3) });
    const step = -fixedLog(ONE - fixed(1e-3));
    expect(ulps(2 * process.ouTimes[99_999]!, 100_000n * step)).toBeLessThanOrEqual(4);
  });
});

const EPS = Number.EPSILON;

describe("clocks", () => {
  /** Relative error in OU time of one rounding of the reading, in units of EPS. */
  const conditioning: Record<keyof Clocks, (told: Clocks) => number> = {
    ouTime: () => 0,
    sigma: () => 2,
    logSnr: ({ logSnr }) => Math.abs(logSnr),
    flowTime: ({ sigma }) => 1 + sigma,
    vpTime: () => 2,
    ddpmStep: () => 4,
  };

  it.each(Object.keys(conditioning) as (keyof Clocks)[])("OU time -> %s -> OU time loses a few roundings", (clock) => {
    fc.assert(
      fc.property(ouTimes, (ouTime) => {
        const told = clocks(ouTime);
        const reading = told[clock];
        fc.pre(reading !== null && !(clock === "flowTime" && reading > 1 - 1e-8));
        const error = Math.abs(ouTimeFrom(clock, reading) / ouTime - 1);
        expect(error).toBeLessThanOrEqual(EPS * (6 + 2 * conditioning[clock](told)));
      }),
      { seed: 1, numRuns: 2000 },
    );
  });

  it("a reading -> OU time -> the same reading, for every clock", () => {
    const readings: [keyof Clocks, number, number, (reading: number) => number][] = [
      ["sigma", 1e-6, 1e6, (sigma) => 4 + Math.log1p(sigma)],
      ["flowTime", 1e-6, 0.999999, (u) => 4 / (1 - u)],
      ["vpTime", 1e-6, 1, () => 8],
      ["ddpmStep", 1e-3, 999, () => 1e3],
      ["logSnr", 1e-3, 30, (logSnr) => 8 + 2 * Math.exp(logSnr) * EPS + 16 / logSnr],
    ];
    for (const [clock, low, high, roundings] of readings) {
      fc.assert(
        fc.property(fc.double({ min: low, max: high, noNaN: true }), (reading) => {
          const back = clocks(ouTimeFrom(clock, reading))[clock]!;
          expect(Math.abs(back / reading - 1), `${clock} ${reading}`).toBeLessThanOrEqual(EPS * roundings(reading));
        }),
        { seed: 2, numRuns: 500 },
      );
    }
  });

  it("are monotone in OU time", () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-3, max: 5, noNaN: true }), fc.double({ min: 1e-3, max: 5, noNaN: true }), (s, t) => {
        fc.pre(Math.abs(s - t) > 1e-9);
        const [early, late] = [clocks(Math.min(s, t)), clocks(Math.max(s, t))];
        for (const clock of ["sigma", "flowTime", "ddpmStep", "vpTime"] as const) expect(late[clock]!).toBeGreaterThan(early[clock]!);
        expect(late.logSnr).toBeLessThan(early.logSnr);
      }),
      { seed: 3 },
    );
  });

  it("have no DDPM step or VP time beyond the ends of those schedules, and stay finite where float64 does", () => {
    expect(clocks(4e-5)).toMatchObject({ ddpmStep: null });
    expect(clocks(5.0003e-5).ddpmStep).not.toBeNull();
    expect(clocks(5.025).vpTime).toBe(1);
    expect(clocks(5.03)).toMatchObject({ vpTime: null });
    expect(clocks(5.06)).toMatchObject({ ddpmStep: null, vpTime: null });
    expect(clocks(800)).toEqual({ ouTime: 800, sigma: Infinity, logSnr: -1600, ddpmStep: null, flowTime: 1, vpTime: null });
  });

  it("refuse what has no noise level, with the numbers", () => {
    for (const bad of [0, -1, NaN, Infinity]) expect(thrown(() => clocks(bad)).message).toContain(`E_DOMAIN ouTime is ${bad}`);
    for (const clock of ["sigma", "flowTime", "vpTime"] as const) {
      for (const bad of [0, -1, NaN, Infinity]) expect(codeOf(() => ouTimeFrom(clock, bad))).toBe("E_DOMAIN");
    }
    expect(codeOf(() => ouTimeFrom("flowTime", 1))).toBe("E_DOMAIN");
    expect(codeOf(() => ouTimeFrom("vpTime", 1.001))).toBe("E_DOMAIN");
    expect(codeOf(() => ouTimeFrom("ddpmStep", 999.5))).toBe("E_DOMAIN");
    expect(codeOf(() => ouTimeFrom("ddpmStep", -0.5))).toBe("E_DOMAIN");
    for (const bad of [NaN, Infinity, -Infinity]) expect(codeOf(() => ouTimeFrom("logSnr", bad))).toBe("E_DOMAIN");
    expect(codeOf(() => ouTimeFrom("sigma", 1e-200))).toBe("E_DOMAIN");
    expect(thrown(() => ouTimeFrom("sigmas" as keyof Clocks, 1)).message).toMatch(/^E_OPTION .*sigma/);
  });
});

/** Name, process, times to try from and to, and whether each end of the range is usable. */
const processes: readonly (readonly [string, Process, number, number, readonly [boolean, boolean]])[] = [
  ["ornstein-uhlenbeck", ornsteinUhlenbeck(), 1e-6, 30, [false, false]],
  ["variance-preserving linear", variancePreserving(), 1e-6, 1, [false, true]],
  ["variance-preserving constant rate", variancePreserving({ betaMin: 3, betaMax: 3 }), 1e-6, 1, [false, true]],
  ["variance-preserving rate from zero", variancePreserving({ betaMin: 0, betaMax: 9 }), 1e-6, 1, [false, true]],
  ["variance-preserving cosine", variancePreserving({ schedule: "cosine" }), 1e-6, 0.999, [false, false]],
  ["variance-preserving own rate", variancePreserving({ beta: (u) => 1 + Math.sin(9 * u), end: 2 }), 1e-3, 2, [false, true]],
  ["ddpm linear", ddpm(), 0, 999, [true, true]],
  ["ddpm 50 steps", ddpm({ steps: 50 }), 0, 49, [true, true]],
  ["ddpm cosine", ddpm({ schedule: "cosine" }), 0, 998, [true, true]],
  ["ddpm one step", ddpm({ betas: [0.3] }), 0, 0, [true, true]],
  ["variance-exploding", varianceExploding(), 0, 1, [true, true]],
  ["sub-variance-preserving", subVariancePreserving(), 1e-6, 1, [false, true]],
  ["edm", edm(), 1e-6, 1e6, [false, false]],
  ["rectified-flow", rectifiedFlow(), 1e-6, 0.999, [false, false]],
];

describe.each(processes)("%s", (_, process, low, high, usableEnds) => {
  const times = fc.double({ min: low, max: high, noNaN: true });

  it("has 0 <= a <= 1 and the OU time of its own a and b", () => {
    fc.assert(
      fc.property(times, (t) => {
        const { a, b } = process.marginal(t);
        expect(a).toBeGreaterThan(0);
        expect(a).toBeLessThanOrEqual(1);
        expect(b).toBeGreaterThan(0);
        const fromMarginal = b / a < 1e8 ? 0.5 * Math.log1p((b / a) ** 2) : Math.log(b / a);
        expect(Math.abs(process.ouTime(t) / fromMarginal - 1)).toBeLessThanOrEqual(16 * EPS);
      }),
      { seed: 4 },
    );
  });

  it("maps times to OU times and back", () => {
    fc.assert(
      fc.property(times, (t) => {
        const ouTime = process.ouTime(t);
        const back = process.ouTime(process.timeAt(ouTime));
        // One rounding of t is at worst e^t roundings of OU time where the schedule diverges at its end.
        const diverging = process.clock === "sigma" ? 0 : Math.exp(Math.min(ouTime, 9));
        expect(Math.abs(back - ouTime)).toBeLessThanOrEqual(64 * EPS * ouTime * (1 + diverging));
      }),
      { seed: 5 },
    );
  });

  it("grows noisier with t", () => {
    fc.assert(
      fc.property(times, times, (s, t) => {
        fc.pre(low === high || Math.abs(s - t) > 1e-7 * (Math.max(s, t) + (low === 0 ? high : 0)));
        if (low === high) return;
        const [early, late] = [Math.min(s, t), Math.max(s, t)];
        expect(process.ouTime(late)).toBeGreaterThan(process.ouTime(early));
        const [before, after] = [process.marginal(early), process.marginal(late)];
        expect(after.b / after.a).toBeGreaterThan(before.b / before.a);
      }),
      { seed: 6 },
    );
  });

  it("reaches both ends of its range or says that it does not", () => {
    const told = ([0, 1] as const).map((end) => {
      const t = process.range[end];
      const ouTime = process.ouRange[end];
      if (!(ouTime > 0 && ouTime < Infinity)) return [t, codeOf(() => process.marginal(t)), codeOf(() => process.ouTime(t))];
      const beyond = ouTime * (end === 0 ? 0.999 : 1.001);
      return [process.timeAt(ouTime), process.ouTime(t) - ouTime, codeOf(() => process.timeAt(beyond))];
    });
    const wanted = ([0, 1] as const).map((end) => {
      const t = process.range[end];
      return usableEnds[end] ? [t, 0, "E_DOMAIN"] : [t, "E_DOMAIN", "E_DOMAIN"];
    });
    expect(told).toEqual(wanted);
  });

  it("refuses times without meaning", () => {
    for (const bad of [NaN, -1, Infinity, -Infinity]) {
      expect(codeOf(() => process.marginal(bad))).toBe("E_DOMAIN");
      expect(codeOf(() => process.ouTime(bad))).toBe("E_DOMAIN");
      expect(codeOf(() => process.timeAt(bad))).toBe("E_DOMAIN");
    }
  });

  it("is made again from its JSON unless its schedule is own", () => {
    const { name, clock, parameters } = JSON.parse(JSON.stringify(describeProcess(process))) as ReturnType<typeof describeProcess>;
    const t = (process.range[0] + Math.min(process.range[1], 3)) / 2;
    const made = (): unknown => {
      const again = processByName(name, parameters);
      return [again.clock, again.marginal(t)];
    };
    const own = parameters["schedule"] === "own";
    expect(own ? codeOf(made) : made()).toEqual(own ? "E_OPTION" : [clock, process.marginal(t)]);
  });
});

describe("own schedules", () => {
  it("an own rate agrees with the closed form of the linear and cosine ones", () => {
    const linear = variancePreserving();
    const cosine = variancePreserving({ schedule: "cosine" });
    const s = 0.008;
    const sameRate = variancePreserving({ beta: (u) => 0.1 + 19.9 * u });
    const sameIntegral = variancePreserving({ integral: (u) => 0.1 * u + 9.95 * u * u });
    const tangent = variancePreserving({ beta: (u) => (Math.PI / (1 + s)) * Math.tan((((u + s) / (1 + s)) * Math.PI) / 2), end: 0.99 });
    for (const u of [1e-6, 0.01, 0.3, 0.5, 0.51, 0.9, 0.99]) {
      expect(Math.abs(sameRate.ouTime(u) / linear.ouTime(u) - 1)).toBeLessThan(1e-13);
      expect(Math.abs(sameIntegral.ouTime(u) / linear.ouTime(u) - 1)).toBeLessThan(1e-15);
      expect(Math.abs(tangent.ouTime(u) / cosine.ouTime(u) - 1)).toBeLessThan(1e-13);
      expect(Math.abs(sameRate.timeAt(linear.ouTime(u)) / u - 1)).toBeLessThan(1e-13);
    }
  });

  it("an own rate may jump and may diverge integrably", () => {
    const jump = variancePreserving({ beta: (u) => (u < 0.37 ? 1 : 7) });
    expect(Math.abs(jump.ouTime(0.9) / ((0.37 + 7 * 0.53) / 2) - 1)).toBeLessThan(1e-13);
    const root = variancePreserving({ beta: (u) => 1 / Math.sqrt(u) });
    expect(Math.abs(root.ouTime(0.49) / 0.7 - 1)).toBeLessThan(1e-12);
    expect(Math.abs(root.timeAt(0.7) / 0.49 - 1)).toBeLessThan(1e-11);
  });

  it("an own integral that diverges at the end leaves the end out", () => {
    const process = variancePreserving({ integral: (u) => -Math.log1p(-u) });
    expect(codeOf(() => process.marginal(1))).toBe("E_DOMAIN");
    expect(process.timeAt(0.5 * Math.LN2)).toBeCloseTo(0.5, 15);
  });

  it("own betas give the product of 1 - beta", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 1e-6, max: 0.9, noNaN: true }), { minLength: 1, maxLength: 30 }), (betas) => {
        let product = 1;
        const { alphaBar } = ddpm({ betas });
        betas.forEach((beta, k) => {
          product *= 1 - beta;
          expect(Math.abs(alphaBar[k]! / product - 1)).toBeLessThan(2e-14);
        });
      }),
      { seed: 9 },
    );
  });

  it("the linear schedule of N steps ends near the same noise for every N", () => {
    const last = [100, 1000, 10_000].map((steps) => ddpm({ steps }).ouTimes[steps - 1]!);
    for (const time of last) expect(Math.abs(time / 5.025 - 1)).toBeLessThan(0.1);
    expect(Math.abs(last[2]! - 5.025)).toBeLessThan(Math.abs(last[1]! - 5.025));
  });

  it("fractional steps interpolate OU time", () => {
    const process = ddpm();
    expect(process.ouTime(10.25)).toBeCloseTo(0.75 * process.ouTimes[10]! + 0.25 * process.ouTimes[11]!, 16);
  });
});

describe("firstStepBelow", () => {
  it("is the first, is null when no step is, and refuses levels that are not positive", () => {
    const process = ddpm({ betas: [0.5, 0.5, 0.5] });
    expect([1, 0.51, 0.49, 0.2, 0.1].map((level) => firstStepBelow(process, level))).toEqual([0, 0, 1, 2, null]);
    for (const bad of [0, -1, NaN]) expect(codeOf(() => firstStepBelow(process, bad))).toBe("E_DOMAIN");
  });
});

describe("edmSchedule", () => {
  it("descends from sigmaMax to sigmaMin and then 0, for any number of steps", () => {
    expect(Array.from(edmSchedule({ steps: 1 }))).toEqual([80, 0]);
    for (const steps of [2, 3, 18, 1000]) {
      const sigmas = Array.from(edmSchedule({ steps }));
      expect(sigmas.length).toBe(steps + 1);
      expect([sigmas[0], ...sigmas.slice(-2)]).toEqual([80, 0.002, 0]);
      expect(new Set(sigmas).size).toBe(steps + 1);
      expect(sigmas).toEqual(sigmas.toSorted((left, right) => right - left));
    }
  });

  it("is geometric in the limit of large rho", () => {
    const sigmas = edmSchedule({ steps: 5, sigmaMin: 0.01, sigmaMax: 100, rho: 1e7 });
    [100, 10, 1, 0.1, 0.01].forEach((sigma, i) => expect(Math.abs(sigmas[i]! / sigma - 1)).toBeLessThan(1e-5));
  });
});

describe("processByName", () => {
  it("knows every name that it lists", () => {
    for (const name of processNames) expect(processByName(name).marginal(0.5).b).toBeGreaterThan(0);
    expect(processByName("vp-cosine").parameters).toEqual({ schedule: "cosine", s: 0.008 });
    expect(processByName("ddpm", { steps: 100 }).range).toEqual([0, 99]);
  });

  it("names the nearest process for a misspelt one", () => {
    expect(thrown(() => processByName("ornstein-uhlenbek")).message).toMatch(/^E_OPTION .*Did you mean "ornstein-uhlenbeck"\?/);
    expect(thrown(() => processByName("toString")).message).toMatch(/^E_OPTION .*rectified-flow/);
  });

  it("passes parameters on, and refuses the ones that a process does not have", () => {
    expect(codeOf(() => processByName("edm", { sigmaMin: 1 }))).toBe("E_OPTION");
    expect(thrown(() => processByName("variance-exploding", { sigmamax: 1 })).message).toMatch(/^E_OPTION .*sigmaMax/);
  });
});

describe("unusable options", () => {
  it.each([
    ["a rate that falls", () => variancePreserving({ betaMin: 2, betaMax: 1 })],
    ["a negative rate", () => variancePreserving({ betaMin: -1 })],
    ["no rate", () => variancePreserving({ betaMin: 0, betaMax: 0 })],
    ["an own rate of zero", () => variancePreserving({ beta: () => 0 })],
    ["an own rate below zero", () => variancePreserving({ beta: (u) => u - 0.5 })],
    ["an own rate that is NaN", () => variancePreserving({ beta: () => NaN })],
    ["an own integral that is NaN", () => variancePreserving({ integral: () => NaN })],
    ["rate and integral", () => variancePreserving({ beta: () => 1, integral: (u) => u })],
    ["an own rate with a schedule", () => variancePreserving({ beta: () => 1, schedule: "linear" })],
    ["an option of another schedule", () => variancePreserving({ schedule: "cosine", betaMin: 1 })],
    ["an unknown schedule", () => variancePreserving({ schedule: "cosin" as "cosine" })],
    ["a cosine offset below zero", () => variancePreserving({ schedule: "cosine", s: -0.1 })],
    ["no steps", () => ddpm({ steps: 0 })],
    ["half a step", () => ddpm({ steps: 10.5, betaEnd: 0.1, betaStart: 0.1 })],
    ["so few steps that the default rate passes 1", () => ddpm({ steps: 10 })],
    ["betas of 0", () => ddpm({ betas: [0.1, 0] })],
    ["betas of 1", () => ddpm({ betas: [1] })],
    ["no betas", () => ddpm({ betas: [] })],
    ["betas with steps", () => ddpm({ betas: [0.1], steps: 1 })],
    ["sigmas in the wrong order", () => varianceExploding({ sigmaMin: 2, sigmaMax: 1 })],
    ["a sigma as text", () => varianceExploding({ sigmaMin: "1" as unknown as number })],
    ["rho 0", () => edmSchedule({ rho: 0 })],
  ])("%s", (_, call) => {
    expect(codeOf(call)).toBe("E_OPTION");
  });
});
