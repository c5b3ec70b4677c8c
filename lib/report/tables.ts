/** The tables of the page: boundaries with theory beside measurement, all criteria in all clocks, and all numbers of the curves. */
import type { Analysis } from "../analysis.js";
import type { Estimate } from "../estimate.js";
import { estimateCells } from "./curve.js";
import { type Boundary, type Headline, type Transition, boundaries } from "./headline.js";
import { type Markup, csv, html, prose } from "./markup.js";
import { estimateText, intervalText, significant } from "./numbers.js";

/** A table of the page: scrolls inside its own container where the window is too narrow for it. */
export function scrolling(label: string, table: Markup): Markup {
  return html`<div class="scroll" role="region" aria-label="${label}" tabindex="0">${table}</div>`;
}

/** The clocks of fixed schedules: linear, with the default rates. */
const ddpmTitle = "DDPM step (linear, 1000)";
const vpTitle = "VP time (linear)";

/** The two boundaries: theory beside measurement, and how each came about. */
export function boundaryTable(top: Headline): Markup {
  const told = (time: Boundary): Markup => html`${cell(time)}<small>${prose(time.method)}</small>`;
  const row = (name: string, { measured, theory }: Transition, missing: string): Markup => html`<tr>
      <th scope="row">${prose(name)}</th>
      <td data-label="theory">${told(theory)}</td>
      <td data-label="measured">${measured === null ? status(missing) : told(measured)}</td>
    </tr>`;
  return html`<table class="cards boundaries">
    <caption>The two boundaries in OU time, with 95 % intervals</caption>
    <thead><tr><th scope="col">boundary</th><th scope="col">theory</th><th scope="col">measured</th></tr></thead>
    <tbody>
    ${row("speciation, t_S", top.speciation, "not measured: the data have no labels")}
    ${row("collapse, t_C", top.collapse, "not measured")}
    </tbody>
  </table>`;
}

/** Every criterion, in every clock. */
export function clockTable(analysis: Analysis): Markup {
  const own = ownClock(analysis);
  const rows = boundaries(analysis).map(({ symbol, time }) => {
    const clocks = time.clocks;
    const told = (label: string, value: number | null | undefined): Markup => {
      const missing = status(time.value === null ? "" : "out of reach");
      return html`<td data-label="${label}" class="number">${value == null ? missing : significant(value, 4)}</td>`;
    };
    return html`<tr>
      <th scope="row">${prose(symbol)} ${time.criterion}</th>
      <td data-label="OU time" class="number">${cell(time)}</td>
      ${own === null ? "" : told(own, time.processTime)}
      ${told("\u03c3 = b/a", clocks?.sigma)}
      ${told("log SNR", clocks?.logSnr)}
      ${told(ddpmTitle, clocks?.ddpmStep)}
      ${told(vpTitle, clocks?.vpTime)}
      ${told("flow time", clocks?.flowTime)}
    </tr>
    <tr class="how"><td colspan="${own === null ? "7" : "8"}">${prose(time.method)}</td></tr>`;
  });
  return html`<table class="cards clocks">
    <caption>Every criterion in every clock; intervals in OU time</caption>
    <thead><tr>
      <th scope="col">criterion</th><th scope="col">OU time, 95 % interval</th>${own === null ? "" : column(own)}
      <th scope="col">\u03c3 = <i>b</i>/<i>a</i></th>${["log SNR", ddpmTitle, vpTitle, "flow time"].map(column)}
    </tr></thead>
    <tbody>${rows}</tbody>
  </table>`;
}

/** The critical times as CSV. */
export function clockCsv(analysis: Analysis): string {
  return csv(
    [
      "source",
      "boundary",
      "criterion",
      "ou_time",
      "standard_error",
      "ci95_low",
      "ci95_high",
      "status",
      "process_time",
      "sigma",
      "log_snr",
      "ddpm_step",
      "vp_time",
      "flow_time",
      "how",
    ],
    boundaries(analysis).map(({ symbol, time }) => [
      analysis.config.source,
      symbol,
      time.criterion,
      ...estimateCells(time),
      time.processTime,
      ...[time.clocks?.sigma, time.clocks?.logSnr, time.clocks?.ddpmStep, time.clocks?.vpTime, time.clocks?.flowTime].map(
        (value) => value ?? null,
      ),
      time.method,
    ]),
  );
}

/** The curves as numbers, one row per time. */
export function curveTable({ result }: Analysis): Markup {
  const { curves, theory } = result;
  const columns: { title: string; values: readonly Estimate[] }[] = [
    { title: "excess entropy / \u03b1", values: curves.excessEntropyOverAlpha },
    { title: "collapse cloning", values: curves.collapseCloning },
    { title: "effective number", values: curves.effectiveCount },
    ...(curves.speciationCloning === null ? [] : [{ title: "speciation cloning", values: curves.speciationCloning }]),
    ...(curves.classEntropyOverPrior === null ? [] : [{ title: "class entropy / prior", values: curves.classEntropyOverPrior }]),
  ];
  const surrogate = theory.excessEntropyOverAlpha;
  const number = (content: string | Markup): Markup => html`<td class="number">${content}</td>`;
  const row = (t: number, k: number): Markup => html`<tr><th scope="row">${significant(t, 4)}</th>
    ${columns.map(({ values }) => number(values[k] === undefined ? "" : numberOrStatus(values[k])))}
    ${surrogate === null ? "" : number(significant(surrogate[k] ?? Number.NaN, 4))}</tr>`;
  return html`<table>
    <caption>The curves, value \u00b1 standard error</caption>
    <thead><tr>
      ${column("OU time")}${columns.map(({ title }) => column(title))}${surrogate === null ? "" : column("theory, f/\u03b1")}
    </tr></thead>
    <tbody>${curves.ouTime.map(row)}</tbody>
  </table>`;
}

function cell(estimate: Estimate): Markup {
  if (estimate.value === null) return numberOrStatus(estimate);
  const interval = intervalText(estimate);
  const beside = interval === "" ? "" : html` <span class="interval">${interval}</span>`;
  return html`<span class="value">${estimateText(estimate)}</span>${beside}`;
}

function column(title: string): Markup {
  return html`<th scope="col">${title}</th>`;
}

function status(words: string): Markup {
  return html`<span class="status">${prose(words)}</span>`;
}

function numberOrStatus(estimate: Estimate): Markup {
  return estimate.value === null ? status(estimate.status) : html`${estimateText(estimate)}`;
}

/** The process's own clock where it is none of the columns already there. */
function ownClock(analysis: Analysis): string | null {
  const shown = ["ouTime", "sigma", "ddpmStep", "vpTime", "flowTime"] as const;
  const same = (left: number | null, right: number | null): boolean =>
    left === right || (left !== null && right !== null && Math.abs(left - right) <= 1e-9 * Math.abs(left));
  const times = boundaries(analysis).map(({ time }) => time);
  const told = shown.some((clock) => times.every(({ processTime, clocks }) => same(processTime, clocks?.[clock] ?? null)));
  return told ? null : `${analysis.config.process} time`;
}
