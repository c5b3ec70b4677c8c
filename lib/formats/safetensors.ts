/**
 * safetensors: a little-endian 64-bit header length, a JSON header {name: {dtype, shape, data_offsets}}, the tensors. The tensors must
 * tile the rest of the file: no hole, no overlap, nothing after the last. Source: huggingface/safetensors README, "Format".
 */
import { RegimesError, nearestWord, printable } from "../errors.js";
import { byteSize, decodeElements, elementWidth, type ElementType, type ParsedArray } from "./elements.js";
import { HeaderScanner } from "./scanner.js";

/** The limit of the format's own reader. */
const headerLimit = 100_000_000;

const typeOf: Readonly<Record<string, Exclude<ElementType, "text">>> = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  BOOL: "bool",
  U8: "uint8",
  I8: "int8",
  U16: "uint16",
  I16: "int16",
  U32: "uint32",
  I32: "int32",
  U64: "uint64",
  I64: "int64",
};

interface Tensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** Does the file begin with a small 64-bit length and an opening brace? */
export function isSafetensors(bytes: Uint8Array): boolean {
  return bytes.length >= 9 && bytes[4] === 0 && bytes[5] === 0 && bytes[6] === 0 && bytes[7] === 0 && bytes[8] === 0x7b;
}

/**
 * One tensor of a safetensors file: the one called `name`, or the only one, or the only one with `dimensions` dimensions.
 * @throws RegimesError E_HEADER, E_DTYPE, E_RANGE; E_OPTION listing the names when the choice is open.
 */
export function parseSafetensors(bytes: Uint8Array, what: string, name?: string, dimensions = 2): ParsedArray {
  const { dtype, shape, begin, end } = locateTensor(bytes, bytes.length, what, name, dimensions);
  return { stored: decodeElements(what, bytes.subarray(begin, end), dtype), shape, dtype };
}

/** Bytes that hold the header of a file beginning with `head`. @throws RegimesError E_HEADER. */
export function safetensorsHeadBytes(head: Uint8Array, what: string): number {
  if (head.length < 8) throw new RegimesError("E_HEADER", `${what}: ${head.length} bytes are too few for a safetensors file`);
  const length = new DataView(head.buffer, head.byteOffset, head.byteLength).getBigUint64(0, true);
  if (length > BigInt(headerLimit)) throw new RegimesError("E_HEADER", `${what}: header of ${length} bytes, the limit is ${headerLimit}`);
  return 8 + Number(length);
}

/**
 * Where in a file of `fileBytes` the tensor lies that `parseSafetensors` would choose; `head` holds at least its header.
 * @throws RegimesError as `parseSafetensors`.
 */
export function locateTensor(
  head: Uint8Array,
  fileBytes: number,
  what: string,
  name: string | undefined,
  dimensions: number,
): { dtype: Exclude<ElementType, "text">; shape: readonly number[]; begin: number; end: number } {
  const { tensors, dataStart } = readHeader(head, fileBytes, what);
  const tensor = choose(what, tensors, name, dimensions);
  const dtype = Object.hasOwn(typeOf, tensor.dtype) ? typeOf[tensor.dtype] : undefined;
  if (dtype === undefined) {
    throw new RegimesError(
      "E_DTYPE",
      `${what}: tensor "${printable(tensor.name)}" has dtype ${printable(tensor.dtype)}, read are ${Object.keys(typeOf).join(", ")}`,
    );
  }
  return { dtype, shape: tensor.shape, begin: dataStart + tensor.begin, end: dataStart + tensor.end };
}

function choose(what: string, tensors: readonly Tensor[], name: string | undefined, dimensions: number): Tensor {
  const describe = (tensor: Tensor): string => `"${printable(tensor.name)}" (${tensor.shape.join(", ")}) ${printable(tensor.dtype)}`;
  const list = tensors.slice(0, 20).map(describe).join("; ") + (tensors.length > 20 ? `; and ${tensors.length - 20} more` : "");
  if (name !== undefined) {
    const found = tensors.find((tensor) => tensor.name === name);
    if (found !== undefined) return found;
    const near = nearestWord(name, tensors.slice(0, 1000).map((tensor) => tensor.name));
    const hint = near === undefined ? `It has ${list || "none"}` : `Did you mean "${printable(near)}"?`;
    throw new RegimesError("E_OPTION", `${what} has no tensor "${printable(name)}". ${hint}`);
  }
  const candidates = tensors.length === 1 ? tensors : tensors.filter((tensor) => tensor.shape.length === dimensions);
  if (candidates.length === 1) return candidates[0]!;
  const why = `has ${candidates.length} tensors of ${dimensions} dimensions`;
  throw new RegimesError("E_OPTION", `${what} ${why}: say which with the option tensor. It has ${list || "none"}`);
}

