/**
 * The samplers, each a whole step as its paper has it, from the noise level (a, b) to the next, (a', b'), with
 * h = log(a' b / (a b')) > 0 the step in half log-SNR, D = E[x_0 | x_t = x] and e = (x - a D) / b. A closure per run holds what a
 * multistep method remembers.
 */
import { RegimesError, checkChoice, checkOptionNames } from "../errors.js";
import type { Node } from "./grid.js";
import type { Level, Trace, Vector } from "./trace.js";

/** One step: the state at `to` from the state at `from`. */
export type Step = (trace: Trace, x: Vector, from: Node, to: Node) => Vector;

/** What a step may know of its run. */
export interface RunShape {
  readonly steps: number;
  /** The level half-way between two others in the clock of the process. */
  middle(from: Node, to: Node): Node;
}

/** Parameters of the samplers that have some. */
export interface SamplerParameters {
  /** "ddim": 0 = the deterministic sampler (default), 1 = the ancestral one. */
  readonly eta?: number | undefined;
  /** "ddpm": "posterior" = betaTilde (default), "beta" = beta, the two extremes of Ho et al. 2020, section 3.2. */
  readonly variance?: "posterior" | "beta" | undefined;
  /** "heun": S_churn, the range of sigma it acts in and S_noise (Karras et al. 2022, Algorithm 2); default no churn. */
  readonly churn?: { readonly amount: number; readonly sigmaMin?: number; readonly sigmaMax?: number; readonly noise?: number } | undefined;
  /** "predictor-corrector": Langevin steps per level (default 1) and their signal-to-noise ratio r (default 0.16). */
  readonly corrector?: { readonly steps?: number; readonly snr?: number } | undefined;
}

export const samplerNames = [
  "euler-maruyama",
  "exponential-sde",
  "probability-flow-euler",
  "ddpm",
  "ddim",
  "heun",
  "dpm-solver++2m",
  "sde-dpm-solver++2m",
  "pndm",
  "predictor-corrector",
] as const;

/** Name of a sampler; `samplers` says what each is. */
export type SamplerName = (typeof samplerNames)[number];

/** What is known of a sampler. */
export interface SamplerFacts {
  /** Whether it draws noise. */
  readonly stochastic: boolean;
  /** Passes over the target per step. */
  readonly evaluations: number;
  /** Order in the step size of the error of the end law, on grids that are smooth in log-SNR; 0: a bias of the corrector's own step stays. */
  readonly order: number;
  /** Order of the error of single trajectories with the same noise. */
  readonly strongOrder: number;
  readonly title: string;
}

/** What is known of each sampler; with churn, "heun" draws noise. */
export const samplers: { readonly [name in SamplerName]: SamplerFacts } = {
  "euler-maruyama": { stochastic: true, evaluations: 1, order: 1, strongOrder: 1, title: "Euler-Maruyama of the reverse SDE in OU time" },
  "exponential-sde": { stochastic: true, evaluations: 1, order: 1, strongOrder: 1, title: "Exponential integrator of the reverse SDE, score frozen" },
  "probability-flow-euler": { stochastic: false, evaluations: 1, order: 1, strongOrder: 1, title: "Euler of the probability-flow ODE in OU time" },
  "ddpm": { stochastic: true, evaluations: 1, order: 1, strongOrder: 1, title: "DDPM ancestral sampling" },
  "ddim": { stochastic: false, evaluations: 1, order: 1, strongOrder: 1, title: "DDIM" },
  "heun": { stochastic: false, evaluations: 2, order: 2, strongOrder: 2, title: "Heun in sigma (EDM)" },
  "dpm-solver++2m": { stochastic: false, evaluations: 1, order: 2, strongOrder: 2, title: "DPM-Solver++(2M)" },
  "sde-dpm-solver++2m": { stochastic: true, evaluations: 1, order: 2, strongOrder: 1, title: "SDE-DPM-Solver++(2M)" },
  "pndm": { stochastic: false, evaluations: 1, order: 2, strongOrder: 2, title: "PNDM: pseudo Runge-Kutta, then pseudo linear multistep" },
  "predictor-corrector": { stochastic: true, evaluations: 2, order: 0, strongOrder: 0, title: "Ancestral predictor with Langevin corrector" },
};

/** A fresh step function. @throws RegimesError E_OPTION for parameters that are unknown, unusable or of another sampler. */
export function samplerStep(name: SamplerName, parameters: SamplerParameters, run: RunShape): Step {
  checkChoice("sampler", name, samplerNames);
  const takes = (...known: (keyof SamplerParameters)[]): void => checkOptionNames(`the sampler ${name}`, given(parameters), known);
  switch (name) {
    case "ddim":
      takes("eta");
      return ddim(inRange("eta", parameters.eta ?? 0, 0, 1));
    case "ddpm":
      takes("variance");
      return ddpm(checkChoice("variance", parameters.variance ?? "posterior", ["posterior", "beta"]));
    case "heun":
      takes("churn");
      return heun(parameters.churn, run);
    case "predictor-corrector":
      takes("corrector");
      return predictorCorrector(parameters.corrector);
    default:
      takes();
      return { "euler-maruyama": eulerMaruyama, "exponential-sde": exponentialSde, "probability-flow-euler": probabilityFlowEuler,
        "dpm-solver++2m": () => multistep(false), "sde-dpm-solver++2m": () => multistep(true), "pndm": () => pndm(run) }[name]();
  }
}

