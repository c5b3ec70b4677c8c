/** This package through its public API: what a caller waits for, copies and promises included. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { diffuse, empirical, gaussianMixture, openDataset, ornsteinUhlenbeck, sampleReverse } from "diffusion-regimes";
import { floats, serve, threads, timed } from "./peer.mjs";

async function targetOf({ kind, type, n, d, rank, stored, folder }) {
  if (kind === "points") {
    const shape = [n, d];
    const { BENCH_FILE: file, BENCH_MAP: map, BENCH_BYTES: bytes } = process.env;
    if (file !== undefined) {
      const scaling = bytes === "true" ? { scale: "symmetric", maximum: 256 } : {};
      return empirical(await openDataset(file, { ...scaling, map: map === "true", threads }));
    }
    // 2 stored / 256 - 1: exact in float32.
    if (stored === "uint8") {
      const data = new Uint8Array(readFileSync(join(folder, "rows.u8")));
      return empirical(await openDataset({ data, shape }, { scale: "symmetric", maximum: 256, threads }));
    }
    return empirical(await openDataset({ data: floats(folder, "rows.f32"), shape }, { threads }));
  }
  const part = (name, ...shape) => ({ data: floats(folder, `${name}.f32`), shape });
  const covariances = {
    spherical: () => ({ type, variances: part("variances", n) }),
    diagonal: () => ({ type, variances: part("variances", n, d) }),
    "low-rank": () => ({ type, diagonals: part("diagonals", n, d), factors: part("factors", n, d, rank) }),
    full: () => ({ type, matrices: part("matrices", n, d, d) }),
  }[type]();
  return gaussianMixture({ means: part("means", n, d), covariances });
}

/** A sweep of `draws` coupled draws over `times` log-spaced noise levels b/a from 0.01 to 100, timed. */
async function sweep(field, { times, draws, readings }) {
  const ratios = Array.from({ length: times }, (_, j) => 0.01 * 1e4 ** (j / (times - 1)));
  const options = { times: ratios.map((ratio) => 0.5 * Math.log1p(ratio * ratio)), draws, seed: 1, readings, threads };
  return timed(() => field.sweep(options));
}

/** Reverse trajectories, timed, and the shares of the ways in which their evaluations were answered. */
async function trajectories(field, options) {
  const { ms, cpuMs, result } = await timed(() => sampleReverse(field, { ...options, seed: 1, threads }));
  const counts = new Map();
  for (const path of result.paths) counts.set(path, (counts.get(path) ?? 0) + 1);
  const kept = result.carried === null ? 0 : result.carried.steps.reduce((sum, steps) => sum + steps, 0) / options.count / result.evaluations;
  const reduced = result.reduction === null ? [] : [`in ${result.reduction.dimension} dimensions`];
  const shares = [...counts].map(([path, count]) => `${path} ${Math.round((100 * count) / result.paths.length)} %`);
  return { ms, cpuMs, note: [...reduced, ...shares, ...(kept > 0 ? [`from lists ${Math.round(100 * kept)} %`] : [])].join(", ") };
}

await serve(async (workload) => {
  const field = diffuse(await targetOf(workload), ornsteinUhlenbeck());
  const { d } = workload;
  let t = 1;
  const evaluate = (x, rows, precision) => field.posterior({ data: x, shape: [rows, d] }, { t, readings: ["score"], precision, threads });
  const { backend } = (await evaluate(new Float32Array(d), 1, "float64")).meta;
  return {
    version: backend,
    prepare: (level) => {
      t = level.t;
    },
    evaluate: async (x, rows) => ({ note: pathNote(await evaluate(x, rows, "exact")) }),
    async score(x, rows, _level, precision = "exact") {
      const result = await evaluate(x, rows, precision);
      if (precision === "float64" && result.meta.path !== "float64") throw new Error("the reference was not computed in float64");
      return result.score.data;
    },
    other: (request) => (request.trajectories === undefined ? sweep(field, request) : trajectories(field, request.trajectories)),
  };
});

/** How the queries were answered, e.g. "refined 250, float64 6; survivors 1 to 60000". */
function pathNote({ paths, survivors }) {
  const counts = new Map();
  for (const path of paths) counts.set(path, (counts.get(path) ?? 0) + 1);
  const range = survivors.reduce(([least, most], count) => [Math.min(least, count), Math.max(most, count)], [Infinity, 0]);
  return `${[...counts].map(([path, count]) => `${path} ${count}`).join(", ")}; survivors ${range.join(" to ")}`;
}
