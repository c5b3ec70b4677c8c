/** `theory`: the boundaries of two Gaussian classes from closed forms; needs no data and no native addon. */
import { exact, unavailable, type Estimate } from "../estimate.js";
import { clocks, theory as closedForms } from "../index.js";
import { estimateText, significant } from "../report/numbers.js";
import { envelope } from "./envelope.js";
import { plain, table, type Terminal } from "./terminal.js";

export interface TheoryFlags {
  readonly n: number;
  readonly d: number;
  readonly separation: number;
  readonly variance: number;
}

/** Critical times of n data from N(+-m, variance I_d), |m|^2 = d separation^2, in OU time and in the other clocks. */
export function theory({ n, d, separation, variance }: TheoryFlags, terminal: Terminal): void {
  const halfSeparation = separation * Math.sqrt(d);
  const pair = { halfSeparation, variance };
  const lambda = variance + halfSeparation * halfSeparation;
  const speciationTime = {
    spectral: told(closedForms.spectralSpeciationTime(lambda), `top eigenvalue ${lambda} <= 1: no direction is wider than the noise`),
    cloning: told(closedForms.timeOfKappa(pair), "the classes overlap without noise: kappa < 1 at every t"),
  };
  const never = "the excess entropy is positive at every t";
  const collapseTime = {
    population: told(closedForms.populationCollapseTime({ n, d, variance, halfSeparation }), never),
    "population-published": told(closedForms.populationCollapseTime({ n, d, variance }), never),
  };
  const result = { n, d, alpha: Math.log(n) / d, lambda, speciationTime, collapseTime };
  terminal.result(envelope("theory", { config: { n, d, separation, variance }, result }), () => {
    const row = (name: string, time: Told, how: string): string[] => [
      name,
      plain(estimateText(time)),
      time.clocks === null ? "" : plain(significant(time.clocks.sigma, 4)),
      time.clocks?.ddpmStep == null ? "" : time.clocks.ddpmStep.toFixed(1),
      how,
    ];
    return [
      `two classes N(+-m, v I), |m|^2 = ${plain(significant(halfSeparation ** 2, 5))}, v = ${variance}, d = ${d}, n = ${n}, alpha = ${plain(significant(result.alpha, 4))}`,
      table([
        ["boundary", "OU time", "sigma", "DDPM step (linear)", "how"],
        row("speciation t_S", speciationTime.spectral, "spectral: 1/2 log of the top eigenvalue v + |m|^2"),
        row("speciation t_S", speciationTime.cloning, "cloning: kappa = 1, where clones end in one class with probability 0.7752"),
        row("collapse t_C", collapseTime.population, "zero of the population's excess entropy, class term included"),
        row("collapse t_C", collapseTime["population-published"], "the same without the class term, as published"),
      ]),
    ].join("\n");
  });
}

type Told = Estimate & { readonly clocks: ReturnType<typeof clocks> | null };

function told(ouTime: number | null, whyNot: string): Told {
  return ouTime === null ? { ...unavailable(whyNot), clocks: null } : { ...exact(ouTime), clocks: ouTime > 0 ? clocks(ouTime) : null };
}
