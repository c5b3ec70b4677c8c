// The calls of backends.test.ts: every reading of every kind of target at several noise levels, printed as JSON.
import { diffuse, empirical, gaussianMixture, openDataset, ornsteinUhlenbeck } from "diffusion-regimes";

const wave = (count, speed, size = 2) => Float64Array.from({ length: count }, (_, k) => Math.sin(speed * (k + 1) ** 1.3) * size);
const d = 19;
const labels = Int32Array.from({ length: 700 }, (_, i) => (i * i) % 4);
const dataset = await openDataset({ data: wave(700 * d, 0.9), shape: [700, d] }, { labels });
const bytes = await openDataset({ data: Uint8Array.from(wave(300 * d, 1.1, 100), (v) => v + 120), shape: [300, d] }, { scale: "unit" });
const k = 5;
const means = { data: wave(k * d, 2.3), shape: [k, d] };
const squares = (count, speed) => wave(count, speed).map((v) => v * v + 0.01);
const matrices = new Float64Array(k * d * d);
for (let m = 0; m < k; m++) {
  const root = wave(d * d, 0.3 + m, 0.6);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      for (let s = 0; s < d; s++) matrices[(m * d + i) * d + j] += root[i * d + s] * root[j * d + s];
    }
  }
}
const targets = {
  points: empirical(dataset),
  weighted: empirical(dataset, { weights: squares(700, 0.7), normalize: true }),
  bytes: empirical(bytes),
  spherical: gaussianMixture({ means, covariances: { type: "spherical", variances: squares(k, 3) } }),
  diagonal: gaussianMixture({ means, covariances: { type: "diagonal", variances: squares(k * d, 3) } }),
  full: gaussianMixture({ means, covariances: { type: "full", matrices } }),
  lowRank: gaussianMixture({
    means,
    covariances: { type: "low-rank", diagonals: squares(k * d, 5), factors: { data: wave(k * d * 2, 7, 0.5), shape: [k, d, 2] } },
  }),
};

const values = {};
const bounds = [];
let backend;
for (const [name, target] of Object.entries(targets)) {
  const field = diffuse(target, ornsteinUhlenbeck());
  for (const t of [0.01, 0.3, 1.5]) {
    const x = await field.sample(t, { count: 11, seed: 3 });
    const readings = ["logDensity", "denoised", "score", "entropy", "sumSquares", "nearest", "covarianceTrace", "covarianceProducts"];
    readings.push("scoreJacobianProducts", "divergence", ...(target.classes > 0 ? ["classWeights"] : []));
    const vectors = { data: wave(11 * d, 0.4), shape: [11, d] };
    const p = await field.posterior(x, { t, readings, vectors, top: 3 });
    backend = p.meta.backend;
    bounds.push(...p.errorBound.logDensity, ...p.errorBound.score);
    for (const reading of readings) {
      const value = p[reading];
      values[`${name} ${t} ${reading}`] = Array.from(reading === "nearest" ? value.weight : (value.data ?? value));
    }
    values[`${name} ${t} top`] = Array.from(p.top.weight.data);
  }
  const readings = ["logDensity", "entropy", "sumSquares", "ownLogWeight", ...(target.classes > 0 ? ["classSquares", "classEntropy"] : [])];
  const sweep = await field.sweep({ times: [0.02, 0.4, 2], draws: 9, seed: 5, readings });
  for (const reading of readings) values[`${name} sweep ${reading}`] = Array.from(sweep[reading].data);
}
console.log(JSON.stringify({ backend, values, bounds }));
