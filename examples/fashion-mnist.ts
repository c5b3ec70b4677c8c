/**
 * Fashion-MNIST with labels, pixels in [0, 1]: when a sample chooses its class and when it falls onto a training image.
 * Debian has the data: apt-get install dataset-fashion-mnist
 */
import { collapseTime, diffuse, empirical, openDataset, ornsteinUhlenbeck, regimes, speciationCriteria, speciationTime } from "diffusion-regimes";

const [rows = 60_000, draws = 1000] = process.argv.slice(2).map(Number);
const folder = "/usr/share/datasets/fashion-mnist";
const images = `${folder}/train-images-idx3-ubyte.gz`;
const source = { labels: `${folder}/train-labels-idx1-ubyte.gz`, scale: "unit", rows: { from: 0, to: rows } } as const;

async function report(name: string, classes?: readonly number[]): Promise<void> {
  const data = await openDataset(images, { ...source, classes });
  const field = diffuse(empirical(data), ornsteinUhlenbeck());
  const curves = await regimes(field, { times: { from: 0.02, to: 4, count: 24 }, draws, seed: 1 });
  console.log(`\n${name}: n = ${data.n}, d = ${data.d}`);
  const times = [
    ...(await Promise.all(speciationCriteria.map((criterion) => speciationTime(field, { criterion, ...(usesCurves(criterion) ? { curves } : {}) })))),
    await collapseTime(field, { criterion: "excess-entropy", threshold: 0.05, curves }),
    await collapseTime(field, { criterion: "cloning", curves }),
  ];
  for (const { criterion, value, standardError, status, clocks } of times) {
    const told = value === null ? status : `t = ${value.toFixed(4)} +- ${standardError!.toFixed(4)}, DDPM step ${clocks?.ddpmStep?.toFixed(0)}`;
    console.log(`  ${criterion.padEnd(15)} ${told}`);
  }
  data.dispose();
}

function usesCurves(criterion: string): boolean {
  return criterion === "cloning" || criterion === "entropy-rate";
}

await report("Fashion-MNIST, ten classes");
await report("T-shirts and ankle boots", [0, 9]);
