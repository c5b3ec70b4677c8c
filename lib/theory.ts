/**
 * Closed forms of speciation and collapse for Gaussian populations and for two symmetric Gaussian classes; no sampling, no native code.
 *
 * Times are OU times (`clocks` of process.ts tells them in other clocks). A population enters through sigma^2 = b^2/a^2 = e^2t - 1 and
 *   its within-class covariance, eigenvalues l_i ("variance": one number, or up to d numbers, the missing ones being zero);
 *   half the distance between its two class means +m and -m ("halfSeparation": |m|, or the coordinates of m along the eigenvectors).
 * Everything about two classes depends on kappa alone, half the Mahalanobis distance of the noised means:
 *   kappa^2 = sum_i m_i^2 / (l_i + sigma^2).
 * With L = log p(+|x) - log p(-|x) ~ N(2 kappa^2, 4 kappa^2) for x of class +, all averages are means of sigmoid(-L) and log(1 + e^-L).
 *
 * Results are plain numbers: exact up to 1e-10 relative (quadrature and roots are about 1e-14). null means that the equation has no
 * solution. The Gaussian approximations say so.
 */
import { RegimesError } from "./errors.js";
import { clocks, ouTimeFrom } from "./process.js";
import { gaussianMean, monotoneRoot, sigmoid, softplus } from "./quadrature.js";

/** Two classes of equal weight and equal covariance, N(m, C) and N(-m, C). */
export interface ClassPair {
  /** |m| for `variance` a number; else the coordinates of m along the eigenvectors of C. */
  readonly halfSeparation: number | ArrayLike<number>;
  /** C = variance I, or the eigenvalues of C, as many as there are coordinates. */
  readonly variance: number | ArrayLike<number>;
}

/** n data from a Gaussian, or from a pair of classes. */
export interface Population {
  /** Number of data; a real number > 0 is fine (n/2 for "per class"). */
  readonly n: number;
  readonly d: number;
  /** C = variance I, or its eigenvalues: at most d, the missing ones are zero. */
  readonly variance: number | ArrayLike<number>;
  /**
   * With it the population is the pair of classes and every formula has its class term, the information I(c; x_t) = log 2 - H(kappa).
   * Without it the formulas are the published ones, which drop that term.
   */
  readonly halfSeparation?: number | ArrayLike<number>;
}

// ---- speciation ------------------------------------------------------------------------------------------------------------

/**
 * Cloning probability of two symmetric classes: two reverse trajectories split at time t end in the same class with probability
 * phi = 1/2 int (G+^2 + G-^2)/(G+ + G-) = (1 + E tanh(kappa^2 + kappa g))/2, g ~ N(0, 1); from 1/2 at kappa = 0 to 1.
 * @throws RegimesError E_DOMAIN unless kappa >= 0.   @see biroli2024 Eq. 6
 */
export function cloningProbability(kappa: number): number {
  return 1 - misclassification(kappa);
}

/** 1 - phi = E sigmoid(-L). */
function misclassification(kappa: number): number {
  checkKappa(kappa);
  // At kappa = 0 the sum may round to the float64 above 1/2.
  return Math.min(0.5, gaussianMean(sigmoid, -2 * kappa * kappa, 2 * kappa));
}

/** The cloning probability at kappa = 1, 0.7752002454: the point that defines the speciation time of Biroli et al. for two classes. */
export const cloningAtKappaOne: number = cloningProbability(1);

/**
 * kappa of a cloning probability, the inverse of `cloningProbability`; null unless 1/2 <= probability < 1, which is all that two
 * symmetric classes show.
 * @throws RegimesError E_DOMAIN unless 0 <= probability <= 1.
 */
export function kappaOfCloning(probability: number): number | null {
  if (!(probability >= 0 && probability <= 1)) {
    throw new RegimesError("E_DOMAIN", `cloning probability is ${probability}, need a number from 0 to 1`);
  }
  if (probability < 0.5 || probability === 1) return null;
  // At kappa = 39, 1 - phi is below the smallest float64.
  return monotoneRoot((kappa) => misclassification(kappa) - (1 - probability), 0, 39);
}

/**
 * Cloning probability that marks speciation with any number of classes:
 * phi_inf + (phi(kappa = 1) - 1/2)/(1/2) (1 - phi_inf), phi_inf = sum pi_c^2: the same fraction of the way from chance to certainty
 * as for two equal classes, 0.5504. Convention of this project for more than two classes or unequal weights.
 * @param classFractions pi_c >= 0, summing to 1; at least one.
 * @throws RegimesError E_WEIGHTS.
 */
