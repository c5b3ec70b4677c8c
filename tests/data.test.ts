import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, mkdtempSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openDataset, type DataInput, type Dataset, type DatasetOptions } from "../lib/data.js";
import { fashion } from "./fashion.js";
import { idxFile, joined, npyFile, safetensorsFile, swapped } from "./written_files.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "regimes-data-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function written(name: string, content: string | NodeJS.ArrayBufferView): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const valuesOf = (dataset: Dataset): number[] => Array.from(dataset.rows(0, dataset.n).data);
const counting = (n: number, d: number): DataInput => ({ data: Float64Array.from({ length: n * d }, (_, k) => k), shape: [n, d] });

/** Largest eigenvalue of the unbiased covariance, by power iteration on the d x d matrix. */
function topEigenvalue({ data, shape }: { data: Float64Array; shape: readonly number[] }): number {
  const [n, d] = shape as [number, number];
  const mean = new Float64Array(d);
  for (let k = 0; k < data.length; k++) mean[k % d]! += data[k]! / n;
  const covariance = new Float64Array(d * d);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < d; j++) {
      const centred = (data[i * d + j]! - mean[j]!) / (n - 1);
      for (let l = 0; l < d; l++) covariance[j * d + l]! += centred * (data[i * d + l]! - mean[l]!);
    }
  }
  let vector = Float64Array.from({ length: d }, (_, j) => 1 + (j % 7));
  let eigenvalue = 0;
  for (let step = 0; step < 500; step++) {
    const image = vector.map((_, j) => vector.reduce((sum, value, l) => sum + covariance[j * d + l]! * value, 0));
    eigenvalue = Math.hypot(...image);
    vector = image.map((value) => value / eigenvalue);
  }
  return eigenvalue;
}

