import * as fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { RegimesError } from "../lib/errors.js";
import { parseDelimited } from "../lib/formats/delimited.js";
import type { ParsedArray } from "../lib/formats/elements.js";
import { parseIdx } from "../lib/formats/idx.js";
import { parseNpy } from "../lib/formats/npy.js";
import { parseSafetensors } from "../lib/formats/safetensors.js";
import { idxFile, joined, npyFile, safetensorsFile, swapped } from "./written_files.js";

const text = (content: string): Uint8Array => new TextEncoder().encode(content);

/** The message of the RegimesError that `call` throws, its code in front; fails when it throws none or another kind. */
function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof RegimesError) return error.message;
    throw error;
  }
  return "nothing was thrown";
}

/** The largest number of elements that `call` asked any typed array for. */
function largestRequest(call: () => void): number {
  let largest = 0;
  const watch = <T extends object>(constructor: T): T =>
    new Proxy(constructor, {
      construct(target, parameters: unknown[], newTarget): object {
        const made = Reflect.construct(target as new () => { length: number }, parameters, newTarget) as { length: number };
        if (typeof parameters[0] === "number") largest = Math.max(largest, made.length);
        return made;
      },
    });
  vi.stubGlobal("Uint8Array", watch(Uint8Array));
  vi.stubGlobal("Uint32Array", watch(Uint32Array));
  vi.stubGlobal("Float32Array", watch(Float32Array));
  vi.stubGlobal("Float64Array", watch(Float64Array));
  try {
    call();
  } finally {
    vi.unstubAllGlobals();
  }
  return largest;
}

