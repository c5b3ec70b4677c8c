/** Reverse trajectories as a page of their own: their paths, their images, and when each settled on a class and on a datum. */
import { checkOptionNames } from "../errors.js";
import type { Generation } from "../generation.js";
import { type Layout, type Mark, element, emptyDrawing, finish, layoutWidth, text } from "./chart.js";
import { type AbsentFigure, DASHES, type Figure, timeAxis } from "./curve.js";
import { greyPng } from "./image.js";
import { type Markup, csv, html, prose } from "./markup.js";
import { count, estimateText, percent, significant } from "./numbers.js";
import { downloadCsv, downloadSvg, figureMarkup, layouts, studyPage } from "./page.js";
import { CLASS_COLOURS, type Colour, paint } from "./palette.js";

export interface GenerationReportOptions {
  /** Heading of the page, default "Generated trajectories". */
  readonly title?: string;
}

/** Lines drawn: more would be a carpet. */
const mostLines = 120;
/** Columns of the strip of images. */
const stripColumns = 9;

/** Renders watched trajectories as one self-contained HTML page. @throws RegimesError E_OPTION for an unknown option. */
export function renderGeneration(generation: Generation, options: GenerationReportOptions = {}): string {
  checkOptionNames("renderGeneration", options, ["title"]);
  const title = options.title ?? "Generated trajectories";
  const figures = [pathsFigure(generation), settledFigure(generation)];
  return studyPage({
    title,
    kicker: "Reverse diffusion with the exact score",
    sentence: sentence(generation),
    section: "Trajectories",
    figures: [...figures.map((figure, k) => figureMarkup(figure, k + 1)), strip(generation, figures.length + 1)],
  });
}

function sentence({ run, classOf, classValues, nearest, speciation, collapse }: Generation): string {
  const trajectories = run.samples.shape[0];
  const settledOn = new Set(nearest.index).size;
  const alone = nearest.weight.filter((weight) => weight > 0.99).length;
  const kinds = classOf === null ? "" : ` of ${count(new Set(classOf).size)} of the ${count(classValues!.length)} classes`;
  const ends = collapse === null ? "" : `, ${percent(alone / trajectories)} of them on a single datum (weight above 0.99), on ${count(settledOn)} different data in all`;
  const times = [
    ...(speciation.value === null ? [] : [`t_S = ${estimateText(speciation)}`]),
    ...(collapse?.value == null ? [] : [`t_C = ${estimateText(collapse)}`]),
  ];
  const marks = times.length === 0 ? "" : ` The transitions of this field, from averages and not from these trajectories: ${times.join(", ")}.`;
  return `${count(trajectories)} trajectories end in samples${kinds}${ends}.${marks}`;
}

function colourOf({ classOf }: Generation, trajectory: number): Colour {
  return classOf === null ? "measured" : CLASS_COLOURS[classOf[trajectory]! % CLASS_COLOURS.length]!;
}

function classKey({ classOf, classValues }: Generation): { label: string; colour: Colour }[] {
  if (classOf === null || classValues === null) return [{ label: "trajectory", colour: "measured" }];
  const present = [...new Set(classOf)].sort((left, right) => left - right).slice(0, CLASS_COLOURS.length);
  return present.map((index) => ({ label: `class ${classValues[index]!}`, colour: CLASS_COLOURS[index % CLASS_COLOURS.length]! }));
}

/** The transitions as flags and lines of a chart over OU time. */
function transitions({ speciation, collapse }: Generation, domain: readonly [number, number]): { x: number; label: string; dash: string }[] {
  return [
    { symbol: "t_S", time: speciation, dash: DASHES.others[0]! },
    { symbol: "t_C", time: collapse, dash: DASHES.others[1]! },
  ].flatMap(({ symbol, time, dash }) =>
    time?.value == null || time.value < domain[0] || time.value > domain[1] ? [] : [{ x: time.value, label: `${symbol} = ${significant(time.value, 3)}`, dash }],
  );
}

