/** After the run, says how many tests were not run and why: the note of `context.skip(note)`, or that of the environment. */
import type { Reporter, TestModule } from "vitest/node";
import { fashion } from "./fashion.js";

function reasonOf(note: string | undefined): string {
  if (note !== undefined && note !== "") return note;
  return fashion !== null ? "no reason given" : "Fashion-MNIST is not installed: apt-get install -y dataset-fashion-mnist";
}

export default class SkippedReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const counts = new Map<string, number>();
    for (const module of modules) {
      for (const test of module.children.allTests("skipped")) {
        const result = test.result();
        const reason = reasonOf(result.state === "skipped" ? result.note : undefined);
        counts.set(reason, (counts.get(reason) ?? 0) + 1);
      }
    }
    for (const [reason, count] of counts) console.log(` ${count} ${count === 1 ? "test was" : "tests were"} not run: ${reason}`);
  }
}
