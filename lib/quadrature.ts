/**
 * One-dimensional numerics of the closed forms: an adaptive integral, the mean of a log-concave function under a Gaussian, the
 * root of a monotone function and the normal distribution function. Deterministic, nothing to tune.
 */

/** Nodes in [0, 1] and weights of the 15-point Kronrod rule, and the weights of the 7-point Gauss rule inside it (QUADPACK qk15). */
const KRONROD_NODES = [
  0.9914553711208126, 0.9491079123427585, 0.8648644233597691, 0.7415311855993945, 0.5860872354676911, 0.4058451513773972,
  0.20778495500789848, 0,
];
const KRONROD_WEIGHTS = [
  0.022935322010529224, 0.06309209262997856, 0.10479001032225019, 0.14065325971552592, 0.1690047266392679, 0.19035057806478542,
  0.20443294007529889, 0.20948214108472782,
];
const GAUSS_WEIGHTS = [
  0.1294849661688697, 0.27970539148927664, 0.3818300505051189, 0.4179591836734694,
];

/**
 * int_0^end f(u) du by bisection of the panels on which the Gauss and Kronrod rules differ by more than 1e-14 of the whole: 1e-13
 * relative or better for smooth f of one sign, jumps included. NaN where f is.
 */
export function integrate(f: (u: number) => number, end: number): number {
  const panel = (low: number, high: number): { value: number; difference: number } => {
    const centre = (low + high) / 2;
    const half = (high - low) / 2;
    let kronrod = 0;
    let gauss = 0;
    for (let i = 0; i < 8; i++) {
      const offset = half * KRONROD_NODES[i]!;
      const sum = i === 7 ? f(centre) : f(centre - offset) + f(centre + offset);
      kronrod += KRONROD_WEIGHTS[i]! * sum;
      if (i % 2 === 1) gauss += GAUSS_WEIGHTS[(i - 1) / 2]! * sum;
    }
    return { value: half * kronrod, difference: Math.abs(half * (kronrod - gauss)) };
  };
  const whole = panel(0, end);
  const refine = (low: number, high: number, { value, difference }: { value: number; difference: number }): number => {
    const middle = (low + high) / 2;
    // A jump ends here: its panel shrinks until the difference, proportional to its width, is below the tolerance.
    if (!(difference > 1e-14 * Math.abs(whole.value)) || middle <= low || middle >= high) return value;
    return refine(low, middle, panel(low, middle)) + refine(middle, high, panel(middle, high));
  };
  return refine(0, end, whole);
}

/** A positive, increasing or decreasing, log-concave function of y, given by logarithms. */
export interface LogConcave {
  /** log f(y). */
  readonly log: (y: number) => number;
  /** d log f / dy, in [0, 1]. */
  readonly slope: (y: number) => number;
}

/** f(y) = 1/(1 + e^-y). */
export const sigmoid: LogConcave = {
  log: (y) => (y < 0 ? y - Math.log1p(Math.exp(y)) : -Math.log1p(Math.exp(-y))),
  slope: (y) => 1 / (1 + Math.exp(y)),
};

/** f(y) = log(1 + e^y). */
export const softplus: LogConcave = {
  // Below -37, log(1 + e^y) and e^y are the same float64, and the latter would underflow.
  log: (y) => (y < -37 ? y : Math.log(softplusOf(y))),
  slope: (y) => (y < -37 ? 1 : 1 / ((1 + Math.exp(-y)) * softplusOf(y))),
};

function softplusOf(y: number): number {
  return y > 0 ? y + Math.log1p(Math.exp(-y)) : Math.log1p(Math.exp(y));
}

/**
 * E f(m + s g), g ~ N(0, 1), s >= 0, to 1e-13 relative even where the mean is tiny; 0 where it underflows.
 * Trapezoid rule around the peak of the integrand, which is log-concave and falls at least as fast as a standard Gaussian, so that 9
 * units hold all but 1e-18. Both functions are analytic for |Im y| < pi: the step h = min(1/4, 1/(2 s)) leaves exp(-2 pi^2/(h s)) = 7e-18.
 */
export function gaussianMean(f: LogConcave, m: number, s: number): number {
  const peak = monotoneRoot((g) => s * f.slope(m + s * g) - g, 0, s) ?? 0;
  const height = f.log(m + s * peak) - (peak * peak) / 2;
  if (height < -745) return 0;
  const h = Math.min(0.25, 0.5 / s);
  const reach = Math.ceil(9 / h);
  let sum = 0;
  for (let j = -reach; j <= reach; j++) {
    const g = peak + j * h;
    sum += Math.exp(f.log(m + s * g) - (g * g) / 2 - height);
  }
  return (sum * h * Math.exp(height)) / Math.sqrt(2 * Math.PI);
}

/**
 * The x between low and high where the monotone function f changes sign, to the last bit, or null when both ends have the same sign.
 * Bisection: as many evaluations as there are bits between the ends, no assumption but monotony.
 */
export function monotoneRoot(f: (x: number) => number, low: number, high: number): number | null {
  const atLow = f(low);
  const atHigh = f(high);
  if (atLow === 0) return low;
  if (atHigh === 0) return high;
  if (Number.isNaN(atLow) || Number.isNaN(atHigh) || atLow > 0 === atHigh > 0) return null;
  let left = low;
  let right = high;
  for (;;) {
    const middle = left + (right - left) / 2;
    if (middle <= left || middle >= right) return right;
    const value = f(middle);
    if (value === 0) return middle;
    if (value > 0 === atLow > 0) left = middle;
    else right = middle;
  }
}

/** Phi(z), the standard normal distribution function, to 1e-15 absolute (Hart 1968, algorithm 5666, as West 2005 gives it). */
export function normalDistribution(z: number): number {
  const x = Math.abs(z);
  if (x > 38) return z > 0 ? 1 : 0;
  const bell = Math.exp(-0.5 * x * x);
  const tail =
    x < 7.07106781186547
      ? (bell * HART_ABOVE.reduce((sum, coefficient) => sum * x + coefficient, 0)) / HART_BELOW.reduce((sum, coefficient) => sum * x + coefficient, 0)
      : bell / (x + 1 / (x + 2 / (x + 3 / (x + 4 / (x + 0.65))))) / Math.sqrt(2 * Math.PI);
  return z > 0 ? 1 - tail : tail;
}

const HART_ABOVE = [0.0352624965998911, 0.700383064443688, 6.37396220353165, 33.912866078383, 112.079291497871, 221.213596169931, 220.206867912376];
const HART_BELOW = [
  0.0883883476483184, 1.75566716318264, 16.064177579207, 86.7807322029461, 296.564248779674, 637.333633378831, 793.826512519948, 440.413735824752,
];
