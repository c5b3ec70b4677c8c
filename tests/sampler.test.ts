/** Reverse sampling: published steps, schedules, starts, records, scores of one's own, and what a caller can do wrong. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { beforeAll, describe, expect, it } from "vitest";
import type { PointsInput } from "../lib/array.js";
import { openDataset } from "../lib/data.js";
import { diffuse, type Field } from "../lib/field.js";
import { native } from "../lib/native.js";
import { clocks, ddpm, edm, edmSchedule, ornsteinUhlenbeck, rectifiedFlow, variancePreserving, type Process } from "../lib/process.js";
import { gaussianOf, reverseGrid, sampleReverse, samplerNames, type Observable, type SampleReverseOptions, type SamplerName, type SamplerParameters, type ScoreModel } from "../lib/sampler.js";
import { samplerStep } from "../lib/sampler/steps.js";
import { Trace } from "../lib/sampler/trace.js";
import { empirical, gaussianMixture } from "../lib/target.js";
import { expectGolden, goldenCases, matrix, type GoldenCase } from "./golden_cases.js";
import { evaluate, traced, vectors } from "./traced.js";

const golden = Object.fromEntries(goldenCases("step-").map((each) => [each.name, each])) as Record<string, GoldenCase>;

async function pointsField(rows: readonly (readonly number[])[], process: Process, labels?: readonly number[]): Promise<Field> {
  return diffuse(empirical(await openDataset(matrix(rows), labels === undefined ? {} : { labels })), process);
}

describe("published steps", () => {
  /** One step with the noise of the case, its denoiser the field's. */
  const stepWith = async (name: string, process: Process, times: readonly number[], sampler: SamplerName, parameters: SamplerParameters = {}): Promise<readonly number[]> => {
    const { data, x, z } = golden[name]!.inputs as { data: number[][]; x: number[]; z: number[] };
    const target = (await pointsField(data, process)).target;
    const denoise = async (state: readonly number[], { a, b }: { a: number; b: number }): Promise<readonly number[]> => {
      // Any (a, b): a x_0 + b z is a times the variance-exploding state at sigma = b / a.
      const { denoised } = await diffuse(target, edm()).posterior(matrix([state.map((value) => value / a)]), { t: b / a, readings: ["denoised"], precision: "float64" });
      return [...denoised.data];
    };
    const program = await traced(process, times, sampler, parameters);
    return evaluate(program, x, { ...vectors(2), noise: () => z, denoise });
  };
  /** The public way, for samplers without noise. */
  const run = async (name: string, process: Process, schedule: readonly number[], options: Partial<SampleReverseOptions>): Promise<ArrayLike<number>> => {
    const { data, x } = golden[name]!.inputs as { data: number[][]; x: number[] };
    const field = await pointsField(data, process);
    const { samples } = await sampleReverse(field, { sampler: "ddim", count: 1, seed: 1, start: matrix([x]), schedule, precision: "float64", ...options });
    return samples.data;
  };
  const check = (name: string, got: ArrayLike<number>, key = "x"): void => expectGolden(`${name} ${key}`, got, golden[name]!.expected[key], golden[name]!.tol);
  const ou = ornsteinUhlenbeck();

  it("are all tested", () => {
    expect(Object.keys(golden).sort()).toEqual(
      ["step-em-reverse-ou", "step-expsde-frozen-score", "step-pf-ode-euler-ou", "step-ddpm-ancestral", "step-ddim", "step-edm-heun", "step-dpmpp2m", "step-plms-transfer"].sort(),
    );
  });

  it("of Euler-Maruyama, the exponential SDE and the Euler ODE in OU time", async () => {
    const times = [0.8, 0.8 - 0.05];
    check("step-em-reverse-ou", await stepWith("step-em-reverse-ou", ou, times, "euler-maruyama"));
    check("step-expsde-frozen-score", await stepWith("step-expsde-frozen-score", ou, times, "exponential-sde"));
    check("step-pf-ode-euler-ou", await run("step-pf-ode-euler-ou", ou, times, { sampler: "probability-flow-euler" }));
  });

  it("of DDPM with both variances", async () => {
    check("step-ddpm-ancestral", await stepWith("step-ddpm-ancestral", ddpm(), [400, 399], "ddpm", { variance: "beta" }), "xBeta");
    check("step-ddpm-ancestral", await stepWith("step-ddpm-ancestral", ddpm(), [400, 399], "ddpm", { variance: "posterior" }), "xBetaTilde");
  });

  it("of DDIM with eta 0, 1/2 and 1, and to no noise", async () => {
    check("step-ddim", await run("step-ddim", ddpm(), [600, 350], { eta: 0 }), "eta0");
    check("step-ddim", await stepWith("step-ddim", ddpm(), [600, 350], "ddim", { eta: 0.5 }), "eta05");
    check("step-ddim", await stepWith("step-ddim", ddpm(), [600, 350], "ddim", { eta: 1 }), "eta1");
    const { data, x } = golden["step-ddim"]!.inputs as { data: number[][]; x: number[] };
    // "denoised" is the step to no noise: from a run whose last state is the x of the case.
    const field = await pointsField(data, ddpm());
    const back = await sampleReverse(field, { sampler: "ddim", count: 1, seed: 1, start: matrix([x]), schedule: [600, 350], record: { observe: ["denoised"] }, precision: "float64" });
    check("step-ddim", back.observed.denoised!.data.slice(0, 2), "toClean");
  });

  it("of EDM's Heun, with churn and to no noise", async () => {
    check("step-edm-heun", await run("step-edm-heun", edm(), [1.5, 0.9], { sampler: "heun" }), "noChurn");
    check("step-edm-heun", await stepWith("step-edm-heun", edm(), [1.5, 0.9], "heun", { churn: { amount: 40, noise: 1.003 } }), "churn");
    const { data, x } = golden["step-edm-heun"]!.inputs as { data: number[][]; x: number[] };
    const field = await pointsField(data, edm());
    const seen = await sampleReverse(field, { sampler: "heun", count: 1, seed: 1, start: matrix([x]), schedule: [1.5, 0.9], record: { observe: ["denoised"] }, precision: "float64" });
    check("step-edm-heun", seen.observed.denoised!.data.slice(0, 2), "toZero");
  });

  it("of DPM-Solver++(2M)", async () => {
    check("step-dpmpp2m", await run("step-dpmpp2m", edm(), golden["step-dpmpp2m"]!.inputs["sigmas"], { sampler: "dpm-solver++2m" }));
  });

  it("of PNDM after its first three: four past noise estimates, then the transfer", async () => {
    const { x, epsHistoryOldestFirst: history, k, j } = golden["step-plms-transfer"]!.inputs as { x: number[]; epsHistoryOldestFirst: number[][]; k: number; j: number };
    const process = ddpm();
    const nodes = reverseGrid(process, { schedule: [k + 300, k + 200, k + 100, k, j] });
    const step = samplerStep("pndm", {}, { steps: 4, middle: (from, to) => reverseGrid(process, { schedule: [(from.t + to.t) / 2, to.t] })[0]! });
    const trace = new Trace();
    let last = trace.start();
    for (let i = 0; i < 4; i++) last = step(trace, trace.start(), nodes[i]!, nodes[i + 1]!);
    const program = await trace.program(last, () => null);
    // A denoiser whose noise estimate at node i is history[i] at the state x.
    const denoise = (state: readonly number[], { a, b, t }: { a: number; b: number; t?: number }): readonly number[] => {
      const e = history[nodes.findIndex((node) => node.t === t)] ?? [0, 0];
      return state.map((value, i) => (value - b * e[i]!) / a);
    };
    check("step-plms-transfer", await evaluate(program, x, { ...vectors(2), noise: () => [], denoise }));
  });
});

