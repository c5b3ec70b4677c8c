/**
 * Forward processes x_t = a(t) x_0 + b(t) z, z ~ N(0, I_d), and the exact maps between their clocks.
 *
 * Everything downstream depends on (a, b) only. The common clock is the Ornstein-Uhlenbeck (OU) time of dx = -x dt + sqrt(2) dB:
 * 1/2 log(1 + sigma^2) with sigma = b/a, 0 at the data, growing with the noise. Two processes at equal OU time show the same
 * field up to the scale of x. This module is the only home of a = e^-t and b^2 = -expm1(-2t); 1 - e^-2t has no correct digit
 * left at t = 1e-17.
 *
 * It does not hold drifts, samplers or the preconditioning of learned scores. Over 400 lines because every process is here, whole,
 * and `clocks` speaks in the time of several of them.
 */
import { RegimesError, checkChoice, checkOptionNames, nearestWord } from "./errors.js";
import { CompensatedSum } from "./sum.js";
import { integrate, monotoneRoot } from "./quadrature.js";

/** Signal scale `a` >= 0 and noise standard deviation `b` > 0 of x_t = a x_0 + b z. */
export interface Marginal {
  readonly a: number;
  readonly b: number;
}

/** A forward process. Its functions need no `this`; `describeProcess` gives the part that fits into JSON. */
export interface Process {
  /** "ornstein-uhlenbeck", "variance-preserving", "ddpm", "variance-exploding", "sub-variance-preserving", "edm" or "rectified-flow". */
  readonly name: string;
  /** What t means: "OU time", "u in [0, 1]", "step", "sigma". Larger is noisier. */
  readonly clock: string;
  /** What makes the process again: `processByName(name, parameters)`. Functions and arrays of the caller are named "own". */
  readonly parameters: Readonly<Record<string, number | string>>;
  /** Usable times lie between these; an end is usable itself where the noise there is neither zero nor infinite. */
  readonly range: readonly [number, number];
  /** The OU times of the range, in the same sense. */
  readonly ouRange: readonly [number, number];
  /** {a, b} at time t. @throws RegimesError E_DOMAIN outside the range and for NaN. */
  marginal(t: number): Marginal;
  /** OU time 1/2 log(1 + b^2/a^2) > 0 of time t. @throws RegimesError E_DOMAIN outside the range, or where it underflows to 0. */
  ouTime(t: number): number;
  /** The time t that has this OU time. @throws RegimesError E_DOMAIN when the process never reaches it. */
  timeAt(ouTime: number): number;
}

/** A process in discrete steps k = 0 ... steps - 1. */
export interface DiscreteProcess extends Process {
  /** beta_k, in (0, 1). */
  readonly betas: Float64Array<ArrayBuffer>;
  /** alphaBar_k = prod_{j <= k} (1 - beta_j) = a^2, decreasing. */
  readonly alphaBar: Float64Array<ArrayBuffer>;
  /** OU time of each step, -1/2 log alphaBar_k, increasing. */
  readonly ouTimes: Float64Array<ArrayBuffer>;
}

/** One noise level told in every clock. */
export interface Clocks {
  readonly ouTime: number;
  /** b/a: the noise level of EDM and of variance-exploding processes; Infinity above OU time 709.78, where float64 ends. */
  readonly sigma: number;
  /** log(a^2/b^2), natural logarithm, decreasing. */
  readonly logSnr: number;
  /** Fractional 0-based step of `ddpm()` (1000 steps, linear); null outside its OU times, 5.0e-5 to 5.0589. */
  readonly ddpmStep: number | null;
  /** u of `rectifiedFlow()`, sigma / (1 + sigma), 0 = data; rounds to 1 above OU time 37. */
  readonly flowTime: number;
  /** u of `variancePreserving()` (linear 0.1 to 20); null above its last OU time, 5.025. */
  readonly vpTime: number | null;
}

// ---- the maps between OU time, sigma, log-SNR and flow time ----------------------------------------------------------------

/** log 2 = Math.LN2 + this, to twice float64's precision. */
const LN2_REST = 2.3190468138462996e-17;

function ouMarginal(ouTime: number): Marginal {
  return { a: Math.exp(-ouTime), b: Math.sqrt(-Math.expm1(-2 * ouTime)) };
}

