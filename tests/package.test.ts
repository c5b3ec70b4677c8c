/** The package as others see it: what the tarball holds, how it is imported, and that documentation and examples run. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fashion } from "./fashion.js";
import { npyFile } from "./written_files.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const folder = mkdtempSync(join(tmpdir(), "diffusion-regimes-package-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(command: string, args: readonly string[], cwd: string = root): string {
  return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

describe("npm pack", () => {
  const files = (JSON.parse(run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"])) as { files: { path: string }[] }[])[0]!.files.map((file) => file.path);

  it("holds what the package needs", () => {
    const needed = [
      "LICENSE",
      "README.md",
      "CHANGELOG.md",
      "CITATION.cff",
      "CMakeLists.txt",
      "binding.gyp",
      "package.json",
      "dist/index.js",
      "dist/index.d.ts",
      "dist/cli/index.js",
      "schema/analyze.schema.json",
      "data/digits.csv.gz",
      "native/core/operations.h",
      "native/bindings/addon.cpp",
      "scripts/build.mjs",
      "scripts/install.mjs",
    ];
    expect(needed.filter((path) => !files.includes(path))).toEqual([]);
  });

  it("holds nothing else", () => {
    const expected = [
      /^(CONTRIBUTING\.md|SECURITY\.md|LICENSE|README\.md|CHANGELOG\.md|CITATION\.cff|CMakeLists\.txt|binding\.gyp|package\.json)$/,
      /^dist\/[a-z/-]+\.(js|d\.ts)$/,
      /^native\/(?!tests\/)[a-z0-9_/-]+\.(cpp|h)$/,
      /^native\/README\.md$/,
      /^data\/(digits\.csv\.gz|README\.md)$/,
      /^schema\/analyze\.schema\.json$/,
      /^scripts\/(build|install)\.mjs$/,
      /^docs\/([a-z-]+\.md|figures\/[a-z-]+\.svg)$/,
      /^examples\/([a-z-]+\.ts|README\.md)$/,
    ];
    expect(files.filter((path) => !expected.some((pattern) => pattern.test(path)))).toEqual([]);
  });

  it("holds no compiled module without its source", () => {
    const compiled = files.filter((path) => path.startsWith("dist/") && path.endsWith(".js"));
    const sources = new Set(readdirSync(join(root, "lib"), { recursive: true, encoding: "utf8" }));
    expect(compiled.filter((path) => !sources.has(path.slice("dist/".length).replace(/\.js$/, ".ts")))).toEqual([]);
  });
});

describe("the installed package", () => {
  const program = `
    const data = await openDataset("digits", { scale: "standardize" });
    const { value } = await speciationTime(diffuse(empirical(data), ornsteinUhlenbeck()), { criterion: "spectral" });
  `;
  const names = "openDataset, empirical, diffuse, ornsteinUhlenbeck, speciationTime";

  it("is imported by an ES module", () => {
    const source = `import { ${names} } from "diffusion-regimes"; ${program} console.log(value.toFixed(3));`;
    expect(run(process.execPath, ["--input-type=module", "-e", source]).trim()).toBe("0.799");
  });

  it("is required by a CommonJS module, without flag or warning", () => {
    const source = `const { ${names} } = require("diffusion-regimes"); (async () => { ${program} console.log(value.toFixed(3)); })();`;
    const script = join(folder, "required.cjs");
    writeFileSync(script, source.replace('"diffusion-regimes"', JSON.stringify(join(root, "dist", "index.js"))));
    expect(run(process.execPath, ["--throw-deprecation", script]).trim()).toBe("0.799");
    expect(run(process.execPath, ["-p", 'typeof require("diffusion-regimes").openDataset']).trim()).toBe("function");
  });

  it("works in worker threads, several at once", async () => {
    const source = `
      import { parentPort } from "node:worker_threads";
      import { ${names} } from ${JSON.stringify(join(root, "dist", "index.js"))};
      ${program}
      parentPort.postMessage(value.toFixed(3));`;
    const script = join(folder, "worker.mjs");
    writeFileSync(script, source);
    const values = await Promise.all(
      Array.from({ length: 3 }, () => {
        const worker = new Worker(script);
        return new Promise((resolve, reject) => {
          worker.on("message", resolve);
          worker.on("error", reject);
        });
      }),
    );
    expect(values).toEqual(["0.799", "0.799", "0.799"]);
  });

  it("loads no native code on import, so that types, theory and help work without a binary", () => {
    const source = `
      import { theory, openDataset } from "diffusion-regimes";
      console.log(theory.spectralSpeciationTime(Math.E ** 2));
      await openDataset("digits").catch((error) => console.log(error.code, /npx diffusion-regimes build/.test(error.message)));`;
    const out = execFileSync(process.execPath, ["--input-type=module", "-e", source], {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, DIFFUSION_REGIMES_NATIVE: join(folder, "missing.node") },
    });
    expect(out.trim().split("\n")).toEqual(["1", "E_NO_BINARY true"]);
  });
});

describe("documentation that runs", () => {
  it("runs the script of the README as it stands, on the digits", () => {
    const readme = readFileSync(join(root, "README.md"), "utf8");
    const script = /```ts\n(import [\s\S]*?)```/.exec(readme)?.[1];
    expect(script, "README.md has a ts block that begins with an import").toBeDefined();
    expect(script!.trim().split("\n").length).toBeLessThanOrEqual(12);
    const out = run(process.execPath, ["--input-type=module", "-e", script!]);
    expect(out).toMatch(/0\.799/);
  });

  it("names only commands that exist", () => {
    const readme = readFileSync(join(root, "README.md"), "utf8");
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: Record<string, string> };
    const used = [...readme.matchAll(/npm run ([a-z:]+)/g)].map((match) => match[1]!);
    expect(used.filter((name) => !(name in scripts))).toEqual([]);
    const help = run(process.execPath, ["dist/cli/index.js", "--help"]);
    const verbs = [...readme.matchAll(/npx diffusion-regimes ([a-z]+)/g)].map((match) => match[1]!);
    expect(verbs.length).toBeGreaterThan(0);
    expect(verbs.filter((verb) => !new RegExp(`^  ${verb}\\b`, "m").test(help))).toEqual([]);
  });

  it("links to files that exist", () => {
    const pages = ["README.md", "CONTRIBUTING.md", ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)];
    const broken = pages.flatMap((page) => {
      const links = [...readFileSync(join(root, page), "utf8").matchAll(/\]\((?!https?:|#|mailto:)([^)#]+)/g)].map((match) => join(dirname(page), match[1]!));
      return links.filter((link) => !readdirSync(join(root, dirname(link))).includes(link.split("/").at(-1)!)).map((link) => `${page} -> ${link}`);
    });
    expect(broken).toEqual([]);
  });
});

describe("examples", () => {
  const compiled = join(root, "build", "examples");
  beforeAll(() => {
    run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "examples"]);
  });

  it("exact-score prints the score of each point", () => {
    const out = run(process.execPath, [join(compiled, "exact-score.js")]);
    expect(out.trim().split("\n")).toHaveLength(3);
    // By symmetry the score vanishes in the middle of the circle.
    expect(out).toMatch(/^x = \(0, 0\): score \(-?0\.000000, -?0\.000000\)/);
  });

  it("mixture-against-theory agrees with theory", () => {
    const out = run(process.execPath, [join(compiled, "mixture-against-theory.js"), "32", "2000", "400"]);
    const cloning = /t_S cloning\s+measured ([\d.]+) \[([\d.]+), ([\d.]+)\]\s+theory ([\d.]+)/.exec(out)!.slice(1).map(Number);
    // Four standard errors over draws, and as much again for the finite data set: its class means are known to 1/sqrt(n).
    expect(Math.abs(cloning[0]! - cloning[3]!)).toBeLessThan(2 * (cloning[2]! - cloning[1]!) + 4 / Math.sqrt(2000));
  });

  it("cloning-experiment simulates what the closed form says", () => {
    const out = run(process.execPath, [join(compiled, "cloning-experiment.js"), "400", "60", "64"]);
    expect(out).toMatch(/^d = 64, run in 1 dimensions/);
    const distances = [...out.matchAll(/ (-?\d+\.\d\d)$/gm)].map((match) => Number(match[1]));
    expect(distances).toHaveLength(19);
    expect(Math.max(...distances.map(Math.abs))).toBeLessThan(4);
  });

  it("cloning-experiment simulates phi_C of data", () => {
    const out = run(process.execPath, [join(compiled, "cloning-experiment.js"), "digits", "400", "60"]);
    expect(out).toMatch(/^sde-dpm-solver\+\+2m, 60 steps, 400 pairs/);
    const distances = [...out.matchAll(/ (-?\d+\.\d\d)$/gm)].map((match) => Number(match[1]));
    expect(distances).toHaveLength(6);
    expect(Math.max(...distances.map(Math.abs))).toBeLessThan(4);
  });

  it("cloning-experiment tells the errors of finite steps on data", () => {
    const out = run(process.execPath, [join(compiled, "cloning-experiment.js"), "digits", "100", "20", "sde-dpm-solver++2m", "--errors"]);
    expect(out).toMatch(/^sde-dpm-solver\+\+2m, 20 steps, 100 trunks from OU time 5/);
    expect(out.match(/^0\.\d\d +0\.\d{4} \+- 0\.\d{4} +-?0\.\d{4} \+- 0\.\d{4} +-?0\.\d{4} \+- 0\.\d{4}$/gm)).toHaveLength(6);
  });

  it("own-npy-data writes a report", () => {
    const report = join(folder, "report.html");
    const rows = Float32Array.from({ length: 200 }, (_, k) => (k % 4 < 2 ? 2 : -2) + Math.sin(k * k));
    writeFileSync(join(folder, "own.npy"), npyFile(rows, { descr: "<f4", shape: [100, 2] }));
    writeFileSync(join(folder, "labels.npy"), npyFile(Uint8Array.from({ length: 100 }, (_, i) => i % 2), { descr: "|u1", shape: [100] }));
    const out = run(process.execPath, [join(compiled, "own-npy-data.js"), "own.npy", report, "labels.npy"], folder);
    expect(out).toMatch(/own\.npy: 100 rows of 2, \d+ distinct\nspectral: t = 0\.\d+, 95 % interval/);
    expect(readFileSync(report, "utf8")).toMatch(/own\.npy/);
  });

  it("late-start prints a table per number of steps", () => {
    const studies = join(folder, "studies.json");
    const out = run(process.execPath, [join(compiled, "late-start.js"), "digits", "3,4", "100", "3", "0", studies]);
    expect(out).toMatch(/digits, n = 1797, d = 64: 4 steps, 100 samples, frechet-pixel/);
    expect(out.match(/^\| pndm \| gaussian \|/gm)).toHaveLength(2);
    expect(JSON.parse(readFileSync(studies, "utf8"))).toHaveLength(2);
  });

  it.skipIf(fashion === null)("fashion-mnist finds both transitions in a part of the data", () => {
    const out = run(process.execPath, [join(compiled, "fashion-mnist.js"), "2000", "100"]);
    expect(out).toMatch(/ten classes: n = 2000, d = 784/);
    expect(out.match(/ t = \d/g)!.length).toBeGreaterThanOrEqual(10);
  });
});