describe("schedules", () => {
  const processes: readonly Process[] = [ornsteinUhlenbeck(), variancePreserving(), ddpm(), ddpm({ schedule: "cosine" }), edm(), rectifiedFlow()];
  const schedules = ["log-snr", "ou-time", "process", "sigma", "karras", { karras: 3 }] as const;

  it("begin and end exactly where told, with ever less noise between", () => {
    for (const process of processes) {
      const [from, to] = [process.timeAt(2.5), process.timeAt(0.02)];
      for (const schedule of schedules) {
        const grid = reverseGrid(process, { steps: 37, from, to, schedule });
        expect(grid.length).toBe(38);
        expect([grid[0]!.t, grid[37]!.t]).toEqual([from, to]);
        for (const [i, { t, a, b, ouTime }] of grid.entries()) {
          expect({ a, b }).toEqual(process.marginal(t));
          if (i > 0) expect(ouTime).toBeLessThan(grid[i - 1]!.ouTime);
        }
      }
    }
  });

  it("are uniform in their clock", () => {
    const clocksOf = { "log-snr": "logSnr", "ou-time": "ouTime", "sigma": "sigma" } as const;
    for (const [schedule, clock] of Object.entries(clocksOf) as ["log-snr" | "ou-time" | "sigma", "logSnr" | "ouTime" | "sigma"][]) {
      const grid = reverseGrid(variancePreserving(), { steps: 10, from: 0.9, to: 0.1, schedule });
      const values = grid.map(({ ouTime }) => clocks(ouTime)[clock]);
      const step = (values[10]! - values[0]!) / 10;
      // The clocks are inverted to some ulp, relative to the readings.
      values.forEach((value, i) => expect(Math.abs(value - (values[0]! + i * step))).toBeLessThan(1e-11 * Math.max(1, Math.abs(values[0]!))));
    }
    reverseGrid(ddpm(), { steps: 9, from: 900, to: 0, schedule: "process" }).forEach(({ t }, i) => expect(t).toBeCloseTo(900 - 100 * i, 9));
  });

  it("Karras is EDM's own", () => {
    const sigmas = edmSchedule({ steps: 18, sigmaMin: 0.002, sigmaMax: 80 });
    const grid = reverseGrid(edm(), { steps: 17, from: 80, to: 0.002, schedule: "karras" });
    grid.forEach(({ t }, i) => expect(Math.abs(t / sigmas[i]! - 1)).toBeLessThan(1e-12));
  });

  it("default to the range of the process, OU times 5 to 1e-3 at most", () => {
    const grid = reverseGrid(ornsteinUhlenbeck(), { steps: 2 });
    expect([grid[0]!.ouTime, grid[2]!.ouTime]).toEqual([5, 1e-3]);
    expect(reverseGrid(ddpm(), { steps: 2 })[0]!.t).toBeGreaterThan(900);
  });

  it("take any array of times, such as strides of DDPM steps", () => {
    const own = reverseGrid(ddpm(), { schedule: Uint16Array.from([999, 666, 333, 0]) });
    expect(own.map(({ t }) => t)).toEqual([999, 666, 333, 0]);
    expect(own.map(({ a }) => a)).toEqual([999, 666, 333, 0].map((k) => ddpm().marginal(k).a));
  });

  const wrong: readonly (readonly [string, Parameters<typeof reverseGrid>[1], string, string])[] = [
    ["no steps", {}, "E_OPTION", "steps is undefined"],
    ["half a step", { steps: 1.5 }, "E_OPTION", "steps is 1.5"],
    ["no step at all", { steps: 0 }, "E_OPTION", "steps is 0"],
    ["an unknown schedule", { steps: 3, schedule: "karas" as never }, "E_OPTION", 'Did you mean "karras"'],
    ["a rho of zero", { steps: 3, schedule: { karras: 0 } }, "E_OPTION", "rho"],
    ["a schedule that is null", { steps: 3, schedule: null as never }, "E_OPTION", "schedule is null"],
    ["a schedule that is a number", { steps: 3, schedule: 4 as never }, "E_OPTION", "schedule is 4"],
    ["a schedule that is an empty object", { steps: 3, schedule: {} as never }, "E_OPTION", "need one of"],
    ["one time", { schedule: [1] }, "E_OPTION", "1 times"],
    ["times beside steps", { steps: 3, schedule: [2, 1] }, "E_OPTION", "steps does not go with"],
    ["times upward", { schedule: [1, 2] }, "E_DOMAIN", "schedule[1] is 2"],
    ["a time that is text", { schedule: ["2", 1] as never }, "E_DOMAIN", "a time is 2"],
    ["a time that is not a number", { schedule: [2, NaN] }, "E_DOMAIN", "NaN"],
    ["a start below the end", { steps: 3, from: 0.1, to: 1 }, "E_DOMAIN", "need to < from"],
    ["a time outside the process", { steps: 3, from: -1 }, "E_DOMAIN", "-1"],
  ];
  it.each(wrong)("refuse %s", (_, options, code, message) => {
    expect(() => reverseGrid(ornsteinUhlenbeck(), options)).toThrowError(expect.objectContaining({ code, message: expect.stringContaining(message) }));
  });

  it("refuse a process whose marginal is none", () => {
    const broken = { ...ornsteinUhlenbeck(), marginal: () => ({ a: 0, b: 1 }) };
    expect(() => reverseGrid(broken, { schedule: [1, 0.5] })).toThrowError(expect.objectContaining({ code: "E_DOMAIN" }));
  });
});