function sigmaOf(ouTime: number): number {
  // Above 20, sqrt(e^2t - 1) and e^t are the same float64, and the latter overflows later.
  return ouTime < 20 ? Math.sqrt(Math.expm1(2 * ouTime)) : Math.exp(ouTime);
}

function ouTimeOfSigma(sigma: number): number {
  // Above 1e8, 1 + sigma^2 and sigma^2 are the same float64, and the latter overflows earlier than its logarithm.
  return sigma < 1e8 ? 0.5 * Math.log1p(sigma * sigma) : Math.log(sigma);
}

function logSnrOf(ouTime: number): number {
  if (ouTime > 0.55) return -2 * ouTime - Math.log1p(-Math.exp(-2 * ouTime));
  if (ouTime < 0.2) return -Math.log(Math.expm1(2 * ouTime));
  // log-SNR vanishes at t = log(2)/2, where log(expm1(2t)) has lost its digits: e^2t - 1 = 1 + 2 expm1(2t - log 2) keeps them,
  // since 2t - Math.LN2 is exact (Sterbenz).
  return -Math.log1p(2 * Math.expm1(2 * ouTime - Math.LN2 - LN2_REST));
}

function ouTimeOfLogSnr(logSnr: number): number {
  return logSnr < 0 ? 0.5 * (Math.log1p(Math.exp(logSnr)) - logSnr) : 0.5 * Math.log1p(Math.exp(-logSnr));
}

function flowTimeOf(ouTime: number): number {
  return 1 / (1 + 1 / sigmaOf(ouTime));
}

function ouTimeOfFlowTime(u: number): number {
  return ouTimeOfSigma(u / (1 - u));
}

function checkOuTime(ouTime: number): void {
  if (ouTime > 0 && ouTime < Infinity) return;
  throw new RegimesError("E_DOMAIN", `ouTime is ${ouTime}, need a positive finite number`);
}

/**
 * One noise level in every clock.
 * @param ouTime OU time, > 0. a, b and log-SNR keep 2 ulp for OU times from 1e-300 to 700.
 * @throws RegimesError E_DOMAIN unless 0 < ouTime < Infinity.
 */
export function clocks(ouTime: number): Clocks {
  checkOuTime(ouTime);
  return {
    ouTime,
    sigma: sigmaOf(ouTime),
    logSnr: logSnrOf(ouTime),
    ddpmStep: timeIfReached(standardDdpm, ouTime),
    flowTime: flowTimeOf(ouTime),
    vpTime: timeIfReached(standardVp, ouTime),
  };
}

/**
 * The OU time of a reading of one clock; the inverse of `clocks(ouTime)[clock]`.
 * The inverse loses what the clock cannot tell: flow time 1 - 1e-9 knows sigma to 1e-7 only, log-SNR and sigma keep it.
 * @throws RegimesError E_OPTION for an unknown clock, E_DOMAIN for a reading outside the clock's range.
 */
export function ouTimeFrom(clock: keyof Clocks, reading: number): number {
  switch (checkChoice("clock", clock, ["ouTime", "sigma", "logSnr", "ddpmStep", "flowTime", "vpTime"])) {
    case "ouTime":
      checkOuTime(reading);
      return reading;
    case "sigma":
      return edm().ouTime(reading);
    case "logSnr": {
      const ouTime = ouTimeOfLogSnr(reading);
      if (ouTime > 0 && ouTime < Infinity) return ouTime;
      throw new RegimesError("E_DOMAIN", `logSnr is ${reading}, need a finite number with a positive finite OU time (it is ${ouTime})`);
    }
    case "ddpmStep":
      return standardDdpm.ouTime(reading);
    case "flowTime":
      return rectifiedFlow().ouTime(reading);
    case "vpTime":
      return standardVp.ouTime(reading);
  }
}

function timeIfReached(process: Process, ouTime: number): number | null {
  return reaches(process.ouRange, ouTime) ? process.timeAt(ouTime) : null;
}

/** OU times this close to an end, relatively, are the end: as close as an integrated rate knows it. */
const ROUNDING = 1e-13;

function reaches([first, last]: readonly [number, number], ouTime: number): boolean {
  return ouTime >= first * (1 - ROUNDING) && ouTime <= last * (1 + ROUNDING);
}

// ---- the processes ---------------------------------------------------------------------------------------------------------

