/** Mapped files: the same bits as in memory, little memory, and an error instead of an end when the file changes underneath. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, utimesSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { openDataset, type Dataset, type DatasetOptions } from "../lib/data.js";
import { diffuse } from "../lib/field.js";
import { autoMapBytes, locateMapped } from "../lib/formats/mapped.js";
import { ornsteinUhlenbeck } from "../lib/process.js";
import { empirical } from "../lib/target.js";
import { joined, npyFile, safetensorsFile, swapped } from "./written_files.js";

const folder = mkdtempSync(join(tmpdir(), "regimes-mapped-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function written(name: string, contents: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

const n = 2500;
const d = 67;

/** Points near a plane, as numbers from 0 to 255 that every type holds. */
const numbers = Float64Array.from({ length: n * d }, (_, k) => {
  const row = Math.floor(k / d);
  const noise = (Math.imul(k + 1, 0x9e3779b1) >>> 0) / 2 ** 32;
  return Math.round(128 + 60 * Math.sin(row) * Math.cos(k % d) + 40 * Math.cos(1.7 * row) * Math.sin(2 * (k % d)) + 20 * noise);
});

/** IEEE binary16 of the whole numbers 0 to 255, shifted by `below` powers of two. */
function half(value: number, below: number): number {
  if (value === 0) return 0;
  const exponent = Math.floor(Math.log2(value));
  return ((exponent - below + 15) << 10) | ((value / 2 ** exponent - 1) * 1024);
}

type Kind = readonly [name: string, descr: string, tensor: string, data: ArrayBufferView];

const kinds: readonly Kind[] = [
  ["uint8", "|u1", "U8", Uint8Array.from(numbers)],
  ["float16", "<f2", "F16", Uint16Array.from(numbers, (value) => half(value, 3))],
  ["float32", "<f4", "F32", Float32Array.from(numbers, (value, k) => Math.fround(value / 3 + k * 1e-9))],
  ["float64", "<f8", "F64", Float64Array.from(numbers, (value, k) => value / 3 + k * 1e-12)],
];

/** A safetensors file whose tensor "rows" begins at a multiple of `offset` but of no higher power of two, between two others. */
function tensors([, , tensor, data]: Kind, offset: number): Uint8Array {
  const before = 3 * offset;
  for (let spaces = 0; ; spaces++) {
    const header = {
      first: { dtype: "U8", shape: [before], data_offsets: [0, before] },
      rows: { dtype: tensor, shape: [n, d], data_offsets: [before, before + data.byteLength] },
      last: { dtype: "U8", shape: [5], data_offsets: [before + data.byteLength, before + data.byteLength + 5] },
    };
    const text = JSON.stringify(header) + " ".repeat(spaces);
    if ((8 + text.length + before) % (2 * offset) !== offset) continue;
    return safetensorsFile(text, joined(new Uint8Array(before).fill(7), data, Uint8Array.of(9, 9, 9, 9, 9)));
  }
}

const hash = (array: ArrayBufferView): string =>
  createHash("sha256").update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength)).digest("hex");

/** Everything that the library computes from the rows. */
async function answers(dataset: Dataset): Promise<object> {
  const target = empirical(dataset);
  const field = diffuse(target, ornsteinUhlenbeck());
  const x = dataset.rows(3, 40);
  const readings = ["logDensity", "score", "entropy", "covarianceTrace"] as const;
  const results: Record<string, unknown> = {};
  for (const t of [0.01, 0.3, 2]) {
    for (const precision of ["exact", "float64", "fast"] as const) {
      results[`${precision} posterior at ${t}`] = await field.posterior(x, { t, readings, precision });
      if (t !== 2) results[`${precision} score at ${t}`] = await field.posterior(x, { t, readings: ["score"], precision });
    }
  }
  results["sweep"] = await field.sweep({ times: [0.05, 0.5, 2], draws: 40, seed: 1, readings: ["logDensity", "entropy", "sumSquares"] });
  results["spectrum"] = await target.spectrum({ count: 3 });
  results["sample"] = await field.sample(0.3, { count: 9, seed: 5 });
  results["rows"] = dataset.rows(0, dataset.n);
  results["properties"] = { ...dataset, mapped: null };
  // Durations are nobody's bits, and float16 takes less memory mapped than as the float32 it is read into.
  const told = (key: string, value: unknown): unknown =>
    key === "wallMs" || key === "memory" ? null : ArrayBuffer.isView(value) ? hash(value) : value;
  return JSON.parse(JSON.stringify(results, told)) as object;
}

async function expectSame(path: string, options: DatasetOptions = {}): Promise<void> {
  using mapped = await openDataset(path, { ...options, map: true });
  using read = await openDataset(path, { ...options, map: false });
  expect([mapped.mapped, read.mapped]).toEqual([true, false]);
  expect(mapped.fingerprint).toBe(read.fingerprint);
  expect(await answers(mapped)).toEqual(await answers(read));
}

