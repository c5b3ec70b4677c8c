/** The golden cases of golden/reference_values.json and their own comparison, |got - expected| <= abs + rel |expected|. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";

export interface GoldenCase {
  readonly name: string;
  readonly inputs: Record<string, any>;
  readonly expected: Record<string, any>;
  readonly tol: { readonly rel: number; readonly abs: number };
}

const file = JSON.parse(readFileSync(new URL("./golden/reference_values.json", import.meta.url), "utf8")) as { cases: GoldenCase[] };

export function goldenCases(prefix: string): readonly GoldenCase[] {
  const cases = file.cases.filter(({ name }) => name.startsWith(prefix));
  if (cases.length === 0) throw new Error(`no golden case begins with ${prefix}`);
  return cases;
}

/** Compares numbers or (nested) lists of numbers. */
export function expectGolden(what: string, got: ArrayLike<number> | number, expected: unknown, { rel, abs }: GoldenCase["tol"]): void {
  const values = typeof got === "number" ? [got] : Array.from(got);
  const wanted = [expected].flat(3) as number[];
  expect(values.length, what).toBe(wanted.length);
  values.forEach((value, k) => {
    const off = Math.abs(value - wanted[k]!);
    expect(off <= abs + rel * Math.abs(wanted[k]!), `${what}[${k}] is ${value}, expected ${wanted[k]}`).toBe(true);
  });
}

/** A list of rows as an array with its shape. */
export function matrix(rows: readonly (readonly number[])[]): { data: Float64Array<ArrayBuffer>; shape: [number, number] } {
  return { data: Float64Array.from(rows.flat()), shape: [rows.length, rows[0]!.length] };
}
