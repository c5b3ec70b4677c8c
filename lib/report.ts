/**
 * An analysis as one self-contained HTML page: a sentence, the critical times in all clocks with theory beside measurement, the
 * curves with what to see in them, and how it was computed. The page runs no script and asks for nothing: its content security
 * policy allows its own style sheet, by hash, and data: images, nothing else. The same analysis gives the same bytes.
 *
 * It computes no physics: every number on it is in the analysis, rounded by its uncertainty. Layout: report/*.ts by noun.
 */
import type { Analysis } from "./analysis.js";
import { citationsFor, restsOn } from "./citations.js";
import { checkOptionNames } from "./errors.js";
import type { Layout } from "./report/chart.js";
import { collapseFigures, speciationFigures } from "./report/figures.js";
import { type Headline, headline } from "./report/headline.js";
import { type Markup, html, prose } from "./report/markup.js";
import { count, duration, estimateText, percent, short, significant } from "./report/numbers.js";
import { download, downloadCsv, downloadSvg, figureMarkup, layouts, page } from "./report/page.js";
import { boundaryTable, clockCsv, clockTable, curveTable, scrolling } from "./report/tables.js";
import { drawTimeline } from "./report/timeline.js";

export interface ReportOptions {
  /** Heading of the page, default: the last part of `analysis.config.source`. */
  readonly title?: string;
}

/**
 * Renders an analysis as an HTML page of its own (UTF-8, about 0.4 MB). Estimates without a value show their status.
 * Drawing libraries are loaded on the first call.
 * @throws RegimesError E_OPTION for an unknown option.
 */
export function renderReport(analysis: Analysis, options: ReportOptions = {}): string {
  checkOptionNames("renderReport", options, ["title"]);
  const title = options.title ?? lastPart(analysis.config.source);
  const top = headline(analysis);
  const collapse = collapseFigures(analysis, top);
  const speciation = speciationFigures(analysis, top);
  const body = html`<main>
<header>
<p class="kicker">Dynamical regimes of diffusion</p>
<h1>${title}</h1>
<p class="lede">${prose(symbolic(top.sentence))}</p>
${timelineFigure(analysis, top)}
${facts(analysis)}
${warnings(analysis)}
</header>
<section aria-labelledby="times">
<h2 id="times">Critical times</h2>
<p class="prose">${prose(
    "Time is that of the Ornstein-Uhlenbeck process: *x* = e^{\u2212t} x_0 + \u221a(1 \u2212 e^{\u22122t}) *z*, " +
      "with the data at *t*\u00a0=\u00a00. A process with another schedule passes the same noise levels at other times; " +
      "the second table tells them. " +
      "Every criterion answers a slightly different question, so their times differ.",
  )}</p>
${scrolling("The two boundaries", boundaryTable(top))}
${scrolling("All criteria in all clocks", clockTable(analysis))}
<p class="downloads">${downloadCsv("critical-times", clockCsv(analysis), "Critical times")}</p>
</section>
<section aria-labelledby="collapse">
<h2 id="collapse">Collapse: when a sample falls onto a datum</h2>
${collapse.map((figure, k) => figureMarkup(figure, k + 1))}
</section>
<section aria-labelledby="speciation">
<h2 id="speciation">Speciation: when a sample chooses its class</h2>
${speciation.map((figure, k) => figureMarkup(figure, collapse.length + k + 1))}
</section>
<section aria-labelledby="computed">
<h2 id="computed">How this was computed</h2>
${record(analysis)}
<details><summary>All numbers of the curves</summary>${scrolling("The curves as numbers", curveTable(analysis))}</details>
${sources(analysis)}
</section>
<footer>Written by diffusion-regimes ${analysis.meta.version}. This page is complete: it opens offline and asks for nothing.
${download("analysis.json", "application/json", `${JSON.stringify(analysis, null, 1)}\n`, "The analysis as JSON", "As JSON")}</footer>
</main>`;
  return page(title, body);
}

/** Name for the page from a path of either kind of system. */
function lastPart(source: string): string {
  return source.split(/[/\\]/).findLast((part) => part !== "") ?? source;
}

/** "t = " in plain sentences becomes the symbol of mathematics. */
function symbolic(sentence: string): string {
  return sentence.replace(/\bt = /g, "*t*\u00a0=\u00a0").replace("large t", "large *t*");
}

function timelineFigure(analysis: Analysis, top: Headline): Markup {
  const draw = (layout: Layout): string => drawTimeline(top, analysis.result.curves.ouTime, layout);
  const { speciation, speciationTime, collapse, collapseTime } = top;
  const wide = draw("wide");
  const criteria = [speciationTime, collapseTime].flatMap((time, k) =>
    time === null ? [] : [`${["t_S", "t_C"][k]} by ${time.criterion}`],
  );
  const hollow =
    (speciation.theory.value !== null && speciation.theory !== speciationTime) ||
    (collapse.theory.value !== null && collapse.theory !== collapseTime);
  return html`<figure class="timeline" id="figure-regimes">
${layouts(wide, draw("narrow"))}
<figcaption>${prose(
    "The regimes, drawn to scale in OU time: I, noise that could become anything; II, the class is chosen, the datum is not; " +
      "III, memory: the sample is a datum of the set with noise on it. " +
      (criteria.length === 0 ? "" : `Lines: ${criteria.join(", ")}; grey, the 95 % intervals. `) +
      (hollow ? "Triangles: the same boundaries by theory." : ""),
  )} <span class="downloads">${downloadSvg("regimes", wide, "The regimes")}</span></figcaption>
</figure>`;
}