interface Formulas {
  readonly name: string;
  readonly clock: string;
  readonly parameters: Readonly<Record<string, number | string>>;
  readonly range: readonly [number, number];
  /** Whether each end of the range is usable. */
  readonly closed: readonly [boolean, boolean];
  readonly ouTime: (t: number) => number;
  readonly timeAt: (ouTime: number) => number;
  readonly marginal: (t: number) => Marginal;
}

/** Puts the checks of the domain around the formulas of a process. */
function guarded(formulas: Formulas): Process {
  const { name, clock, range, closed } = formulas;
  const [low, high] = range;
  const need = `need ${low} ${closed[0] ? "<=" : "<"} t ${closed[1] ? "<=" : "<"} ${high}`;
  const check = (t: number): void => {
    if ((t > low || (closed[0] && t === low)) && (t < high || (closed[1] && t === high))) return;
    throw new RegimesError("E_DOMAIN", `${name}: t is ${t}, ${need} (${clock})`);
  };
  const ouRange = [closed[0] ? formulas.ouTime(low) : 0, closed[1] ? formulas.ouTime(high) : Infinity] as const;
  return Object.freeze({
    name,
    clock,
    parameters: Object.freeze(formulas.parameters),
    range: Object.freeze(range),
    ouRange: Object.freeze(ouRange),
    marginal(t: number): Marginal {
      check(t);
      return formulas.marginal(t);
    },
    ouTime(t: number): number {
      check(t);
      const ouTime = formulas.ouTime(t);
      if (ouTime > 0) return ouTime;
      throw new RegimesError("E_DOMAIN", `${name}: t is ${t}, so little noise that its OU time underflows to 0. Take a larger t`);
    },
    timeAt(ouTime: number): number {
      checkOuTime(ouTime);
      const [first, last] = ouRange;
      if (!reaches(ouRange, ouTime)) {
        throw new RegimesError("E_DOMAIN", `${name}: OU time ${ouTime} is never reached, its OU times go from ${first} to ${last}`);
      }
      if (ouTime <= first) return low;
      if (ouTime >= last) return high;
      const t = Math.min(high, Math.max(low, formulas.timeAt(ouTime)));
      if ((t > low || closed[0]) && (t < high || closed[1])) return t;
      throw new RegimesError("E_DOMAIN", `${name}: the time of OU time ${ouTime} cannot be told from ${t}, which is outside (${need})`);
    },
  });
}

/** The Ornstein-Uhlenbeck process dx = -x dt + sqrt(2) dB of Biroli et al. 2024: a = e^-t, b^2 = -expm1(-2t), t > 0. */
export function ornsteinUhlenbeck(): Process {
  return guarded({
    name: "ornstein-uhlenbeck",
    clock: "OU time",
    parameters: {},
    range: [0, Infinity],
    closed: [false, false],
    ouTime: (t) => t,
    timeAt: (ouTime) => ouTime,
    marginal: ouMarginal,
  });
}

export interface VariancePreservingOptions {
  /** "linear" (Song et al. 2021, default) or "cosine" (Nichol and Dhariwal 2021); leave it out with an own rate. */
  readonly schedule?: "linear" | "cosine";
  /** Linear: beta(u) = betaMin + (betaMax - betaMin) u, default 0.1. */
  readonly betaMin?: number;
  /** Linear: default 20. */
  readonly betaMax?: number;
  /** Cosine: offset, default 0.008. */
  readonly s?: number;
  /** Own rate beta(u) >= 0, u in [0, end]; integrated adaptively (Gauss-Kronrod) to 1e-13. */
  readonly beta?: (u: number) => number;
  /** Own integral B(u) = int_0^u beta, increasing from B(0) = 0; used as it is, so it decides the accuracy. */
  readonly integral?: (u: number) => number;
  /** Own rate: last u, default 1. */
  readonly end?: number;
}

/**
 * Variance preserving process dx = -beta(u)/2 x du + sqrt(beta(u)) dW: a = e^(-B/2), b^2 = -expm1(-B), OU time B/2,
 * B(u) = int_0^u beta.  Linear: B = betaMin u + (betaMax - betaMin) u^2/2, u in (0, 1].  Cosine: e^-B =
 * cos^2((u+s)/(1+s) pi/2) / cos^2(s/(1+s) pi/2), u in (0, 1) since OU time diverges at 1.
 * @throws RegimesError E_OPTION for options that are unknown, unusable or do not belong together.
 */
