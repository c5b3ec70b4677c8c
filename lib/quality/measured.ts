/**
 * A functional of a law, taken at the empirical law of N samples: its value there and the first-order effect of each sample on it
 * (infinitesimal jackknife; Jaeckel 1972, Efron and Stein 1981). value + influence_r are pseudo-values of the draws: their mean is the
 * value, their spread its error, and draws that share their noise keep their correlation from one run to the next.
 */
import { setImmediate } from "node:timers/promises";
import { copyRows, type PointsInput } from "../array.js";
import { RegimesError } from "../errors.js";
import { moments, withInterval, type Estimate } from "../estimate.js";
import { native, runJob, toRegimesError, type NativeHandle, type RunOptions } from "../native.js";

export interface Measured {
  readonly value: number;
  /** Of each sample, in the units of the value; sums to 0. */
  readonly influence: Float64Array<ArrayBuffer>;
  /** Standard error that does not come from the samples: that of random directions. */
  readonly otherError: number;
  /** Eigenvalues that rounding put below 0, and that counted as 0. */
  readonly clipped: number;
}

/** What can be measured of samples. */
export interface Measure {
  readonly name: string;
  of(samples: PointsInput, run?: RunOptions): Promise<Measured>;
}

/** The value with the standard error hypot(sd(influence)/sqrt(N), otherError), its interval cut at 0. */
export function estimateOf({ value, influence, otherError }: Measured): Estimate {
  const error = Math.hypot(moments(influence).deviation / Math.sqrt(influence.length), otherError);
  return withInterval(value, error, { range: [0, Infinity] });
}

/** At least two samples as float64 rows of d numbers. @throws RegimesError E_SHAPE, E_NONFINITE. */
export function sampleRows(samples: PointsInput, d: number): { readonly data: Float64Array<ArrayBuffer>; readonly rows: number } {
  const { data, rows } = copyRows("samples", samples, d);
  if (rows < 2) throw new RegimesError("E_SHAPE", `samples: ${rows} row, need at least 2`);
  return { data, rows };
}

/** Rows in native hands, for as long as they are measured. */
export class Points implements Disposable {
  readonly n: number;
  readonly d: number;
  readonly #handle: NativeHandle;

  constructor(data: Float64Array<ArrayBuffer>, n: number, d: number) {
    this.n = n;
    this.d = d;
    try {
      const rows = native().createDataset({ stored: data, n, d, scale: 1, shift: 0 });
      this.#handle = native().createEmpirical(rows, null, null, 0);
      rows.dispose();
    } catch (error) {
      throw toRegimesError(error);
    }
  }

  /** x . v_j for each row: [n, count]. */
  async project(vectors: Float64Array, count: number, run: RunOptions): Promise<Float64Array<ArrayBuffer>> {
    const request = { vectors, count, centre: "none" } as const;
    return (await runJob(run, (addon, threads, progress) => addon.project(this.#handle, request, threads, progress))).projections;
  }

  /** Mean [d] and unbiased covariance [d, d]. */
  covariance(run: RunOptions): Promise<{ readonly mean: Float64Array<ArrayBuffer>; readonly matrix: Float64Array<ArrayBuffer> }> {
    return runJob(run, (addon, threads, progress) => addon.covariance(this.#handle, threads, progress));
  }

  [Symbol.dispose](): void {
    this.#handle.dispose();
  }
}

/** Lets the event loop turn between two pieces of work; aborts come through. */
export async function breathe({ signal }: RunOptions): Promise<void> {
  await setImmediate();
  signal?.throwIfAborted();
}
