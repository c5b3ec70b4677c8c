/**
 * For tests of estimators that must not depend on the native addon: fields made of known curves, and draws with known averages. Two
 * balanced Gaussian classes at separation kappa = e^(t0 - t) are described by one normal variable g per draw (theory.ts: the cloning
 * probability is (1 + E tanh(kappa^2 + kappa g))/2, the class entropy E log(1 + e^(-2 kappa (kappa + g)))).
 */
import type { NdArray } from "../lib/array.js";
import type { Estimate } from "../lib/estimate.js";
import type { Field } from "../lib/field.js";
import type { NativeSweepReading } from "../lib/native.js";
import { ornsteinUhlenbeck, type Process } from "../lib/process.js";
import type { Target } from "../lib/target.js";

/** Standard normal numbers by Box and Muller from a 32-bit generator (mulberry32). */
export function normals(seed: number, count: number): Float64Array<ArrayBuffer> {
  let state = Math.imul(seed, 0x9e3779b1) | 0;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return Float64Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

export function logSpaced(from: number, to: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, j) => from * (to / from) ** (j / (count - 1)));
}

/** H(c|x), nats, for log-odds 2 kappa (kappa + g). */
export function classEntropyOf(kappa: number, g: number): number {
  const odds = Math.abs(2 * kappa * (kappa + g));
  return Math.log1p(Math.exp(-odds)) + odds / (1 + Math.exp(odds));
}

/** p(+|x)^2 + p(-|x)^2 = (1 + tanh^2(kappa^2 + kappa g))/2. */
function classSquaresOf(kappa: number, g: number): number {
  return (1 + Math.tanh(kappa * (kappa + g)) ** 2) / 2;
}

/** Class entropies [times, draws] for kappa = e^(t0 - t). */
export function classEntropyDraws(times: Float64Array, t0: number, draws: number, seed: number): NdArray {
  const g = normals(seed, draws);
  const rows = Array.from(times, (t) => Array.from(g, (value) => classEntropyOf(Math.exp(t0 - t), value)));
  return { data: Float64Array.from(rows.flat()), shape: [times.length, draws] };
}

/** Whether intervals cover the truth as often as 95 % intervals should; for 400 of them +- 2.5 % is 2.3 standard deviations. */
export function covered(estimates: readonly Estimate[], truth: number): string {
  const hits = estimates.filter(({ ci95 }) => ci95 !== null && ci95[0] <= truth && truth <= ci95[1]).length;
  const fraction = hits / estimates.length;
  return fraction >= 0.925 && fraction <= 0.975 ? "92.5 to 97.5 %" : `${100 * fraction} %`;
}

/** What a fake field is made of; readings are functions of OU time and draw. */
export interface FakeField {
  readonly target?: Partial<Target>;
  readonly process?: Process;
  readonly readings?: { readonly [name in NativeSweepReading]?: (ouTime: number, draw: number) => number };
  /** Hears of every sweep. */
  readonly onSweep?: (options: Parameters<Field["sweep"]>[0]) => void;
}

/** A field whose sweep answers from given functions: 2 rows in one dimension unless `target` says otherwise. */
export function fakeField({ target = {}, process = ornsteinUhlenbeck(), readings: functions = {}, onSweep }: FakeField): Field {
  const full = {
    kind: "points",
    n: 2,
    d: 1,
    weights: null,
    classes: 0,
    classFractions: null,
    dataset: null,
    mixture: null,
    fingerprint: "fake",
    ...target,
  } as Target;
  const sweep: Field["sweep"] = (options) => {
    onSweep?.(options);
    const { times, draws, first = 0, readings: wanted } = options;
    const entries = wanted.map((name) => {
      const data = new Float64Array(times.length * draws);
      Array.from(times).forEach((t, j) => {
        const ouTime = process.ouTime(t);
        for (let r = 0; r < draws; r++) data[j * draws + r] = functions[name]!(ouTime, first + r);
      });
      return [name, { data, shape: [times.length, draws] }] as const;
    });
    const meta = { version: "0", backend: "fake", backendReason: "test", seed: String(options.seed), threads: 1, wallMs: 0 };
    return Promise.resolve({ ...Object.fromEntries(entries), meta } as unknown as Awaited<ReturnType<Field["sweep"]>>);
  };
  return { target: full, process, n: full.n, d: full.d, sweep } as unknown as Field;
}

/** A field of two balanced labelled classes at kappa = e^(t0 - t). */
export function twoClassField(t0: number, seed: number, draws = 1000): Field {
  const g = normals(seed, draws);
  const kappa = (t: number): number => Math.exp(t0 - t);
  const classEntropy = (t: number, r: number): number => classEntropyOf(kappa(t), g[r]!);
  return fakeField({
    target: { n: 1000, d: 10, classes: 2, classFractions: Float64Array.of(0.5, 0.5) },
    readings: {
      classEntropy,
      classSquares: (t, r) => classSquaresOf(kappa(t), g[r]!),
      entropy: (t, r) => 5 + classEntropy(t, r),
      sumSquares: () => 0.001,
    },
  });
}
