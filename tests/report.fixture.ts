/**
 * An analysis as the 1797 digits would give it (d = 64, 10 classes, standardised), made from the formulas of theory with standard
 * errors of 1000 draws: the page is tested without the addon, on numbers that look like the real ones.
 */
import type { Analysis } from "../lib/analysis.js";
import type { Estimate } from "../lib/estimate.js";
import { clocks } from "../lib/process.js";

type Boundary = Analysis["result"]["speciationTime"]["spectral"];

const N = 1797;
const D = 64;
const CLASSES = 10;
const DRAWS = 1000;
const LEADING = [4.94471, 4.52237, 3.91662, 2.79269, 1.92016, 1.63275, 1.43321, 1.21583, 1.11351, 1.02238, 0.78778, 0.75469];
const TRACE = 33.2069;
const ALPHA = Math.log(N) / D;
const TIMES = Array.from({ length: 24 }, (_, k) => 0.02 * (4 / 0.02) ** (k / 23));

/** The remaining eigenvalues fall geometrically and add up to the trace. */
const EIGENVALUES = [...LEADING, ...Array.from({ length: D - LEADING.length }, (_, k) => 0.69 * 0.91 ** k)];

/** E g(z), z ~ N(0, 1), by the trapezoidal rule. */
function gaussianMean(g: (z: number) => number): number {
  let sum = 0;
  for (let k = -60; k <= 60; k++) sum += g(k / 10) * Math.exp(-((k / 10) ** 2) / 2);
  return sum / (10 * Math.sqrt(2 * Math.PI));
}

const ratio = (t: number): number => Math.exp(-2 * t) / -Math.expm1(-2 * t);
const information = (t: number): number => EIGENVALUES.reduce((sum, l) => sum + Math.log1p(l * ratio(t)), 0) / 2;
const variance = (t: number): number => EIGENVALUES.reduce((sum, l) => sum + (l * ratio(t)) / (1 + l * ratio(t)), 0);
/** log n - i along the draws, in units of the finite-size theory. */
const gap = (t: number, z: number): number => Math.log(N) - information(t) + Math.sqrt(variance(t)) * z;
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const kappaSquared = (t: number): number => (3.355 * ratio(t)) / (1 + 0.3 * ratio(t));
const CHANCE = 1 / CLASSES;

function estimate(value: number, standardError: number): Estimate {
  return { value, standardError, ci95: [value - 1.96 * standardError, value + 1.96 * standardError], status: "ok" };
}

/** A curve between `floor` and 1 whose draws hardly vary at either end, like those of real data. */
function curve(value: (t: number) => number, floor: number): Estimate[] {
  return TIMES.map((t) => {
    const above = Math.max((value(t) - floor) / (1 - floor), 0);
    return estimate(value(t), Math.min(0.5 * Math.sqrt(above * (1 - above)), 1.2 * above) / Math.sqrt(DRAWS) + 1e-7);
  });
}

function boundary(criterion: string, value: number, standardError: number, method: string, threshold?: number): Boundary {
  return {
    ...estimate(value, standardError),
    criterion,
    method,
    clocks: clocks(value),
    processTime: value,
    ...(threshold === undefined ? {} : { threshold }),
  };
}

/** A critical time that does not exist, with the reason. */
export function without(criterion: string, status: string): Boundary {
  return {
    value: null,
    standardError: null,
    ci95: null,
    status,
    criterion,
    method: "no crossing on the grid",
    clocks: null,
    processTime: null,
  };
}

/** First time at which a rising (or, with -1, falling) curve passes `level`, by bisection. */
function crossing(value: (t: number) => number, level: number, sign: 1 | -1): number {
  let [low, high] = [TIMES[0]!, TIMES.at(-1)!];
  for (let k = 0; k < 60; k++) {
    const middle = (low + high) / 2;
    if (sign * (value(middle) - level) > 0) high = middle;
    else low = middle;
  }
  return low;
}