describe(".npy", () => {
  const cases: readonly (readonly [string, ArrayBufferView, readonly number[]])[] = [
    ["|b1", Uint8Array.of(0, 1, 1, 7), [0, 1, 1, 1]],
    ["|u1", Uint8Array.of(0, 1, 2, 255), [0, 1, 2, 255]],
    ["|i1", Int8Array.of(0, -1, 127, -128), [0, -1, 127, -128]],
    ["<u2", Uint16Array.of(0, 1, 2, 65535), [0, 1, 2, 65535]],
    ["<i2", Int16Array.of(0, -1, 32767, -32768), [0, -1, 32767, -32768]],
    ["<u4", Uint32Array.of(0, 1, 2, 4294967295), [0, 1, 2, 4294967295]],
    ["<i4", Int32Array.of(0, -1, 16777217, -2147483648), [0, -1, 16777217, -2147483648]],
    ["<u8", BigUint64Array.of(0n, 1n, 4294967297n, 9007199254740992n), [0, 1, 4294967297, 9007199254740992]],
    ["<i8", BigInt64Array.of(0n, -1n, -9007199254740992n, 9007199254740991n), [0, -1, -9007199254740992, 9007199254740991]],
    // Half precision: 1, -2, the largest (65504), the smallest denormal 2^-24.
    ["<f2", Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001), [1, -2, 65504, 2 ** -24]],
    ["<f4", Float32Array.of(0, -1.5, 3.4e38, 1e-45), [0, -1.5, Math.fround(3.4e38), 2 ** -149]],
    ["<f8", Float64Array.of(0, -1.1, 1e300, 5e-324), [0, -1.1, 1e300, 5e-324]],
  ];

  it.each(cases)("reads every number of %s exactly, in both byte orders", (descr, data, expected) => {
    const shape = [2, 2];
    expect(Array.from(parseNpy(npyFile(data, { descr, shape }), "x").stored)).toEqual(expected);
    const width = Number(descr[2]);
    if (width === 1) return;
    const bigEndian = npyFile(swapped(data, width as 2 | 4 | 8), { descr: `>${descr.slice(1)}`, shape });
    expect(Array.from(parseNpy(bigEndian, "x").stored)).toEqual(expected);
  });

  it("names the dtype and stores it in the smallest exact type", () => {
    const stored = (descr: string, data: ArrayBufferView): [string, string] => {
      const parsed = parseNpy(npyFile(data, { descr, shape: [1, 1] }), "x");
      return [parsed.dtype, parsed.stored.constructor.name];
    };
    expect(stored("|u1", new Uint8Array(1))).toEqual(["uint8", "Uint8Array"]);
    expect(stored("|b1", new Uint8Array(1))).toEqual(["bool", "Uint8Array"]);
    expect(stored("|i1", new Int8Array(1))).toEqual(["int8", "Float32Array"]);
    expect(stored("<u2", new Uint16Array(1))).toEqual(["uint16", "Float32Array"]);
    expect(stored("<f2", new Uint16Array(1))).toEqual(["float16", "Float32Array"]);
    expect(stored("<i4", new Int32Array(1))).toEqual(["int32", "Float64Array"]);
    expect(stored("<u8", new BigUint64Array(1))).toEqual(["uint64", "Float64Array"]);
    expect(stored("<f8", new Float64Array(1))).toEqual(["float64", "Float64Array"]);
  });

  it("reads all 65536 half-precision numbers as IEEE 754 defines them", () => {
    const bits = Uint16Array.from({ length: 65536 }, (_, k) => k);
    const { stored } = parseNpy(npyFile(bits, { descr: "<f2", shape: [65536, 1] }), "x");
    const expected = Float32Array.from(bits, (half) => {
      const exponent = (half >> 10) & 31;
      const fraction = (half & 1023) / 1024;
      const finite = 2 ** Math.max(exponent - 15, -14) * (fraction + (exponent > 0 ? 1 : 0));
      const magnitude = exponent < 31 ? finite : fraction === 0 ? Infinity : NaN;
      return half >= 0x8000 ? -magnitude : magnitude;
    });
    expect(stored).toEqual(expected);
  });

  it.each([1, 2, 3])("reads version %i", (version) => {
    const parsed = parseNpy(npyFile(Float64Array.of(1, 2, 3, 4, 5, 6), { shape: [3, 2], version }), "x");
    expect(parsed).toEqual({ stored: Float64Array.of(1, 2, 3, 4, 5, 6), shape: [3, 2], dtype: "float64" });
  });

  it("reads data that begin at any byte, in files that begin at any byte of a buffer", () => {
    for (let shift = 0; shift < 8; shift++) {
      const file = npyFile(Float64Array.of(1.25, -2), { shape: [2, 1], alignment: 1 });
      const inside = joined(new Uint8Array(shift), file).subarray(shift);
      expect(Array.from(parseNpy(inside, "x").stored)).toEqual([1.25, -2]);
    }
  });

  it("turns Fortran order into C order", () => {
    const columns = npyFile(Float32Array.of(1, 4, 2, 5, 3, 6), { descr: "<f4", fortranOrder: true, shape: [2, 3] });
    expect(Array.from(parseNpy(columns, "x").stored)).toEqual([1, 2, 3, 4, 5, 6]);
    const shape = [2, 3, 4, 5];
    const index = (i: number, j: number, k: number, l: number): number => ((i * 3 + j) * 4 + k) * 5 + l;
    const data = new Uint8Array(120);
    for (let l = 0, at = 0; l < 5; l++)
      for (let k = 0; k < 4; k++) for (let j = 0; j < 3; j++) for (let i = 0; i < 2; i++) data[at++] = index(i, j, k, l);
    const { stored } = parseNpy(npyFile(data, { descr: "|u1", fortranOrder: true, shape }), "x");
    expect(Array.from(stored)).toEqual(Array.from({ length: 120 }, (_, k) => k));
  });

  it("reads headers as other writers format them", () => {
    const header = (literal: string): readonly number[] => parseNpy(npyFile(Uint8Array.of(1, 2, 3, 4), { header: literal }), "x").shape;
    expect(header(`{"shape":(4,),"fortran_order":False,"descr":"u1"}`)).toEqual([4]);
    expect(header("{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 2L)}")).toEqual([2, 2]);
    expect(header("{ 'descr' : '=u1' , 'fortran_order' : True , 'shape' : ( 1 , 4 , ) , }")).toEqual([1, 4]);
    expect(parseNpy(npyFile(Float64Array.of(3), { shape: [] }), "x").shape).toEqual([]);
  });

  it("refuses Python objects with the line that saves numbers", () => {
    for (const descr of ["|O", "O8", "<O"]) {
      const refused = refusal(() => parseNpy(npyFile(new Uint8Array(8), { descr }), "x.npy"));
      expect(refused).toMatch(/^E_PICKLE_REFUSED .*np\.save\(.*astype\("f4"\)/);
    }
    const record = "{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (1,), }";
    expect(refusal(() => parseNpy(npyFile(new Uint8Array(12), { header: record }), "x.npy"))).toMatch(/^E_PICKLE_REFUSED .*np\.save/);
  });

  it.each(["<c8", "<c16", "|S4", "<U4", "<M8[ns]", "|V4", "<f16", "<f3", "|f4", "", "__proto__"])("refuses dtype '%s'", (descr) => {
    expect(refusal(() => parseNpy(npyFile(new Uint8Array(8), { descr }), "x.npy"))).toMatch(/^E_DTYPE .*x\.npy: dtype .*astype/);
  });

  it("refuses records", () => {
    const header = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }";
    expect(refusal(() => parseNpy(npyFile(new Uint8Array(4), { header }), "x.npy"))).toMatch(/^E_DTYPE .*record/);
  });

  it("tells how many bytes are missing or too many", () => {
    const file = npyFile(new Float64Array(6), { shape: [3, 2] });
    const numbers = /^E_HEADER .*shape \(3, 2\) of float64 = 48 bytes after byte 128, in all 176; the file has 171: 5 are missing/;
    expect(refusal(() => parseNpy(file.subarray(0, -5), "x"))).toMatch(numbers);
    expect(refusal(() => parseNpy(joined(file, new Uint8Array(2)), "x"))).toMatch(/^E_HEADER .*the file has 178: 2 are too many/);
  });

  it("believes no size before the file has it", () => {
    const beyond = ["(1152921504606846976, 16)", "(4503599627370496,)", "(18446744073709551615, 1)", "(4294967296, 4294967296, 0)"];
    for (const shape of [...beyond, "(1000000, 1000000)", "(-1, 2)", "(1.5, 2)", "(2, 2"]) {
      const header = `{'descr': '<f8', 'fortran_order': False, 'shape': ${shape}, }`;
      const file = npyFile(new Float64Array(2), { header });
      expect(refusal(() => parseNpy(file, "x"))).toMatch(/^E_HEADER /);
      expect(largestRequest(() => refusal(() => parseNpy(file, "x")))).toBe(0);
    }
    const nested = `{'descr': '<f8', 'fortran_order': False, 'shape': ${"(".repeat(10_000)}`;
    expect(refusal(() => parseNpy(npyFile(new Float64Array(2), { header: nested }), "x"))).toMatch(/^E_HEADER .*whole number/);
  });

  it.each([
    "",
    "{}",
    "{'descr': '<f8'}",
    "{'descr': '<f8', 'fortran_order': 1, 'shape': (1, 1), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1), 'more': 1}",
    "{'descr': '<f8', 'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1)} + exit()",
    "{'descr': '<f8, 'fortran_order': False, 'shape': (1, 1)}",
  ])("refuses the header %s", (header) => {
    expect(refusal(() => parseNpy(npyFile(new Float64Array(1), { header }), "x"))).toMatch(/^E_HEADER /);
  });

  it("refuses other versions, long headers and torn ones", () => {
    const file = npyFile(new Float64Array(1));
    expect(refusal(() => parseNpy(npyFile(new Float64Array(1), { version: 4 }), "x"))).toMatch(/^E_HEADER .*version 4\.0/);
    expect(refusal(() => parseNpy(file.subarray(0, 60), "x"))).toMatch(/^E_HEADER .*the header ends at byte 128, the file has 60/);
    expect(refusal(() => parseNpy(file.subarray(0, 9), "x"))).toMatch(/^E_HEADER .*9 bytes/);
    const long = npyFile(new Float64Array(1), { version: 2, header: " ".repeat(70_000) });
    expect(refusal(() => parseNpy(long, "x"))).toMatch(/^E_HEADER .*the limit is 65536/);
  });

  it("refuses 64-bit integers that float64 cannot hold, and says which", () => {
    const signed = npyFile(BigInt64Array.of(1n, -9007199254740993n), { descr: "<i8", shape: [2, 1] });
    expect(refusal(() => parseNpy(signed, "x"))).toMatch(/^E_RANGE .*element 1 is -9007199254740993/);
    const unsigned = npyFile(BigUint64Array.of(18446744073709551615n), { descr: "<u8" });
    expect(refusal(() => parseNpy(unsigned, "x"))).toMatch(/^E_RANGE .*element 0 is 18446744073709551615/);
  });

  it("keeps an empty array empty", () => {
    expect(parseNpy(npyFile(new Uint8Array(0), { shape: [0, 5] }), "x").stored).toHaveLength(0);
    expect(parseNpy(npyFile(new Uint8Array(0), { shape: [3, 0, 5], fortranOrder: true }), "x").stored).toHaveLength(0);
  });
});

