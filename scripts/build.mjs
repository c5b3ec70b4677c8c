/**
 * Builds the native addon from source: build/Release/regimes.node. With cmake-js, which downloads nothing (headers come from
 * node-api-headers); without CMake, by node-gyp from binding.gyp, which needs the headers beside this Node or fetches them. Run by
 * scripts/setup.mjs, by the install script and by `diffusion-regimes build`; arguments are passed on to cmake-js, for example
 * `node scripts/build.mjs -O build-debug -D`.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
export const binary = join(root, "build", "Release", "regimes.node");

const toolLine = "apt-get install -y cmake g++ make   (or your system's packages: CMake >= 3.22 and g++ >= 11 or clang >= 14)";

/** Why cmake-js cannot be used here, or undefined when it can. */
function cmakeProblem() {
  const cmake = spawnSync("cmake", ["--version"], { encoding: "utf8" });
  const version = /version (\d+)\.(\d+)/.exec(cmake.stdout ?? "");
  if (version === null) return "cmake is not installed";
  return Number(version[1]) * 1000 + Number(version[2]) < 3022 ? `${version[0]} of cmake is too old, need 3.22` : undefined;
}

/** node-gyp's script: the one npm names, else the package's own, else the one bundled with npm. */
function nodeGyp() {
  const named = process.env["npm_config_node_gyp"];
  if (named !== undefined && existsSync(named)) return named;
  try {
    return createRequire(import.meta.url).resolve("node-gyp/bin/node-gyp.js");
  } catch {
    const bundled = join(dirname(process.execPath), "..", "lib", "node_modules", "npm", "node_modules", "node-gyp", "bin", "node-gyp.js");
    return existsSync(bundled) ? bundled : undefined;
  }
}

/** What keeps this machine from building, one line each; empty when nothing does. */
export function missingTools() {
  const missing = [];
  const cmake = cmakeProblem();
  if (cmake !== undefined && nodeGyp() === undefined) missing.push(cmake);
  const compiler = process.env["CXX"] || "c++";
  if (spawnSync(compiler, ["--version"], { stdio: "ignore" }).status !== 0) missing.push(`the C++ compiler ${compiler} is not installed`);
  return missing.length === 0 ? [] : [...missing, `Add what is missing with: ${toolLine}`];
}

function buildWithoutCMake(reason) {
  console.error(`${reason}: building with node-gyp instead`);
  const prefix = join(dirname(process.execPath), "..");
  const headers = existsSync(join(prefix, "include", "node", "node_api.h")) ? [`--nodedir=${prefix}`] : [];
  const jobs = String(availableParallelism());
  // What CMake left there would be in the way; a folder of node-gyp's own is brought up to date.
  if (existsSync(join(root, "build", "CMakeCache.txt"))) rmSync(join(root, "build"), { recursive: true });
  const { status, error } = spawnSync(process.execPath, [nodeGyp(), "configure", "build", "-j", jobs, ...headers], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (error !== undefined) console.error(error.message);
  return status ?? 1;
}

/** Builds, or brings up to date. Output goes to stderr. @returns the exit code, 0 when the addon is there. */
export function buildAddon(extraArguments = []) {
  const missing = missingTools();
  if (missing.length > 0) {
    console.error(missing.join("\n"));
    return 1;
  }
  const forced = process.env["DIFFUSION_REGIMES_BUILD"] === "node-gyp" ? "DIFFUSION_REGIMES_BUILD=node-gyp" : undefined;
  const problem = forced ?? cmakeProblem();
  if (problem !== undefined) return buildWithoutCMake(problem);
  // CMake refuses a build folder that was configured somewhere else, as after a move of the whole tree.
  const cache = join(root, "build", "CMakeCache.txt");
  if (existsSync(cache)) {
    const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, "utf8"))?.[1];
    if (home === undefined || !existsSync(home) || realpathSync(home) !== realpathSync(root)) {
      rmSync(join(root, "build"), { recursive: true });
    }
  }
  const cmakeJs = createRequire(import.meta.url).resolve("cmake-js/bin/cmake-js");
  const jobs = String(availableParallelism());
  // `build`, not `compile`: the latter repeats a failed build from clean, so that every error comes twice.
  const { status, error } = spawnSync(process.execPath, [cmakeJs, "build", "-d", root, "-p", jobs, ...extraArguments], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (error !== undefined) console.error(error.message);
  return status ?? 1;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = buildAddon(process.argv.slice(2));
}
