/** This package through its public API: what a caller waits for, copies and promises included. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { diffuse, empirical, gaussianMixture, openDataset, ornsteinUhlenbeck } from "diffusion-regimes";
import { floats, serve, threads, timed } from "./peer.mjs";

async function targetOf({ kind, type, n, d, rank, stored, folder }) {
  if (kind === "points") {
    const shape = [n, d];
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

await serve(async (workload) => {
  const field = diffuse(await targetOf(workload), ornsteinUhlenbeck());
  const { d } = workload;
  let t = 1;
  const score = (x, rows, precision) => field.posterior({ data: x, shape: [rows, d] }, { t, readings: ["score"], precision, threads });
  const { backend } = (await score(new Float32Array(d), 1, "float64")).meta;
  return {
    version: backend,
    prepare: (level) => {
      t = level.t;
    },
    evaluate: async (x, rows) => ({ note: pathNote(await score(x, rows, "exact")) }),
    score: async (x, rows, _level, precision = "exact") => (await score(x, rows, precision)).score.data,
    other: (request) => sweep(field, request),
  };
});

/** How the queries were answered, e.g. "refined 250, dense 6". */
function pathNote({ path, meta }) {
  if (path === undefined) return meta.path;
  const counts = new Map();
  for (const name of path) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, count]) => `${name} ${count}`).join(", ");
}
