/** The three regimes on a line of OU time, drawn to scale from the data at t = 0 to twice the later boundary. */
import type { Boundary, Headline } from "./headline.js";
import { type Layout, element, emptyDrawing, finish, layoutWidth, text } from "./chart.js";
import { estimateText, intervalText, short, significant } from "./numbers.js";
import { paint } from "./palette.js";

type Drawn = ReturnType<typeof emptyDrawing>;

/** Advance of a letter, bold, in the widest of the fonts. */
const LETTER = 7.7;
const BAR = { top: 66, height: 52 };

/** Draws the time line; `times` are the grid, which bounds the line when there is no boundary to show. */
export function drawTimeline(top: Headline, times: readonly number[], layout: Layout): string {
  const width = layout === "wide" ? 900 : layoutWidth(layout);
  const svg = emptyDrawing(width, 172);
  const edge = 14;
  const marks = [top.speciationTime, top.collapseTime, top.speciation.theory, top.collapse.theory];
  const latest = Math.max(0, ...marks.flatMap((time) => [time?.value ?? 0, time?.ci95?.[1] ?? 0]).filter(Number.isFinite));
  const end = latest > 0 ? latest * 1.9 : Math.max(...times);
  const x = (time: number): number => edge + (Math.min(Math.max(time, 0), end) / end) * (width - 2 * edge);

  for (const regime of top.regimes) {
    const [left, right] = [x(regime.from), x(regime.to)];
    svg.appendChild(element("rect", { x: left, y: BAR.top, width: right - left, height: BAR.height, fill: paint(regime.colour) }));
    const middle = (left + right) / 2;
    if (right - left > 10 + 4 * regime.numeral.length) centred(svg, middle, BAR.top + 24, regime.numeral, 16, "ink");
    if (right - left > regime.word.length * LETTER + 14)
      centred(svg, middle, BAR.top + (regime.numeral === "" ? 32 : 42), regime.word, 12.5, "soft");
  }
  svg.appendChild(element("rect", { x: x(0), y: BAR.top, width: x(end) - x(0), height: BAR.height, fill: "none", stroke: paint("rule") }));

  drawAxis(svg, end, x, width);
  theoryMark(svg, top.speciation.theory, top.speciationTime, x);
  theoryMark(svg, top.collapse.theory, top.collapseTime, x);
  // The lower label is drawn last: its halo interrupts the line of the upper one where they meet.
  const { speciationTime, collapseTime } = top;
  if (speciationTime !== null) boundaryMark(svg, { symbol: "t_S", time: speciationTime, other: null, labelY: 20 }, x, width, layout);
  if (collapseTime !== null) boundaryMark(svg, { symbol: "t_C", time: collapseTime, other: speciationTime, labelY: 44 }, x, width, layout);
  return finish(svg, describe(top, end));
}

function drawAxis(svg: Drawn, end: number, x: (time: number) => number, width: number): void {
  const y = BAR.top + BAR.height;
  const step = tickStep(end, width);
  for (let k = 0; k * step <= end; k++) {
    svg.appendChild(element("line", { x1: x(k * step), x2: x(k * step), y1: y, y2: y + 5, stroke: paint("soft") }));
    centred(svg, x(k * step), y + 19, k === 0 ? "0" : short(k * step, 3), 12.5, "soft");
  }
  const caption = y + 42;
  svg.appendChild(text(x(0), caption, "data", "soft"));
  const noise = text(x(end), caption, "noise", "soft");
  noise.setAttribute("text-anchor", "end");
  svg.appendChild(noise);
  const label = "generation, in OU time *t*";
  centred(svg, width / 2, caption, label, 12.5, "soft");
  const half = (label.length * LETTER) / 2;
  const arrow = (from: number, to: number, head: boolean): void => {
    svg.appendChild(element("line", { x1: from, x2: to, y1: caption - 4, y2: caption - 4, stroke: paint("soft") }));
    if (head)
      svg.appendChild(
        element("path", { d: `M${to + 6},${caption - 8}L${to},${caption - 4}L${to + 6},${caption}`, fill: "none", stroke: paint("soft") }),
      );
  };
  arrow(width / 2 - half, x(0) + 36, true);
  arrow(x(end) - 44, width / 2 + half, false);
}

/** The line of a boundary with its interval; the label says as much as fits beside the line of the other one. */
function boundaryMark(
  svg: Drawn,
  { symbol, time, other, labelY }: { symbol: string; time: Boundary; other: Boundary | null; labelY: number },
  x: (time: number) => number,
  width: number,
  layout: Layout,
): void {
  const place = x(time.value!);
  const words = [`${estimateText(time)}  ${intervalText(time)}`.trim(), estimateText(time), significant(time.value!, 3)];
  const labels = words.slice(layout === "wide" ? 0 : 2).map((content) => `${symbol} = ${content}`);
  const wall = other === null || other.value === null || x(other.value) < place ? width : x(other.value);
  const fits = (candidate: string, space: number): boolean => candidate.length * LETTER + 12 < space;
  const label = labels.find((candidate) => fits(candidate, wall - place) || fits(candidate, place)) ?? labels.at(-1)!;
  const right = fits(label, wall - place) || !fits(label, place);
  const [low, high] = time.ci95 ?? [time.value!, time.value!];
  svg.appendChild(
    element("rect", {
      x: x(low),
      y: BAR.top,
      width: Math.max(0, x(high) - x(low)),
      height: BAR.height,
      fill: paint("ink"),
      "fill-opacity": 0.16,
    }),
  );
  svg.appendChild(
    element("line", { x1: place, x2: place, y1: labelY - 10, y2: BAR.top + BAR.height, stroke: paint("ink"), "stroke-width": 1.6 }),
  );
  const node = text(right ? place + 7 : place - 7, labelY, label, "ink", 600);
  if (!right) node.setAttribute("text-anchor", "end");
  for (const [name, value] of Object.entries({
    stroke: paint("page"),
    "stroke-width": "7",
    "stroke-linejoin": "round",
    "paint-order": "stroke",
  })) {
    node.setAttribute(name, value);
  }
  svg.appendChild(node);
}

/** A hollow triangle on the bar where theory puts the boundary, unless that is what is drawn already. */
function theoryMark(svg: Drawn, theory: Boundary, drawn: Boundary | null, x: (time: number) => number): void {
  if (theory.value === null || theory === drawn) return;
  const [place, tip] = [x(theory.value), BAR.top];
  const d = `M${place},${tip}L${place - 6},${tip - 11}L${place + 6},${tip - 11}Z`;
  svg.appendChild(element("path", { d, fill: paint("page"), stroke: paint("theory"), "stroke-width": 1.6 }));
}

function centred(svg: Drawn, x: number, y: number, content: string, size: number, colour: "ink" | "soft"): void {
  const node = text(x, y, content, colour);
  node.setAttribute("text-anchor", "middle");
  node.setAttribute("font-size", String(size));
  svg.appendChild(node);
}

/** 1, 2 or 5 times a power of ten, about 70 pixels apart. */
function tickStep(end: number, width: number): number {
  const rough = (end * 70) / width;
  const unit = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((factor) => factor * unit >= rough)! * unit;
}

function describe(top: Headline, end: number): string {
  const parts = top.regimes.map(({ numeral, word, from, to }) => {
    const name = numeral === "" ? word : `${numeral} ${word}`;
    return `${name} from t = ${significant(from, 3)} ${Number.isFinite(to) ? `to ${significant(to, 3)}` : "on"}`;
  });
  return `Time line of the regimes drawn to scale, OU time from 0 to ${significant(end, 3)}: ${parts.join("; ")}.`;
}
