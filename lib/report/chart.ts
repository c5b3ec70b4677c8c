/**
 * Charts as static SVG: Observable Plot draws on a DOM without a browser (linkedom). Both are loaded on the first chart, so that
 * importing the library stays light. The same chart has the same bytes each time: no clip paths (Plot numbers them over the
 * life of the process), no dates, coordinates rounded to a hundredth of a pixel.
 */
import { createRequire } from "node:module";
import { type Colour, LIGHT, onPaper, paint } from "./palette.js";

type Plot = typeof import("@observablehq/plot");
export type Mark = import("@observablehq/plot").Markish;

/** Two layouts of each figure, one for a page and one for a phone: text that is scaled down is text that is not read. */
export type Layout = "wide" | "narrow";

/** An entry of the key above a chart, in the order of importance. */
export interface KeyEntry {
  readonly label: string;
  readonly colour: Colour;
  readonly dash?: string;
  /** Drawn as a dot on the line, with a band behind it. */
  readonly dot?: boolean;
}

/** A vertical line named above the frame. */
export interface Flag {
  readonly x: number;
  readonly label: string;
}

/** A scale and where its labels stand. */
export interface Axis {
  readonly type: "log" | "linear";
  readonly domain: readonly [low: number, high: number];
  readonly ticks: readonly number[];
}

export interface Chart {
  /** The quantity on the vertical axis. */
  readonly heading: string;
  /** What a reader who does not see the chart should know. */
  readonly description: string;
  readonly key: readonly KeyEntry[];
  readonly flags: readonly Flag[];
  readonly xLabel: string;
  readonly x: Axis;
  readonly y: Axis;
  /** Right-hand axis: tick positions on the y scale and their labels. */
  readonly right?: { readonly heading: string; readonly ticks: readonly { readonly y: number; readonly label: string }[] };
  readonly tick: (value: number) => string;
  readonly marks: (plot: Plot, layout: Layout) => readonly Mark[];
}

/** The part of the SVG DOM that is used here; linkedom's types are those of a browser, which this project does not load. */
interface Node {
  readonly children: ArrayLike<Node>;
  textContent: string;
  readonly outerHTML: string;
  readonly firstChild: Node | null;
  getAttribute(name: string): string | null;
  setAttribute(name: string, value: string): void;
  removeAttribute(name: string): void;
  querySelectorAll(selector: string): Iterable<Node>;
  appendChild(child: Node): Node;
  remove(): void;
}
interface Drawing {
  readonly plot: Plot;
  readonly document: { createElementNS(namespace: string, name: string): Node };
}

