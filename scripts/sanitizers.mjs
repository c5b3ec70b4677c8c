/**
 * Builds the native code with sanitizers and runs the native tests and the addon under them, in stock Node.
 *   node scripts/sanitizers.mjs            address + undefined behaviour, leaks, then threads
 *   node scripts/sanitizers.mjs --short    address + undefined behaviour alone (CI)
 * Needs g++ with its sanitizer runtimes; says so and exits 3 where they are missing.
 */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const short = process.argv.includes("--short");
let passed = 0;
let failed = 0;

/** Runs one step; its output only shows when it fails. */
async function check(what, command, args, env = {}) {
  const started = performance.now();
  const options = { cwd: root, env: { ...process.env, ...env }, encoding: "utf8", maxBuffer: 1 << 28, timeout: 900_000 };
  const { error, stdout, stderr } = await new Promise((resolve) => {
    execFile(command, args, options, (failure, out, err) => resolve({ error: failure, stdout: out, stderr: err }));
  });
  if (error === null) passed++;
  else failed++;
  console.log(`${error === null ? "ok" : "FAILED"} ${what} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  if (error !== null) console.log(`exit ${error.code ?? error.signal}\n${stdout.slice(-6000)}\n${stderr.slice(-12000)}`);
  return error === null;
}

/** Runs steps side by side, as many as there are processors. */
async function together(steps) {
  const waiting = [...steps];
  const worker = async () => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) await step();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

function runtime(name) {
  const path = execFileSync("g++", [`-print-file-name=lib${name}.so`], { encoding: "utf8" }).trim();
  if (!existsSync(path)) {
    console.log(`not run: g++ has no lib${name}.so. On Debian: apt-get install -y g++`);
    process.exit(3);
  }
  return path;
}

async function suite(sanitizers, folder, env, preload) {
  const configure = ["-S", ".", "-B", folder, `-DREGIMES_SANITIZE=${sanitizers}`];
  if (!(await check(`configure ${sanitizers}`, "cmake", configure))) return;
  if (!(await check(`build ${sanitizers}`, "cmake", ["--build", folder, "--target", "regimes", "native_tests", "--parallel", String(availableParallelism())]))) return;
  const tests = readdirSync(join(root, folder)).filter((name) => name.endsWith("_test"));
  const steps = tests.map((test) => () => check(`${sanitizers}: ${test}`, join(root, folder, test), [], env));
  const addon = { ...env, DIFFUSION_REGIMES_NATIVE: join(root, folder, "regimes.node"), LD_PRELOAD: preload };
  for (const script of ["tests/conformance_calls.mjs", "tests/sanitized_calls.mjs"]) {
    steps.push(() => check(`${sanitizers}: ${basename(script)}`, process.execPath, ["--expose-gc", script], addon));
  }
  await together(steps);
}

const undefinedOptions = "halt_on_error=1:print_stacktrace=1";
await suite(
  "address,undefined",
  "build-asan",
  { ASAN_OPTIONS: "detect_leaks=0", UBSAN_OPTIONS: undefinedOptions },
  `${runtime("asan")} ${runtime("ubsan")}`,
);
if (!short) {
  // Leaks of the native tests; in Node the engine's own allocations at exit would drown them.
  const tests = readdirSync(join(root, "build-asan")).filter((name) => name.endsWith("_test"));
  await together(tests.map((test) => () => check(`leaks: ${test}`, join(root, "build-asan", test), [], { ASAN_OPTIONS: "detect_leaks=1" })));
  await suite("thread", "build-tsan", { TSAN_OPTIONS: "ignore_noninstrumented_modules=1:exitcode=66" }, runtime("tsan"));
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
