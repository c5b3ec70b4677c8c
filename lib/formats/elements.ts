/**
 * From the bytes of a file to the three stored types the native code takes: one table of element types, exact conversions only.
 * Files are read on little- and big-endian hosts alike; a view of the file's own bytes is returned where nothing needs converting.
 */
import { RegimesError } from "../errors.js";

/** Element types as they are named in results; "text" is a decimal table. */
export type ElementType =
  | "bool"
  | "uint8"
  | "int8"
  | "uint16"
  | "int16"
  | "uint32"
  | "int32"
  | "uint64"
  | "int64"
  | "float16"
  | "bfloat16"
  | "float32"
  | "float64"
  | "text";

/** What native data sets are stored as. */
export type Stored = Uint8Array | Float32Array | Float64Array;

/** What every parser returns: `stored` in C order holds exactly the numbers of the file. */
export interface ParsedArray {
  readonly stored: Stored;
  readonly shape: readonly number[];
  readonly dtype: ElementType;
}

/** Bytes per element in a file. */
export const elementWidth: Readonly<Record<Exclude<ElementType, "text">, 1 | 2 | 4 | 8>> = {
  bool: 1,
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  float16: 2,
  bfloat16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  uint64: 8,
  int64: 8,
  float64: 8,
};

/** Byte order of this machine. */
export const hostLittleEndian: boolean = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Bytes of an array of this shape. @throws RegimesError E_HEADER when an extent or the product is beyond 2^53. */
export function byteSize(what: string, shape: readonly number[], width: number): number {
  let size = width;
  for (const extent of shape) {
    if (!Number.isSafeInteger(extent) || extent < 0) {
      throw new RegimesError("E_HEADER", `${what}: extent ${extent} of shape (${shape.join(", ")}) is not a size`);
    }
    size *= extent;
    // A later extent of 0 would hide an overflow that happened before it; such a header is a lie all the same.
    if (!Number.isSafeInteger(size)) {
      throw new RegimesError("E_HEADER", `${what}: shape (${shape.join(", ")}) has more than 2^53 bytes`);
    }
  }
  return size;
}

/** Throws E_HEADER unless a file holds exactly what its header promises. */
export function checkFileSize(what: string, promised: string, dataStart: number, dataBytes: number, fileBytes: number): void {
  const expected = dataStart + dataBytes;
  if (expected === fileBytes) return;
  const missing = expected - fileBytes;
  const difference = missing > 0 ? `${missing} are missing (an unfinished copy?)` : `${-missing} are too many`;
  throw new RegimesError(
    "E_HEADER",
    `${what}: the header promises ${promised} = ${dataBytes} bytes after byte ${dataStart}, in all ${expected}; ` +
      `the file has ${fileBytes}: ${difference}`,
  );
}

/**
 * The numbers of `bytes`, each exactly: uint8 and bool stay bytes, types of at most 24 significant bits become float32, the others
 * float64. May return a view of `bytes`.
 * @throws RegimesError E_RANGE for a 64-bit integer that float64 cannot hold (beyond 2^53).
 */
export function decodeElements(what: string, bytes: Uint8Array, type: Exclude<ElementType, "text">, littleEndian = true): Stored {
  if (type === "uint8") return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (type === "bool") return decodeBool(bytes);
  const width = elementWidth[type];
  const { buffer, byteOffset, byteLength } = inHostOrder(bytes, width, littleEndian);
  const count = byteLength / width;
  switch (type) {
    case "int8":
      return new Float32Array(new Int8Array(buffer, byteOffset, count));
    case "uint16":
      return new Float32Array(new Uint16Array(buffer, byteOffset, count));
    case "int16":
      return new Float32Array(new Int16Array(buffer, byteOffset, count));
    case "uint32":
      return new Float64Array(new Uint32Array(buffer, byteOffset, count));
    case "int32":
      return new Float64Array(new Int32Array(buffer, byteOffset, count));
    case "float16":
      return decodeHalf(new Uint16Array(buffer, byteOffset, count));
    case "bfloat16":
      return decodeBrainFloat(new Uint16Array(buffer, byteOffset, count));
    case "float32":
      return new Float32Array(buffer, byteOffset, count);
    case "float64":
      return new Float64Array(buffer, byteOffset, count);
    case "uint64":
    case "int64":
      return decodeLong(what, new Uint32Array(buffer, byteOffset, 2 * count), type === "int64");
  }
}