function given(parameters: SamplerParameters): SamplerParameters {
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));
}

function inRange(name: string, value: number, low: number, high: number): number {
  if (typeof value === "number" && value >= low && value <= high) return value;
  throw new RegimesError("E_OPTION", `${name} is ${String(value)}, need a number from ${low} to ${high}`);
}

/** h = lambda' - lambda, lambda = log(a/b). */
function logSnrStep(from: Level, to: Level): number {
  return Math.log(to.a / from.a) + Math.log(from.b / to.b);
}

// ---- steps in OU time: x scaled to the Ornstein-Uhlenbeck process of the same noise level, dx = (x + 2 s) dt + sqrt(2) dB ----

/** The step `advance` of the OU process for a process of any scale. */
function inOuFrame(advance: (trace: Trace, x: Vector, score: Vector, h: number) => Vector): Step {
  return (trace, x, from, to) => {
    const [a, nextA] = [Math.exp(-from.ouTime), Math.exp(-to.ouTime)];
    const b2 = -Math.expm1(-2 * from.ouTime);
    const state = x.times(a / from.a);
    const score = trace.denoise(x, from).times(a).minus(state).times(1 / b2);
    return advance(trace, state, score, from.ouTime - to.ouTime).times(to.a / nextA);
  };
}

/** x' = x + h (x + 2 s) + sqrt(2 h) z: reverse SDE of Anderson 1982; Biroli et al. 2024 use h = 0.01. */
function eulerMaruyama(): Step {
  return inOuFrame((trace, x, s, h) => x.plus(x.plus(s.times(2)).times(h)).plus(trace.noise().times(Math.sqrt(2 * h))));
}

/** x' = e^h x + 2 (e^h - 1) s + sqrt(e^2h - 1) z: exact for a score that stays. */
function exponentialSde(): Step {
  return inOuFrame((trace, x, s, h) =>
    x.times(Math.exp(h)).plus(s.times(2 * Math.expm1(h))).plus(trace.noise().times(Math.sqrt(Math.expm1(2 * h)))),
  );
}

/** x' = x + h (x + s): dx = (x + s) dt (Song et al. 2021, Eq. 13). */
function probabilityFlowEuler(): Step {
  return inOuFrame((_, x, s, h) => x.plus(x.plus(s).times(h)));
}

// ---- steps in log-SNR ----------------------------------------------------------------------------------------------------------

/** x' = a' D + sqrt(b'^2 - v^2) e + v z, v = eta b' sqrt(1 - e^-2h) (Song, Meng and Ermon 2021, Eqs. 12 and 16). */
function ddim(eta: number): Step {
  return (trace, x, from, to) => {
    const share = eta * eta * -Math.expm1(-2 * logSnrStep(from, to));
    const D = trace.denoise(x, from);
    const e = x.minus(D.times(from.a)).times(1 / from.b);
    const mean = D.times(to.a).plus(e.times(to.b * Math.sqrt(1 - share)));
    return eta === 0 ? mean : mean.plus(trace.noise().times(to.b * Math.sqrt(share)));
  };
}

/**
 * x' = e^-h (b'/b) x + a' (1 - e^-2h) D + v z: the mean of q(x' | x, x_0 = D); v^2 = b'^2 (1 - e^-2h), betaTilde, or
 * b^2 (1 - e^-2h), beta (Ho et al. 2020, Eqs. 7 and 11).
 */
function ddpm(variance: "posterior" | "beta"): Step {
  return (trace, x, from, to) => {
    const h = logSnrStep(from, to);
    const gained = -Math.expm1(-2 * h);
    const mean = x.times(Math.exp(-h) * (to.b / from.b)).plus(trace.denoise(x, from).times(to.a * gained));
    return mean.plus(trace.noise().times((variance === "posterior" ? to.b : from.b) * Math.sqrt(gained)));
  };
}