describe("the embedded digits", () => {
  it("are 1797 images of 8 x 8 with labels 0 to 9", async () => {
    using digits = await openDataset("digits");
    expect([digits.name, digits.n, digits.d, digits.distinctRows]).toEqual(["digits", 1797, 64, 1797]);
    expect(digits.imageShape).toEqual([8, 8]);
    expect(digits.classValues).toEqual(Int32Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
    expect(Array.from(digits.labels!.subarray(0, 12))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    expect(digits.scale).toEqual({ name: "none", scale: 1, shift: 0 });
    expect(digits.warnings).toEqual([]);
    expect(Array.from(digits.rows(0, 1).data.subarray(0, 16))).toEqual([0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]);
  });

  it("have top covariance eigenvalue 4.945 once standardized", async () => {
    using digits = await openDataset("digits", { scale: "standardize" });
    expect(topEigenvalue(digits.rows(0, digits.n))).toBeCloseTo(4.945, 3);
    expect(digits.scale.mean).toBeCloseTo(4.884164579855314, 12);
    expect(digits.scale.standardDeviation).toBeCloseTo(6.016787548672236, 12);
  });

  it("know their own maximum and bring their own labels", async () => {
    using digits = await openDataset("digits", { scale: "unit" });
    expect(digits.scale).toEqual({ name: "unit", scale: 1 / 16, shift: 0, maximum: 16 });
    expect(Math.max(...digits.rows(0, 100).data)).toBe(1);
    await expect(openDataset("digits", { labels: [1] })).rejects.toThrow(/^E_OPTION .*own labels/);
  });
});

describe("arrays in memory", () => {
  it.each([
    ["uint8", Uint8Array.of(0, 255), [0, 255]],
    ["uint8", Uint8ClampedArray.of(0, 255), [0, 255]],
    ["uint8", Buffer.from([0, 255]), [0, 255]],
    ["int8", Int8Array.of(-128, 127), [-128, 127]],
    ["uint16", Uint16Array.of(0, 65535), [0, 65535]],
    ["int16", Int16Array.of(-32768, 32767), [-32768, 32767]],
    ["uint32", Uint32Array.of(0, 4294967295), [0, 4294967295]],
    ["int32", Int32Array.of(-2147483648, 2147483647), [-2147483648, 2147483647]],
    ["int64", BigInt64Array.of(-9007199254740992n, 5n), [-9007199254740992, 5]],
    ["uint64", BigUint64Array.of(9007199254740992n, 5n), [9007199254740992, 5]],
    ["float32", Float32Array.of(0.1, -3e38), [Math.fround(0.1), Math.fround(-3e38)]],
    ["float64", Float64Array.of(0.1, -1e150), [0.1, -1e150]],
  ] as const)("hold every %s exactly", async (dtype, data, expected) => {
    using dataset = await openDataset({ data, shape: [2, 1] });
    expect(dataset.dtype).toBe(dtype);
    expect(valuesOf(dataset)).toEqual(expected);
  });

  it("are copied at the call, Node's Buffer included", async () => {
    const rows = Float32Array.of(1, 2, 3, 4);
    const bytes = Buffer.from([1, 2]);
    const labels = Int32Array.of(7, 8);
    const indices = [1, 0];
    const path = written("two.idx", idxFile(8, [2], Uint8Array.of(0, 1)));
    const opened = Promise.all([
      openDataset({ data: rows, shape: [2, 2] }, { labels, rows: indices }),
      openDataset({ data: bytes, shape: [2, 1] }, { labels: path }),
    ]);
    rows.fill(9);
    bytes.fill(9);
    labels.fill(9);
    indices.fill(0);
    const [first, second] = await opened;
    expect(valuesOf(first)).toEqual([3, 4, 1, 2]);
    expect(Array.from(first.classValues!)).toEqual([7, 8]);
    expect(Array.from(first.labels!)).toEqual([1, 0]);
    expect(valuesOf(second)).toEqual([1, 2]);
  });

  it("may be views, shared, or strided", async () => {
    const read = async (data: DataInput["data"], shape: number[], strides?: number[]): Promise<number[]> => {
      using dataset = await openDataset({ data, shape, ...(strides && { strides }) });
      return valuesOf(dataset);
    };
    const base = Float64Array.of(9, 1, 2, 3, 4, 5, 6, 9);
    const inner = base.subarray(1, 7);
    expect(await read(inner, [2, 3])).toEqual([1, 2, 3, 4, 5, 6]);
    expect(await read(inner, [3, 2], [1, 3])).toEqual([1, 4, 2, 5, 3, 6]);
    expect(await read(inner, [2, 2], [3, 2])).toEqual([1, 3, 4, 6]);
    const shared = new Float32Array(new SharedArrayBuffer(8));
    shared.set([1, 2]);
    expect(await read(shared, [2, 1])).toEqual([1, 2]);
  });

  it.each([
    ["a wrong length", { data: new Float64Array(5), shape: [2, 3] }, /^E_SHAPE .*needs 6 elements, data has 5/],
    ["one dimension", { data: new Float64Array(5), shape: [5] }, /^E_SHAPE .*\(5,\), need rows x d.*\(n, 1\)/],
    ["three dimensions", { data: new Float64Array(8), shape: [2, 2, 2] }, /^E_SHAPE .*flatten: true \(--flatten\) to use 2 x 4/],
    ["no row", { data: new Float64Array(0), shape: [0, 3] }, /^E_SHAPE .*at least one row/],
    ["no column", { data: new Float64Array(0), shape: [3, 0] }, /^E_SHAPE .*at least one row/],
    ["strides beyond the data", { data: new Float64Array(4), shape: [2, 2], strides: [3, 1] }, /^E_SHAPE .*reaches elements 0 to 4 of 4/],
    ["negative strides", { data: new Float64Array(4), shape: [2, 2], strides: [-2, 1] }, /^E_SHAPE .*-2 to 1/],
    ["a fractional shape", { data: new Float64Array(4), shape: [1.5, 2] }, /^E_SHAPE/],
    ["nested arrays", [[1, 2]], /^E_SHAPE .*typed array/],
    ["null", null, /^E_SHAPE/],
    ["a DataView", { data: new DataView(new ArrayBuffer(8)), shape: [1, 1] }, /^E_DTYPE .*DataView/],
  ])("are refused for %s", async (_, input, message) => {
    await expect(openDataset(input as unknown as DataInput)).rejects.toThrow(message);
  });

  it("are refused when they do not fit into memory", async () => {
    const endless = { data: new Float64Array(1), shape: [2 ** 31 - 1, 4096], strides: [0, 0] };
    await expect(openDataset(endless)).rejects.toThrow(/^E_OUT_OF_MEMORY/);
  });

  it("are refused when transferred away", async () => {
    const data = new Float64Array(4);
    structuredClone(data, { transfer: [data.buffer] });
    await expect(openDataset({ data, shape: [2, 2] })).rejects.toThrow(/^E_DETACHED/);
  });

  it("are flattened on request, and images remembered", async () => {
    const shapeOf = async (shape: number[]): Promise<unknown> => {
      using dataset = await openDataset({ data: new Uint8Array(shape.reduce((a, b) => a * b)), shape }, { flatten: true });
      return [dataset.n, dataset.d, dataset.imageShape];
    };
    expect(await shapeOf([2, 3, 4])).toEqual([2, 12, [3, 4]]);
    expect(await shapeOf([2, 1, 3, 4])).toEqual([2, 12, [3, 4]]);
    expect(await shapeOf([2, 3, 4, 1])).toEqual([2, 12, [3, 4]]);
    expect(await shapeOf([2, 3, 4, 3])).toEqual([2, 36, null]);
    expect(await shapeOf([2, 12])).toEqual([2, 12, null]);
  });
});

describe("scaling", () => {
  const bytes: DataInput = { data: Uint8Array.of(0, 51, 102, 255), shape: [2, 2] };

  it("is none unless asked for", async () => {
    using dataset = await openDataset(bytes);
    expect(valuesOf(dataset)).toEqual([0, 51, 102, 255]);
  });

  it("maps bytes to [0, 1] and [-1, 1] exactly as stored * scale + shift", async () => {
    using unit = await openDataset(bytes, { scale: "unit" });
    expect(unit.scale).toEqual({ name: "unit", scale: 1 / 255, shift: 0, maximum: 255 });
    expect(valuesOf(unit)).toEqual([0, 51, 102, 255].map((stored) => stored * (1 / 255)));
    using symmetric = await openDataset(bytes, { scale: "symmetric" });
    expect(symmetric.scale).toEqual({ name: "symmetric", scale: 2 / 255, shift: -1, maximum: 255 });
    expect(valuesOf(symmetric)).toEqual([0, 51, 102, 255].map((stored) => stored * (2 / 255) - 1));
    using stated = await openDataset(bytes, { scale: "unit", maximum: 510 });
    expect(Math.max(...valuesOf(stated))).toBe(0.5);
  });

  it("wants the maximum of anything but bytes, and says what the data reach", async () => {
    await expect(openDataset(counting(2, 2), { scale: "unit" })).rejects.toThrow(/^E_OPTION .*float64 needs the option maximum.*reach 3/);
    using dataset = await openDataset(counting(2, 2), { scale: "symmetric", maximum: 3 });
    expect(valuesOf(dataset)).toEqual([-1, (2 / 3) * 1 - 1, (2 / 3) * 2 - 1, (2 / 3) * 3 - 1]);
  });

  it("warns when the data leave the stated range", async () => {
    using dataset = await openDataset(counting(2, 2), { scale: "unit", maximum: 2 });
    expect(dataset.warnings).toEqual([expect.stringMatching(/\[0, 3\], outside \[0, maximum = 2\]/)]);
  });

  it.each([0, -1, NaN, Infinity, 1e-310])("refuses the maximum %d", async (maximum) => {
    await expect(openDataset(bytes, { scale: "unit", maximum })).rejects.toThrow(/^E_OPTION maximum/);
  });

  it("takes no maximum that it would not read", async () => {
    await expect(openDataset(bytes, { maximum: 255 })).rejects.toThrow(/^E_OPTION maximum.*"none"/);
    await expect(openDataset(bytes, { scale: "standardize", maximum: 255 })).rejects.toThrow(/^E_OPTION maximum/);
  });

  it("standardizes with one global mean and population deviation over the selected rows", async () => {
    using dataset = await openDataset(counting(4, 2), { scale: "standardize", rows: { from: 1, to: 3 } });
    // The numbers 2, 3, 4, 5: mean 7/2, population variance 5/4.
    expect(dataset.scale.mean).toBeCloseTo(3.5, 14);
    expect(dataset.scale.standardDeviation).toBeCloseTo(Math.sqrt(1.25), 14);
    const values = valuesOf(dataset);
    expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 14);
    expect(values.reduce((sum, value) => sum + value ** 2, 0)).toBeCloseTo(4, 13);
  });

  it("cannot standardize constant data", async () => {
    const constant = { data: new Float64Array(6).fill(0.1), shape: [3, 2] };
    await expect(openDataset(constant, { scale: "standardize" })).rejects.toThrow(/^E_DOMAIN .*0\.1 to 0\.1.*constant/);
  });

  it("keeps values within what float64 can square and sum", async () => {
    await expect(openDataset({ data: Float64Array.of(1, -2e150), shape: [2, 1] })).rejects.toThrow(/^E_RANGE .*2e\+150/);
    await expect(openDataset(counting(2, 2), { scale: "unit", maximum: 1e-200 })).rejects.toThrow(/^E_RANGE/);
    const huge = { data: Float64Array.of(1e200, -1e200), shape: [2, 1] };
    await expect(openDataset(huge, { scale: "standardize" })).rejects.toThrow(/^E_RANGE .*1e\+200/);
    using large = await openDataset({ data: Float64Array.of(1, -3), shape: [2, 1] }, { scale: "unit", maximum: 2 });
    expect(large.magnitude).toBe(1.5);
  });
});

describe("rows", () => {
  it("are a range, or indices in any order", async () => {
    const read = async (rows: DatasetOptions["rows"]): Promise<number[]> => {
      using dataset = await openDataset(counting(4, 1), { rows });
      return valuesOf(dataset);
    };
    expect(await read({ from: 1, to: 3 })).toEqual([1, 2]);
    expect(await read({ from: 2 })).toEqual([2, 3]);
    expect(await read({ to: 2 })).toEqual([0, 1]);
    expect(await read([3, 0, 3])).toEqual([3, 0, 3]);
    expect(await read(Int32Array.of(2))).toEqual([2]);
    expect(await read(Uint32Array.of(1, 0))).toEqual([1, 0]);
  });

  it.each([
    ["a range beyond the end", { from: 0, to: 5 }, /^E_SHAPE .*\{from: 0, to: 5\}: data has 4 rows/],
    ["an empty range", { from: 2, to: 2 }, /^E_SHAPE/],
    ["a negative start", { from: -1, to: 2 }, /^E_SHAPE/],
    ["an index beyond the end", [0, 4], /^E_SHAPE rows: entry 1 is 4, data has rows 0 to 3/],
    ["a fractional index", [0.5], /^E_SHAPE .*entry 0 is 0\.5/],
    ["a negative index", [-1], /^E_SHAPE/],
    ["no index", [], /^E_SHAPE .*empty/],
    ["another object", { first: 1 }, /^E_OPTION rows/],
    ["a number", 3, /^E_OPTION rows/],
  ])("are refused for %s", async (_, rows, message) => {
    await expect(openDataset(counting(4, 1), { rows: rows as DatasetOptions["rows"] })).rejects.toThrow(message);
  });

  it("can be given again, with their labels", async () => {
    using dataset = await openDataset(counting(6, 1), { labels: [5, -2, 5, 7, -2, 7], classes: [7, -2], rows: { from: 1, to: 5 } });
    expect(valuesOf(dataset)).toEqual([1, 3, 4]);
    expect(Array.from(dataset.classValues!)).toEqual([-2, 7]);
    expect(Array.from(dataset.labels!)).toEqual([0, 1, 0]);
  });

  it("of a class need labels that occur", async () => {
    await expect(openDataset(counting(2, 1), { classes: [1] })).rejects.toThrow(/^E_LABELS .*without labels/);
    const options = { labels: [3, 4], classes: [4, 9] };
    await expect(openDataset(counting(2, 1), options)).rejects.toThrow(/^E_LABELS .*label 9.*3, 4/);
    await expect(openDataset(counting(2, 1), { labels: [3, 4], classes: [] })).rejects.toThrow(/^E_LABELS .*empty/);
    const one = { labels: [3, 4], classes: 3 as unknown as number[] };
    await expect(openDataset(counting(2, 1), one)).rejects.toThrow(/^E_OPTION classes/);
  });

  it("come back as asked, and not from outside", async () => {
    using dataset = await openDataset(counting(4, 2));
    expect(dataset.rows(1, 3)).toEqual({ data: Float64Array.of(2, 3, 4, 5), shape: [2, 2] });
    expect(dataset.rows(4, 4)).toEqual({ data: new Float64Array(0), shape: [0, 2] });
    const outside = [[-1, 2], [3, 2], [0, 5], [0.5, 1], [0, NaN]] as const;
    for (const [from, to] of outside) expect(() => dataset.rows(from, to)).toThrow(/^E_SHAPE/);
  });

  it("agree with the whole for any selection", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(19), { minLength: 1, maxLength: 40 }), async (indices) => {
        using part = await openDataset(counting(20, 3), { rows: indices });
        expect(valuesOf(part)).toEqual(indices.flatMap((row) => [3 * row, 3 * row + 1, 3 * row + 2]));
        expect(part.distinctRows).toBe(new Set(indices).size);
      }),
      { numRuns: 30 },
    );
  });
});