const SVG = "http://www.w3.org/2000/svg";
const SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif";
const FONT_SIZE = 12.5;
const LINE_HEIGHT = 19;
/** Mean advance of a letter of the sans stack, generous: the key must not run out of the picture in any of its fonts. */
const LETTER_WIDTH = 0.56 * FONT_SIZE;
const SAMPLE_WIDTH = 26;
const RIGHT_MARGIN = 12;
const COORDINATES = ["d", "transform", "points", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height"];

let loaded: Drawing | undefined;

/** Plot and an empty document, loaded once. */
export function drawing(): Drawing {
  if (loaded === undefined) {
    const require = createRequire(import.meta.url);
    const { parseHTML } = require("linkedom") as { parseHTML(html: string): Pick<Drawing, "document"> };
    loaded = { plot: require("@observablehq/plot") as Plot, document: parseHTML("<!doctype html><html></html>").document };
  }
  return loaded;
}

/** Width of a layout in pixels. */
export function layoutWidth(layout: Layout): number {
  return layout === "wide" ? 640 : 356;
}

/** Room for the labels of the vertical axis. */
function leftMargin(y: Axis, tick: (value: number) => string): number {
  return Math.max(44, 16 + LETTER_WIDTH * 1.15 * Math.max(0, ...y.ticks.map((value) => tick(value).length)));
}

/** Width of the frame of a chart without a right-hand axis. */
export function frameWidth(layout: Layout, y: Axis, tick: (value: number) => string): number {
  return layoutWidth(layout) - leftMargin(y, tick) - RIGHT_MARGIN;
}

/** The chart as an `<svg>` that fills its container and takes its colours from the page. */
export function drawChart(chart: Chart, layout: Layout): string {
  const { plot, document } = drawing();
  const width = layoutWidth(layout);
  const marginLeft = leftMargin(chart.y, chart.tick);
  const marginRight = chart.right === undefined ? RIGHT_MARGIN : 44;
  const key = keyRows(chart.key, width);
  const frameTop = 22 + key.length * LINE_HEIGHT + (chart.flags.length > 0 ? 28 : 10);
  const frameHeight = layout === "wide" ? 262 : 216;
  const height = frameTop + frameHeight + 44;
  const svg = plot.plot({
    document,
    width,
    height,
    marginLeft,
    marginRight,
    marginTop: frameTop,
    marginBottom: 44,
    x: { type: chart.x.type, domain: chart.x.domain, axis: null },
    y: { type: chart.y.type, domain: chart.y.domain, axis: null },
    marks: [
      chart.marks(plot, layout),
      plot.axisY({ ticks: chart.y.ticks, text: chart.tick, label: null, tickSize: 4, fontSize: FONT_SIZE, color: paint("soft") }),
      plot.axisX({
        ticks: thinned(chart.x.ticks, width - marginLeft - marginRight),
        text: chart.tick,
        label: chart.xLabel,
        labelAnchor: "center",
        labelArrow: "none",
        labelOffset: 38,
        tickSize: 4,
        fontSize: FONT_SIZE,
        color: paint("soft"),
      }),
      chart.right === undefined
        ? null
        : plot.axisY(
            chart.right.ticks.map(({ y }) => y),
            {
              anchor: "right",
              text: chart.right.ticks.map(({ label }) => label),
              label: null,
              tickSize: 4,
              fontSize: FONT_SIZE,
              color: paint("soft"),
            },
          ),
      chart.flags.map(({ x, label }) =>
        plot.text([label], {
          x: () => x,
          frameAnchor: "top",
          ...flagAnchor(chart, x, width - marginLeft - marginRight),
          dy: -14,
          fontSize: FONT_SIZE,
          fontWeight: 600,
          fill: paint("ink"),
        }),
      ),
    ],
  } as unknown as import("@observablehq/plot").PlotOptions) as unknown as Node;

  const heading = text(2, 13, chart.heading, "ink", 600);
  svg.appendChild(heading);
  if (chart.right !== undefined) {
    const right = text(width - 2, frameTop - 8, chart.right.heading, "soft");
    right.setAttribute("text-anchor", "end");
    svg.appendChild(right);
  }
  key.forEach((row, line) => {
    for (const { entry, x } of row) drawKeyEntry(svg, entry, x, 13 + (line + 1) * LINE_HEIGHT);
  });
  return finish(svg, chart.description);
}

/** A bare drawing of the given size, for figures that are not charts. */
export function emptyDrawing(width: number, height: number): Node {
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width: String(width), height: String(height), fill: "currentColor" });
  svg.setAttribute("font-size", String(FONT_SIZE));
  return svg;
}

/** An SVG element with attributes. */
export function element(name: string, attributes: Readonly<Record<string, string | number>>): Node {
  const node = drawing().document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}

/** A line of text; the symbols t_S, t_C, ... are typeset by `finish`. */
export function text(x: number, y: number, content: string, colour: Colour, weight = 400): Node {
  const node = element("text", { x, y, fill: paint(colour), "font-size": FONT_SIZE, "font-weight": weight, "text-anchor": "start" });
  node.textContent = content;
  return node;
}

/** Cleans a drawing, names it for screen readers, sets its symbols, and serialises it. */
export function finish(svg: Node, description: string): string {
  // Plot's own style element would need style-src 'unsafe-inline'; the page's sheet has the same rules.
  for (const style of svg.querySelectorAll("style")) style.remove();
  svg.removeAttribute("class");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", description.replaceAll("*", ""));
  svg.setAttribute("font-family", SANS);
  for (const node of svg.querySelectorAll("*")) {
    // Inside role="img" nothing is exposed; Plot's labels of its groups would only be weight.
    node.removeAttribute("aria-label");
    node.removeAttribute("aria-hidden");
    for (const name of COORDINATES) {
      const value = node.getAttribute(name);
      if (value !== null)
        node.setAttribute(
          name,
          value.replace(/-?\d+\.\d{3,}(?:e-?\d+)?/g, (digits) => String(Math.round(Number(digits) * 100) / 100)),
        );
    }
  }
  for (const node of svg.querySelectorAll("text, tspan")) if (node.children.length === 0) typeset(node);
  return svg.outerHTML;
}

