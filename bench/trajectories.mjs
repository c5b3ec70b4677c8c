/**
 * Reverse trajectories against a torch loop of the same steps in float32. Ours keeps its contract at every step, draws its normals by
 * counter and returns float64; what the table cannot show is quality, which is the same law for all.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ornsteinUhlenbeck, reverseGrid } from "diffusion-regimes";
import { ours, torchTrajectories } from "./contenders.mjs";
import { startChildren } from "./measure.mjs";
import { median, printTable, threeDigits } from "./table.mjs";
import { shapes, writePoints } from "./workloads.mjs";

const heads = ["", "threads", "s", "min", "CPU s", "wall over it", "CPU over it", "how"];

/** Two Gaussians of variance 1 at the corners +-1, the target of Biroli et al. 2024, Fig. 2. */
function writeTwoGaussians(folder, d) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "means.f32"), Float32Array.from({ length: 2 * d }, (_, k) => (k < d ? 1 : -1)));
  writeFileSync(join(folder, "variances.f32"), Float32Array.of(1, 1));
  const workload = { name: "two Gaussians", kind: "mixture", type: "spherical", source: `2 Gaussians, d = ${d}`, n: 2, d, stored: "float32", levels: [], folder };
  writeFileSync(join(folder, "workload.json"), JSON.stringify(workload));
  return workload;
}

/** Steps of a run, and the ways of ours; `share`: of how many steps torch is timed, evenly spread, when a step of it costs seconds. */
const runs = {
  mixture: [
    { name: "DDIM, 200 steps, 2000 trajectories", sampler: "ddim", grid: { steps: 200 }, count: 2000, share: 1 },
    { name: "Euler-Maruyama, 1000 steps, 2000 trajectories", sampler: "euler-maruyama", grid: { steps: 1000, schedule: "ou-time" }, count: 2000, share: 1 },
  ],
  points: [{ name: "DDIM, 200 steps from OU time 3 to 1e-3, 256 trajectories", sampler: "ddim", grid: { steps: 200, from: 3, to: 1e-3, schedule: "ou-time" }, count: 256, share: 1 / 50 }],
};
const ways = {
  mixture: [{ name: "ours", own: {} }, { name: "ours, all dimensions", own: { reduce: "none" } }],
  points: [{ name: "ours", own: {} }, { name: "ours, stateless", own: { carry: false } }],
};

async function measured(workload, run, threads, settings, missing) {
  const children = await startChildren([ours, torchTrajectories], workload, threads, settings, missing);
  const levels = reverseGrid(ornsteinUhlenbeck(), run.grid).map(({ a, b, ouTime }) => [a, b, ouTime]);
  const every = Math.round(1 / run.share);
  const timed = Array.from({ length: levels.length - 1 }, (_, k) => k).filter((k) => k % every === Math.floor(every / 2));
  const { sampler, count, grid } = run;
  const parts = children.flatMap((child) =>
    child.contender === ours
      ? ways[workload.kind].map(({ name, own }) => ({ name, factor: 1, ask: () => child.ask({ op: "other", trajectories: { sampler, count, ...grid, ...own } }) }))
      : [{ name: every > 1 ? `torch loop (${timed.length} steps measured, x ${every})` : "torch loop", factor: every, ask: () => child.ask({ op: "other", sampler, count, levels, measured: timed }) }],
  );
  const results = parts.map(({ name }) => ({ name, wall: [], processor: [], note: "" }));
  for (let round = 0; round <= Math.min(settings.repetitions, 3); round++) {
    settings.say(`${run.name}, threads ${threads}, ${round === 0 ? "warming up" : `round ${round}`}`);
    for (const [k, { ask, factor }] of parts.entries()) {
      const { ms, cpuMs, note } = await ask();
      if (round === 0) continue;
      results[k].wall.push((factor * ms) / 1000);
      results[k].processor.push((factor * cpuMs) / 1000);
      results[k].note = note ?? "";
    }
  }
  for (const child of children) child.close();
  return results;
}

/** Prints the table; everything measured goes to `record`. */
export async function trajectoriesTable(folder, settings, missing, record) {
  const writers = { mixture: () => writeTwoGaussians(join(folder, "two"), 256), images: () => writePoints(join(folder, "images"), "A", shapes.A, []) };
  const workloads = settings.targets.map((name) => writers[name]());
  const rows = [];
  for (const workload of workloads) {
    for (const run of runs[workload.kind]) {
      rows.push("", `${run.name}: ${workload.source}, n = ${workload.n}, d = ${workload.d}`);
      for (const threads of settings.threads) {
        const results = await measured(workload, run, threads, settings, missing);
        const torch = results.find(({ name }) => name.startsWith("torch"));
        for (const { name, wall, processor, note } of results) {
          const ratio = (of, by) => (torch === undefined ? "-" : threeDigits(median(of) / median(by)));
          rows.push([name, String(threads), ...[median(wall), Math.min(...wall), median(processor)].map(threeDigits), ratio(torch?.wall, wall), ratio(torch?.processor, processor), note]);
        }
        (record.tables.trajectories ??= []).push({ run: run.name, source: workload.source, threads, results });
      }
    }
    rmSync(workload.folder, { recursive: true });
  }
  console.log(`Trajectories: torch's loop over the row's own time, and how ours answered its evaluations\n`);
  console.log(`${printTable(heads, rows)}\n`);
}