function pathsFigure(generation: Generation): Figure {
  const { run, projection } = generation;
  const trajectories = run.samples.shape[0];
  const drawn = Math.min(mostLines, trajectories);
  const x = timeAxis([...run.ouTimes].reverse());
  const values = projection.flatMap((row) => Array.from(row.subarray(0, drawn)));
  const reach = Math.max(...values.map(Math.abs)) * 1.06;
  const flags = transitions(generation, x.domain);
  const lines = Array.from({ length: drawn }, (_, i) => ({
    colour: colourOf(generation, i),
    points: projection.map((row, r) => ({ t: run.ouTimes[r]!, value: row[i]! })),
  }));
  const step = niceStep(reach);
  const ticks = Array.from({ length: 2 * Math.floor(reach / step) + 1 }, (_, k) => Number(((k - Math.floor(reach / step)) * step).toPrecision(12)));
  return {
    slug: "trajectories",
    title: "Trajectories along the widest direction",
    caption: html`${prose(
      `The states of ${count(drawn)} of ${count(trajectories)} reverse trajectories along the leading eigenvector *u* of the data covariance, coloured by the class that each ends in.`,
    )} <b>What to see:</b> ${prose(
      "from right to left, as generation runs, the paths are one cloud of noise; near t_S they part, colour by colour; " +
        "below t_C each follows its own datum.",
    )}`,
    chart: {
      heading: "*x* \u00b7 *u*",
      description: `${drawn} reverse trajectories against OU time, from ${significant(run.ouTimes[0]!, 3)} to ${significant(run.ouTimes.at(-1)!, 3)}.`,
      key: classKey(generation),
      flags: flags.map(({ x: at, label }) => ({ x: at, label })),
      xLabel: x.label,
      x,
      y: { type: "linear", domain: [-reach, reach], ticks },
      tick: String,
      marks: (plot): Mark[] => [
        plot.gridY({ ticks, stroke: paint("rule"), strokeOpacity: 1 }),
        lines.map(({ colour, points }) => plot.line(points, { x: "t", y: "value", stroke: paint(colour), strokeWidth: 0.9, strokeOpacity: 0.55 })),
        flags.map(({ x: at, dash }) => plot.ruleX([at], { stroke: paint("ink"), strokeWidth: 1.4, strokeDasharray: dash })),
      ],
    },
    csv: csv(
      ["ou_time", ...Array.from({ length: trajectories }, (_, i) => `trajectory_${i}`)],
      projection.map((row, r) => [run.ouTimes[r]!, ...row]),
    ),
  };
}

/** 1, 2 or 5 times a power of ten, for about four ticks up to `reach`. */
function niceStep(reach: number): number {
  const unit = 10 ** Math.floor(Math.log10(reach / 4));
  return [1, 2, 5, 10].find((factor) => reach / (factor * unit) <= 5)! * unit;
}

/** Share of trajectories that have settled for good by time t, as generation runs from right to left. */
function settledFigure(generation: Generation): Figure | AbsentFigure {
  const { run, classSettled, nearestSettled, collapse } = generation;
  const x = timeAxis([...run.ouTimes].reverse());
  const flags = transitions(generation, x.domain);
  const trajectories = run.samples.shape[0];
  const share = (times: Float64Array, t: number): number => times.filter((time) => time >= t).length / trajectories;
  const curves = [
    ...(classSettled === null ? [] : [{ label: "class settled", colour: "measured" as const, dash: undefined, times: classSettled }]),
    ...(collapse === null ? [] : [{ label: "datum settled", colour: "theory" as const, dash: DASHES.theory, times: nearestSettled }]),
  ].map((curve) => ({ ...curve, points: Array.from(run.ouTimes, (t) => ({ t, value: share(curve.times, t) })) }));
  const title = "When trajectories settle";
  if (curves.length === 0) return { slug: "settled", title, absent: "Without classes and without data there is nothing to settle on." };
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  return {
    slug: "settled",
    title,
    caption: html`${prose(
      "The share of trajectories whose heaviest class, and whose nearest datum, never change again below time *t* (resolution: the recorded times).",
    )} <b>What to see:</b> ${prose("the class settles around t_S, the datum around t_C; between the two a sample has its class but not yet its datum.")}`,
    chart: {
      heading: "share of trajectories settled",
      description: `Shares of ${trajectories} trajectories that have settled, against OU time.`,
      key: curves.map(({ label, colour, dash }) => ({ label, colour, ...(dash === undefined ? {} : { dash }) })),
      flags: flags.map(({ x: at, label }) => ({ x: at, label })),
      xLabel: x.label,
      x,
      y: { type: "linear", domain: [-0.02, 1.04], ticks },
      tick: String,
      marks: (plot): Mark[] => [
        plot.gridY({ ticks, stroke: paint("rule"), strokeOpacity: 1 }),
        flags.map(({ x: at, dash }) => plot.ruleX([at], { stroke: paint("ink"), strokeWidth: 1.4, strokeDasharray: dash })),
        curves.map(({ points, colour, dash }) =>
          plot.line(points, { x: "t", y: "value", stroke: paint(colour), strokeWidth: 1.8, ...(dash === undefined ? {} : { strokeDasharray: dash }) }),
        ),
      ],
    },
    csv: csv(
      ["ou_time", ...curves.map(({ label }) => label.replace(" ", "_"))],
      Array.from(run.ouTimes, (t, r) => [t, ...curves.map(({ points }) => points[r]!.value)]),
    ),
  };
}