describe("IDX", () => {
  it("reads every element type, big-endian", () => {
    const read = (type: number, data: ArrayBufferView): number[] => Array.from(parseIdx(idxFile(type, [2], data), "x").stored);
    expect(read(0x08, Uint8Array.of(3, 255))).toEqual([3, 255]);
    expect(read(0x09, Int8Array.of(3, -1))).toEqual([3, -1]);
    expect(read(0x0b, Uint8Array.of(1, 0, 0xff, 0xfe))).toEqual([256, -2]);
    expect(read(0x0c, swapped(Int32Array.of(16777217, -5), 4))).toEqual([16777217, -5]);
    expect(read(0x0d, swapped(Float32Array.of(0.5, -3), 4))).toEqual([0.5, -3]);
    expect(read(0x0e, swapped(Float64Array.of(1.1, -1e300), 8))).toEqual([1.1, -1e300]);
  });

  it("keeps the shape of images", () => {
    const parsed = parseIdx(idxFile(8, [2, 2, 3], Uint8Array.from({ length: 12 }, (_, k) => k)), "x");
    expect(parsed).toEqual({ stored: Uint8Array.from({ length: 12 }, (_, k) => k), shape: [2, 2, 3], dtype: "uint8" });
  });

  it("refuses lies", () => {
    const file = idxFile(8, [2, 2], new Uint8Array(4));
    expect(refusal(() => parseIdx(file.subarray(0, -1), "x"))).toMatch(/^E_HEADER .*the file has 15: 1 are missing/);
    expect(refusal(() => parseIdx(joined(file, new Uint8Array(1)), "x"))).toMatch(/^E_HEADER .*1 are too many/);
    expect(refusal(() => parseIdx(file.subarray(0, 7), "x"))).toMatch(/^E_HEADER .*need a header of 12 bytes, the file has 7/);
    const lying = (shape: readonly number[]): string => refusal(() => parseIdx(idxFile(8, shape, new Uint8Array(4)), "x"));
    expect(lying([4294967295, 4294967295])).toMatch(/^E_HEADER .*more than 2\^53 bytes/);
    expect(lying([4294967295])).toMatch(/^E_HEADER .*= 4294967295 bytes.*4294967291 are missing/);
    expect(refusal(() => parseIdx(idxFile(0x0a, [2], new Uint8Array(2)), "x"))).toMatch(/^E_DTYPE .*0xa/);
    expect(refusal(() => parseIdx(Uint8Array.of(0, 0, 8, 0), "x"))).toMatch(/^E_HEADER .*begin/);
    expect(refusal(() => parseIdx(new Uint8Array(0), "x"))).toMatch(/^E_HEADER .*begin/);
  });
});

