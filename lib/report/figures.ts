/**
 * The six figures of the page: what each shows, what to look for, and its numbers as CSV. A curve that the analysis does not
 * have becomes a sentence that says why and what would add it.
 */
import type { Analysis } from "../analysis.js";
import { type AbsentFigure, type Figure, type Point, DASHES, curveFigure, decadeTicks, estimateCells, point } from "./curve.js";
import type { Headline } from "./headline.js";
import { csv, html, prose } from "./markup.js";
import { count, estimateText, percent, short, significant } from "./numbers.js";
import { paint } from "./palette.js";

/** The figures about falling onto single data. */
export function collapseFigures(analysis: Analysis, top: Headline): (Figure | AbsentFigure)[] {
  const { result, config } = analysis;
  const { collapseTime, curves, theory } = result;
  const excess = collapseTime["excess-entropy"];
  const threshold = excess.threshold ?? config.threshold;
  const population = collapseTime.population;
  const n = count(result.n);
  return [
    curveFigure(analysis, top, {
      slug: "excess-entropy",
      title: "Excess entropy",
      heading: "excess entropy over alpha, *f*(*t*)/\u03b1",
      quantity: "excess_entropy_over_alpha",
      curve: curves.excessEntropyOverAlpha,
      ...(theory.excessEntropyOverAlpha === null
        ? {}
        : { theory: { label: "Gaussian surrogate (theory)", values: theory.excessEntropyOverAlpha, zero: population.value } }),
      levels: [{ y: threshold, label: `threshold ${short(threshold, 3)}` }],
      flag: { symbol: "t_C", time: excess },
      others: [{ label: "t_C, theory", time: population }],
      caption: html`${prose(
        `The share of the ${n} data that a noisy point could still have come from, on a scale of logarithms: *f*/\u03b1 = ` +
          `E[*H*(*w*)] / log *n*, with *w* the posterior weights of the data. ` +
          `At 1 it could be any of them, at 0 it belongs to one.`,
      )} <b>What to see:</b> ${prose(
        excess.value === null
          ? `the curve does not give a time: ${excess.status}`
          : `followed from right to left, as generation runs, the curve falls and passes ${short(threshold, 3)} at t_C = ` +
              `${estimateText(excess)}; below that time generation reproduces a datum.`,
      )} ${prose(surrogateWords(analysis))}`,
    }),
    curveFigure(analysis, top, {
      slug: "collapse-cloning",
      title: "Collapse cloning",
      heading: "P(two clones end on the same datum), \u03c6_C(*t*)",
      quantity: "collapse_cloning",
      curve: curves.collapseCloning,
      levels: [{ y: 0.5, label: "one half" }],
      flag: { symbol: "t_C", time: collapseTime.cloning },
      others: [{ label: "t_C, excess entropy", time: excess }],
      caption: html`${prose(
        "Split a generating trajectory in two at time *t* and let both run on with independent noise: the probability that they end " +
          "on the same datum, E[\u03a3 *w*\u00b2], exact for the exact score without running a clone.",
      )} <b>What to see:</b> ${prose(
        collapseTime.cloning.value === null
          ? collapseTime.cloning.status
          : `the fate of half of the pairs is sealed at t_C = ${estimateText(collapseTime.cloning)}; the chance level at large *t* ` +
              `is 1/*n* = ${significant(1 / result.n, 2)}.`,
      )}`,
    }),
    curveFigure(analysis, top, {
      slug: "effective-count",
      title: "Effective number of data",
      heading: "effective number of data, n_eff(*t*)",
      quantity: "effective_count",
      curve: curves.effectiveCount,
      levels: [],
      flag: { symbol: "t_C", time: top.collapseTime },
      others: [],
      top: { logarithmicTo: result.n },
      caption: html`${prose(
        `How many data take part in the score at a noisy point, 1 / E[\u03a3 *w*\u00b2], on a logarithmic axis from 1 to *n* = ${n}.`,
      )} <b>What to see:</b> ${prose(
        "the score is an average over the whole set at large *t*; where the curve touches 1, the score points at a single datum and " +
          "an exact sampler can only copy it.",
      )}`,
    }),
  ];
}

/** The figures about choosing a class. */
export function speciationFigures(analysis: Analysis, top: Headline): (Figure | AbsentFigure)[] {
  const { curves, speciationTime, classFractions, classValues } = analysis.result;
  const unlabelled =
    "The data have no labels, so there are no classes to choose from. Give labels (--labels FILE, or openDataset's labels) to have " +
    "this figure.";
  const classes = classValues === null ? "" : `${count(classValues.length)} classes`;
  const chance = classFractions?.reduce((sum, fraction) => sum + fraction * fraction, 0);
  const { cloning, kappa, spectral, "entropy-rate": entropyRate } = speciationTime;
  const threshold = cloning?.threshold;
  return [
    curves.speciationCloning === null
      ? { slug: "speciation-cloning", title: "Speciation cloning", absent: unlabelled }
      : curveFigure(analysis, top, {
          slug: "speciation-cloning",
          title: "Speciation cloning",
          heading: "P(two clones end in the same class), \u03c6(*t*)",
          quantity: "speciation_cloning",
          curve: curves.speciationCloning,
          levels: [
            ...(threshold === undefined ? [] : [{ y: threshold, label: `threshold ${short(threshold, 3)}` }]),
            ...(chance === undefined ? [] : [{ y: chance, label: `chance ${short(chance, 2)}` }]),
          ],
          flag: { symbol: "t_S", time: cloning },
          others: [
            { label: "t_S, spectral", time: spectral },
            { label: "t_S, kappa", time: kappa },
          ],
          caption: html`${prose(
            `Split a generating trajectory in two at time *t*: the probability that both halves end in the same of ${classes}, ` +
              `E[\u03a3 *p*(*c*|*x*)\u00b2].`,
          )} <b>What to see:</b> ${prose(
            cloning === null || cloning.value === null
              ? (cloning?.status ?? unlabelled)
              : `the curve climbs from chance${chance === undefined ? "" : ` (${short(chance, 2)})`} at large *t* to 1; the class ` +
                  `is chosen where it passes the threshold, t_S = ${estimateText(cloning)}.`,
          )} ${prose(
            "The spectral time looks at the widest direction of the data only; it is right where that direction is the one that " +
              "tells the classes apart.",
          )}`,
        }),
    curves.classEntropyOverPrior === null
      ? { slug: "class-entropy", title: "Class entropy", absent: unlabelled }
      : curveFigure(analysis, top, {
          slug: "class-entropy",
          title: "Class entropy",
          heading: "class entropy over prior, *H*(*c*|x_t)/*H*(*c*)",
          quantity: "class_entropy_over_prior",
          curve: curves.classEntropyOverPrior,
          levels: [],
          flag: { symbol: "t_S", time: entropyRate },
          others: [{ label: "t_S, cloning", time: cloning }],
          caption: html`${prose(
            "What a noisy point leaves open about its class: 0 when the class is known, 1 when it is as open as before the point was seen.",
          )} <b>What to see:</b> ${prose(
            entropyRate === null || entropyRate.value === null
              ? (entropyRate?.status ?? unlabelled)
              : `where the curve is steepest in *t*, at ${estimateText(entropyRate)}, generation decides fastest.`,
          )}`,
        }),
    spectrumFigure(analysis),
  ];
}

function spectrumFigure({ result }: Analysis): Figure | AbsentFigure {
  const { eigenvalues, trace } = result.spectrum;
  const spectral = result.speciationTime.spectral;
  const bars = eigenvalues.flatMap((estimate, k) => point(k + 1, estimate)).filter(({ value }) => value > 0);
  if (bars.length === 0)
    return { slug: "spectrum", title: "Spectrum of the data", absent: eigenvalues[0]?.status ?? "The analysis has no eigenvalues." };
  const low = Math.min(0.8, ...bars.map(({ low: bottom, value }) => (bottom > 0 ? bottom : value) * 0.9));
  const high = Math.max(1.6, ...bars.map(({ high: upper }) => upper * 1.15));
  const ticks = decadeTicks(low, high);
  const share = bars.reduce((sum, { value }) => sum + value, 0) / trace;
  const leading = spectral.value === null ? [] : bars.slice(0, 1);
  return {
    slug: "spectrum",
    title: "Spectrum of the data",
    caption: html`${prose(
      `The ${count(bars.length)} leading eigenvalues \u039b of the covariance of the data, with 95 % intervals; together they hold ` +
        `${percent(share)} of the trace. ` +
        "At time *t* a direction of variance \u039b carries a signal of variance \u039be^{\u22122t} under noise of variance near 1. " +
        "The right-hand axis tells when they are equal, \u039be^{\u22122t} = 1.",
    )} <b>What to see:</b> ${prose(
      spectral.value === null
        ? spectral.status
        : `in generation the longest bar comes out of the noise first, \u039b = ${estimateText(eigenvalues[0]!)} at t_S = ` +
            `${estimateText(spectral)}. A direction below the dashed line never does.`,
    )}`,
    chart: {
      heading: "eigenvalue of the covariance, \u039b",
      description:
        `Chart of the ${bars.length} leading eigenvalues by rank on a logarithmic axis: ` +
        `${bars.map(({ value }) => significant(value, 3)).join(", ")}.`,
      key: [
        { label: "\u039b = 1, the variance of the noise", colour: "theory", dash: DASHES.theory },
        ...leading.map(() => ({
          label: `t_S, spectral ${significant(spectral.value!, 3)}`,
          colour: "third" as const,
          dash: DASHES.others[0]!,
        })),
      ],
      flags: [],
      xLabel: "rank",
      x: { type: "linear", domain: [0.5, bars.length + 0.5], ticks: bars.map(({ t }) => t) },
      y: { type: "log", domain: [low, high], ticks },
      right: { heading: "*t* where \u039be\u207b\u00b2\u1d57 = 1", ticks: timeTicks(high) },
      tick: String,
      marks: (plot, layout) => [
        plot.gridY({ ticks, stroke: paint("rule"), strokeOpacity: 1 }),
        plot.ruleX(bars, { x: "t", y1: 1, y2: "value", stroke: paint("halo"), strokeWidth: layout === "wide" ? 22 : 14 }),
        plot.ruleY([1], { stroke: paint("theory"), strokeWidth: 1.8, strokeDasharray: DASHES.theory }),
        plot.ruleY(leading, {
          y: "value",
          x1: "t",
          x2: bars.length + 0.5,
          stroke: paint("third"),
          strokeWidth: 1.4,
          strokeDasharray: DASHES.others[0]!,
        }),
        plot.ruleX(bars, { x: "t", y1: (bar: Point) => Math.max(bar.low, low), y2: "high", stroke: paint("measured"), strokeWidth: 1.6 }),
        plot.dot(bars, { x: "t", y: "value", r: 3, fill: paint("measured"), ...(layout === "wide" ? { title: "words" } : {}) }),
      ],
    },
    csv: csv(
      ["rank", "eigenvalue", "standard_error", "ci95_low", "ci95_high", "status"],
      eigenvalues.map((estimate, k) => [k + 1, ...estimateCells(estimate)]),
    ),
  };
}

/** Round times on the axis of eigenvalues up to `high`: the eigenvalue that equals the noise at t is e^{2t}. */
function timeTicks(high: number): { y: number; label: string }[] {
  const end = Math.log(high) / 2;
  const step = [0.1, 0.2, 0.5, 1, 2, 5].find((candidate) => end / candidate <= 6) ?? 10;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, k) => ({ y: Math.exp(2 * k * step), label: short(k * step, 3) }));
}

function surrogateWords({ result }: Analysis): string {
  const { population } = result.collapseTime;
  if (result.theory.excessEntropyOverAlpha === null) return "";
  const zero = population.value === null ? "" : ` Its zero, ${significant(population.value, 3)}, is the collapse time of theory.`;
  return (
    `The dashed line is a Gaussian with the covariance of the data. No distribution of that covariance has more entropy, so ` +
    `data with more structure lie above the line and collapse later in generation.${zero}`
  );
}