let field: Field;
beforeAll(async () => {
  field = await pointsField([[1, 0], [0, 2], [-1, -1], [2, 2]], ornsteinUhlenbeck(), [0, 1, 0, 1]);
});

describe("records", () => {
  const observe: readonly Observable[] = ["states", "denoised", "norm", "projections", "logDensity", "entropy", "sumSquares", "nearest", "classWeights", "survivors"];
  const directions = matrix([[1, 1], [0, -2], [3, 0.5]]);

  it("hold every reading of the field at the states before each stride, and at the last", async () => {
    const run = await sampleReverse(field, { sampler: "ddpm", steps: 10, count: 5, seed: 3, from: 2, to: 0.1, record: { every: 4, observe, directions }, precision: "float64" });
    expect(run.times.length).toBe(4);
    expect([...run.times]).toEqual([0, 4, 8, 10].map((i) => run.grid[i]!.t));
    expect([...run.ouTimes]).toEqual([0, 4, 8, 10].map((i) => run.grid[i]!.ouTime));
    const { observed } = run;
    expect(Object.keys(observed).sort()).toEqual([...observe].sort());
    expect(observed.states!.shape).toEqual([4, 5, 2]);
    expect(observed.norm!.shape).toEqual([4, 5]);
    expect(observed.projections!.shape).toEqual([4, 5, 3]);
    expect(observed.classWeights!.shape).toEqual([4, 5, 2]);
    expect(observed.nearest!.index.shape).toEqual([4, 5]);
    expect(observed.states!.data.slice(3 * 10)).toEqual(run.samples.data);
    for (let record = 0; record < 4; record++) {
      const states = observed.states!.data.slice(record * 10, record * 10 + 10);
      const readings = ["denoised", "logDensity", "entropy", "sumSquares", "nearest", "classWeights"] as const;
      const there = await field.posterior({ data: states, shape: [5, 2] }, { t: run.times[record]!, readings, precision: "float64" });
      expect(observed.denoised!.data.slice(record * 10, record * 10 + 10)).toEqual(there.denoised.data);
      for (const name of ["logDensity", "entropy", "sumSquares"] as const) expect(observed[name]!.data.slice(record * 5, record * 5 + 5)).toEqual(there[name]);
      expect(observed.nearest!.index.data.slice(record * 5, record * 5 + 5)).toEqual(there.nearest.index);
      expect(observed.nearest!.weight.data.slice(record * 5, record * 5 + 5)).toEqual(there.nearest.weight);
      expect(observed.classWeights!.data.slice(record * 10, record * 10 + 10)).toEqual(there.classWeights.data);
      expect(observed.survivors!.data.slice(record * 5, record * 5 + 5)).toEqual(there.survivors);
      for (let r = 0; r < 5; r++) {
        const [x, y] = [states[2 * r]!, states[2 * r + 1]!];
        expect(observed.norm!.data[record * 5 + r]).toBeCloseTo(Math.hypot(x, y), 12);
        [x + y, -2 * y, 3 * x + 0.5 * y].forEach((value, p) => expect(observed.projections!.data[(record * 5 + r) * 3 + p]).toBeCloseTo(value, 12));
      }
    }
  });

  it("change no sample and cost no pass where the state is evaluated anyway, or not needed", async () => {
    for (const sampler of samplerNames) {
      const options = { sampler, steps: 6, count: 3, seed: 3, from: 2, to: 0.1 } as const;
      const bare = await sampleReverse(field, options);
      const full = await sampleReverse(field, { ...options, record: { observe, directions } });
      const outside = await sampleReverse(field, { ...options, record: { observe: ["states", "norm"] } });
      expect(full.samples.data).toEqual(bare.samples.data);
      expect(outside.samples.data).toEqual(bare.samples.data);
      // The last state is evaluated for its readings alone.
      expect(full.evaluations).toBe(bare.evaluations + 1);
      expect(outside.evaluations).toBe(bare.evaluations);
      expect([bare.paths.length, full.paths.length, outside.paths.length]).toEqual([bare.evaluations, full.evaluations, bare.evaluations]);
      expect(bare.paths.every((path) => path === "float64" || path === "refined")).toBe(true);
      expect(bare.observed).toEqual({});
      expect(bare.times.length).toBe(0);
    }
  });

  it("with a stride beyond the run hold its first and last state", async () => {
    const run = await sampleReverse(field, { sampler: "ddim", steps: 5, count: 2, seed: 1, record: { every: 100, observe: ["states"] } });
    expect([...run.times]).toEqual([run.grid[0]!.t, run.grid[5]!.t]);
  });

  it("of the end \"denoised\" stay states, and the samples are the denoised mean of the last", async () => {
    const options = { sampler: "ddim", steps: 5, count: 4, seed: 1, record: { observe: ["states", "denoised"] } } as const;
    const run = await sampleReverse(field, { ...options, end: "denoised" });
    const plain = await sampleReverse(field, options);
    expect(run.observed.states!.data).toEqual(plain.observed.states!.data);
    expect(run.samples.data).toEqual(run.observed.denoised!.data.slice(5 * 8));
    expect(run.evaluations).toBe(plain.evaluations);
  });
});

