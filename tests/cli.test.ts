/** The program as its users and their scripts meet it: exit codes, the two streams, signals, pipes, files. */
import { spawn, spawnSync, type SpawnSyncReturns } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { Terminal } from "../lib/cli/terminal.js";
import { openDataset } from "../lib/index.js";
import { npyFile } from "./written_files.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const program = join(root, "dist", "cli", "index.js");
const folder = mkdtempSync(join(tmpdir(), "diffusion-regimes-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const environment = (extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({ ...process.env, CI: "1", ...extra });

function cli(args: readonly string[], extra: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [program, ...args], { cwd: folder, encoding: "utf8", env: environment(extra) });
}

const parse = (text: string): Record<string, any> => JSON.parse(text) as Record<string, any>;

function npy(name: string, shape: readonly number[], values: Float64Array | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, npyFile(values, { descr: values instanceof Uint8Array ? "|u1" : "<f8", shape }));
  return path;
}

const mixture = {
  means: [
    [2, 0],
    [-2, 0],
  ],
  covariances: { type: "spherical", variances: [0.25, 0.25] },
};

describe("usage", () => {
  it("begins every verb's help with two examples", () => {
    const { stdout, status } = cli(["--help"]);
    expect(status).toBe(0);
    const verbs = [...stdout.matchAll(/^ {2}([a-z-]+) (?=.*[a-z])/gm)].map((match) => match[1]!).filter((verb) => verb !== "diffusion-regimes" && verb !== "help");
    expect(verbs).toEqual(["demo", "analyze", "posterior", "sample", "clones", "late-start", "theory", "inspect", "doctor", "build"]);
    for (const verb of verbs) {
      const help = cli([verb, "--help"]).stdout.split("\n");
      expect(help[0]).toBe("Examples:");
      // build has no flags of its own; its second example sets the compiler.
      for (const line of help.slice(1, 3)) expect(line).toMatch(new RegExp(`^  (CXX=\\S+ )?diffusion-regimes ${verb}\\b`));
    }
  });

  it("prints its version, which is the package's", () => {
    const { version } = parse(readFileSync(join(root, "package.json"), "utf8"));
    expect(cli(["--version"]).stdout).toBe(`${version}\n`);
  });

  it.each([
    [["analyse", "digits"], /unknown command 'analyse'\s+\(Did you mean analyze\?\)/],
    [["analyze", "digits", "--sclae", "unit"], /unknown option '--sclae'\s+\(Did you mean --scale\?\)/],
    [["analyze", "digits", "--process", "ornstein-uhlenbek"], /E_OPTION .*Did you mean "ornstein-uhlenbeck"\?/],
    [["analyze", "digits", "--times", "1:2"], /need from:to:count/],
    [["analyze", "digits", "--draws", "many"], /need a whole number/],
    [["analyze", "digits", "--seed", "-1"], /seed/],
    [["analyze", "digits", "--threads", "0"], /need a whole number from 1 on/],
    [["analyze", "digits", "--classes", "0,x"], /need label values/],
    [["analyze", "digits", "--precision", "best"], /Allowed choices are exact, float64, fast/],
    [["analyze", "digits", "--n", "10"], /E_OPTION --n draws rows from a mixture/],
    [["analyze"], /missing required argument 'DATA'/],
    [["posterior", "digits", "--time", "0.5"], /required option '--queries <FILE>'/],
    [["theory", "--n", "10"], /required option '--d <d>'/],
    [[], /Usage: diffusion-regimes/],
  ])("%j is a usage error, exit code 2, with a word of help on stderr", (args, message) => {
    const { status, stdout, stderr } = cli(args);
    expect(stderr).toMatch(message);
    expect(stdout).toBe("");
    expect(status).toBe(2);
  });

  it("loads no addon and no drawing library for --help", () => {
    const { status, stderr } = cli(["--help"], { DIFFUSION_REGIMES_NATIVE: "/nowhere/regimes.node", NODE_DEBUG: "esm" });
    expect(status).toBe(0);
    expect(stderr).not.toMatch(/linkedom|observablehq/);
  });
});

