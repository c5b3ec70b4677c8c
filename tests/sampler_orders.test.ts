/**
 * Orders of the samplers, measured on exact scores and compared with the table `samplers`; and the law that each ends in. For a Gaussian
 * target every program is affine in its start and its noises, so that the law of the end is computed, not sampled.
 */
import { describe, expect, it } from "vitest";
import { openDataset } from "../lib/data.js";
import { diffuse, type Field } from "../lib/field.js";
import { native } from "../lib/native.js";
import { edm, ornsteinUhlenbeck, variancePreserving, type Process } from "../lib/process.js";
import { reverseGrid, sampleReverse, samplerNames, samplers, type Node, type SamplerName, type SamplerParameters } from "../lib/sampler.js";
import { empirical, gaussianMixture } from "../lib/target.js";
import type { Level } from "../lib/sampler/trace.js";
import { evaluate, tracedOver, type Algebra } from "./traced.js";

type Variant = readonly [SamplerName, SamplerParameters];
const variants: readonly Variant[] = [
  ...samplerNames.map((name): Variant => [name, {}]),
  ["ddim", { eta: 1 }],
  ["ddim", { eta: 0.5 }],
  ["ddpm", { variance: "beta" }],
  ["heun", { churn: { amount: 4 } }],
  ["predictor-corrector", { corrector: { steps: 2 } }],
];
const titled = (some: readonly Variant[]): (readonly [string, Variant])[] => some.map((each) => [`${each[0]} ${JSON.stringify(each[1])}`, each]);
const withOrder = variants.filter(([name]) => samplers[name].order > 0);

// N(mean, variance), and what a program makes of it: [constant, factor of the start, factors of the noises].
const mean = 0.7;
const variance = 0.5;
type Affine = Float64Array<ArrayBuffer>;
const unit = (size: number, i: number): Affine => Float64Array.from({ length: size }, (_, k) => (k === i ? 1 : 0));
const affine = (size: number, noise: (draw: number) => Affine): Algebra<Affine> => ({
  zero: new Float64Array(size),
  add: (sum, factor, value) => sum.map((own, i) => own + factor * value[i]!),
  noise,
  // E[x_0 | x] = m + g (x - a m).
  denoise: (x, { a, b }) => {
    const gain = (a * variance) / (a * a * variance + b * b);
    const result = x.map((value) => gain * value);
    result[0]! += mean * (1 - gain * a);
    return result;
  },
});
const lawAt = ({ a, b }: Node): { mean: number; variance: number } => ({ mean: a * mean, variance: a * a * variance + b * b });

async function endOf([sampler, parameters]: Variant, process: Process, grid: readonly Node[], noises: { size: number; noise: (draw: number) => Affine }): Promise<Affine> {
  const program = await tracedOver(process, grid, sampler, parameters);
  return evaluate(program, unit(noises.size, 1), affine(noises.size, noises.noise));
}

/** Errors of mean and variance at the end. */
async function lawErrors(variant: Variant, grid: readonly Node[], process: Process = ornsteinUhlenbeck()): Promise<readonly [mean: number, variance: number]> {
  const size = 2 + 4 * grid.length;
  const end = await endOf(variant, process, grid, { size, noise: (draw) => unit(size, 2 + draw) });
  const [begin, last] = [lawAt(grid[0]!), lawAt(grid.at(-1)!)];
  const noise = end.subarray(2).reduce((sum, factor) => sum + factor * factor, 0);
  return [end[0]! + end[1]! * begin.mean - last.mean, end[1]! ** 2 * begin.variance + noise - last.variance];
}

const order = (coarse: number, fine: number): number => Math.log2(Math.abs(coarse / fine));

