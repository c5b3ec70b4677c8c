/**
 * A curve over OU time as a figure: the frame that the five curves of the page share (axis of time, tints of the regimes, key,
 * the line of the critical time with its interval), so that they can be compared by eye, one under the other.
 */
import type { Analysis } from "../analysis.js";
import type { Estimate } from "../estimate.js";
import { type Axis, type Chart, type KeyEntry, type Layout, type Mark, frameWidth, position } from "./chart.js";
import type { Boundary, Headline } from "./headline.js";
import { count, estimateText, intervalText, significant } from "./numbers.js";
import { type Markup, csv } from "./markup.js";
import { paint } from "./palette.js";

/** A figure that can be drawn. */
export interface Figure {
  /** Part of element ids and of file names. */
  readonly slug: string;
  readonly title: string;
  readonly caption: Markup;
  readonly chart: Chart;
  readonly csv: string;
}

/** A figure that cannot be drawn, and why. */
export interface AbsentFigure {
  readonly slug: string;
  readonly title: string;
  readonly absent: string;
}

type Plot = Parameters<Chart["marks"]>[0];
export interface TimeAxis extends Axis {
  readonly label: string;
}
/** The vertical axis with headroom for the names of the regimes. */
interface ValueAxis extends Axis {
  /** Where the lines of the data end. */
  readonly frame: number;
  /** Height of the names. */
  readonly label: number;
}
interface Level {
  readonly y: number;
  readonly label: string;
}
/** What one figure of a curve adds to the common frame. */
export interface CurveFigure {
  readonly slug: string;
  readonly title: string;
  readonly heading: string;
  readonly quantity: string;
  readonly curve: readonly Estimate[];
  readonly theory?: { readonly label: string; readonly values: readonly (number | null)[]; readonly zero: number | null };
  readonly levels: readonly Level[];
  readonly flag: { readonly symbol: string; readonly time: Boundary | null };
  readonly others: readonly { readonly label: string; readonly time: Boundary | null }[];
  readonly top?: { readonly logarithmicTo: number };
  readonly caption: Markup;
}

/** Dashes tell lines apart where colours do not. */
export const DASHES: { readonly theory: string; readonly levels: readonly string[]; readonly others: readonly string[] } = {
  theory: "7 4",
  levels: ["2 3", "8 5"],
  others: ["9 3 2 3", "4 3", "1 3"],
};