describe("safetensors", () => {
  const two = {
    __metadata__: { format: "pt", note: 'quote " and \\ and \u00fc' },
    images: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
    bias: { dtype: "F64", shape: [1], data_offsets: [24, 32] },
  };
  const data = joined(Float32Array.of(1, 2, 3, 4, 5, 6), Float64Array.of(7));

  it("takes the tensor that was named, else the only matrix, else the only tensor", () => {
    const file = safetensorsFile(two, data);
    expect(parseSafetensors(file, "x", "bias")).toEqual({ stored: Float64Array.of(7), shape: [1], dtype: "float64" });
    expect(parseSafetensors(file, "x")).toEqual({ stored: Float32Array.of(1, 2, 3, 4, 5, 6), shape: [2, 3], dtype: "float32" });
    expect(parseSafetensors(file, "x", undefined, 1).shape).toEqual([1]);
    const single = safetensorsFile({ a: { dtype: "U8", shape: [1, 2, 2], data_offsets: [0, 4] } }, Uint8Array.of(1, 2, 3, 4));
    expect(parseSafetensors(single, "x").shape).toEqual([1, 2, 2]);
  });

  it("lists the names when the choice is open, and suggests for a mistyped one", () => {
    const open = safetensorsFile(
      { a: { dtype: "U8", shape: [1, 1], data_offsets: [0, 1] }, "b\u001b[31m": { dtype: "U8", shape: [1, 1], data_offsets: [1, 2] } },
      new Uint8Array(2),
    );
    expect(refusal(() => parseSafetensors(open, "x"))).toMatch(/^E_OPTION .*2 tensors.*option tensor.*"a" \(1, 1\) U8; "b\\u\{1b\}\[31m"/);
    expect(refusal(() => parseSafetensors(safetensorsFile(two, data), "x", "image"))).toMatch(/^E_OPTION .*Did you mean "images"/);
    expect(refusal(() => parseSafetensors(safetensorsFile({}, new Uint8Array(0)), "x"))).toMatch(/^E_OPTION .*0 tensors/);
    const metadata = refusal(() => parseSafetensors(safetensorsFile(two, data), "x", "__metadata__"));
    expect(metadata).toMatch(/^E_OPTION .*no tensor "__metadata__"/);
  });

  it.each([
    ["F64", Float64Array.of(1.1, -2), [1.1, -2]],
    ["F32", Float32Array.of(0.5, -2), [0.5, -2]],
    ["F16", Uint16Array.of(0x3c00, 0xc000), [1, -2]],
    ["BF16", Uint16Array.of(0x3f80, 0xc000), [1, -2]],
    ["BOOL", Uint8Array.of(1, 0), [1, 0]],
    ["U8", Uint8Array.of(1, 255), [1, 255]],
    ["U16", Uint16Array.of(1, 65535), [1, 65535]],
    ["U32", Uint32Array.of(1, 4294967295), [1, 4294967295]],
    ["U64", BigUint64Array.of(1n, 4294967297n), [1, 4294967297]],
    ["I8", Int8Array.of(1, -1), [1, -1]],
    ["I16", Int16Array.of(1, -300), [1, -300]],
    ["I32", Int32Array.of(1, -16777217), [1, -16777217]],
    ["I64", BigInt64Array.of(1n, -4294967297n), [1, -4294967297]],
  ] as const)("reads %s exactly", (dtype, values, expected) => {
    const file = safetensorsFile({ a: { dtype, shape: [2, 1], data_offsets: [0, values.byteLength] } }, values);
    expect(Array.from(parseSafetensors(file, "x").stored)).toEqual(expected);
  });

  it("refuses other dtypes only when they are asked for", () => {
    const file = safetensorsFile(
      { mask: { dtype: "F8_E5M2", shape: [4], data_offsets: [0, 4] }, a: { dtype: "U8", shape: [1, 1], data_offsets: [4, 5] } },
      new Uint8Array(5),
    );
    expect(parseSafetensors(file, "x").shape).toEqual([1, 1]);
    expect(refusal(() => parseSafetensors(file, "x", "mask"))).toMatch(/^E_DTYPE .*F8_E5M2/);
  });

  const u8 = (shape: number[], begin: number, end: number): object => ({ dtype: "U8", shape, data_offsets: [begin, end] });
  it.each([
    ["a hole", { a: u8([2], 0, 2), b: u8([2], 3, 5) }, 5, /leaves bytes 2 to 3/],
    ["an overlap", { a: u8([2], 0, 2), b: u8([2], 1, 3) }, 3, /overlaps/],
    ["an empty tensor inside another", { a: u8([4], 0, 4), b: u8([0], 2, 2) }, 4, /overlaps/],
    ["bytes nobody owns", { a: u8([2], 0, 2) }, 3, /end at offset 2, the file holds 3/],
    ["a tensor beyond the end", { a: u8([2], 0, 2) }, 1, /end at offset 2, the file holds 1/],
    ["a size that is not the shape's", { a: u8([3], 0, 2) }, 2, /is 3 bytes.*hold 2/],
    ["an overflowing shape", { a: u8([4294967296, 4294967296], 0, 2) }, 2, /2\^53/],
    ["an end before the beginning", { a: u8([0], 2, 0) }, 2, /begins at 2 and ends at 0/],
    ["an unknown key", { a: { ...u8([2], 0, 2), more: 1 } }, 2, /unknown/],
    ["a missing key", { a: { dtype: "U8", shape: [2] } }, 2, /needs dtype/],
    ["a negative extent", { a: u8([-1], 0, 2) }, 2, /whole number/],
    ["a value of another kind", { a: 3 }, 0, /expected/],
  ])("refuses %s", (_, header, bytes, message) => {
    const refused = refusal(() => parseSafetensors(safetensorsFile(header, new Uint8Array(bytes)), "x", "a"));
    expect(refused).toMatch(/^E_HEADER /);
    expect(refused).toMatch(message);
  });

  it("refuses a name that comes twice, text that is not JSON, depth, and long headers before reading them", () => {
    const entry = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}';
    const twice = safetensorsFile(`{"a":${entry},"a":${entry}}`, new Uint8Array(1));
    expect(refusal(() => parseSafetensors(twice, "x"))).toMatch(/^E_HEADER .*comes twice/);
    for (const header of ["", "[]", "{", `{"a":${entry},}`, `{"a":${entry}} x`, "[".repeat(100_000), '{"a":'.repeat(10_000)]) {
      expect(refusal(() => parseSafetensors(safetensorsFile(header, new Uint8Array(1)), "x"))).toMatch(/^E_HEADER /);
    }
    const long = safetensorsFile(two, data);
    new DataView(long.buffer).setBigUint64(0, 100_000_001n, true);
    expect(refusal(() => parseSafetensors(long, "x"))).toMatch(/^E_HEADER .*100000001 bytes, the limit is 100000000/);
    new DataView(long.buffer).setBigUint64(0, 18446744073709551615n, true);
    expect(refusal(() => parseSafetensors(long, "x"))).toMatch(/^E_HEADER .*18446744073709551615/);
    expect(refusal(() => parseSafetensors(joined(Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe)), "x"))).toMatch(/^E_HEADER .*UTF-8/);
    expect(refusal(() => parseSafetensors(new Uint8Array(7), "x"))).toMatch(/^E_HEADER .*too few/);
  });

  it("allows padding after the header and empty tensors between others", () => {
    const header = { a: u8([2, 1], 0, 2), b: u8([0], 2, 2), c: u8([1], 2, 3) };
    const file = safetensorsFile(`${JSON.stringify(header)}   `, Uint8Array.of(5, 6, 7));
    expect(Array.from(parseSafetensors(file, "x").stored)).toEqual([5, 6]);
  });
});

