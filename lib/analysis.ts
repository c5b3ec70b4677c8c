/**
 * One data set, one call: spectrum, all curves from one sweep, every critical time, the theory line, and what to beware of, as one plain
 * JSON-able object. The command line and the report read nothing else.
 */
import type { Dataset } from "./data.js";
import { checkOptionNames } from "./errors.js";
import { rounded, withInterval, type Estimate } from "./estimate.js";
import { diffuse, type Field, type Precision } from "./field.js";
import { runOptionNames, type RunOptions } from "./native.js";
import { describeProcess, ornsteinUhlenbeck, type Process } from "./process.js";
import { defaultTimes, regimes, timeGrid, type CriticalTime, type RegimeCurves, type TimesInput } from "./regimes.js";
import { checkThreshold, collapseTime, largestDenseSpectrum } from "./collapse.js";
import { speciationTime } from "./speciation.js";
import { empirical, type Spectrum } from "./target.js";
import { excessEntropyPerDimension } from "./theory.js";

/** The long stages of an analysis, in order; those that do not apply are left out. */
export type AnalysisStage = "spectrum" | "range of times" | "curves" | "class spectrum" | "all eigenvalues";

/** Options of `analyze`. */
export interface AnalysisOptions extends Omit<RunOptions, "onProgress"> {
  /** Default `ornsteinUhlenbeck()`. */
  readonly process?: Process | undefined;
  /** In the process's clock; default 24 times that bracket both transitions, chosen by `defaultTimes`. */
  readonly times?: TimesInput | undefined;
  /** Coupled forward draws, default 1000. */
  readonly draws?: number | undefined;
  /** Default 1. */
  readonly seed?: number | bigint | undefined;
  /** Collapse by excess entropy: fraction of alpha, default 0.05. */
  readonly threshold?: number | undefined;
  /** Default "exact". */
  readonly precision?: Precision | undefined;
  /** The label values the data were restricted to, for the record; the selection itself is made by `openDataset`. */
  readonly classes?: readonly number[] | null | undefined;
  /** Called with the fraction of the present stage done, in [0, 1], and the stage. */
  readonly onProgress?: ((fraction: number, stage: AnalysisStage) => void) | undefined;
}

/** Everything found out about a data set. Critical times are in OU time with the other clocks beside them. */
export interface Analysis {
  readonly config: {
    readonly source: string;
    /** Name of the process; with `processParameters` what `processByName` takes, unless its schedule is the caller's own. */
    readonly process: string;
    readonly processParameters: Readonly<Record<string, number | string>>;
    readonly scale: Dataset["scale"]["name"];
    /** Process clock. */
    readonly times: number[];
    readonly draws: number;
    readonly seed: string;
    readonly threads: number;
    readonly precision: Precision;
    readonly classes: number[] | null;
    readonly threshold: number;
  };
  readonly result: {
    readonly n: number;
    readonly d: number;
    readonly alpha: number;
    readonly scale: Dataset["scale"];
    readonly distinctRows: number;
    readonly fingerprint: string;
    readonly classValues: number[] | null;
    readonly classFractions: number[] | null;
    readonly imageShape: readonly [height: number, width: number] | null;
    readonly spectrum: {
      /** Leading, descending, with standard errors over rows. */
      readonly eigenvalues: Estimate[];
      readonly trace: number;
    };
    readonly curves: {
      readonly ouTime: number[];
      readonly excessEntropyOverAlpha: Estimate[];
      readonly collapseCloning: Estimate[];
      readonly effectiveCount: Estimate[];
      readonly speciationCloning: Estimate[] | null;
      readonly classEntropyOverPrior: Estimate[] | null;
    };
    readonly theory: {
      /**
       * f(t)/alpha of the Gaussian with the covariance of the data, on the same times: a lower bound for the population, negative below
       * its collapse. null when min(n, d) > 4096 or n = 1.
       */
      readonly excessEntropyOverAlpha: number[] | null;
    };
    readonly speciationTime: {
      readonly spectral: CriticalTime;
      readonly cloning: CriticalTime | null;
      readonly kappa: CriticalTime | null;
      readonly "entropy-rate": CriticalTime | null;
    };
    readonly collapseTime: {
      readonly "excess-entropy": CriticalTime;
      readonly cloning: CriticalTime;
      readonly population: CriticalTime;
    };
  };
  readonly warnings: string[];
  readonly timing: { readonly openMs?: number; readonly spectrumMs: number; readonly sweepMs: number; readonly totalMs: number };
  readonly meta: {
    readonly version: string;
    readonly backend: string;
    readonly backendReason: string;
    readonly threads: number;
    readonly node: string;
    readonly platform: string;
    readonly date: string;
  };
}