/** Builds the figure of a curve, or the reason why there is none. */
export function curveFigure(analysis: Analysis, top: Headline, figure: CurveFigure): Figure | AbsentFigure {
  const times = analysis.result.curves.ouTime;
  const points = times.flatMap((t, k) => point(t, figure.curve[k]));
  if (points.length === 0)
    return { slug: figure.slug, title: figure.title, absent: figure.curve[0]?.status ?? "The analysis has no times." };
  const x = timeAxis(times);
  const y = verticalAxis(figure);
  const theory = figure.theory === undefined ? [] : theoryLine(times, figure.theory);
  const flagged = figure.flag.time !== null && inside(x, figure.flag.time.value) ? [figure.flag.time] : [];
  const others = figure.others.filter(({ time }) => time !== null && inside(x, time.value));
  const key: KeyEntry[] = [
    { label: "measured, 95 % band", colour: "measured", dot: true },
    ...(theory.length === 0 ? [] : [{ label: figure.theory!.label, colour: "theory" as const, dash: DASHES.theory }]),
    ...figure.levels.map(({ label }, k) => ({ label, colour: "soft" as const, dash: DASHES.levels[k]! })),
    ...others.map(({ label, time }, k) => ({
      label: `${label} ${significant(time!.value!, 3)}`,
      colour: "third" as const,
      dash: DASHES.others[k]!,
    })),
  ];
  const marks = (plot: Plot, layout: Layout): Mark[] => [
    regimeBands(plot, top, x, y),
    plot.gridY({ ticks: y.ticks, stroke: paint("rule"), strokeOpacity: 1 }),
    figure.levels.map((level, k) => plot.ruleY([level.y], { stroke: paint("soft"), strokeWidth: 1.4, strokeDasharray: DASHES.levels[k]! })),
    others.map(({ time }, k) =>
      plot.ruleX([time!.value!], {
        y1: y.domain[0],
        y2: y.frame,
        stroke: paint("third"),
        strokeWidth: 1.4,
        strokeDasharray: DASHES.others[k]!,
      }),
    ),
    flagged.map((time) => [
      plot.rect([time], {
        x1: () => clamp(x, time.ci95?.[0]),
        x2: () => clamp(x, time.ci95?.[1]),
        y1: y.domain[0],
        y2: y.frame,
        fill: paint("ink"),
        fillOpacity: 0.12,
      }),
      plot.ruleX([time.value!], { y1: y.domain[0], y2: y.domain[1], stroke: paint("ink"), strokeWidth: 1.4 }),
    ]),
    theory.length === 0
      ? null
      : plot.line(theory, { x: "t", y: "value", stroke: paint("theory"), strokeWidth: 1.8, strokeDasharray: DASHES.theory }),
    plot.areaY(points, { x: "t", y1: "low", y2: "high", fill: paint("halo"), fillOpacity: 0.9 }),
    plot.line(points, { x: "t", y: "value", stroke: paint("measured"), strokeWidth: 1.8 }),
    plot.dot(points, { x: "t", y: "value", r: 2.4, fill: paint("measured"), ...(layout === "wide" ? { title: "words" } : {}) }),
    regimeNames(plot, layout, top, x, y),
  ];
  return {
    slug: figure.slug,
    title: figure.title,
    caption: figure.caption,
    chart: {
      heading: figure.heading,
      description: describe(figure, times, points),
      key,
      flags: flagged.map((time) => ({ x: time.value!, label: `${figure.flag.symbol} = ${significant(time.value!, 3)}` })),
      xLabel: x.label,
      x: { type: x.type, domain: x.domain, ticks: x.ticks },
      y,
      tick: tickLabel,
      marks,
    },
    csv: csv(
      [
        "ou_time",
        figure.quantity,
        "standard_error",
        "ci95_low",
        "ci95_high",
        "status",
        ...(figure.theory === undefined ? [] : ["theory_gaussian_surrogate"]),
      ],
      times.map((t, k) => [
        t,
        ...estimateCells(figure.curve[k]),
        ...(figure.theory === undefined ? [] : [finite(figure.theory.values[k])]),
      ]),
    ),
  };
}

/** An estimate with a value, as it is drawn. */
export interface Point {
  readonly t: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly words: string;
}

/** The point of an estimate, none where it has no value. */
export function point(t: number, estimate: Estimate | undefined): Point[] {
  if (estimate === undefined || estimate.value === null || !Number.isFinite(estimate.value)) return [];
  const [low, high] = estimate.ci95 ?? [estimate.value, estimate.value];
  const words = `${significant(t, 4)}: ${estimateText(estimate)} ${intervalText(estimate)}`;
  return [{ t, value: estimate.value, low, high, words }];
}

/** Theory where it is a share of alpha, ended at its own zero: below that the surrogate has collapsed. */
function theoryLine(times: readonly number[], theory: NonNullable<CurveFigure["theory"]>): { t: number; value: number }[] {
  const line = times.flatMap((t, k) => {
    const value = finite(theory.values[k]);
    return value === null || value < 0 ? [] : [{ t, value }];
  });
  const starts = theory.zero !== null && line.length > 0 && theory.zero < line[0]!.t && theory.zero >= times[0]!;
  return starts ? [{ t: theory.zero!, value: 0 }, ...line] : line;
}

function regimeBands(plot: Plot, top: Headline, x: TimeAxis, y: ValueAxis): Mark[] {
  return top.regimes.map((regime) =>
    plot.rect([regime], {
      x1: () => clamp(x, regime.from),
      x2: () => clamp(x, regime.to),
      y1: y.domain[0],
      y2: y.domain[1],
      fill: paint(regime.colour),
    }),
  );
}

/** The names of the regimes in the headroom, over whatever line runs through it. */
function regimeNames(plot: Plot, layout: Layout, top: Headline, x: TimeAxis, y: ValueAxis): Mark[] {
  const frame = frameWidth(layout, y, tickLabel);
  return top.regimes.map((regime) => {
    const [from, to] = [clamp(x, regime.from), clamp(x, regime.to)];
    const extent = (position(x, to) - position(x, from)) * frame;
    const name = `${regime.numeral} ${regime.word}`.trim();
    const label = extent > name.length * 7 ? name : extent > 22 ? regime.numeral : "";
    const middle = x.type === "log" ? Math.sqrt(from * to) : (from + to) / 2;
    const halo = { stroke: paint(regime.colour), strokeWidth: 6 };
    return plot.text(label === "" ? [] : [label], { x: () => middle, y: () => y.label, fill: paint("soft"), fontSize: 11.5, ...halo });
  });
}

