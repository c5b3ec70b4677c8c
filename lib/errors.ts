/**
 * The one error class of the library. A caller's mistake, a bad file or a missing binary throws it (from a promise-returning
 * call: rejects with it); what the mathematics refuses is an `Estimate` whose `status` says why. An aborted call rejects with
 * the signal's own reason, never with this class.
 */

/** Stable codes: programs branch on them, messages may improve. */
export type ErrorCode =
  /** A shape is not what the call needs; the message has both. */
  | "E_SHAPE"
  /** A number lies outside the domain of the formula (t <= 0, NaN time, threshold outside (0, 1), ...). */
  | "E_DOMAIN"
  /** A value is NaN or infinite; the message has the first row and column and the count. */
  | "E_NONFINITE"
  /** Finite but too large for float64 arithmetic to stay finite. */
  | "E_RANGE"
  /** Weights that are negative, NaN, all zero, or do not sum to 1. */
  | "E_WEIGHTS"
  /** A covariance with a negative eigenvalue. */
  | "E_NOT_PSD"
  /** Labels that are missing, of the wrong count, or not integers. */
  | "E_LABELS"
  /** An option that does not exist or has an unusable value; the message names the nearest one. */
  | "E_OPTION"
  /** A file that cannot be opened or read. */
  | "E_FILE"
  /** A file that changed while it was read, or while its mapped rows were in use. */
  | "E_FILE_CHANGED"
  /** A header that contradicts itself or the file. */
  | "E_HEADER"
  /** An element type that is not read. */
  | "E_DTYPE"
  /** Python objects inside a file: never loaded. */
  | "E_PICKLE_REFUSED"
  /** A file cell that is not a number. */
  | "E_PARSE"
  /** A folder or file that cannot be written. */
  | "E_OUTPUT"
  /** More memory than there is. */
  | "E_OUT_OF_MEMORY"
  /** A handle used after `dispose()`. */
  | "E_DISPOSED"
  /** An input whose buffer was transferred away. */
  | "E_DETACHED"
  /** The requested backend cannot run on this machine. */
  | "E_BACKEND"
  /** The native addon is not there; the message lists the paths tried and the command that builds it. */
  | "E_NO_BINARY"
  /** A defect of this library: please report it. */
  | "E_INTERNAL";

/** An error told apart by `code`; `message` begins with the code and ends with the next step where there is one. */
export class RegimesError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(`${code} ${message}`, options);
    this.name = "RegimesError";
    this.code = code;
  }
}

/** The candidate closest to `word` by edit distance, when it is close enough to be what was meant. */
export function nearestWord(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  return best;
}

function editDistance(left: string, right: string): number {
  let previous = Array.from({ length: right.length + 1 }, (_, j) => j);
  for (let i = 1; i <= left.length; i++) {
    const current = [i];
    for (let j = 1; j <= right.length; j++) {
      const substitution = previous[j - 1]! + (left[i - 1] === right[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, previous[j]! + 1, current[j - 1]! + 1));
    }
    previous = current;
  }
  return previous[right.length]!;
}

/** Throws E_OPTION for the first key of `options` that is not in `known`, naming the nearest known one. */
export function checkOptionNames(call: string, options: object, known: readonly string[]): void {
  if (options === null || typeof options !== "object") {
    throw new RegimesError("E_OPTION", `${call} needs options, an object with some of ${known.join(", ")}; got ${String(options)}`);
  }
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const near = nearestWord(key, known);
    const hint = near === undefined ? `It takes ${known.join(", ")}.` : `Did you mean "${near}"?`;
    throw new RegimesError("E_OPTION", `${call} has no option "${key}". ${hint}`);
  }
}

/** Returns `value` when it is one of `choices`, else throws E_OPTION naming the nearest. */
export function checkChoice<T extends string>(name: string, value: T, choices: readonly T[]): T {
  if (choices.includes(value)) return value;
  const near = nearestWord(String(value), choices);
  const hint = near === undefined ? "" : ` Did you mean "${near}"?`;
  throw new RegimesError("E_OPTION", `${name} is "${value}", not one of ${choices.join(", ")}.${hint}`);
}

/** A name that came with the data, fit for a message: control and bidirectional characters become visible as \u{hex}. */
export function printable(name: string): string {
  return name.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (sign) => `\\u{${sign.codePointAt(0)!.toString(16)}}`);
}
