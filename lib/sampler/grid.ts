/** Grids of noise levels that a reverse run steps through, from much noise to little. */
import { RegimesError, checkChoice } from "../errors.js";
import { clocks, ouTimeFrom, type Marginal, type Process } from "../process.js";

/** One noise level of a grid. */
export interface Node extends Marginal {
  /** In the clock of the process. */
  readonly t: number;
  readonly ouTime: number;
}

export const scheduleNames = ["log-snr", "ou-time", "process", "sigma", "karras"] as const;

/**
 * How the steps lie between the two ends: uniform in log(a^2/b^2) ("log-snr", default), in OU time, in the process's own clock or in
 * sigma = b/a; "karras", uniform in sigma^(1/rho) with rho = 7 (Karras et al. 2022, Eq. 5), or with a rho of one's own; or all times
 * themselves, in the process's clock, decreasing.
 */
export type Schedule = (typeof scheduleNames)[number] | { readonly karras: number } | ArrayLike<number>;

export interface GridOptions {
  /** Number of steps; not with a schedule of times. */
  readonly steps?: number | undefined;
  /** First time, in the process's clock; default OU time 5, or the largest that the process reaches. */
  readonly from?: number | undefined;
  /** Last time; default OU time 1e-3, or the smallest that the process reaches. */
  readonly to?: number | undefined;
  readonly schedule?: Schedule | undefined;
}

/** The steps + 1 noise levels of a run, noisiest first. @throws RegimesError E_OPTION, E_DOMAIN. */
export function reverseGrid(process: Process, options: GridOptions): Node[] {
  const { schedule = "log-snr" } = options;
  if (typeof schedule === "object" && !("karras" in schedule)) return ownGrid(process, schedule, options);
  const spread = spreadOf(typeof schedule === "string" ? checkChoice("schedule", schedule, scheduleNames) : { karras: schedule.karras });
  const { steps } = options;
  if (steps === undefined || !Number.isSafeInteger(steps) || steps < 1 || steps > 1e6) {
    throw new RegimesError("E_OPTION", `steps is ${steps}, need a whole number from 1 to 1e6`);
  }
  const first = nodeAt(process, options.from ?? process.timeAt(Math.min(5, process.ouRange[1])));
  const last = nodeAt(process, options.to ?? process.timeAt(Math.max(1e-3, process.ouRange[0])));
  if (!(last.ouTime < first.ouTime)) {
    throw new RegimesError("E_DOMAIN", `a reverse run goes from much noise to little: from is ${first.t}, to is ${last.t}, need to < from`);
  }
  const [begin, end] = [spread.of(first), spread.of(last)];
  return Array.from({ length: steps + 1 }, (_, i) => {
    if (i === 0) return first;
    if (i === steps) return last;
    return spread.node(process, begin + (i / steps) * (end - begin));
  });
}

function ownGrid(process: Process, times: ArrayLike<number>, options: GridOptions): Node[] {
  for (const name of ["steps", "from", "to"] as const) {
    if (options[name] !== undefined) throw new RegimesError("E_OPTION", `${name} does not go with a schedule of times, which says all`);
  }
  if (times.length < 2) throw new RegimesError("E_OPTION", `the schedule has ${times.length} times, need at least 2`);
  const nodes = Array.from(times, (t) => nodeAt(process, t));
  const wrong = nodes.findIndex(({ ouTime }, i) => i > 0 && !(ouTime < nodes[i - 1]!.ouTime));
  if (wrong >= 0) throw new RegimesError("E_DOMAIN", `schedule[${wrong}] is ${times[wrong]}, need less noise than before it, ${times[wrong - 1]}`);
  return nodes;
}

/** The noise level of a time in the clock of the process. @throws RegimesError E_DOMAIN. */
export function nodeAt(process: Process, t: number): Node {
  if (typeof t !== "number") throw new RegimesError("E_DOMAIN", `a time is ${String(t)}, need a number in the clock of the process`);
  return { t, ouTime: process.ouTime(t), ...process.marginal(t) };
}

function spreadOf(schedule: (typeof scheduleNames)[number] | { readonly karras: number }): {
  of: (node: Node) => number;
  node: (process: Process, value: number) => Node;
} {
  if (schedule === "process") return { of: ({ t }) => t, node: nodeAt };
  const inClock = (clock: "ouTime" | "logSnr" | "sigma", power = 1) => ({
    of: ({ ouTime }: Node) => clocks(ouTime)[clock] ** (1 / power),
    node: (process: Process, value: number) => nodeAt(process, process.timeAt(ouTimeFrom(clock, value ** power))),
  });
  if (schedule === "log-snr") return inClock("logSnr");
  if (schedule === "ou-time") return inClock("ouTime");
  if (schedule === "sigma") return inClock("sigma");
  const rho = schedule === "karras" ? 7 : schedule.karras;
  if (!(rho > 0 && rho < Infinity)) throw new RegimesError("E_OPTION", `rho of the Karras schedule is ${rho}, need a positive number`);
  return inClock("sigma", rho);
}
