/** The .npy form (NumPy format 1.0) of a float64 matrix, for samples that other programs read. */
export function npy(data: Float64Array, shape: readonly number[]): Uint8Array {
  const description = `{'descr': '<f8', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const prefix = 10; // magic, version, length of the header
  const padded = Math.ceil((prefix + description.length + 1) / 64) * 64 - prefix;
  const file = Buffer.alloc(prefix + padded + 8 * data.length);
  file.write("\u0093NUMPY\u0001\u0000", "latin1");
  file.writeUInt16LE(padded, 8);
  file.write(`${description.padEnd(padded - 1)}\n`, prefix, "latin1");
  data.forEach((value, k) => file.writeDoubleLE(value, prefix + padded + 8 * k));
  return file;
}