/** Axis of OU time over `times`, increasing: logarithmic where they span more than a decade. */
export function timeAxis(times: readonly number[]): TimeAxis {
  const [first, last] = [times[0]!, times[times.length - 1]!];
  const domain = last > first ? ([first, last] as const) : ([first / 2, first * 2] as const);
  // A ratio of 12 has a decade with room for its ticks; below that a linear axis is easier to read.
  if (domain[1] / domain[0] > 12) {
    return { type: "log", domain, ticks: decadeTicks(domain[0], domain[1]), label: "\u2190 generation  \u00b7  OU time *t* (log scale)" };
  }
  const unit = 10 ** Math.floor(Math.log10((domain[1] - domain[0]) / 4));
  const step = [1, 2, 5, 10].find((factor) => (domain[1] - domain[0]) / (factor * unit) <= 8)! * unit;
  const ticks: number[] = [];
  for (let k = Math.ceil(domain[0] / step); k * step <= domain[1]; k++) ticks.push(Number((k * step).toPrecision(12)));
  return { type: "linear", domain, ticks, label: "\u2190 generation  \u00b7  OU time *t*" };
}

/** 1, 2, 5 times powers of ten; powers alone, or every few of them, when the axis spans many. */
export function decadeTicks(low: number, high: number): number[] {
  const decades = Math.log10(high / low);
  const factors = decades < 3.2 ? [1, 2, 5] : [1];
  const stride = Math.max(1, Math.round(decades / 6));
  const ticks: number[] = [];
  for (let exponent = Math.floor(Math.log10(low)); exponent <= Math.ceil(Math.log10(high)); exponent++) {
    if (factors.length === 1 && exponent % stride !== 0) continue;
    // Powers written as decimals: 2 * 10 ** -1 would be 0.2 but 3 * 10 ** -1 is not 0.3.
    for (const factor of factors) ticks.push(Number(`${factor}e${exponent}`));
  }
  return ticks.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
}

function verticalAxis(figure: CurveFigure): ValueAxis {
  if (figure.top === undefined) {
    return { type: "linear", domain: [-0.02, 1.14], ticks: [0, 0.25, 0.5, 0.75, 1], frame: 1.05, label: 1.09 };
  }
  const most = Math.max(2, figure.top.logarithmicTo);
  const room = most ** 0.14;
  return {
    type: "log",
    domain: [most ** -0.02, most * room],
    ticks: decadeTicks(1, most),
    frame: most * room ** 0.36,
    label: most * room ** 0.64,
  };
}

function tickLabel(value: number): string {
  return value >= 1000 ? count(value) : String(value);
}

function inside({ domain }: TimeAxis, value: number | null): boolean {
  return value !== null && value >= domain[0] && value <= domain[1];
}

function clamp({ domain }: TimeAxis, value: number | undefined): number {
  return Math.min(Math.max(value ?? domain[0], domain[0]), domain[1]);
}

function finite(value: number | null | undefined): number | null {
  return value !== null && value !== undefined && Number.isFinite(value) ? value : null;
}

/** Value, standard error, interval and status of an estimate as CSV cells. */
export function estimateCells(estimate: Estimate | undefined): (number | string | null)[] {
  return [
    finite(estimate?.value),
    finite(estimate?.standardError),
    finite(estimate?.ci95?.[0]),
    finite(estimate?.ci95?.[1]),
    estimate?.status ?? "",
  ];
}

function describe(figure: CurveFigure, times: readonly number[], points: readonly Point[]): string {
  const { symbol, time } = figure.flag;
  const [first, last] = [points[0]!, points[points.length - 1]!];
  const mark = time === null || time.value === null ? "" : ` ${symbol} = ${estimateText(time)}.`;
  return (
    `Line chart of ${figure.heading} against OU time at ${times.length} times: ` +
    `${significant(first.value, 3)} at t = ${significant(first.t, 3)}, ${significant(last.value, 3)} at t = ` +
    `${significant(last.t, 3)}.${mark}`
  );
}
