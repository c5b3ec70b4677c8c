/** The pieces of the bench: what it prints, what it compares, and that it runs with whatever is installed. Nothing here is timed. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { diffuse, empirical, openDataset, ornsteinUhlenbeck } from "../lib/index.js";
import { normals } from "./synthetic.js";

/** Modules of bench/ are plain JavaScript. */
const bench = (name: string): Promise<any> => import(new URL(`../bench/${name}.mjs`, import.meta.url).href);
const table = await bench("table");
const workloads = await bench("workloads");
const { ours, peers } = await bench("contenders");
const folder = mkdtempSync(join(tmpdir(), "diffusion-regimes-bench-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const entry = (name: string, precision: string, ms: number, held: string | null = null): object => ({
  name, precision, held, ms, cpuMs: 2 * ms, least: ms, scaledFrom: null, peakMb: 100, errors: { typical: 1e-7, tie: 0 },
});

describe("the table", () => {
  const results = [
    entry("slow", "float32", 40),
    entry("coarse", "bf16", 1),
    entry("fast", "float32", 20),
    entry("part", "truncated", 2),
    entry("ours", "certified", 5),
    entry("ours@avx2", "certified", 8, "avx2"),
    entry("fast@avx2", "float32", 24, "avx2"),
  ];
  const workload = { batch: 10, n: 1000, d: 100, stored: "uint8", flop: 4e6, floatBytes: 4e5 };

  it("takes as best peer the fastest float32 one of the same instruction set, never a bf16 or truncated one", () => {
    expect(table.bestPeer(results, null, "ms")).toBe(20);
    expect(table.bestPeer(results, null, "cpuMs")).toBe(40);
    expect(table.bestPeer(results, "avx2", "ms")).toBe(24);
    expect(table.bestPeer(results, "avx512", "ms")).toBeNull();
  });

  it("lists ours, float32 peers by speed, then the other classes without a ratio, then those kept to an instruction set", () => {
    const rows: string[][] = table.comparisonRows(results, workload, null);
    expect(rows.map((row) => row[0])).toEqual(["ours", "fast", "slow", "coarse", "part", "ours@avx2", "fast@avx2"]);
    expect(rows.map((row) => row[5])).toEqual(["4.00", "1.00", "0.50", "-", "-", "3.00", "1.00"]);
  });

  it("gives shares of the ceilings, bounded by arithmetic or by memory, and none where they were not measured", () => {
    // 4e6 flop at 1 GFlop/s take 4 ms; 2e6 int8 operations at 4 Gop/s 0.5 ms; 4e5 bytes at 1 GB/s 0.4 ms.
    const ceilings = { float32: 1, int8: 4, read: 1 };
    expect(table.floors(workload, ceilings).float32).toBeCloseTo(4, 12);
    expect(table.floors(workload, ceilings).int8).toBeCloseTo(0.5, 12);
    expect(table.floors(workload, { ...ceilings, read: 0.01 }).float32).toBeCloseTo(40, 12);
    const rows: string[][] = table.comparisonRows(results, workload, ceilings);
    expect(rows[0]!.slice(7, 9)).toEqual(["80%", "10%"]);
    expect(rows[1]!.slice(7, 9)).toEqual(["20%", "-"]);
    expect(table.comparisonRows(results, workload, null)[0].slice(7, 9)).toEqual(["-", "-"]);
  });

  it("aligns columns, lets headings run across, and marks what was scaled", () => {
    const [row] = table.comparisonRows([{ ...entry("x", "float32", 1234), scaledFrom: 8 }], workload, null);
    expect(row[2]).toBe("~1234");
    expect(table.printTable(["name", "ms"], ["a heading", ["long name", "1"], ["b", "100"]])).toBe(
      "name        ms\na heading\nlong name    1\nb          100",
    );
  });

  it("computes medians and worst errors, and takes a NaN as the worst", () => {
    expect(table.median([5, 1, 3])).toBe(3);
    expect(table.median([4, 1, 3, 2])).toBe(2.5);
    expect(table.worstRelativeError([3, 4, 0, 2], [3, 4, 0, 1], 2)).toBe(1);
    expect(table.worstRelativeError([NaN, 4, 0, 1], [3, 4, 0, 1], 2)).toBe(Infinity);
  });
});

describe("the options", () => {
  it("have defaults, refuse what they do not know, and turn lists into lists", async () => {
    const { parseOptions } = await bench("options");
    expect(parseOptions([])).toMatchObject({ tables: ["compare", "api"], repetitions: 5, only: null, held: true });
    expect(parseOptions(["--quick"])).toMatchObject({ tables: ["compare"], shapes: ["A", "D"], threads: [1], held: false });
    expect(parseOptions(["--small", "--shapes", "A,C", "--threads", "2"])).toMatchObject({ tables: ["small"], shapes: ["A", "C"], threads: [2] });
    expect(() => parseOptions(["--threads", "none"])).toThrow("positive");
    expect(() => parseOptions(["--shape", "A"])).toThrow("--shape");
    expect(() => workloads.noiseOf("quiet", { condensed: 0.3 })).toThrow("condensed");
  });
});