export function variancePreserving(options: VariancePreservingOptions = {}): Process {
  const call = "variancePreserving";
  const { beta, integral, schedule } = options;
  if (beta !== undefined || integral !== undefined) {
    checkOptionNames(`${call} with an own rate`, options, ["beta", "integral", "end"]);
    if (beta !== undefined && integral !== undefined) {
      throw new RegimesError("E_OPTION", `${call} takes beta or integral, not both`);
    }
    const end = checkNumber(call, "end", options.end ?? 1, (v) => v > 0, "a positive number");
    return ownVariancePreserving(end, integral ?? ((u) => integrate(checkedRate(beta!), u)));
  }
  if (checkChoice(`schedule of ${call}`, schedule ?? "linear", ["linear", "cosine"]) === "cosine") {
    checkOptionNames(`${call} with the cosine schedule`, options, ["schedule", "s"]);
    const s = checkCosineOffset(call, options.s);
    return guarded({
      name: "variance-preserving",
      clock: "u in [0, 1]",
      parameters: { schedule: "cosine", s },
      range: [0, 1],
      closed: [false, false],
      ouTime: (u) => cosineOuTime(u, s),
      timeAt: (ouTime) => cosineTime(ouTime, s),
      marginal: (u) => ouMarginal(cosineOuTime(u, s)),
    });
  }
  checkOptionNames(`${call} with the linear schedule`, options, ["schedule", "betaMin", "betaMax"]);
  const { betaMin, betaMax } = checkLinearRate(call, options);
  return guarded({
    name: "variance-preserving",
    clock: "u in [0, 1]",
    parameters: { schedule: "linear", betaMin, betaMax },
    range: [0, 1],
    closed: [false, true],
    ouTime: (u) => linearIntegral(u, betaMin, betaMax) / 2,
    timeAt: (ouTime) => linearTime(2 * ouTime, betaMin, betaMax),
    marginal: (u) => ouMarginal(linearIntegral(u, betaMin, betaMax) / 2),
  });
}

function checkedRate(beta: (u: number) => number): (u: number) => number {
  return (u) => {
    const rate = beta(u);
    if (rate >= 0 && rate < Infinity) return rate;
    throw new RegimesError("E_OPTION", `variancePreserving: beta(${u}) is ${rate}, need a finite number >= 0`);
  };
}

function ownVariancePreserving(end: number, integral: (u: number) => number): Process {
  const ouTime = (u: number): number => {
    const value = integral(u) / 2;
    if (value >= 0) return value;
    throw new RegimesError("E_OPTION", `variancePreserving: the integral of beta up to u = ${u} is ${2 * value}, need a number >= 0`);
  };
  const last = ouTime(end);
  if (last === 0) {
    throw new RegimesError("E_OPTION", `variancePreserving: the integral of beta up to its end, u = ${end}, is 0: no noise is ever added`);
  }
  return guarded({
    name: "variance-preserving",
    clock: `u in [0, ${end}]`,
    parameters: { schedule: "own", end },
    range: [0, end],
    closed: [false, last < Infinity],
    ouTime,
    timeAt: (wanted) => monotoneRoot((u) => (u === 0 ? 0 : ouTime(u)) - wanted, 0, end) ?? end,
    marginal: (u) => ouMarginal(ouTime(u)),
  });
}

function linearIntegral(u: number, betaMin: number, betaMax: number): number {
  return u * (betaMin + (betaMax - betaMin) * (u / 2));
}

function linearTime(integral: number, betaMin: number, betaMax: number): number {
  // The other form of the root of the quadratic: no cancellation at small times, and betaMin = betaMax needs no case.
  return (2 * integral) / (betaMin + Math.sqrt(betaMin * betaMin + 2 * (betaMax - betaMin) * integral));
}

/** -1/2 log alphaBar(u) of the cosine schedule; Infinity at u = 1. */
function cosineOuTime(u: number, s: number): number {
  const start = cosineAngle(0, s);
  const advance = (u / (1 + s)) * (Math.PI / 2);
  if (u > 0.5) return -Math.log(Math.sin(((1 - u) / (1 + s)) * (Math.PI / 2)) / Math.cos(start));
  // cos^2 p - cos^2 q = sin(q - p) sin(q + p): keeps the digits of small times, where alphaBar is nearly 1.
  return -0.5 * Math.log1p((-Math.sin(advance) * Math.sin(advance + 2 * start)) / Math.cos(start) ** 2);
}

