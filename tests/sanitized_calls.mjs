// What the sanitizers should see of the addon besides conformance_calls.mjs: aborts, workers ending in mid-job, disposal during a job,
// shared and offset buffers, odd sizes, garbage collection. Asserts nothing that the sanitizers do not.
import { Worker, isMainThread, parentPort } from "node:worker_threads";
import { fileURLToPath } from "node:url";
import { collapseTime, diffuse, empirical, gaussianMixture, openDataset, ornsteinUhlenbeck, regimes, speciationTime } from "diffusion-regimes";

const digits = await openDataset("digits", { scale: "standardize" });
const field = diffuse(empirical(digits), ornsteinUhlenbeck());
const long = { times: [0.1, 0.5, 1], draws: 100_000, seed: 1, readings: ["entropy", "classEntropy"] };

if (!isMainThread) {
  const running = field.sweep(long);
  parentPort.postMessage("running");
  await running;
}

for (let cycle = 0; cycle < 5; cycle++) {
  const worker = new Worker(fileURLToPath(import.meta.url));
  await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  await worker.terminate();
}

for (const threads of [1, 3]) {
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 20);
  await field.sweep({ ...long, threads, signal: stop.signal, onProgress: () => {} }).catch(() => {});
}

// Views with an offset, a shared buffer, one query, no query, one component, one dimension.
const pool = new Float64Array(64 * 5 + 3).fill(0.25);
const offset = pool.subarray(3);
await field.posterior({ data: offset, shape: [5, 64] }, { t: 0.3, readings: ["score", "covarianceTrace"], top: 7 });
const shared = new Float64Array(new SharedArrayBuffer(64 * 8));
await field.posterior({ data: shared, shape: [1, 64] }, { t: 1e-9 });
await field.posterior({ data: new Float64Array(0), shape: [0, 64] }, { t: 1 });
for (const [n, d] of [[1, 1], [3, 1], [4097, 2], [513, 17]]) {
  const data = Float32Array.from({ length: n * d }, (_, k) => Math.cos(k * k));
  const labels = Int32Array.from({ length: n }, (_, i) => i % 2);
  const target = empirical(await openDataset({ data, shape: [n, d] }, { labels }));
  const odd = diffuse(target, ornsteinUhlenbeck());
  const x = await odd.sample(0.4, { count: 9, seed: 2 });
  await odd.posterior(x, { t: 0.4, readings: ["classWeights", "covarianceProducts", "nearest"], vectors: x });
  await odd.sweep({ times: [0.01, 3], draws: 17, seed: 3, readings: ["entropy", "classSquares"] });
  if (n > 2) await target.spectrum({ count: 1 });
  target.dispose();
}
const running = field.sweep({ ...long, draws: 2000 });
digits.dispose();
globalThis.gc?.();
await running;

const mixture = gaussianMixture({
  means: { data: Float64Array.of(0, 0, 0, 3, 1, -1), shape: [2, 3] },
  covariances: { type: "full", matrices: Float64Array.of(1, 0.2, 0, 0.2, 1, 0, 0, 0, 2, 1, 0, 0, 0, 1, 0, 0, 0, 1) },
});
await mixture.spectrum({ count: 2 });
await speciationTime(diffuse(mixture, ornsteinUhlenbeck()), { criterion: "kappa" });

const again = await openDataset("digits", { scale: "standardize", classes: [1, 8] });
const pair = diffuse(empirical(again), ornsteinUhlenbeck());
const curves = await regimes(pair, { times: { from: 0.05, to: 3, count: 8 }, draws: 64, seed: 1 });
for (const criterion of ["spectral", "cloning", "kappa", "entropy-rate"]) await speciationTime(pair, { criterion, curves });
for (const criterion of ["excess-entropy", "cloning", "population"]) await collapseTime(pair, { criterion, curves });
