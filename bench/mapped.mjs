/**
 * The same rows in memory and mapped from a file whose pages the system has cached: uint8 of shape A, and float32 and float16 that are no
 * bytes (the images with noise of 1e-3), which all passes have to read. That bits are the same, tests/mapped.test.ts tells.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Random, valuesOf } from "./datasets.mjs";
import { ours } from "./contenders.mjs";
import { measure } from "./measure.mjs";
import { printTable, threeDigits } from "./table.mjs";
import { shapes, writePoints } from "./workloads.mjs";

const heads = ["noise", "threads", "rows", "in memory ms", "mapped ms", "mapped, speed", "CPU", "in memory MB", "mapped MB"];
const element = { uint8: { descr: "|u1", width: 1 }, float16: { descr: "<f2", width: 2 }, float32: { descr: "<f4", width: 4 } };

function writeNpy(path, rows, shape, { descr }) {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(", ")}), }`;
  const header = Buffer.from(`${text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11)}\n`, "latin1");
  const magic = Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, header.length & 255, header.length >> 8]);
  writeFileSync(path, Buffer.concat([magic, header, Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength)]));
}

/** Bits of float16, rounded to nearest, of numbers between 2^-14 and 65504; smaller ones become 0. */
function halves(values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (word) => {
    const size = word & 0x7fffffff;
    return ((word >>> 16) & 0x8000) | (size < 0x38800000 ? 0 : (size - 0x38000000 + 0xfff + ((word >>> 13) & 1)) >>> 13);
  });
}

function withNoise(stored) {
  const random = new Random(8);
  return valuesOf(stored).map((value) => value + 2e-3 * (random.uniform() - 0.5));
}

/** Prints the table; `record.tables.mapped` keeps the figures. */
export async function mappedTable(folder, settings, missing, record) {
  const rows = [];
  const { n, d } = shapes.A;
  const { stored } = shapes.A.make();
  const noisy = withNoise(stored);
  for (const [type, values] of Object.entries({ uint8: stored, float16: halves(noisy), float32: noisy })) {
    settings.say(`mapped, ${type}`);
    const at = join(folder, "mapped");
    mkdirSync(at, { recursive: true });
    const workload = { ...writePoints(at, `mapped-${type}`, { ...shapes.A, make: () => ({ stored, source: "" }) }, settings.noise, { alone: true }), checked: { typical: 0, tie: 0 } };
    const file = join(at, "rows.npy");
    writeNpy(file, values, [n, d], element[type]);
    const opened = (map) => ({ ...ours, name: map, env: { BENCH_FILE: file, BENCH_MAP: map, BENCH_BYTES: String(type === "uint8") } });
    for (const threads of settings.threads) {
      for (const { level, results } of await measure(workload, [opened("false"), opened("true")], threads, { ...settings, longest: Infinity }, missing)) {
        const [own, mapped] = results;
        rows.push([
          level.name, String(threads), type, threeDigits(own.ms), threeDigits(mapped.ms), (own.ms / mapped.ms).toFixed(2), (own.cpuMs / mapped.cpuMs).toFixed(2),
          threeDigits(own.peakMb), threeDigits(mapped.peakMb),
        ]);
        (record.tables.mapped ??= []).push({ type, threads, level, results });
      }
    }
    rmSync(at, { recursive: true });
  }
  rows.sort((left, right) => left[0].localeCompare(right[0]) || Number(left[1]) - Number(right[1]));
  console.log(`Mapped: ours, ${shapes.A.batch} queries x ${n} x ${d}, the file in the page cache\n`);
  console.log(`${printTable(heads, rows)}\n`);
}
