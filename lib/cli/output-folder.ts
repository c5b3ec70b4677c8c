/** The folder of a report: written only where nothing of anybody else's can be overwritten, each file whole or not at all. */
import { access, constants, mkdir, readdir, rename, rmdir, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { RegimesError, printable } from "../errors.js";

/** Present in every folder that this program has written. */
const marker = ".diffusion-regimes";

/** The folder for a data set without --out: its name without extensions and without characters that need quoting. */
export function defaultFolder(name: string): string {
  const slug = name
    .replace(/(\.(npy|csv|tsv|safetensors|json|gz))+$/i, "")
    .replaceAll(/[^A-Za-z0-9._-]+/g, "-")
    .replaceAll(/^[-.]+|[-.]+$/g, "")
    .slice(0, 60);
  return `diffusion-regimes-${slug === "" ? "data" : slug}`;
}

/** Says before the computation whether its results could be written. @throws RegimesError E_OPTION for "", E_OUTPUT. */
export async function checkFolder(folder: string): Promise<void> {
  if (folder === "") throw new RegimesError("E_OPTION", '--out is "", need the name of a folder');
  const what = printable(folder);
  let entries: string[];
  try {
    entries = await readdir(folder);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw refused(folder, cause);
    await tryFolder(resolve(folder), folder);
    return;
  }
  if (entries.length > 0 && !entries.includes(marker)) {
    throw new RegimesError("E_OUTPUT", `${what} is not empty and was not written by this program. Choose another folder with --out`);
  }
  await access(folder, constants.W_OK | constants.X_OK).catch((cause: unknown) => {
    throw refused(folder, cause);
  });
}

/** Makes the outermost folder that is missing and removes it: permission bits say little about /proc, or to root. */
async function tryFolder(missing: string, folder: string): Promise<void> {
  const parent = dirname(missing);
  try {
    if (parent === missing || (await exists(parent))) {
      await mkdir(missing);
      await rmdir(missing);
      return;
    }
  } catch (cause) {
    throw refused(folder, cause);
  }
  await tryFolder(parent, folder);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw cause;
  }
}

/** As mkdir with `recursive`, which in Node 20 never comes back where a folder exists but takes no new one, as /proc. */
async function makeFolder(folder: string): Promise<void> {
  if (await exists(folder)) return;
  const parent = dirname(folder);
  if (parent !== folder) await makeFolder(parent);
  await mkdir(folder);
}

/** Writes files into the folder, making it; a file that is there is replaced by the finished one. @throws RegimesError E_OUTPUT. */
export async function writeFolder(folder: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
  try {
    await makeFolder(resolve(folder));
    await writeFile(join(folder, marker), "Written by diffusion-regimes, which may write this folder again.\n");
    for (const [name, content] of Object.entries(files)) {
      const partial = join(folder, `.${name}.partial`);
      await writeFile(partial, content);
      await rename(partial, join(folder, name));
    }
  } catch (cause) {
    throw refused(folder, cause);
  }
}

function refused(folder: string, cause: unknown): RegimesError {
  return new RegimesError("E_OUTPUT", `${printable(folder)} cannot be written: ${(cause as Error).message}. Choose another folder with --out`, { cause });
}
