/** `doctor`: what this machine offers and what is missing, each line with the command that adds it. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { RegimesError } from "../errors.js";
import { binaryCandidates, native } from "../native.js";
import { envelope, version } from "./envelope.js";
import { exitCodes } from "./failure.js";
import { table, type Terminal } from "./terminal.js";

interface Check {
  readonly name: string;
  readonly state: "ok" | "missing" | "optional";
  readonly detail: string;
  readonly remedy?: string;
}

/** @returns 0, or the check code when something needed is missing. */
export function doctor(terminal: Terminal): number {
  const compiler = toolCheck(process.env["CXX"] || "c++", "C++ compiler");
  const checks = [nodeCheck(), machineCheck(), addonCheck(), mappingCheck(), toolCheck("cmake", "CMake"), compiler, dataCheck()];
  const usable = checks.every((check) => check.state !== "missing");
  terminal.result(envelope("doctor", { config: {}, result: { usable, checks } }), () => {
    const rows = checks.map(({ name, state, detail }) => [state === "ok" ? "ok" : state === "missing" ? "MISSING" : "-", name, detail]);
    const remedies = checks.flatMap(({ name, remedy }) => (remedy === undefined ? [] : [`${name}: ${remedy}`]));
    return [`diffusion-regimes ${version}`, table(rows), ...remedies].join("\n");
  });
  return usable ? exitCodes.ok : exitCodes.check;
}

function nodeCheck(): Check {
  const { node, napi } = process.versions;
  return { name: "Node.js", state: "ok", detail: `${node}, Node-API ${napi}, ${process.platform}-${process.arch}` };
}

function machineCheck(): Check {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  const total = totalmem(), limit = process.constrainedMemory?.() ?? 0;
  const limited = limit > 0 && limit < total ? ` (this process: ${gigabytes(limit)})` : "";
  return { name: "machine", state: "ok", detail: `${model}, ${availableParallelism()} threads, ${gigabytes(total)} memory${limited}` };
}

function addonCheck(): Check {
  try {
    const { chosen, reason, digits, available, compiler } = native().backend();
    const path = binaryCandidates().find((candidate) => existsSync(candidate)) ?? "";
    const integers = digits === null ? "" : `, integer products by ${digits}`;
    return { name: "native addon", state: "ok", detail: `${chosen} (${reason})${integers}; can run ${available.join(", ")}; built by ${compiler}; ${path}` };
  } catch (error) {
    const remedy = error instanceof RegimesError && error.code === "E_BACKEND" ? "unset DIFFUSION_REGIMES_BACKEND" : "npx diffusion-regimes build";
    return { name: "native addon", state: "missing", detail: (error as Error).message.split("\n")[0]!, remedy };
  }
}

function mappingCheck(): Check {
  const name = "mapped files";
  if (process.platform === "win32") return { name, state: "optional", detail: "not on Windows: data must fit into memory" };
  return { name, state: "ok", detail: ".npy and safetensors larger than memory are read where they lie (--map)" };
}

function toolCheck(command: string, name: string): Check {
  const { status, stdout } = spawnSync(command, ["--version"], { encoding: "utf8" });
  if (status === 0) return { name, state: "ok", detail: stdout.split("\n")[0]! };
  return { name, state: "optional", detail: "not installed; only needed to build the addon", remedy: "apt-get install -y cmake g++ make" };
}

function dataCheck(): Check {
  const name = "Fashion-MNIST";
  const folder = "/usr/share/datasets/fashion-mnist";
  if (existsSync(folder)) return { name, state: "ok", detail: folder };
  return { name, state: "optional", detail: "not installed; used by an example", remedy: "apt-get install -y dataset-fashion-mnist" };
}