describe("labels", () => {
  const data = counting(3, 2);
  const values = async (labels: DatasetOptions["labels"]): Promise<number[]> => {
    using dataset = await openDataset(data, { labels });
    return Array.from(dataset.labels!, (index) => dataset.classValues![index]!);
  };

  it("come as arrays of whole numbers of any type", async () => {
    expect(await values([3, 1, 3])).toEqual([3, 1, 3]);
    expect(await values(Uint8Array.of(3, 1, 3))).toEqual([3, 1, 3]);
    expect(await values(BigInt64Array.of(-3n, 1n, 3n))).toEqual([-3, 1, 3]);
    expect(await values(Float32Array.of(3, 1, -0))).toEqual([3, 1, 0]);
  });

  it("come from npy, IDX, CSV and safetensors files", async () => {
    expect(await values(written("l.npy", npyFile(BigInt64Array.of(2n, 0n, 2n), { descr: "<i8", shape: [3] })))).toEqual([2, 0, 2]);
    expect(await values(written("lf.npy", npyFile(Float64Array.of(2, 0, 2), { shape: [3, 1] })))).toEqual([2, 0, 2]);
    expect(await values(written("l-idx1-ubyte.gz", gzipSync(idxFile(8, [3], Uint8Array.of(2, 0, 9)))))).toEqual([2, 0, 9]);
    expect(await values(written("l.csv", "label\n2\n-1\n2\n"))).toEqual([2, -1, 2]);
    const tensors = { x: { dtype: "F32", shape: [1, 1], data_offsets: [0, 4] }, y: { dtype: "U8", shape: [3], data_offsets: [4, 7] } };
    const file = safetensorsFile(tensors, Uint8Array.of(0, 0, 0, 0, 2, 0, 2));
    expect(await values(written("l.safetensors", file))).toEqual([2, 0, 2]);
  });

  it("come from a column, which leaves the data", async () => {
    const path = written("t.csv", "a,class,b\n1,7,2\n3,8,4\n");
    for (const labels of [1, { column: 1 }, { column: "class" }]) {
      using dataset = await openDataset(path, { labels });
      expect(valuesOf(dataset)).toEqual([1, 2, 3, 4]);
      expect(Array.from(dataset.classValues!)).toEqual([7, 8]);
    }
  });

  it.each([
    ["a wrong count", [1, 2], /^E_LABELS data has 3 rows, there are 2 labels/],
    ["fractions", [1, 2.5, 3], /^E_LABELS .*label 1 is 2\.5/],
    ["NaN", Float64Array.of(1, NaN, 3), /^E_LABELS .*label 1 is NaN/],
    ["numbers beyond int32", [1, 2, 2 ** 31], /^E_LABELS .*label 2 is 2147483648/],
    ["a column that is not there", { column: 2 }, /^E_OPTION .*columns 0 to 1/],
    ["a name without names", { column: "x" }, /^E_OPTION .*no column names/],
    ["something else", true, /^E_OPTION labels/],
  ])("are refused for %s", async (_, labels, message) => {
    await expect(openDataset(data, { labels: labels as DatasetOptions["labels"] })).rejects.toThrow(message);
  });

  it("suggest the column that was meant", async () => {
    const path = written("n.csv", "width,species\n1,2\n");
    await expect(openDataset(path, { labels: { column: "specis" } })).rejects.toThrow(/^E_OPTION .*Did you mean "species"/);
  });

  it("are one column", async () => {
    const path = written("m.csv", "1,2\n3,4\n5,6\n");
    await expect(openDataset(data, { labels: path })).rejects.toThrow(/^E_LABELS .*shape \(3, 2\)/);
    await expect(openDataset(written("c.csv", "1\n2\n"), { labels: 0 })).rejects.toThrow(/^E_SHAPE .*no data are left/);
  });
});