function cosineTime(ouTime: number, s: number): number {
  const start = cosineAngle(0, s);
  const cosine = Math.exp(-ouTime) * Math.cos(start);
  if (ouTime > 0.35) return 1 - (Math.asin(cosine) * 2 * (1 + s)) / Math.PI;
  const risen = -Math.expm1(-2 * ouTime) * Math.cos(start) ** 2;
  const angle = Math.atan2(Math.sqrt(Math.sin(start) ** 2 + risen), cosine);
  return (Math.asin(risen / Math.sin(angle + start)) * 2 * (1 + s)) / Math.PI;
}

function cosineAngle(u: number, s: number): number {
  return ((u + s) / (1 + s)) * (Math.PI / 2);
}

export interface DdpmOptions {
  /** "linear" (Ho et al. 2020, default) or "cosine" (Nichol and Dhariwal 2021); leave it out with own betas. */
  readonly schedule?: "linear" | "cosine";
  /** Number of steps N, default 1000. */
  readonly steps?: number;
  /** Linear: beta_0, default 1e-4 * 1000/N. */
  readonly betaStart?: number;
  /** Linear: beta_(N-1), default 2e-2 * 1000/N; below 20 steps it must be given. */
  readonly betaEnd?: number;
  /** Cosine: offset, default 0.008. */
  readonly s?: number;
  /** Own rates beta_k in (0, 1), one per step; copied. */
  readonly betas?: ArrayLike<number>;
}

/**
 * Discrete denoising diffusion schedule: t is the 0-based step k, a^2 = alphaBar_k = prod_{j <= k} (1 - beta_j). Step 0 already
 * carries one step of noise. Fractional steps interpolate OU time linearly. Linear: beta_k from betaStart to betaEnd in equal
 * steps; cosine: beta_k = min(0.999, 1 - alphaBar((k+1)/N)/alphaBar(k/N)).
 * The continuous process of the same name is another one: OU time at step 499 is 1.27177, at u = 1/2 of `variancePreserving()` 1.26875.
 * @throws RegimesError E_OPTION for unknown options and rates outside (0, 1).
 */
export function ddpm(options: DdpmOptions = {}): DiscreteProcess {
  const call = "ddpm";
  if (options.betas !== undefined) {
    checkOptionNames(`${call} with own betas`, options, ["betas"]);
    return discreteProcess({ schedule: "own", steps: options.betas.length }, Float64Array.from(options.betas));
  }
  const steps = checkSteps(call, options.steps ?? 1000);
  if (checkChoice(`schedule of ${call}`, options.schedule ?? "linear", ["linear", "cosine"]) === "cosine") {
    checkOptionNames(`${call} with the cosine schedule`, options, ["schedule", "steps", "s"]);
    const s = checkCosineOffset(call, options.s);
    const betas = Float64Array.from({ length: steps }, (_, k) => {
      return Math.min(0.999, -Math.expm1(-2 * (cosineOuTime((k + 1) / steps, s) - cosineOuTime(k / steps, s))));
    });
    return discreteProcess({ schedule: "cosine", steps, s }, betas);
  }
  checkOptionNames(`${call} with the linear schedule`, options, ["schedule", "steps", "betaStart", "betaEnd"]);
  const betaStart = checkRate(call, "betaStart", options.betaStart ?? (1e-4 * 1000) / steps, steps);
  const betaEnd = checkRate(call, "betaEnd", options.betaEnd ?? (2e-2 * 1000) / steps, steps);
  const increment = steps > 1 ? (betaEnd - betaStart) / (steps - 1) : 0;
  const betas = Float64Array.from({ length: steps }, (_, k) => betaStart + increment * k);
  return discreteProcess({ schedule: "linear", steps, betaStart, betaEnd }, betas);
}

