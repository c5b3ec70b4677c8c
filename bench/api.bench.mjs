/**
 * What a call of the JavaScript API costs beside its arithmetic: calls per second on problems so small that arguments, promises and
 * threads dominate (benny; margin of error as it reports it). It cannot show the speed of the kernels, which the other tables do.
 *
 *   npm run bench -- --api
 */
import benny from "benny";
import { diffuse, empirical, openDataset, ornsteinUhlenbeck, regimes, theory } from "diffusion-regimes";

const n = 100;
const d = 4;
const values = { data: Float64Array.from({ length: n * d }, (_, k) => Math.sin(k * k)), shape: [n, d] };
const dataset = await openDataset(values);
const field = diffuse(empirical(dataset), ornsteinUhlenbeck());
const one = { data: values.data.slice(0, d), shape: [1, d] };
const population = { n: 20_000, d: 1024, variance: 1, halfSeparation: 32 };

await benny.suite(
  `JavaScript API, n = ${n}, d = ${d}, Node ${process.versions.node}`,
  benny.add("theory.populationCollapseTime (synchronous, no addon)", () => {
    theory.populationCollapseTime(population);
  }),
  benny.add("openDataset of an array, and dispose", async () => {
    const opened = await openDataset(values);
    opened.dispose();
  }),
  benny.add("field.posterior, 1 query, logDensity", () => field.posterior(one, { t: 0.5, readings: ["logDensity"], threads: 1 })),
  benny.add("field.posterior, 1 query, score, 1 thread", () => field.posterior(one, { t: 0.5, readings: ["score"], threads: 1 })),
  benny.add("field.posterior, 1 query, score, 2 threads", () => field.posterior(one, { t: 0.5, readings: ["score"], threads: 2 })),
  benny.add("field.sample, 1 draw", () => field.sample(0.5, { count: 1, seed: 1 })),
  benny.add("regimes, 2 times, 2 draws", () => regimes(field, { times: [0.5, 1], draws: 2, seed: 1, threads: 1 })),
  benny.cycle(),
);