describe("values that are not finite", () => {
  const holes: DataInput = { data: Float32Array.of(0, 1, 2, NaN, 4, 5, Infinity, 7, 8, 9), shape: [5, 2] };

  it("are refused with their number and place", async () => {
    const message = /^E_NONFINITE data: 2 NaN or infinite values, first at row 1 column 1.*nonfinite: "drop"/;
    await expect(openDataset(holes)).rejects.toThrow(message);
    await expect(openDataset(holes, { rows: [4, 3] })).rejects.toThrow(/1 NaN or infinite values, first at row 3 column 0/);
    const table = written("h.csv", "0,1,2\n0,1,nan\n");
    await expect(openDataset(table, { labels: 0 })).rejects.toThrow(/^E_NONFINITE .*row 1 column 2/);
  });

  it("are dropped with their rows on request, and that is said", async () => {
    using dataset = await openDataset(holes, { nonfinite: "drop", labels: [0, 1, 2, 3, 4] });
    expect(valuesOf(dataset)).toEqual([0, 1, 4, 5, 8, 9]);
    expect(Array.from(dataset.classValues!)).toEqual([0, 2, 4]);
    expect(dataset.warnings).toEqual([expect.stringMatching(/^2 of 5 rows of data held NaN or infinity and were left out/)]);
    using clean = await openDataset(holes, { nonfinite: "drop", rows: [0, 2] });
    expect(clean.warnings).toEqual([]);
    await expect(openDataset(holes, { nonfinite: "drop", rows: [1, 3] })).rejects.toThrow(/^E_NONFINITE .*every one of the 2 rows/);
  });
});