/** The same bytes aligned and in the order of this machine, copied only when needed. */
function inHostOrder(bytes: Uint8Array, width: number, littleEndian: boolean): Uint8Array {
  const swap = width > 1 && littleEndian !== hostLittleEndian;
  if (!swap && bytes.byteOffset % width === 0) return bytes;
  const copy = new Uint8Array(bytes);
  if (swap) {
    const view = Buffer.from(copy.buffer);
    if (width === 2) view.swap16();
    else if (width === 4) view.swap32();
    else view.swap64();
  }
  return copy;
}

/** Any non-zero byte is true, as in numpy. */
function decodeBool(bytes: Uint8Array): Uint8Array {
  const values = new Uint8Array(bytes.length);
  for (let k = 0; k < bytes.length; k++) values[k] = bytes[k] === 0 ? 0 : 1;
  return values;
}

let halves: Float32Array | undefined;

/** IEEE binary16 by table: 65536 entries cost less than decoding each element. */
function decodeHalf(bits: Uint16Array): Float32Array {
  halves ??= Float32Array.from({ length: 65536 }, (_, half) => {
    const sign = half >= 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return sign * (1024 + fraction) * 2 ** (exponent - 25);
  });
  const values = new Float32Array(bits.length);
  for (let k = 0; k < bits.length; k++) values[k] = halves[bits[k]!]!;
  return values;
}

/** bfloat16 is the upper half of a float32. */
function decodeBrainFloat(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let k = 0; k < bits.length; k++) words[k] = bits[k]! << 16;
  return new Float32Array(words.buffer);
}

/** 64-bit integers from their two halves: BigInt64Array would make one object per element. */
function decodeLong(what: string, halvesOf: Uint32Array, signed: boolean): Float64Array {
  const values = new Float64Array(halvesOf.length / 2);
  const low = hostLittleEndian ? 0 : 1;
  for (let k = 0; k < values.length; k++) {
    const lower = halvesOf[2 * k + low]!;
    const raw = halvesOf[2 * k + 1 - low]!;
    const upper = signed ? raw | 0 : raw;
    // Within [-2^21, 2^21) the sum below is exact; 2^53 itself is, too.
    if ((upper < -0x200000 || upper >= 0x200000) && !(upper === 0x200000 && lower === 0)) {
      const value = (BigInt(upper) << 32n) + BigInt(lower);
      throw new RegimesError("E_RANGE", `${what}: element ${k} is ${value}; float64 holds whole numbers exactly up to 2^53 only`);
    }
    values[k] = upper * 0x100000000 + lower;
  }
  return values;
}

/** Strides of a Fortran-order array (first index fastest), in elements. */
export function fortranStrides(shape: readonly number[]): number[] {
  let stride = 1;
  return shape.map((extent) => {
    const own = stride;
    stride *= extent;
    return own;
  });
}

/** The C-order copy of an array whose element (i, j, ...) lies at i strides[0] + j strides[1] + ... */
export function toRowMajor<T extends Stored>(stored: T, shape: readonly number[], strides: readonly number[]): T {
  const count = shape.reduce((product, extent) => product * extent, 1);
  const result = new (stored.constructor as new (length: number) => T)(count);
  const last = shape.length - 1;
  const columns = shape[last] ?? 1;
  const columnStride = strides[last] ?? 1;
  const index = shape.map(() => 0);
  let offset = 0;
  for (let position = 0; position < count; position += columns) {
    for (let column = 0; column < columns; column++) result[position + column] = stored[offset + column * columnStride]!;
    for (let axis = last - 1; axis >= 0; axis--) {
      offset += strides[axis]!;
      index[axis]!++;
      if (index[axis]! < shape[axis]!) break;
      offset -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return result;
}
