/** Your own rows from a .npy file, with labels where you have them: from np.save to a report. Without arguments it analyses the digits. */
import { writeFile } from "node:fs/promises";
import { analyze, openDataset, renderReport } from "diffusion-regimes";

const [path = "digits", out = "own-npy-data.html", labels] = process.argv.slice(2);

// Shape (n, d), any real element type. "standardize": one global mean and standard deviation, so that noise and data are comparable.
const data = await openDataset(path, { labels, scale: "standardize" });
const analysis = await analyze(data, { draws: 500, seed: 1 });
await writeFile(out, renderReport(analysis));

const { speciationTime, collapseTime } = analysis.result;
console.log(`${data.name}: ${data.n} rows of ${data.d}, ${data.distinctRows} distinct`);
for (const time of [speciationTime.spectral, speciationTime.cloning, collapseTime["excess-entropy"]]) {
  if (time === null) continue;
  console.log(`${time.criterion}: ${time.value === null ? time.status : `t = ${time.value.toFixed(3)}, 95 % interval ${time.ci95!.map((end) => end.toFixed(3)).join(" to ")}`}`);
}
console.log(`report: ${out}`);
