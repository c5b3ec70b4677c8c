/**
 * Fig. 2 of Biroli, Bonnaire, De Bortoli and Mezard (2024): reverse trajectories of two Gaussian classes N(+-m, I), |m|^2 = d, are split in two
 * at 19 times, and the pairs that end in one class are counted. Beside it the closed form, and their distance in standard errors.
 *   node cloning-experiment.js [pairs] [steps] [dimensions ...] [--all-dimensions]
 * The last keeps the run from being reduced to the one dimension that the means span.
 *   node cloning-experiment.js digits | images [pairs] [steps] [sampler] [--errors]
 * does it with data, whose clones end on one datum with probability phi_C(t) = E sum w^2. With --errors it tells the two errors of finite
 * steps apart instead: that of the trunk, from sum w^2 of states that came from OU time 5, and that of the clones, which start from the
 * exact law of x_t, from how often they end on one datum less sum w^2 where they part.
 */
import {
  clones, diffuse, empirical, gaussianMixture, openDataset, ornsteinUhlenbeck, reverseGrid, sampleReverse, theory,
  type Field, type SamplerName,
} from "diffusion-regimes";

const flags = process.argv.slice(2).filter((word) => word.startsWith("--"));
const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const sources = {
  digits: { path: "digits", scale: "standardize", times: [0.2, 0.3, 0.4, 0.5, 0.65, 0.8] },
  images: { path: "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz", scale: "symmetric", times: [0.1, 0.2, 0.3, 0.45, 0.6, 0.8] },
} as const;
if (words[0] === "digits" || words[0] === "images") {
  const { path, scale, times } = sources[words[0]];
  const [pairs = 2000, steps = 200] = words.slice(1, 3).map(Number);
  const field = diffuse(empirical(await openDataset(path, { scale })), ornsteinUhlenbeck());
  const experiment = flags.includes("--errors") ? errorsOfSteps : onData;
  await experiment(field, times, pairs, steps, (words[3] ?? "sde-dpm-solver++2m") as SamplerName);
} else {
  const reduce = flags.includes("--all-dimensions") ? "none" : "auto";
  const [pairs = 10_000, steps = 200, ...dimensions] = words.map(Number);
  for (const d of dimensions.length > 0 ? dimensions : [256, 1024, 4096, 16384]) await onTwoClasses(d, pairs, steps, reduce);
}

async function onTwoClasses(d: number, pairs: number, steps: number, reduce: "auto" | "none"): Promise<void> {
  const branchTimes = Array.from({ length: 19 }, (_, j) => 1 + j / 2);
  const mixture = gaussianMixture({
    means: { data: Float64Array.from({ length: 2 * d }, (_, k) => (k < d ? 1 : -1)), shape: [2, d] },
    covariances: { type: "spherical", variances: [1, 1] },
  });
  const options = { branchTimes, pairs, steps, from: 10.5, to: 0.01, seed: d, reduce } as const;
  const { speciationCloning, reduction, meta } = await clones(diffuse(mixture, ornsteinUhlenbeck()), options);
  console.log(`d = ${d}, run in ${reduction?.dimension ?? d} dimensions, ${(meta.wallMs / 1000).toFixed(1)} s\nOU time   simulated            exact    distance`);
  let farthest = 0;
  for (const [j, { value, standardError }] of speciationCloning!.entries()) {
    const exact = theory.cloningProbability(theory.kappaAt(branchTimes[j]!, { halfSeparation: Math.sqrt(d), variance: 1 }));
    const distance = (value! - exact) / Math.sqrt(Math.max(exact * (1 - exact), 1 / pairs) / pairs);
    farthest = Math.max(farthest, Math.abs(distance));
    console.log(`${branchTimes[j]!.toFixed(2).padEnd(7)}   ${value!.toFixed(4)} +- ${standardError!.toFixed(4)}   ${exact.toFixed(4)}   ${distance.toFixed(2).padStart(5)}`);
  }
  console.log(`farthest: ${farthest.toFixed(2)} standard errors`);
}

