/** Long work on the JavaScript thread, in slices between which the event loop turns. */
import { setImmediate } from "node:timers/promises";
import { checkRun, type RunOptions } from "../native.js";

/** Milliseconds of a slice: other work waits no longer than this and one piece. */
const slice = 6;

/** To be called between small pieces of work: null, or what to wait for before the next one. */
export type Pace = () => Promise<void> | null;

/** A pace that starts now; waiting throws the reason of a signal that was aborted meanwhile. */
export function pace(run: RunOptions): Pace {
  let begun = performance.now();
  const turn = async (): Promise<void> => {
    await setImmediate();
    checkRun(run);
    begun = performance.now();
  };
  return () => (performance.now() - begun < slice ? null : turn());
}
