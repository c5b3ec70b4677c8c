/** Scaling of stored numbers, `value = stored * scale + shift`: the factors that a scale's name means for given data, and warnings. */
import { RegimesError } from "./errors.js";
import type { TableShape } from "./formats/table.js";
import type { NativeStatistics } from "./native.js";

export type ScaleName = "none" | "unit" | "symmetric" | "standardize";

/** How values follow from stored numbers: value = stored * scale + shift. */
export interface Scale {
  readonly name: ScaleName;
  readonly scale: number;
  readonly shift: number;
  /** The stated maximum, for "unit" and "symmetric". */
  readonly maximum?: number;
  /** Global mean and population standard deviation of the stored numbers, for "standardize". */
  readonly mean?: number;
  readonly standardDeviation?: number;
}

/** Larger magnitudes would overflow when squared and summed. */
const largestMagnitude = 1e150;

/**
 * The factors of the scale called `name`; `stated` and then `ownMaximum` are what counts as 1.
 * @throws RegimesError E_OPTION, E_DOMAIN (constant data cannot be standardized), E_RANGE.
 */
export function resolveScale(
  { what, dtype }: TableShape,
  { scale: name = "none", maximum: stated }: { readonly scale?: ScaleName | undefined; readonly maximum?: number | undefined },
  ownMaximum: number | undefined,
  { mean, variance, minimum, maximum: largest }: NativeStatistics,
): Scale {
  if (name === "none" || name === "standardize") {
    if (stated !== undefined) throw new RegimesError("E_OPTION", `maximum: scale "${name}" takes none, only "unit" and "symmetric" do`);
    if (name === "none") return { name, scale: 1, shift: 0 };
    const standardDeviation = Math.sqrt(variance);
    // A constant may come with a rounding error for a variance, so equality decides.
    if (minimum === largest || standardDeviation === 0) {
      const found = `the values (${minimum} to ${largest}) have no spread`;
      throw new RegimesError("E_DOMAIN", `${what}: ${found}: constant data cannot be standardized`);
    }
    if (!Number.isFinite(standardDeviation)) throw beyondRange(what, Math.max(Math.abs(minimum), Math.abs(largest)));
    return { name, scale: 1 / standardDeviation, shift: -mean / standardDeviation, mean, standardDeviation };
  }
  const maximum = stated ?? ownMaximum ?? (dtype === "uint8" ? 255 : undefined);
  if (maximum === undefined) {
    const hint = `what counts as 1 (the values reach ${largest})`;
    throw new RegimesError("E_OPTION", `${what}: scale "${name}" of ${dtype} needs the option maximum, ${hint}`);
  }
  if (!(maximum > 0) || !Number.isFinite(2 / maximum) || !Number.isFinite(maximum)) {
    throw new RegimesError("E_OPTION", `maximum is ${maximum}, need a positive finite number`);
  }
  return name === "unit" ? { name, scale: 1 / maximum, shift: 0, maximum } : { name, scale: 2 / maximum, shift: -1, maximum };
}

/** Largest absolute value: the scaling is monotone, so one of the two ends has it. */
export function magnitudeOf({ scale, shift }: Scale, { minimum, maximum }: NativeStatistics): number {
  return Math.max(Math.abs(minimum * scale + shift), Math.abs(maximum * scale + shift));
}

function beyondRange(what: string, magnitude: number): RegimesError {
  return new RegimesError("E_RANGE", `${what}: values reach magnitude ${magnitude}, the limit is ${largestMagnitude}. Rescale the data`);
}

/** Warnings about the values. @throws RegimesError E_RANGE for values beyond 1e150. */
export function checkValues({ what, n }: TableShape, scale: Scale, statistics: NativeStatistics): string[] {
  const magnitude = magnitudeOf(scale, statistics);
  if (!(magnitude <= largestMagnitude)) throw beyondRange(what, magnitude);
  const { minimum, maximum: largest, distinctRows } = statistics;
  const { maximum } = scale;
  const warnings: string[] = [];
  if (maximum !== undefined && (minimum < 0 || largest > maximum)) {
    warnings.push(`values of ${what} lie in [${minimum}, ${largest}], outside [0, maximum = ${maximum}]`);
  }
  const duplicates = n - distinctRows;
  if (duplicates > 0.01 * n) {
    const percent = ((100 * duplicates) / n).toFixed(1);
    const meaning = "collapse onto a datum then means onto its copies";
    warnings.push(`${duplicates} of ${n} rows of ${what} (${percent} %) repeat another row; ${meaning}`);
  }
  return warnings;
}