/** phi_C simulated, trunks from the exact law a quarter above the last time, against E sum w^2 of 20 000 draws. */
async function onData(field: Field, branchTimes: readonly number[], pairs: number, steps: number, sampler: SamplerName): Promise<void> {
  const draws = 20_000;
  const { sumSquares } = await field.sweep({ times: branchTimes, draws, seed: 1, readings: ["sumSquares"] });
  const options = { branchTimes, pairs, steps, sampler, from: 1.25 * branchTimes.at(-1)!, to: 1e-3, seed: 1 } as const;
  const { collapseCloning, meta } = await clones(field, options);
  console.log(`${sampler}, ${steps} steps, ${pairs} pairs, ${(meta.wallMs / 1000).toFixed(1)} s\nOU time   simulated            E sum w^2            distance`);
  for (const [j, t] of branchTimes.entries()) {
    const exact = moments(sumSquares!.data.subarray(j * draws, (j + 1) * draws));
    const { value, standardError } = collapseCloning![j]!;
    const distance = (value! - exact.mean) / Math.hypot(Math.sqrt((exact.mean * (1 - exact.mean)) / pairs), exact.error);
    const [left, right] = [[value!, standardError!], [exact.mean, exact.error]].map(([mean, error]) => `${mean!.toFixed(4)} +- ${error!.toFixed(4)}`);
    console.log(`${t.toFixed(2).padEnd(7)}   ${left}     ${right}     ${distance.toFixed(2).padStart(5)}`);
  }
}

async function errorsOfSteps(field: Field, times: readonly number[], pairs: number, steps: number, sampler: SamplerName): Promise<void> {
  const { process: clock, d } = field;
  const draws = 10 * pairs;
  const { sumSquares } = await field.sweep({ times, draws, seed: 1, readings: ["sumSquares"] });
  const grid = reverseGrid(clock, { steps, from: 5, to: 0.9 * times[0]! }).map(({ t }) => t);
  const schedule = [...new Set([...grid, ...times])].sort((one, other) => other - one);
  const trunk = await sampleReverse(field, { sampler, schedule, count: pairs, seed: 2, start: "marginal", record: { times, observe: ["sumSquares"] } });
  console.log(`${sampler}, ${steps} steps, ${pairs} trunks from OU time 5, ${pairs} pairs from each time\nOU time   E sum w^2            trunk off            clones off`);
  for (const [j, t] of times.entries()) {
    const exact = moments(sumSquares!.data.subarray(j * draws, (j + 1) * draws));
    const at = trunk.times.indexOf(t) * pairs;
    const along = moments(trunk.observed.sumSquares!.data.subarray(at, at + pairs));
    const run = { sampler, steps, from: t, to: 1e-3, count: pairs, seed: 3 } as const;
    const left = await sampleReverse(field, { ...run, start: "marginal", record: { every: steps, observe: ["states", "sumSquares", "nearest"] } });
    const start = { data: left.observed.states!.data.subarray(0, pairs * d), shape: [pairs, d] };
    const right = await sampleReverse(field, { ...run, firstTrajectory: 2 ** 32, start, record: { every: steps, observe: ["nearest"] } });
    const ends = [left, right].map(({ observed }) => observed.nearest!.index.data.subarray(pairs)) as [Int32Array, Int32Array];
    const off = moments(left.observed.sumSquares!.data.subarray(0, pairs).map((square, r) => (ends[0][r] === ends[1][r] ? 1 : 0) - square));
    const told = [exact, { mean: along.mean - exact.mean, error: Math.hypot(along.error, exact.error) }, off];
    console.log(`${t.toFixed(2).padEnd(9)} ${told.map(({ mean, error }) => `${mean.toFixed(4).padStart(7)} +- ${error.toFixed(4)}`).join("    ")}`);
  }
}

function moments(values: Float64Array): { readonly mean: number; readonly error: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return { mean, error: Math.sqrt(variance / values.length) };
}
