/**
 * Files whose rows native code can read where they lie, without a copy: uncompressed .npy and safetensors of uint8, float16, float32 or
 * float64 in C order. Here a file is judged, its header read and its rows located; the mapping itself is native.
 */
import { constants as bufferLimits } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { freemem } from "node:os";
import { setImmediate } from "node:timers/promises";
import { RegimesError } from "../errors.js";
import { checkFileSize, decodeElements, elementWidth, hostLittleEndian, type ElementType } from "./elements.js";
import { fileName, openRegularFile, readAt } from "./file.js";
import { isNpy, npyHeadBytes, readNpyHeader } from "./npy.js";
import { isSafetensors, locateTensor, safetensorsHeadBytes } from "./safetensors.js";

/** true: map or say why not. false: read. "auto": map what is large, where it can be mapped. */
export type MapChoice = boolean | "auto";

export type MappedType = "uint8" | "float16" | "float32" | "float64";

/** An array inside an open file, which is the caller's to close. */
export interface LocatedArray {
  readonly what: string;
  readonly file: FileHandle;
  readonly fileBytes: number;
  readonly writtenNs: bigint;
  readonly dtype: MappedType;
  readonly shape: readonly number[];
  readonly dataStart: number;
}

/** The limit of what is read into memory where none is stated. */
export const defaultMaxBytes: number = 16 * 1024 ** 3;

const mappedTypes: readonly ElementType[] = ["uint8", "float16", "float32", "float64"];

/** Larger files are mapped by "auto": a copy in memory, twice while it is made, would take half of what is free. */
export function autoMapBytes(): number {
  const available = process.availableMemory?.() ?? freemem();
  return Math.min(available / 4, bufferLimits.MAX_LENGTH, defaultMaxBytes);
}

/**
 * The array of a file that is to be mapped, or null where it is to be read. `obstacle` is what in the other options needs a copy.
 * @throws RegimesError E_OPTION saying why a file with `map: true` cannot be mapped; E_FILE, E_HEADER, E_DTYPE as the parsers do.
 */
export async function locateMapped(
  path: string,
  map: MapChoice,
  tensor: string | undefined,
  obstacle: string | undefined,
): Promise<LocatedArray | null> {
  if (map === false) return null;
  const what = fileName(path);
  const refuse = (reason: string): null => {
    if (map === "auto") return null;
    throw new RegimesError("E_OPTION", `map: ${what} cannot be mapped: ${reason}. Leave out map (--map) to read it into memory`);
  };
  if (process.platform === "win32") return refuse("files are not mapped on Windows");
  if (obstacle !== undefined) return refuse(obstacle);
  const { file, stat } = await openRegularFile(path);
  let located: LocatedArray | null = null;
  try {
    const fileBytes = Number(stat.size);
    if (map === "auto" && fileBytes <= autoMapBytes()) return null;
    const head = await readAt(file, 0, Math.min(fileBytes, npyHeadBytes));
    if (head[0] === 0x1f && head[1] === 0x8b) return refuse("it is gzipped");
    if (!isNpy(head) && !isSafetensors(head)) return refuse("it is neither .npy nor safetensors");
    const array = isNpy(head) ? locateNpy(head, fileBytes, what) : await locateSafetensors(head, file, fileBytes, what, tensor);
    if (isNpy(head) && tensor !== undefined) {
      throw new RegimesError("E_OPTION", `tensor: ${what} is npy, only safetensors files have named tensors`);
    }
    const { dtype, littleEndian, fortranOrder, shape, dataStart } = array;
    const width = elementWidth[dtype];
    if (!isMapped(dtype)) return refuse(`${dtype} is converted when read; mapped are ${mappedTypes.join(", ")}`);
    if (fortranOrder) return refuse("it is in Fortran order. Write it as np.ascontiguousarray(a)");
    if (width > 1 && !(littleEndian && hostLittleEndian)) return refuse("its byte order is not that of this machine");
    if (dataStart % width !== 0) return refuse(`its elements of ${width} bytes begin at byte ${dataStart}, not a multiple of that`);
    located = { what, file, fileBytes, writtenNs: stat.mtimeNs, dtype, shape, dataStart };
    return located;
  } finally {
    if (located === null) await file.close();
  }
}

/**
 * The bytes that the same rows would have in memory, in pieces: as they stand, float16 widened.
 * @throws RegimesError E_FILE_CHANGED when the file is not, from here to its end, the one that was located.
 */
export async function* mappedBytes(
  array: LocatedArray,
  from: number,
  bytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const { what, file, dtype, fileBytes, writtenNs } = array;
  const piece = 16 * 1024 * 1024;
  for (let position = from; position < from + bytes; position += piece) {
    signal?.throwIfAborted();
    const read = await readAt(file, position, Math.min(piece, from + bytes - position));
    if (read.length < Math.min(piece, from + bytes - position)) break;
    const widened = dtype === "float16" ? decodeElements(what, read, dtype) : read;
    yield new Uint8Array(widened.buffer, widened.byteOffset, widened.byteLength);
    await setImmediate();
  }
  const { size, mtimeNs } = await file.stat({ bigint: true });
  if (Number(size) === fileBytes && mtimeNs === writtenNs) return;
  const change = Number(size) === fileBytes ? "was written to" : `went from ${fileBytes} to ${size} bytes`;
  throw new RegimesError("E_FILE_CHANGED", `${what} ${change} while it was opened (another process?). Run again when it is complete`);
}

function isMapped(dtype: ElementType): dtype is MappedType {
  return mappedTypes.includes(dtype);
}

interface Place {
  readonly dtype: Exclude<ElementType, "text">;
  readonly littleEndian: boolean;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
  readonly dataStart: number;
}

function locateNpy(head: Uint8Array, fileBytes: number, what: string): Place {
  const header = readNpyHeader(head, what);
  const { shape, dtype, dataStart, dataBytes } = header;
  checkFileSize(what, `shape (${shape.join(", ")}) of ${dtype}`, dataStart, dataBytes, fileBytes);
  return header;
}

async function locateSafetensors(
  head: Uint8Array,
  file: FileHandle,
  fileBytes: number,
  what: string,
  tensor: string | undefined,
): Promise<Place> {
  const headBytes = Math.min(safetensorsHeadBytes(head, what), fileBytes);
  const whole = headBytes <= head.length ? head.subarray(0, headBytes) : await readAt(file, 0, headBytes);
  const { dtype, shape, begin } = locateTensor(whole, fileBytes, what, tensor, 2);
  return { dtype, shape, dataStart: begin, littleEndian: true, fortranOrder: false };
}