function discreteProcess(parameters: Record<string, number | string>, betas: Float64Array<ArrayBuffer>): DiscreteProcess {
  const steps = betas.length;
  const wrong = betas.findIndex((beta) => !(beta > 0 && beta < 1));
  if (steps === 0 || wrong >= 0) {
    const came = steps === 0 ? "there are none" : `betas[${wrong}] is ${betas[wrong]}`;
    throw new RegimesError("E_OPTION", `ddpm: ${came}, need one number in (0, 1) per step`);
  }
  const ouTimes = new Float64Array(steps);
  const sum = new CompensatedSum();
  for (let k = 0; k < steps; k++) ouTimes[k] = sum.add(-0.5 * Math.log1p(-betas[k]!));
  const ouTime = (step: number): number => {
    const k = Math.min(Math.floor(step), steps - 1);
    const left = ouTimes[k]!;
    return k === steps - 1 ? left : left + (step - k) * (ouTimes[k + 1]! - left);
  };
  const timeAt = (wanted: number): number => {
    let low = 0;
    let high = steps - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (ouTimes[middle]! <= wanted) low = middle;
      else high = middle;
    }
    const left = ouTimes[low]!;
    return high === low ? low : low + (wanted - left) / (ouTimes[high]! - left);
  };
  const process = guarded({
    name: "ddpm",
    clock: "step",
    parameters,
    range: [0, steps - 1],
    closed: [true, true],
    ouTime,
    timeAt,
    marginal: (step) => ouMarginal(ouTime(step)),
  });
  return Object.freeze({ ...process, betas, alphaBar: ouTimes.map((time) => Math.exp(-2 * time)), ouTimes });
}

/**
 * First 0-based step k with alphaBar_k < level, or null when there is none. The speciation step of Biroli et al. (their published
 * script) is the one of level 1/Lambda, Lambda the top eigenvalue of the data covariance.
 * @throws RegimesError E_DOMAIN unless level > 0.
 */
export function firstStepBelow(process: DiscreteProcess, level: number): number | null {
  if (!(level > 0)) throw new RegimesError("E_DOMAIN", `firstStepBelow: level is ${level}, need a positive number`);
  const k = process.alphaBar.findIndex((alphaBar) => alphaBar < level);
  return k < 0 ? null : k;
}

export interface VarianceExplodingOptions {
  /** sigma at u = 0, default 0.01. */
  readonly sigmaMin?: number;
  /** sigma at u = 1, default 50. */
  readonly sigmaMax?: number;
}

/**
 * Variance exploding process (Song et al. 2021): a = 1, b = sigma(u) = sigmaMin (sigmaMax/sigmaMin)^u, u in [0, 1].
 * Trap: the SDE dx = g dW, g^2 = 2 sigma^2 log(sigmaMax/sigmaMin), started from the data at u = 0 has variance
 * sigma(u)^2 - sigmaMin^2. Here, as in their code, the standard deviation is sigma(u) itself, that is, the data carry sigmaMin^2
 * of extra noise from the start.
 * @throws RegimesError E_OPTION unless 0 < sigmaMin < sigmaMax.
 */
export function varianceExploding(options: VarianceExplodingOptions = {}): Process {
  const call = "varianceExploding";
  checkOptionNames(call, options, ["sigmaMin", "sigmaMax"]);
  const { sigmaMin, sigmaMax } = checkSigmas(call, options.sigmaMin ?? 0.01, options.sigmaMax ?? 50);
  const logRatio = Math.log(sigmaMax) - Math.log(sigmaMin);
  const sigma = (u: number): number => (u === 1 ? sigmaMax : sigmaMin * Math.exp(u * logRatio));
  return guarded({
    name: "variance-exploding",
    clock: "u in [0, 1]",
    parameters: { sigmaMin, sigmaMax },
    range: [0, 1],
    closed: [true, true],
    ouTime: (u) => ouTimeOfSigma(sigma(u)),
    timeAt: (ouTime) => Math.log(sigmaOf(ouTime) / sigmaMin) / logRatio,
    marginal: (u) => ({ a: 1, b: sigma(u) }),
  });
}

export interface SubVariancePreservingOptions {
  /** beta(u) = betaMin + (betaMax - betaMin) u, default 0.1. */
  readonly betaMin?: number;
  /** Default 20. */
  readonly betaMax?: number;
}