describe("mapped rows give the bits of rows in memory", () => {
  it.each(kinds)("from .npy of %s", async (name, descr, _, data) => {
    await expectSame(written(`${name}.npy`, npyFile(data, { descr, shape: [n, d] })), { scale: "standardize" });
  });

  it.each(kinds)("from safetensors of %s that begin at no rounder address than they must", async (...kind) => {
    const width = { uint8: 1, float16: 2, float32: 4, float64: 8 }[kind[0]]!;
    await expectSame(written(`${kind[0]}.safetensors`, tensors(kind, width)), { tensor: "rows" });
  });

  it.each(kinds)("in few dimensions, from %s", async (name, descr, _, data) => {
    await expectSame(written(`few-${name}.npy`, npyFile(data, { descr, shape: [(n * d) / 5, 5] })));
  });

  it("with a range of rows, labels, and a shape of three dimensions", async () => {
    const data = Uint8Array.from(numbers.subarray(0, 2400 * 64));
    const path = written("images.npy", npyFile(data, { descr: "|u1", shape: [2400, 8, 8] }));
    const labels = Int32Array.from({ length: 2400 }, (_, k) => k % 3);
    const options: DatasetOptions = { flatten: true, rows: { from: 7, to: 2345 }, labels, scale: "symmetric" };
    await expectSame(path, options);
    using mapped = await openDataset(path, { ...options, map: true });
    expect([mapped.n, mapped.imageShape, mapped.labels![0], mapped.classValues]).toEqual([2338, [8, 8], 1, Int32Array.of(0, 1, 2)]);
  });

  it("and the same refusals: a NaN is told by its row and column", async () => {
    const data = new Float32Array(300).fill(1);
    data[7 * 30 + 4] = NaN;
    const path = written("nan.npy", npyFile(data, { descr: "<f4", shape: [10, 30] }));
    const rows = { from: 5, to: 10 };
    for (const map of [true, false]) {
      await expect(openDataset(path, { map, rows })).rejects.toThrow(/^E_NONFINITE nan\.npy: 1 NaN .* row 7 column 4/);
    }
  });
});

describe("map: true refuses, with the reason,", () => {
  const bytes = npyFile(new Uint8Array(12), { descr: "|u1", shape: [4, 3] });
  const floats = new Float32Array(12);
  const header = "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3), } ";
  const misaligned = npyFile(new Float64Array(12), { header, alignment: 1 });
  it.each<readonly [string, string, Uint8Array | string, DatasetOptions, RegExp]>([
    ["gzipped files", "a.npy.gz", gzipSync(bytes), {}, /gzipped/],
    ["tables", "a.csv", "1,2\n3,4\n", {}, /neither \.npy nor safetensors/],
    ["other types", "i2.npy", npyFile(new Int16Array(12), { descr: "<i2", shape: [4, 3] }), {}, /int16 is converted/],
    ["Fortran order", "f.npy", npyFile(floats, { descr: "<f4", shape: [4, 3], fortranOrder: true }), {}, /Fortran/],
    ["the other byte order", "big.npy", npyFile(swapped(floats, 4), { descr: ">f4", shape: [4, 3] }), {}, /byte order/],
    ["elements across addresses", "odd.npy", misaligned, {}, /begin at byte \d*[1-7], not a multiple/],
    ["lists of rows", "list.npy", bytes, { rows: [1, 2] }, /list of rows/],
    ["classes", "classes.npy", bytes, { labels: [0, 1, 0, 1], classes: [1] }, /classes/],
    ["a column of labels", "column.npy", bytes, { labels: 0 }, /column/],
    ["dropping rows", "drop.npy", bytes, { nonfinite: "drop" }, /nonfinite/],
  ])("%s", async (_, name, contents, options, reason) => {
    const path = written(name, contents);
    await expect(openDataset(path, { ...options, map: true })).rejects.toThrow(reason);
    await expect(openDataset(path, { ...options, map: true })).rejects.toThrow(/^E_OPTION map: .*Leave out map/);
    using dataset = await openDataset(path, options);
    expect(dataset.mapped).toBe(false);
  });

  it("arrays, the digits, and words it does not know", async () => {
    await expect(openDataset("digits", { map: true })).rejects.toThrow(/^E_OPTION map: only files/);
    await expect(openDataset({ data: floats, shape: [4, 3] }, { map: true })).rejects.toThrow(/^E_OPTION map: only files/);
    await expect(openDataset("digits", { map: "yes" as "auto" })).rejects.toThrow(/^E_OPTION map: expected/);
  });

  it("headers that lie, as reading does", async () => {
    const short = written("short.npy", npyFile(new Uint8Array(11), { descr: "|u1", shape: [4, 3] }));
    await expect(openDataset(short, { map: true })).rejects.toThrow(/^E_HEADER short\.npy: .*1 are missing/);
    const hole = { a: { dtype: "U8", shape: [2, 2], data_offsets: [4, 8] } };
    const holed = written("hole.safetensors", safetensorsFile(hole, new Uint8Array(8)));
    await expect(openDataset(holed, { map: true })).rejects.toThrow(/^E_HEADER hole\.safetensors: .*nobody/);
    const rows = written("rows.npy", npyFile(new Uint8Array(0), { descr: "|u1", shape: [2 ** 31, 1] }));
    truncateSync(rows, 128 + 2 ** 31);
    await expect(openDataset(rows, { map: true })).rejects.toThrow(/^E_SHAPE rows\.npy: 2147483648 rows, at most 2\^31 - 1/);
    await expect(openDataset(rows, { map: true, tensor: "a" })).rejects.toThrow(/^E_OPTION tensor/);
  });
});

