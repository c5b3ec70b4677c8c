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

/**
 * Name -> what it is; `make` gives the stored rows. Shapes A to F are those of the project's figures since its first measurements, T has
 * rows of very uneven length.
 */
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
  T: { batch: 256, n: 100_000, d: 128, noise: noiseLevels, make: () => heavyTailed(100_000, 128) },
  F4: { batch: 4096, n: 100_000, d: 4, noise: lowDimensionalLevels, make: () => gaussian(100_000, 4) },
};

/** A set of blob images for the growth table: side x side pixels, 1 or 3 channels. */
export function growthShape(n, side, channels) {
  const d = channels * side * side;
  return { batch: 256, n, d, noise: noiseLevels, make: () => ({ stored: blobImages(n, side, channels, 7), source: "synthetic blobs" }) };
}

function gaussian(n, d) {
  return { stored: normals(n * d, 1), source: "standard normal" };
}

/** Normal rows over sqrt(chi^2_3 / 3), one number for each. */
function heavyTailed(n, d) {
  const stored = normals(n * d, 1);
  const random = new Random(6);
  for (let i = 0; i < n; i++) {
    const length = Math.hypot(random.normal(), random.normal(), random.normal()) / Math.sqrt(3);
    for (let j = 0; j < d; j++) stored[i * d + j] /= length;
  }
  return { stored, source: "Student t, 3 degrees of freedom" };
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
 * @returns the workload; `flop` and `floatBytes` are of its two float32 products.
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
    flop: 4 * batch * n * d,
    floatBytes: 4 * n * d,
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

/**
 * The mixtures of the table: K components in d dimensions, and flop per query of the torch formulation (torch_mixtures.py). The covariances
 * of "full" are 0.1 I + rank 8, whose equal axes ours uses; those of "full-generic" are W W^T with square W: all eigenvalues differ.
 */
export const mixtures = {
  spherical: { type: "spherical", k: 10_000, d: 784, flop: ({ k, d }) => 4 * k * d },
  diagonal: { type: "diagonal", k: 10_000, d: 784, flop: ({ k, d }) => 8 * k * d },
  "low-rank": { type: "low-rank", k: 100, d: 3072, rank: 16, flop: ({ k, d, rank }) => (8 + 4 * rank) * k * d },
  full: { type: "full", k: 10, d: 784, flop: ({ k, d }) => 4 * k * d * d },
  "full-generic": { type: "full", k: 10, d: 784, generic: true, flop: ({ k, d }) => 4 * k * d * d },
};

/**
 * Parameters of a mixture, float32, and `spread(component, random)`: a draw from N(0, C). Means lie at distances of about 4, so that the
 * noise levels condensed, middle and diffuse are what they are called.
 */
function mixtureParts({ type, k, d, rank, generic = false }) {
  const random = new Random(6);
  const means = normals(k * d, 5).map((value) => (2.8 / Math.sqrt(d)) * value);
  const variances = (count) => Float32Array.from({ length: count }, () => 0.05 + 0.1 * random.uniform());
  const directions = (count, scale) => Float32Array.from({ length: k * d * count }, () => scale * random.normal());
  const diagonal = (values, component) => (draws) => Float64Array.from({ length: d }, (_, j) => Math.sqrt(values[component * d + j]) * draws.normal());
  /** diag^1/2 e + W h with W [d, r] of the component. */
  const factored = (own, factors, component, r) => (draws) => {
    const result = diagonal(own, component)(draws);
    const h = Float64Array.from({ length: r }, () => draws.normal());
    return result.map((value, j) => value + h.reduce((sum, coefficient, q) => sum + coefficient * factors[(component * d + j) * r + q], 0));
  };
  if (type === "spherical") {
    const values = variances(k);
    return { parts: { means, variances: values }, spread: (c, draws) => Float64Array.from({ length: d }, () => Math.sqrt(values[c]) * draws.normal()) };
  }
  if (type === "diagonal") {
    const values = variances(k * d);
    return { parts: { means, variances: values }, spread: (c, draws) => diagonal(values, c)(draws) };
  }
  if (type === "low-rank") {
    const [diagonals, factors] = [variances(k * d), directions(rank, 0.05)];
    return { parts: { means, diagonals, factors }, spread: (c, draws) => factored(diagonals, factors, c, rank)(draws) };
  }
  const r = generic ? d : 8;
  const [factors, ground] = [directions(r, generic ? Math.sqrt(0.1 / d) : 0.05), new Float32Array(k * d).fill(generic ? 0 : 0.1)];
  return { parts: { means, matrices: correlated(factors, ground, k, d, r) }, spread: (c, draws) => factored(ground, factors, c, r)(draws) };
}

/** K dense covariances diag + W W^T, symmetric to the last bit. */
function correlated(factors, diagonals, k, d, r) {
  const matrices = new Float32Array(k * d * d);
  for (let component = 0; component < k; component++) {
    const row = (j) => factors.subarray((component * d + j) * r, (component * d + j + 1) * r);
    for (let i = 0; i < d; i++) {
      const own = row(i);
      for (let j = i; j < d; j++) {
        const other = row(j);
        let sum = i === j ? diagonals[component * d + j] : 0;
        for (let q = 0; q < r; q++) sum += own[q] * other[q];
        matrices[(component * d + i) * d + j] = sum;
        matrices[(component * d + j) * d + i] = sum;
      }
    }
  }
  return matrices;
}

/** Writes a mixture and 256 forward draws per noise level: x = a x_0 + b z. */
export function writeMixture(folder, name, mixture, words) {
  const { type, k, d, rank = 0 } = mixture;
  mkdirSync(folder, { recursive: true });
  const batch = 256;
  const { parts, spread } = mixtureParts(mixture);
  for (const [part, values] of Object.entries(parts)) writeFileSync(join(folder, `${part}.f32`), values);
  const levels = words.map((word) => noiseOf(word, noiseLevels));
  levels.forEach(({ a, b }, index) => {
    const random = new Random(2);
    const x = new Float32Array(batch * d);
    for (let q = 0; q < batch; q++) {
      const component = random.below(k);
      const own = spread(component, random);
      for (let j = 0; j < d; j++) x[q * d + j] = a * (parts.means[component * d + j] + own[j]) + b * random.normal();
    }
    writeFileSync(join(folder, `typical-${index}.f32`), x);
  });
  const floatBytes = Object.values(parts).reduce((sum, values) => sum + values.byteLength, 0);
  const workload = {
    name, kind: "mixture", type, source: `${type} mixture`, n: k, d, rank, batch, levels, folder, stored: "float32",
    flop: batch * mixture.flop(mixture), floatBytes,
    checked: { typical: checked, tie: 0 },
  };
  writeFileSync(join(folder, "workload.json"), JSON.stringify(workload));
  return workload;
}
