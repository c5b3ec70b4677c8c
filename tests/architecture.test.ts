/** One way through the house; these tests guard the corridor (CONTRIBUTING.md, "How the code is laid out"). */
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

function filesBelow(folder: string, extensions: readonly string[]): string[] {
  const at = join(root, folder);
  if (!existsSync(at)) return [];
  return readdirSync(at)
    .flatMap((name) => {
      const path = join(folder, name);
      return statSync(join(root, path)).isDirectory() ? filesBelow(path, extensions) : [path];
    })
    .filter((path) => extensions.some((extension) => path.endsWith(extension)));
}

const read = (path: string): string => readFileSync(join(root, path), "utf8");

/** Without comments and with the contents of strings kept, line for line. */
function code(path: string): string {
  return read(path)
    .replaceAll(/\/\*[\s\S]*?\*\//g, (comment) => comment.replaceAll(/[^\n]/g, ""))
    .replaceAll(/(^|[^:"'`])\/\/.*$/gm, "$1");
}

const typescript = filesBelow("lib", [".ts"]);
const nativeFiles = filesBelow("native", [".h", ".cpp"]);

/** "lib/cli/index.ts" -> "cli", "lib/field.ts" -> "field": a folder is one room. */
function room(path: string): string {
  const inside = relative("lib", path).split("/");
  return inside.length > 1 ? inside[0]! : basename(inside[0]!, ".ts");
}

const anywhere = ["errors", "array", "estimate", "quadrature"];
const estimators = ["speciation", "collapse"];

/** What each room may import, besides itself and `anywhere`. `cli` and `index` stand at the doors. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  array: [],
  quadrature: [],
  estimate: [],
  citations: [],
  sum: [],
  native: [],
  process: ["sum"],
  formats: [],
  scale: ["native", "formats"],
  data: ["scale", "native", "formats"],
  components: ["sum", "native"],
  target: ["components", "data", "native"],
  theory: ["process"],
  field: ["process", "target", "native"],
  sampler: ["field", "process", "target", "native"],
  quality: ["components", "target", "native"],
  experiments: ["quality", ...estimators, "sampler", "regimes", "field", "target", "data", "process", "theory", "native"],
  regimes: ["field", "process", "target", "native"],
  speciation: ["regimes", "field", "target", "process", "theory", "native"],
  collapse: ["sampler", "regimes", "field", "target", "process", "theory", "native"],
  generation: [...estimators, "sampler", "regimes", "field", "target", "native"],
  analysis: [...estimators, "regimes", "field", "target", "data", "process", "theory", "citations", "native"],
  report: ["analysis", "generation", "regimes", "experiments", "citations", "process"],
  cli: ["index", "report", "native"],
};

/** Relative imports of a module, static, dynamic and type-only, as paths from the repository root. */
function importsOf(path: string): string[] {
  const text = code(path);
  const specifiers = [...text.matchAll(/\bfrom\s*"([^"]+)"|\bimport\s*\(?\s*"([^"]+)"/g)].map((match) => match[1] ?? match[2]!);
  return specifiers
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => relative(root, resolve(root, dirname(path), specifier)).replace(/\.js$/, ".ts"));
}

describe("imports in lib", () => {
  it("finds the modules and their imports", () => {
    expect(typescript.length).toBeGreaterThan(10);
    expect(typescript.flatMap(importsOf).length).toBeGreaterThan(20);
  });

  it("go only where the table allows", () => {
    const wrong: string[] = [];
    for (const path of typescript) {
      const from = room(path);
      if (from === "index") continue;
      const targets = allowed[from];
      if (targets === undefined) {
        wrong.push(`${path}: no row for "${from}" in the table of allowed imports`);
        continue;
      }
      for (const imported of importsOf(path)) {
        const to = room(imported);
        if (!existsSync(join(root, imported))) wrong.push(`${path} imports ${imported}, which is not there`);
        else if (to !== from && !anywhere.includes(to) && !targets.includes(to)) wrong.push(`${path} -> ${imported}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("have no cycle", () => {
    const state = new Map<string, "open" | "done">();
    const visit = (path: string, trail: readonly string[]): void => {
      if (state.get(path) === "done") return;
      expect(state.get(path), `cycle: ${[...trail, path].join(" -> ")}`).toBeUndefined();
      state.set(path, "open");
      for (const next of importsOf(path)) visit(next, [...trail, path]);
      state.set(path, "done");
    };
    for (const path of typescript) visit(path, []);
  });

  it("reach the .node file from native.ts alone", () => {
    expect(typescript.filter((path) => code(path).includes(".node\"") && path !== "lib/native.ts")).toEqual([]);
  });

  it("re-export, and do nothing else, in index.ts", () => {
    const statements = code("lib/index.ts").split(";").map((statement) => statement.trim()).filter((statement) => statement !== "");
    expect(statements.filter((statement) => !/^export (type )?(\{[^}]*\}|\* as theory) from "\.[^"]*"$/.test(statement))).toEqual([]);
  });
});

/** Folders of native/ that a folder may include from, besides itself. */
const allowedIncludes: Readonly<Record<string, readonly string[]>> = {
  core: [],
  reference: ["core"],
  cpu: ["core"],
  io: ["core"],
  dispatch: ["core", "reference", "cpu"],
  bindings: ["core", "io", "dispatch"],
  tests: ["core", "reference", "cpu", "io", "dispatch"],
};

/** "native/core/x.h" -> "core", "native/dispatch.h" -> "dispatch". */
function nativeRoom(path: string): string {
  const inside = relative("native", path).split("/");
  return inside.length > 1 ? inside[0]! : inside[0]!.replace(/\.[^.]*$/, "");
}

/** The file that an include with quotes means: beside the includer, or from native/. */
function includedFile(path: string, name: string): string | undefined {
  return [join(dirname(path), name), join("native", name)].find((candidate) => existsSync(join(root, candidate)));
}

describe("includes in native", () => {
  const quoted = (path: string): string[] => [...code(path).matchAll(/^\s*#\s*include\s*"([^"]+)"/gm)].map((match) => match[1]!);
  const system = (path: string): string[] => [...code(path).matchAll(/^\s*#\s*include\s*<([^>]+)>/gm)].map((match) => match[1]!);

  it("go only where the table allows", () => {
    expect(nativeFiles.length).toBeGreaterThan(10);
    const wrong: string[] = [];
    for (const path of nativeFiles) {
      const from = nativeRoom(path);
      const targets = allowedIncludes[from];
      if (targets === undefined) {
        wrong.push(`${path}: no row for "${from}" in the table of allowed includes`);
        continue;
      }
      for (const name of quoted(path)) {
        const file = includedFile(path, name);
        if (file === undefined) {
          wrong.push(`${path} includes "${name}", which is not in native/`);
          continue;
        }
        const to = nativeRoom(file);
        if (to !== from && !targets.includes(to)) wrong.push(`${path} -> ${file}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("take napi.h in bindings, mpi.h in distributed and CUDA in cuda only", () => {
    const home = (header: string): string | undefined =>
      /napi|node_api/.test(header) ? "bindings" : header.startsWith("mpi") ? "distributed" : /^cu(da|rand|blas)|^cub\//.test(header) ? "cuda" : undefined;
    const stray = nativeFiles.flatMap((path) =>
      [...system(path), ...quoted(path)].filter((header) => (home(header) ?? nativeRoom(path)) !== nativeRoom(path)).map((header) => `${path}: ${header}`),
    );
    expect(stray).toEqual([]);
  });

  it("print nothing and end nothing outside the tests", () => {
    const forbidden = /<iostream>|\bstd::(cout|cerr)\b|\b(v?f?printf|f?puts|abort|_?exit)\s*\(|\bstd::terminate\b/;
    expect(nativeFiles.filter((path) => nativeRoom(path) !== "tests" && forbidden.test(code(path)))).toEqual([]);
  });
});

describe("rules of taste", () => {
  const modules = [...typescript, ...nativeFiles.filter((path) => nativeRoom(path) !== "tests")];
  const all = [...typescript, ...nativeFiles, ...filesBelow("bench", [".mjs", ".cpp", ".h", ".ts"]), ...filesBelow("examples", [".ts"])];

  it("no module hides what is inside it behind an empty name", () => {
    const empty = /^(utils?|helpers?|common|manager|types|misc)\./;
    expect(all.filter((path) => empty.test(basename(path)))).toEqual([]);
  });

  it("a module over 400 lines gives its reason in the header", () => {
    const unexplained = modules.filter((path) => {
      const lines = read(path).split("\n");
      if (lines.length <= 401) return false;
      const header = lines.slice(0, 30).join("\n");
      return !/over 400 lines/i.test(header);
    });
    expect(unexplained).toEqual([]);
  });

  it("no build flag trades correctness for speed", () => {
    const flags = /-ffast-math|-Ofast|-march=native|-use_fast_math|-ffp-contract=fast|-funsafe-math/;
    const builds = ["CMakeLists.txt", "package.json", ...filesBelow("scripts", [".mjs"]), ...filesBelow("native", ["CMakeLists.txt", ".cmake"])];
    expect(read("CMakeLists.txt")).toMatch(/-ffp-contract=off/);
    expect([...builds, ...nativeFiles].filter((path) => flags.test(path.endsWith("CMakeLists.txt") ? read(path).replaceAll(/#.*$/gm, "") : code(path)))).toEqual([]);
  });

  it("the library is silent: only the program prints, reads arguments or exits", () => {
    const loud = /\bconsole\s*\.|\bprocess\.(stdout|stderr|argv|exit|exitCode)\b|from "node:process"/;
    expect(typescript.filter((path) => room(path) !== "cli" && loud.test(code(path)))).toEqual([]);
  });

  it("nobody writes 1 - exp(...): below 1e-8 it has no digits left, expm1 does", () => {
    const naive = /\b1(\.0*)?f?\s*-\s*(Math\.|std::)?exp\s*\(/;
    expect(all.filter((path) => naive.test(code(path)))).toEqual([]);
  });

  it("no scaffolding is left standing", () => {
    const scaffolding = /\b(TODO|FIXME|XXX|HACK)\b|@ts-(ignore|nocheck)/;
    expect(all.filter((path) => scaffolding.test(read(path)))).toEqual([]);
    const tests = filesBelow("tests", [".test.ts"]).filter((path) => !path.endsWith("architecture.test.ts"));
    expect(tests.filter((path) => /\.only\(|\.skip\(/.test(code(path)))).toEqual([]);
  });

  it("no file knows a path of one machine", () => {
    const machine = /["'` (](\/work\/|\/tmp\/|\/root\/|\/home\/)[A-Za-z0-9]/;
    const shipped = [...all, ...filesBelow("scripts", [".mjs"]), ...filesBelow("docs", [".md"]), "README.md", "CONTRIBUTING.md", ".ci/run"];
    expect(shipped.filter((path) => machine.test(read(path)))).toEqual([]);
  });
});