describe("the law at the end of a Gaussian target", () => {
  it.each(titled(withOrder))("%s: its error falls with the order of the table", async (_, variant) => {
    for (const schedule of ["log-snr", "ou-time", "karras"] as const) {
      const grid = (steps: number): Node[] => reverseGrid(ornsteinUhlenbeck(), { steps, from: 2, to: 0.1, schedule });
      const errors = [];
      for (const steps of [128, 256, 512]) errors.push(await lawErrors(variant, grid(steps)));
      const [coarse, , fine] = errors as [readonly [number, number], readonly [number, number], readonly [number, number]];
      // The samplers that keep D whole have no error in the mean but rounding.
      if (Math.abs(coarse[0]) > 1e-12) expect(Math.abs(order(coarse[0], fine[0]) / 2 - samplers[variant[0]].order)).toBeLessThan(0.1);
      const measured = order(coarse[1], fine[1]) / 2;
      // Multistep starts of lower order and errors that change sign fade slowly; none comes near the next lower order.
      expect(measured, schedule).toBeGreaterThan(samplers[variant[0]].order - 0.2);
      if (schedule === "log-snr") expect(measured).toBeLessThan(samplers[variant[0]].order + 0.1);
    }
  });

  it("PNDM reaches its fourth order where sigma is uniform, since its coefficients mean equal steps of sigma", async () => {
    const errors = [];
    for (const steps of [64, 128, 256]) errors.push((await lawErrors(["pndm", {}], reverseGrid(ornsteinUhlenbeck(), { steps, from: 2, to: 0.1, schedule: "sigma" })))[1]);
    expect(order(errors[1]!, errors[2]!)).toBeGreaterThan(3.8);
  });

  it("the corrector keeps the bias of its own step, which shrinks with its snr squared", async () => {
    const bias = async (snr: number): Promise<number> => (await lawErrors(["predictor-corrector", { corrector: { snr } }], reverseGrid(ornsteinUhlenbeck(), { steps: 500, from: 0.4, to: 0.1 })))[1];
    // Langevin with step epsilon = 2 (snr b)^2 at variance V ends with V / (1 - epsilon / (2 V)); the predictor hardly matters any more.
    const { variance: V } = lawAt(reverseGrid(ornsteinUhlenbeck(), { schedule: [0.4, 0.1] })[1]!);
    const { b } = ornsteinUhlenbeck().marginal(0.1);
    for (const snr of [0.3, 0.15]) expect((await bias(snr)) / ((snr * b) ** 2 / (1 - (snr * b) ** 2 / V))).toBeCloseTo(1, 1);
  });

  it("does not depend on the process that the noise levels belong to", async () => {
    // PNDM halves steps in the process's own clock, and the larger of DDPM's variances is one in its own scale.
    for (const variant of variants.filter(([name, own]) => name !== "pndm" && own.churn === undefined && own.variance === undefined)) {
      const results = [];
      for (const process of [ornsteinUhlenbeck(), variancePreserving(), edm()]) {
        const grid = reverseGrid(process, { steps: 20, from: process.timeAt(2), to: process.timeAt(0.1) });
        const [, error] = await lawErrors(variant, grid, process);
        results.push(error / lawAt(grid.at(-1)!).variance);
      }
      // A corrector's epsilon and all noises are relative to b: so is the error of the law relative to its variance.
      for (const each of results) expect(Math.abs(each - results[0]!)).toBeLessThan(1e-9 * Math.max(1e-3, Math.abs(results[0]!)));
    }
  });
});

