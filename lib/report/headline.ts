/** What the page says first: the two boundaries, the regimes between them, and one sentence. */
import type { Analysis } from "../analysis.js";
import type { Colour } from "./palette.js";
import { short, significant } from "./numbers.js";

/** A critical time with its criterion, as the analysis holds it. */
export type Boundary = Analysis["result"]["speciationTime"]["spectral"];

/** A boundary as it was measured, and as theory has it from the covariance alone. */
export interface Transition {
  readonly measured: Boundary | null;
  readonly theory: Boundary;
}

/** An interval of OU time with one behaviour; `to` is Infinity for the noise. */
export interface Regime {
  readonly numeral: "I" | "II" | "III" | "";
  readonly word: string;
  readonly colour: Colour;
  readonly from: number;
  readonly to: number;
}

export interface Headline {
  readonly speciation: Transition;
  readonly collapse: Transition;
  /** The times drawn and told: measured where there is a measurement, theory where nothing measured says otherwise; else null. */
  readonly speciationTime: Boundary | null;
  readonly collapseTime: Boundary | null;
  readonly regimes: readonly Regime[];
  /** Plain words, without markup. */
  readonly sentence: string;
}

/** What is known of one boundary. */
interface Finding {
  readonly time: Boundary | null;
  /** Where the time comes from unless it is the first choice, in brackets. */
  readonly source: string;
  /** Without a time: the measured curve puts it below the first or above the last of the times. */
  readonly beyond: "first" | "last" | null;
}

/** Reads the headline off an analysis. */
export function headline({ config, result }: Analysis): Headline {
  const { speciationTime: s, collapseTime: c, curves } = result;
  const speciation = { measured: s.cloning, theory: s.spectral };
  const collapse = { measured: c["excess-entropy"], theory: c.population };
  const range = { first: curves.ouTime[0]!, last: curves.ouTime.at(-1)! };
  const labelled = result.classValues !== null && result.classValues.length > 1;
  // The measured curves: the excess entropy rises with t, the probability that clones agree falls.
  const entropySide = side(curves.excessEntropyOverAlpha, collapse.measured.threshold ?? config.threshold);
  const collapseSide = entropySide ?? opposite[side(curves.collapseCloning, c.cloning.threshold ?? 0.5) ?? "neither"];
  // Repeated rows keep the entropy up, so that it may never fall to the threshold.
  const repeats = result.n - result.distinctRows > 0.01 * result.n;
  const agreement = labelled && s.cloning?.threshold !== undefined ? side(curves.speciationCloning ?? [], s.cloning.threshold) : null;
  // Classes that are never a width apart have no time to choose, whatever the widest direction of the data is.
  const inseparable = s.kappa !== null && s.kappa.status.endsWith("no speciation");
  const chosen = finding(
    [
      [s.cloning, ""],
      [agreement === null ? s.kappa : null, " (by kappa)"],
      [agreement === null && !inseparable ? s.spectral : null, " (by theory)"],
    ],
    agreement === null ? null : agreement === "above" ? "last" : "first",
  );
  const fallen = finding(
    [
      [c["excess-entropy"], ""],
      [c.cloning, " (by cloning)"],
      [collapseSide === null ? c.population : null, " (by theory)"],
    ],
    collapseSide === "above" ? (repeats ? null : "first") : collapseSide === null ? null : "last",
  );
  const choose = labelled ? "choose their class" : "commit to the main direction of the data";
  const always = result.distinctRows === 1;
  return {
    speciation,
    collapse,
    speciationTime: chosen.time,
    collapseTime: fallen.time,
    regimes: always ? [{ ...memory, from: 0, to: Number.POSITIVE_INFINITY }] : regimesBetween(chosen, fallen, range),
    sentence: always ? run + nothingElse(result.n) : sentence(chosen, fallen, choose, range),
  };
}

/** Every critical time of the analysis under its symbol, in the order of the tables; null ones (no labels) left out. */
export function boundaries({ result }: Analysis): { readonly symbol: "t_S" | "t_C"; readonly time: Boundary }[] {
  const { speciationTime: s, collapseTime: c } = result;
  return [
    ...[s.spectral, s.cloning, s.kappa, s["entropy-rate"]].map((time) => ({ symbol: "t_S" as const, time })),
    ...[c["excess-entropy"], c.cloning, c.population].map((time) => ({ symbol: "t_C" as const, time })),
  ].filter((row): row is { symbol: "t_S" | "t_C"; time: Boundary } => row.time !== null);
}

