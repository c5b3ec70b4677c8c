/** How measurements become a table: medians, the ratio to the best peer of equal precision, shares of ceilings, aligned text. */

export function median(values) {
  const sorted = [...values].sort((left, right) => left - right);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Time of the fastest float32 peer among those kept to the same instruction set; bf16 and truncated answers are of another class and
 * never count. @param rows {precision, held, [time]}. @param time "ms" or "cpuMs". @returns null when there is none.
 */
export function bestPeer(rows, held, time) {
  const times = rows.filter((row) => row.precision === "float32" && row.held === held).map((row) => row[time]);
  return times.length === 0 ? null : Math.min(...times);
}

/**
 * Least times in ms that the ceilings leave: `float32` for the products in float32 and one read of float32 data, `int8` for one digit
 * product of bytes and one read of them.
 */
export function floors({ batch, n, d, flop, floatBytes }, ceilings) {
  if (!ceilings?.float32) return { float32: null, int8: null };
  return {
    float32: 1e-6 * Math.max(flop / ceilings.float32, floatBytes / ceilings.read),
    int8: 1e-6 * Math.max((2 * batch * n * d) / ceilings.int8, (n * d) / ceilings.read),
  };
}

/** 1234, 123, 12.3, 1.23: three digits. */
export function threeDigits(value) {
  if (value === null || value === undefined) return "-";
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value >= 0.1 ? 2 : 3);
}

const percent = (share) => (share === null ? "-" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`);
const exponent = (value) => (value === null || value === undefined ? "-" : value === 0 ? "0" : value.toExponential(1));

/**
 * Lines of an aligned table, the first column to the left, the others to the right. A row is an array of cells, or a string: a heading
 * across the whole width.
 */
export function printTable(heads, rows) {
  const cells = rows.filter(Array.isArray);
  const widths = heads.map((head, column) => Math.max(head.length, ...cells.map((row) => row[column].length)));
  const line = (row) => row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join("  ").trimEnd();
  return [line(heads), ...rows.map((row) => (Array.isArray(row) ? line(row) : row))].join("\n");
}

export const comparisonHeads = ["contender", "class", "ms", "min", "CPU ms", "x wall", "x CPU", "% f32", "% int8", "peak MB", "typical err", "tie err"];

const order = { certified: 0, float32: 1, bf16: 2, truncated: 3 };

/**
 * The rows of one block: ours, then float32 peers by speed, then the other classes, then those kept to an instruction set.
 * @param results {name, precision, held, ms, least, cpuMs, scaledFrom, peakMb, errors: {typical, tie}} of contenders that ran.
 */
export function comparisonRows(results, workload, ceilings) {
  const floor = floors(workload, ceilings);
  const sets = [...new Set(results.map((row) => row.held))].sort((left, right) => (left ?? "").localeCompare(right ?? ""));
  return sets.flatMap((held) =>
    results
      .filter((row) => row.held === held)
      .sort((left, right) => order[left.precision] - order[right.precision] || left.ms - right.ms)
      .map((row) => {
        const comparable = row.precision === "certified" || row.precision === "float32";
        const ratio = (time) => {
          const best = bestPeer(results, held, time);
          return best === null || !comparable ? "-" : threeDigits(best / row[time]);
        };
        const mark = row.scaledFrom === null ? "" : "~";
        return [
          row.name,
          row.precision,
          mark + threeDigits(row.ms),
          threeDigits(row.least),
          threeDigits(row.cpuMs),
          ratio("ms"),
          ratio("cpuMs"),
          percent(floor.float32 === null ? null : floor.float32 / row.ms),
          percent(floor.int8 === null || row.precision !== "certified" || workload.stored !== "uint8" ? null : floor.int8 / row.ms),
          threeDigits(row.peakMb),
          exponent(row.errors?.typical),
          exponent(row.errors?.tie),
        ];
      }),
  );
}

/** Lines that name who did not take part and why; empty when everybody did. */
export function missingLines(missing) {
  return [...missing].map(([name, reason]) => `missing: ${name} (${reason})`);
}

/** max over rows of |score - reference| / |reference|. */
export function worstRelativeError(scores, reference, d) {
  let worst = 0;
  for (let q = 0; q * d < reference.length; q++) {
    let [error, norm] = [0, 0];
    for (let k = q * d; k < (q + 1) * d; k++) {
      error += (scores[k] - reference[k]) ** 2;
      norm += reference[k] ** 2;
    }
    const relative = Math.sqrt(error / norm);
    // A NaN is the worst error there is.
    worst = relative >= worst ? relative : Number.isNaN(relative) ? Infinity : worst;
  }
  return worst;
}
