/** Where reverse trajectories end: the class and the datum with the largest posterior weight at the last time. */
import { RegimesError, checkChoice } from "../errors.js";
import type { Field, Meta } from "../field.js";
import type { RunOptions } from "../native.js";
import { reducedField, sampleReverse, samplerNames, samplers, type ReverseRun, type SampleReverseOptions, type SamplerName, type TrajectoryOptions } from "../sampler.js";

/** The sampler's name. @throws RegimesError E_OPTION for one that draws no noise, with the reason. */
export function stochasticSampler({ sampler = "ddpm", eta, churn }: TrajectoryOptions, reason: string): SamplerName {
  const { stochastic } = samplers[checkChoice("sampler", sampler, samplerNames)];
  if (stochastic || (sampler === "ddim" && (eta ?? 0) > 0) || (sampler === "heun" && (churn?.amount ?? 0) > 0)) return sampler;
  const names = samplerNames.filter((name) => samplers[name].stochastic).join(", ");
  throw new RegimesError("E_OPTION", `sampler "${sampler}" draws no noise: ${reason}. Use ${names}, or "ddim" with eta > 0`);
}

/** The field that an experiment which asks for classes and data alone runs in, and what the result says of it. */
export async function workingField(field: Field, { reduce = "auto" }: TrajectoryOptions): Promise<{ readonly inner: Field; readonly reduction: { readonly dimension: number } | null }> {
  const reduced = checkChoice("reduce", reduce, ["auto", "none"]) === "none" ? null : await reducedField(field);
  return { inner: reduced ?? field, reduction: reduced && { dimension: reduced.d } };
}

/** Ends of trajectories. */
export interface Ends {
  /** Class of each end, or null without classes. */
  readonly classes: Int32Array | null;
  /** Datum of each end (the first of several that are equal), or null for a mixture. */
  readonly data: Int32Array | null;
  readonly run: ReverseRun;
}

/** Runs trajectories in `field` over `times` and says where they end. */
export async function endsOf(field: Field, options: Omit<SampleReverseOptions, "schedule"> & { readonly schedule: readonly number[] }): Promise<Ends> {
  const { classes, kind } = field.target;
  const observe = [...(classes > 0 ? (["classWeights"] as const) : []), ...(kind === "points" ? (["nearest"] as const) : [])];
  const run = await sampleReverse(field, { ...options, reduce: "none", record: { times: [options.schedule.at(-1)!], observe } });
  const { classWeights, nearest } = run.observed;
  return { classes: classWeights === undefined ? null : largest(classWeights.data, classes), data: nearest?.index.data ?? null, run };
}

/** Column of the largest entry of each row of `columns` numbers, the first of equals. */
function largest(values: Float64Array, columns: number): Int32Array {
  return Int32Array.from({ length: values.length / columns }, (_, r) => {
    let best = 0;
    for (let c = 1; c < columns; c++) if (values[r * columns + c]! > values[r * columns + best]!) best = c;
    return best;
  });
}

/** Progress of work in parts of known sizes, as one fraction. */
export function progressInParts(onProgress: RunOptions["onProgress"], total: number): (part: number) => { readonly onProgress: RunOptions["onProgress"] } {
  let done = 0;
  return (part) => {
    const before = done;
    done += part;
    return { onProgress: onProgress == null ? undefined : (fraction) => onProgress((before + fraction * part) / total) };
  };
}

/** What a result of several runs was made with: that of the last one, with the time of all. */
export function metaOfRuns(last: ReverseRun, started: number): Meta {
  return { ...last.meta!, wallMs: performance.now() - started };
}
