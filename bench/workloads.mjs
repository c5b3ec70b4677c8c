/**
 * What is timed: data sets or mixtures with queries at given noise, written as raw little-endian files into a folder, so that
 * contenders in any language read the same numbers. `workload.json` beside them says shapes and names.
 *
 * The process is variance preserving: x = a y + b z with a = sqrt(1 - b^2). Typical queries are x = a y_mu + b z; tie queries stand at
 * the midpoint of y_mu and its nearest neighbour, with a gap of their logits of order 1 and noise orthogonal to it.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ornsteinUhlenbeck } from "diffusion-regimes";
import { Random, blobImages, colourImages, greyImages, normals, valuesOf } from "./datasets.mjs";
import { writeOnnxModel } from "./onnx-model.mjs";

const noiseLevels = { condensed: 0.3, middle: 0.7, diffuse: 0.95 };
/** In few dimensions the data condense later. */
const lowDimensionalLevels = { condensed: 0.02, middle: 0.1, diffuse: 0.9 };

/** Name -> what it is; `make` gives the stored rows. Shapes A to F are those of the project's figures since its first measurements. */
export const shapes = {
  A: { batch: 256, n: 60_000, d: 784, noise: noiseLevels, make: greyImages },
  B: {
    batch: 64, n: 50_000, d: 3072, noise: noiseLevels,
    make: () => {
      const { stored, source } = greyImages();
      return { stored: colourImages(stored, 50_000, 11), source: `colour images (c3072) from ${source}` };
    },
  },
  C: { batch: 1024, n: 100_000, d: 128, noise: noiseLevels, make: () => gaussian(100_000, 128) },
  D: { batch: 1, n: 60_000, d: 784, noise: noiseLevels, make: greyImages },
  E: { batch: 4096, n: 10_000, d: 1000, noise: noiseLevels, make: () => gaussian(10_000, 1000) },
  F: { batch: 4096, n: 100_000, d: 2, noise: lowDimensionalLevels, make: () => gaussian(100_000, 2) },
  F4: { batch: 4096, n: 100_000, d: 4, noise: lowDimensionalLevels, make: () => gaussian(100_000, 4) },
};

/** A set of blob images for the growth table: side x side pixels, 1 or 3 channels. */
export function growthShape(n, side, channels) {
  const d = channels * side * side;
  return { batch: 64, n, d, noise: noiseLevels, make: () => ({ stored: blobImages(n, side, channels, 7), source: "synthetic blobs" }) };
}

function gaussian(n, d) {
  return { stored: normals(n * d, 1), source: "standard normal" };
}

/** "condensed" or "0.5" -> {name, t, a, b}, with (a, b) as the library computes them from t. */
export function noiseOf(word, levels) {
  const wanted = levels[word] ?? Number(word);
  if (!(wanted > 0 && wanted < 1)) throw new Error(`noise "${word}": need ${Object.keys(levels).join(", ")} or a number in (0, 1)`);
  const t = -0.5 * Math.log1p(-wanted * wanted);
  return { name: word in levels ? `${word} (${wanted})` : word, t, ...ornsteinUhlenbeck().marginal(t) };
}

/** How many queries of each kind the scores are checked on. */
const checked = 16;

/**
 * Writes a data set and its queries; `alone`: without what only peers and checks need (float32 rows, tie queries).
 * @returns the workload; its `bytes` are those of the stored rows.
 */
export function writePoints(folder, name, { batch, n, d, noise, make }, words, { alone = false } = {}) {
  mkdirSync(folder, { recursive: true });
  const { stored, source } = make();
  if (stored instanceof Uint8Array) writeFileSync(join(folder, "rows.u8"), stored);
  if (!alone || !(stored instanceof Uint8Array)) writeFileSync(join(folder, "rows.f32"), valuesOf(stored));
  writeOnnxModel(join(folder, "model.onnx"), n, d);
  const pairs = alone ? [] : neighbours(stored, n, d, checked);
  const levels = words.map((word) => noiseOf(word, noise));
  levels.forEach((level, index) => {
    writeFileSync(join(folder, `typical-${index}.f32`), typicalQueries(stored, n, d, batch, level));
    writeFileSync(join(folder, `tie-${index}.f32`), tieQueries(stored, d, pairs, level));
  });
  const workload = {
    name, kind: "points", source, n, d, batch, levels, folder,
    stored: stored instanceof Uint8Array ? "uint8" : "float32",
    bytes: stored.byteLength,
    checked: { typical: Math.min(batch, checked), tie: pairs.length },
  };
  writeFileSync(join(folder, "workload.json"), JSON.stringify(workload));
  return workload;
}

/** Rows `row` of what is stored, in the values that contenders see. */
const rowOf = (stored, row, d) => valuesOf(stored.subarray(row * d, (row + 1) * d));