describe("single trajectories", () => {
  /** The clock in which the noise of a sampler is a Brownian motion: then a coarse step's noise is a sum of fine ones. */
  const clockOf: Partial<Record<SamplerName, (node: Node) => number>> = {
    "euler-maruyama": ({ ouTime }) => -ouTime,
    "exponential-sde": ({ ouTime }) => -Math.exp(2 * ouTime),
    "ddpm": ({ a, b }) => (a / b) ** 2,
    "ddim": ({ a, b }) => (a / b) ** 2,
    "sde-dpm-solver++2m": ({ a, b }) => (a / b) ** 2,
  };

  /** Draw k of every `stride`-th node as a sum of draws between the nodes, [factor, draw], where both follow one Brownian path. */
  const coarsened = (nodes: readonly Node[], clock: (node: Node) => number, stride: number, k: number): (readonly [factor: number, draw: number])[] => {
    const times = nodes.slice(stride * k, stride * (k + 1) + 1).map(clock);
    const whole = times.at(-1)! - times[0]!;
    return Array.from({ length: stride }, (_, i) => [Math.sqrt((times[i + 1]! - times[i]!) / whole), stride * k + i]);
  };

  const stochastic: readonly Variant[] = [["euler-maruyama", {}], ["exponential-sde", {}], ["ddpm", {}], ["ddpm", { variance: "beta" }], ["ddim", { eta: 1 }], ["sde-dpm-solver++2m", {}]];
  it.each(titled(stochastic))("%s: with the same Brownian path, half the step changes the end by the strong order of the table", async (_, variant) => {
    const clock = clockOf[variant[0]]!;
    const process = ornsteinUhlenbeck();
    /** Root mean square of the difference between n and 2 n steps. */
    const difference = async (steps: number): Promise<number> => {
      const fine = reverseGrid(process, { steps: 2 * steps, from: 2, to: 0.1 });
      const size = 2 + 2 * steps;
      const noise = (draw: number): Affine => {
        const sum = new Float64Array(size);
        for (const [factor, of] of coarsened(fine, clock, 2, draw)) sum[2 + of] = factor;
        return sum;
      };
      const coarseEnd = await endOf(variant, process, fine.filter((__, i) => i % 2 === 0), { size, noise });
      const fineEnd = await endOf(variant, process, fine, { size, noise: (draw) => unit(size, 2 + draw) });
      const off = fineEnd.map((value, i) => value - coarseEnd[i]!);
      const begin = lawAt(fine[0]!);
      return Math.sqrt((off[0]! + off[1]! * begin.mean) ** 2 + off[1]! ** 2 * begin.variance + off.subarray(2).reduce((sum, value) => sum + value * value, 0));
    };
    const measured = order(await difference(64), await difference(256)) / 2;
    expect(Math.abs(measured - samplers[variant[0]].strongOrder)).toBeLessThan(0.1);
  });

  // Two Gaussians in one dimension: D in closed form, the flow without one.
  const centres = [-1.5, 0.75];
  const weights = [0.4, 0.6];
  const spread = 0.04;
  const denoiser = ({ a, b }: { a: number; b: number }): ((x: number) => number) => {
    const s = a * a * spread + b * b;
    const gain = (a * spread) / s;
    return (x) => {
      const [left, right] = centres.map((centre) => x - a * centre) as [number, number];
      const share = 1 / (1 + (weights[1]! / weights[0]!) * Math.exp((left * left - right * right) / (2 * s)));
      return share * (centres[0]! + gain * left) + (1 - share) * (centres[1]! + gain * right);
    };
  };

  /** The flow du/dlambda = D - u, u = x / a, by Runge and Kutta's method in steps that are far smaller. */
  const flow = (x: number, from: Node, to: Node): number => {
    const [start, end] = [Math.log(from.a / from.b), Math.log(to.a / to.b)];
    const steps = 20_000;
    const h = (end - start) / steps;
    const slope = (lambda: number, u: number): number => denoiser({ a: 1, b: Math.exp(-lambda) })(u) - u;
    let u = x / from.a;
    for (let k = 0; k < steps; k++) {
      const at = start + k * h;
      const k1 = slope(at, u);
      const k2 = slope(at + h / 2, u + (h / 2) * k1);
      const k3 = slope(at + h / 2, u + (h / 2) * k2);
      const k4 = slope(at + h, u + h * k3);
      u += (h / 6) * (k1 + 2 * k2 + 2 * k3 + k4);
    }
    return u * to.a;
  };

  it.each(titled(stochastic))("%s: so it does on average over paths among two Gaussians", async (_, variant) => {
    const clock = clockOf[variant[0]]!;
    const process = ornsteinUhlenbeck();
    const [paths, finest] = [500, 1024];
    const nodes = reverseGrid(process, { steps: finest, from: 2, to: 0.1 });
    const draws = Array.from({ length: finest }, (__, draw) => native().normals({ seed: 3n, first: 0, count: paths, d: 1, draw }));
    const start = native().normals({ seed: 3n, first: 0, count: paths, d: 1, draw: null });
    const add = (sum: Affine, factor: number, value: Affine): Affine => sum.map((own, r) => own + factor * value[r]!);
    const zero = new Float64Array(paths);
    const end = async (steps: number): Promise<Affine> => {
      const stride = finest / steps;
      const noise = (k: number): Affine => coarsened(nodes, clock, stride, k).reduce((sum, [factor, draw]) => add(sum, factor, draws[draw]!), zero);
      const program = await tracedOver(process, nodes.filter((__, i) => i % stride === 0), ...variant);
      return evaluate(program, start, { zero, add, noise, denoise: (x, at) => x.map(denoiser(at)) });
    };
    const ends = new Map<number, Affine>();
    for (const steps of [128, 256, 512, 1024]) ends.set(steps, await end(steps));
    /** E|x_n - x_2n|. */
    const difference = (steps: number): number => ends.get(steps)!.reduce((sum, value, r) => sum + Math.abs(value - ends.get(2 * steps)![r]!), 0) / paths;
    const measured = order(difference(128), difference(512)) / 2;
    expect(Math.abs(measured - samplers[variant[0]].strongOrder), `${measured}`).toBeLessThan(0.15);
  });

  const deterministic = samplerNames.filter((name) => !samplers[name].stochastic);
  it.each(deterministic)("%s follows the flow of two Gaussians with the strong order of the table", async (name) => {
    const process = ornsteinUhlenbeck();
    const one: Pick<Algebra<number>, "zero" | "add" | "noise"> = { zero: 0, add: (sum, factor, value) => sum + factor * value, noise: () => NaN };
    for (const x of [-0.3, 1.1]) {
      const errors = [];
      for (const steps of [400, 1600]) {
        const grid = reverseGrid(process, { steps, from: 2, to: 0.05 });
        const end = await evaluate(await tracedOver(process, grid, name), x, { ...one, denoise: (state: number, at: Level): number => denoiser(at)(state) });
        errors.push(end - flow(x, grid[0]!, grid.at(-1)!));
      }
      const measured = order(errors[0]!, errors[1]!) / 2;
      expect(Math.abs(measured - samplers[name].strongOrder), `${measured}`).toBeLessThan(0.15);
    }
  });
});

