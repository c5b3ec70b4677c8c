/** Watched reverse trajectories: what settles when, and the page that shows it. */
import { inflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { diffuse, empirical, gaussianMixture, generation, openDataset, ornsteinUhlenbeck, renderGeneration } from "../lib/index.js";
import { greyPng } from "../lib/report/image.js";

const settings = { sampler: "ddpm", steps: 60, count: 40, seed: 3, draws: 64 } as const;

describe("generation", () => {
  it("of the digits: every trajectory ends on a datum, in the class of its label, and settles on the class first", async () => {
    const data = await openDataset("digits", { scale: "standardize" });
    const watched = await generation(diffuse(empirical(data), ornsteinUhlenbeck()), settings);
    const { run, nearest, classOf, classSettled, nearestSettled, projection } = watched;
    expect(projection.length).toBe(run.times.length);
    for (let i = 0; i < settings.count; i++) {
      expect(nearest.weight[i]).toBeGreaterThan(0.99);
      expect(classOf![i]).toBe(data.labels![nearest.index[i]!]);
      // The heaviest datum may lie outside the heaviest class, but not for good.
      expect(run.ouTimes).toContain(classSettled![i]!);
      expect(run.ouTimes).toContain(nearestSettled[i]!);
    }
    const mean = (times: Float64Array): number => times.reduce((sum, t) => sum + t, 0) / times.length;
    expect(mean(classSettled!)).toBeGreaterThan(mean(nearestSettled));
    // The watched trajectories are the first ones of the run: the same states, seen along the same direction.
    const [, rows, d] = watched.watched.shape as [number, number, number];
    const last = run.times.length - 1;
    expect(watched.watched.data.slice((last * rows) * d, (last * rows + rows) * d)).toEqual(run.samples.data.slice(0, rows * d));
    expect(watched.imageShape).toEqual([8, 8]);
  });

  it("of a mixture has no datum to fall onto", async () => {
    const target = gaussianMixture({ means: { data: Float64Array.from([2, 0, -2, 0]), shape: [2, 2] }, covariances: { type: "spherical", variances: [0.25, 0.25] } });
    const watched = await generation(diffuse(target, ornsteinUhlenbeck()), settings);
    expect(watched.collapse).toBeNull();
    expect(watched.classValues).toEqual([0, 1]);
    watched.classOf!.forEach((index, i) => expect(watched.run.samples.data[2 * i]! > 0).toBe(index === 0));
    const html = renderGeneration(watched, { title: "two <clouds>" });
    expect(html).toContain("two &lt;clouds&gt;");
    expect(html).toContain("The rows are not images");
  });

  it("refuses options that it does not have", async () => {
    const target = gaussianMixture({ means: { data: Float64Array.from([1, -1]), shape: [2, 1] }, covariances: { type: "spherical", variances: [1, 1] } });
    const field = diffuse(target, ornsteinUhlenbeck());
    await expect(generation(field, { ...settings, record: 1 } as never)).rejects.toThrow(/E_OPTION/);
    await expect(generation(field, { ...settings, watched: 0 })).rejects.toThrow(/E_OPTION watched is 0/);
  });
});

describe("the page of trajectories", () => {
  it("is the same bytes each time, loads nothing, and shows the states as images", async () => {
    const data = await openDataset("digits", { scale: "standardize" });
    const watched = await generation(diffuse(empirical(data), ornsteinUhlenbeck()), { ...settings, count: 6, watched: 2 });
    const html = renderGeneration(watched);
    expect(renderGeneration(watched)).toBe(html);
    expect(html).not.toMatch(/<script|https?:\/\/(?!www\.w3\.org)/);
    expect(html).not.toMatch(/ style="/);
    expect(html.match(/<image [^>]*href="data:image\/png/g)!.length).toBeGreaterThanOrEqual(2 * 2 * 9);
  });

  it("writes grey images that read back", () => {
    const levels = Uint8Array.from({ length: 6 }, (_, k) => 40 * k);
    const png = Buffer.from(greyPng(levels, 3, 2).replace("data:image/png;base64,", ""), "base64");
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([3, 2]);
    // CRC-32 of "IEND", as every PNG ends.
    expect(png.subarray(-4).toString("hex")).toBe("ae426082");
    const length = png.readUInt32BE(33);
    const rows = inflateSync(png.subarray(41, 41 + length));
    expect([...rows]).toEqual([0, 0, 40, 80, 0, 120, 160, 200]);
  });
});
