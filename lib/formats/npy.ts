/**
 * NumPy's .npy, versions 1, 2 and 3: magic, version, header length, a Python dict literal, the elements.
 * Numbers in either byte order and either memory order are read; Python objects never are, and there is no option that allows them.
 * Format: numpy/lib/format.py (NumPy Enhancement Proposal 1).
 */
import { RegimesError, printable } from "../errors.js";
import {
  byteSize,
  checkFileSize,
  decodeElements,
  elementWidth,
  fortranStrides,
  toRowMajor,
  type ElementType,
  type ParsedArray,
} from "./elements.js";
import { HeaderScanner } from "./scanner.js";

/** numpy refuses longer headers for fear of its own literal parser; ours is linear, but no honest header needs more. */
const headerLimit = 64 * 1024;

/** Bytes from which `readNpyHeader` can read any valid header. */
export const npyHeadBytes: number = headerLimit + 12;

const typeOf: Readonly<Record<string, Exclude<ElementType, "text">>> = {
  b1: "bool",
  u1: "uint8",
  i1: "int8",
  u2: "uint16",
  i2: "int16",
  u4: "uint32",
  i4: "int32",
  u8: "uint64",
  i8: "int64",
  f2: "float16",
  f4: "float32",
  f8: "float64",
};

export interface NpyHeader {
  readonly dtype: Exclude<ElementType, "text">;
  readonly littleEndian: boolean;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
  readonly dataStart: number;
  readonly dataBytes: number;
}

/** Does the file begin as an .npy? */
export function isNpy(bytes: Uint8Array): boolean {
  return bytes.length >= 6 && bytes[0] === 0x93 && String.fromCharCode(...bytes.subarray(1, 6)) === "NUMPY";
}

/** @throws RegimesError E_HEADER, E_DTYPE, E_PICKLE_REFUSED. */
export function readNpyHeader(bytes: Uint8Array, what: string): NpyHeader {
  if (!isNpy(bytes)) throw new RegimesError("E_HEADER", `${what}: does not begin with \\x93NUMPY`);
  if (bytes.length < 12) throw new RegimesError("E_HEADER", `${what}: ${bytes.length} bytes are too few for a header`);
  const version = bytes[6]!;
  if (version < 1 || version > 3 || bytes[7] !== 0) {
    throw new RegimesError("E_HEADER", `${what}: .npy version ${version}.${bytes[7]}, versions 1.0, 2.0 and 3.0 are read`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const textStart = version === 1 ? 10 : 12;
  const textLength = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (textLength > headerLimit) throw new RegimesError("E_HEADER", `${what}: header of ${textLength} bytes, the limit is ${headerLimit}`);
  const dataStart = textStart + textLength;
  if (dataStart > bytes.length) {
    throw new RegimesError("E_HEADER", `${what}: the header ends at byte ${dataStart}, the file has ${bytes.length}`);
  }
  const text = new TextDecoder(version === 3 ? "utf-8" : "latin1").decode(bytes.subarray(textStart, dataStart));
  const { descr, fortranOrder, shape } = readDictionary(what, text);
  const { dtype, littleEndian } = readType(what, descr);
  return { dtype, littleEndian, fortranOrder, shape, dataStart, dataBytes: byteSize(what, shape, elementWidth[dtype]) };
}

/**
 * The array of an .npy file, shape as stored, C order.
 * @throws RegimesError E_HEADER (contradictions, truncation, trailing bytes), E_DTYPE (complex, strings, records), E_PICKLE_REFUSED,
 * E_RANGE (64-bit integers beyond 2^53).
 */
export function parseNpy(bytes: Uint8Array, what: string): ParsedArray {
  const { dtype, littleEndian, fortranOrder, shape, dataStart, dataBytes } = readNpyHeader(bytes, what);
  checkFileSize(what, `shape (${shape.join(", ")}) of ${dtype}`, dataStart, dataBytes, bytes.length);
  const stored = decodeElements(what, bytes.subarray(dataStart), dtype, littleEndian);
  return { stored: fortranOrder ? toRowMajor(stored, shape, fortranStrides(shape)) : stored, shape, dtype };
}

function readDictionary(what: string, text: string): { descr: string; fortranOrder: boolean; shape: readonly number[] } {
  const scanner = new HeaderScanner(what, text);
  let descr: string | undefined;
  let fortranOrder: boolean | undefined;
  let shape: readonly number[] | undefined;
  scanner.expect("{");
  while (!scanner.take("}")) {
    const key = scanner.quoted(`'"`);
    scanner.expect(":");
    if (key === "descr" && descr === undefined) {
      if (scanner.peek() === "[" || scanner.peek() === "(") refuseRecords(what, scanner.rest());
      descr = scanner.quoted(`'"`);
    } else if (key === "fortran_order" && fortranOrder === undefined) fortranOrder = scanner.word(["True", "False"]) === "True";
    else if (key === "shape" && shape === undefined) shape = scanner.sizes("(", ")");
    else throw new RegimesError("E_HEADER", `${what}: header key '${printable(key)}' is unknown or comes twice`);
    if (scanner.take(",")) continue;
    scanner.expect("}");
    break;
  }
  scanner.end();
  if (descr === undefined || fortranOrder === undefined || shape === undefined) {
    throw new RegimesError("E_HEADER", `${what}: the header needs 'descr', 'fortran_order' and 'shape'`);
  }
  return { descr, fortranOrder, shape };
}

function readType(what: string, descr: string): { dtype: Exclude<ElementType, "text">; littleEndian: boolean } {
  const [, order = "", name = ""] = /^([<>|=]?)(.*)$/s.exec(descr) ?? [];
  if (/^O\d*$/.test(name)) refusePickle(what, `dtype '${descr}' stores Python objects (pickle)`);
  const dtype = Object.hasOwn(typeOf, name) ? typeOf[name] : undefined;
  if (dtype === undefined || (order === "|" && elementWidth[dtype] > 1)) {
    throw new RegimesError(
      "E_DTYPE",
      `${what}: dtype '${printable(descr)}' is not read, only real numbers (b1, u1 to u8, i1 to i8, f2, f4, f8). ` +
        `Convert first: a.astype("f4")`,
    );
  }
  return { dtype, littleEndian: order !== ">" };
}

function refuseRecords(what: string, descr: string): never {
  if (/['"][<>|=]?O\d*['"]/.test(descr)) refusePickle(what, "a record dtype with Python objects (pickle)");
  throw new RegimesError("E_DTYPE", `${what}: record dtypes are not read. Save one array of numbers: np.save("data.npy", a["field"])`);
}

/** @throws RegimesError E_PICKLE_REFUSED, always, with the line that writes numbers instead. */
export function refusePickle(what: string, found: string): never {
  throw new RegimesError(
    "E_PICKLE_REFUSED",
    `${what}: ${found} and is never loaded. Save numbers instead: np.save("data.npy", np.asarray(a).astype("f4"))`,
  );
}