const optionNames: readonly string[] = ["process", "times", "draws", "seed", "threshold", "precision", "classes", ...runOptionNames];

/** Eigenvalues shown. */
const leadingCount = 12;

/**
 * Analyses a data set: when a diffusion model with its exact score chooses a class and when it falls onto a datum. What has no answer
 * is an Estimate without a value, or null where labels are missing.
 * @throws RegimesError E_OPTION and E_DOMAIN for options; E_NO_BINARY, E_DISPOSED.
 */
export async function analyze(dataset: Dataset, options: AnalysisOptions = {}): Promise<Analysis> {
  checkOptionNames("analyze", options, optionNames);
  const { process = ornsteinUhlenbeck(), draws = 1000, seed = 1, threshold = 0.05, precision = "exact", signal, threads } = options;
  const started = performance.now();
  checkThreshold(threshold);
  const given = options.times === undefined ? null : timeGrid(options.times);
  const stage = (name: AnalysisStage): RunOptions => {
    const { onProgress } = options;
    return { signal, threads, onProgress: onProgress === undefined ? undefined : (fraction): void => onProgress(fraction, name) };
  };

  using target = empirical(dataset);
  const field = diffuse(target, process);
  const spectrum = await leadingSpectrum(field, stage("spectrum"));
  const spectrumDone = performance.now();
  const times = given ?? (await defaultTimes(field, stage("range of times")));
  const sweepStarted = performance.now();
  const curves = await regimes(field, { times, draws, seed, precision, ...stage("curves") });
  const sweepDone = performance.now();

  const rest = { signal, threads };
  const classes = dataset.labels !== null;
  const speciation: Analysis["result"]["speciationTime"] = {
    spectral: await speciationTime(field, { criterion: "spectral", spectrum, ...rest }),
    cloning: classes ? await speciationTime(field, { criterion: "cloning", curves, ...rest }) : null,
    kappa: classes ? await speciationTime(field, { criterion: "kappa", ...stage("class spectrum") }) : null,
    "entropy-rate": classes ? await speciationTime(field, { criterion: "entropy-rate", curves, seed, ...rest }) : null,
  };
  // Above the largest dense spectrum the population criterion says so, and there is no theory curve.
  const dense = target.n > 1 && Math.min(target.n, target.d) <= largestDenseSpectrum;
  const eigenvalues = dense ? await target.allEigenvalues(stage("all eigenvalues")) : undefined;
  const collapse: Analysis["result"]["collapseTime"] = {
    "excess-entropy": await collapseTime(field, { criterion: "excess-entropy", threshold, curves, ...rest }),
    cloning: await collapseTime(field, { criterion: "cloning", curves, ...rest }),
    population: await collapseTime(field, { criterion: "population", eigenvalues, ...rest }),
  };
  const { n, d } = dataset;
  return {
    config: {
      source: dataset.name,
      process: process.name,
      processParameters: describeProcess(process).parameters,
      scale: dataset.scale.name,
      times: Array.from(times),
      draws,
      seed: String(seed),
      threads: curves.meta.threads,
      precision,
      classes: options.classes == null ? null : Array.from(options.classes),
      threshold,
    },
    result: {
      n,
      d,
      alpha: curves.alpha,
      scale: dataset.scale,
      distinctRows: dataset.distinctRows,
      fingerprint: dataset.fingerprint,
      classValues: dataset.classValues === null ? null : Array.from(dataset.classValues),
      classFractions: curves.classFractions === null ? null : Array.from(curves.classFractions),
      imageShape: dataset.imageShape,
      spectrum: {
        eigenvalues: Array.from(spectrum.eigenvalues, (value, k) => {
          return withInterval(value, spectrum.standardErrors[k]!, { range: [0, Infinity] });
        }),
        trace: spectrum.trace,
      },
      curves: {
        ouTime: Array.from(curves.ouTime),
        excessEntropyOverAlpha: Array.from(curves.excessEntropyOverAlpha),
        collapseCloning: Array.from(curves.collapseCloning),
        effectiveCount: Array.from(curves.effectiveCount),
        speciationCloning: curves.speciationCloning === null ? null : Array.from(curves.speciationCloning),
        classEntropyOverPrior: curves.classEntropyOverPrior === null ? null : Array.from(curves.classEntropyOverPrior),
      },
      theory: { excessEntropyOverAlpha: eigenvalues === undefined ? null : surrogateCurve(curves, eigenvalues) },
      speciationTime: speciation,
      collapseTime: collapse,
    },
    warnings: [...dataset.warnings, ...beware(speciation), ...bewareOfCollapse(speciation, collapse)],
    timing: {
      spectrumMs: spectrumDone - started,
      sweepMs: sweepDone - sweepStarted,
      totalMs: performance.now() - started,
    },
    meta: {
      version: curves.meta.version,
      backend: curves.meta.backend,
      backendReason: curves.meta.backendReason,
      threads: curves.meta.threads,
      node: globalThis.process.versions.node,
      platform: `${globalThis.process.platform}-${globalThis.process.arch}`,
      date: new Date().toISOString(),
    },
  };
}