describe("duplicates", () => {
  it("are counted, and told when they are more than one in a hundred", async () => {
    const rows = Float64Array.from({ length: 200 }, (_, k) => k);
    using distinct = await openDataset({ data: rows, shape: [200, 1] });
    expect([distinct.distinctRows, distinct.warnings]).toEqual([200, []]);
    using two = await openDataset({ data: rows.map((k) => Math.max(k, 2)), shape: [200, 1] });
    expect([two.distinctRows, two.warnings]).toEqual([198, []]);
    using three = await openDataset({ data: rows.map((k) => Math.max(k, 3)), shape: [200, 1] });
    expect([three.distinctRows, three.warnings]).toEqual([197, [expect.stringMatching(/^3 of 200 rows of data \(1\.5 %\) repeat/)]]);
  });

  it("are equal rows by value: 0 and -0 are the same number", async () => {
    using dataset = await openDataset({ data: Float64Array.of(0, -0), shape: [2, 1] });
    expect(dataset.distinctRows).toBe(1);
  });
});

describe("the fingerprint", () => {
  it("is the sha256 that the documentation defines", async () => {
    const data = { data: Float32Array.of(1, 2, 3, 4), shape: [2, 2] };
    using dataset = await openDataset(data, { scale: "symmetric", maximum: 4, labels: [9, 5] });
    const line = '{"dtype":"float32","shape":[2,2],"scale":0.5,"shift":-1,"labels":true}\n';
    const hash = createHash("sha256").update(line).update(Float32Array.of(1, 2, 3, 4)).update(Int32Array.of(9, 5));
    expect(dataset.fingerprint).toBe(hash.digest("hex"));
  });

  it("depends on the numbers, their type, scale, rows and labels, not on the container", async () => {
    const data = Float32Array.of(1, 2, 3, 4, 5, 6);
    const fingerprint = async (source: string | DataInput, options: DatasetOptions = {}): Promise<string> => {
      using dataset = await openDataset(source, options);
      return dataset.fingerprint;
    };
    const memory = await fingerprint({ data, shape: [3, 2] });
    const npy = { descr: "<f4", shape: [3, 2] };
    const same = [
      written("f1.npy", npyFile(data, npy)),
      written("f2.npy", npyFile(swapped(data, 4), { ...npy, descr: ">f4", version: 3 })),
      written("f3.npy", npyFile(Float32Array.of(1, 3, 5, 2, 4, 6), { ...npy, fortranOrder: true })),
      written("f4.npy.gz", gzipSync(npyFile(data, npy))),
      written("f5.idx", idxFile(0x0d, [3, 2], swapped(data, 4))),
      written("f6.safetensors", safetensorsFile({ x: { dtype: "F32", shape: [3, 2], data_offsets: [0, 24] } }, data)),
    ];
    for (const path of same) expect(await fingerprint(path)).toBe(memory);
    const others = await Promise.all([
      fingerprint({ data, shape: [2, 3] }),
      fingerprint({ data: Float64Array.from(data), shape: [3, 2] }),
      fingerprint({ data, shape: [3, 2] }, { scale: "unit", maximum: 6 }),
      fingerprint({ data, shape: [3, 2] }, { rows: [0, 1] }),
      fingerprint({ data, shape: [3, 2] }, { rows: [1, 0, 2] }),
      fingerprint({ data, shape: [3, 2] }, { labels: [0, 0, 0] }),
      fingerprint({ data, shape: [3, 2] }, { labels: [0, 0, 1] }),
    ]);
    expect(new Set([memory, ...others]).size).toBe(8);
  });
});

