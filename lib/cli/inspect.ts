/** `inspect`: what a data file holds, before deciding how to scale it. */
import { runJob, type NativeStatistics } from "../native.js";
import { count, significant } from "../report/numbers.js";
import { envelope } from "./envelope.js";
import { isMixture, openData, openTarget, type DataFlags } from "./source.js";
import { plain, table, type Terminal } from "./terminal.js";

export async function inspect(path: string, flags: DataFlags, terminal: Terminal, signal: AbortSignal): Promise<void> {
  if (isMixture(path)) return inspectMixture(path, flags, terminal, signal);
  using dataset = await openData(path, flags, { signal, onProgress: terminal.stage("reading") });
  const statistics: NativeStatistics = await runJob({ signal }, (addon, threads, progress) =>
    addon.datasetStatistics(dataset.handle, threads, progress),
  );
  const { name, n, d, dtype, imageShape, mapped, labels, classValues, distinctRows, fingerprint, warnings } = dataset;
  const classCounts = classValues === null ? null : Array.from(classValues, () => 0);
  for (const label of labels ?? []) classCounts![label]! += 1;
  const { mean, variance, minimum, maximum } = statistics;
  const result = {
    name,
    n,
    d,
    dtype,
    imageShape,
    mapped,
    distinctRows,
    fingerprint,
    classes: classValues === null ? null : Array.from(classValues, (value, c) => ({ value, rows: classCounts![c]! })),
    stored: { minimum, maximum, mean, standardDeviation: Math.sqrt(variance) },
  };
  terminal.result(envelope("inspect", { config: { file: path }, result, warnings }), () => {
    const number = (value: number): string => plain(significant(value, 5));
    return table([
      ["name", name],
      ["rows x dimensions", `${plain(count(n))} x ${plain(count(d))}${imageShape === null ? "" : `, images of ${imageShape.join(" x ")}`}`],
      ["stored as", mapped ? `${dtype}, mapped: read where it lies in the file` : dtype],
      ["stored values", `${minimum} to ${maximum}, mean ${number(mean)}, standard deviation ${number(Math.sqrt(variance))}`],
      ["distinct rows", plain(count(distinctRows))],
      ["classes", result.classes === null ? "no labels" : result.classes.map(({ value, rows }) => `${value} (${rows})`).join(", ")],
      ["fingerprint", fingerprint],
    ]);
  });
  terminal.warnings(warnings);
}

async function inspectMixture(path: string, flags: DataFlags, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const { n, d, mixture, classFractions, fingerprint } = await openTarget(path, flags, { signal });
  const covariances = mixture!.covariances.type;
  const result = { components: n, d, covariances, weights: Array.from(classFractions!), fingerprint };
  terminal.result(envelope("inspect", { config: { file: path }, result }), () =>
    table([
      ["Gaussian mixture", `${plain(count(n))} components in ${plain(count(d))} dimensions`],
      ["covariances", covariances],
      ["weights", result.weights.slice(0, 12).map((weight) => plain(significant(weight, 4))).join(", ") + (n > 12 ? ", ..." : "")],
      ["fingerprint", fingerprint],
    ]),
  );
}