/** One row has no covariance. */
async function leadingSpectrum({ target }: Field, run: RunOptions): Promise<Omit<Spectrum, "mean">> {
  const count = Math.min(leadingCount, target.d, target.n - 1);
  if (count >= 1) return target.spectrum({ count, ...run });
  const empty = new Float64Array(0);
  return { eigenvalues: empty, standardErrors: empty, residuals: empty, vectors: { data: empty, shape: [0, target.d] }, trace: 0 };
}

/** f(t)/alpha of the Gaussian with these covariance eigenvalues. */
function surrogateCurve({ n, d, alpha, ouTime }: RegimeCurves, variance: Float64Array): number[] {
  return Array.from(ouTime, (t) => excessEntropyPerDimension(t, { n, d, variance }) / alpha);
}

/** The class entropy of the data also falls where they collapse: a peak of its rate there says nothing about the classes. */
function bewareOfCollapse(
  { "entropy-rate": rate }: Analysis["result"]["speciationTime"],
  { cloning }: Analysis["result"]["collapseTime"],
): string[] {
  if (rate === null || rate.value === null || cloning.value === null || rate.value > cloning.value) return [];
  const times = `t = ${rate.value.toFixed(2)} is not above the collapse time by cloning, ${cloning.value.toFixed(2)}`;
  return [`speciation by entropy-rate, ${times}: the class entropy may be falling because the data collapse. Trust cloning and kappa`];
}

/** Where criteria of speciation disagree for a known reason. */
function beware({ spectral, kappa }: Analysis["result"]["speciationTime"]): string[] {
  if (spectral.value === null || kappa === null || kappa.value === null) return [];
  if (Math.abs(spectral.value - kappa.value) <= 0.1 * kappa.value) return [];
  return [
    `spectral speciation time ${rounded(spectral.value)} against ${rounded(kappa.value)} by kappa: the widest direction of the data is ` +
      "not that of the classes, or is wide inside them too; the spectral value is a rough guide here",
  ];
}