describe("the plain typed-array baseline", () => {
  it("agrees with the float64 path to the rounding of its float32 squares and result", async () => {
    const { denoised } = await import(new URL("../bench/baselines/typed_arrays.mjs", import.meta.url).href);
    const { halfSquares } = await import(new URL("../bench/baselines/peer.mjs", import.meta.url).href);
    const [n, d, rows] = [200, 7, 5];
    const data = Float32Array.from(normals(1, n * d));
    const x = Float32Array.from(normals(2, rows * d));
    const field = diffuse(empirical(await openDataset({ data, shape: [n, d] })), ornsteinUhlenbeck());
    const t = 0.1;
    const exact = await field.posterior({ data: x, shape: [rows, d] }, { t, readings: ["denoised"], precision: "float64" });
    const halves: Float32Array = halfSquares(data, n, d);
    const { a, b } = exact.marginal;
    const means: Float32Array = denoised(x, rows, data, halves, n, d, exact.marginal);
    // |delta logit| <= (a/b)^2 2^-24 max h, so that a mean moves by at most (e^(2 delta) - 1) max |y|; its own rounding 2^-24 max |y|.
    // The float64 sums add less than a thousandth of either.
    const delta = (a / b) ** 2 * 2 ** -24 * Math.max(...halves);
    const bound = 1.001 * (Math.expm1(2 * delta) + 2 ** -24) * Math.max(...data.map(Math.abs));
    exact.denoised.data.forEach((value, k) => expect(Math.abs(means[k]! - value)).toBeLessThan(bound));
    // And the bound is small enough to find a wrong formula.
    expect(bound).toBeLessThan(1e-4);
  });
});

describe("a run", () => {
  const shape = { batch: 6, n: 80, d: 12, noise: { condensed: 0.3 }, make: () => ({ stored: Uint8Array.from(normals(3, 960), (v) => 128 + 30 * v), source: "test" }) };
  const settings = { python: "no-such-python", modules: folder, repetitions: 2, longest: 1000, processors: 1, say: () => {} };

  it("measures whom it finds against float64 scores, and names who is missing", async () => {
    const { measure } = await bench("measure");
    const workload = workloads.writePoints(join(folder, "tiny"), "tiny", shape, ["condensed", "0.9"]);
    const missing = new Map<string, string>();
    const names = ["typed-arrays", "torch-sdpa", "tfjs-wasm"];
    const blocks = await measure(workload, [ours, ...peers.filter(({ name }: { name: string }) => names.includes(name))], 1, settings, missing);
    expect([...missing.keys()]).toEqual(["torch-sdpa", "tfjs-wasm"]);
    expect(table.missingLines(missing)[0]).toMatch(/^missing: torch-sdpa \(no-such-python/);
    expect(table.missingLines(missing)[1]).toMatch(/^missing: tfjs-wasm \(.*tfjs-core/);
    expect(blocks.map(({ results }: any) => results.map(({ name }: any) => name))).toEqual([["ours", "typed-arrays"], ["ours", "typed-arrays"]]);
    for (const { results } of blocks) {
      for (const { ms, cpuMs, peakMb, errors, scaledFrom } of results) {
        for (const value of [ms, cpuMs, peakMb]) expect(value).toBeGreaterThan(0);
        // Both stay far below: "exact" promises 1e-5, and float32 squares of 12 numbers below 1 move a logit by (a/b)^2 6 2^-24 < 4e-6.
        expect(errors.typical).toBeLessThan(1e-4);
        expect(errors.tie).toBeLessThan(1e-4);
        expect(scaledFrom).toBeNull();
      }
    }
  });

  it("puts tie queries where the two nearest data weigh nearly the same", async () => {
    const { stored } = shape.make();
    const values = Array.from(stored, (byte) => byte / 128 - 1);
    const workload = workloads.writePoints(join(folder, "ties"), "ties", shape, ["0.05"]);
    const x = new Float32Array(new Uint8Array(readFileSync(join(workload.folder, "tie-0.f32"))).buffer);
    const field = diffuse(empirical(await openDataset({ data: Float64Array.from(values), shape: [80, 12] })), ornsteinUhlenbeck());
    const { top } = await field.posterior({ data: x, shape: [16, 12] }, { t: workload.levels[0].t, readings: ["logDensity"], top: 2 });
    // The logits differ by a standard normal number: by more than 6 with probability 2e-9 each.
    for (let q = 0; q < 16; q++) expect(top.weight.data[2 * q + 1]! / top.weight.data[2 * q]!).toBeGreaterThan(Math.exp(-6));
    workloads.neighbours(stored, 80, 12, 16).forEach(([row, nearest]: [number, number]) => {
      const squared = (other: number): number => values.slice(other * 12, other * 12 + 12).reduce((sum, v, j) => sum + (v - values[row * 12 + j]!) ** 2, 0);
      const distances = Array.from({ length: 80 }, (_, other) => squared(other)).filter((value) => value > 0);
      expect(squared(nearest)).toBe(Math.min(...distances));
    });
  });
});