const opposite = { above: "below", below: "above", neither: null } as const;

/** Where a whole curve lies with respect to a level; null when it has no values or lies on both sides. */
function side(curve: readonly { readonly value: number | null }[], level: number): "above" | "below" | null {
  const values = curve.flatMap(({ value }) => (value === null ? [] : [value]));
  if (values.length === 0) return null;
  if (values.every((value) => value >= level)) return "above";
  return values.every((value) => value < level) ? "below" : null;
}

function finding(choices: readonly (readonly [Boundary | null, string])[], beyond: Finding["beyond"]): Finding {
  const hasValue = (choice: Boundary | null): boolean => choice !== null && choice.value !== null && Number.isFinite(choice.value);
  const [time, source] = choices.find(([choice]) => hasValue(choice)) ?? [null, ""];
  return { time, source, beyond: time === null ? beyond : null };
}

interface Range {
  readonly first: number;
  readonly last: number;
}

const memory = { numeral: "III", word: "memory", colour: "memory" } as const;

function regimesBetween(speciation: Finding, collapse: Finding, { first, last }: Range): Regime[] {
  const unseen = { numeral: "", word: "not looked at", colour: "noise" } as const;
  const end = Number.POSITIVE_INFINITY;
  const fallen = collapse.time?.value ?? (collapse.beyond === "last" ? last : 0);
  const start = collapse.beyond === "first" ? first : fallen;
  const chosen = Math.max(speciation.time?.value ?? { first, last, none: start }[speciation.beyond ?? "none"], start);
  const between = speciation.beyond === "first" ? unseen : ({ numeral: "II", word: "class", colour: "class" } as const);
  const found = { numeral: "I", word: "noise", colour: "noise" } as const;
  const after = speciation.beyond === "last" ? unseen : { numeral: "", word: "no boundary found", colour: "noise" } as const;
  const all: Regime[] = [
    { ...memory, from: 0, to: fallen },
    { ...unseen, from: fallen, to: start },
    { ...between, from: start, to: chosen },
    { ...(speciation.time !== null || speciation.beyond === "first" ? found : after), from: chosen, to: end },
  ];
  return all.filter(({ from, to }) => to > from);
}

/** Whether the 95 % intervals meet: then the order of the two times is not known. */
function overlap({ ci95: left }: Boundary, { ci95: right }: Boundary): boolean {
  return left !== null && right !== null && Math.max(left[0], right[0]) <= Math.min(left[1], right[1]);
}

const run = "Generation runs from noise (large t) to data (t = 0): ";

function nothingElse(n: number): string {
  return `samples are bound to the same datum at every t, since ${n === 1 ? "the data are one row" : "all rows are equal"}.`;
}

function sentence(speciation: Finding, collapse: Finding, choose: string, { first, last }: Range): string {
  const near = ({ time, source }: Finding): string => `${significant(time!.value!, 2)}${source}`;
  if (speciation.time !== null && collapse.time !== null) {
    if (overlap(speciation.time, collapse.time)) {
      return (
        `${run}samples ${choose} and fall onto single data at about the same time, near t = ${near(speciation)} and t = ` +
        `${near(collapse)}.`
      );
    }
    const fall = `fall onto single data below t = ${near(collapse)}`;
    return collapse.time.value! < speciation.time.value!
      ? `${run}samples ${choose} near t = ${near(speciation)} and ${fall}.`
      : `${run}samples ${fall} already, before they could ${choose} near t = ${near(speciation)}.`;
  }
  const outside = (beyond: Finding["beyond"]): string | null => {
    if (beyond === null) return null;
    return beyond === "first"
      ? `below t = ${short(first, 4)}, the smallest time looked at`
      : `above t = ${short(last, 4)}, the largest time looked at`;
  };
  const choosing = speciation.time !== null ? `near t = ${near(speciation)}` : outside(speciation.beyond);
  const falling = collapse.time !== null ? `below t = ${near(collapse)}` : outside(collapse.beyond);
  if (choosing !== null && falling !== null) return `${run}samples ${choose} ${choosing}, and fall onto single data ${falling}.`;
  if (choosing !== null) return `${run}samples ${choose} ${choosing}; no time was found at which they fall onto single data.`;
  if (falling !== null) return `${run}samples fall onto single data ${falling}; no time was found at which they ${choose}.`;
  return `${run}neither a time at which samples ${choose} nor one at which they fall onto single data was found.`;
}