describe("analyze", () => {
  const validate = new Ajv2020({ strictTypes: false, strictRequired: false, allErrors: true }).compile(
    parse(readFileSync(join(root, "schema", "analyze.schema.json"), "utf8")),
  );
  const valid = (value: unknown): void => {
    validate(value);
    expect(validate.errors ?? []).toEqual([]);
  };
  const out = join(folder, "report");
  let demo: SpawnSyncReturns<string>;
  beforeAll(() => {
    demo = cli(["demo", "--draws", "100", "--times", "0.05:4:12", "--json", "--out", out]);
  });

  it("--json prints one object, which its schema accepts, and nothing else on stdout", () => {
    expect(demo.stderr).not.toMatch(/E_[A-Z]/);
    expect(demo.status).toBe(0);
    expect(demo.stdout.trim().split("\n")).toHaveLength(1);
    const value = parse(demo.stdout);
    valid(value);
    expect(value["result"]).toMatchObject({ n: 1797, d: 64, imageShape: [8, 8] });
    expect(value["result"].spectrum.eigenvalues[0].value).toBeCloseTo(4.945, 3);
    expect(value["result"].speciationTime.spectral.value).toBeCloseTo(0.799, 3);
    expect(value["config"]).toMatchObject({ data: "digits", draws: 100, seed: "1", scale: "standardize" });
  });

  it("the schema is able to refuse", () => {
    const value = parse(demo.stdout);
    value["result"].curves.excessEntropyOverAlpha[0].value = null;
    expect(validate(value)).toBe(false);
    const other = parse(demo.stdout);
    other["result"].speciationTime.spectral.extra = 1;
    expect(validate(other)).toBe(false);
  });

  it("writes the report, the same numbers as JSON, and the curves as CSV", () => {
    expect(readdirSync(out).toSorted()).toEqual([".diffusion-regimes", "curves.csv", "report.html", "result.json"]);
    expect(parse(readFileSync(join(out, "result.json"), "utf8"))).toEqual(parse(demo.stdout));
    const rows = readFileSync(join(out, "curves.csv"), "utf8").trim().split("\n");
    expect(rows).toHaveLength(13);
    expect(rows[0]).toMatch(/^time,ouTime,excessEntropyOverAlpha,excessEntropyOverAlphaStandardError/);
    expect(readFileSync(join(out, "report.html"), "utf8")).toMatch(/^<!doctype html>/);
  });

  it("prints a table without --json, with no control characters where there is no terminal", () => {
    const { status, stdout, stderr } = cli(["analyze", "digits", "--scale", "standardize", "--draws", "50", "--times", "0.3,0.6,0.9,1.2,1.5,1.8", "--out", out]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/speciation t_S {2,}spectral {2,}0\.799 \+- 0\.0/);
    expect(stdout).toMatch(/collapse {3}t_C {2,}excess-entropy/);
    expect(stderr).toMatch(/report: .*report\.html/);
    // eslint-disable-next-line no-control-regex
    expect(stdout + stderr).not.toMatch(/[\u001b\r]/);
  });

  it("without labels the curves and times of classes are null", () => {
    const path = npy("plain.npy", [50, 3], Float64Array.of(...Array.from({ length: 150 }, (_, k) => 3 * Math.sin(k * k))));
    const { stdout, stderr, status } = cli(["analyze", path, "--draws", "50", "--json", "--quiet", "--out", join(folder, "plain")]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const value = parse(stdout);
    valid(value);
    expect(value["result"].curves.speciationCloning).toBeNull();
    expect(value["result"].speciationTime).toMatchObject({ cloning: null, kappa: null, "entropy-rate": null });
  });

  it("degenerate data give estimates without a value and a reason, which the schema accepts", () => {
    const path = npy("one.npy", [1, 3], Float64Array.of(1, 2, 3));
    const { stdout, status } = cli(["analyze", path, "--draws", "10", "--json", "--out", join(folder, "one")]);
    expect(status).toBe(0);
    const value = parse(stdout);
    valid(value);
    expect(value["result"].collapseTime.cloning).toMatchObject({ value: null, standardError: null, ci95: null });
    expect(stdout).not.toMatch(/NaN|Infinity/);
  });

  it("takes labels from a file, and only the classes asked for", () => {
    const rows = Array.from({ length: 60 }, (_, i) => [i % 3 === 0 ? 3 : -3, Math.sin(i), Math.cos(7 * i)]);
    const path = npy("labelled.npy", [60, 3], Float64Array.of(...rows.flat()));
    const labels = npy("labels.npy", [60], Uint8Array.from(rows, (_, i) => i % 3));
    const { stdout, status } = cli(["analyze", path, "--labels", labels, "--classes", "0,2", "--draws", "50", "--json", "--out", join(folder, "labelled")]);
    expect(status).toBe(0);
    const value = parse(stdout);
    valid(value);
    expect(value["result"]).toMatchObject({ n: 40, classValues: [0, 2], classFractions: [0.5, 0.5] });
    expect(value["config"]).toMatchObject({ classes: [0, 2], labels, rows: null, maximum: null, nonfinite: null, flatten: null, tensor: null, n: null });
  });

  it("records the rows, the scale's maximum and the schedule asked for, and tells times in the process's clock", () => {
    const args = ["analyze", "digits", "--rows", "0:200", "--scale", "unit", "--nonfinite", "drop", "--process", "ddpm-cosine", "--draws", "20"];
    const asked = join(folder, "asked");
    const { stdout, status } = cli([...args, "--times", "100,300,500", "--out", asked]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^boundary .*OU time .*ddpm time +sigma +DDPM step \(linear\)$/m);
    const value = parse(readFileSync(join(asked, "result.json"), "utf8"));
    valid(value);
    expect(value["config"]).toMatchObject({
      rows: { from: 0, to: 200 },
      nonfinite: "drop",
      process: "ddpm",
      processParameters: { schedule: "cosine", steps: 1000, s: 0.008 },
    });
  });

  it("says no more than was looked at: reasons below the table, no time of theory as if it were measured", () => {
    const args = ["analyze", "digits", "--scale", "standardize", "--times", "0.4,0.8", "--draws", "100", "--out", join(folder, "narrow")];
    const { stdout } = cli(args);
    expect(stdout).toMatch(/^collapse {3}t_C {2}excess-entropy {2}no value$/m);
    expect(stdout).toMatch(/^t_C excess-entropy: .* stays above 0\.05 on \[0\.4, 0\.8\]/m);
    expect(stdout).toMatch(/choose their class near t = 0\.\d\d, and fall onto single data below t = 0\.4, the smallest time looked at\.$/m);
    const constant = npy("constant.npy", [5, 2], new Float64Array(10).fill(3));
    expect(cli(["analyze", constant, "--draws", "10", "--out", join(folder, "constant")]).stdout).toMatch(/at every t, since all rows are equal\.$/m);
  });

  it("the same seed gives the same numbers, whatever the threads", () => {
    const args = ["analyze", "digits", "--scale", "standardize", "--draws", "64", "--times", "0.3:2:6", "--json", "--out", out];
    const [one, two, other] = [["--threads", "1"], ["--threads", "2"], ["--seed", "2"]].map((extra) => parse(cli([...args, ...extra]).stdout)["result"]);
    expect(two).toEqual(one);
    expect(other.curves).not.toEqual(one.curves);
  });

  it("refuses a folder with somebody else's files, before any computation, exit code 4", () => {
    const theirs = join(folder, "theirs");
    mkdirSync(theirs);
    writeFileSync(join(theirs, "thesis.tex"), "years of work");
    const { status, stderr, stdout } = cli(["demo", "--out", theirs]);
    expect(stderr).toMatch(/^E_OUTPUT .*theirs is not empty and was not written by this program/m);
    expect([status, stdout, readdirSync(theirs)]).toEqual([4, "", ["thesis.tex"]]);
    const file = cli(["demo", "--out", join(theirs, "thesis.tex", "below")]);
    expect(file.stderr).toMatch(/E_OUTPUT/);
    expect(file.status).toBe(4);
  });

  it("names the default folder after the data, without characters that a shell would mind", () => {
    const path = npy("my data (final).npy", [4, 1], Float64Array.of(1, 2, 3, 4));
    const { status } = cli(["analyze", path, "--draws", "10", "--times", "0.1,0.5,1"]);
    expect(status).toBe(0);
    expect(existsSync(join(folder, "diffusion-regimes-my-data-final", "report.html"))).toBe(true);
  });

  it("draws data from a mixture's JSON, on which both transitions are found", () => {
    writeFileSync(join(folder, "two.json"), JSON.stringify(mixture));
    const asked = cli(["analyze", "two.json", "--json"]);
    expect([asked.status, asked.stdout]).toEqual([2, ""]);
    expect(asked.stderr).toMatch(/E_OPTION two\.json is a mixture: say how many rows to draw/);
    const { stdout, stderr, status } = cli(["analyze", "two.json", "--n", "500", "--seed", "3", "--draws", "200", "--json", "--out", join(folder, "two")]);
    expect(stderr).not.toMatch(/E_[A-Z]/);
    expect(status).toBe(0);
    const value = parse(stdout);
    valid(value);
    expect(value["result"]).toMatchObject({ n: 500, d: 2 });
    expect(value["config"].n).toBe(500);
    // 1/2 log(|m|^2 + v) = 1/2 log 4.25, for the covariance of 500 draws: relative s.e. of an eigenvalue below sqrt(2/n).
    expect(Math.abs(value["result"].speciationTime.spectral.value - 0.5 * Math.log(4.25))).toBeLessThan(4 * 0.5 * Math.sqrt(2 / 500));
    expect(value["result"].speciationTime.kappa.value).not.toBeNull();
  });

  it("with --quiet says nothing on stderr", () => {
    expect(cli(["demo", "--draws", "10", "--times", "0.5,1", "--quiet", "--out", out]).stderr).toBe("");
  });
});

describe("sample", () => {
  it("writes samples that other programs read, a table, a page and the object that it prints", async () => {
    const out = join(folder, "generated");
    const { stdout, stderr, status } = cli(["sample", "digits", "--scale", "standardize", "--count", "12", "--steps", "40", "--sampler", "ddim", "--out", out, "--json", "--quiet"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const answer = parse(stdout);
    expect(answer["schema"]).toBe("diffusion-regimes/sample/1");
    expect(parse(readFileSync(join(out, "result.json"), "utf8"))).toEqual(answer);
    expect(answer["result"].shape).toEqual([12, 64]);
    const samples = await openDataset(join(out, "samples.npy"));
    expect([samples.n, samples.d]).toEqual([12, 64]);
    const lines = readFileSync(join(out, "trajectories.csv"), "utf8").trim().split("\r\n");
    expect(lines.length).toBe(13);
    expect(lines[1]!.split(",")[3]).toBe(String(answer["result"].nearest.index[0]));
    expect(readFileSync(join(out, "report.html"), "utf8")).toContain("When trajectories settle");
  });

  it("samples a mixture, and says what it does not know", () => {
    writeFileSync(join(folder, "two.json"), JSON.stringify(mixture));
    const { stdout, status } = cli(["sample", "two.json", "--count", "20", "--steps", "30", "--out", join(folder, "two-samples"), "--quiet"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^20 trajectories by ddpm, 30 steps/);
    const flow = cli(["sample", "two.json", "--count", "5", "--steps", "8", "--sampler", "adaptive", "--tolerance", "1e-4", "--reduce", "none", "--out", join(folder, "flow"), "--quiet"]);
    expect(flow.stdout).toMatch(/^5 trajectories by adaptive/);
    expect(parse(readFileSync(join(folder, "flow", "result.json"), "utf8"))["config"]).toMatchObject({ tolerance: { absolute: 1e-4, relative: 1e-4 }, reduce: "none" });
    const wrong = cli(["sample", "two.json", "--eta", "0.5", "--out", join(folder, "wrong")]);
    expect(wrong.status).toBe(2);
    expect(wrong.stderr).toMatch(/E_OPTION the sampler ddpm has no option "eta"/);
    expect(existsSync(join(folder, "wrong"))).toBe(false);
  });
});

describe("clones", () => {
  it("simulates pairs over the exact curves of a mixture", () => {
    writeFileSync(join(folder, "two.json"), JSON.stringify(mixture));
    const out = join(folder, "two-clones");
    const { stdout, stderr, status } = cli(["clones", "two.json", "--times", "0.3,1,2", "--pairs", "400", "--steps", "60", "--out", out, "--json", "--quiet"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const { result } = parse(stdout);
    expect(result.collapseCloning).toBeNull();
    result.speciationCloning.forEach(({ value, standardError }: any, k: number) => {
      const exact = result.exactCurves.speciationCloning[k];
      expect(Math.abs(value - exact.value)).toBeLessThan(4.5 * Math.hypot(standardError, exact.standardError) + 0.01);
    });
    expect(readFileSync(join(out, "clones.csv"), "utf8").split("\r\n")[0]).toBe("time,ouTime,speciationCloning,speciationCloningStandardError,speciationCloningExact,speciationCloningExactStandardError");
    expect(readFileSync(join(out, "report.html"), "utf8")).toContain("A mixture has no data to end on.");
  });

  it("needs the times of splitting", () => {
    const { status, stderr } = cli(["clones", "digits"]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/required option '--times <list>'/);
  });
});

describe("late-start", () => {
  it("compares starts, with a table, a page and the object that it prints", () => {
    const out = join(folder, "late");
    const args = ["late-start", "digits", "--scale", "standardize", "--steps", "3", "--starts", "4", "--samples", "80", "--samplers", "ddim", "--out", out];
    const { stdout, stderr, status } = cli([...args, "--json", "--quiet"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const answer = parse(stdout);
    expect(answer["schema"]).toBe("diffusion-regimes/late-start/1");
    expect(answer["result"].curves.map(({ startLaw }: any) => startLaw)).toEqual(["standard", "gaussian"]);
    expect(readFileSync(join(out, "late-start.csv"), "utf8").trim().split("\r\n").length).toBe(1 + 2 * 4);
    expect(readFileSync(join(out, "report.html"), "utf8")).toContain("Quality against start time");
  });

  it("refuses a sampler that it does not have", () => {
    const { status, stderr } = cli(["late-start", "digits", "--samplers", "ddim,dpm"]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/"dpm" is not one of/);
  });
});

describe("posterior", () => {
  const data = [0, 0, 3, 4, -1, 2];
  const x = [0.5, 0.25, 2, 2];
  const t = 0.5;
  beforeAll(() => {
    npy("points.npy", [3, 2], Float64Array.of(...data));
    npy("queries.npy", [2, 2], Float64Array.of(...x));
    writeFileSync(join(folder, "mixture.json"), JSON.stringify(mixture));
  });

  it("--json gives every reading of every query, equal to the formula", () => {
    const { stdout, stderr, status } = cli(["posterior", "points.npy", "--queries", "queries.npy", "--time", String(t), "--json", "--quiet"]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const { result, config } = parse(stdout);
    expect(config).toMatchObject({ time: t, ouTime: t, process: "ornstein-uhlenbeck", precision: "exact" });
    expect(Object.keys(result)).toEqual(["logDensity", "entropy", "effectiveCount", "nearest", "score", "denoised", "errorBound"]);
    const a = Math.exp(-t);
    const variance = -Math.expm1(-2 * t);
    for (const q of [0, 1]) {
      const [x0, x1] = x.slice(2 * q, 2 * q + 2) as [number, number];
      const logits = [0, 1, 2].map((i) => -((x0 - a * data[2 * i]!) ** 2 + (x1 - a * data[2 * i + 1]!) ** 2) / (2 * variance) - Math.log(3));
      const log = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
      const w = logits.map((logit) => Math.exp(logit - log));
      const denoised = [0, 1].map((j) => w.reduce((sum, weight, i) => sum + weight * data[2 * i + j]!, 0));
      expect(result.logDensity[q]).toBeCloseTo(log - Math.log(2 * Math.PI * variance), 12);
      expect(result.entropy[q]).toBeCloseTo(-w.reduce((sum, weight) => sum + weight * Math.log(weight), 0), 12);
      expect(result.effectiveCount[q]).toBeCloseTo(1 / w.reduce((sum, weight) => sum + weight * weight, 0), 12);
      expect(result.nearest.index[q]).toBe(w.indexOf(Math.max(...w)));
      expect(result.nearest.weight[q]).toBeCloseTo(Math.max(...w), 12);
      for (const j of [0, 1]) {
        expect(result.denoised[q][j]).toBeCloseTo(denoised[j]!, 12);
        expect(result.score[q][j]).toBeCloseTo((a * denoised[j]! - [x0, x1][j]!) / variance, 11);
      }
      expect(result.errorBound.logDensity[q]).toBeGreaterThanOrEqual(0);
      expect(result.errorBound.score[q]).toBeLessThan(1e-10);
    }
  });

  it("of a mixture's JSON is that of the mixture, and with --n that of data drawn from it", () => {
    const args = ["posterior", "mixture.json", "--queries", "queries.npy", "--time", "0.5", "--json", "--quiet"];
    const exact = parse(cli(args).stdout)["result"];
    expect(exact.nearest.index).toEqual([0, 0]);
    const drawn = parse(cli([...args, "--n", "1000"]).stdout);
    expect(drawn["config"]).toMatchObject({ n: 1000, seed: "1" });
    expect(drawn["result"].effectiveCount[0]).toBeGreaterThan(2);
    // 1000 draws know log p to a few per cent.
    expect(drawn["result"].logDensity[0]).toBeCloseTo(exact.logDensity[0], 0);
  });

  it("takes queries that repeat, and names their file when they do not fit", () => {
    npy("same.npy", [3, 2], new Float64Array(6).fill(1));
    const args = ["posterior", "points.npy", "--time", "300", "--process", "ddpm-cosine", "--json", "--queries"];
    const { stdout, stderr } = cli([...args, "same.npy", "--no-progress"]);
    expect(stderr).toBe("");
    expect(parse(stdout)["warnings"]).toEqual([]);
    expect(parse(stdout)["config"]).toMatchObject({ process: "ddpm", processParameters: { schedule: "cosine" } });
    npy("wide.npy", [2, 3], new Float64Array(6));
    const refused = cli([...args, "wide.npy"]);
    expect(refused.stderr).toMatch(/E_SHAPE wide\.npy: shape \[2, 3\], need \[batch, 2\]: points\.npy has d = 2/);
    expect(refused.status).toBe(3);
  });

  it("prints a table for people", () => {
    const { stdout } = cli(["posterior", "points.npy", "--queries", "queries.npy", "--time", "0.5"]);
    expect(stdout.split("\n")[0]).toMatch(/^query {2,}log density/);
    expect(stdout.trim().split("\n")).toHaveLength(3);
  });

  it("refuses an unusable --out before it computes anything", () => {
    for (const [out, code, message] of [["", 2, /E_OPTION/], ["/proc/x", 4, /E_OUTPUT/]] as const) {
      const { status, stderr } = cli(["analyze", "digits", "--scale", "standardize", "--out", out]);
      expect(stderr).toMatch(message);
      expect(status).toBe(code);
    }
  });

  it.each([
    [{ means: [[1, 2], [3]], covariances: { type: "spherical", variances: [1, 1] } }, 3, /E_SHAPE .*means/],
    [{ means: [["1"]], covariances: { type: "spherical", variances: [1] } }, 3, /E_PARSE .*"1" is not a number/],
    [{ means: [[1]], covariances: { type: "spheric", variances: [1] } }, 3, /E_PARSE .*Did you mean "spherical"\?/],
    [{ means: [[1]], covariance: {} }, 3, /E_PARSE .*Did you mean "covariances"\?/],
    [{ means: [[1]], weights: [-1], covariances: { type: "spherical", variances: [1] } }, 3, /E_WEIGHTS/],
    [[1, 2], 3, /E_PARSE .*expected an object/],
  ])("refuses the mixture %j", (value, code, message) => {
    writeFileSync(join(folder, "bad.json"), JSON.stringify(value));
    const { status, stderr } = cli(["posterior", "bad.json", "--queries", "queries.npy", "--time", "0.5"]);
    expect(stderr).toMatch(message);
    expect(status).toBe(code);
  });
});

describe("theory", () => {
  it("gives the published collapse time, and the one with the class term, without the addon", () => {
    const { stdout, status } = cli(["theory", "--n", "20000", "--d", "256", "--json"], { DIFFUSION_REGIMES_NATIVE: "/nowhere/regimes.node" });
    expect(status).toBe(0);
    const { result } = parse(stdout);
    expect(result.collapseTime["population-published"].value).toBeCloseTo(1.29879, 5);
    // With the class term (theory 7.2): n/2 data per class, once the classes are resolved.
    expect(result.collapseTime.population.value).toBeCloseTo(1.33373, 5);
    expect(result.speciationTime.spectral.value).toBeCloseTo(0.5 * Math.log(257), 12);
    expect(result.speciationTime.cloning.value).toBeCloseTo(0.5 * Math.log(256), 12);
  });

  it("says why there is no value", () => {
    const { stdout, status } = cli(["theory", "--n", "100", "--d", "4", "--separation", "0", "--variance", "0.5"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/no direction is wider than the noise/);
  });
});

describe("inspect", () => {
  it("describes the digits", () => {
    const { result } = parse(cli(["inspect", "digits", "--json"]).stdout);
    expect(result).toMatchObject({ n: 1797, d: 64, imageShape: [8, 8], distinctRows: 1797, stored: { minimum: 0, maximum: 16 } });
    expect(result.classes).toHaveLength(10);
  });

  it("escapes what a hostile file name would send to the terminal", () => {
    const path = npy("a\u001b[31mb.npy", [2, 2], Float64Array.of(1, 2, 3, 4));
    const { stdout, status } = cli(["inspect", path]);
    expect(status).toBe(0);
    // eslint-disable-next-line no-control-regex
    expect(stdout).not.toMatch(/\u001b/);
    expect(stdout).toMatch(/\\u\{1b\}\[31m/);
  });

  it.each([
    ["no such file", "absent.npy", Buffer.alloc(0), /E_FILE/],
    ["a truncated file", "short.npy", Buffer.from("\u0093NUMPY", "latin1"), /E_HEADER/],
    ["text that is no number", "text.csv", Buffer.from("1,2\n3,x\n"), /E_PARSE/],
    ["NaN", "nan.csv", Buffer.from("1,2\n3,nan\n"), /E_NONFINITE/],
  ])("%s is a data error, exit code 3, nothing on stdout", (_, name, bytes, message) => {
    if (bytes.length > 0) writeFileSync(join(folder, name), bytes);
    const { status, stdout, stderr } = cli(["inspect", name]);
    expect(stderr).toMatch(message);
    expect([status, stdout]).toEqual([3, ""]);
  });
});

describe("doctor and a missing addon", () => {
  it("doctor says which instruction set runs", () => {
    const { stdout, status } = cli(["doctor", "--json"]);
    expect(status).toBe(0);
    const { result } = parse(stdout);
    expect(result.usable).toBe(true);
    expect(result.checks.find((check: { name: string }) => check.name === "native addon").detail).toMatch(/^(cpu-\w+ .*integer products by|reference)/);
  });

  it("doctor names the variable when it forces what this machine cannot run", () => {
    const { stdout, status } = cli(["doctor"], { DIFFUSION_REGIMES_BACKEND: "cpu-riscv" });
    expect(status).toBe(7);
    expect(stdout).toMatch(/MISSING +native addon.*E_BACKEND/);
    expect(stdout).toMatch(/native addon: unset DIFFUSION_REGIMES_BACKEND/);
  });

  it("doctor fails its check and names the command when the addon is missing", () => {
    const { stdout, status } = cli(["doctor"], { DIFFUSION_REGIMES_NATIVE: "/nowhere/regimes.node" });
    expect(status).toBe(7);
    expect(stdout).toMatch(/MISSING +native addon/);
    expect(stdout).toMatch(/npx diffusion-regimes build/);
  });

  it("a computation without the addon is exit code 5, with every path tried and the command that builds it", () => {
    const { stderr, status, stdout } = cli(["demo"], { DIFFUSION_REGIMES_NATIVE: "/nowhere/regimes.node" });
    expect(stderr).toMatch(/E_NO_BINARY[\s\S]*nowhere[\s\S]*npx diffusion-regimes build/);
    expect([status, stdout]).toEqual([5, ""]);
  });

  it("shows the stack with --verbose only", () => {
    expect(cli(["inspect", "absent.npy"]).stderr).not.toMatch(/^ {4}at /m);
    expect(cli(["inspect", "absent.npy", "--verbose"]).stderr).toMatch(/^ {4}at /m);
  });
});

describe("pipes and signals", () => {
  const long = ["demo", "--draws", "400000", "--times", "0.1:4:64"];

  it("a reader that leaves early is no error", () => {
    const quoted = [process.execPath, program, "theory", "--n", "100", "--d", "4"].map((word) => `'${word}'`).join(" ");
    const { stderr, stdout } = spawnSync("bash", ["-c", `set -o pipefail; ${quoted} | true; echo "codes \${PIPESTATUS[@]}"`], { encoding: "utf8", env: environment() });
    expect(stderr).toBe("");
    expect(stdout).toMatch(/codes 0 0/);
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s stops a computation within a second: exit code %i, nothing written", async (signal, code) => {
    const out = join(folder, `stopped-${code}`);
    const child = spawn(process.execPath, [program, ...long, "--out", out], { env: environment(), stdio: ["ignore", "pipe", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    await new Promise((wake) => setTimeout(wake, 1500));
    expect(child.exitCode, "the computation is long enough to be interrupted").toBeNull();
    const sent = performance.now();
    child.kill(signal);
    const status = await new Promise((resolve) => child.on("exit", resolve));
    expect(status).toBe(code);
    // One second, and what an overloaded machine takes to notice.
    expect(performance.now() - sent).toBeLessThan(2000);
    expect(stderr).toMatch(new RegExp(`stopped by ${signal}`));
    expect(existsSync(join(out, "report.html"))).toBe(false);
  });
});

describe("progress without a terminal", () => {
  afterEach(() => vi.restoreAllMocks());

  it("is one plain line every ten seconds, with a time left only after 3 %", () => {
    const lines: string[] = [];
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => now);
    vi.spyOn(process.stderr, "write").mockImplementation((text) => lines.push(String(text)) > 0);
    const report = new Terminal({}).stage("curves");
    for (const [seconds, fraction] of [[0, 0], [5, 0.01], [11, 0.02], [12, 0.2], [22, 0.5]] as const) {
      now = 1000 * seconds;
      report(fraction);
    }
    expect(lines).toEqual([
      "  curves           ........................   2 %  11 s elapsed\n",
      "  curves           ############............  50 %  22 s elapsed, about 22 s left\n",
    ]);
  });

  it("is silent under --no-progress and --quiet", () => {
    const write = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    for (const flags of [{ progress: false }, { quiet: true }]) new Terminal(flags).stage("curves")(0.5);
    expect(write).not.toHaveBeenCalled();
  });
});
