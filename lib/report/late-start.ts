/** Quality against start time as a chart: one colour per sampler, solid from the Gaussian start, dashed from N(0, I). */
import type { LateStartCurve, LateStartStudy } from "../experiments/late-start.js";
import { checkOptionNames } from "../errors.js";
import { type Chart, type Flag, type KeyEntry, type Mark, drawChart, standaloneSvg } from "./chart.js";
import { DASHES, type Figure, decadeTicks, estimateCells, timeAxis } from "./curve.js";
import { csv, html, prose } from "./markup.js";
import { count, estimateText, significant } from "./numbers.js";
import { figureMarkup, studyPage } from "./page.js";
import { CLASS_COLOURS, type Colour, paint } from "./palette.js";

export interface LateStartReportOptions {
  /** Heading of the page, default "Late start". */
  readonly title?: string;
}

/** Renders a study of late starts as one self-contained HTML page. @throws RegimesError E_OPTION for an unknown option. */
export function renderLateStart(study: LateStartStudy, options: LateStartReportOptions = {}): string {
  checkOptionNames("renderLateStart", options, ["title"]);
  const figure: Figure = {
    slug: "late-start",
    title: "Quality against start time",
    caption: html`${prose(
      `The distance between ${count(study.samples)} samples and the data after ${count(study.steps)} denoising steps, whatever the time they start from, with 95 % bands: ` +
        "solid from the Gaussian with the mean and covariance of the noised data, dashed from N(0, I).",
    )} <b>What to see:</b> ${prose(
      "from right to left the start comes later in generation: the steps are finer, and quality improves or stays until the start passes the first bifurcation, where the Gaussian is no longer the law of the states.",
    )}`,
    chart: lateStartChart(study),
    csv: csv(
      ["sampler", "start", "ou_time", "distance", "standard_error", "ci95_low", "ci95_high", "status"],
      study.curves.flatMap(({ sampler, startLaw, points }) => points.map(({ ouTime, distance }) => [sampler, startLaw, ouTime, ...estimateCells(distance)])),
    ),
  };
  return studyPage({
    title: options.title ?? "Late start",
    kicker: "Late starts with the exact score",
    sentence: findings(study),
    section: "Late starts",
    figures: [figureMarkup(figure, 1)],
  });
}

function findings({ curves, comparisons, measure }: LateStartStudy): string {
  const best = curves.reduce((least, curve) => (curve.best.distance.value! < least.best.distance.value! ? curve : least));
  const verdicts = comparisons.map(({ sampler, startLaw, verdict }) => `${sampler}: ${startLaw} ${verdict === "tie" ? "ties with" : `is ${verdict} than`} N(0, I)`);
  return (
    `The least ${measure} distance is ${estimateText(best.best.distance)}, by ${best.sampler} from the ${best.startLaw} start at t = ${significant(best.best.ouTime, 3)}.` +
    (verdicts.length === 0 ? "" : ` Best starts compared: ${verdicts.join("; ")}.`)
  );
}

/** The chart of a study as an SVG file of its own. */
export function lateStartSvg(study: LateStartStudy): string {
  return standaloneSvg(drawChart(lateStartChart(study), "wide"));
}

/** The distance of each curve with its 95 % band, the floor, and the times at which theory expects the first bifurcation. */
function lateStartChart(study: LateStartStudy): Chart {
  const { curves, floor, measure, ouTimes, steps, expected } = study;
  const axis = timeAxis(ouTimes);
  const heights = [floor.distance, ...curves.flatMap(({ points }) => points.map(({ distance }) => distance))].map(({ value }) => value!).filter((value) => value > 0);
  const [low, high] = [Math.min(...heights) / 1.4, Math.max(...heights) * 1.3];
  const samplers = [...new Set(curves.map(({ sampler }) => sampler))];
  const colourOf = ({ sampler }: LateStartCurve): Colour => CLASS_COLOURS[samplers.indexOf(sampler) % CLASS_COLOURS.length]!;
  const dashOf = ({ startLaw }: LateStartCurve): { readonly dash?: string } => (startLaw === "standard" ? { dash: DASHES.theory } : {});
  const inside = (x: number | null): x is number => x !== null && x >= axis.domain[0] && x <= axis.domain[1];
  const flags: Flag[] = inside(expected.speciation) ? [{ x: expected.speciation, label: `t_S = ${significant(expected.speciation, 2)}` }] : [];
  const drift = inside(expected.drift) ? [expected.drift] : [];
  const key: KeyEntry[] = [
    ...curves.map((curve) => ({ label: `${curve.sampler}, ${curve.startLaw}`, colour: colourOf(curve), ...dashOf(curve) })),
    { label: "draws of the data", colour: "soft", dash: DASHES.levels[0]! },
    ...drift.map((x) => ({ label: `drift unstable below ${significant(x, 2)}`, colour: "third" as const, dash: DASHES.others[0]! })),
  ];
  return {
    heading: `${measure.replaceAll("-", " ")} distance to the data after ${steps} steps`,
    description:
      `Line chart of the ${measure} distance of ${study.samples} samples after ${steps} denoising steps against the OU time of the start. ` +
      curves.map(({ sampler, startLaw, best }) => `${sampler} from ${startLaw}: least ${significant(best.distance.value!, 3)} at t = ${significant(best.ouTime, 2)}.`).join(" "),
    key,
    flags,
    xLabel: `start time, ${axis.label}`,
    x: axis,
    y: { type: "log", domain: [low, high], ticks: decadeTicks(low, high) },
    tick: (value) => String(value),
    marks: (plot): Mark[] => [
      flags.map(({ x }) => plot.ruleX([x], { y1: low, y2: high, stroke: paint("ink"), strokeWidth: 1.2 })),
      plot.ruleX(drift, { y1: low, y2: high, stroke: paint("third"), strokeWidth: 1.4, strokeDasharray: DASHES.others[0]! }),
      plot.ruleY([floor.distance.value!], { stroke: paint("soft"), strokeWidth: 1.4, strokeDasharray: DASHES.levels[0]! }),
      curves.map((curve) => {
        const points = curve.points.map(({ ouTime, distance }) => ({ t: ouTime, value: distance.value!, low: Math.max(low, distance.ci95![0]), high: distance.ci95![1] }));
        const { dash } = dashOf(curve);
        return [
          plot.areaY(points, { x: "t", y1: "low", y2: "high", fill: paint(colourOf(curve)), fillOpacity: 0.12 }),
          plot.line(points, { x: "t", y: "value", stroke: paint(colourOf(curve)), strokeWidth: 1.8, ...(dash === undefined ? {} : { strokeDasharray: dash }) }),
          plot.dot(points, { x: "t", y: "value", r: 2.2, fill: paint(colourOf(curve)) }),
        ];
      }),
    ],
  };
}