describe("a file that changes while a call reads it", () => {
  const script = fileURLToPath(new URL("./mapped_calls.mjs", import.meta.url));
  const happen = (what: string): Record<string, string | boolean> => {
    const data = Uint8Array.from({ length: 30_000 * 256 }, (_, k) => Math.imul(k, 0x9e3779b1) >>> 24);
    const path = written(`${what}.npy`, npyFile(data, { descr: "|u1", shape: [30_000, 256] }));
    // Opened well after it was written: within one tick of the file system's clock a change cannot be told.
    utimesSync(path, new Date(0), new Date(0));
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, what, path], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout) as Record<string, string | boolean>;
  };

  it.each([
    ["cut", /^E_FILE_CHANGED cut\.npy changed its size .*7680128 bytes at the opening, 2560042 now/],
    ["cut-to-nothing", /^E_FILE_CHANGED cut-to-nothing\.npy changed its size .*, 0 now/],
    ["write", /^E_FILE_CHANGED write\.npy was written to/],
  ] as const)("by a %s gives E_FILE_CHANGED then and later, and the process lives", (what, message) => {
    const { happened, during, after, rows, spectrum, other } = happen(what);
    expect(happened).toBe(true);
    for (const result of [during, after, rows, spectrum]) expect(result).toMatch(message);
    expect(other).toBe("ok");
  });

  it("but is replaced by another of its name goes on as it was", () => {
    expect(happen("replace")).toEqual({ happened: true, during: "ok", after: "ok", rows: "ok", spectrum: "ok", other: "ok" });
  });

  it("that is, while it is opened, is noticed too", async () => {
    const path = written("opening.npy", npyFile(new Uint8Array(4_000_000), { descr: "|u1", shape: [1000, 4000] }));
    utimesSync(path, new Date(0), new Date(0));
    let done = false;
    const onProgress = (): void => {
      if (!done) truncateSync(path, 1000);
      done = true;
    };
    await expect(openDataset(path, { map: true, onProgress })).rejects.toThrow(/^E_FILE_CHANGED opening\.npy .*4000128.* 1000/);
  });
});

describe("a file much larger than what is needed of it", () => {
  /** Two sparse gigabytes of float32 zeros, with numbers at both ends. */
  function sparse(): string {
    const path = written("sparse.npy", npyFile(new Float32Array(0), { descr: "<f4", shape: [2 ** 21, 256] }));
    const head = npyFile(new Float32Array(0), { descr: "<f4", shape: [2 ** 21, 256] }).length;
    truncateSync(path, head + 2 ** 31);
    const file = openSync(path, "r+");
    writeSync(file, new Float32Array(256).fill(2), 0, 1024, head);
    writeSync(file, new Float32Array(256).fill(-3), 0, 1024, head + 2 ** 31 - 1024);
    closeSync(file);
    return path;
  }

  it("takes next to no memory of its own, and its last row is there", async () => {
    const path = sparse();
    const before = process.memoryUsage();
    using dataset = await openDataset(path, { map: true, rows: { from: 2 ** 21 - 20_000, to: 2 ** 21 } });
    expect([dataset.n, dataset.d, dataset.distinctRows, dataset.magnitude]).toEqual([20_000, 256, 2, 3]);
    const field = diffuse(empirical(dataset), ornsteinUhlenbeck());
    const x = dataset.rows(19_999, 20_000);
    const { nearest } = await field.posterior(x, { t: 0.1, readings: ["nearest"] });
    expect(nearest.index[0]).toBe(19_999);
    const after = process.memoryUsage();
    // The subset itself is 20 MB, its layouts half of that: far from the file's 2 GiB.
    expect(after.rss - before.rss).toBeLessThan(400e6);
    expect(after.external - before.external).toBeLessThan(50e6);
    expect(autoMapBytes()).toBeGreaterThan(0);
    expect(await locateMapped(path, "auto", undefined, "something")).toBe(null);
  });
});
