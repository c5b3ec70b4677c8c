/**
 * Exit codes: 0 ok, 1 a defect of this program, 2 usage, 3 bad data or file, 4 input/output (disk full, permission), 5 resources
 * (memory, backend, missing addon), 7 a check failed, 130 and 143 stopped by SIGINT and SIGTERM.
 */
import { CommanderError } from "commander";
import { RegimesError, type ErrorCode } from "../errors.js";

export const exitCodes = { ok: 0, internal: 1, usage: 2, data: 3, io: 4, resources: 5, check: 7, interrupt: 130, terminate: 143 } as const;

const codeOf: Readonly<Record<ErrorCode, number>> = {
  E_OPTION: exitCodes.usage,
  E_DOMAIN: exitCodes.usage,
  E_SHAPE: exitCodes.data,
  E_NONFINITE: exitCodes.data,
  E_RANGE: exitCodes.data,
  E_WEIGHTS: exitCodes.data,
  E_NOT_PSD: exitCodes.data,
  E_LABELS: exitCodes.data,
  E_FILE: exitCodes.data,
  E_FILE_CHANGED: exitCodes.data,
  E_HEADER: exitCodes.data,
  E_DTYPE: exitCodes.data,
  E_PICKLE_REFUSED: exitCodes.data,
  E_PARSE: exitCodes.data,
  E_OUTPUT: exitCodes.io,
  E_OUT_OF_MEMORY: exitCodes.resources,
  E_BACKEND: exitCodes.resources,
  E_NO_BINARY: exitCodes.resources,
  E_DISPOSED: exitCodes.internal,
  E_DETACHED: exitCodes.internal,
  E_INTERNAL: exitCodes.internal,
};

const ioErrors: ReadonlySet<unknown> = new Set(["EACCES", "EPERM", "EROFS", "EIO", "ENOSPC", "EDQUOT", "EFBIG"]);

/** The exit code that tells a script what went wrong. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  if (!(error instanceof RegimesError)) return exitCodes.internal;
  const cause = error.cause as { code?: unknown } | undefined;
  if (error.code === "E_FILE" && ioErrors.has(cause?.code)) return exitCodes.io;
  return codeOf[error.code];
}

/** What to print: the message, which carries its code; anything unforeseen says that it is our defect. */
export function describe(error: unknown, verbose: boolean): string {
  const stack = error instanceof Error && error.stack !== undefined ? error.stack : String(error);
  if (error instanceof RegimesError) return verbose ? `${error.message}\n${stack}` : error.message;
  const text = error instanceof Error ? error.message : String(error);
  const report = "This is a defect of diffusion-regimes: please report it, with the output of --verbose";
  return verbose ? `E_INTERNAL ${text}\n${report}\n${stack}` : `E_INTERNAL ${text}\n${report}`;
}
