import { describe, expect, it } from "vitest";
import { analyze, type Analysis, type AnalysisStage } from "../lib/analysis.js";
import { openDataset } from "../lib/data.js";
import { variancePreserving } from "../lib/process.js";
import { fashion } from "./fashion.js";
import { normals } from "./synthetic.js";

/** Every number in a JSON-able object. */
function numbersIn(value: unknown): number[] {
  if (typeof value === "number") return [value];
  return value !== null && typeof value === "object" ? Object.values(value).flatMap(numbersIn) : [];
}

/** What must hold of any analysis: finite numbers, plain JSON, statuses wherever there is no value. */
function checkSound(analysis: Analysis): void {
  expect(numbersIn(analysis).every(Number.isFinite)).toBe(true);
  expect(JSON.parse(JSON.stringify(analysis))).toEqual(analysis);
  for (const time of [...Object.values(analysis.result.speciationTime), ...Object.values(analysis.result.collapseTime)]) {
    if (time === null) continue;
    expect(time.value === null, `${time.criterion}: ${time.status}`).toBe(time.status !== "ok");
    expect(time.method.length).toBeGreaterThan(0);
  }
}

describe("analyze on the digits", () => {
  it("finds both transitions with its default times", async () => {
    using data = await openDataset("digits", { scale: "standardize" });
    const stages: AnalysisStage[] = [];
    let last = 0;
    const analysis = await analyze(data, {
      draws: 400,
      onProgress: (fraction, stage) => {
        expect(fraction).toBeGreaterThanOrEqual(0);
        expect(fraction).toBeLessThanOrEqual(1);
        if (stages.at(-1) === stage) expect(fraction).toBeGreaterThanOrEqual(last);
        else stages.push(stage);
        last = fraction;
      },
    });
    checkSound(analysis);
    const { result } = analysis;
    expect(result.spectrum.eigenvalues[0]!.value).toBeCloseTo(4.945, 3);
    expect(result.speciationTime.spectral.value).toBeCloseTo(0.799, 3);
    expect(result.alpha).toBeCloseTo(Math.log(1797) / 64, 14);
    expect(analysis.config.times.length).toBe(24);
    const times = [...Object.values(result.speciationTime), ...Object.values(result.collapseTime)];
    expect(times.map((time) => time?.status)).toEqual(times.map(() => "ok"));
    expect(result.collapseTime["excess-entropy"].value).toBeLessThan(result.speciationTime.cloning!.value!);
    const f = result.curves.excessEntropyOverAlpha.map(({ value }) => value!);
    expect(f[0]).toBeLessThan(0.03);
    expect(f[23]).toBeGreaterThan(0.97);
    // The Gaussian surrogate bounds the excess entropy from below.
    result.theory.excessEntropyOverAlpha!.forEach((bound, j) => expect(bound).toBeLessThan(f[j]! + 0.02));
    expect(stages).toEqual(["spectrum", "range of times", "curves", "class spectrum", "all eigenvalues"]);
  });

  it("gives the same numbers for any number of threads", async () => {
    using data = await openDataset("digits", { scale: "standardize" });
    const options = { times: [0.1, 0.2, 0.4, 0.8, 1.6, 3.2], draws: 50, seed: 7 };
    const [one, three] = [await analyze(data, { ...options, threads: 1 }), await analyze(data, { ...options, threads: 3 })];
    expect(three.result).toEqual(one.result);
    expect(one.config.threads).toBe(1);
  });

  it("tells the same physics in another clock", async () => {
    using data = await openDataset("digits", { scale: "standardize" });
    const process = variancePreserving();
    const ouTimes = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2];
    const ou = await analyze(data, { times: ouTimes, draws: 50 });
    const vp = await analyze(data, { process, times: ouTimes.map((t) => process.timeAt(t)), draws: 50 });
    expect(vp.config.process).toBe("variance-preserving");
    expect(vp.config.processParameters).toEqual(process.parameters);
    expect(vp.config.processParameters["schedule"]).toBe("linear");
    const [a, b] = [vp, ou].map(({ result }) => result.collapseTime.cloning);
    expect(a!.value).toBeCloseTo(b!.value!, 9);
    expect(process.ouTime(a!.processTime!)).toBeCloseTo(b!.value!, 9);
  });

  it("rejects with the signal's reason", async () => {
    using data = await openDataset("digits", { scale: "standardize" });
    const reason = new Error("enough");
    await expect(analyze(data, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it("refuses options before it computes", async () => {
    using data = await openDataset("digits");
    const misspelled = analyze(data, { drawz: 3 } as never);
    await expect(misspelled).rejects.toMatchObject({ code: "E_OPTION", message: expect.stringContaining('"draws"') });
    await expect(analyze(data, { threshold: 5 })).rejects.toMatchObject({ code: "E_DOMAIN" });
    await expect(analyze(data, { times: [2, 1] })).rejects.toMatchObject({ code: "E_DOMAIN" });
  });
});

describe("analyze on difficult data", () => {
  const rows = (data: Float64Array, shape: [number, number]): ReturnType<typeof openDataset> => openDataset({ data, shape });

  it("has a reason for everything about one row", async () => {
    using data = await rows(Float64Array.of(1, 2, 3), [1, 3]);
    const analysis = await analyze(data, { draws: 10 });
    checkSound(analysis);
    expect(analysis.result.speciationTime.spectral.status).toContain("one row");
    for (const time of Object.values(analysis.result.collapseTime)) expect(time.status).toBe("one row: collapsed at every t");
    expect(analysis.result.theory.excessEntropyOverAlpha).toBeNull();
  });

  it("has a reason for everything about constant rows", async () => {
    using data = await rows(new Float64Array(40).fill(3), [10, 4]);
    const analysis = await analyze(data, { draws: 10 });
    checkSound(analysis);
    expect(analysis.result.speciationTime.spectral.status).toMatch(/^top eigenvalue 0 <= 1: no speciation/);
    for (const time of Object.values(analysis.result.collapseTime)) expect(time.status).toContain("collapsed at every t");
  });

  it("brackets collapse whatever the units of the data", async () => {
    for (const unit of [1e-3, 1, 255]) {
      using data = await rows(normals(5, 1200).map((z) => z * unit), [300, 4]);
      const analysis = await analyze(data, { draws: 200 });
      checkSound(analysis);
      expect(analysis.result.collapseTime.cloning.status).toBe("ok");
      expect(analysis.result.collapseTime["excess-entropy"].status).toBe("ok");
      // sigma^2 = e^2t - 1 scales with the square of the unit.
      expect(Math.expm1(2 * analysis.result.collapseTime.cloning.value!) / unit ** 2).toBeGreaterThan(0.01);
      expect(Math.expm1(2 * analysis.result.collapseTime.cloning.value!) / unit ** 2).toBeLessThan(1);
    }
  });

  it("leaves out what needs labels, and warns when the widest direction is not that of the classes", async () => {
    const noise = normals(6, 3000);
    const labels = Array.from({ length: 1000 }, (_, i) => i % 2);
    // Classes 4 widths apart along the first coordinate; the second is five times as wide.
    const values = noise.map((z, k) => (k % 3 === 0 ? z + (labels[Math.floor(k / 3)] === 1 ? 4 : -4) : k % 3 === 1 ? 20 * z : z));
    using unlabelled = await rows(values, [1000, 3]);
    const without = await analyze(unlabelled, { draws: 50 });
    expect(without.result.speciationTime.kappa).toBeNull();
    expect(without.result.curves.speciationCloning).toBeNull();
    expect(without.warnings).toEqual([]);
    using labelled = await openDataset({ data: values, shape: [1000, 3] }, { labels });
    const withLabels = await analyze(labelled, { draws: 50 });
    checkSound(withLabels);
    expect(withLabels.warnings.join()).toContain("widest direction");
    expect(withLabels.result.classFractions).toEqual([0.5, 0.5]);
  });
});

describe.skipIf(fashion === null)("analyze on Fashion-MNIST", () => {
  it("brackets both transitions of 2000 images with its default times", async () => {
    using data = await openDataset(fashion!.trainImages, { labels: fashion!.trainLabels, rows: { to: 2000 }, scale: "unit" });
    const analysis = await analyze(data, { draws: 200 });
    checkSound(analysis);
    const times = [...Object.values(analysis.result.speciationTime), ...Object.values(analysis.result.collapseTime)];
    expect(times.map((time) => time?.status)).toEqual(times.map(() => "ok"));
    expect(analysis.result.imageShape).toEqual([28, 28]);
  });
});
