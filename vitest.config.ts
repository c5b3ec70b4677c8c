import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    // A native crash then takes one process with it, and says in which file.
    pool: "forks",
    testTimeout: 60_000,
    reporters: ["default", "./tests/skipped-reporter.ts"],
  },
});
