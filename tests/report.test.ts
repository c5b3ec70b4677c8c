/** The report as a file: complete, inert, the same bytes each time, and honest about what has no value. */
import { createHash } from "node:crypto";
import { parseHTML } from "linkedom";
import { describe, expect, it } from "vitest";
import type { Analysis } from "../lib/analysis.js";
import type { Estimate } from "../lib/estimate.js";
import type { Clocks } from "../lib/process.js";
import { headline } from "../lib/report/headline.js";
import { csv, escapeHtml, html, prose } from "../lib/report/markup.js";
import { count, estimateText, intervalText, short, significant } from "../lib/report/numbers.js";
import { renderReport } from "../lib/report.js";
import { digitsLike, without } from "./report.fixture.js";

const slugs = ["regimes", "excess-entropy", "collapse-cloning", "effective-count", "speciation-cloning", "class-entropy", "spectrum"];
const hostile = "</script><img src=x onerror=alert(1)>.npy";

const open = (page: string): Document => parseHTML(page).document as unknown as Document;
const ok = (value: number, standardError: number): Estimate => ({
  value,
  standardError,
  ci95: [value - 1.96 * standardError, value + 1.96 * standardError],
  status: "ok",
});
/** What a click on the download of this name saves. */
function saved(document: Document, name: string): string {
  const link = [...document.querySelectorAll("a")].find((candidate) => candidate.getAttribute("download") === name);
  return Buffer.from(link!.getAttribute("href")!.split(";base64,")[1]!, "base64").toString("utf8");
}
function withResult(change: (result: Analysis["result"]) => Partial<Analysis["result"]>): Analysis {
  return digitsLike((analysis) => ({ ...analysis, result: { ...analysis.result, ...change(analysis.result) } }));
}
function unlabelled(): Analysis {
  return withResult(({ curves, speciationTime }) => ({
    classValues: null,
    classFractions: null,
    curves: { ...curves, speciationCloning: null, classEntropyOverPrior: null },
    speciationTime: { spectral: speciationTime.spectral, cloning: null, kappa: null, "entropy-rate": null },
  }));
}
/** Nothing could be estimated, as for one row or for a mixture. */
function withoutValues(): Analysis {
  const none = (): Estimate => ({ value: null, standardError: null, ci95: null, status: "one row: collapsed at every t" });
  return withResult(({ curves }) => ({
    n: 1,
    alpha: 0,
    distinctRows: 1,
    spectrum: { eigenvalues: [], trace: 0 },
    curves: {
      ouTime: curves.ouTime,
      excessEntropyOverAlpha: curves.ouTime.map(none),
      collapseCloning: curves.ouTime.map(none),
      effectiveCount: curves.ouTime.map(none),
      speciationCloning: curves.ouTime.map(none),
      classEntropyOverPrior: curves.ouTime.map(none),
    },
    theory: { excessEntropyOverAlpha: null },
    speciationTime: {
      spectral: without("spectral", "top eigenvalue 0.83 <= 1: no speciation"),
      cloning: without("cloning", "phi stays above 0.775 on the grid: extend times"),
      kappa: without("kappa", "one class"),
      "entropy-rate": without("entropy-rate", "the class entropy is steepest at an end: extend times"),
    },
    collapseTime: {
      "excess-entropy": without("excess-entropy", "one row: collapsed at every t"),
      cloning: without("cloning", "one row: collapsed at every t"),
      population: without("population", "one row: collapsed at every t"),
    },
  }));
}

