/** A trajectory is a function of (seed, its number, its start): the bits of samples and observations, hashed over every split of the work. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { openDataset } from "../lib/data.js";
import { diffuse, type Field } from "../lib/field.js";
import { ornsteinUhlenbeck, variancePreserving } from "../lib/process.js";
import { sampleReverse, type ReverseRun, type SampleReverseOptions } from "../lib/sampler.js";
import { empirical, gaussianMixture } from "../lib/target.js";
import { fashion } from "./fashion.js";

function hash({ samples, observed }: ReverseRun): string {
  const digest = createHash("sha256");
  const add = (array: ArrayBufferView): unknown => digest.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  add(samples.data);
  for (const [name, value] of Object.entries(observed)) {
    digest.update(name);
    if ("data" in value) add(value.data);
    else [value.index.data, value.weight.data].forEach(add);
  }
  return digest.digest("hex");
}

const splits = [[1, 1], [37, 1], [1000, 1], [1, 2], [37, 2], [1000, 2], [1, 3], [37, 3], [1000, 3], [0, 2]] as const;

async function expectOneHash(field: Field, options: SampleReverseOptions, some: readonly (readonly [batch: number, threads: number])[] = splits): Promise<ReverseRun> {
  const seen = new Map<string, string>();
  let run: ReverseRun | undefined;
  for (const [batch, threads] of some) {
    run = await sampleReverse(field, { ...options, batch, threads });
    seen.set(hash(run), `batch ${batch}, ${threads} threads`);
  }
  expect([...seen.values()].length, [...seen].join("; ")).toBe(1);
  return run!;
}

/** The trajectories from `first` on, asked for alone, are those of the whole. */
async function expectParts(field: Field, options: SampleReverseOptions, whole: ReverseRun, parts: readonly (readonly [first: number, count: number])[]): Promise<void> {
  for (const [firstTrajectory, count] of parts) {
    const part = await sampleReverse(field, { ...options, firstTrajectory, count });
    expect(part.samples.data).toEqual(whole.samples.data.slice(firstTrajectory * field.d, (firstTrajectory + count) * field.d));
  }
}

describe("bits of trajectories", () => {
  it("of a mixture do not depend on batch, threads, or how many are asked for", async () => {
    const means = { data: Float64Array.from({ length: 3 * 5 }, (_, k) => 2 * Math.sin(3 * k)), shape: [3, 5] };
    const field = diffuse(gaussianMixture({ means, covariances: { type: "diagonal", variances: Float64Array.from({ length: 15 }, (_, k) => 0.05 + (k % 4) / 4) } }), variancePreserving());
    const options = { sampler: "sde-dpm-solver++2m", steps: 8, count: 10_000, seed: 5, record: { every: 4, observe: ["nearest", "entropy", "norm"] } } as const;
    await expectParts(field, options, await expectOneHash(field, options), [[0, 1], [1, 12], [255, 3], [9_999, 1], [4_000, 700]]);
  });

  it("of the digits do not either, with noise and without", async () => {
    const field = diffuse(empirical(await openDataset("digits", { scale: "standardize" })), variancePreserving());
    const noisy = { sampler: "ddpm", steps: 5, count: 10_000, seed: 5, record: { every: 5, observe: ["nearest", "classWeights"] } } as const;
    await expectParts(field, noisy, await expectOneHash(field, noisy, [[1, 1], [37, 2], [1000, 3]]), [[0, 1], [5_000, 40]]);
    const flow = { ...noisy, sampler: "dpm-solver++2m", count: 600, start: "marginal", from: 0.4, to: 1e-3, steps: 12 } as const;
    await expectParts(field, flow, await expectOneHash(field, flow), [[0, 1], [300, 40]]);
  });

  it.skipIf(fashion === null)("of Fashion-MNIST do not either", async () => {
    const field = diffuse(empirical(await openDataset(fashion!.trainImages, { rows: { from: 0, to: 4000 } })), ornsteinUhlenbeck());
    const options = { sampler: "ddpm", steps: 6, count: 90, seed: 5, from: 2, to: 1e-3, record: { every: 3, observe: ["nearest", "logDensity"] } } as const;
    await expectParts(field, options, await expectOneHash(field, options, [[1, 1], [37, 2], [1000, 3], [0, 2]]), [[0, 1], [40, 30]]);
  });
});
