/** The exact score of a batch of points: grad log p_t for the empirical distribution of data in memory, with rigorous error bounds. */
import { diffuse, empirical, openDataset, variancePreserving } from "diffusion-regimes";

// Eight data on a circle, as plain typed arrays {data, shape}.
const angles = Array.from({ length: 8 }, (_, k) => (2 * Math.PI * k) / 8);
const data = await openDataset({ data: Float64Array.from(angles.flatMap((angle) => [Math.cos(angle), Math.sin(angle)])), shape: [8, 2] });

// The variance-preserving process of score-based models, u in (0, 1]; the score is that of x = a x_0 + b z at u.
const field = diffuse(empirical(data), variancePreserving());
const x = { data: Float64Array.from([0, 0, 0.9, 0.1, 3, -2]), shape: [3, 2] };
const { score, logDensity, effectiveCount, errorBound } = await field.posterior(x, {
  t: 0.2,
  readings: ["score", "logDensity", "effectiveCount"],
});

for (let q = 0; q < 3; q++) {
  const at = Array.from(x.data.subarray(2 * q, 2 * q + 2)).join(", ");
  const gradient = Array.from(score.data.subarray(2 * q, 2 * q + 2), (value) => value.toFixed(6)).join(", ");
  console.log(
    `x = (${at}): score (${gradient}) +- ${errorBound.score[q]!.toExponential(1)}, ` +
      `log p = ${logDensity[q]!.toFixed(6)}, ${effectiveCount[q]!.toFixed(2)} data take part`,
  );
}
