/**
 * The data of the benches, deterministic: Fashion-MNIST, a colour set made from it, images of blobs, standard normals. Image sets are
 * uint8 and read as stored/128 - 1: those values are exact in float32, so that every contender works on the same numbers.
 */
import { existsSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

/** Where Debian's package dataset-fashion-mnist puts the training images (IDX: 16 header bytes, then 60000 x 28 x 28). */
const fashionFile = "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz";

/** Uniform numbers in (0, 1) by mulberry32 and standard normals by Box and Muller. */
export class Random {
  #state;
  #spare = null;

  constructor(seed) {
    this.#state = Math.imul(seed, 0x9e3779b1) | 0;
  }

  uniform() {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  }

  normal() {
    if (this.#spare !== null) {
      const spare = this.#spare;
      this.#spare = null;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  below(count) {
    return Math.floor(this.uniform() * count);
  }
}

export function normals(count, seed) {
  const random = new Random(seed);
  const values = new Float32Array(count);
  for (let k = 0; k < count; k++) values[k] = random.normal();
  return values;
}

/** Stored bytes as the values all contenders see. */
export function valuesOf(stored) {
  if (!(stored instanceof Uint8Array)) return stored;
  const values = new Float32Array(stored.length);
  for (let k = 0; k < stored.length; k++) values[k] = stored[k] / 128 - 1;
  return values;
}

/**
 * Images of three Gaussian blobs per channel on a dark ground: ten prototypes, each image one of them with its blobs moved, resized and
 * dimmed, and noise of +-4 levels. uint8 [n, channels * side * side].
 */
export function blobImages(n, side, channels, seed) {
  const random = new Random(seed);
  const pixels = side * side;
  const stored = new Uint8Array(n * channels * pixels);
  const uniform = (from, to) => from + (to - from) * random.uniform();
  const blob = () => ({ x: uniform(0.2, 0.8), y: uniform(0.2, 0.8), width: uniform(0.08, 0.25), height: uniform(80, 240) });
  const prototypes = Array.from({ length: 10 * channels }, () => [blob(), blob(), blob()]);
  const profile = (centre, width) =>
    Float32Array.from({ length: side }, (_, k) => Math.exp(-0.5 * (((k + 0.5) / side - centre) / width) ** 2));
  let bits = seed | 1;
  for (let image = 0; image < n; image++) {
    const kind = random.below(10);
    for (let channel = 0; channel < channels; channel++) {
      const parts = prototypes[kind * channels + channel].map(({ x, y, width, height }) => ({
        across: profile(x + uniform(-0.1, 0.1), width * uniform(0.8, 1.25)),
        down: profile(y + uniform(-0.1, 0.1), width * uniform(0.8, 1.25)).map((value) => value * height),
      }));
      const [first, second, third] = parts;
      let at = (image * channels + channel) * pixels;
      for (let row = 0; row < side; row++) {
        for (let column = 0; column < side; column++) {
          bits = (Math.imul(bits, 1664525) + 1013904223) | 0;
          const light =
            first.down[row] * first.across[column] + second.down[row] * second.across[column] + third.down[row] * third.across[column];
          stored[at++] = Math.max(0, Math.min(255, light + ((bits >>> 24) & 7) - 4));
        }
      }
    }
  }
  return stored;
}

/** The 60000 x 784 grey images: Fashion-MNIST, or blobs where it is not installed. */
export function greyImages() {
  if (existsSync(fashionFile)) return { stored: new Uint8Array(gunzipSync(readFileSync(fashionFile)).subarray(16)), source: "Fashion-MNIST" };
  return { stored: blobImages(60_000, 28, 1, 7), source: "synthetic blobs (the package dataset-fashion-mnist is not installed)" };
}

/** c3072: n grey images resized to 32 x 32 (bilinear), tinted, on a colour gradient, with noise of +-8 levels. uint8 [n, 3 * 1024]. */
export function colourImages(grey, n, seed) {
  const random = new Random(seed);
  const stored = new Uint8Array(n * 3072);
  const resized = new Float32Array(1024);
  let bits = seed | 1;
  for (let image = 0; image < n; image++) {
    const from = image * 784;
    for (let row = 0; row < 32; row++) {
      const y = Math.min(26.999, Math.max(0, (row + 0.5) * 0.875 - 0.5));
      for (let column = 0; column < 32; column++) {
        const x = Math.min(26.999, Math.max(0, (column + 0.5) * 0.875 - 0.5));
        const corner = from + Math.floor(y) * 28 + Math.floor(x);
        const right = x % 1;
        const top = grey[corner] + right * (grey[corner + 1] - grey[corner]);
        const bottom = grey[corner + 28] + right * (grey[corner + 29] - grey[corner + 28]);
        resized[row * 32 + column] = top + (y % 1) * (bottom - top);
      }
    }
    for (let channel = 0; channel < 3; channel++) {
      const tint = 0.3 + 0.6 * random.uniform();
      const [ground, across, down] = [60 * random.uniform(), 2 * random.uniform() - 1, 2 * random.uniform() - 1];
      let at = (image * 3 + channel) * 1024;
      for (let k = 0; k < 1024; k++) {
        bits = (Math.imul(bits, 1664525) + 1013904223) | 0;
        const light = tint * resized[k] + ground + across * (k % 32) + down * (k >> 5) + ((bits >>> 24) & 15) - 8;
        stored[at++] = Math.max(0, Math.min(255, light));
      }
    }
  }
  return stored;
}
