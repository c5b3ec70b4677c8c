/** Numbers as the page shows them: rounded by their uncertainty, never NaN, a real minus sign. */
import type { Estimate } from "../estimate.js";

/** Shown where a number that should be finite is not: the page must not fail because one number did. */
const NOT_FINITE = "no value";

/** `value` with `digits` significant digits, in powers of ten where plain digits would be unreadable. */
export function significant(value: number, digits: number): string {
  if (!Number.isFinite(value)) return NOT_FINITE;
  if (value === 0) return "0";
  const exponent = decimalExponent(value, digits);
  if (exponent < -4 || exponent >= 7) return powerOfTen(value, exponent, digits - 1);
  return fixed(value, digits - 1 - exponent);
}

/** `value` with up to `digits` significant digits, without trailing zeros: for labels of axes and of lines. */
export function short(value: number, digits: number): string {
  const text = significant(value, digits);
  return /^[^.]*\.\d+$/.test(text) ? text.replace(/\.?0+$/, "") : text;
}

/** A whole number, in groups of three digits from five digits on (SI style, narrow spaces). */
export function count(value: number): string {
  if (!Number.isFinite(value)) return NOT_FINITE;
  const digits = String(Math.round(Math.abs(value)));
  const grouped = digits.length > 4 ? digits.replace(/\B(?=(\d{3})+$)/g, "\u202f") : digits;
  return value < 0 ? `\u2212${grouped}` : grouped;
}

/** A part of one as per cent. */
export function percent(part: number): string {
  return Number.isFinite(part) ? `${significant(100 * part, 3)}\u00a0%` : NOT_FINITE;
}

/** Milliseconds as a duration that reads well. */
export function duration(milliseconds: number): string {
  return milliseconds < 1000 ? `${significant(milliseconds, 2)}\u00a0ms` : `${significant(milliseconds / 1000, 3)}\u00a0s`;
}

/** "value +- two significant digits of the standard error"; an exact value has none; the status where there is no value. */
export function estimateText(estimate: Estimate): string {
  const text = shown(estimate);
  if (text === null) return estimate.status;
  return text.error === null ? text.value : `${text.value}\u00a0\u00b1\u00a0${text.error}`;
}

/** "[low, high]" with the value's decimals, "closed form" for a value without sampling error, an empty text where there is no interval. */
export function intervalText(estimate: Estimate): string {
  const text = shown(estimate);
  if (text === null || estimate.ci95 === null) return "";
  if (text.error === null) return "closed form";
  const [low, high] = estimate.ci95;
  return `[${text.round(low)},\u00a0${text.round(high)}]`;
}

interface Shown {
  readonly value: string;
  /** Null for a value without sampling error. */
  readonly error: string | null;
  /** Rounds another number to the same decimal. */
  readonly round: (value: number) => string;
}

function shown({ value, standardError }: Estimate): Shown | null {
  if (value === null || !Number.isFinite(value)) return null;
  if (standardError === null || !(standardError > 0) || !Number.isFinite(standardError)) {
    return { value: significant(value, 5), error: null, round: (other) => significant(other, 5) };
  }
  const decimals = 1 - decimalExponent(standardError, 2);
  const exponent = decimalExponent(Math.abs(value) > standardError ? value : standardError, 2);
  if (exponent < -4 || exponent >= 7) {
    const round = (other: number): string => powerOfTen(other, exponent, decimals + exponent);
    return { value: round(value), error: round(standardError), round };
  }
  const round = (other: number): string => fixed(other, decimals);
  return { value: round(value), error: round(standardError), round };
}

/** Exponent of the leading digit once `value` is rounded to `digits` digits: 0.0996 to two digits is 0.10, exponent -1. */
function decimalExponent(value: number, digits: number): number {
  return Number(value.toExponential(digits - 1).split("e")[1]);
}

function fixed(value: number, decimals: number): string {
  if (!Number.isFinite(value)) return NOT_FINITE;
  const unit = 10 ** Math.max(0, -decimals);
  const text = (Math.round(value / unit) * unit).toFixed(0);
  const rounded = decimals > 0 ? value.toFixed(Math.min(decimals, 100)) : text;
  return Number(rounded) === 0 ? rounded.replace("-", "") : rounded.replace("-", "\u2212");
}

function powerOfTen(value: number, exponent: number, decimals: number): string {
  if (!Number.isFinite(value)) return NOT_FINITE;
  const superscript = [...String(exponent)].map(
    (sign) => "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"["-0123456789".indexOf(sign)],
  );
  return `${fixed(value / 10 ** exponent, Math.max(0, decimals))}\u00a0\u00d7\u00a010${superscript.join("")}`;
}
