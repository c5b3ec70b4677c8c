/**
 * What mapped.test.ts runs in a process of its own: a long call on a mapped file, during which something happens to the file.
 * Arguments: what happens ("cut", "cut-to-nothing", "write", "replace"), the file. Prints what became of the calls as JSON.
 */
import { closeSync, openSync, renameSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { diffuse, empirical, openDataset, ornsteinUhlenbeck } from "../dist/index.js";

const [what, path] = process.argv.slice(2);
const dataset = await openDataset(path, { map: true });
const field = diffuse(empirical(dataset), ornsteinUhlenbeck());
const x = dataset.rows(0, 64);
const outcome = (promise) => promise.then(() => "ok", (error) => error.message);

const whole = statSync(path).size;
const happen = {
  cut: () => truncateSync(path, Math.floor(whole / 3)),
  "cut-to-nothing": () => truncateSync(path, 0),
  write: () => {
    const descriptor = openSync(path, "r+");
    writeSync(descriptor, new Uint8Array([1, 2, 3]), 0, 3, whole - 10);
    closeSync(descriptor);
  },
  replace: () => {
    writeFileSync(`${path}.new`, "other");
    renameSync(`${path}.new`, path);
  },
};
let done = 0;
// Ten seconds of work and more: what happens falls into it.
const endless = Float64Array.from({ length: 40 }, (_, k) => 0.2 + k / 20);
const onProgress = () => {
  if (done++ === 0) happen[what]();
};
const stop = new AbortController();
const short = what === "replace";
const running = outcome(
  field.sweep({
    times: short ? endless.subarray(0, 2) : endless,
    draws: short ? 256 : 1_000_000,
    seed: 1,
    readings: ["entropy"],
    threads: 4,
    onProgress,
    signal: stop.signal,
  }),
);
const during = await running;
const after = await outcome(field.posterior(x, { t: 0.1, readings: ["score"] }));
let rows = "ok";
try {
  dataset.rows(0, 2);
} catch (error) {
  rows = error.message;
}
const spectrum = await outcome(field.target.spectrum({ count: 2 }));
// The process goes on with other data.
const digits = await openDataset("digits");
const other = await outcome(diffuse(empirical(digits), ornsteinUhlenbeck()).posterior(digits.rows(0, 3), { t: 0.5, readings: ["score"] }));
console.log(JSON.stringify({ happened: done > 0, during, after, rows, spectrum, other }));
