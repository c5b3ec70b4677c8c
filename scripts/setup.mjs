/**
 * Brings a checkout up to date from whatever state it is in, using Node built-ins only: dependencies, native addon, compiled
 * TypeScript. Runs before `npm test`, `npm run demo` and `npm pack`; does nothing, fast, when all is fresh.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { binary, buildAddon, root } from "./build.mjs";

/** Newest modification time below `path`, in ms; 0 when it is not there. */
function newest(path) {
  if (!existsSync(path)) return 0;
  const { mtimeMs } = statSync(path);
  if (!statSync(path).isDirectory()) return mtimeMs;
  return readdirSync(path).reduce((latest, name) => Math.max(latest, newest(join(path, name))), mtimeMs);
}

/** Runs one step with its output on stderr and ends the set-up when it fails. */
function step(what, command, args) {
  console.error(`[setup] ${what}`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ["ignore", 2, 2], shell: process.platform === "win32" });
  if (status !== 0) {
    console.error(`[setup] failed: ${command} ${args.join(" ")}${error === undefined ? "" : ` (${error.message})`}`);
    process.exit(1);
  }
}

const at = (...parts) => join(root, ...parts);

if (newest(at("node_modules", ".package-lock.json")) < newest(at("package-lock.json"))) {
  // The package's own install script would build the addon as well; this script does that itself, below.
  step("installing dependencies (npm ci)", "npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
}

if (newest(binary) < Math.max(newest(at("native")), newest(at("CMakeLists.txt")), newest(at("package.json")))) {
  console.error("[setup] building the native addon");
  const started = new Date();
  const code = buildAddon();
  if (code !== 0) {
    console.error("[setup] failed: the native addon was not built");
    process.exit(code);
  }
  // A build that had nothing to do leaves the old time; an edit made while it ran must still count as newer.
  utimesSync(binary, started, started);
}

if (newest(at("dist", "index.js")) < Math.max(newest(at("lib")), newest(at("tsconfig.json")))) {
  // Emptied first, so that no module outlives its source and a failed compilation is tried again.
  rmSync(at("dist"), { recursive: true, force: true });
  step("compiling TypeScript", process.execPath, [at("node_modules", "typescript", "bin", "tsc"), "-p", root, "--noEmitOnError"]);
}