/**
 * Sub-variance-preserving process (Song et al. 2021): dx = -beta x/2 du + sqrt(beta (1 - e^-2B)) dW, a = e^(-B/2),
 * b = -expm1(-B) (the standard deviation, not the variance), so sigma = 2 sinh(B/2); u in (0, 1].
 * @throws RegimesError E_OPTION unless 0 <= betaMin <= betaMax, betaMax > 0.
 */
export function subVariancePreserving(options: SubVariancePreservingOptions = {}): Process {
  const call = "subVariancePreserving";
  checkOptionNames(call, options, ["betaMin", "betaMax"]);
  const { betaMin, betaMax } = checkLinearRate(call, options);
  const integral = (u: number): number => linearIntegral(u, betaMin, betaMax);
  return guarded({
    name: "sub-variance-preserving",
    clock: "u in [0, 1]",
    parameters: { betaMin, betaMax },
    range: [0, 1],
    closed: [false, true],
    ouTime: (u) => ouTimeOfSigma(2 * Math.sinh(integral(u) / 2)),
    timeAt: (ouTime) => linearTime(2 * Math.asinh(sigmaOf(ouTime) / 2), betaMin, betaMax),
    marginal: (u) => ({ a: Math.exp(-integral(u) / 2), b: -Math.expm1(-integral(u)) }),
  });
}

/** EDM parametrisation (Karras et al. 2022): t is the noise level sigma itself, a = 1, b = sigma > 0. */
export function edm(): Process {
  return guarded({
    name: "edm",
    clock: "sigma",
    parameters: {},
    range: [0, Infinity],
    closed: [false, false],
    ouTime: ouTimeOfSigma,
    timeAt: sigmaOf,
    marginal: (sigma) => ({ a: 1, b: sigma }),
  });
}

export interface EdmScheduleOptions {
  /** Number N of noise levels above zero, default 18. */
  readonly steps?: number;
  /** Default 0.002. */
  readonly sigmaMin?: number;
  /** Default 80. */
  readonly sigmaMax?: number;
  /** Default 7; larger puts more levels near sigmaMin. */
  readonly rho?: number;
}

/**
 * Noise levels of Karras et al. 2022 (Eq. 5), descending, N + 1 values of which the last is 0:
 * sigma_i = (sigmaMax^(1/rho) + i/(N-1) (sigmaMin^(1/rho) - sigmaMax^(1/rho)))^rho.
 * @throws RegimesError E_OPTION unless N >= 1, 0 < sigmaMin < sigmaMax, rho > 0.
 */
export function edmSchedule(options: EdmScheduleOptions = {}): Float64Array<ArrayBuffer> {
  const call = "edmSchedule";
  checkOptionNames(call, options, ["steps", "sigmaMin", "sigmaMax", "rho"]);
  const steps = checkSteps(call, options.steps ?? 18);
  const { sigmaMin, sigmaMax } = checkSigmas(call, options.sigmaMin ?? 0.002, options.sigmaMax ?? 80);
  const rho = checkNumber(call, "rho", options.rho ?? 7, (v) => v > 0, "a positive number");
  const top = sigmaMax ** (1 / rho);
  const span = sigmaMin ** (1 / rho) - top;
  return Float64Array.from({ length: steps + 1 }, (_, i) => {
    if (i === steps) return 0;
    if (i === 0) return sigmaMax;
    return i === steps - 1 ? sigmaMin : (top + (i / (steps - 1)) * span) ** rho;
  });
}

/**
 * Rectified flow, the linear path x = (1 - u) x_0 + u z with u = 0 at the data (half of the literature runs the other way):
 * a = 1 - u, b = u, sigma = u/(1 - u), u in (0, 1).
 */
export function rectifiedFlow(): Process {
  return guarded({
    name: "rectified-flow",
    clock: "u in [0, 1]",
    parameters: {},
    range: [0, 1],
    closed: [false, false],
    ouTime: ouTimeOfFlowTime,
    timeAt: flowTimeOf,
    marginal: (u) => ({ a: 1 - u, b: u }),
  });
}

const standardDdpm: DiscreteProcess = ddpm();
const standardVp: Process = variancePreserving();

// ---- by name ---------------------------------------------------------------------------------------------------------------