/** Karras et al. 2022, Algorithm 2, for y = x / a: dy/dsigma = (y - D) / sigma. */
function heun(churn: SamplerParameters["churn"], { steps }: RunShape): Step {
  if (churn !== undefined) checkOptionNames("churn", churn, ["amount", "sigmaMin", "sigmaMax", "noise"]);
  const { amount = 0, sigmaMin = 0, sigmaMax = Infinity, noise = 1 } = churn ?? {};
  const gamma = Math.min(inRange("the amount of churn", amount, 0, 1e9) / steps, Math.SQRT2 - 1);
  if (!(noise >= 0 && noise < Infinity)) throw new RegimesError("E_OPTION", `the noise of churn is ${noise}, need a number >= 0`);
  if (!(sigmaMin <= sigmaMax)) throw new RegimesError("E_OPTION", `churn acts from sigmaMin ${sigmaMin} to sigmaMax ${sigmaMax}, need numbers in this order`);
  return (trace, x, from, to) => {
    const sigma = from.b / from.a;
    const next = to.b / to.a;
    const churned = gamma > 0 && sigma >= sigmaMin && sigma <= sigmaMax;
    const raised = churned ? sigma * (1 + gamma) : sigma;
    const added = noise * sigma * Math.sqrt(gamma * (2 + gamma));
    const state = churned ? trace.keep(x.plus(trace.noise().times(from.a * added))) : x;
    const level: Level = churned ? { a: from.a, b: from.a * raised } : from;
    const y = state.times(1 / from.a);
    const slope = y.minus(trace.denoise(state, level)).times(1 / raised);
    const predicted = trace.keep(y.plus(slope.times(next - raised)).times(to.a));
    const nextSlope = predicted.times(1 / to.a).minus(trace.denoise(predicted, to)).times(1 / next);
    return y.plus(slope.plus(nextSlope).times((next - raised) / 2)).times(to.a);
  };
}

/**
 * DPM-Solver++(2M), Lu et al. 2022, Algorithm 2: x' = (b'/b) x - a' (e^-h - 1) (D + (D - D_prev) / (2 r)), r = h_prev / h; and its SDE,
 * x' = (b'/b) e^-h x + a' (1 - e^-2h) (D + (D - D_prev) / (2 r)) + b' sqrt(1 - e^-2h) z (their section 6). The first step is of first order.
 */
function multistep(stochastic: boolean): Step {
  let previous: { readonly D: Vector; readonly h: number } | undefined;
  return (trace, x, from, to) => {
    const h = logSnrStep(from, to);
    const D = trace.denoise(x, from);
    const ahead = previous === undefined ? D : D.plus(D.minus(previous.D).times(h / (2 * previous.h)));
    previous = { D, h };
    if (!stochastic) return x.times(to.b / from.b).plus(ahead.times(-to.a * Math.expm1(-h)));
    const gained = -Math.expm1(-2 * h);
    const mean = x.times((to.b / from.b) * Math.exp(-h)).plus(ahead.times(to.a * gained));
    return mean.plus(trace.noise().times(to.b * Math.sqrt(gained)));
  };
}

/**
 * Liu et al. 2022, Eqs. 11-13: the DDIM transfer with a noise estimate of fourth order, from a pseudo Runge-Kutta in the first three
 * steps and from four past estimates (Adams-Bashforth) later. The transfer holds one estimate fixed over a step, so that
 * the whole converges with order 2, as they prove.
 */
function pndm({ middle }: RunShape): Step {
  const past: Vector[] = [];
  return (trace, x, from, to) => {
    const transfer = (e: Vector, next: Level): Vector => x.minus(e.times(from.b)).times(next.a / from.a).plus(e.times(next.b));
    const e1 = trace.keep(trace.noiseEstimate(x, from));
    past.unshift(e1);
    if (past.length > 4) past.pop();
    if (past.length === 4) {
      const [n0, n1, n2, n3] = past as [Vector, Vector, Vector, Vector];
      return transfer(n0.times(55).minus(n1.times(59)).plus(n2.times(37)).minus(n3.times(9)).times(1 / 24), to);
    }
    const half = middle(from, to);
    const e2 = trace.keep(trace.noiseEstimate(trace.keep(transfer(e1, half)), half));
    const e3 = trace.keep(trace.noiseEstimate(trace.keep(transfer(e2, half)), half));
    const e4 = trace.noiseEstimate(trace.keep(transfer(e3, to)), to);
    return transfer(e1.plus(e2.times(2)).plus(e3.times(2)).plus(e4).times(1 / 6), to);
  };
}

/**
 * Song et al. 2021, Algorithms 2 and 3: the ancestral step, then Langevin steps x += epsilon s + sqrt(2 epsilon) z at the new level.
 * Their epsilon = 2 (r |z| / |s|)^2 is averaged over a batch; here |z| / |s| is its value for pure noise, b', so that no trajectory
 * depends on the others.
 */
function predictorCorrector(corrector: SamplerParameters["corrector"] = {}): Step {
  checkOptionNames("corrector", corrector, ["steps", "snr"]);
  const { steps = 1, snr = 0.16 } = corrector;
  if (!Number.isSafeInteger(steps) || steps < 1) throw new RegimesError("E_OPTION", `corrector steps is ${steps}, need a whole number >= 1`);
  if (!(snr > 0 && snr <= 1)) throw new RegimesError("E_OPTION", `the snr of the corrector is ${snr}, need a number in (0, 1]`);
  const predict = ddpm("posterior");
  return (trace, x, from, to) => {
    const epsilon = 2 * (snr * to.b) ** 2;
    let state = trace.keep(predict(trace, x, from, to));
    for (let i = 0; i < steps; i++) {
      const score = trace.denoise(state, to).times(to.a).minus(state).times(1 / (to.b * to.b));
      state = trace.keep(state.plus(score.times(epsilon)).plus(trace.noise().times(Math.sqrt(2 * epsilon))));
    }
    return state;
  };
}
