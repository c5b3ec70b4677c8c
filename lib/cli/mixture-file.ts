/**
 * A Gaussian mixture as JSON: `{"weights": [k numbers], "means": k rows of d, "covariances": {"type": ...}}`, weights optional, with
 *   {"type": "spherical", "variances": [k numbers]}            {"type": "diagonal", "variances": k rows of d}
 *   {"type": "full", "matrices": k matrices of d rows of d}    {"type": "low-rank", "diagonals": k rows of d, "factors": k of d rows of r}
 * Nested lists become arrays with a shape here; what they may hold is for `gaussianMixture` to say.
 */
import { readFile } from "node:fs/promises";
import type { NdArray } from "../array.js";
import { RegimesError, checkChoice, checkOptionNames, printable } from "../errors.js";
import { gaussianMixture, type MixtureParameters, type Target } from "../index.js";

/**
 * Reads the file and makes the mixture. @throws RegimesError E_FILE, E_PARSE (also for keys, types and numbers outside the formulas: what
 * a file holds is data, not usage), E_SHAPE and those of `gaussianMixture`, each with the name of the file.
 */
export async function readMixture(path: string): Promise<Target> {
  const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw new RegimesError("E_FILE", `${printable(path)}: ${cause.code === "ENOENT" ? "no such file" : printable(cause.message)}`, { cause });
  });
  try {
    return mixtureOf(parseJson(text));
  } catch (cause) {
    if (!(cause instanceof RegimesError)) throw cause;
    const code = cause.code === "E_OPTION" || cause.code === "E_DOMAIN" ? "E_PARSE" : cause.code;
    throw new RegimesError(code, printable(`${path}: ${cause.message.slice(cause.code.length + 1)}`), { cause });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RegimesError("E_PARSE", (cause as Error).message, { cause });
  }
}

function mixtureOf(value: unknown): Target {
  const parameters = record("the mixture", value);
  checkOptionNames("the mixture", parameters, ["weights", "means", "covariances"]);
  const weights = parameters["weights"] === undefined ? {} : { weights: nested("weights", parameters["weights"], 1).data };
  const means = nested("means", parameters["means"], 2);
  return gaussianMixture({ ...weights, means, covariances: covariances(parameters["covariances"]) });
}

function covariances(value: unknown): MixtureParameters["covariances"] {
  const fields = record("covariances", value);
  const array = (name: string, depth: number): NdArray => nested(`covariances.${name}`, fields[name], depth);
  const types = ["spherical", "diagonal", "full", "low-rank"] as const;
  const type = checkChoice("covariances.type", fields["type"] as (typeof types)[number], types);
  switch (type) {
    case "spherical":
      return { type, variances: array("variances", 1).data };
    case "diagonal":
      return { type, variances: array("variances", 2) };
    case "full":
      return { type, matrices: array("matrices", 3) };
    case "low-rank":
      return { type, diagonals: array("diagonals", 2), factors: array("factors", 3) };
  }
}

function record(what: string, value: unknown): Record<string, unknown> {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new RegimesError("E_PARSE", `${what}: expected an object {...}`);
}

/** Lists of `depth` levels, all of one shape, as one array. */
function nested(what: string, value: unknown, depth: number): NdArray {
  const shape: number[] = [];
  for (let level = value; Array.isArray(level) && shape.length < depth; level = level[0]) shape.push(level.length);
  if (shape.length < depth) throw new RegimesError("E_SHAPE", `${what}: expected lists nested ${depth} deep`);
  const data: number[] = [];
  const visit = (part: unknown, level: number): void => {
    if (level === depth) {
      if (typeof part !== "number") throw new RegimesError("E_PARSE", `${what}: ${JSON.stringify(part)} is not a number`);
      data.push(part);
      return;
    }
    if (!Array.isArray(part) || part.length !== shape[level]) {
      throw new RegimesError("E_SHAPE", `${what}: its lists have different lengths, need shape [${shape.join(", ")}] throughout`);
    }
    for (const inner of part) visit(inner, level + 1);
  };
  visit(value, 0);
  return { data: Float64Array.from(data), shape };
}