describe("CSV and TSV", () => {
  const read = (
    content: string,
  ): { values: number[]; shape: readonly number[]; names: readonly string[] | null; stored: string; warnings: readonly string[] } => {
    const { stored, shape, columnNames, warnings } = parseDelimited(text(content), "t.csv");
    return { values: Array.from(stored), shape, names: columnNames, stored: stored.constructor.name, warnings };
  };

  it.each([
    ["commas", "1,2\n3,4\n"],
    ["semicolons", "1;2\n3;4"],
    ["tabs", "1\t2\n3\t4\n"],
    ["CRLF", "1,2\r\n3,4\r\n\r\n"],
    ["CR", "1,2\r3,4\r"],
    ["spaces around", " 1 , 2 \n3 ,4  \n"],
    ["quotes", '"1","2"\n3,"4"\n'],
    ["a byte order mark", "\ufeff1,2\n3,4"],
  ])("reads tables with %s", (_, content) => {
    expect(read(content)).toEqual({ values: [1, 2, 3, 4], shape: [2, 2], names: null, stored: "Uint8Array", warnings: [] });
  });

  it("takes a first row that is not all numbers for column names", () => {
    expect(read("x,y\n1,2\n").names).toEqual(["x", "y"]);
    expect(read('"a, b";"say ""y"""\n1;2\n').names).toEqual(["a, b", 'say "y"']);
    expect(read("# x,y\n1,2\n").names).toEqual(["x", "y"]);
    expect(read("1,label\n1,2\n")).toMatchObject({ values: [1, 2], shape: [1, 2], names: ["1", "label"] });
    expect(read("x\n").shape).toEqual([0, 1]);
    expect(read(",a\n1,2\n").names).toEqual(["", "a"]);
    expect(read("label,NA\n1,2\n").warnings).toEqual([]);
  });

  it("warns where numbers count the columns of a header, and where a header has no name", () => {
    expect(read("label,0,1,2\n1,2,3,4\n")).toMatchObject({
      values: [1, 2, 3, 4],
      names: ["label", "0", "1", "2"],
      warnings: ["row 1 of t.csv taken as the header: label, 0, 1, 2"],
    });
    expect(read("1,2,3,4,5,class\n1,2,3,4,5,6\n").warnings).toEqual(["row 1 of t.csv taken as the header: 1, 2, 3, 4, 5, ..."]);
    expect(read("1.0e5x\n2\n").warnings).toEqual(["row 1 of t.csv taken as the header: 1.0e5x"]);
  });

  it.each([
    ["NA,2.5\n3,4\n", 1, "NA"],
    ["NA,1\n3,4\n", 1, "NA"],
    ["label,0,None\n3,4,5\n", 3, "None"],
    ["1.0e5x,2,3\n4,5,6\n", 1, "1.0e5x"],
    ["1,2,1.0e5x\n4,5,6\n", 3, "1.0e5x"],
    ["0.5,abc\n4,5\n", 2, "abc"],
    ["label,0,2\n4,5,6\n", 1, "label"],
    ["label,0,1.0\n4,5,6\n", 1, "label"],
    ["nan,x\n4,5\n", 2, "x"],
    ["NA,null\n4,5\n", 1, "NA"],
  ])("does not lose a spoiled first row as a header: %j", (content, column, cell) => {
    expect(refusal(() => read(content))).toContain(`E_PARSE t.csv: row 1, column ${column}: "${cell}" is not a number`);
  });

  it("refuses an empty cell among the numbers of the first row", () => {
    expect(refusal(() => read(",0,1\n1,2,3\n"))).toMatch(/^E_PARSE t\.csv: row 1, column 1: an empty cell/);
  });

  it("stores the smallest type that is exact", () => {
    expect(read("0,255\n").stored).toBe("Uint8Array");
    expect(read("0,256\n").stored).toBe("Float32Array");
    expect(read("-1.5,nan\n").stored).toBe("Float32Array");
    expect(read("0.1,1\n").stored).toBe("Float64Array");
    expect(read("16777217\n").stored).toBe("Float64Array");
  });

  it("rounds every decimal as JavaScript does", () => {
    const finite = { noNaN: true, noDefaultInfinity: true };
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.double(finite), fc.integer(), fc.float(finite)), { minLength: 1 }),
        fc.constantFrom("plain", "exponential", "fixed", "precise"),
        (values, style) => {
          const written = values.map((value) => {
            if (style === "exponential") return value.toExponential(18);
            if (style === "fixed" && Math.abs(value) < 1e20) return value.toFixed(7);
            if (style === "precise") return value.toPrecision(15);
            return String(value);
          });
          // Bytes have no -0: the sign of a zero is the one thing that may go.
          expect(read(written.join("\n")).values.map((value) => value + 0)).toEqual(written.map((cell) => Number(cell) + 0));
        },
      ),
    );
    const forms = "+1.5\n.5\n5.\n1E3\n1e+22\n1e-22\n123456789012345e-22\n1e23\n-0\n";
    expect(read(forms).values).toEqual([1.5, 0.5, 5, 1000, 1e22, 1e-22, 123456789012345e-22, 1e23, -0]);
  });

  it("counts nan and inf as numbers, for the data set to refuse", () => {
    expect(read("1,nan\n-inf,Infinity\n").values).toEqual([1, NaN, -Infinity, Infinity]);
  });

  it.each([
    ["a word", "1,2\n3,x\n", /t\.csv: row 2, column 2: "x" is not a number/],
    ["an empty cell", "1,2\n3,\n", /row 2, column 2: an empty cell/],
    ["an empty line", "1,2\n\n3,4\n", /row 2, column 1: an empty cell/],
    ["a short row", "1,2\n3\n", /row 2 ends after column 1, row 1 has 2 columns/],
    ["a long row", "a,b\n1,2\n3,4,5\n", /row 3 goes on after column 2/],
    ["hexadecimal", "1\n0x10\n", /"0x10"/],
    ["two points", "1\n1.2.3\n", /"1\.2\.3"/],
    ["a bare exponent", "1\n1e\n", /"1e"/],
    ["a decimal comma", "1,5;2,5\n3,5;4,5\n", /row 1, column 1.*write 1\.5, not 1,5/],
    ["a decimal comma below a header", "a;b\n1;2,5\n", /row 2, column 2.*Decimal commas/],
    ["columns of spaces", "1 2\n3 4\n", /row 2, column 1.*delimiter=","/],
    ["CR among LF", "1,2\r3,4\n5,6\n", /row 1.*\\u\{d\}/],
    ["an open quote", '1\n"2\n', /does not close/],
    ["text after a quote", '1\n"2"3\n', /after a closing quote/],
    ["nothing", "\n", /no row/],
    ["control characters", "1\n\u001b[31m\n", /"\\u\{1b\}\[31m" is not a number/],
    ["a gigantic cell", `1\n${"1".repeat(2000)}x\n`, /2001 bytes/],
  ])("refuses %s with its place", (_, content, message) => {
    const refused = refusal(() => read(content));
    expect(refused).toMatch(/^E_PARSE /);
    expect(refused).toMatch(message);
  });

  it("refuses UTF-16 by its mark", () => {
    expect(refusal(() => parseDelimited(Uint8Array.of(0xff, 0xfe, 0x31, 0), "t.csv"))).toMatch(/^E_PARSE .*UTF-16/);
  });

  it("allocates by what is there, not by what the first row suggests", () => {
    const content = `${"1,".repeat(20_000)}1\n${"\n".repeat(200_000)}1`;
    expect(refusal(() => read(content))).toMatch(/^E_PARSE .*row 2/);
    expect(largestRequest(() => refusal(() => read(content)))).toBeLessThan(content.length);
  });
});