export function cloningThreshold(classFractions: ArrayLike<number>): number {
  const fractions = Array.from(classFractions);
  const sum = fractions.reduce((total, fraction) => total + fraction, 0);
  if (!fractions.every((fraction) => fraction >= 0) || !(Math.abs(sum - 1) < 1e-9)) {
    throw new RegimesError("E_WEIGHTS", `cloningThreshold: class fractions ${fractions.join(", ")}, need numbers >= 0 with sum 1`);
  }
  const chance = fractions.reduce((total, fraction) => total + fraction * fraction, 0);
  return chance + (2 * cloningAtKappaOne - 1) * (1 - chance);
}

/**
 * Class entropy of two symmetric classes, H(c | x_t) = E log(1 + e^(-2 kappa (kappa + g))), in nats: from log 2 at kappa = 0 to 0.
 * I(c; x_t) = log 2 - H.
 * @throws RegimesError E_DOMAIN unless kappa >= 0.
 */
export function classEntropy(kappa: number): number {
  checkKappa(kappa);
  // As above, here log 2.
  return Math.min(Math.LN2, gaussianMean(softplus, -2 * kappa * kappa, 2 * kappa));
}

/**
 * -dH/d log kappa = kappa^2 (1 - E tanh(kappa^2 + kappa g)) >= 0, in nats; it is dH/dt in OU time where a^2 variance + b^2 = 1
 * (spherical classes of variance 1), else dH/dt is this divided by that.
 * @throws RegimesError E_DOMAIN unless kappa >= 0.
 */
export function classEntropyRate(kappa: number): number {
  return 2 * kappa * kappa * misclassification(kappa);
}

/** kappa at which `classEntropyRate` is largest: for classes of variance 1 this is 0.2055 before kappa = 1 in OU time. */
export const entropyRateKappa = 1.2281411273898375;

/** The largest `classEntropyRate`, 0.47952 nats. */
export const entropyRateMaximum: number = classEntropyRate(entropyRateKappa);

/** kappa at OU time t: sqrt(sum_i m_i^2 / (l_i + sigma^2)), decreasing. @throws RegimesError E_DOMAIN, E_SHAPE, E_NOT_PSD. */
export function kappaAt(ouTime: number, pair: ClassPair): number {
  checkPair(pair);
  return kappaAtNoise(noiseToSignal(ouTime), pair);
}

/**
 * OU time at which kappa has this value; 1 is the speciation time for two classes: 1/2 log(1 + |m|^2/kappa^2 - variance) for spherical
 * classes. null when the classes are closer than that even without noise.
 * @throws RegimesError E_DOMAIN unless kappa > 0; E_SHAPE.
 */
export function timeOfKappa(pair: ClassPair, kappa: number = 1): number | null {
  checkPair(pair);
  if (!(kappa > 0 && kappa < Infinity)) throw new RegimesError("E_DOMAIN", `kappa is ${kappa}, need a positive finite number`);
  const { halfSeparation, variance } = pair;
  if (typeof halfSeparation === "number" && typeof variance === "number") {
    const noise = (halfSeparation / kappa) ** 2 - variance;
    return noise > 0 ? ouTimeFrom("sigma", Math.sqrt(noise)) : null;
  }
  return timeOfRoot((noise) => kappaAtNoise(noise, pair) - kappa);
}

function kappaAtNoise(noise: number, { halfSeparation, variance }: ClassPair): number {
  if (typeof halfSeparation === "number") return halfSeparation / Math.sqrt((variance as number) + noise);
  let sum = 0;
  for (let i = 0; i < halfSeparation.length; i++) {
    const l = typeof variance === "number" ? variance : Math.max(0, variance[i]!);
    sum += halfSeparation[i]! ** 2 / (l + noise);
  }
  return Math.sqrt(sum);
}

/**
 * Spectral speciation time t_S = 1/2 log Lambda, from Lambda e^(-2 t_S) = 1; Lambda is the top eigenvalue of the data covariance.
 * A crossover scale, defined up to O(1), for Lambda >> 1 and a top direction that separates the classes. null for Lambda <= 1: no
 * direction is wider than the noise.
 * @throws RegimesError E_DOMAIN unless 0 <= Lambda < Infinity.   @see biroli2024 Eq. 4
 */
export function spectralSpeciationTime(lambda: number): number | null {
  checkVariance("Lambda", lambda);
  return lambda > 1 ? Math.log(lambda) / 2 : null;
}

/**
 * Time at which the drift x + 2 s of the reverse SDE loses stability at a symmetric point, 1/2 asinh(c), c the top eigenvalue of the
 * posterior covariance there (two points at +-r: r^2; a sphere of radius r: r^2/d). Large c: t_S + 1/2 log 2. null for c = 0.
 * @throws RegimesError E_DOMAIN unless 0 <= c < Infinity.   @see raya2023
 */