describe("renderReport", () => {
  it("gives the same bytes for the same analysis", () => {
    expect(renderReport(digitsLike())).toBe(renderReport(digitsLike()));
  });

  it("holds every figure twice, for a page and for a phone, each with a text alternative and a caption", () => {
    const document = open(renderReport(digitsLike()));
    for (const slug of slugs) {
      const figure = document.getElementById(`figure-${slug}`)!;
      const drawings = [...figure.querySelectorAll("svg")];
      expect(drawings.map((svg) => `${slug} ${svg.getAttribute("class")}`)).toEqual([`${slug} wide`, `${slug} narrow`]);
      for (const svg of drawings) {
        expect(svg.getAttribute("role")).toBe("img");
        expect(svg.getAttribute("aria-label")!.length).toBeGreaterThan(40);
        expect(svg.getAttribute("viewBox")).toMatch(/^0 0 \d+ \d+$/);
        expect(svg.querySelectorAll("path, rect, circle, line").length).toBeGreaterThan(4);
      }
      expect(figure.querySelector("figcaption")!.textContent!.length).toBeGreaterThan(100);
    }
  });

  it("says in one sentence when samples choose and when they fall", () => {
    const lede = open(renderReport(digitsLike())).querySelector(".lede")!.textContent!.replaceAll("\u00a0", " ");
    const { speciationTime, collapseTime } = digitsLike().result;
    const [choose, fall] = [speciationTime.cloning!.value!, collapseTime["excess-entropy"].value!];
    expect(lede).toContain(`choose their class near t = ${choose.toFixed(2)} and fall onto single data below t = ${fall.toFixed(2)}.`);
  });

  it("lists every criterion with its value, interval, method and all clocks", () => {
    const text = open(renderReport(digitsLike())).querySelector(".clocks")!.textContent!.replaceAll("\u00a0", " ");
    const { speciationTime, collapseTime } = digitsLike().result;
    for (const time of [...Object.values(speciationTime), ...Object.values(collapseTime)]) {
      expect(text).toContain(estimateText(time!).replaceAll("\u00a0", " "));
      expect(text).toContain(intervalText(time!).replaceAll("\u00a0", " "));
      const { sigma, logSnr, ddpmStep, vpTime, flowTime } = time!.clocks!;
      for (const clock of [sigma, logSnr, ddpmStep!, vpTime!, flowTime]) expect(text).toContain(significant(clock, 4));
    }
    expect(text).toContain("standard error over rows (delta method)");
  });

  it("adds the process's own clock unless it is one of those that are there", () => {
    const told = (processTime: (time: { readonly value: number | null; readonly clocks: Clocks | null }) => number): string => {
      const analysis = withResult(({ collapseTime, speciationTime }) => {
        const change = <T extends object>(times: T): T =>
          Object.fromEntries(Object.entries(times).map(([name, time]) => [name, { ...time, processTime: processTime(time) }])) as T;
        return { collapseTime: change(collapseTime), speciationTime: change(speciationTime) };
      });
      const page = renderReport({ ...analysis, config: { ...analysis.config, process: "cosine" } });
      return open(page).querySelector(".clocks thead")!.textContent!;
    };
    expect(told(({ value }) => value! / 7)).toContain("cosine time");
    expect(told(({ value }) => value!)).not.toContain("cosine time");
    expect(told(({ clocks }) => clocks!.sigma)).not.toContain("cosine time");
  });

  it("loads nothing: no script, no address of the net in an attribute, a policy that allows its own style alone", () => {
    const page = renderReport(digitsLike());
    const document = open(page);
    expect(document.querySelectorAll("script, iframe, object, embed, base, form, img, style[src], link[rel=stylesheet]").length).toBe(0);
    const attributes = [...document.querySelectorAll("*")].flatMap((element) => [...element.attributes]);
    expect(attributes.filter(({ name }) => /^(on|style$)/.test(name))).toEqual([]);
    expect(attributes.filter(({ value }) => /https?:/.test(value))).toEqual([]);
    const addresses = attributes.filter(({ name }) => /^(href|src|srcset|action|poster|data|background|xlink:href)$/.test(name));
    expect(addresses.length).toBeGreaterThan(10);
    expect(addresses.filter(({ value }) => !/^(data:|#)/.test(value))).toEqual([]);
    const style = document.querySelector("style")!.textContent!;
    expect(style).not.toMatch(/url\(|@import|https?:/);
    const policy = document.querySelector("meta[http-equiv]")!.getAttribute("content")!;
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain(`style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'`);
    expect(policy).not.toContain("unsafe-inline");
    // Plain text addresses are those of the BibTeX entries.
    expect(page.replace(/<pre[^>]*>[\s\S]*?<\/pre>/g, "")).not.toMatch(/https?:\/\//);
  });

  it("shows a hostile name as text, everywhere", () => {
    const page = renderReport(
      digitsLike((analysis) => ({
        ...analysis,
        config: { ...analysis.config, source: hostile, process: hostile, seed: hostile },
        result: {
          ...analysis.result,
          fingerprint: hostile,
          speciationTime: { ...analysis.result.speciationTime, spectral: without(hostile, hostile) },
        },
        warnings: [hostile],
        meta: {
          ...analysis.meta,
          version: hostile,
          backend: hostile,
          backendReason: hostile,
          node: hostile,
          platform: hostile,
          date: hostile,
        },
      })),
    );
    expect(page).not.toContain("<img");
    expect(page).not.toContain("</script");
    const document = open(page);
    expect(document.querySelectorAll("img, script").length).toBe(0);
    // The heading is the last part of a path, and this name has a slash in it.
    expect(document.querySelector("h1")!.textContent).toBe("script><img src=x onerror=alert(1)>.npy");
    expect(document.querySelector(".record")!.textContent).toContain(hostile);
    expect(document.querySelector(".warnings")!.textContent).toContain(hostile);
    for (const slug of slugs.filter((name) => document.getElementById(`figure-${name}`)?.matches("figure"))) {
      expect(saved(document, `${slug}.svg`)).not.toContain("<img");
    }
  });

  it("keeps a title given by the caller inert and refuses options it does not know", () => {
    expect(open(renderReport(digitsLike(), { title: `"${hostile}'` })).querySelector("title")!.textContent).toBe(
      `"${hostile}': dynamical regimes`,
    );
    expect(() => renderReport(digitsLike(), { titel: "x" } as object)).toThrow(/E_OPTION.*"titel".*"title"/);
  });

  it("writes for data without labels and says what labels would add", () => {
    const document = open(renderReport(unlabelled()));
    for (const slug of ["speciation-cloning", "class-entropy"]) {
      const slot = document.getElementById(`figure-${slug}`)!;
      expect(slot.querySelector("svg")).toBeNull();
      expect(slot.textContent).toContain("--labels FILE");
    }
    expect(document.querySelector(".facts")!.textContent).toContain("no labels given");
    expect(document.querySelector(".lede")!.textContent).toContain("commit to the main direction of the data");
    expect(document.querySelectorAll(".clocks tbody th").length).toBe(4);
  });

  it("shows the status where there is no value, never NaN, null or undefined", () => {
    for (const analysis of [withoutValues(), unlabelled(), digitsLike()]) {
      const document = open(renderReport(analysis));
      const visible = document.querySelector("main")!.textContent!;
      expect(visible).not.toMatch(/\b(NaN|null|undefined|Infinity)\b/);
      for (const attribute of ["d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "transform", "points"]) {
        for (const element of document.querySelectorAll(`svg [${attribute}]`))
          expect(element.getAttribute(attribute)).not.toMatch(/NaN|Infinity|undefined|null/);
      }
    }
    const document = open(renderReport(withoutValues()));
    expect(document.querySelector(".clocks")!.textContent).toContain("top eigenvalue 0.83 \u2264 1: no speciation");
    expect(document.getElementById("figure-excess-entropy")!.textContent).toContain("one row: collapsed at every t");
    expect(document.querySelector(".lede")!.textContent).toContain("bound to the same datum at every t");
    expect(document.getElementById("figure-regimes")!.querySelectorAll("svg").length).toBe(2);
  });

  it("draws what is left when single times of a curve have no value", () => {
    const document = open(
      renderReport(
        withResult(({ curves }) => ({
          curves: {
            ...curves,
            collapseCloning: curves.collapseCloning.map((estimate, k) =>
              k % 5 === 0 ? { value: null, standardError: null, ci95: null, status: "too few draws" } : estimate,
            ),
          },
        })),
      ),
    );
    expect(document.getElementById("figure-collapse-cloning")!.querySelectorAll("svg.wide circle").length).toBe(curvesLength() - 5 + 1);
    const lines = saved(document, "collapse-cloning.csv").trim().split("\r\n");
    expect(lines.length).toBe(1 + curvesLength());
    expect(lines[1]).toMatch(/^0\.02\d*,,,,,too few draws$/);
  });

  it("tells when collapse comes before speciation", () => {
    const { sentence, regimes } = headline(
      withResult(({ speciationTime, collapseTime }) => ({
        speciationTime: { ...speciationTime, cloning: { ...speciationTime.cloning!, ...ok(0.3, 0.01) } },
        collapseTime: { ...collapseTime, "excess-entropy": { ...collapseTime["excess-entropy"], ...ok(0.5, 0.01) } },
      })),
    );
    expect(sentence).toContain("fall onto single data below t = 0.50 already, before they could choose their class near t = 0.30");
    expect(regimes.map(({ numeral }) => numeral)).toEqual(["III", "I"]);
  });

  it("does not order two times whose intervals meet", () => {
    const { sentence } = headline(
      withResult(({ speciationTime, collapseTime }) => ({
        speciationTime: { ...speciationTime, cloning: { ...speciationTime.cloning!, ...ok(0.48, 0.02) } },
        collapseTime: { ...collapseTime, "excess-entropy": { ...collapseTime["excess-entropy"], ...ok(0.5, 0.01) } },
      })),
    );
    expect(sentence).toContain("at about the same time, near t = 0.48 and t = 0.50");
  });

  it("reads its headline off the measurement, and off theory where there is none", () => {
    const top = headline(unlabelled());
    expect(top.speciationTime!.criterion).toBe("spectral");
    expect(headline(digitsLike()).speciationTime!.criterion).toBe("cloning");
  });

  it("says that a boundary lies beyond the times looked at, and does not put theory in its place", () => {
    const kept = (analysis: Analysis, from: number, to: number): Analysis => {
      const { result } = analysis;
      const cut = <T>(values: readonly T[] | null): T[] => values!.slice(from, to);
      const { curves } = result;
      const none = { value: null, standardError: null, ci95: null, status: "stays on one side", clocks: null, processTime: null };
      return {
        ...analysis,
        result: {
          ...result,
          curves: {
            ouTime: cut(curves.ouTime),
            excessEntropyOverAlpha: cut(curves.excessEntropyOverAlpha),
            collapseCloning: cut(curves.collapseCloning),
            effectiveCount: cut(curves.effectiveCount),
            speciationCloning: cut(curves.speciationCloning),
            classEntropyOverPrior: cut(curves.classEntropyOverPrior),
          },
          theory: { excessEntropyOverAlpha: cut(result.theory.excessEntropyOverAlpha) },
          speciationTime: { ...result.speciationTime, cloning: { ...result.speciationTime.cloning!, ...none } },
          collapseTime: {
            ...result.collapseTime,
            "excess-entropy": { ...result.collapseTime["excess-entropy"], ...none },
            cloning: { ...result.collapseTime.cloning, ...none },
          },
        },
      };
    };
    const { ouTime } = digitsLike().result.curves;
    const late = headline(kept(digitsLike(), 20, 24));
    const first = short(ouTime[20]!, 4);
    expect([late.speciationTime, late.collapseTime]).toEqual([null, null]);
    expect(late.sentence).toContain(`choose their class below t = ${first}, the smallest time looked at, and fall onto single data below t = ${first}`);
    expect(late.regimes.map(({ word, from, to }) => [word, from, to])).toEqual([
      ["not looked at", 0, ouTime[20]],
      ["noise", ouTime[20], Infinity],
    ]);
    const early = headline(kept(digitsLike(), 0, 4));
    const last = short(ouTime[3]!, 4);
    expect(early.sentence).toContain(`choose their class above t = ${last}, the largest time looked at, and fall onto single data above t = ${last}`);
    expect(early.regimes.map(({ word }) => word)).toEqual(["memory", "not looked at"]);
    // Where rows repeat, the entropy may stay up for ever.
    const repeated = kept(withResult(() => ({ distinctRows: 900 })), 20, 24);
    expect(headline(repeated).sentence).toContain("no time was found at which they fall onto single data");
    expect(renderReport(repeated)).toContain("</html>");
  });

  it("names theory where it stands in for a measurement that says nothing", () => {
    const { sentence } = headline(
      withResult(({ collapseTime }) => ({
        collapseTime: {
          ...collapseTime,
          "excess-entropy": without("excess-entropy", "the slope is not resolved"),
          cloning: without("cloning", "the slope is not resolved"),
        },
      })),
    );
    expect(sentence).toMatch(/fall onto single data below t = 0\.\d\d \(by theory\)\.$/);
  });

  it("speaks of classes only where there are two, and of one datum where all rows are one", () => {
    const one = withResult(({ speciationTime }) => ({
      classValues: [3],
      classFractions: [1],
      speciationTime: {
        spectral: speciationTime.spectral,
        cloning: without("cloning", "one class: there is nothing to choose between"),
        kappa: without("kappa", "one class: there is nothing to choose between"),
        "entropy-rate": without("entropy-rate", "one class: there is nothing to choose between"),
      },
    }));
    expect(headline(one).sentence).toContain("commit to the main direction of the data near t = 0.80 (by theory)");
    expect(headline(withoutValues()).sentence).toMatch(/bound to the same datum at every t, since the data are one row\.$/);
    const silent = withoutValues();
    const { sentence } = headline({ ...silent, result: { ...silent.result, n: 5, distinctRows: 5 } });
    expect(sentence).toMatch(/neither a time at which samples choose their class nor one at which they fall onto single data was found\.$/);
    const equal = headline(withResult(() => ({ distinctRows: 1 })));
    expect(equal.sentence).toMatch(/at every t, since all rows are equal\.$/);
    expect(equal.regimes).toMatchObject([{ word: "memory", from: 0, to: Infinity }]);
  });

  it("cites what the schedule rests on, and tells it", () => {
    const page = (processParameters: Record<string, string | number>): string =>
      renderReport(digitsLike((analysis) => ({ ...analysis, config: { ...analysis.config, process: "ddpm", processParameters } })));
    const cosine = page({ schedule: "cosine", steps: 1000, s: 0.008 });
    expect(saved(open(cosine), "sources.bib")).toMatch(/\{ho2020,[\s\S]*\{nichol2021,/);
    expect(cosine).toContain("ddpm (schedule cosine, steps 1000, s 0.008)");
    expect(saved(open(page({ schedule: "linear", steps: 1000 })), "sources.bib")).not.toContain("nichol2021");
  });

  it("offers drawings and numbers that are complete files", () => {
    const document = open(renderReport(digitsLike()));
    const svg = saved(document, "excess-entropy.svg");
    expect(svg).toMatch(/^<\?xml[^>]*\?>\n<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    expect(svg).not.toMatch(/var\(|<style|<script/);
    const numbers = saved(document, "excess-entropy.csv").trim().split("\r\n");
    expect(numbers[0]).toBe("ou_time,excess_entropy_over_alpha,standard_error,ci95_low,ci95_high,status,theory_gaussian_surrogate");
    expect(Number(numbers[1]!.split(",")[0])).toBe(digitsLike().result.curves.ouTime[0]);
    expect(Number(numbers[20]!.split(",")[1])).toBe(digitsLike().result.curves.excessEntropyOverAlpha[19]!.value);
    expect(JSON.parse(saved(document, "analysis.json"))).toEqual(JSON.parse(JSON.stringify(digitsLike())));
    expect(saved(document, "sources.bib")).toMatch(/^@\w+\{biroli2024,/);
  });

  it("puts an apostrophe before a name that a spreadsheet would run", () => {
    const page = renderReport(digitsLike((analysis) => ({ ...analysis, config: { ...analysis.config, source: "=HYPERLINK(0)" } })));
    expect(saved(open(page), "critical-times.csv").split("\r\n")[1]).toMatch(/^'=HYPERLINK\(0\),t_S,spectral,/);
  });

  it("counts a repeated warning once", () => {
    const page = renderReport(digitsLike((analysis) => ({ ...analysis, warnings: ["rows repeat", "few draws", "rows repeat"] })));
    const items = [...open(page).querySelectorAll(".warnings li")].map((item) => item.textContent);
    expect(items).toEqual(["rows repeat (2 times)", "few draws"]);
  });

  it("records how it was computed and what to cite", () => {
    const text = open(renderReport(digitsLike())).body.textContent!;
    const { meta, config, result } = digitsLike();
    for (const fact of [
      meta.version,
      meta.backend,
      meta.backendReason,
      meta.node,
      meta.platform,
      meta.date,
      config.seed,
      config.precision,
    ]) {
      expect(text).toContain(fact);
    }
    expect(text).toContain(result.fingerprint);
    expect(text).toMatch(/@article\{biroli2024,/);
    expect(text).toMatch(/@misc\{alpaydin1998,/);
  });
});

function curvesLength(): number {
  return digitsLike().result.curves.ouTime.length;
}

describe("numbers on the page", () => {
  it("carry two digits of their standard error", () => {
    expect(estimateText(ok(0.79913, 0.01374))).toBe("0.799\u00a0\u00b1\u00a00.014");
    expect(estimateText(ok(0.79913, 0.0996))).toBe("0.80\u00a0\u00b1\u00a00.10");
    expect(estimateText(ok(12345.6, 678))).toBe("12350\u00a0\u00b1\u00a0680");
    expect(estimateText(ok(-1.5, 0.25))).toBe("\u22121.50\u00a0\u00b1\u00a00.25");
    expect(estimateText(ok(1.2342e-7, 3.1e-9))).toBe(
      "1.234\u00a0\u00d7\u00a010\u207b\u2077\u00a0\u00b1\u00a00.031\u00a0\u00d7\u00a010\u207b\u2077",
    );
    expect(intervalText(ok(0.5, 0.01))).toBe("[0.480,\u00a00.520]");
  });

  it("have no error bar when they are exact, and give their status when there is no value", () => {
    const exact: Estimate = { value: 0.44068679, standardError: 0, ci95: [0.44068679, 0.44068679], status: "ok" };
    expect([estimateText(exact), intervalText(exact)]).toEqual(["0.44069", "closed form"]);
    const none: Estimate = { value: null, standardError: null, ci95: null, status: "no crossing" };
    expect([estimateText(none), intervalText(none)]).toEqual(["no crossing", ""]);
    expect(significant(Number.NaN, 3)).toBe("no value");
  });

  it("are grouped and shortened for reading", () => {
    expect([count(1797), count(60000), count(1234567)]).toEqual(["1797", "60\u202f000", "1\u202f234\u202f567"]);
    expect([short(0.2, 3), short(1, 3), short(100, 2), short(0.05, 3)]).toEqual(["0.2", "1", "100", "0.05"]);
    expect([significant(0, 3), significant(1e-9, 2), significant(3e8, 2)]).toEqual([
      "0",
      "1.0\u00a0\u00d7\u00a010\u207b\u2079",
      "3.0\u00a0\u00d7\u00a010\u2078",
    ]);
  });
});

describe("text on its way out", () => {
  it("is escaped by one function for text and attributes", () => {
    expect(escapeHtml(`<a href="x" title='y'>&</a>`)).toBe("&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;&lt;/a&gt;");
    expect(escapeHtml("a\u0000b\u001bc\u202etxt.exe\n\t")).toBe("a\\u{0}b\\u{1b}c\\u{202e}txt.exe\n\t");
    expect(String(html`<b>${"<i>"}</b>${html`<u>${"&"}</u>`}${[html`x`, html`<hr>`]}`)).toBe("<b>&lt;i&gt;</b><u>&amp;</u>x<hr>");
    expect(String(prose("<b> t_S, phi_C and e^{-2t} <= 1"))).toBe(
      "&lt;b&gt; <i>t</i><sub>S</sub>, <i>\u03c6</i><sub>C</sub> and e<sup>-2t</sup> \u2264 1",
    );
  });

  it("cannot become a formula in a spreadsheet, while negative numbers stay numbers", () => {
    expect(
      csv(
        ["a", "b"],
        [
          ["=1+1", -2],
          ["+1", 0.5],
          ["-1", null],
          ["@x", 1e-9],
        ],
      ),
    ).toBe("a,b\r\n'=1+1,-2\r\n'+1,0.5\r\n'-1,\r\n'@x,1e-9\r\n");
    expect(csv(['say "so"'], [["a,b"], ["line\nline"]])).toBe('"say ""so"""\r\n"a,b"\r\n"line\nline"\r\n');
  });
});
