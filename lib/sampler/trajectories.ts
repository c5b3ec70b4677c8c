/** How experiments make their trajectories: the options that they hand on to `sampleReverse`, in its words. */
import type { Precision } from "../field.js";
import { runOptionNames, type RunOptions } from "../native.js";
import type { SamplerName, SamplerParameters } from "./steps.js";

/** Options of every experiment. */
export interface TrajectoryOptions extends RunOptions, SamplerParameters {
  /** Same seed, same trajectories. */
  readonly seed: number | bigint;
  /** Default "ddpm". */
  readonly sampler?: SamplerName | undefined;
  /** This and those below are as in `sampleReverse`. */
  readonly precision?: Precision | undefined;
  readonly carry?: boolean | undefined;
  readonly reduce?: "auto" | "none" | undefined;
}

const parameterNames = ["eta", "variance", "churn", "corrector"] as const;

/** The names of `TrajectoryOptions`, for option checks. */
export const trajectoryOptionNames: readonly string[] = ["seed", "sampler", ...parameterNames, "precision", "carry", "reduce", ...runOptionNames];

/** What `sampleReverse` takes of them; progress and reduction are the experiment's own. */
export function samplingOf({ sampler = "ddpm", seed, precision, carry, signal, threads, ...rest }: TrajectoryOptions): SamplerParameters &
  Pick<TrajectoryOptions, "seed" | "precision" | "carry" | "signal" | "threads"> & { readonly sampler: SamplerName } {
  const parameters = Object.fromEntries(parameterNames.map((name) => [name, rest[name]]));
  return { sampler, seed, precision, carry, signal, threads, ...parameters };
}