export function sdeInstabilityTime(c: number): number | null {
  checkVariance("c", c);
  return c > 0 ? Math.asinh(c) / 2 : null;
}

// ---- collapse --------------------------------------------------------------------------------------------------------------

/**
 * Mutual information I(x_0; x_t) of the population, in nats, total: 1/2 sum_i log(1 + l_i/sigma^2), plus log 2 - H(kappa) for a pair of
 * classes. Decreasing in t from Infinity (if any l_i > 0) to 0.
 * @throws RegimesError E_DOMAIN, E_SHAPE, E_NOT_PSD.
 */
export function information(ouTime: number, population: Omit<Population, "n">): number {
  checkPopulation({ ...population, n: 1 });
  return informationAtNoise(noiseToSignal(ouTime), population);
}

/**
 * Excess entropy per dimension of the population, f(t) = log(n)/d - I(x_0; x_t)/d, in nats: the entropy of n separate lumps of noise
 * minus that of the marginal. log(n)/d at large t; it is negative below the collapse time, unlike the empirical one.
 * @throws RegimesError E_DOMAIN, E_SHAPE, E_NOT_PSD.   @see biroli2024 Eq. 5; the class term is of this project
 */
export function excessEntropyPerDimension(ouTime: number, population: Population): number {
  checkPopulation(population);
  return (Math.log(population.n) - informationAtNoise(noiseToSignal(ouTime), population)) / population.d;
}

/**
 * Collapse time of the population: the OU time t_C where its excess entropy vanishes, I(x_0; x_t) = log n. Spherical without classes:
 * t_C = 1/2 log(1 + variance/(n^(2/d) - 1)). For any number of well separated classes pass n exp(-H(class fractions)) instead of
 * halfSeparation. null when I never is log n: n <= 1, or no variance.
 * @throws RegimesError E_DOMAIN, E_SHAPE, E_NOT_PSD.   @see biroli2024
 */
export function populationCollapseTime(population: Population): number | null {
  checkPopulation(population);
  const { n, d, variance, halfSeparation } = population;
  if (n <= 1) return null;
  if (typeof variance === "number" && halfSeparation === undefined) {
    return variance > 0 ? ouTimeFrom("sigma", Math.sqrt(variance / Math.expm1((2 * Math.log(n)) / d))) : null;
  }
  return timeOfRoot((noise) => informationAtNoise(noise, population) - Math.log(n));
}

/**
 * Collapse time of the Gaussian surrogate, the Gaussian that has the covariance eigenvalues of n data rows. It has the largest entropy
 * among populations of this covariance: its excess entropy is a lower bound and its collapse time an upper bound of the data's.
 * @param population n rows, d columns, `variance` the eigenvalues of their covariance, without classes.
 * @returns OU time, and its standard error over rows were they Gaussian: se(I)/|dI/dt|, se(I)^2 = sum_i (l_i/(l_i + sigma^2))^2/(2 n); null
 * as in `populationCollapseTime`.
 * @throws RegimesError E_DOMAIN, E_SHAPE, E_NOT_PSD.
 */
export function surrogateCollapseTime(population: Omit<Population, "halfSeparation">): { value: number; standardError: number } | null {
  const { n, d, variance } = population;
  const value = populationCollapseTime({ n, d, variance });
  if (value === null) return null;
  const noise = noiseToSignal(value);
  let sum = 0;
  let sumSquares = 0;
  for (const [l, count] of eigenvalues(population)) {
    const signalFraction = l / (l + noise);
    sum += count * signalFraction;
    sumSquares += count * signalFraction * signalFraction;
  }
  const slope = (sum * (1 + noise)) / noise;
  return { value, standardError: Math.sqrt(sumSquares / (2 * n)) / slope };
}

/**
 * Finite-size bound on the empirical excess entropy per dimension, averaged over data sets: f^e <= E log(1 + n e^-i)/d, in nats, where
 * the information density i is taken Gaussian with mean I(x_0; x_t) and variance sum_i l_i/(l_i + sigma^2). From 0 to log(1 + n)/d, with
 * a smooth transition of relative width d^(-1/2). The inequality is exact for the true density; of this project.
 * @throws RegimesError E_DOMAIN, E_SHAPE, E_NOT_PSD.
 */
export function excessEntropyBoundPerDimension(ouTime: number, population: Population): number {
  const { mean, deviation } = informationDensity(ouTime, population);
  return gaussianMean(softplus, Math.log(population.n) - mean, deviation) / population.d;
}

/**
 * Finite-size bound on the collapse-cloning probability: phi_C = E sum_mu w_mu^2 >= E 1/(1 + n e^-i), i as in
 * `excessEntropyBoundPerDimension`; from 1 (collapsed) to 1/(1 + n).
 * @throws RegimesError E_DOMAIN, E_SHAPE, E_NOT_PSD.
 */