describe("start laws", () => {
  const count = 20_000;
  /** Samples before any step to speak of: a run over a sliver of time. */
  const starts = async (start: SampleReverseOptions["start"], process = ornsteinUhlenbeck(), t = 0.7): Promise<{ moments: number[]; components: Int32Array | null }> => {
    const source = await pointsField([[1, 0], [0, 2], [-1, -1], [2, 2]], process);
    const run = await sampleReverse(source, { sampler: "ddim", schedule: [t, t * 0.999], count, seed: 11, start, record: { every: 9, observe: ["states"] } });
    const states = run.observed.states!.data.subarray(0, 2 * count);
    const mean = [0, 0];
    for (let r = 0; r < count; r++) for (let j = 0; j < 2; j++) mean[j]! += states[2 * r + j]! / count;
    const second = [0, 0, 0];
    for (let r = 0; r < count; r++) {
      const [u, v] = [states[2 * r]! - mean[0]!, states[2 * r + 1]! - mean[1]!];
      second[0]! += (u * u) / count;
      second[1]! += (u * v) / count;
      second[2]! += (v * v) / count;
    }
    return { moments: [...mean, ...second], components: run.startComponents };
  };
  // Of the four points: mean, population and unbiased covariance.
  const mean = [0.5, 0.75];
  const population = [1.25, 0.875, 1.6875];
  const unbiased = population.map((value) => (value * 4) / 3);
  const { a, b } = ornsteinUhlenbeck().marginal(0.7);
  const expectMoments = (got: readonly number[], [m0, m1]: readonly number[], [c00, c01, c11]: readonly number[]): void => {
    const wanted = [m0!, m1!, c00!, c01!, c11!];
    // Standard errors for Gaussian tails; those of a mixture are smaller. 5.5 of them: a false alarm in 10^7.
    const errors = [Math.sqrt(c00!), Math.sqrt(c11!), Math.SQRT2 * c00!, Math.sqrt(c00! * c11! + c01! ** 2), Math.SQRT2 * c11!];
    wanted.forEach((value, k) => expect(Math.abs(got[k]! - value), `moment ${k}: ${got[k]} for ${value}`).toBeLessThan((5.5 * errors[k]!) / Math.sqrt(count)));
  };
  const noised = (c: readonly number[]): number[] => [a * a * c[0]! + b * b, a * a * c[1]!, a * a * c[2]! + b * b];
  const scaled = mean.map((value) => a * value);

  it("standard is N(0, I) for processes that preserve variance, N(0, (a^2 + b^2) I) for others", async () => {
    expectMoments((await starts("standard")).moments, [0, 0], [1, 0, 1]);
    expectMoments((await starts(undefined)).moments, [0, 0], [1, 0, 1]);
    expectMoments((await starts("standard", edm(), 3)).moments, [0, 0], [10, 0, 10]);
  });

  it("marginal has the moments of x_t and says the components", async () => {
    const { moments, components } = await starts("marginal");
    expectMoments(moments, scaled, noised(population));
    const counts = [0, 1, 2, 3].map((i) => components!.filter((value) => value === i).length);
    for (const each of counts) expect(Math.abs(each - count / 4)).toBeLessThan(5.5 * Math.sqrt((count * 3) / 16));
  });

  it("gaussian has the mean and covariance of x_t: whole, low-rank, diagonal", async () => {
    expectMoments((await starts("gaussian")).moments, scaled, noised(unbiased));
    expect((await starts("gaussian")).components).toBe(null);
    expectMoments((await starts({ law: "gaussian", covariance: "full" })).moments, scaled, noised(unbiased));
    expectMoments((await starts({ law: "gaussian", covariance: "low-rank", rank: 2 })).moments, scaled, noised(unbiased));
    expectMoments((await starts({ law: "gaussian", covariance: "low-rank", rank: 1 })).moments, scaled, noised(unbiased));
    expectMoments((await starts({ law: "gaussian", covariance: "diagonal" })).moments, scaled, noised([unbiased[0]!, 0, unbiased[2]!]));
  });

  it("given states are taken as they are", async () => {
    const start = { data: Float32Array.from([1, 2, 3, 4, 5, 6]), shape: [2, 2], strides: [3, 1] };
    const run = await sampleReverse(field, { sampler: "ddim", steps: 2, count: 2, seed: 1, start, record: { observe: ["states"] } });
    expect(Array.from(run.observed.states!.data.subarray(0, 4))).toEqual([1, 2, 4, 5]);
    expect([...start.data]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it("the Gaussian of a target keeps its trace at any rank", async () => {
    const rows = Array.from({ length: 30 }, (_, i) => [Math.sin(i), Math.cos(2 * i), 0.2 * Math.sin(3 * i), i / 30]);
    const { target } = await pointsField(rows, ornsteinUhlenbeck());
    const { trace } = await target.spectrum({ count: 1 });
    for (const rank of [1, 2, 4]) {
      const gaussian = await gaussianOf(target, { covariance: "low-rank", rank });
      expect(Math.abs((await gaussian.spectrum({ count: 1 })).trace - trace)).toBeLessThan(1e-9 * trace);
    }
  });
});

describe("a score of one's own", () => {
  /** The field's own score behind a function. */
  const model = (of: Field): ScoreModel => ({
    d: of.d,
    process: of.process,
    score: async (x, t) => (await of.posterior(x, { t, precision: "float64" })).score.data,
  });

  it("makes the samples of the field, for every sampler, whatever the batch", async () => {
    for (const process of [ornsteinUhlenbeck(), edm()]) {
      const exact = await pointsField([[1, 0], [0, 2], [-1, -1]], process);
      for (const sampler of samplerNames) {
        const options = {
          sampler,
          steps: 8,
          count: 6,
          seed: 5,
          from: process.timeAt(1.5),
          to: process.timeAt(0.05),
          record: { every: 3, observe: ["states", "norm", "projections"], directions: matrix([[1, -1]]) },
          ...(sampler === "heun" ? { churn: { amount: 4 } } : {}),
        } as const;
        const ours = await sampleReverse(exact, { ...options, precision: "float64" });
        const theirs = await sampleReverse(model(exact), options);
        expect(theirs.evaluations).toBe(ours.evaluations);
        // D = (x + b^2 s) / a multiplies the rounding of s: some ulp of x / a at most, carried through eight steps.
        const close = (got: Float64Array, wanted: Float64Array): void => got.forEach((value, k) => expect(Math.abs(value - wanted[k]!)).toBeLessThan(1e-11 * (1 + Math.abs(wanted[k]!))));
        close(theirs.samples.data, ours.samples.data);
        close(theirs.observed.states!.data, ours.observed.states!.data);
        close(theirs.observed.norm!.data, ours.observed.norm!.data);
        close(theirs.observed.projections!.data, ours.observed.projections!.data);
        expect((await sampleReverse(model(exact), { ...options, batch: 4 })).samples.data).toEqual(theirs.samples.data);
      }
    }
  });

  it("gets rows, their shape and times of its process, and may answer with any numbers", async () => {
    const seen: (readonly [number, readonly number[], number])[] = [];
    const gaussian: ScoreModel = {
      d: 3,
      process: rectifiedFlow(),
      score: (x, t) => {
        seen.push([x.data.length, x.shape, t]);
        const { a, b } = rectifiedFlow().marginal(t);
        return Float32Array.from(x.data, (value) => -value / (a * a + b * b));
      },
    };
    const { samples, grid, meta, paths, carried } = await sampleReverse(gaussian, { sampler: "ddim", steps: 4, count: 7, seed: 1, batch: 5 });
    expect(samples.shape).toEqual([7, 3]);
    expect([meta, paths, carried]).toEqual([null, [], null]);
    expect(seen.map(([length]) => length)).toEqual([15, 15, 15, 15, 6, 6, 6, 6]);
    expect(seen[0]![1]).toEqual([5, 3]);
    expect(seen.slice(0, 4).map(([, , t]) => t)).toEqual(grid.slice(0, 4).map(({ t }) => t));
  });

  it("that answers wrongly, throws, or leaves the numbers is told", async () => {
    const process = ornsteinUhlenbeck();
    const options = { sampler: "ddim", steps: 3, count: 2, seed: 1 } as const;
    const answer = (score: unknown): Promise<unknown> => sampleReverse({ d: 2, process, score: score as ScoreModel["score"] }, options);
    await expect(answer(() => [1, 2, 3])).rejects.toMatchObject({ code: "E_SHAPE", message: expect.stringContaining("3 numbers, need [2, 2]") });
    await expect(answer(() => undefined)).rejects.toMatchObject({ code: "E_SHAPE" });
    await expect(answer(() => [1, NaN, 0, 0])).rejects.toMatchObject({ code: "E_NONFINITE", message: expect.stringContaining("row 0 column 1") });
    const mine = new Error("mine");
    await expect(answer(() => Promise.reject(mine))).rejects.toBe(mine);
  });

  it("can be stopped, tells its progress, and has no readings of a field", async () => {
    const stop = new AbortController();
    const reason = new Error("enough");
    const source: ScoreModel = {
      d: 1,
      process: ornsteinUhlenbeck(),
      score: (x) => {
        stop.abort(reason);
        return x.data.map((value) => -value);
      },
    };
    const options = { sampler: "ddim", steps: 3, count: 2, seed: 1 } as const;
    await expect(sampleReverse(source, { ...options, signal: stop.signal })).rejects.toBe(reason);
    const seen: number[] = [];
    await sampleReverse(source, { ...options, batch: 1, onProgress: (fraction) => seen.push(fraction) });
    expect(seen.at(-1)).toBe(1);
    expect([...seen].sort((one, other) => one - other)).toEqual(seen);
    for (const wrong of [{ record: { observe: ["entropy"] } }, { start: "marginal" }, { precision: "exact" }, { carry: true }] as const) {
      await expect(sampleReverse(source, { ...options, ...wrong })).rejects.toMatchObject({ code: "E_OPTION" });
    }
  });
});

describe("a run of many trajectories", () => {
  it("is made of its parts: numbers, starts and batches", async () => {
    for (const start of ["standard", "marginal", "gaussian"] as const) {
      const options = { sampler: "ddpm", steps: 7, seed: 2, start } as const;
      const whole = await sampleReverse(field, { ...options, count: 41 });
      const first = await sampleReverse(field, { ...options, count: 20, batch: 3 });
      const second = await sampleReverse(field, { ...options, count: 21, firstTrajectory: 20, threads: 1 });
      expect([...first.samples.data, ...second.samples.data]).toEqual([...whole.samples.data]);
      if (start === "marginal") expect([...first.startComponents!, ...second.startComponents!]).toEqual([...whole.startComponents!]);
    }
  });

  it("differs by seed, and noise differs from start and between steps", async () => {
    const options = { sampler: "ddpm", steps: 4, count: 50, seed: 2, record: { observe: ["states"] } } as const;
    const one = await sampleReverse(field, options);
    const other = await sampleReverse(field, { ...options, seed: 3 });
    expect(one.samples.data).not.toEqual(other.samples.data);
    expect(new Set(one.observed.states!.data).size).toBe(one.observed.states!.data.length);
  });

  it("uses the normals of philox by (seed, trajectory, draw)", async () => {
    // For a single datum at 0, D = 0 and Euler-Maruyama is linear in its noises.
    const origin = await pointsField([[0, 0, 0]], ornsteinUhlenbeck());
    const run = await sampleReverse(origin, { sampler: "exponential-sde", schedule: [1, 0.8], count: 4, seed: 9, firstTrajectory: 100 });
    const z = native().normals({ seed: 9n, first: 100, count: 4, d: 3, draw: 0 });
    const x = native().normals({ seed: 9n, first: 100, count: 4, d: 3, draw: null });
    const h = run.grid[0]!.ouTime - run.grid[1]!.ouTime;
    const b2 = -Math.expm1(-2);
    run.samples.data.forEach((value, k) => {
      const wanted = x[k]! * (Math.exp(h) - (2 * Math.expm1(h)) / b2) + Math.sqrt(Math.expm1(2 * h)) * z[k]!;
      expect(Math.abs(value - wanted)).toBeLessThan(1e-13 * (1 + Math.abs(x[k]!) + Math.abs(z[k]!)));
    });
  });

  it("rejects with the signal's reason, before it starts and while it runs", async () => {
    const reason = new Error("no more");
    const endless = { sampler: "heun", steps: 20_000, count: 2000, seed: 1 } as const;
    await expect(sampleReverse(field, { ...endless, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    for (const delay of [1, 30, 400]) {
      const stop = new AbortController();
      const timer = setTimeout(() => stop.abort(reason), delay);
      await expect(sampleReverse(field, { ...endless, signal: stop.signal })).rejects.toBe(reason);
      clearTimeout(timer);
    }
  });

  it("tells its progress in order, up to 1, and an error thrown there stops it", async () => {
    const seen: number[] = [];
    const options = { sampler: "ddim", steps: 300, count: 2000, seed: 1 } as const;
    await sampleReverse(field, { ...options, onProgress: (fraction) => seen.push(fraction) });
    expect([...seen].sort((one, other) => one - other)).toEqual(seen);
    expect(seen.at(-1)).toBe(1);
    const mine = new Error("mine");
    const failing = (): never => {
      throw mine;
    };
    await expect(sampleReverse(field, { ...options, onProgress: failing })).rejects.toBe(mine);
  });

  it("survives its target being disposed of meanwhile, and is refused afterwards", async () => {
    const own = await pointsField([[1, 0], [0, 1]], ornsteinUhlenbeck());
    const options = { sampler: "ddim", steps: 50, count: 1000, seed: 1 } as const;
    const wanted = await sampleReverse(own, options);
    const running = sampleReverse(own, { ...options, onProgress: () => own.target.dispose() });
    expect((await running).samples.data).toEqual(wanted.samples.data);
    await expect(sampleReverse(own, options)).rejects.toMatchObject({ code: "E_DISPOSED" });
    await expect(sampleReverse(own, { ...options, start: "gaussian" })).rejects.toMatchObject({ code: "E_DISPOSED" });
  });

  const schedule = `/proc/self/task/${process.pid}/schedstat`;
  /** Processor time of this thread between turns of the event loop while `work` goes on, ms, longest first: other processes do not count. */
  const spellsDuring = async (work: () => Promise<unknown>): Promise<number[]> => {
    const used = (): number => Number(readFileSync(schedule, "utf8").split(" ")[0]) / 1e6;
    const spells: number[] = [];
    let before = used();
    const take = (): void => {
      const now = used();
      spells.push(now - before);
      before = now;
    };
    const timer = setInterval(take, 1);
    await work();
    take();
    clearInterval(timer);
    return spells.sort((one, other) => other - one);
  };

  it.skipIf(!existsSync(schedule))("leaves the event loop free while 100 000 steps are laid out, run and observed", async () => {
    const spells = await spellsDuring(async () => {
      const run = await sampleReverse(field, { sampler: "pndm", steps: 100_000, count: 4, seed: 1, record: { every: 10, observe: ["norm", "nearest"] } });
      expect(run.times.length).toBe(10_001);
    });
    // A garbage collection of the program may come on top of the 20 ms that are the contract.
    expect(spells[0]).toBeLessThan(60);
    expect(spells[3]).toBeLessThan(20);
  });

  it.skipIf(!existsSync(schedule))("leaves it free while large states are taken in and given back, reduced or not", async () => {
    const [count, d] = [4000, 784];
    const means = { data: Float64Array.from({ length: 6 * d }, (_, k) => Math.sin(k)), shape: [6, d] };
    const mixture = diffuse(gaussianMixture({ means, covariances: { type: "spherical", variances: Array(6).fill(0.5) } }), ornsteinUhlenbeck());
    const narrow = Float32Array.from({ length: count * d }, (_, k) => Math.cos(k));
    const starts: readonly PointsInput[] = [{ data: Float64Array.from(narrow), shape: [count, d] }, { data: narrow, shape: [count, d], strides: [1, count] }];
    for (const start of starts) {
      for (const reduce of ["auto", "none"] as const) {
        const spells = await spellsDuring(() => sampleReverse(mixture, { sampler: "ddim", steps: 2, count, seed: 1, start, reduce }));
        expect(spells[0]).toBeLessThan(60);
        expect(spells[1]).toBeLessThan(20);
      }
    }
    const spells = await spellsDuring(() => mixture.posterior(starts[0]!, { t: 0.5, readings: ["score"] }));
    expect(spells[0]).toBeLessThan(60);
    expect(spells[1]).toBeLessThan(20);
  });

  it("a trajectory that leaves the numbers is told by its number", async () => {
    const start = matrix([[0, 0], [1e149, 1], [0, 1]]);
    const edge = await pointsField([[1, 0], [0, 1]], edm());
    await expect(sampleReverse(edge, { sampler: "ddim", steps: 3, count: 3, seed: 1, start, to: 1e-6 })).rejects.toMatchObject({ code: "E_RANGE" });
    // A score that pushes outward ten times as fast as the noise allows, over and over.
    const start2 = matrix([[0], [1]]);
    const outward: ScoreModel = { d: 1, process: edm(), score: (x, t) => x.data.map((value) => (-1e8 * value) / (t * t)) };
    const run = sampleReverse(outward, { sampler: "ddim", steps: 300, count: 2, seed: 1, start: start2, schedule: "log-snr", from: 1e100, to: 1e-100 });
    await expect(run).rejects.toMatchObject({ code: "E_NONFINITE", message: expect.stringContaining("row 1 column 0") });
  });
});

describe("what a caller can do wrong", () => {
  const fine = { sampler: "ddim", steps: 3, count: 2, seed: 1 } as const;
  const rows = matrix([[0, 0]]);
  const wrong: readonly (readonly [string, Record<string, unknown>, string, string])[] = [
    ["an unknown option", { step: 3 }, "E_OPTION", 'Did you mean "steps"'],
    ["an unknown sampler", { sampler: "ddmi" }, "E_OPTION", 'Did you mean'],
    ["no sampler", { sampler: undefined }, "E_OPTION", "sampler"],
    ["no count", { count: undefined }, "E_OPTION", "count is undefined"],
    ["a count of 0", { count: 0 }, "E_OPTION", "count is 0"],
    ["no seed", { seed: undefined }, "E_OPTION", "seed is undefined"],
    ["a negative seed", { seed: -1 }, "E_OPTION", "seed is -1"],
    ["a first trajectory of -1", { firstTrajectory: -1 }, "E_OPTION", "firstTrajectory is -1"],
    ["trajectories past 2^53", { firstTrajectory: 2 ** 53 - 2 }, "E_OPTION", "firstTrajectory"],
    ["half a batch", { batch: 0.5 }, "E_OPTION", "batch is 0.5"],
    ["no threads", { threads: 0 }, "E_OPTION", "threads is 0"],
    ["a signal that is none", { signal: {} }, "E_OPTION", "signal"],
    ["an end that is none", { end: "denoise" }, "E_OPTION", 'Did you mean "denoised"'],
    ["an unknown precision", { precision: "exakt" }, "E_OPTION", 'Did you mean "exact"'],
    ["eta of another sampler", { sampler: "ddpm", eta: 0 }, "E_OPTION", 'no option "eta"'],
    ["eta beyond 1", { eta: 1.5 }, "E_OPTION", "eta is 1.5"],
    ["eta that is text", { eta: "1" }, "E_OPTION", "eta is 1"],
    ["a variance that is none", { sampler: "ddpm", variance: "betta" }, "E_OPTION", 'Did you mean "beta"'],
    ["a variance of another sampler", { variance: "beta" }, "E_OPTION", "variance"],
    ["churn that has no amount", { sampler: "heun", churn: { amont: 1 } }, "E_OPTION", 'Did you mean "amount"'],
    ["churn below nothing", { sampler: "heun", churn: { amount: -1 } }, "E_OPTION", "churn is -1"],
    ["churn that is null", { sampler: "heun", churn: null }, "E_OPTION", "churn"],
    ["noise of churn that is none", { sampler: "heun", churn: { amount: 1, noise: NaN } }, "E_OPTION", "noise of churn"],
    ["a range of churn that is none", { sampler: "heun", churn: { amount: 1, sigmaMin: 2, sigmaMax: 1 } }, "E_OPTION", "sigmaMin"],
    ["a corrector without steps", { sampler: "predictor-corrector", corrector: { steps: 0 } }, "E_OPTION", "corrector steps is 0"],
    ["a corrector of no size", { sampler: "predictor-corrector", corrector: { snr: 0 } }, "E_OPTION", "snr of the corrector is 0"],
    ["a record without observables", { record: { every: 2 } }, "E_OPTION", "record.observe is undefined"],
    ["an unknown observable", { record: { observe: ["state"] } }, "E_OPTION", 'Did you mean "states"'],
    ["a stride of 0", { record: { every: 0, observe: [] } }, "E_OPTION", "record.every is 0"],
    ["an unknown option of records", { record: { evry: 1, observe: [] } }, "E_OPTION", 'Did you mean "every"'],
    ["projections without directions", { record: { observe: ["projections"] } }, "E_OPTION", "go together"],
    ["directions without projections", { record: { observe: [], directions: rows } }, "E_OPTION", "go together"],
    ["directions of another dimension", { record: { observe: ["projections"], directions: matrix([[1, 2, 3]]) } }, "E_SHAPE", "directions"],
    ["an unknown start", { start: "marginl" }, "E_OPTION", 'Did you mean "marginal"'],
    ["a start of other rows", { start: rows }, "E_SHAPE", "1 rows for 2"],
    ["a start of another dimension", { start: matrix([[1, 2, 3], [1, 2, 3]]) }, "E_SHAPE", "start"],
    ["a start that is not finite", { start: matrix([[1, NaN], [0, 0]]) }, "E_NONFINITE", "row 0 column 1"],
    ["a start that is too large", { start: matrix([[1e200, 0], [0, 0]]) }, "E_RANGE", "1e+200"],
    ["low rank without a rank", { start: { law: "gaussian", covariance: "low-rank" } }, "E_OPTION", "rank"],
    ["a rank for a full covariance", { start: { law: "gaussian", rank: 2 } }, "E_OPTION", "rank"],
    ["a rank for the standard law", { start: { law: "standard", rank: 2 } }, "E_OPTION", "rank"],
    ["a rank above d", { start: { law: "gaussian", covariance: "low-rank", rank: 3 } }, "E_OPTION", "3"],
    ["carry that is text", { carry: "no" }, "E_OPTION", "carry"],
    ["less noise than float64 can resolve", { to: 1e-308 }, "E_RANGE", "overflow"],
  ];
  it.each(wrong)("%s is refused", async (_, options, code, message) => {
    await expect(sampleReverse(field, { ...fine, ...options } as never)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it("class weights of a target without classes are refused", async () => {
    const bare = await pointsField([[1], [2]], ornsteinUhlenbeck());
    await expect(sampleReverse(bare, { ...fine, record: { observe: ["classWeights"] } })).rejects.toMatchObject({ code: "E_LABELS" });
  });

  it("what is neither a field nor a score is refused", async () => {
    for (const source of [undefined, null, {}, { d: 2, process: ornsteinUhlenbeck() }, { d: 0, process: ornsteinUhlenbeck(), score: () => [] }, field.target]) {
      await expect(sampleReverse(source as never, fine)).rejects.toMatchObject({ code: "E_OPTION" });
    }
    await expect(sampleReverse(field, undefined as never)).rejects.toMatchObject({ code: "E_OPTION" });
  });
});

describe("the thread of the caller", () => {
  const library = JSON.stringify(import.meta.resolve("../dist/index.js"));
  const running = `
    import { gaussianMixture, diffuse, ornsteinUhlenbeck, sampleReverse } from ${library};
    const means = { data: Float64Array.from({ length: 512 }, (_, k) => k < 256 ? 1 : -1), shape: [2, 256] };
    const field = diffuse(gaussianMixture({ means, covariances: { type: "spherical", variances: [1, 1] } }), ornsteinUhlenbeck());
    const running = sampleReverse(field, { sampler: "euler-maruyama", steps: 100_000, count: 5000, seed: 1 });
  `;

  it("may end in the middle of a run: worker.terminate() comes back, and others go on", async () => {
    const source = `import { parentPort } from "node:worker_threads"; ${running} parentPort.postMessage("running"); await running;`;
    for (let cycle = 0; cycle < 15; cycle++) {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
      await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
      // While the program is laid out, and while it runs.
      await new Promise((resolve) => setTimeout(resolve, cycle * 60));
      await worker.terminate();
    }
    expect((await sampleReverse(field, { sampler: "ddim", steps: 2, count: 2, seed: 1 })).samples.shape).toEqual([2, 2]);
  });

  it.each([30, 900])("may leave by process.exit after %d ms, with its code", (delay) => {
    const { status, signal } = spawnSync(process.execPath, ["--input-type=module", "-e", `${running} setTimeout(() => process.exit(7), ${delay}); await running;`], {
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      timeout: 20_000,
    });
    expect([status, signal]).toEqual([7, null]);
  });
});
