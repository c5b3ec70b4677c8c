/**
 * From a path to bytes in memory: regular files only, unpacked when gzipped, and the format told by the first bytes, then by the
 * extension. Nothing here interprets numbers.
 */
import { constants as bufferLimits } from "node:buffer";
import { constants as openFlags, existsSync } from "node:fs";
import type { BigIntStats } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import { createGunzip } from "node:zlib";
import { RegimesError, printable } from "../errors.js";
import { isIdx, readIdxHeader } from "./idx.js";
import { isNpy, npyHeadBytes, readNpyHeader, refusePickle } from "./npy.js";
import { isSafetensors } from "./safetensors.js";

export type FileFormat = "npy" | "idx" | "delimited" | "safetensors";

export interface ReadOptions {
  /** Largest number of bytes to hold, packed or unpacked. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

export interface FileContents {
  /** The file name as messages show it. */
  readonly what: string;
  readonly format: FileFormat;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const chunkBytes = 16 * 1024 * 1024;

/** The name of a file as messages show it. */
export const fileName = (path: string): string => printable(basename(path)) || printable(path);

/**
 * The contents of a regular file, unpacked, with its format.
 * @throws RegimesError E_FILE, E_FILE_CHANGED, E_HEADER (gzip of something longer than its header says), E_OUT_OF_MEMORY (maxBytes),
 * E_PICKLE_REFUSED.
 */
export async function readDataFile(path: string, options: ReadOptions): Promise<FileContents> {
  const what = fileName(path);
  const limit = Math.min(options.maxBytes, bufferLimits.MAX_LENGTH);
  const packed = await readRegularFile(path, what, limit, options);
  const gzipped = packed[0] === 0x1f && packed[1] === 0x8b;
  const bytes = gzipped ? await gunzip(packed, what, limit, options) : packed;
  return { what, format: detectFormat(bytes, path, what), bytes };
}

async function readRegularFile(path: string, what: string, limit: number, options: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
  const { file, stat: before } = await openRegularFile(path);
  try {
    const size = Number(before.size);
    if (size > limit) throw tooLarge(what, `has ${size} bytes`, limit, options);
    const bytes = new Uint8Array(size);
    let position = 0;
    while (position < size) {
      options.signal?.throwIfAborted();
      const { bytesRead } = await file.read(bytes, position, Math.min(chunkBytes, size - position), position);
      if (bytesRead === 0) break;
      position += bytesRead;
      options.onProgress?.(position / size);
    }
    const after = await file.stat({ bigint: true });
    if (position !== size || after.size !== before.size || after.mtimeNs !== before.mtimeNs) {
      const change = after.size === before.size ? "was written to" : `went from ${size} to ${after.size} bytes`;
      throw new RegimesError("E_FILE_CHANGED", `${what} ${change} while it was read (another process?). Run again when it is complete`);
    }
    return bytes;
  } finally {
    await file.close();
  }
}

/** An open file and what it was at the opening; the caller closes it. @throws RegimesError E_FILE. */
export async function openRegularFile(path: string): Promise<{ file: FileHandle; stat: BigIntStats }> {
  const file = await openFile(path);
  try {
    const stat = await file.stat({ bigint: true });
    if (stat.isFile()) return { file, stat };
    const kind = stat.isDirectory() ? "a folder" : "not a regular file";
    throw new RegimesError("E_FILE", `${printable(path)} is ${kind}; name a data file (.npy, IDX, .csv, .tsv, .safetensors)`);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Bytes of a file from `position`, fewer where it ends before. */
export async function readAt(file: FileHandle, position: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    // O_NONBLOCK: opening a FIFO that nobody writes to would otherwise wait for ever.
    return await open(path, openFlags.O_RDONLY | (openFlags.O_NONBLOCK ?? 0));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const reason = code === "ENOENT" ? "there is no such file" : code === "EACCES" ? "no permission to read it" : (cause as Error).message;
    throw new RegimesError("E_FILE", `${printable(path)}: ${printable(reason)}${code === "ENOENT" ? whereToFind(path) : ""}`, { cause });
  }
}

/** What a missing path may have meant. */
function whereToFind(path: string): string {
  if (existsSync(`${path}.gz`)) return `. There is ${printable(path)}.gz`;
  if (!/^(?:train|t10k)-(?:images-idx3|labels-idx1)-ubyte(?:\.gz)?$/.test(basename(path))) return "";
  return (
    ". Fashion-MNIST is a Debian package: apt-get install dataset-fashion-mnist puts these files (.gz) into " +
    "/usr/share/datasets/fashion-mnist"
  );
}

function tooLarge(what: string, found: string, limit: number, options: ReadOptions): RegimesError {
  const remedy =
    limit === options.maxBytes
      ? "Raise the option maxBytes"
      : `Node ${process.versions.node} holds no more in one array: split the file into parts`;
  return new RegimesError("E_OUT_OF_MEMORY", `${what} ${found}, the limit is ${limit}. ${remedy}`);
}

/** Unpacks in pieces and stops as soon as there is more than the header inside promises: a bomb costs no more than its label. */
async function gunzip(packed: Uint8Array, what: string, limit: number, options: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let total = 0;
  let promised: number | undefined;
  let inspected = false;
  const unpacker = createGunzip({ chunkSize: 1024 * 1024 });
  unpacker.end(packed);
  try {
    for await (const piece of unpacker as AsyncIterable<Buffer>) {
      options.signal?.throwIfAborted();
      pieces.push(piece);
      total += piece.length;
      if (!inspected && total >= npyHeadBytes) {
        inspected = true;
        promised = promisedBytes(join(pieces, total), what);
        if (promised !== undefined && promised > limit) throw tooLarge(what, `unpacks to ${promised} bytes`, limit, options);
      }
      if (promised !== undefined && total > promised) {
        throw new RegimesError("E_HEADER", `${what}: the header promises ${promised} bytes, the gzip stream holds more`);
      }
      if (total > limit) throw tooLarge(what, `unpacks to more than ${limit} bytes`, limit, options);
    }
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (typeof code !== "string" || !code.startsWith("Z_")) throw cause;
    const problem = code === "Z_BUF_ERROR" ? "ends before its end (an unfinished copy?)" : `is damaged (${(cause as Error).message})`;
    throw new RegimesError("E_FILE", `${what}: the gzip stream ${problem}, after ${total} bytes unpacked`, { cause });
  }
  return join(pieces, total);
}

function join(pieces: readonly Uint8Array[], total: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(total);
  let position = 0;
  for (const piece of pieces) {
    bytes.set(piece, position);
    position += piece.length;
  }
  return bytes;
}

/** Size of the whole unpacked file by its header, where the format has one. */
function promisedBytes(head: Uint8Array, what: string): number | undefined {
  if (!isNpy(head) && !isIdx(head)) return undefined;
  const { dataStart, dataBytes } = isNpy(head) ? readNpyHeader(head, what) : readIdxHeader(head, what);
  return dataStart + dataBytes;
}

/** Known by their first bytes, read by nobody here; each with the next step. */
const strangers: readonly (readonly [signature: string, name: string])[] = [
  ["\x89HDF", "an HDF5 file"],
  ["PAR1", "a parquet file"],
  ["\x89PNG", "a PNG image"],
  ["\xff\xd8\xff", "a JPEG image"],
  ["%PDF", "a PDF file"],
];

/** safetensors before IDX: a header length may look like an IDX magic, but no IDX of a positive size has four zero bytes next. */
function detectFormat(bytes: Uint8Array, path: string, what: string): FileFormat {
  if (isNpy(bytes)) return "npy";
  if (isSafetensors(bytes)) return "safetensors";
  if (isIdx(bytes)) return "idx";
  const extension = /\.([a-z0-9]+)(?:\.gz)?$/i.exec(path)?.[1]?.toLowerCase() ?? "";
  const head = Buffer.from(bytes.buffer, 0, Math.min(bytes.length, 512)).toString("latin1");
  const pickle = /^(?:pkl|pickle)$/.test(extension) || (bytes[0] === 0x80 && bytes[1]! >= 2 && bytes[1]! <= 5);
  if (pickle) refusePickle(what, "a pickle holds Python objects");
  if (head.startsWith("PK\x03\x04")) {
    const torch = /^(?:pt|pth|ckpt)$/.test(extension) || head.includes("data.pkl");
    if (torch) refusePickle(what, "a torch archive holds Python objects (pickle)");
    const remedy = 'Save the one array: np.save("data.npy", np.load("x.npz")["name"])';
    throw new RegimesError("E_FILE", `${what} is a zip archive (.npz?). ${remedy}`);
  }
  if (extension === "npy") return "npy";
  if (extension === "safetensors") return "safetensors";
  if (/^(?:csv|tsv|txt)$/.test(extension)) return "delimited";
  if (/(?:idx\d-)?ubyte$|^idx\d?$/.test(extension) || /idx\d-ubyte(?:\.gz)?$/.test(path)) return "idx";
  const stranger = strangers.find(([signature]) => head.startsWith(signature))?.[1];
  const begins = bytes.length === 0 ? "is empty" : `begins with bytes ${Buffer.from(head.slice(0, 8), "latin1").toString("hex")}`;
  throw new RegimesError(
    "E_FILE",
    `${what} ${stranger === undefined ? begins : `is ${stranger}`}: none of .npy, IDX, safetensors, .csv, .tsv. ` +
      `In Python: np.save("data.npy", a)`,
  );
}