export function collapseCloningBound(ouTime: number, population: Population): number {
  const { mean, deviation } = informationDensity(ouTime, population);
  // A sum of weights that may round to the float64 above 1.
  return Math.min(1, gaussianMean(sigmoid, mean - Math.log(population.n), deviation));
}

/** Mean and standard deviation of i(x_0; x_t) = log p(x_t|x_0)/p(x_t), the latter within a class. */
function informationDensity(ouTime: number, population: Population): { mean: number; deviation: number } {
  checkPopulation(population);
  const noise = noiseToSignal(ouTime);
  let variance = 0;
  for (const [l, count] of eigenvalues(population)) variance += count * (l / (l + noise));
  return { mean: informationAtNoise(noise, population), deviation: Math.sqrt(variance) };
}

function informationAtNoise(noise: number, population: Omit<Population, "n">): number {
  let sum = 0;
  for (const [l, count] of eigenvalues(population)) sum += count * Math.log1p(l / noise);
  const { halfSeparation, variance } = population;
  if (halfSeparation === undefined) return sum / 2;
  return sum / 2 + Math.LN2 - classEntropy(kappaAtNoise(noise, { halfSeparation, variance }));
}

function* eigenvalues({ variance, d }: Omit<Population, "n">): Generator<readonly [eigenvalue: number, count: number]> {
  if (typeof variance === "number") {
    yield [variance, d];
    return;
  }
  for (let i = 0; i < variance.length; i++) yield [Math.max(0, variance[i]!), 1];
}

// ---- noise, roots, checks --------------------------------------------------------------------------------------------------

/** Eigenvalues down to minus this times the largest are what an eigen-solver makes of zero, and count as zero. */
const ROUNDING = 1e-10;

/** sigma^2 = b^2/a^2. */
function noiseToSignal(ouTime: number): number {
  return clocks(ouTime).sigma ** 2;
}

/** OU time at which a monotone function of sigma^2 vanishes, sought over sigma^2 from e^-700 to e^700. */
function timeOfRoot(f: (noise: number) => number): number | null {
  const logSnr = monotoneRoot((value) => f(Math.exp(-value)), -700, 700);
  return logSnr === null ? null : ouTimeFrom("logSnr", logSnr);
}

function checkKappa(kappa: number): void {
  if (!(kappa >= 0 && kappa < Infinity)) throw new RegimesError("E_DOMAIN", `kappa is ${kappa}, need a finite number >= 0`);
}

function checkVariance(what: string, value: number): void {
  if (!(value >= 0 && value < Infinity)) throw new RegimesError("E_DOMAIN", `${what} is ${value}, need a finite number >= 0`);
}

function checkVariances(values: number | ArrayLike<number>): void {
  if (typeof values === "number") {
    checkVariance("variance", values);
    return;
  }
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    checkVariance(`|variance[${i}]|`, Math.abs(values[i]!));
    largest = Math.max(largest, values[i]!);
  }
  for (let i = 0; i < values.length; i++) {
    if (values[i]! >= -ROUNDING * largest) continue;
    throw new RegimesError("E_NOT_PSD", `variance[${i}] is ${values[i]}, the largest is ${largest}: not the eigenvalues of a covariance`);
  }
}

function checkPair({ halfSeparation, variance }: ClassPair): void {
  checkVariances(variance);
  if (typeof halfSeparation === "number") {
    checkVariance("halfSeparation", halfSeparation);
    if (typeof variance === "number") return;
    throw new RegimesError("E_SHAPE", `halfSeparation is one number, variance has ${variance.length}: give the coordinates of m as well`);
  }
  for (let i = 0; i < halfSeparation.length; i++) checkVariance(`|halfSeparation[${i}]|`, Math.abs(halfSeparation[i]!));
  if (typeof variance !== "number" && variance.length !== halfSeparation.length) {
    throw new RegimesError("E_SHAPE", `halfSeparation has ${halfSeparation.length} coordinates, variance ${variance.length}, need as many`);
  }
}

function checkPopulation({ n, d, variance, halfSeparation }: Population): void {
  if (!(n > 0 && n < Infinity)) throw new RegimesError("E_DOMAIN", `n is ${n}, need a positive finite number`);
  if (!(Number.isInteger(d) && d >= 1)) throw new RegimesError("E_DOMAIN", `d is ${d}, need a whole number >= 1`);
  if (typeof variance !== "number" && variance.length > d) {
    throw new RegimesError("E_SHAPE", `variance has ${variance.length} eigenvalues, need at most d = ${d}`);
  }
  if (halfSeparation === undefined) checkVariances(variance);
  else checkPair({ halfSeparation, variance });
}
