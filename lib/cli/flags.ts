/** Values of flags: what they may be is checked here, what they mean is checked by the library. */
import { InvalidArgumentError, Option, type Command } from "commander";

/** A whole number from `minimum` on. */
export function wholeNumber(minimum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < minimum) {
      throw new InvalidArgumentError(`need a whole number from ${minimum} on.`);
    }
    return value;
  };
}

/** A seed: a whole number in [0, 2^64). */
function seed(text: string): number | bigint {
  if (!/^\d+$/.test(text) || BigInt(text) >= 1n << 64n) throw new InvalidArgumentError("need a whole number in [0, 2^64).");
  return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
}

/** A finite number. */
export function finite(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("need a number, such as 0.5.");
  return value;
}

/** Times on the process's clock: `0.4,0.8` or, spaced logarithmically, `from:to:count`. */
export function times(text: string): readonly number[] | { readonly from: number; readonly to: number; readonly count: number } {
  if (!text.includes(":")) return text.split(",").map(finite);
  const parts = text.split(":");
  if (parts.length !== 3) throw new InvalidArgumentError("need from:to:count, such as 0.05:4:32, or a list, such as 0.4,0.8.");
  return { from: finite(parts[0]!), to: finite(parts[1]!), count: wholeNumber(1)(parts[2]!) };
}

/** Some of `choices`, such as `ddpm,ddim`. */
export function nameList(choices: readonly string[]): (text: string) => readonly string[] {
  return (text) => {
    const names = text.split(",");
    const wrong = names.find((name) => !choices.includes(name));
    if (wrong !== undefined) throw new InvalidArgumentError(`"${wrong}" is not one of ${choices.join(", ")}.`);
    return names;
  };
}

/** Label values, such as `0,9`. */
export function classList(text: string): readonly number[] {
  return text.split(",").map((part) => {
    if (!/^-?\d+$/.test(part)) throw new InvalidArgumentError("need label values, such as 0,9.");
    return Number(part);
  });
}

/** Half-open range of rows, such as `0:1000`. */
export function rowRange(text: string): { readonly from: number; readonly to: number } {
  const parts = /^(\d+):(\d+)$/.exec(text);
  if (parts === null) throw new InvalidArgumentError("need from:to, such as 0:1000 for the first thousand.");
  return { from: Number(parts[1]), to: Number(parts[2]) };
}

/** A file of labels, or a column of the data, `column:64` or `column:class`. */
export function labelSource(text: string): string | { readonly column: number | string } {
  const column = /^column:(.+)$/.exec(text)?.[1];
  if (column === undefined) return text;
  return { column: /^\d+$/.test(column) ? Number(column) : column };
}

/** Adds the flags that say how to read a file, named as the options of `openDataset`. */
export function withDataFlags(command: Command): Command {
  return command
    .option("--labels <FILE>", "one integer per row (.npy, IDX, CSV), or column:K of the data", labelSource)
    .option("--classes <list>", "only the rows with these label values, such as 0,9", classList)
    .option("--rows <from:to>", "only these rows, from 0, without the last", rowRange)
    .addOption(new Option("--scale <name>", "of the stored values (default: none)").choices(["none", "unit", "symmetric", "standardize"]))
    .option("--maximum <M>", "stored value that unit and symmetric map to 1 (uint8: 255)", finite)
    .addOption(new Option("--nonfinite <action>", "with rows that hold NaN or infinities (default: error)").choices(["error", "drop"]))
    .option("--flatten", "read more than two dimensions as rows of all the others")
    .option("--tensor <name>", "in a safetensors file")
    .option("--map", "read the rows where they lie in the file; --no-map: into memory (default: by size)")
    .addOption(new Option("--no-map").hideHelp());
}

/** Adds the flags that draw data from a mixture's JSON. */
export function withDrawFlags(command: Command): Command {
  return withSeed(command.option("--n <N>", "rows to draw where DATA is a mixture's JSON", wholeNumber(1)));
}

export function withSeed(command: Command): Command {
  return command.option("--seed <S>", "of everything random", seed, 1);
}

/** Adds the flags that say how to talk. */
export function withCommonFlags(command: Command): Command {
  return command
    .option("--json", "print the result as one JSON object")
    .option("--quiet", "errors only on stderr")
    .option("--verbose", "stack traces with errors")
    .option("--no-progress", "no progress on stderr");
}

/** Adds the flags that say how to compute. */
export function withComputeFlags(command: Command): Command {
  return command
    .option("--threads <K>", "native threads, all processors by default; results do not depend on it", wholeNumber(1))
    .addOption(new Option("--precision <name>", "of the posterior readings").choices(["exact", "float64", "fast"]).default("exact"));
}
