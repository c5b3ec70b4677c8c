/** The machine a table was made on: processor, flags that matter, caches, versions, and its measured ceilings (ceilings.cpp). */
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const flagsThatMatter = ["avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"];

function reading(path) {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

function output(command, args) {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
  } catch {
    return null;
  }
}

/** e.g. "L1d 32K, L2 1024K, L3 32768K". */
function caches() {
  const folder = "/sys/devices/system/cpu/cpu0/cache";
  let names = [];
  try {
    names = readdirSync(folder).filter((name) => name.startsWith("index"));
  } catch {
    return "";
  }
  return names
    .map((name) => ({ level: reading(join(folder, name, "level")), type: reading(join(folder, name, "type")), size: reading(join(folder, name, "size")) }))
    .filter(({ type, size }) => type !== "Instruction" && size !== "")
    .map(({ level, type, size }) => `L${level}${type === "Data" ? "d" : ""} ${size}`)
    .join(", ");
}

export function describeMachine(root) {
  const flags = /^flags\s*:(.*)$/m.exec(reading("/proc/cpuinfo"))?.[1].split(" ") ?? [];
  return {
    processor: `${cpus()[0]?.model ?? "unknown"}, ${availableParallelism()} processors`,
    flags: flagsThatMatter.filter((flag) => flags.includes(flag)).join(" "),
    caches: caches(),
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
    system: `${reading("/etc/os-release").match(/^PRETTY_NAME="(.*)"$/m)?.[1] ?? process.platform}, Node ${process.versions.node}, ${output("c++", ["--version"])?.split("\n")[0] ?? "no c++"}`,
    commit: output("git", ["-C", root, "describe", "--always", "--dirty"]) ?? "unknown",
    date: new Date().toISOString().slice(0, 16).replace("T", " ") + " UTC",
    load: loadavg().map((load) => load.toFixed(2)).join(" "),
  };
}

/** Measured ceilings per number of threads: float32 GFlop/s, int8 Gop/s, read GB/s; null where they could not be measured. */
export function measureCeilings(folder, threadCounts) {
  const source = fileURLToPath(new URL("ceilings.cpp", import.meta.url));
  const program = join(folder, "ceilings");
  const built = output(process.env.CXX ?? "c++", ["-O2", "-std=c++20", "-pthread", source, "-o", program]) !== null;
  return Object.fromEntries(threadCounts.map((threads) => [threads, built ? JSON.parse(output(program, [String(threads)]) ?? "null") : null]));
}