function readHeader(bytes: Uint8Array, fileBytes: number, what: string): { tensors: Tensor[]; dataStart: number } {
  const dataStart = safetensorsHeadBytes(bytes, what);
  if (dataStart > bytes.length) {
    throw new RegimesError("E_HEADER", `${what}: the header ends at byte ${dataStart}, the file has ${fileBytes}`);
  }
  const tensors = readTensors(what, decodeText(what, bytes.subarray(8, dataStart)));
  checkTiling(what, tensors, fileBytes - dataStart);
  return { tensors, dataStart };
}

function decodeText(what: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new RegimesError("E_HEADER", `${what}: the header is not UTF-8 text`);
  }
}

function readTensors(what: string, text: string): Tensor[] {
  const scanner = new HeaderScanner(what, text);
  const tensors: Tensor[] = [];
  const names = new Set<string>();
  scanner.expect("{");
  if (!scanner.take("}")) {
    do {
      const name = scanner.quoted('"');
      if (names.has(name)) throw new RegimesError("E_HEADER", `${what}: the name "${printable(name)}" comes twice`);
      names.add(name);
      scanner.expect(":");
      scanner.expect("{");
      if (name === "__metadata__") skipMetadata(scanner);
      else tensors.push(readTensor(what, scanner, name));
    } while (scanner.take(","));
    scanner.expect("}");
  }
  scanner.end();
  return tensors;
}

function skipMetadata(scanner: HeaderScanner): void {
  if (scanner.take("}")) return;
  do {
    scanner.quoted('"');
    scanner.expect(":");
    scanner.quoted('"');
  } while (scanner.take(","));
  scanner.expect("}");
}

function readTensor(what: string, scanner: HeaderScanner, name: string): Tensor {
  let dtype: string | undefined;
  let shape: readonly number[] | undefined;
  let offsets: readonly number[] | undefined;
  do {
    const key = scanner.quoted('"');
    scanner.expect(":");
    if (key === "dtype" && dtype === undefined) dtype = scanner.quoted('"');
    else if (key === "shape" && shape === undefined) shape = scanner.sizes("[", "]");
    else if (key === "data_offsets" && offsets === undefined) offsets = scanner.sizes("[", "]");
    else throw new RegimesError("E_HEADER", `${what}: key "${printable(key)}" of tensor "${printable(name)}" is unknown or comes twice`);
  } while (scanner.take(","));
  scanner.expect("}");
  if (dtype === undefined || shape === undefined || offsets === undefined || offsets.length !== 2) {
    throw new RegimesError("E_HEADER", `${what}: tensor "${printable(name)}" needs dtype, shape and two data_offsets`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw new RegimesError("E_HEADER", `${what}: tensor "${printable(name)}" begins at ${begin} and ends at ${end}`);
  const known = Object.hasOwn(typeOf, dtype) ? typeOf[dtype] : undefined;
  if (known !== undefined) {
    const size = byteSize(what, shape, elementWidth[known]);
    if (size !== end - begin) {
      const promised = `shape (${shape.join(", ")}) of ${dtype} is ${size} bytes`;
      const held = `its offsets [${begin}, ${end}] hold ${end - begin}`;
      throw new RegimesError("E_HEADER", `${what}: tensor "${printable(name)}": ${promised}, ${held}`);
    }
  }
  return { name, dtype, shape, begin, end };
}

function checkTiling(what: string, tensors: readonly Tensor[], dataBytes: number): void {
  const ordered = tensors.toSorted((left, right) => left.begin - right.begin || left.end - right.end);
  let reached = 0;
  for (const { name, begin, end } of ordered) {
    if (begin !== reached) {
      const hole = `leaves bytes ${reached} to ${begin} to nobody`;
      const problem = begin > reached ? hole : `overlaps its neighbour by ${reached - begin} bytes`;
      throw new RegimesError("E_HEADER", `${what}: tensor "${printable(name)}" at offset ${begin} ${problem}`);
    }
    reached = end;
  }
  if (reached !== dataBytes) {
    throw new RegimesError("E_HEADER", `${what}: the tensors end at offset ${reached}, the file holds ${dataBytes} bytes of data`);
  }
}