describe("files", () => {
  const image = idxFile(8, [2, 2, 2], Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));

  it("are known by their first bytes before their names", async () => {
    for (const name of ["a.dat", "a.npy", "a-idx3-ubyte", "a.csv"]) {
      using dataset = await openDataset(written(name, image), { labels: [0, 1] });
      expect([dataset.name, dataset.n, dataset.d, dataset.imageShape, dataset.dtype]).toEqual([name, 2, 4, [2, 2], "uint8"]);
    }
  });

  it("of text are known by their extension, gzipped or not", async () => {
    for (const [name, content] of [["b.csv", "1,2\n"], ["b.tsv", "1\t2\n"], ["b.txt", "1;2\n"]] as const) {
      for (const path of [written(name, content), written(`${name}.gz`, gzipSync(content))]) {
        using dataset = await openDataset(path, { name: "table" });
        expect([valuesOf(dataset), dataset.name, dataset.dtype]).toEqual([[1, 2], "table", "text"]);
      }
    }
  });

  it("hold arrays of more dimensions only with flatten, IDX images aside", async () => {
    const path = written("images.npy", npyFile(new Uint8Array(24), { descr: "|u1", shape: [2, 3, 4] }));
    await expect(openDataset(path)).rejects.toThrow(/^E_SHAPE images\.npy: shape \(2, 3, 4\), need rows x d\. Set flatten: true/);
    using dataset = await openDataset(path, { flatten: true });
    expect([dataset.n, dataset.d, dataset.imageShape]).toEqual([2, 12, [3, 4]]);
  });

  it("with tensors take the name of one", async () => {
    const tensors = { a: { dtype: "U8", shape: [1, 1], data_offsets: [0, 1] }, b: { dtype: "U8", shape: [1, 1], data_offsets: [1, 2] } };
    const path = written("ab.safetensors", safetensorsFile(tensors, Uint8Array.of(3, 4)));
    using dataset = await openDataset(path, { tensor: "b" });
    expect(valuesOf(dataset)).toEqual([4]);
    await expect(openDataset(path)).rejects.toThrow(/^E_OPTION .*"a" \(1, 1\) U8; "b"/);
    await expect(openDataset(written("c.idx", image), { tensor: "b" })).rejects.toThrow(/^E_OPTION tensor: c\.idx is idx/);
  });

  it.each([
    ["cut", "cut.npy", npyFile(new Float64Array(4), { shape: [2, 2] }).subarray(0, -3), /^E_HEADER cut\.npy: .*3 are missing/],
    ["too long", "long.idx", joined(image, new Uint8Array(2)), /^E_HEADER .*2 are too many/],
    ["cut inside gzip", "cut-idx3-ubyte.gz", gzipSync(image.subarray(0, -1)), /^E_HEADER .*1 are missing/],
    ["a cut gzip", "cutgz.csv.gz", gzipSync("1,2\n".repeat(1000)).subarray(0, -9), /^E_FILE .*gzip stream ends before its end/],
    ["a damaged gzip", "bad.csv.gz", gzipSync("1,2\n").fill(0xff, 12, 15), /^E_FILE .*gzip stream is damaged/],
    ["a pickle", "x.pkl", Uint8Array.of(0x80, 4, 0x95), /^E_PICKLE_REFUSED x\.pkl/],
    ["a pickle under another name", "x.dat", Uint8Array.of(0x80, 2, 0x7d), /^E_PICKLE_REFUSED/],
    ["a torch archive", "x.pt", "PK\u0003\u0004............archive/data.pkl", /^E_PICKLE_REFUSED .*torch/],
    ["a zip", "x.npz", "PK\u0003\u0004............", /^E_FILE .*zip archive.*np\.save/],
    ["HDF5", "x.h5", Buffer.from("\u0089HDF\r\n", "latin1"), /^E_FILE x\.h5 is an HDF5 file/],
    ["empty", "nothing", "", /^E_FILE nothing is empty/],
    ["unknown", "x.bin", Uint8Array.of(1, 2, 3), /^E_FILE x\.bin begins with bytes 010203: none of/],
    ["named like an npy only", "y.npy", "hello", /^E_HEADER y\.npy: does not begin/],
    ["named like an IDX only", "y-idx3-ubyte", "hello", /^E_HEADER y-idx3-ubyte: does not begin/],
    ["a table of words", "w.csv", "a,b\nc,d\n", /^E_PARSE w\.csv: row 2, column 1: "c"/],
    ["a header alone", "h0.csv", "a,b\n", /^E_SHAPE h0\.csv: shape \(0, 2\)/],
    ["a hostile name", "x\u001b[31m\u202e.npy", "hello", /^E_HEADER x\\u\{1b\}\[31m\\u\{202e\}\.npy/],
  ])("are refused when %s", async (_, name, content, message) => {
    await expect(openDataset(written(name, content))).rejects.toThrow(message);
  });

  it("that are not there are named, with what may help", async () => {
    await expect(openDataset(join(folder, "missing.npy"))).rejects.toThrow(/^E_FILE .*missing\.npy: there is no such file$/);
    written("packed.csv.gz", gzipSync("1\n"));
    await expect(openDataset(join(folder, "packed.csv"))).rejects.toThrow(/There is .*packed\.csv\.gz/);
    const hint = /apt-get install dataset-fashion-mnist .* \/usr\/share\/datasets\/fashion-mnist/;
    await expect(openDataset(join(folder, "train-images-idx3-ubyte.gz"))).rejects.toThrow(hint);
    await expect(openDataset(counting(1, 1), { labels: join(folder, "t10k-labels-idx1-ubyte") })).rejects.toThrow(hint);
  });

  it("must be regular", async () => {
    await expect(openDataset(folder)).rejects.toThrow(/^E_FILE .* is a folder/);
    await expect(openDataset("/dev/zero")).rejects.toThrow(/^E_FILE .*not a regular file/);
    const fifo = join(folder, "fifo");
    execFileSync("mkfifo", [fifo]);
    await expect(openDataset(fifo)).rejects.toThrow(/^E_FILE .*not a regular file/);
  });

  it.each([
    ["grows", (path: string) => appendFileSync(path, "x"), /went from 40000128 to 40000129 bytes/],
    ["shrinks", (path: string) => truncateSync(path, 1000), /went from 40000128 to 1000 bytes/],
    ["is rewritten", (path: string) => utimesSync(path, 1, 1), /was written to/],
  ])("that %s while it is read give E_FILE_CHANGED", async (_, change, message) => {
    const path = written("changing.npy", npyFile(new Uint8Array(40_000_000), { descr: "|u1", shape: [10_000, 4000] }));
    let changed = false;
    const onProgress = (): void => {
      if (!changed) change(path);
      changed = true;
    };
    const opened = openDataset(path, { onProgress });
    await expect(opened).rejects.toThrow(/^E_FILE_CHANGED changing\.npy/);
    await expect(opened).rejects.toThrow(message);
  });

  it("that are replaced by another are read as they were", async () => {
    const path = written("replaced.npy", npyFile(new Float64Array(4_000_000).fill(1), { shape: [4000, 1000] }));
    let replaced = false;
    const onProgress = (): void => {
      if (!replaced) execFileSync("mv", [written("new.npy", "hello"), path]);
      replaced = true;
    };
    using dataset = await openDataset(path, { onProgress });
    expect([dataset.n, dataset.distinctRows]).toEqual([4000, 1]);
  });

  it("that unpack to more than they promise, or than is allowed, are stopped", async () => {
    const bomb = gzipSync(joined(idxFile(8, [4], Uint8Array.of(1, 2, 3, 4)), new Uint8Array(50_000_000)));
    await expect(openDataset(written("bomb.gz", bomb))).rejects.toThrow(/^E_HEADER bomb\.gz: .*promises 12 bytes/);
    const lying = gzipSync(joined(idxFile(8, [1, 4_000_000_000], new Uint8Array(0)), new Uint8Array(1_000_000)));
    const allowed = openDataset(written("lying.gz", lying), { maxBytes: 1e9 });
    await expect(allowed).rejects.toThrow(/^E_OUT_OF_MEMORY .*unpacks to 4000000012 bytes/);
    await expect(openDataset(written("lying.gz", lying))).rejects.toThrow(/^E_HEADER .*are missing/);
    const zeros = gzipSync("0\n".repeat(5_000_000));
    await expect(openDataset(written("zeros.csv.gz", zeros), { maxBytes: 1e6 })).rejects.toThrow(/^E_OUT_OF_MEMORY .*maxBytes/);
    await expect(openDataset(written("big.csv", "0\n".repeat(600)), { maxBytes: 1000 })).rejects.toThrow(/^E_OUT_OF_MEMORY .*1200 bytes/);
  });
});

