/** Options of `npm run bench`. */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";

export const usage = `npm run bench -- [tables] [options]

Tables (default: --compare --api)
  --compare        ours against the peers on shapes A to F, or T: heavy tails
  --small          d = 2 and 4, 4096 queries, 100 000 data
  --mixtures       mixtures against torch
  --sweep          all times at once against one time after the other
  --samplers       reverse trajectories against a torch loop
  --mapped         rows in memory against rows mapped from a file
  --growth         time per query and datum against n and d
  --api            calls per second of the JavaScript API on tiny problems (benny)

Options
  --shapes A,C                  of A B C D E F T
  --noise condensed,0.5         condensed, middle, diffuse, or b in (0, 1)
  --threads 1,2
  --repetitions 5
  --longest 3                   seconds; a contender slower than twice that runs on part of the batch and is scaled (marked ~)
  --only ours,torch-sdpa        contenders
  --targets mixture,images      of --samplers
  --no-held                     without the rows kept to an instruction set
  --python python3              the Python that has the peers; PYTHONPATH is honoured
  --peers FOLDER                whose node_modules hold the optional Node peers, default this repository
  --json FILE                   everything measured
  --quick                       shapes A and D, condensed and diffuse, 1 thread, few peers, no API: under 2 minutes
`;

const tables = ["compare", "small", "mixtures", "sweep", "samplers", "mapped", "growth", "api"];
const quickPeers = ["ours", "torch-sdpa", "torch-matmul", "numpy", "onnxruntime", "typed-arrays", "torch"];
const flag = { type: "boolean", default: false };
const text = { type: "string" };

/** @throws Error that says what was expected. */
export function parseOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      ...Object.fromEntries(tables.map((table) => [table, flag])),
      shapes: text, noise: text, threads: text, repetitions: text, longest: text, only: text, targets: text, python: text, peers: text, json: text,
      "no-held": flag, quick: flag, help: flag,
    },
  });
  const { quick } = values;
  const list = (value, fallback) => (value === undefined ? fallback : value.split(",").filter((word) => word !== ""));
  const positive = (name, value, fallback) => {
    const number = value === undefined ? fallback : Number(value);
    if (!(number > 0)) throw new Error(`--${name} ${value}: need a positive number`);
    return number;
  };
  const chosen = tables.filter((table) => values[table]);
  const counts = availableParallelism() > 1 && !quick ? ["1", "2"] : ["1"];
  return {
    help: values.help,
    quick,
    tables: chosen.length > 0 ? chosen : quick ? ["compare"] : ["compare", "api"],
    shapes: list(values.shapes, quick ? ["A", "D"] : ["A", "B", "C", "D", "E", "F"]),
    noise: list(values.noise, quick ? ["condensed", "diffuse"] : ["condensed", "middle", "diffuse"]),
    threads: list(values.threads, counts).map((word) => positive("threads", word)),
    repetitions: positive("repetitions", values.repetitions, 5),
    longest: 1000 * positive("longest", values.longest, quick ? 0.6 : 3),
    only: list(values.only, quick ? quickPeers : null),
    targets: list(values.targets, ["mixture", "images"]),
    held: !values["no-held"] && !quick,
    python: values.python ?? "python3",
    modules: values.peers ?? null,
    json: values.json ?? null,
  };
}
