/**
 * Packs the package, installs the tarball into an empty folder and uses it there, as a stranger would: first with npm's install
 * script, then as where install scripts are blocked, after the one command that the typed error names. Ends with exit code 0
 * when both work.
 *   node scripts/check-install.mjs               builds with CMake
 *   node scripts/check-install.mjs --node-gyp    builds as where there is no CMake, and sees that CMake could have done it
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./build.mjs";

const folder = mkdtempSync(join(tmpdir(), "diffusion-regimes-install-"));
const home = mkdtempSync(join(tmpdir(), "diffusion-regimes-home-"));
const env = { ...process.env, HOME: home, npm_config_cache: join(home, ".npm") };
const withoutCMake = process.argv.includes("--node-gyp");
if (withoutCMake) env["DIFFUSION_REGIMES_BUILD"] = "node-gyp";
// Variables of the npm that runs this script would make the inner one take this package for its root.
for (const name of Object.keys(env)) if (/^npm_(package|lifecycle|config_local_prefix|command)/i.test(name)) delete env[name];

const run = (command, args, options = {}) =>
  execFileSync(command, args, { cwd: folder, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], ...options });

const script = `
import { openDataset, empirical, ornsteinUhlenbeck, diffuse, speciationTime } from "diffusion-regimes";
const data = await openDataset("digits", { scale: "standardize" });
const field = diffuse(empirical(data), ornsteinUhlenbeck());
const tS = await speciationTime(field, { criterion: "spectral" });
console.log(tS.value.toFixed(3));
`;

function check(what, condition, came) {
  console.error(`${condition ? "ok  " : "FAIL"} ${what}${condition ? "" : `: ${came}`}`);
  if (!condition) process.exitCode = 1;
}

try {
  const tarball = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", folder], { cwd: root }))[0].filename;
  writeFileSync(join(folder, "package.json"), '{ "name": "stranger", "private": true, "type": "module" }\n');
  writeFileSync(join(folder, "script.mjs"), script);

  run("npm", ["install", "--no-audit", "--no-fund", tarball]);
  const first = run("node", ["script.mjs"]).trim();
  check("npm install of the tarball, then five lines of script", first === "0.799", first);
  check("the program is on the path of npx", run("npx", ["diffusion-regimes", "--version"]).trim() !== "", "no version");

  // Where install scripts are blocked the package arrives without its addon. (Its objects stay: they need not be compiled twice.)
  const installed = join(folder, "node_modules", "diffusion-regimes");
  const addon = join(installed, "build", "Release", "regimes.node");
  rmSync(addon);
  let message = "";
  try {
    run("node", ["script.mjs"], { stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    message = error.stderr;
  }
  const command = /npx diffusion-regimes build/.exec(message)?.[0];
  check("without the addon: E_NO_BINARY and a command", message.includes("E_NO_BINARY") && command !== undefined, message);
  run("npx", ["diffusion-regimes", "build"]);
  const second = run("node", ["script.mjs"]).trim();
  check("after that command the same script works", second === "0.799", second);
  const calls = run(process.execPath, [join(root, "tests", "conformance_calls.mjs")], { cwd: root, env: { ...env, DIFFUSION_REGIMES_NATIVE: addon } });
  check("the readings of every kind of target", calls.length > 1000, calls);
  if (withoutCMake) run("cmake", ["-S", installed, "-B", join(folder, "configured")]);
} finally {
  rmSync(folder, { recursive: true, force: true });
  rmSync(home, { recursive: true, force: true });
}