function typicalQueries(stored, n, d, batch, { a, b }) {
  const random = new Random(2);
  const x = new Float32Array(batch * d);
  for (let q = 0; q < batch; q++) {
    const y = rowOf(stored, random.below(n), d);
    for (let j = 0; j < d; j++) x[q * d + j] = a * y[j] + b * random.normal();
  }
  return x;
}

function tieQueries(stored, d, pairs, { a, b }) {
  const random = new Random(3);
  const x = new Float32Array(pairs.length * d);
  pairs.forEach((pair, q) => {
    const [first, second] = pair.map((row) => rowOf(stored, row, d));
    const z = Float64Array.from({ length: d }, () => random.normal());
    const apart = Float64Array.from({ length: d }, (_, j) => first[j] - second[j]);
    const length = Math.sqrt(apart.reduce((sum, value) => sum + value * value, 0));
    const along = apart.reduce((sum, value, j) => sum + value * z[j], 0) / length;
    for (let j = 0; j < d; j++) {
      // Along the line of the two data, the place where their logits differ by `along`, a standard normal number.
      const unit = apart[j] / length;
      const noise = z[j] - along * unit + (along * b * unit) / (a * length);
      x[q * d + j] = (a * (first[j] + second[j])) / 2 + b * noise;
    }
  });
  return x;
}

/** `count` random rows, each with its nearest different row; the scale of the values does not matter. */
export function neighbours(stored, n, d, count) {
  const random = new Random(4);
  return Array.from({ length: count }, () => {
    const row = random.below(n);
    let [nearest, least] = [-1, Infinity];
    for (let other = 0; other < n; other++) {
      let squared = 0;
      for (let j = 0; j < d && squared < least; j += 32) {
        for (let k = j; k < Math.min(j + 32, d); k++) {
          const difference = stored[row * d + k] - stored[other * d + k];
          squared += difference * difference;
        }
      }
      if (squared > 0 && squared < least) [nearest, least] = [other, squared];
    }
    return [row, nearest];
  });
}

/** The mixtures of the table; components K in d dimensions. */
export const mixtures = {
  spherical: { type: "spherical", k: 10_000, d: 784 },
  diagonal: { type: "diagonal", k: 10_000, d: 784 },
  "low-rank": { type: "low-rank", k: 100, d: 3072, rank: 16 },
  full: { type: "full", k: 10, d: 784 },
};

/** Writes a mixture and its typical queries, B = 256: x = a m_k + b z plus the component's own spread in its leading directions. */
export function writeMixture(folder, name, { type, k, d, rank = 0 }, words) {
  mkdirSync(folder, { recursive: true });
  const batch = 256;
  const means = normals(k * d, 5);
  const random = new Random(6);
  const variance = () => 0.05 + 0.1 * random.uniform();
  const parts = { means };
  if (type === "spherical") parts.variances = Float32Array.from({ length: k }, variance);
  if (type === "diagonal") parts.variances = Float32Array.from({ length: k * d }, variance);
  if (type === "low-rank") {
    parts.diagonals = Float32Array.from({ length: k * d }, variance);
    parts.factors = Float32Array.from({ length: k * d * rank }, () => 0.3 * random.normal());
  }
  if (type === "full") parts.matrices = correlated(k, d, random);
  for (const [part, values] of Object.entries(parts)) writeFileSync(join(folder, `${part}.f32`), values);
  const levels = words.map((word) => noiseOf(word, noiseLevels));
  levels.forEach((level, index) => writeFileSync(join(folder, `typical-${index}.f32`), typicalQueries(means, k, d, batch, level)));
  const bytes = Object.values(parts).reduce((sum, values) => sum + values.byteLength, 0);
  const workload = {
    name, kind: "mixture", type, source: `${type} mixture`, n: k, d, rank, batch, levels, folder, stored: "float32", bytes,
    checked: { typical: checked, tie: 0 },
  };
  writeFileSync(join(folder, "workload.json"), JSON.stringify(workload));
  return workload;
}

/** K dense covariances 0.1 I + sum of 8 outer products, symmetric to the last bit. */
function correlated(k, d, random) {
  const matrices = new Float32Array(k * d * d);
  for (let component = 0; component < k; component++) {
    const directions = Array.from({ length: 8 }, () => Float64Array.from({ length: d }, () => 0.2 * random.normal()));
    const base = component * d * d;
    for (let i = 0; i < d; i++) {
      for (let j = i; j < d; j++) {
        const sum = directions.reduce((total, direction) => total + direction[i] * direction[j], i === j ? 0.1 : 0);
        matrices[base + i * d + j] = sum;
        matrices[base + j * d + i] = sum;
      }
    }
  }
  return matrices;
}
