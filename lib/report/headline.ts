/** What the page says first: the two boundaries, the regimes between them, and one sentence. */
import type { Analysis } from "../analysis.js";
import type { Colour } from "./palette.js";
import { significant } from "./numbers.js";

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
  /** The times drawn and told: measured where there is a measurement, else theory; null where there is neither. */
  readonly speciationTime: Boundary | null;
  readonly collapseTime: Boundary | null;
  readonly regimes: readonly Regime[];
  /** Plain words, without markup. */
  readonly sentence: string;
}

/** Reads the headline off an analysis. */
export function headline({ result }: Analysis): Headline {
  const speciation = { measured: result.speciationTime.cloning, theory: result.speciationTime.spectral };
  const collapse = { measured: result.collapseTime["excess-entropy"], theory: result.collapseTime.population };
  const speciationTime = firstWithValue([speciation.measured, result.speciationTime.kappa, speciation.theory]);
  const collapseTime = firstWithValue([collapse.measured, result.collapseTime.cloning, collapse.theory]);
  return {
    speciation,
    collapse,
    speciationTime,
    collapseTime,
    regimes: regimesBetween(speciationTime?.value ?? null, collapseTime?.value ?? null),
    sentence: sentence(speciationTime, collapseTime, result.classValues !== null),
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

function firstWithValue(times: readonly (Boundary | null)[]): Boundary | null {
  return times.find((time) => time !== null && time.value !== null && Number.isFinite(time.value)) ?? null;
}

function regimesBetween(speciation: number | null, collapse: number | null): Regime[] {
  const memory = collapse ?? 0;
  const first = Math.max(speciation ?? memory, memory);
  const all: Regime[] = [
    { numeral: "III", word: "memory", colour: "memory", from: 0, to: memory },
    { numeral: "II", word: "class", colour: "class", from: memory, to: first },
    speciation === null
      ? { numeral: "", word: "no boundary found", colour: "noise", from: first, to: Number.POSITIVE_INFINITY }
      : { numeral: "I", word: "noise", colour: "noise", from: first, to: Number.POSITIVE_INFINITY },
  ];
  return all.filter(({ from, to }) => to > from);
}

/** Whether the 95 % intervals meet: then the order of the two times is not known. */
function overlap({ ci95: left }: Boundary, { ci95: right }: Boundary): boolean {
  return left !== null && right !== null && Math.max(left[0], right[0]) <= Math.min(left[1], right[1]);
}

function sentence(speciation: Boundary | null, collapse: Boundary | null, labelled: boolean): string {
  const run = "Generation runs from noise (large t) to data (t = 0): ";
  const near = (time: Boundary): string => significant(time.value!, 2);
  const choose = labelled ? "choose their class" : "commit to the main direction of the data";
  if (speciation !== null && collapse !== null) {
    if (overlap(speciation, collapse)) {
      return (
        `${run}samples ${choose} and fall onto single data at about the same time, near t = ${near(speciation)} and t = ` +
        `${near(collapse)}.`
      );
    }
    const fall = `fall onto single data below t = ${near(collapse)}`;
    return collapse.value! < speciation.value!
      ? `${run}samples ${choose} near t = ${near(speciation)} and ${fall}.`
      : `${run}samples ${fall} already, before they could ${choose} near t = ${near(speciation)}.`;
  }
  if (speciation !== null)
    return `${run}samples ${choose} near t = ${near(speciation)}; no time was found at which they fall onto single data.`;
  if (collapse !== null)
    return `${run}samples fall onto single data below t = ${near(collapse)}; no time was found at which they ${choose}.`;
  return `${run}neither a time at which samples ${choose} nor one at which they fall onto single data was found.`;
}
