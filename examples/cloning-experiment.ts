/**
 * Fig. 2 of Biroli, Bonnaire, De Bortoli and Mezard (2024): reverse trajectories of two Gaussian classes N(+-m, I), |m|^2 = d, are split in two
 * at 19 times, and the pairs that end in one class are counted. Beside it the closed form, and their distance in standard errors.
 *   node cloning-experiment.js [pairs] [steps] [dimensions ...] [--all-dimensions]
 * The last keeps the run from being reduced to the one dimension that the means span.
 */
import { clones, diffuse, gaussianMixture, ornsteinUhlenbeck, theory } from "diffusion-regimes";

const words = process.argv.slice(2);
const reduce = words.includes("--all-dimensions") ? "none" : "auto";
const [pairs = 10_000, steps = 200, ...dimensions] = words.filter((word) => !word.startsWith("--")).map(Number);

const branchTimes = Array.from({ length: 19 }, (_, j) => 1 + j / 2);
for (const d of dimensions.length > 0 ? dimensions : [256, 1024, 4096, 16384]) {
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
  console.log(`farthest: ${farthest.toFixed(2)}`);
}
