/** `build`: compiles the native addon of the installed package, with the exit code of the build. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { exitCodes } from "./failure.js";

/** @returns the exit code of the build script; its output goes to stderr. */
export function build(signal: AbortSignal): Promise<number> {
  const script = fileURLToPath(new URL("../../scripts/build.mjs", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script], { stdio: ["ignore", 2, 2] });
    signal.addEventListener("abort", () => child.kill("SIGTERM"), { once: true });
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? exitCodes.internal));
  });
}
