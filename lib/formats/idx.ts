/**
 * IDX, the format of the MNIST family: two zero bytes, element type, number of dimensions, big-endian 32-bit extents, big-endian
 * elements. Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database" (the file format section).
 */
import { RegimesError } from "../errors.js";
import { byteSize, checkFileSize, decodeElements, elementWidth, type ElementType, type ParsedArray } from "./elements.js";

const typeOf: Readonly<Record<number, Exclude<ElementType, "text">>> = {
  0x08: "uint8",
  0x09: "int8",
  0x0b: "int16",
  0x0c: "int32",
  0x0d: "float32",
  0x0e: "float64",
};

export interface IdxHeader {
  readonly dtype: Exclude<ElementType, "text">;
  readonly shape: readonly number[];
  readonly dataStart: number;
  readonly dataBytes: number;
}

/** Does the file begin as an IDX: 0, 0, a known type, at least one dimension? */
export function isIdx(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0 && bytes[1] === 0 && typeOf[bytes[2]!] !== undefined && bytes[3]! > 0;
}

/** @throws RegimesError E_HEADER, E_DTYPE. */
export function readIdxHeader(bytes: Uint8Array, what: string): IdxHeader {
  if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== 0 || bytes[3] === 0) {
    throw new RegimesError("E_HEADER", `${what}: does not begin as an IDX file (0, 0, element type, number of dimensions)`);
  }
  const dtype = typeOf[bytes[2]!];
  if (dtype === undefined) {
    throw new RegimesError("E_DTYPE", `${what}: IDX element type 0x${bytes[2]!.toString(16)} is not one of 08, 09, 0b, 0c, 0d, 0e`);
  }
  const dimensions = bytes[3]!;
  const dataStart = 4 + 4 * dimensions;
  if (bytes.length < dataStart) {
    const promise = `${dimensions} dimensions need a header of ${dataStart} bytes`;
    throw new RegimesError("E_HEADER", `${what}: ${promise}, the file has ${bytes.length}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const shape = Array.from({ length: dimensions }, (_, axis) => view.getUint32(4 + 4 * axis, false));
  return { dtype, shape, dataStart, dataBytes: byteSize(what, shape, elementWidth[dtype]) };
}

/** The array of an IDX file. @throws RegimesError E_HEADER (contradictions, truncation, trailing bytes), E_DTYPE. */
export function parseIdx(bytes: Uint8Array, what: string): ParsedArray {
  const { dtype, shape, dataStart, dataBytes } = readIdxHeader(bytes, what);
  checkFileSize(what, `shape (${shape.join(", ")}) of ${dtype}`, dataStart, dataBytes, bytes.length);
  return { stored: decodeElements(what, bytes.subarray(dataStart), dtype, false), shape, dtype };
}
