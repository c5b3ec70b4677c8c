/** Files as numpy, the MNIST tools and the safetensors library write them, as bytes; every part can be made to lie. */

export interface NpyParts {
  readonly descr?: string;
  readonly fortranOrder?: boolean;
  readonly shape?: readonly number[];
  readonly version?: number;
  /** Instead of the dict literal. */
  readonly header?: string;
  /** Where the data begin, a multiple of 64 in honest files. */
  readonly alignment?: number;
}

export function npyFile(data: ArrayBufferView, parts: NpyParts = {}): Uint8Array<ArrayBuffer> {
  const { descr = "<f8", fortranOrder = false, shape = [1, 1], version = 1, alignment = 64 } = parts;
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const dictionary = parts.header ?? `{'descr': '${descr}', 'fortran_order': ${fortranOrder ? "True" : "False"}, 'shape': ${tuple}, }`;
  const start = version === 1 ? 10 : 12;
  const text = dictionary.padEnd(Math.ceil((start + dictionary.length + 1) / alignment) * alignment - start - 1) + "\n";
  const head = Buffer.alloc(start);
  head.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]);
  if (version === 1) head.writeUInt16LE(text.length, 8);
  else head.writeUInt32LE(text.length, 8);
  return joined(head, Buffer.from(text, "latin1"), data);
}

export function idxFile(type: number, shape: readonly number[], data: ArrayBufferView): Uint8Array<ArrayBuffer> {
  const head = Buffer.alloc(4 + 4 * shape.length);
  head.set([0, 0, type, shape.length]);
  shape.forEach((extent, axis) => head.writeUInt32BE(extent, 4 + 4 * axis));
  return joined(head, data);
}

export function safetensorsFile(header: object | string, data: ArrayBufferView): Uint8Array<ArrayBuffer> {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return joined(length, text, data);
}

/** The same elements in the other byte order. */
export function swapped(data: ArrayBufferView, width: 2 | 4 | 8): Uint8Array<ArrayBuffer> {
  const copy = joined(data);
  const view = Buffer.from(copy.buffer);
  if (width === 2) view.swap16();
  else if (width === 4) view.swap32();
  else view.swap64();
  return copy;
}

export function joined(...parts: readonly ArrayBufferView[]): Uint8Array<ArrayBuffer> {
  const pieces = parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let position = 0;
  for (const piece of pieces) {
    bytes.set(piece, position);
    position += piece.length;
  }
  return bytes;
}