/** The drawing as a file of its own: namespace, paper colours, background. */
export function standaloneSvg(svg: string): string {
  const background = `<rect width="100%" height="100%" fill="${LIGHT.page}"/>`;
  const rooted = svg.replace("<svg ", `<svg xmlns="${SVG}" color="${LIGHT.ink}" `).replace(">", `>${background}`);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${onPaper(rooted)}\n`;
}

/** Sets symbols with subscripts (t_S, n_eff) and *letters* as italics, subscripts as small type below the line. */
function typeset(node: Node): void {
  const pieces = node.textContent.split(/(\*[^*\s]+\*|(?<!\p{L})\p{L}_[\p{L}\d]+)/u).filter((piece) => piece !== "");
  if (pieces.length === 1 && !/[*_]/.test(pieces[0]!)) return;
  node.textContent = "";
  let lowered = false;
  const add = (content: string, attributes: Readonly<Record<string, string>>): void => {
    // 0.25 em of type at 80 %: what follows rises by 0.2 em of its own.
    const span = element("tspan", lowered ? { ...attributes, dy: "-0.2em" } : attributes);
    span.textContent = content;
    node.appendChild(span);
    lowered = false;
  };
  for (const piece of pieces) {
    const [symbol, subscript] = piece.startsWith("*") ? [piece.slice(1, -1)] : /^\p{L}_/u.test(piece) ? piece.split("_") : [];
    if (symbol === undefined) add(piece, {});
    else add(symbol, { "font-style": "italic" });
    if (subscript === undefined) continue;
    add(subscript, { dy: "0.25em", "font-size": "80%" });
    lowered = true;
  }
}

function keyRows(key: readonly KeyEntry[], width: number): { entry: KeyEntry; x: number }[][] {
  const rows: { entry: KeyEntry; x: number }[][] = [];
  let x = Number.POSITIVE_INFINITY;
  for (const entry of key) {
    const extent = SAMPLE_WIDTH + 6 + entry.label.length * LETTER_WIDTH + 18;
    if (x + extent - 18 > width) {
      rows.push([]);
      x = 2;
    }
    rows[rows.length - 1]!.push({ entry, x });
    x += extent;
  }
  return rows;
}

function drawKeyEntry(svg: Node, { label, colour, dash, dot }: KeyEntry, x: number, baseline: number): void {
  const y = baseline - 4.5;
  if (dot) svg.appendChild(element("rect", { x, y: y - 5, width: SAMPLE_WIDTH, height: 10, fill: paint("halo") }));
  const line = element("line", { x1: x, x2: x + SAMPLE_WIDTH, y1: y, y2: y, stroke: paint(colour), "stroke-width": 1.8 });
  if (dash !== undefined) line.setAttribute("stroke-dasharray", dash);
  svg.appendChild(line);
  if (dot) svg.appendChild(element("circle", { cx: x + SAMPLE_WIDTH / 2, cy: y, r: 2.6, fill: paint(colour) }));
  svg.appendChild(text(x + SAMPLE_WIDTH + 6, baseline, label, "soft"));
}

/** A flag's text begins at its line, and turns to the left of it where it would leave the frame. */
function flagAnchor(chart: Chart, x: number, frameWidth: number): { textAnchor: "start" | "middle" | "end"; dx: number } {
  const flag = chart.flags.find((candidate) => candidate.x === x)!;
  const half = (flag.label.length * LETTER_WIDTH) / 2;
  const place = position(chart.x, x) * frameWidth;
  if (place + half > frameWidth) return { textAnchor: "end", dx: 4 };
  return place - half < 0 ? { textAnchor: "start", dx: -4 } : { textAnchor: "middle", dx: 0 };
}

/** Where `value` lies on an axis, 0 at its beginning and 1 at its end. */
export function position({ type, domain }: Axis, value: number): number {
  const map = type === "log" ? Math.log : (linear: number): number => linear;
  return (map(value) - map(domain[0])) / (map(domain[1]) - map(domain[0]));
}

/** Every k-th tick, so that labels keep 44 pixels apart. */
function thinned(ticks: readonly number[], extent: number): readonly number[] {
  const step = Math.max(1, Math.ceil((ticks.length * 44) / extent));
  return ticks.filter((_, k) => k % step === 0);
}
