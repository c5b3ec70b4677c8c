/**
 * Conformance: one script of calls, run in a process of its own for every backend this machine has, forced by
 * DIFFUSION_REGIMES_BACKEND and verified to be the one that answered. Fast backends against the definition, and AVX2 against AVX-512.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { native } from "../lib/native.js";

interface Answer {
  readonly backend: string;
  readonly values: Record<string, number[]>;
  readonly bounds: number[];
}

const script = fileURLToPath(new URL("./conformance_calls.mjs", import.meta.url));

function run(backend: string, env: Record<string, string> = {}): Answer {
  const out = execFileSync(process.execPath, [script], {
    env: { ...process.env, DIFFUSION_REGIMES_BACKEND: backend, ...env },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    maxBuffer: 1 << 28,
  });
  return JSON.parse(out) as Answer;
}

const available = native().backend().available;
const reference = run("reference");

describe("backends", () => {
  it("the reference and the portable kernels are always there", () => {
    expect(available).toContain("reference");
    expect(available).toContain("cpu-portable");
  });

  it("the best one runs when none is forced, and the definition comes last", () => {
    expect(run("auto").backend).toBe(available[0]);
    expect(available.at(-1)).toBe("reference");
  });

  it.each(available)("%s is the one that runs when forced, and agrees with the definition", (name) => {
    const answer = run(name);
    expect(answer.backend).toBe(name);
    expect(Object.keys(answer.values)).toEqual(Object.keys(reference.values));
    for (const [reading, values] of Object.entries(answer.values)) {
      const wanted = reference.values[reading]!;
      expect(values.length, reading).toBe(wanted.length);
      // Relative to the largest of the reading: single entries of vectors may be differences of large terms.
      const scale = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3);
      values.forEach((value, k) => expect(Math.abs(value - wanted[k]!) / scale, `${reading}[${k}]`).toBeLessThan(1e-9));
    }
    for (const bound of answer.bounds) expect(bound).toBeGreaterThan(0);
  });

  it("AVX2 and AVX-512 give the same bits, but in sweeps, whose exponentials differ", ({ skip }) => {
    skip(!available.includes("cpu-avx512"), "this machine has no AVX-512");
    const posteriors = (backend: string): unknown => Object.entries(run(backend).values).filter(([name]) => !name.includes(" sweep "));
    expect(posteriors("cpu-avx2")).toEqual(posteriors("cpu-avx512"));
  });

  it("an unusable forced backend is an error that names the usable ones, never a silent fall-back", () => {
    expect(() => run("cpu-riscv")).toThrow(/E_BACKEND.*cpu-portable/s);
    // Already the first call that loads the addon, not the first job.
    const source = `import { gaussianMixture } from "diffusion-regimes";
      gaussianMixture({ means: { data: [0], shape: [1, 1] }, covariances: { type: "spherical", variances: [1] } });`;
    const env = { ...process.env, DIFFUSION_REGIMES_BACKEND: "cpu-riscv" };
    const cwd = fileURLToPath(new URL("..", import.meta.url));
    expect(() => execFileSync(process.execPath, ["--input-type=module", "-e", source], { env, cwd, stdio: "pipe" })).toThrow(/E_BACKEND/);
  });
});
