/**
 * Two Gaussian classes N(+-m, I), |m|^2 = d: n data are drawn, speciation and collapse are measured on them, and both are compared
 * with closed forms, which know the population only.
 */
import { clocks, collapseTime, diffuse, empirical, gaussianMixture, ornsteinUhlenbeck, regimes, sampleTarget, speciationTime, theory } from "diffusion-regimes";

const [d = 64, n = 5000, draws = 1000] = process.argv.slice(2).map(Number);

const mixture = gaussianMixture({
  means: { data: Float64Array.from({ length: 2 * d }, (_, k) => (k < d ? 1 : -1)), shape: [2, d] },
  covariances: { type: "spherical", variances: Float64Array.of(1, 1) },
});
const data = await sampleTarget(mixture, n, { seed: 1 });
const field = diffuse(empirical(data), ornsteinUhlenbeck());
const curves = await regimes(field, { times: { from: 0.1, to: 6, count: 32 }, draws, seed: 2 });

const population = { n, d, variance: 1, halfSeparation: Math.sqrt(d) };
const rows = [
  ["t_S cloning", await speciationTime(field, { criterion: "cloning", curves }), theory.timeOfKappa(population)],
  ["t_S spectral", await speciationTime(field, { criterion: "spectral" }), theory.spectralSpeciationTime(1 + d)],
  ["t_C population", await collapseTime(field, { criterion: "population" }), theory.populationCollapseTime(population)],
] as const;
for (const [name, measured, exact] of rows) {
  const [low, high] = measured.ci95 ?? ["-", "-"];
  console.log(`${name.padEnd(15)} measured ${measured.value?.toFixed(4) ?? measured.status} [${low}, ${high}]   theory ${exact?.toFixed(4)}`);
}

console.log("\nOU time   sigma     excess entropy / alpha   finite-size theory");
for (const [j, estimate] of curves.excessEntropyOverAlpha.entries()) {
  const t = curves.ouTime[j]!;
  const bound = theory.excessEntropyBoundPerDimension(t, population) / curves.alpha;
  console.log(`${t.toFixed(4)}   ${clocks(t).sigma.toFixed(4)}   ${estimate.value!.toFixed(4)} +- ${estimate.standardError!.toFixed(4)}          ${bound.toFixed(4)}`);
}
