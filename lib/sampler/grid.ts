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
  return [...gridNodes(process, options)];
}

/** The same one by one: a long grid takes its time. */
export function* gridNodes(process: Process, options: GridOptions): Generator<Node, void> {
  const { schedule = "log-snr" } = options;
  const isObject = typeof schedule === "object" && schedule !== null;
  if (isObject && "length" in schedule) return yield* ownGrid(process, schedule, options);
  if (typeof schedule !== "string" && !(isObject && "karras" in schedule)) {
    throw new RegimesError("E_OPTION", `schedule is ${String(schedule)}, need one of ${scheduleNames.join(", ")}, {karras: rho}, or an array of times`);
  }
  const spread = spreadOf(typeof schedule === "string" ? checkChoice("schedule", schedule, scheduleNames) : schedule);
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
  yield first;
  for (let i = 1; i < steps; i++) yield spread.node(process, begin + (i / steps) * (end - begin));
  yield last;
}

/**
 * `reverseGrid` with further times on it, which lie inside its range; a node that is one of them up to rounding gives way.
 * @throws RegimesError E_DOMAIN for a time outside.
 */
export function gridThrough(process: Process, options: GridOptions, times: ArrayLike<number>): Node[] {
  const grid = reverseGrid(process, options);
  const near = (left: Node, right: Node): boolean => Math.abs(left.ouTime - right.ouTime) <= 1e-9 * right.ouTime;
  for (const t of Array.from(times)) {
    const node = nodeAt(process, t);
    const [first, last] = [grid[0]!, grid[grid.length - 1]!];
    const inside = node.ouTime < first.ouTime && node.ouTime > last.ouTime;
    if (!inside && !near(node, first) && !near(node, last)) {
      throw new RegimesError("E_DOMAIN", `time ${t} is not between ${first.t} and ${last.t}, the ends of the run`);
    }
    const place = grid.findIndex((other) => near(node, other) || other.ouTime < node.ouTime);
    grid.splice(place, near(node, grid[place]!) ? 1 : 0, node);
  }
  return grid;
}

function* ownGrid(process: Process, times: ArrayLike<number>, options: GridOptions): Generator<Node, void> {
  for (const name of ["steps", "from", "to"] as const) {
    if (options[name] !== undefined) throw new RegimesError("E_OPTION", `${name} does not go with a schedule of times, which says all`);
  }
  if (!(times.length >= 2)) throw new RegimesError("E_OPTION", `the schedule has ${times.length} times, need at least 2`);
  let before: Node | undefined;
  for (let i = 0; i < times.length; i++) {
    const node = nodeAt(process, times[i]!);
    if (before !== undefined && !(node.ouTime < before.ouTime)) {
      throw new RegimesError("E_DOMAIN", `schedule[${i}] is ${node.t}, need less noise than before it, at ${before.t}`);
    }
    yield node;
    before = node;
  }
}

/** The noise level of a time in the clock of the process. @throws RegimesError E_DOMAIN. */
export function nodeAt(process: Process, t: number): Node {
  if (typeof t !== "number") throw new RegimesError("E_DOMAIN", `a time is ${String(t)}, need a number in the clock of the process`);
  const ouTime = process.ouTime(t);
  const { a, b } = process.marginal(t);
  if (a > 0 && a < Infinity && b > 0 && b < Infinity) return { t, ouTime, a, b };
  throw new RegimesError("E_DOMAIN", `${process.name}: a is ${a} and b is ${b} at t = ${t}, need positive finite numbers for a reverse run`);
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