const factories: Readonly<Record<string, (parameters: object) => Process>> = {
  "ornstein-uhlenbeck": (parameters) => parameterless("ornstein-uhlenbeck", parameters, ornsteinUhlenbeck),
  "variance-preserving": variancePreserving,
  ddpm,
  "variance-exploding": varianceExploding,
  "sub-variance-preserving": subVariancePreserving,
  edm: (parameters) => parameterless("edm", parameters, edm),
  "rectified-flow": (parameters) => parameterless("rectified-flow", parameters, rectifiedFlow),
};

const shortNames: Readonly<Record<string, readonly [name: string, parameters: object]>> = {
  ou: ["ornstein-uhlenbeck", {}],
  vp: ["variance-preserving", {}],
  "vp-cosine": ["variance-preserving", { schedule: "cosine" }],
  "ddpm-cosine": ["ddpm", { schedule: "cosine" }],
  ve: ["variance-exploding", {}],
  "sub-vp": ["sub-variance-preserving", {}],
  flow: ["rectified-flow", {}],
};

/** What `processByName` takes: the names of the processes, then short ones. */
export const processNames: readonly string[] = [...Object.keys(factories), ...Object.keys(shortNames)];

/**
 * A process from its name and, as in the function of that name, its options; `processByName(p.name, p.parameters)` is p again
 * unless its schedule is the caller's own.
 * @throws RegimesError E_OPTION for an unknown name (with the nearest one) and as the process itself.
 */
export function processByName(name: string, parameters: Readonly<Record<string, number | string>> = {}): Process {
  const [fullName, preset] = Object.hasOwn(shortNames, name) ? shortNames[name]! : [name, {}];
  if (Object.hasOwn(factories, fullName)) return factories[fullName]!({ ...preset, ...parameters });
  const near = nearestWord(name, processNames);
  const hint = near === undefined ? "" : ` Did you mean "${near}"?`;
  throw new RegimesError("E_OPTION", `process is "${name}", not one of ${processNames.join(", ")}.${hint}`);
}

/** The JSON-able part of a process. */
export function describeProcess(process: Process): { name: string; clock: string; parameters: Record<string, number | string> } {
  return { name: process.name, clock: process.clock, parameters: { ...process.parameters } };
}

function parameterless(name: string, parameters: object, make: () => Process): Process {
  const given = Object.keys(parameters);
  if (given.length === 0) return make();
  throw new RegimesError("E_OPTION", `${name} takes no parameters, not even "${given[0]}"`);
}

// ---- checks of options -----------------------------------------------------------------------------------------------------

function checkNumber(call: string, option: string, value: number, usable: (value: number) => boolean, need: string): number {
  if (typeof value === "number" && Number.isFinite(value) && usable(value)) return value;
  throw new RegimesError("E_OPTION", `${call}: ${option} is ${String(value)}, need ${need}`);
}

function checkSteps(call: string, steps: number): number {
  return checkNumber(call, "steps", steps, (v) => Number.isInteger(v) && v >= 1 && v <= 1e7, "a whole number from 1 to 1e7");
}

function checkRate(call: string, option: string, rate: number, steps: number): number {
  const need = `a number in (0, 1) (the default, scaled by 1000/steps, lies outside for few steps, here ${steps}: give it)`;
  return checkNumber(call, option, rate, (v) => v > 0 && v < 1, need);
}

function checkCosineOffset(call: string, s: number = 0.008): number {
  return checkNumber(call, "s", s, (v) => v >= 0 && v <= 1, "a number from 0 to 1");
}

function checkLinearRate(call: string, options: SubVariancePreservingOptions): { betaMin: number; betaMax: number } {
  const betaMin = checkNumber(call, "betaMin", options.betaMin ?? 0.1, (v) => v >= 0, "a number >= 0");
  const betaMax = checkNumber(call, "betaMax", options.betaMax ?? 20, (v) => v > 0 && v >= betaMin, "a positive number >= betaMin");
  return { betaMin, betaMax };
}

function checkSigmas(call: string, min: number, max: number): { sigmaMin: number; sigmaMax: number } {
  const sigmaMin = checkNumber(call, "sigmaMin", min, (v) => v >= 1e-150, "a number >= 1e-150");
  const need = `a number above sigmaMin, ${sigmaMin}, up to 1e150`;
  const sigmaMax = checkNumber(call, "sigmaMax", max, (v) => v > sigmaMin && v <= 1e150, need);
  return { sigmaMin, sigmaMax };
}