/** The watched states as images, one trajectory per row, time running from noise on the left to the sample on the right. */
function strip(generation: Generation, ordinal: number): Markup {
  const { watched, imageShape, run } = generation;
  const heading = html`<h3><span class="ordinal">Figure ${count(ordinal)}.</span> States along the path</h3>`;
  if (imageShape === null) return html`<div class="absent" id="figure-states">${heading}<p class="status">The rows are not images, so there is nothing to look at.</p></div>`;
  const wide = drawStrip(generation, "wide");
  const [rows, columns] = [watched.shape[1]!, Math.min(stripColumns, run.times.length)];
  return html`<figure class="chart" id="figure-states">
<div class="drawing">${layouts(wide, drawStrip(generation, "narrow"))}</div>
<figcaption>${heading}<p>${prose(
    `${count(rows)} trajectories at ${count(columns)} times each, from noise on the left to the sample on the right; grey levels are the values of the state, ` +
      "clipped to the range of the samples.",
  )} <b>What to see:</b> ${prose("shapes that belong to a class appear before the details that belong to one datum.")}</p>
<p class="downloads">${downloadSvg("states", wide, `Figure ${ordinal}, States along the path`)}${downloadCsv("states", statesCsv(generation), `Figure ${ordinal}, States along the path`)}</p></figcaption>
</figure>`;
}

/** Records shown: evenly spaced from the first to the last. */
function shownRecords({ run }: Generation): number[] {
  const records = run.times.length;
  const columns = Math.min(stripColumns, records);
  return Array.from({ length: columns }, (_, c) => (columns === 1 ? records - 1 : Math.round((c * (records - 1)) / (columns - 1))));
}

function drawStrip(generation: Generation, layout: Layout): string {
  const { watched, run } = generation;
  const [height, width] = generation.imageShape!;
  const [, rows, d] = watched.shape as [number, number, number];
  const shown = shownRecords(generation);
  const whole = layoutWidth(layout);
  const gap = layout === "wide" ? 6 : 3;
  const cell = (whole - gap * (shown.length - 1)) / shown.length;
  const cellHeight = (cell * height) / width;
  const head = 24;
  const svg = emptyDrawing(whole, head + rows * (cellHeight + gap));
  const [low, high] = range(run.samples.data);
  shown.forEach((record, c) => {
    const x = c * (cell + gap);
    const label = text(x + cell / 2, 14, significant(run.ouTimes[record]!, 2), "soft");
    label.setAttribute("text-anchor", "middle");
    if (layout === "wide" || c % 2 === 0) svg.appendChild(label);
    for (let i = 0; i < rows; i++) {
      const state = watched.data.subarray((record * rows + i) * d, (record * rows + i + 1) * d);
      const levels = Uint8Array.from(state, (value) => Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low || 1)))));
      svg.appendChild(
        element("image", { x, y: head + i * (cellHeight + gap), width: cell, height: cellHeight, href: greyPng(levels, width, height), "image-rendering": "pixelated" }),
      );
    }
  });
  return finish(svg, `${rows} trajectories as images at OU times ${shown.map((record) => significant(run.ouTimes[record]!, 2)).join(", ")}.`);
}

function range(values: Float64Array): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

function statesCsv(generation: Generation): string {
  const { watched, run } = generation;
  const [, rows, d] = watched.shape as [number, number, number];
  return csv(
    ["ou_time", "trajectory", ...Array.from({ length: d }, (_, j) => `x_${j}`)],
    shownRecords(generation).flatMap((record) =>
      Array.from({ length: rows }, (_, i) => [run.ouTimes[record]!, i, ...watched.data.subarray((record * rows + i) * d, (record * rows + i + 1) * d)]),
    ),
  );
}
