/**
 * Late start (Raya and Ambrogioni 2023) with exact scores: quality against the time at which the reverse process begins, for few
 * denoising steps, from N(0, I) and from the mean and covariance of the data. Prints the tables of docs/late-start.md.
 *
 *   node build/examples/late-start.js [digits | images.gz] [steps,...] [samples] [starts] [rows] [studies.json]
 */
import { writeFileSync } from "node:fs";
import { diffuse, empirical, lateStart, openDataset, variancePreserving, type Estimate, type LateStartStudy } from "diffusion-regimes";

const [source = "digits", steps = "3,5,10", samples = "2000", starts = "16", rows, file] = process.argv.slice(2);
const part = rows === undefined ? {} : { rows: { from: 0, to: Number(rows) } };
const data = await openDataset(source, source === "digits" ? { scale: "standardize" } : { scale: "symmetric", ...part });
// Far fewer samples than pixels: the leading components alone are resolved.
const space = data.d > 100 ? ({ measure: "frechet-pca", rank: 64 } as const) : {};
const field = diffuse(empirical(data), variancePreserving());

const told = ({ value, standardError }: Estimate, digits = 3): string => `${value!.toFixed(digits)} +- ${standardError!.toFixed(digits)}`;
const studies: LateStartStudy[] = [];
const row = (...cells: readonly string[]): void => console.log(`| ${cells.join(" | ")} |`);

for (const count of steps.split(",").map(Number)) {
  const began = process.cpuUsage();
  const sizes = { steps: count, starts: Number(starts), samples: Number(samples) };
  const study = await lateStart(field, { samplers: ["ddpm", "ddim", "pndm"], ...sizes, seed: 1, ...space });
  studies.push(study);
  const { user, system } = process.cpuUsage(began);
  const { topVariance, speciation, drift } = study.expected;
  const seconds = ((user + system) / 1e6).toFixed(0);
  const theory = `Lambda ${topVariance.toFixed(2)}, speciation ${speciation?.toFixed(3) ?? "none"}, 1/2 asinh Lambda ${drift?.toFixed(3) ?? "none"}`;
  console.log(`\n${data.name}, n = ${data.n}, d = ${data.d}: ${count} steps, ${study.samples} samples, ${study.measure}, ${seconds} s of processor time`);
  console.log(`floor ${told(study.floor.distance)}; ${theory}\n`);
  const bend = "largest f'' at OU time (95 %)";
  row("sampler", "start law", "full run", "best start", "at OU time", "no worse down to", "latest start", bend, "sliced W, best start");
  row(...Array.from({ length: 9 }, () => "---"));
  for (const { sampler, startLaw, points, best, bifurcation, flat } of study.curves) {
    const [low, high] = bifurcation.ouTime.ci95 ?? [NaN, NaN];
    const at = points.find(({ t }) => t === best.t)!;
    row(
      sampler, startLaw, told(points.at(-1)!.distance), told(best.distance), best.ouTime.toFixed(2), flat.untilOuTime.toFixed(2),
      told(points[0]!.distance, 2),
      `${bifurcation.ouTime.value?.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`, told(at.slicedWasserstein, 4),
    );
  }
  console.log("");
  row("sampler", "best gaussian - best standard", "95 %", "sigmas", "verdict");
  row("---", "---", "---", "---", "---");
  for (const { sampler, difference, sigmas, verdict } of study.comparisons) {
    const interval = difference.ci95!.map((end) => end.toFixed(3)).join(" to ");
    row(sampler, told(difference), interval, sigmas?.toFixed(1) ?? "-", `gaussian ${verdict}`);
  }
  console.log("");
  row("OU time of start", ...study.ouTimes.map((t) => t.toFixed(2)));
  row("---", ...study.ouTimes.map(() => "---"));
  for (const { sampler, startLaw, points } of study.curves) {
    row(`${sampler} ${startLaw}`, ...points.map(({ distance }) => distance.value!.toFixed(3)));
  }
}
if (file !== undefined) writeFileSync(file, JSON.stringify(studies));