describe("mutated files", () => {
  /** Flip bytes, cut, extend, double a piece: what disks, networks and enemies do. */
  const mutation = fc.oneof(
    fc.record({ kind: fc.constant("set" as const), at: fc.nat(400), value: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ kind: fc.constant("flip" as const), at: fc.nat(400), value: fc.integer({ min: 0, max: 7 }) }),
    fc.record({ kind: fc.constant("cut" as const), at: fc.nat(400), value: fc.nat(8) }),
    fc.record({ kind: fc.constant("insert" as const), at: fc.nat(400), value: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ kind: fc.constant("extend" as const), at: fc.nat(64), value: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ kind: fc.constant("truncate" as const), at: fc.nat(400), value: fc.constant(0) }),
  );

  function mutate(file: Uint8Array, { kind, at, value }: { kind: string; at: number; value: number }): Uint8Array {
    const where = Math.min(at, file.length);
    if (kind === "cut") return joined(file.subarray(0, where), file.subarray(where + value));
    if (kind === "insert") return joined(file.subarray(0, where), Uint8Array.of(value), file.subarray(where));
    if (kind === "extend") return joined(file, new Uint8Array(at).fill(value));
    if (kind === "truncate") return file.slice(0, where);
    const copy = file.slice();
    if (where < copy.length) copy[where] = kind === "set" ? value : copy[where]! ^ (1 << value);
    return copy;
  }

  const extents = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 3 });
  const product = (shape: readonly number[]): number => shape.reduce((size, extent) => size * extent, 1);

  const npy = fc
    .record({
      shape: extents,
      type: fc.constantFrom("|b1", "|u1", "|i1", "<u2", ">i2", "<f2", "<f4", ">f4", "<f8", "<i8", ">u8", "<i4"),
      fortranOrder: fc.boolean(),
      version: fc.constantFrom(1, 2, 3),
    })
    .map(({ shape, type, ...rest }) => npyFile(new Uint8Array(product(shape) * Number(type[2])).fill(1), { shape, descr: type, ...rest }));
  const idx = fc
    .record({ shape: extents, type: fc.constantFrom(8, 9, 0x0b, 0x0c, 0x0d, 0x0e) })
    .map(({ shape, type }) => idxFile(type, shape, new Uint8Array(product(shape) * [1, 1, 0, 2, 4, 4, 8][type - 8]!)));
  const safetensors = fc
    .record({ shape: extents, name: fc.string({ unit: "binary", maxLength: 4 }), type: fc.constantFrom("F32", "F16", "BF16", "U8", "I64") })
    .map(({ shape, name, type }) => {
      const size = product(shape) * { F32: 4, F16: 2, BF16: 2, U8: 1, I64: 8 }[type]!;
      const last = { dtype: "U8", shape: [2, 1], data_offsets: [size, size + 2] };
      const header = { [name]: { dtype: type, shape, data_offsets: [0, size] }, last };
      return safetensorsFile(header, new Uint8Array(size + 2));
    });
  const table = fc
    .record({
      rows: fc.integer({ min: 1, max: 5 }),
      columns: fc.integer({ min: 1, max: 5 }),
      delimiter: fc.constantFrom(",", ";", "\t"),
      header: fc.boolean(),
    })
    .map(({ rows, columns, delimiter, header }) => {
      const every = Array.from({ length: columns }, (_, column) => column);
      const line = (cell: (column: number) => string): string => every.map(cell).join(delimiter);
      const body = Array.from({ length: rows }, (_, row) => line((column) => `${row - 2}.${column}e${column}`));
      return text(`${header ? `${line((column) => `"c${column}"`)}\n` : ""}${body.join("\n")}\n`);
    });

  function outcomeOf(bytes: Uint8Array, parse: (bytes: Uint8Array) => ParsedArray): string {
    try {
      const { stored, shape } = parse(bytes);
      return stored.length === product(shape) ? "a whole array" : `${stored.length} elements for shape ${shape.join(", ")}`;
    } catch (error) {
      return error instanceof RegimesError ? "a RegimesError" : String(error);
    }
  }

  /** The table of half-precision numbers, made once by the first file that needs it. */
  const halfTable = 65536;

  const formats: readonly (readonly [string, fc.Arbitrary<Uint8Array>, (bytes: Uint8Array) => ParsedArray])[] = [
    ["npy", npy, (bytes) => parseNpy(bytes, "x")],
    ["IDX", idx, (bytes) => parseIdx(bytes, "x")],
    ["safetensors", safetensors, (bytes) => parseSafetensors(bytes, "x")],
    ["CSV", table, (bytes) => parseDelimited(bytes, "x")],
  ];

  it.each(formats)("%s: give a whole array or a RegimesError, and ask for no more elements than twice its bytes", (_, files, parse) => {
    const counts = new Map<string, number>();
    fc.assert(
      fc.property(files, fc.array(mutation, { maxLength: 4 }), (file, mutations) => {
        const bytes = mutations.reduce<Uint8Array>(mutate, file);
        let outcome = "";
        const elements = largestRequest(() => {
          outcome = outcomeOf(bytes, parse);
        });
        counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
        expect(elements).toBeLessThanOrEqual(Math.max(2 * bytes.length, halfTable));
      }),
      { numRuns: 5000 },
    );
    expect([...counts.keys()].toSorted()).toEqual(["a RegimesError", "a whole array"]);
    expect(Math.min(...counts.values())).toBeGreaterThan(500);
  });

  it.each(formats)("%s: arbitrary bytes give a whole array or a RegimesError", (_, __, parse) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(["a whole array", "a RegimesError"]).toContain(outcomeOf(bytes, parse));
      }),
      { numRuns: 2000 },
    );
  });
});