describe("openDataset", () => {
  it("names the option that was meant", async () => {
    await expect(openDataset("digits", { scales: "unit" } as DatasetOptions)).rejects.toThrow(/^E_OPTION .*Did you mean "scale"/);
    await expect(openDataset("digits", { scale: "units" as "unit" })).rejects.toThrow(/^E_OPTION .*Did you mean "unit"/);
    await expect(openDataset("digits", { nonfinite: "skip" as "drop" })).rejects.toThrow(/^E_OPTION nonfinite is "skip"/);
    await expect(openDataset("digits", { maxBytes: NaN })).rejects.toThrow(/^E_OPTION maxBytes/);
    await expect(openDataset("digits", { threads: 0 })).rejects.toThrow(/^E_OPTION threads/);
  });

  it("rejects with the signal's reason, at once or midway", async () => {
    const reason = new Error("changed my mind");
    await expect(openDataset("digits", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const path = written("slow.npy", npyFile(new Float64Array(4_000_000), { shape: [40_000, 100] }));
    const opened = openDataset(path, { signal: controller.signal, onProgress: () => controller.abort(reason) });
    await expect(opened).rejects.toBe(reason);
    const late = new AbortController();
    const later = openDataset(path, { signal: late.signal, onProgress: (fraction) => fraction > 0.5 && late.abort(reason) });
    await expect(later).rejects.toBe(reason);
  });

  it("reports progress from 0 to 1, never backwards", async () => {
    const fractions: number[] = [];
    const path = written("progress.npy", npyFile(new Float64Array(5_000_000), { shape: [50_000, 100] }));
    using dataset = await openDataset(path, { onProgress: (fraction) => fractions.push(fraction) });
    expect(dataset.n).toBe(50_000);
    expect(fractions).toEqual(fractions.toSorted((a, b) => a - b));
    expect(fractions.length).toBeGreaterThan(3);
    expect(fractions[0]).toBeGreaterThan(0);
    expect(fractions.at(-1)).toBe(1);
  });

  it("gives the same for any number of threads", async () => {
    const data = Float64Array.from({ length: 30_000 }, (_, k) => Math.sin(k * k));
    const open = (threads: number): Promise<Dataset> => openDataset({ data, shape: [10_000, 3] }, { scale: "standardize", threads });
    const opened = await Promise.all([1, 2, 3].map(open));
    expect(new Set(opened.map((dataset) => dataset.fingerprint)).size).toBe(1);
    for (const dataset of opened) dataset.dispose();
  });

  it("gives a data set that is gone after dispose", async () => {
    const dataset = await openDataset(counting(2, 2), { name: "gone" });
    dataset.dispose();
    dataset.dispose();
    expect(() => dataset.rows(0, 1)).toThrow(/^E_DISPOSED data set gone was disposed/);
    expect(() => dataset.handle).toThrow(/^E_DISPOSED/);
    expect(dataset.n).toBe(2);
    let held: Dataset;
    {
      using scoped = await openDataset(counting(2, 2));
      held = scoped;
    }
    expect(() => held.rows(0, 1)).toThrow(/^E_DISPOSED/);
  });
});

describe("Fashion-MNIST", () => {
  it.skipIf(fashion === null)("opens with its labels in [0, 1]", async () => {
    using data = await openDataset(fashion!.trainImages, { labels: fashion!.trainLabels, scale: "unit" });
    expect([data.name, data.n, data.d, data.imageShape]).toEqual(["train-images-idx3-ubyte.gz", 60_000, 784, [28, 28]]);
    expect(data.scale).toEqual({ name: "unit", scale: 1 / 255, shift: 0, maximum: 255 });
    const counts = new Int32Array(10);
    for (const label of data.labels!) counts[label]!++;
    expect(counts).toEqual(new Int32Array(10).fill(6000));
    const { data: values } = data.rows(0, data.n);
    // The mean pixel of the training set, as every tutorial normalises it: 0.2860.
    expect(values.reduce((sum, value) => sum + value, 0) / values.length).toBeCloseTo(0.286, 4);
  });

  it.skipIf(fashion === null)("gives two classes, standardized over them alone", async () => {
    using data = await openDataset(fashion!.testImages, { labels: fashion!.testLabels, classes: [0, 9], scale: "standardize" });
    expect([data.n, Array.from(data.classValues!)]).toEqual([2000, [0, 9]]);
    const { data: values } = data.rows(0, data.n);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean).toBeCloseTo(0, 10);
    expect(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length).toBeCloseTo(1, 10);
  });

  it.skipIf(fashion === null)("refuses the labels of the other set", async () => {
    const opened = openDataset(fashion!.testImages, { labels: fashion!.trainLabels });
    await expect(opened).rejects.toThrow(/^E_LABELS .*10000 rows, there are 60000 labels/);
  });
});
