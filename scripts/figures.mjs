/**
 * Renders the figures of the documentation, docs/figures/*.svg: runs the demo and takes the drawings out of its report, and runs the
 * late starts of the digits.
 *
 *   npm run figures
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./build.mjs";

const names = ["regimes", "excess-entropy", "speciation-cloning"];
const folder = mkdtempSync(join(tmpdir(), "diffusion-regimes-figures-"));
const figures = join(root, "docs", "figures");
mkdirSync(figures, { recursive: true });
try {
  execFileSync(process.execPath, [join(root, "dist", "cli", "index.js"), "demo", "--quiet", "--out", join(folder, "demo")], { stdio: ["ignore", "ignore", "inherit"] });
  const report = readFileSync(join(folder, "demo", "report.html"), "utf8");
  for (const name of names) {
    const link = new RegExp(`download="${name}\\.svg" href="data:image/svg\\+xml([^,]*),([^"]*)"`).exec(report);
    if (link === null) throw new Error(`the report has no drawing ${name}.svg`);
    const svg = link[1].includes("base64") ? Buffer.from(link[2], "base64").toString("utf8") : decodeURIComponent(link[2].replaceAll("&amp;", "&"));
    writeFileSync(join(figures, `${name}.svg`), svg);
  }
  const { diffuse, empirical, lateStart, openDataset, variancePreserving } = await import("../dist/index.js");
  const { lateStartSvg } = await import("../dist/report/late-start.js");
  const field = diffuse(empirical(await openDataset("digits", { scale: "standardize" })), variancePreserving());
  const study = await lateStart(field, { samplers: ["ddim", "pndm"], steps: 10, starts: 16, samples: 5000, seed: 1 });
  writeFileSync(join(figures, "late-start.svg"), lateStartSvg(study));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
