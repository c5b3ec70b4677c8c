/** Long calls: they never block, can be aborted, and end cleanly with their worker or their process. Bits do not depend on the split. */
import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { beforeAll, describe, expect, it } from "vitest";
import { openDataset } from "../lib/data.js";
import { diffuse, type Field } from "../lib/field.js";
import { ornsteinUhlenbeck } from "../lib/process.js";
import { regimes } from "../lib/regimes.js";
import { empirical, gaussianMixture } from "../lib/target.js";

/** Calls that take many seconds unless stopped. */
const endless = { times: Float64Array.from({ length: 60 }, (_, k) => 0.1 + k / 30), draws: 200_000, seed: 1, readings: ["entropy"] as const };

let digits: Field;
beforeAll(async () => {
  digits = diffuse(empirical(await openDataset("digits", { scale: "standardize" })), ornsteinUhlenbeck());
});

describe("a running call", () => {
  it("leaves the event loop and libuv's pool free", async () => {
    const stop = new AbortController();
    const running = [1, 2, 3, 4, 5].map(() => digits.sweep({ ...endless, threads: 1, signal: stop.signal }).catch(() => {}));
    const before = performance.now();
    await readFile(fileURLToPath(import.meta.url));
    expect(performance.now() - before).toBeLessThan(1000);
    stop.abort();
    await Promise.all(running);
  });

  it("rejects with the signal's reason within 100 ms of the abort, and removes its listener", async () => {
    const times: number[] = [];
    for (const call of ["sweep", "posterior", "regimes", "spectrum"] as const) {
      const stop = new AbortController();
      const x = await digits.sample(1, { count: 60_000, seed: 2 });
      const reason = new Error("enough");
      let aborted = 0;
      const timer = setTimeout(() => {
        aborted = performance.now();
        stop.abort(reason);
      }, 20);
      const run = { signal: stop.signal };
      const calls = {
        sweep: () => digits.sweep({ ...endless, ...run }),
        posterior: () => digits.posterior(x, { t: 1, readings: ["score", "covarianceTrace"], ...run }),
        regimes: () => regimes(digits, { times: endless.times, draws: endless.draws, seed: 1, ...run }),
        spectrum: () => digits.target.spectrum({ count: 64, tolerance: 1e-14, ...run }),
      };
      const outcome = await calls[call]().then(() => "finished", (error: unknown) => error);
      clearTimeout(timer);
      if (outcome === "finished") {
        // The spectrum of the digits may be faster than the timer; the other calls cannot be.
        expect(call).toBe("spectrum");
        continue;
      }
      expect(outcome).toBe(reason);
      times.push(performance.now() - aborted);
    }
    // A loaded machine may delay one of them; the median is what the contract is about.
    times.sort((one, other) => one - other);
    expect(times[Math.floor(times.length / 2)]).toBeLessThan(100);
  });

  it("does not start when the signal is aborted already", async () => {
    const reason = new Error("not now");
    await expect(digits.sweep({ ...endless, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it("tells its progress in order, and an error thrown there stops the call and comes back", async () => {
    const seen: number[] = [];
    await digits.sweep({ ...endless, draws: 2000, onProgress: (fraction) => seen.push(fraction) });
    expect(seen.length).toBeGreaterThan(2);
    expect(seen.every((fraction) => fraction > 0 && fraction <= 1)).toBe(true);
    const mine = new Error("mine");
    const failing = digits.sweep({
      ...endless,
      onProgress: () => {
        throw mine;
      },
    });
    await expect(failing).rejects.toBe(mine);
  });

  it("survives its data set and its target being disposed of", async () => {
    const data = await openDataset("digits");
    const target = empirical(data);
    const field = diffuse(target, ornsteinUhlenbeck());
    const running = field.sweep({ ...endless, draws: 1000 });
    data.dispose();
    target.dispose();
    expect((await running).entropy!.data.every((value) => value >= 0)).toBe(true);
    await expect(field.sweep({ ...endless, draws: 8 })).rejects.toMatchObject({ code: "E_DISPOSED" });
    expect(() => empirical(data)).toThrowError(expect.objectContaining({ code: "E_DISPOSED" }));
  });

  it("aborted while it decomposes a covariance leaves the target usable", async () => {
    const d = 300;
    const matrices = Float64Array.from({ length: 2 * d * d }, (_, k) => (k % (d * d)) % (d + 1) === 0 ? 1 + (k % 7) : 0);
    const means = { data: Float64Array.from({ length: 2 * d }, (_, k) => Math.sin(k)), shape: [2, d] };
    const field = diffuse(gaussianMixture({ means, covariances: { type: "full", matrices } }), ornsteinUhlenbeck());
    const x = { data: means.data.slice(0, d), shape: [1, d] };
    const stop = new AbortController();
    const first = field.posterior(x, { t: 1, signal: stop.signal });
    const waiting = field.posterior(x, { t: 1 });
    stop.abort(new Error("changed my mind"));
    await expect(first).rejects.toThrow("changed my mind");
    expect((await waiting).logDensity[0]).toBe((await field.posterior(x, { t: 1 })).logDensity[0]);
  });

  it("runs beside others on one target", async () => {
    const call = (): Promise<unknown> => digits.sweep({ ...endless, times: [0.1, 1], draws: 64 }).then(({ entropy }) => entropy!.data);
    const alone = await call();
    for (const together of await Promise.all(Array.from({ length: 16 }, call))) expect(together).toEqual(alone);
  });

  it("has an input of its own, though copies serve again", async () => {
    const { d } = digits;
    const ask = async (value: number): Promise<Float64Array> =>
      (await digits.posterior({ data: new Float64Array(64 * d).fill(value), shape: [64, d] }, { t: 0.5, readings: ["score"] })).score.data;
    const values = [0.1, -0.4, 0.7, 1.3];
    const alone: Float64Array[] = [];
    for (const value of values) alone.push(await ask(value));
    expect(alone[0]).not.toEqual(alone[1]);
    for (let round = 0; round < 4; round++) expect(await Promise.all(values.map(ask))).toEqual(alone);
    expect(await ask(0.1)).toEqual(alone[0]);
  });
});

describe("the threads of the process", () => {
  const budget = 4 * availableParallelism();
  const threadCount = (): number => readdirSync("/proc/self/task").length;

  it.skipIf(process.platform !== "linux")("stay within four per processor, whatever is asked for, and calls that wait can be aborted", async () => {
    const before = threadCount();
    const waiting = new AbortController();
    const stops = Array.from({ length: 39 }, () => new AbortController());
    const running = stops.map(({ signal }) => digits.sweep({ ...endless, threads: 1024, signal }).catch((error: unknown) => error));
    const last = digits.sweep({ ...endless, threads: 1024, signal: waiting.signal });
    await new Promise((resolve) => setTimeout(resolve, 200));
    // One dispatcher belongs to each job's threads; every job of `budget` threads runs alone.
    expect(threadCount() - before).toBeLessThanOrEqual(budget);
    const reason = new Error("no longer wanted");
    waiting.abort(reason);
    await expect(last).rejects.toBe(reason);
    for (const stop of stops) stop.abort(reason);
    expect(new Set(await Promise.all(running))).toEqual(new Set([reason]));
    expect((await digits.sweep({ ...endless, draws: 8, threads: 1024 })).components.length).toBe(8);
  });

  it("are given on when jobs end: a small call runs beside a long one, and what waits is started", async () => {
    const stop = new AbortController();
    const long = digits.sweep({ ...endless, threads: 1, signal: stop.signal }).catch(() => "stopped");
    expect((await digits.sweep({ ...endless, draws: 4, threads: 1 })).components.length).toBe(4);
    const wide = digits.sweep({ ...endless, draws: 4, threads: 1024 });
    const behind = digits.sweep({ ...endless, draws: 4, threads: 1 });
    stop.abort();
    expect(await long).toBe("stopped");
    expect((await wide).components).toEqual((await behind).components);
  });

  const limitable = spawnSync("prlimit", ["--version"]).status === 0;
  it.skipIf(!limitable)("that the system refuses are a typed error, and the process ends by itself", () => {
    // A target without a data set: no thread has run before, so none has left a stack that could be used again.
    const source = String.raw`
      import { readFileSync } from "node:fs";
      import { spawnSync } from "node:child_process";
      import { gaussianMixture, diffuse, ornsteinUhlenbeck } from ${JSON.stringify(import.meta.resolve("../dist/index.js"))};
      const means = { data: Float64Array.of(0, 0, 1, 1), shape: [2, 2] };
      const field = diffuse(gaussianMixture({ means, covariances: { type: "spherical", variances: [1, 1] } }), ornsteinUhlenbeck());
      const kilobytes = Number(/VmSize:\s*(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
      // Less than the stack of a thread is left.
      spawnSync("prlimit", ["--pid", String(process.pid), "--as=" + (kilobytes + 4096) * 1024 + ":"]);
      const refused = await field.posterior({ data: new Float64Array(2), shape: [1, 2] }, { t: 1, threads: 1 }).catch((error) => error);
      spawnSync("prlimit", ["--pid", String(process.pid), "--as=unlimited:"]);
      const after = await field.posterior({ data: new Float64Array(2), shape: [1, 2] }, { t: 1, threads: 1 });
      console.log(refused.code, refused.message, after.logDensity.length);
    `;
    const done = spawnSync(process.execPath, ["--input-type=module", "-e", source], { encoding: "utf8", timeout: 20_000 });
    expect(done.stdout).toMatch(/^E_OUT_OF_MEMORY .*refused a thread.* 1$/m);
    expect([done.status, done.signal]).toEqual([0, null]);
  });
});

describe("the memory that V8 is told of", () => {
  it("holds the rows as long as a target does, and the layouts from the call that builds them on", () => {
    // A process of its own: here, the memory of other tests is let go of meanwhile.
    const source = `
      import { native } from ${JSON.stringify(import.meta.resolve("../dist/native.js"))};
      const external = () => (gc(), native().externalMemory());
      const later = () => new Promise((resolve) => setTimeout(resolve, 20));
      const n = 20_000;
      const d = 100;
      const stored = new Uint8Array(n * d);
      for (let k = 0; k < stored.length; k++) stored[k] = (k * k) % 251;
      const request = { a: 1, b: 1, x: new Float64Array(d), batch: 1, readings: [], top: 0, vectors: null };
      await later();
      const before = external();
      const held = [];
      const note = async () => (await later(), held.push(external() - before));
      const dataset = native().createDataset({ stored, n, d, scale: 1, shift: 0 });
      const target = native().createEmpirical(dataset, null, null, 0);
      await note();
      dataset.dispose();
      await note();
      const plain = await native().posterior(target, { ...request, precision: "float64" }, 1, undefined).promise;
      await note();
      const exact = await native().posterior(target, { ...request, precision: "exact" }, 1, undefined).promise;
      await note();
      target.dispose();
      await note();
      console.log(JSON.stringify({ rows: stored.length, held, layouts: [plain.layoutBytes, exact.layoutBytes], length: request.x.length }));
    `;
    const done = spawnSync(process.execPath, ["--expose-gc", "--input-type=module", "-e", source], { encoding: "utf8", timeout: 20_000 });
    expect(done.stderr).toBe("");
    const { rows, held, layouts } = JSON.parse(done.stdout) as { rows: number; held: number[]; layouts: [number, number] };
    expect(layouts[0]).toBe(0);
    expect(layouts[1]).toBeGreaterThan(12 * 20_000);
    // What else V8 holds outside its heap is some kilobytes of results.
    const wanted = [rows, rows, rows, rows + layouts[1], 0];
    held.forEach((bytes, k) => expect(Math.abs(bytes - wanted[k]!), `after step ${k}`).toBeLessThan(1e5));
  });
});

describe("ending in mid-job", () => {
  const program = (ending: string): string => `
    import { openDataset, empirical, diffuse, ornsteinUhlenbeck } from "diffusion-regimes";
    const field = diffuse(empirical(await openDataset("digits")), ornsteinUhlenbeck());
    const running = field.sweep({ times: ${JSON.stringify(Array.from(endless.times))}, draws: 200000, seed: 1, readings: ["entropy"] });
    ${ending}
  `;

  it("worker.terminate() comes back fast, 50 times, and other work goes on", async () => {
    const source = program(`import { parentPort } from "node:worker_threads"; parentPort.postMessage("running"); await running;`);
    const url = new URL(`data:text/javascript,${encodeURIComponent(source.replace('"diffusion-regimes"', JSON.stringify(import.meta.resolve("../dist/index.js"))))}`);
    const durations: number[] = [];
    for (let cycle = 0; cycle < 50; cycle++) {
      const worker = new Worker(url);
      await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
      const started = performance.now();
      await worker.terminate();
      durations.push(performance.now() - started);
    }
    durations.sort((one, other) => one - other);
    expect(durations[25]).toBeLessThan(100);
    expect((await digits.sweep({ ...endless, draws: 8 })).components.length).toBe(8);
  });

  it("worker.terminate() may also hit a call that is just starting", async () => {
    const library = JSON.stringify(import.meta.resolve("../dist/index.js"));
    const source = `
      import { parentPort } from "node:worker_threads";
      import { openDataset, empirical, diffuse, ornsteinUhlenbeck } from ${library};
      parentPort.postMessage("ready");
      const data = { data: new Float64Array(60), shape: [20, 3] };
      const x = { data: new Float64Array(3), shape: [1, 3] };
      for (;;) {
        const field = diffuse(empirical(await openDataset(data)), ornsteinUhlenbeck());
        await Promise.all(Array.from({ length: 20 }, () => field.posterior(x, { t: 1, readings: ["score", "entropy", "nearest"], threads: 1 })));
      }
    `;
    for (let cycle = 0; cycle < 30; cycle++) {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
      await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
      await new Promise((resolve) => setTimeout(resolve, (cycle * 7) % 40));
      await worker.terminate();
    }
  });

  it.each([
    ["process.exit(7)", `setTimeout(() => process.exit(7), 50);`, 7],
    ["an uncaught error", `running.catch(() => {}); setTimeout(() => { throw new Error("boom"); }, 50);`, 1],
    ["the natural end", `const stop = new AbortController(); setTimeout(() => process.exit(0), 50);`, 0],
  ])("%s keeps its exit code and does not wait", (_, ending, status) => {
    const started = performance.now();
    const done = spawnSync(process.execPath, ["--input-type=module", "-e", program(ending)], {
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      encoding: "utf8",
      timeout: 20_000,
    });
    expect(done.signal).toBe(null);
    expect(done.status).toBe(status);
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

describe("bits", () => {
  const hash = (...arrays: readonly ArrayBufferView[]): string => {
    const digest = createHash("sha256");
    for (const array of arrays) digest.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    return digest.digest("hex");
  };

  it("of curves are the same for 1, 2 and 3 threads", async () => {
    const hashes = [];
    for (const threads of [1, 2, 3]) {
      const { perDraw } = await regimes(digits, { times: { from: 0.05, to: 4, count: 6 }, draws: 200, seed: 1, threads });
      hashes.push(hash(perDraw.entropy.data, perDraw.sumSquares.data, perDraw.classSquares!.data, perDraw.classEntropy!.data));
    }
    expect(new Set(hashes).size).toBe(1);
  });

  it("of posteriors are the same for any threads and any split of the batch", async () => {
    const readings = ["logDensity", "score", "entropy", "sumSquares", "classWeights", "covarianceTrace"] as const;
    const batch = 300;
    const d = digits.d;
    for (const t of [0.02, 0.3, 2]) {
      const x = await digits.sample(t, { count: batch, seed: 9 });
      const whole = await digits.posterior(x, { t, readings, threads: 1 });
      const wanted = hash(whole.logDensity, whole.score.data, whole.entropy, whole.sumSquares, whole.classWeights.data, whole.covarianceTrace);
      for (const [threads, part] of [[2, batch], [3, 37], [2, 1], [1, 128]] as const) {
        const pieces: (typeof whole)[] = [];
        for (let first = 0; first < batch; first += part) {
          const count = Math.min(part, batch - first);
          const slice = { data: x.data.subarray(first * d, (first + count) * d), shape: [count, d] };
          pieces.push(await digits.posterior(slice, { t, readings, threads }));
        }
        const joined = (pick: (p: (typeof pieces)[number]) => Float64Array): Float64Array => Float64Array.from(pieces.flatMap((p) => [...pick(p)]));
        const got = hash(
          joined((p) => p.logDensity),
          joined((p) => p.score.data),
          joined((p) => p.entropy),
          joined((p) => p.sumSquares),
          joined((p) => p.classWeights.data),
          joined((p) => p.covarianceTrace),
        );
        expect(got, `t ${t}, ${threads} threads, parts of ${part}`).toBe(wanted);
      }
    }
  });

  it("of draws do not depend on how many are asked for", async () => {
    const many = await digits.sample(0.7, { count: 50, seed: 4 });
    const few = await digits.sample(0.7, { count: 5, seed: 4, first: 20 });
    expect(few.data).toEqual(many.data.slice(20 * 64, 25 * 64));
    expect(few.components).toEqual(many.components.slice(20, 25));
  });

  it("leaves the JavaScript thread's denormals and rounding alone", async () => {
    await digits.sweep({ ...endless, draws: 16 });
    expect(Number.MIN_VALUE * 3).toBe(1.5e-323);
    expect(0.1 + 0.2).toBe(0.30000000000000004);
  });
});
