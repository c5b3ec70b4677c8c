/**
 * What the pages of this library share: the document with its content security policy (its own style sheet, by hash, and data: images,
 * nothing else), figures with their captions, and downloads that work offline.
 */
import { createHash } from "node:crypto";
import { drawChart, standaloneSvg } from "./chart.js";
import type { AbsentFigure, Figure } from "./curve.js";
import { type Markup, dataUrl, html, prose, trusted } from "./markup.js";
import { count } from "./numbers.js";
import { STYLE } from "./style.js";

/** The whole document around `body`. */
export function page(title: string, body: Markup): string {
  const hash = createHash("sha256").update(STYLE).digest("base64");
  const policy = `default-src 'none'; style-src 'sha256-${hash}'; img-src data:; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>\n${html`<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>${title}: dynamical regimes</title>
<link rel="icon" href="data:,">
<style>${trusted(STYLE)}</style>
</head>
<body>
${body}
</body>
</html>
`}`;
}

/** A page with one section of figures under a heading and a sentence. */
export function studyPage({ title, kicker, sentence, section, figures }: {
  readonly title: string;
  readonly kicker: string;
  readonly sentence: string;
  readonly section: string;
  readonly figures: readonly Markup[];
}): string {
  return page(
    title,
    html`<main>
<header>
<p class="kicker">${kicker}</p>
<h1>${title}</h1>
<p class="lede">${prose(sentence)}</p>
</header>
<section aria-labelledby="figures">
<h2 id="figures">${section}</h2>
${figures}
</section>
<footer>This page is complete: it opens offline and asks for nothing.</footer>
</main>`,
  );
}

/** A figure with its number, caption and downloads, or why it is not there. */
export function figureMarkup(figure: Figure | AbsentFigure, ordinal: number): Markup {
  const heading = html`<h3><span class="ordinal">Figure ${count(ordinal)}.</span> ${figure.title}</h3>`;
  if ("absent" in figure)
    return html`<div class="absent" id="figure-${figure.slug}">${heading}<p class="status">${prose(figure.absent)}</p></div>`;
  const wide = drawChart(figure.chart, "wide");
  const name = `Figure ${ordinal}, ${figure.title}`;
  return html`<figure class="chart" id="figure-${figure.slug}">
<div class="drawing">${layouts(wide, drawChart(figure.chart, "narrow"))}</div>
<figcaption>${heading}<p>${figure.caption}</p>
<p class="downloads">${downloadSvg(figure.slug, wide, name)}${downloadCsv(figure.slug, figure.csv, name)}</p></figcaption>
</figure>`;
}

/** Both layouts of a drawing; the style sheet shows the one that fits. */
export function layouts(wide: string, narrow: string): Markup {
  return trusted(`${wide.replace("<svg ", '<svg class="wide" ')}\n${narrow.replace("<svg ", '<svg class="narrow" ')}`);
}

/** A link to `content` that works offline. */
export function download(file: string, mediaType: string, content: string, label: string, text: string): Markup {
  return html`<a download="${file}" href="${dataUrl(mediaType, content)}" aria-label="${label}">${text}</a>`;
}

export function downloadSvg(slug: string, drawing: string, name: string): Markup {
  return download(`${slug}.svg`, "image/svg+xml", standaloneSvg(drawing), `${name}, as SVG`, "SVG");
}

export function downloadCsv(slug: string, table: string, name: string): Markup {
  return download(`${slug}.csv`, "text/csv", table, `${name}, as CSV`, "CSV");
}
