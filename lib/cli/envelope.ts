/** The object that --json prints, the same for every verb; that of `analyze` has a schema, shipped as schema/analyze.schema.json. */
import { readFileSync } from "node:fs";

export const version: string = (
  JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }
).version;

export interface Answer {
  readonly config: object;
  readonly result: object;
  readonly warnings?: readonly string[];
  /** Milliseconds. */
  readonly timing?: object;
  readonly meta?: object;
}

export interface Envelope extends Answer {
  /** Name and revision of the form of this object. */
  readonly schema: string;
  readonly version: string;
  readonly command: string;
}

export function envelope(command: string, { config, result, warnings = [], timing = {}, meta }: Answer): Envelope {
  const base = { schema: `diffusion-regimes/${command}/1`, version, command, config, result, warnings, timing };
  return meta === undefined ? base : { ...base, meta };
}
