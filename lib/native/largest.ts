/** The largest of many numbers, found natively: a loop in JavaScript takes ten times as long. */
import { checkFinite, numbersAtOnce } from "../array.js";
import { native } from "../native.js";
import type { Pace } from "./pace.js";

/** max |x| of rows of `columns` values, with rests on the way. @throws RegimesError E_NONFINITE, as `copyRows`. */
export async function largestNumber(what: string, data: Float64Array, columns: number, rest: Pace): Promise<number> {
  let largest = 0;
  for (let begin = 0; begin < data.length; begin += numbersAtOnce) {
    largest = Math.max(largest, native().largestNumber(data.subarray(begin, begin + numbersAtOnce)));
    if (!Number.isFinite(largest)) checkFinite(what, data, columns);
    const wait = rest();
    if (wait !== null) await wait;
  }
  return largest;
}
