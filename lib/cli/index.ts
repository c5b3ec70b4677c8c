#!/usr/bin/env node
/**
 * The program `diffusion-regimes`: argv -> calls of the public API -> text, JSON, files. Each verb lives in a module of its own,
 * loaded when it runs; the native addon is loaded by the first computation.
 */
import { Command, CommanderError, Option } from "commander";
import { version } from "./envelope.js";
import { describe, exitCodeOf, exitCodes } from "./failure.js";
import { finite, nameList, times, wholeNumber, withCommonFlags, withComputeFlags, withDataFlags, withDrawFlags, withSeed } from "./flags.js";
import { samplerNames, scheduleNames } from "../index.js";
import { Terminal } from "./terminal.js";

const stop = new AbortController();
let stopCode: number | undefined;

/** The first signal stops the computation and leaves within a second, the second one leaves at once. */
function stopOn(signal: "SIGINT" | "SIGTERM", code: number): void {
  process.on(signal, () => {
    if (stopCode !== undefined) process.exit(code);
    stopCode = code;
    stop.abort(new Error(`stopped by ${signal}`));
    setTimeout(() => process.exit(code), 1000).unref();
  });
}

const program: Command = new Command("diffusion-regimes")
  .description("When does a generative diffusion choose its class, and when does it fall onto a memorised datum?")
  .version(version)
  .addHelpText("before", examples("diffusion-regimes demo", "diffusion-regimes analyze images.npy --labels labels.npy --scale unit"))
  .exitOverride()
  .showSuggestionAfterError();

/** Every verb's help begins with two commands that run. */
function examples(first: string, second: string): string {
  return `Examples:\n  ${first}\n  ${second}\n`;
}

function verb(usage: string, description: string, first: string, second: string): Command {
  return withCommonFlags(program.command(usage).description(description).addHelpText("before", examples(first, second)));
}

function withAnalysisFlags(command: Command): Command {
  return withComputeFlags(command)
    .option("--process <name>", "forward process", "ornstein-uhlenbeck")
    .option("--times <list>", "0.4,0.8 or from:to:count, on the clock of the process (default: chosen from the data)", times)
    .option("--threshold <fraction>", "of alpha at which the excess entropy counts as collapsed", finite)
    .option("--draws <N>", "forward draws, the same at every time (default: 1000)", wholeNumber(2))
    .option("--out <DIR>", "folder for report.html, result.json and curves.csv");
}

withAnalysisFlags(
  withSeed(
    verb(
      "demo",
      "analyse the embedded digits: both transitions, with a report",
      "diffusion-regimes demo",
      "diffusion-regimes demo --draws 4000 --out my-demo",
    ),
  ),
).action(async (flags) => {
  const { demoVerb } = await import("./analyze.js");
  await demoVerb(flags, new Terminal(flags), stop.signal);
});

withAnalysisFlags(
  withDrawFlags(
    withDataFlags(
      verb(
        "analyze <DATA>",
        "speciation and collapse of a data set, with error bars, theory and a report",
        "diffusion-regimes analyze digits --scale standardize",
        "diffusion-regimes analyze train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz --scale unit --json",
      ),
    ),
  ),
).action(async (data: string, flags) => {
  const { analyzeVerb } = await import("./analyze.js");
  await analyzeVerb("analyze", data, flags, new Terminal(flags), stop.signal);
});

withDrawFlags(
  withComputeFlags(
    withDataFlags(
      verb(
        "posterior <DATA>",
        "exact log density, score and posterior weights at given points",
        "diffusion-regimes posterior data.npy --queries points.npy --time 0.5 --json",
        "diffusion-regimes posterior mixture.json --queries points.csv --time 0.1",
      ),
    ),
  ),
)
  .requiredOption("--queries <FILE>", "points x of the noised space, one row each, taken as they are stored")
  .requiredOption("--time <t>", "on the clock of the process", finite)
  .option("--process <name>", "forward process", "ornstein-uhlenbeck")
  .action(async (data: string, flags) => {
    const { posterior } = await import("./posterior.js");
    await posterior(data, flags, new Terminal(flags), stop.signal);
  });

withDrawFlags(
  withComputeFlags(
    withDataFlags(
      verb(
        "sample <DATA>",
        "generate by the reverse process with the exact score: samples, trajectories and a page",
        "diffusion-regimes sample digits --scale standardize --count 64",
        "diffusion-regimes sample data.npy --sampler ddim --steps 50 --from 3 --to 0.001 --out samples",
      ),
    ),
  ),
)
  .addOption(new Option("--sampler <name>", "how to step").choices([...samplerNames, "adaptive"]).default("ddpm"))
  .option("--steps <K>", "number of steps; of adaptive, the times that it stops at", wholeNumber(1), 200)
  .addOption(new Option("--schedule <name>", "how the steps lie between the ends").choices(scheduleNames).default("log-snr"))
  .addOption(new Option("--start <law>", "of the first states: N(0, I), the exact law, or its Gaussian").choices(["standard", "marginal", "gaussian"]).default("standard"))
  .option("--count <N>", "trajectories", wholeNumber(1), 64)
  .option("--from <t>", "first time, on the clock of the process (default: OU time 5)", finite)
  .option("--to <t>", "last time (default: OU time 0.001)", finite)
  .option("--eta <eta>", "of ddim: 0 deterministic, 1 ancestral", finite)
  .option("--tolerance <error>", "of adaptive, per step: absolute and relative (default: 1e-6)", finite)
  .addOption(new Option("--reduce <way>", "mixtures of one variance: in the span of their means, or all dimensions").choices(["auto", "none"]).default("auto"))
  .option("--process <name>", "forward process", "ornstein-uhlenbeck")
  .option("--out <DIR>", "folder for samples.npy, trajectories.csv, result.json and report.html")
  .action(async (data: string, flags) => {
    const { sampleVerb } = await import("./sample.js");
    await sampleVerb(data, flags, new Terminal(flags), stop.signal);
  });

