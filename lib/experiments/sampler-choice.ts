/** Samplers as an experiment takes them: by name, or with their parameters. */
import { samplers, type SamplerName, type SamplerParameters } from "../sampler.js";

/** A sampler by its name, or with its parameters. */
export type SamplerChoice = SamplerName | ({ readonly sampler: SamplerName } & SamplerParameters);

/** As options of `sampleReverse`. */
export function parametersOf(choice: SamplerChoice): { readonly sampler: SamplerName } & SamplerParameters {
  return typeof choice === "string" ? { sampler: choice } : choice;
}

/** For people and tables: "ddim eta 0.5". */
export function nameOf(choice: SamplerChoice): string {
  const { sampler, ...parameters } = parametersOf(choice);
  const told = Object.entries(parameters).filter(([, value]) => value !== undefined);
  return [sampler, ...told.map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`)].join(" ");
}

/** Whether its paths are random once their start is given. */
export function drawsNoise(choice: SamplerChoice): boolean {
  const { sampler, eta = 0, churn } = parametersOf(choice);
  return (samplers[sampler]?.stochastic ?? false) || eta > 0 || (churn?.amount ?? 0) > 0;
}
