/** What DATA may be: the word "digits", a data file, or the JSON of a Gaussian mixture, from which data are drawn. */
import { RegimesError, printable } from "../errors.js";
import { empirical, openDataset, sampleTarget, type Dataset, type DatasetOptions, type Target } from "../index.js";
import { readMixture } from "./mixture-file.js";

/** Flags about data, under the names that `openDataset` has for them, and those of a draw from a mixture. */
export interface DataFlags {
  readonly labels?: DatasetOptions["labels"];
  readonly rows?: DatasetOptions["rows"];
  readonly classes?: DatasetOptions["classes"];
  readonly scale?: DatasetOptions["scale"];
  readonly maximum?: number;
  readonly nonfinite?: "error" | "drop";
  readonly flatten?: boolean;
  readonly tensor?: string;
  readonly map?: boolean;
  readonly n?: number;
  readonly seed?: number | bigint;
}

export interface Run {
  readonly signal: AbortSignal;
  readonly threads?: number | undefined;
  readonly onProgress?: (fraction: number) => void;
}

const fileFlags = ["labels", "rows", "classes", "scale", "maximum", "nonfinite", "flatten", "tensor", "map"] as const;

/** The JSON of a mixture is known by its name. */
export const isMixture = (path: string): boolean => path.toLowerCase().endsWith(".json");

/** The data set that DATA and its flags mean. @throws RegimesError E_OPTION for flags that do not fit the kind of DATA. */
export async function openData(path: string, flags: DataFlags, run: Run): Promise<Dataset> {
  if (!isMixture(path)) {
    if (flags.n !== undefined) throw new RegimesError("E_OPTION", `--n draws rows from a mixture's JSON, ${printable(path)} is data. Use --rows 0:${flags.n}`);
    return openDataset(path, { ...Object.fromEntries(fileFlags.map((name) => [name, flags[name]])), ...run });
  }
  if (flags.n === undefined) throw new RegimesError("E_OPTION", `${printable(path)} is a mixture: say how many rows to draw from it, as in --n 20000`);
  const mixture = await openMixture(path, flags);
  return sampleTarget(mixture, flags.n, { seed: flags.seed ?? 1, ...run });
}

/** The target that DATA and its flags mean: the mixture itself, or the empirical distribution of data. */
export async function openTarget(path: string, flags: DataFlags, run: Run): Promise<Target> {
  return isMixture(path) && flags.n === undefined ? openMixture(path, flags) : empirical(await openData(path, flags, run));
}

function openMixture(path: string, flags: DataFlags): Promise<Target> {
  const stray = fileFlags.find((name) => flags[name] !== undefined);
  if (stray !== undefined) throw new RegimesError("E_OPTION", `--${stray} is for data files, ${printable(path)} is a mixture`);
  return readMixture(path);
}