function facts({ config, result }: Analysis): Markup {
  const entry = (term: string, value: string, note: string): Markup =>
    html`<div><dt>${prose(term)}</dt><dd>${value}<small>${note}</small></dd></div>`;
  const { classValues } = result;
  const leading = result.spectrum.eigenvalues[0];
  return html`<dl class="facts">
${entry("data, *n*", count(result.n), result.distinctRows === result.n ? "all distinct" : `${count(result.distinctRows)} distinct`)}
${entry("dimensions, *d*", count(result.d), result.imageShape === null ? "" : `${result.imageShape.map(count).join(" \u00d7 ")} pixels`)}
${entry("\u03b1 = log(*n*)/*d*", significant(result.alpha, 4), "nats per dimension")}
${classValues === null ? entry("classes", "none", "no labels given") : entry("classes", count(classValues.length), classNames(classValues))}
${entry("leading variance, \u039b", leading === undefined ? "none" : estimateText(leading), `of ${short(result.spectrum.trace, 4)} in all`)}
${entry("draws", count(config.draws), `at each of ${count(result.curves.ouTime.length)} times`)}
</dl>`;
}

function classNames(values: readonly number[]): string {
  const [first, last] = [values[0]!, values.at(-1)!];
  const whole = last - first === values.length - 1;
  return values.length > 2 && (whole || values.length > 12) ? `labels ${first} to ${last}` : `labels ${values.join(", ")}`;
}

function warnings({ warnings: all }: Analysis): Markup {
  const counted = new Map<string, number>();
  for (const warning of all) counted.set(warning, (counted.get(warning) ?? 0) + 1);
  if (counted.size === 0) return html``;
  const title = counted.size === 1 ? "One warning" : `${count(counted.size)} warnings`;
  const items = Array.from(counted, ([warning, times]) => html`<li>${warning}${times > 1 ? ` (${count(times)} times)` : ""}</li>`);
  return html`<aside class="warnings" aria-label="Warnings"><h3>${title}</h3><ul>${items}</ul></aside>`;
}

function record(analysis: Analysis): Markup {
  const { config, result, timing, meta } = analysis;
  const list = (title: string, entries: readonly (readonly [string, string | Markup])[]): Markup =>
    html`<div><h3>${title}</h3><dl>${entries.map(([term, value]) => html`<dt>${term}</dt><dd>${value}</dd>`)}</dl></div>`;
  const duplicates = result.n - result.distinctRows;
  return html`<div class="record">
${list("Data", [
  ["source", config.source],
  ["rows \u00d7 dimensions", `${count(result.n)} \u00d7 ${count(result.d)}`],
  ["duplicates", duplicates === 0 ? "none" : `${count(duplicates)} rows (${percent(duplicates / result.n)}) repeat another row`],
  ["scale", scaleWords(result.scale)],
  ["classes", config.classes === null ? (result.classValues === null ? "no labels" : "all") : `only ${config.classes.join(", ")}`],
  ["fingerprint", html`<code>${result.fingerprint}</code>`],
])}
${list("Settings", [
  ["process", processWords(config)],
  [
    "times",
    `${count(config.times.length)}, from ${short(config.times[0] ?? Number.NaN, 4)} to ${short(config.times.at(-1) ?? Number.NaN, 4)}`,
  ],
  ["draws", `${count(config.draws)}, the same at all times`],
  ["seed", config.seed],
  ["precision", config.precision],
  ["collapse threshold", `${short(config.threshold, 3)} of \u03b1`],
])}
${list("Machine", [
  ["version", meta.version],
  ["instruction set", `${meta.backend}: ${meta.backendReason}`],
  ["threads", count(meta.threads)],
  ["Node.js", meta.node],
  ["platform", meta.platform],
  ["date", meta.date],
])}
${list("Time taken", [
  ...(timing.openMs === undefined ? [] : [["opening the data", duration(timing.openMs)] as const]),
  ["spectrum", duration(timing.spectrumMs)],
  ["sweep over the times", duration(timing.sweepMs)],
  ["in all", duration(timing.totalMs)],
])}
</div>`;
}

function processWords({ process, processParameters }: Analysis["config"]): string {
  const told = Object.entries(processParameters).map(([name, value]) => `${name} ${typeof value === "number" ? short(value, 6) : value}`);
  return told.length === 0 ? process : `${process} (${told.join(", ")})`;
}

function scaleWords(scale: Analysis["result"]["scale"]): string {
  if (scale.name === "none") return "none: values as they are stored";
  const shift = scale.shift === 0 ? "" : ` ${scale.shift < 0 ? "\u2212" : "+"}\u00a0${short(Math.abs(scale.shift), 6)}`;
  return `${scale.name}: value = ${short(scale.scale, 6)}\u00a0\u00d7\u00a0stored${shift}`;
}

/** The works behind the criteria, the score, the draws, the process and the embedded data. */
function sources({ config }: Analysis): Markup {
  const schedule = `${config.processParameters["schedule"]} schedule`;
  const parts = ["speciation", "collapse", "score", "random numbers", config.process, schedule, config.source].filter((part) =>
    Object.hasOwn(restsOn, part),
  );
  const bibtex = citationsFor(parts.flatMap((part) => restsOn[part as keyof typeof restsOn]));
  return html`<div class="sources"><h3>Please cite</h3>
<pre role="region" aria-label="Citations as BibTeX" tabindex="0">${bibtex}</pre>
<p class="downloads">${download("sources.bib", "application/x-bibtex", bibtex, "Sources as BibTeX", "BibTeX")}</p></div>`;
}