describe("samples", () => {
  const count = 8000;
  const gaussians = { means: [[1.5, 0], [-1, 1]], weights: [0.3, 0.7], variances: [0.09, 0.25] };

  /** Characteristic function values of the exact law at (a, b), and of samples with their standard errors. */
  const waves = [[1, 0], [0, 1], [0.7, -1.2], [2, 1], [-1.5, 2.5]];
  const exact = (wave: readonly number[], { a, b }: { a: number; b: number }, law: typeof gaussians): [number, number] => {
    let [re, im] = [0, 0];
    law.means.forEach((centre, k) => {
      const phase = a * (wave[0]! * centre[0]! + wave[1]! * centre[1]!);
      const size = law.weights[k]! * Math.exp(-0.5 * (a * a * law.variances[k]! + b * b) * (wave[0]! ** 2 + wave[1]! ** 2));
      re += size * Math.cos(phase);
      im += size * Math.sin(phase);
    });
    return [re, im];
  };
  const offs = (data: Float64Array, node: Node, law: typeof gaussians): number[] =>
    waves.flatMap((wave) => {
      const wanted = exact(wave, node, law);
      const sums = [0, 0, 0, 0];
      for (let r = 0; r < data.length / 2; r++) {
        const phase = wave[0]! * data[2 * r]! + wave[1]! * data[2 * r + 1]!;
        const [c, s] = [Math.cos(phase), Math.sin(phase)];
        sums[0]! += c;
        sums[1]! += c * c;
        sums[2]! += s;
        sums[3]! += s * s;
      }
      const n = data.length / 2;
      return [0, 1].map((part) => {
        const average = sums[2 * part]! / n;
        return (average - wanted[part]!) / Math.sqrt((sums[2 * part + 1]! / n - average * average) / n);
      });
    });

  it.each(titled(variants))("%s ends in the law of a Gaussian and of a mixture, within the sampling error", async (_, [sampler, parameters]) => {
    for (const law of [gaussians, { means: [[0.5, -1]], weights: [1], variances: [0.3] }]) {
      const target = gaussianMixture({ means: { data: Float64Array.from(law.means.flat()), shape: [law.means.length, 2] }, weights: law.weights, covariances: { type: "spherical", variances: law.variances } });
      const field: Field = diffuse(target, ornsteinUhlenbeck());
      // A corrector at snr 0.04 has no bias to be seen; nor have 200 steps of first order.
      const own = sampler === "predictor-corrector" ? { corrector: { ...parameters.corrector, snr: 0.04 } } : parameters;
      const { samples, grid } = await sampleReverse(field, { sampler, ...own, steps: samplers[sampler].order === 2 ? 60 : 200, from: 4, to: 0.02, count, seed: 42, start: "marginal" });
      // Ten readings by fifteen samplers by two targets: a false alarm in 10^4.
      for (const off of offs(samples.data, grid.at(-1)!, law)) expect(Math.abs(off)).toBeLessThan(5.2);
    }
  });

  it("coarse steps are biased, and half of them by the factor of the order", async () => {
    const target = gaussianMixture({ means: { data: Float64Array.from(gaussians.means.flat()), shape: [2, 2] }, weights: gaussians.weights, covariances: { type: "spherical", variances: gaussians.variances } });
    const field: Field = diffuse(target, ornsteinUhlenbeck());
    const coarse = [
      ["euler-maruyama", 12, 100_000], ["exponential-sde", 12, 100_000], ["probability-flow-euler", 12, 100_000], ["ddpm", 12, 100_000],
      ["ddim", 12, 100_000], ["heun", 6, 100_000], ["dpm-solver++2m", 6, 800_000], ["sde-dpm-solver++2m", 8, 400_000], ["pndm", 6, 400_000],
    ] as const;
    for (const [sampler, steps, many] of coarse) {
      const bias: number[] = [];
      for (const n of [steps, 2 * steps]) {
        const { samples, grid } = await sampleReverse(field, { sampler, steps: n, from: 2, to: 0.05, count: many, seed: 7, start: "marginal" });
        const off = offs(samples.data, grid.at(-1)!, gaussians);
        // In standard errors, without the one that each reading has by chance.
        bias.push(Math.sqrt(Math.max(0, off.reduce((sum, value) => sum + value * value - 1, 0))));
      }
      // Far from zero, and falling at least like 2^-(order - 0.4).
      expect(bias[0]!, sampler).toBeGreaterThan(15);
      expect(bias[1]! / bias[0]!, sampler).toBeLessThan(2 ** -(samplers[sampler].order - 0.4));
    }
  });

  it("of the exact empirical score end on data, by their posterior weights", async () => {
    // The end point of the reverse SDE from x at t is datum mu with probability w_mu(x).
    const field = diffuse(empirical(await openDataset({ data: Float64Array.from([1, 0, 0, 2, -1, -1]), shape: [3, 2] })), ornsteinUhlenbeck());
    const x = [0.3, -0.1];
    const n = 5000;
    const start = { data: Float64Array.from({ length: 2 * n }, (_, k) => x[k % 2]!), shape: [n, 2] };
    const { observed } = await sampleReverse(field, { sampler: "ddpm", steps: 250, from: 0.8, to: 1e-4, count: n, seed: 3, start, record: { every: 1000, observe: ["nearest", "states"] } });
    const last = observed.nearest!.index.data.subarray(n);
    const { top } = await field.posterior({ data: Float64Array.from(x), shape: [1, 2] }, { t: 0.8, top: 3 });
    for (let k = 0; k < 3; k++) {
      const [index, weight] = [top.index.data[k]!, top.weight.data[k]!];
      const share = last.filter((value) => value === index).length / n;
      expect(Math.abs(share - weight)).toBeLessThan(5 * Math.sqrt((weight * (1 - weight)) / n));
    }
    expect(Math.min(...observed.nearest!.weight.data.subarray(n))).toBeGreaterThan(0.999);
  });
});
