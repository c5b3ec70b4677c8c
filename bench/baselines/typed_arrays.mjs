/** Plain JavaScript over typed arrays: expanded squares, float64 accumulators, four at a time; one thread whatever is asked for. */
import { fileURLToPath } from "node:url";
import { floats, halfSquares, scoreOfDenoised, serve } from "./peer.mjs";

/** E[x_0 | x] for rows of x, [rows, d]; `halves` are |y_i|^2 / 2. */
export function denoised(x, rows, data, halves, n, d, { a, b }) {
  const result = new Float32Array(rows * d);
  const logits = new Float64Array(n);
  const sums = new Float64Array(d);
  const inverse = 1 / (b * b);
  const whole = d - (d % 4);
  for (let q = 0; q < rows; q++) {
    let largest = -Infinity;
    for (let i = 0; i < n; i++) {
      let [s0, s1, s2, s3] = [0, 0, 0, 0];
      const [from, row] = [q * d, i * d];
      for (let j = 0; j < whole; j += 4) {
        s0 += x[from + j] * data[row + j];
        s1 += x[from + j + 1] * data[row + j + 1];
        s2 += x[from + j + 2] * data[row + j + 2];
        s3 += x[from + j + 3] * data[row + j + 3];
      }
      for (let j = whole; j < d; j++) s0 += x[from + j] * data[row + j];
      const logit = a * inverse * (s0 + s1 + s2 + s3 - a * halves[i]);
      logits[i] = logit;
      if (logit > largest) largest = logit;
    }
    sums.fill(0);
    let total = 0;
    for (let i = 0; i < n; i++) {
      const weight = Math.exp(logits[i] - largest);
      if (weight === 0) continue;
      total += weight;
      const row = i * d;
      for (let j = 0; j < d; j++) sums[j] += weight * data[row + j];
    }
    for (let j = 0; j < d; j++) result[q * d + j] = sums[j] / total;
  }
  return result;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await serve(({ folder, n, d }) => {
    const data = floats(folder, "rows.f32");
    const halves = halfSquares(data, n, d);
    let level;
    const evaluate = (x, rows) => denoised(x, rows, data, halves, n, d, level);
    return {
      version: `Node ${process.versions.node}`,
      prepare: (next) => {
        level = next;
      },
      evaluate,
      score: (x, rows) => scoreOfDenoised(evaluate(x, rows), x, level),
    };
  });
}
