/** The last switch of the nearest datum, told again from the states themselves. */
import { describe, expect, it } from "vitest";
import { collapseTime } from "../lib/collapse.js";
import { openDataset } from "../lib/data.js";
import { diffuse, type Field } from "../lib/field.js";
import { ddpm, ornsteinUhlenbeck, variancePreserving } from "../lib/process.js";
import { gridThrough, sampleReverse } from "../lib/sampler.js";
import { empirical, gaussianMixture } from "../lib/target.js";

const n = 150;
const digits = await openDataset("digits", { scale: "standardize", rows: { to: n } });

/** For each trajectory of the same run: the first watched OU time since when the closest a y_i (Euclidean) stays the same. */
async function lastSwitches(field: Field, schedule: readonly number[], times: readonly number[], count: number, seed: number): Promise<number[]> {
  const { d } = field;
  const run = await sampleReverse(field, { sampler: "ddpm", schedule, count, seed, record: { times, observe: ["states"] } });
  const rows = digits.rows(0, n).data;
  const closest = (x: Float64Array, a: number): number => {
    const distances = Array.from({ length: n }, (_, i) => x.reduce((sum, value, j) => sum + (value - a * rows[i * d + j]!) ** 2, 0));
    return distances.indexOf(Math.min(...distances));
  };
  return Array.from({ length: count }, (_, r) => {
    const path = times.map((t, k) => closest(run.observed.states!.data.subarray((k * count + r) * d, (k * count + r + 1) * d), field.process.marginal(t).a));
    const changed = path.findLastIndex((index, k) => k > 0 && index !== path[k - 1]);
    return run.ouTimes[Math.max(0, changed)]!;
  });
}

describe("collapse by the last switch of the nearest datum", () => {
  const field = diffuse(empirical(digits), ornsteinUhlenbeck());

  it("is the time after it, whose mean over trajectories is the value, at every step of a run", async () => {
    const options = { criterion: "trajectory", count: 40, steps: 60, from: 3, to: 0.01, seed: 7 } as const;
    const result = await collapseTime(field, options);
    const { ouTimes, watched, quantiles, deviation, neverSwitched, nearest } = result.distribution!;
    expect(watched.length).toBe(61);
    expect(ouTimes).toEqual(await lastSwitches(field, watched, watched, 40, 7));
    expect(result.value).toBeCloseTo(ouTimes.reduce((sum, t) => sum + t, 0) / 40, 12);
    expect(result.standardError).toBeCloseTo(deviation / Math.sqrt(40), 12);
    expect(Object.values(quantiles)).toEqual(Object.values(quantiles).toSorted((x, y) => x - y));
    expect(neverSwitched).toBe(ouTimes.filter((t) => t === watched[0]).length);
    expect(new Set(nearest).size).toBeGreaterThan(20);
    expect(result).toMatchObject({ criterion: "trajectory", status: "ok", processTime: result.value });
    expect(JSON.parse(JSON.stringify(result))).toEqual(result);
  });

  it("is told on the published grid of DDPM steps, in any process", async () => {
    const process = variancePreserving();
    const vp = diffuse(empirical(digits), process);
    const result = await collapseTime(vp, { criterion: "trajectory", watch: "published", count: 25, steps: 80, seed: 3 });
    const { ouTimes } = ddpm();
    const expected = Array.from({ length: 20 }, (_, i) => ouTimes[950 - 50 * i]!);
    result.distribution!.watched.forEach((t, i) => expect(t).toBeCloseTo(expected[i]!, 12));
    const times = expected.map((t) => process.timeAt(t));
    const schedule = gridThrough(process, { steps: 80, to: times.at(-1)! }, times).map(({ t }) => t);
    expect(result.distribution!.ouTimes).toEqual(await lastSwitches(vp, schedule, times, 25, 3));
  });

  it("counts trajectories that never switch with the first time, and says so", async () => {
    const result = await collapseTime(field, { criterion: "trajectory", count: 10, steps: 5, from: 0.01, to: 0.001 });
    expect(result.distribution!.neverSwitched).toBe(10);
    expect(result.value).toBeCloseTo(result.distribution!.watched[0]!, 15);
    expect(result.method).toMatch(/10 never switched/);
  });

  it("has no value where there is nothing to collapse onto, and refuses the options of other criteria", async () => {
    const mixture = diffuse(gaussianMixture({ means: { data: new Float64Array(3), shape: [1, 3] }, covariances: { type: "spherical", variances: [1] } }), ornsteinUhlenbeck());
    expect(await collapseTime(mixture, { criterion: "trajectory" })).toMatchObject({ value: null, distribution: null });
    for (const wrong of [{ threshold: 0.1 }, { reduce: "none" }, { watch: "ddpm" }, { draws: 10 }] as object[]) {
      await expect(collapseTime(field, { criterion: "trajectory", ...wrong })).rejects.toMatchObject({ code: "E_OPTION" });
    }
  });
});
