/** Simulated clones over the exact curves, as a page of its own. */
import type { Estimate } from "../estimate.js";
import type { Clones } from "../experiments/clones.js";
import type { RegimeCurves } from "../regimes.js";
import { checkOptionNames } from "../errors.js";
import type { Mark } from "./chart.js";
import { type AbsentFigure, DASHES, type Figure, estimateCells, point, timeAxis } from "./curve.js";
import { csv, html, prose } from "./markup.js";
import { count, significant } from "./numbers.js";
import { figureMarkup, studyPage } from "./page.js";
import { paint } from "./palette.js";

/** What clones did, and the exact curves of the same field. */
export interface CloningStudy {
  readonly clones: Clones;
  /** Exact averages over forward draws, at any times. */
  readonly curves: RegimeCurves;
}

export interface CloningReportOptions {
  /** Heading of the page, default "Cloning". */
  readonly title?: string;
}

/** Renders clones over the exact curves as one self-contained HTML page. @throws RegimesError E_OPTION for an unknown option. */
export function renderCloning(study: CloningStudy, options: CloningReportOptions = {}): string {
  checkOptionNames("renderCloning", options, ["title"]);
  const figures = [
    cloningFigure(study, "speciation-cloning", "Clones in one class", "P(two clones end in the same class)", study.clones.speciationCloning, study.curves.speciationCloning),
    cloningFigure(study, "collapse-cloning", "Clones on one datum", "P(two clones end on the same datum)", study.clones.collapseCloning, study.clones.collapseCloning && study.curves.collapseCloning),
  ];
  return studyPage({
    title: options.title ?? "Cloning",
    kicker: "Clones of reverse trajectories",
    sentence: agreement(study),
    section: "Simulated and exact",
    figures: figures.map((figure, k) => figureMarkup(figure, k + 1)),
  });
}

/** Deviations of the clones from the exact curve in standard errors, where both are known at the same time. */
export function cloningDeviations(simulated: readonly Estimate[], exact: readonly Estimate[]): number[] {
  return simulated.flatMap(({ value, standardError }, k) => {
    const other = exact[k];
    const error = Math.hypot(standardError ?? 0, other?.standardError ?? 0);
    return value === null || other === undefined || other.value === null || error === 0 ? [] : [(value - other.value) / error];
  });
}

function agreement({ clones, curves }: CloningStudy): string {
  const aligned = clones.times.length === curves.times.length && clones.times.every((t, k) => t === curves.times[k]);
  const pairs = `${count(clones.pairs)} pairs of clones at each of ${count(clones.times.length)} times`;
  if (!aligned) return `${pairs}.`;
  const told = (["speciationCloning", "collapseCloning"] as const).flatMap((name) => {
    const [simulated, exact] = [clones[name], curves[name]];
    return simulated === null || exact === null ? [] : cloningDeviations(simulated, exact).map(Math.abs);
  });
  return told.length === 0 ? `${pairs}.` : `${pairs}: the largest deviation from the exact curve is ${significant(Math.max(...told), 2)} standard errors, over ${count(told.length)} points.`;
}

function cloningFigure(
  { clones, curves }: CloningStudy,
  slug: string,
  title: string,
  heading: string,
  simulated: readonly Estimate[] | null,
  exact: readonly Estimate[] | null,
): Figure | AbsentFigure {
  if (simulated === null || exact === null) return { slug, title, absent: slug === "speciation-cloning" ? "The target has no classes." : "A mixture has no data to end on." };
  const dots = clones.ouTimes.flatMap((t, k) => point(t, simulated[k]));
  const line = Array.from(curves.ouTime).flatMap((t, k) => point(t, exact[k]));
  const x = timeAxis([...new Set([...clones.ouTimes, ...curves.ouTime])].sort((left, right) => left - right));
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  return {
    slug,
    title,
    caption: html`${prose(
      `Reverse trajectories split in two at time *t*, both halves going on with noise of their own (dots, ${count(clones.pairs)} pairs, 95 % intervals), over the same ` +
        "probability as an average over forward draws that needs no clone (line and band).",
    )} <b>What to see:</b> ${prose("dots on the line: the average is the experiment, without its sampling error and without the error of finite steps.")}`,
    chart: {
      heading,
      description: `Chart of ${heading} by simulation at ${clones.times.length} times over its exact curve.`,
      key: [
        { label: "exact average, 95 % band", colour: "theory", dash: DASHES.theory },
        { label: `${count(clones.pairs)} pairs, 95 %`, colour: "measured", dot: true },
      ],
      flags: [],
      xLabel: x.label,
      x,
      y: { type: "linear", domain: [-0.02, 1.04], ticks },
      tick: String,
      marks: (plot): Mark[] => [
        plot.gridY({ ticks, stroke: paint("rule"), strokeOpacity: 1 }),
        plot.areaY(line, { x: "t", y1: "low", y2: "high", fill: paint("theory"), fillOpacity: 0.15 }),
        plot.line(line, { x: "t", y: "value", stroke: paint("theory"), strokeWidth: 1.8, strokeDasharray: DASHES.theory }),
        plot.ruleX(dots, { x: "t", y1: "low", y2: "high", stroke: paint("measured"), strokeWidth: 1.6 }),
        plot.dot(dots, { x: "t", y: "value", r: 3, fill: paint("measured"), title: "words" }),
      ],
    },
    csv: csv(
      ["ou_time", "simulated", "standard_error", "ci95_low", "ci95_high", "status"],
      clones.ouTimes.map((t, k) => [t, ...estimateCells(simulated[k])]),
    ),
  };
}