withDrawFlags(
  withComputeFlags(
    withDataFlags(
      verb(
        "clones <DATA>",
        "split reverse trajectories in two: do both halves end in one class, on one datum?",
        "diffusion-regimes clones digits --scale standardize --times 0.2,0.5,0.8,1.2",
        "diffusion-regimes clones mixture.json --times 1:4:9 --pairs 10000",
      ),
    ),
  ),
)
  .requiredOption("--times <list>", "of splitting, 0.4,0.8 or from:to:count, on the clock of the process", times)
  .option("--pairs <N>", "pairs of clones at each time", wholeNumber(2), 1000)
  .option("--steps <K>", "of a whole trajectory", wholeNumber(1), 200)
  .addOption(new Option("--sampler <name>", "how to step").choices(samplerNames).default("ddpm"))
  .option("--draws <N>", "forward draws behind the exact curves", wholeNumber(2), 1000)
  .option("--process <name>", "forward process", "ornstein-uhlenbeck")
  .option("--out <DIR>", "folder for clones.csv, result.json and report.html")
  .action(async (data: string, flags) => {
    const { clonesVerb } = await import("./clones.js");
    await clonesVerb(data, flags, new Terminal(flags), stop.signal);
  });

withDrawFlags(
  withDataFlags(
    verb(
      "late-start <DATA>",
      "quality of few-step samples against the time that generation starts from",
      "diffusion-regimes late-start digits --scale standardize --steps 5",
      "diffusion-regimes late-start data.npy --steps 10 --samplers ddpm,ddim,pndm --samples 2000",
    ),
  ),
)
  .option("--samplers <list>", "compared, such as ddpm,ddim", nameList(samplerNames), ["ddpm", "ddim"])
  .option("--steps <K>", "denoising steps of every run", wholeNumber(1), 10)
  .option("--starts <N>", "start times", wholeNumber(2), 12)
  .option("--start-laws <list>", "compared: standard, gaussian", nameList(["standard", "gaussian"]), ["standard", "gaussian"])
  .option("--samples <N>", "per start time", wholeNumber(8), 1000)
  .addOption(new Option("--measure <name>", "of quality").choices(["frechet-pixel", "frechet-pca", "sliced-wasserstein"]))
  .option("--rank <R>", "principal directions of frechet-pca", wholeNumber(1))
  .option("--threads <K>", "native threads, all processors by default; results do not depend on it", wholeNumber(1))
  .option("--process <name>", "forward process", "ornstein-uhlenbeck")
  .option("--out <DIR>", "folder for late-start.csv, result.json and report.html")
  .action(async (data: string, flags) => {
    const { lateStartVerb } = await import("./late-start.js");
    await lateStartVerb(data, flags, new Terminal(flags), stop.signal);
  });

verb(
  "theory",
  "closed forms for two Gaussian classes at +-m, |m|^2 = d * separation^2, equal variance",
  "diffusion-regimes theory --n 20000 --d 1024",
  "diffusion-regimes theory --n 20000 --d 256 --separation 0.5 --variance 0.25 --json",
)
  .requiredOption("--n <N>", "number of data", wholeNumber(2))
  .requiredOption("--d <d>", "dimension", wholeNumber(1))
  .option("--separation <s>", "|m| / sqrt(d)", finite, 1)
  .option("--variance <v>", "of each class in each direction", finite, 1)
  .action(async (flags) => {
    const { theory } = await import("./theory.js");
    theory(flags, new Terminal(flags));
  });

withDataFlags(
  verb(
    "inspect <FILE>",
    "what a data file holds: shape, stored values, classes, duplicates",
    "diffusion-regimes inspect digits",
    "diffusion-regimes inspect train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz --json",
  ),
).action(async (file: string, flags) => {
  const { inspect } = await import("./inspect.js");
  await inspect(file, flags, new Terminal(flags), stop.signal);
});

verb(
  "doctor",
  "what this machine offers and what is missing",
  "diffusion-regimes doctor",
  "diffusion-regimes doctor --json",
).action(async (flags) => {
  const { doctor } = await import("./doctor.js");
  process.exitCode = doctor(new Terminal(flags));
});

program
  .command("build")
  .description("compile the native addon (needs g++ >= 11, make and CMake >= 3.22)")
  .addHelpText("before", examples("diffusion-regimes build", "CXX=clang++ diffusion-regimes build"))
  .action(async () => {
    const { build } = await import("./build.js");
    process.exitCode = await build(stop.signal);
  });

async function main(): Promise<void> {
  stopOn("SIGINT", exitCodes.interrupt);
  stopOn("SIGTERM", exitCodes.terminate);
  // The reader of a pipe may leave early, as `head` does: that is no error.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      process.exit(error.code === "EPIPE" ? exitCodes.ok : exitCodes.io);
    });
  }
  try {
    await program.parseAsync();
  } catch (error) {
    if (stopCode !== undefined) {
      process.stderr.write(`${(stop.signal.reason as Error).message}: nothing was written\n`);
      process.exitCode = stopCode;
      return;
    }
    // Commander has already printed its message, with its suggestion.
    if (!(error instanceof CommanderError)) new Terminal({}).error(describe(error, process.argv.includes("--verbose")));
    process.exitCode = exitCodeOf(error);
  }
}

await main();