/** The analysis; `change` may replace parts of its result. */
export function digitsLike(change: (analysis: Analysis) => Analysis = (analysis) => analysis): Analysis {
  const excess = (t: number): number => gaussianMean((z) => softplus(gap(t, z))) / Math.log(N);
  const surrogate = (t: number): number => 1 - information(t) / Math.log(N);
  const collapse = (t: number): number =>
    Math.max(
      1 / N,
      gaussianMean((z) => 1 / (1 + Math.exp(gap(t, z)))),
    );
  const twoClasses = (t: number): number => gaussianMean((z) => Math.tanh(kappaSquared(t) + Math.sqrt(kappaSquared(t)) * z));
  const speciation = (t: number): number => CHANCE + (1 - CHANCE) * twoClasses(t);
  const entropy = (t: number): number => gaussianMean((z) => softplus(-2 * (kappaSquared(t) + Math.sqrt(kappaSquared(t)) * z))) / Math.LN2;
  const threshold = CHANCE + (1 - CHANCE) * 0.5504;
  const cloned = curve(collapse, 1 / N);
  return change({
    config: {
      source: "digits",
      process: "ornstein-uhlenbeck",
      processParameters: {},
      scale: "standardize",
      times: TIMES,
      draws: DRAWS,
      seed: "1",
      threads: 2,
      precision: "exact",
      classes: null,
      threshold: 0.05,
    },
    result: {
      n: N,
      d: D,
      alpha: ALPHA,
      scale: { name: "standardize", scale: 0.16617, shift: -0.81177, mean: 4.88417, standardDeviation: 6.01679 },
      distinctRows: N,
      fingerprint: "6f1d8a52c07be9341d5f0ab2c4e89d7701b3a5f2946ce8d0b7fa1c3e5d2960ab",
      classValues: Array.from({ length: CLASSES }, (_, k) => k),
      classFractions: Array.from({ length: CLASSES }, () => CHANCE),
      imageShape: [8, 8],
      spectrum: { eigenvalues: LEADING.map((value) => estimate(value, 0.0275 * value)), trace: TRACE },
      curves: {
        ouTime: TIMES,
        excessEntropyOverAlpha: curve(excess, 0),
        collapseCloning: cloned,
        effectiveCount: cloned.map(({ value, standardError }) => estimate(1 / value!, standardError! / value! ** 2)),
        speciationCloning: curve(speciation, CHANCE),
        classEntropyOverPrior: curve(entropy, 0),
      },
      theory: { excessEntropyOverAlpha: TIMES.map(surrogate) },
      speciationTime: {
        spectral: boundary(
          "spectral",
          Math.log(LEADING[0]!) / 2,
          0.0137,
          "1/2 log of the top covariance eigenvalue 4.94471, standard error over rows (delta method)",
        ),
        cloning: boundary(
          "cloning",
          crossing(speciation, threshold, -1),
          0.0071,
          "mean of sum_c p(c|x)^2 falls through 0.59536, 1000 draws",
          threshold,
        ),
        kappa: boundary(
          "kappa",
          0.7012,
          0.0112,
          "top eigenvalue of the between-class covariance, whitened by the noised within-class covariance, is 1 (two balanced " +
            "classes: kappa = 1); standard error over rows, class fractions given",
        ),
        "entropy-rate": boundary("entropy-rate", 0.5433, 0.018, "largest d H(c|x)/dt, t OU time, 1000 draws, bootstrap over draws"),
      },
      collapseTime: {
        "excess-entropy": boundary(
          "excess-entropy",
          crossing(excess, 0.05, 1),
          0.0043,
          "mean posterior entropy rises through 0.05 H(pi), 1000 draws, standard error over draws for these data",
          0.05,
        ),
        cloning: boundary(
          "cloning",
          crossing(collapse, 0.5, -1),
          0.0049,
          "mean of sum w^2 falls through 1/2, 1000 draws, standard error over draws for these data",
          0.5,
        ),
        population: boundary(
          "population",
          crossing(surrogate, 0, 1),
          0.0049,
          "Gaussian surrogate with the covariance of the data: the largest entropy for this covariance, so its excess entropy lies " +
            "below and this time above those of the true population; standard error as for Gaussian rows",
        ),
      },
    },
    warnings: [],
    timing: { openMs: 12.4, spectrumMs: 31.8, sweepMs: 412.6, totalMs: 498.1 },
    meta: {
      version: "0.1.0",
      backend: "cpu-avx2",
      backendReason: "fastest that this processor runs",
      threads: 2,
      node: "20.20.2",
      platform: "linux-x64",
      date: "2026-01-01T00:00:00.000Z",
    },
  } satisfies Analysis);
}
