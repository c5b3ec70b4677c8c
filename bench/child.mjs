/**
 * A contender as a long-lived child process. It reads one JSON request per line and answers each with one JSON line: load, prepare
 * (a noise level), run (answers with time and processor time), score (writes scores to a file), memory. What it prints otherwise goes
 * to stderr and is shown only when it fails.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** A contender that cannot take part here, with the reason. */
export class Missing extends Error {}

export class Child {
  #process;
  #answers = [];
  #waiting = null;
  #errors = "";

  /** @param settings {python, modules}: the Python executable, and the folder whose node_modules hold the optional Node peers. */
  constructor(contender, threads, { python, modules }) {
    this.contender = contender;
    const executable = contender.language === "python" ? python : process.execPath;
    const count = String(threads);
    const env = {
      ...process.env,
      OMP_NUM_THREADS: count, OPENBLAS_NUM_THREADS: count, MKL_NUM_THREADS: count, NUMEXPR_NUM_THREADS: count,
      JAX_PLATFORMS: "cpu",
      BENCH_THREADS: count, BENCH_MODULES: modules,
      ...contender.env,
    };
    this.#process = spawn(executable, contender.command, { env, stdio: ["pipe", "pipe", "pipe"] });
    this.#process.stderr.on("data", (chunk) => {
      this.#errors = (this.#errors + chunk).slice(-4000);
    });
    this.#process.stdin.on("error", () => {});
    createInterface({ input: this.#process.stdout }).on("line", (line) => this.#deliver(JSON.parse(line)));
    this.#process.on("error", (error) => this.#deliver({ missing: `${executable}: ${error.message}` }));
    this.#process.on("close", (code, signal) => {
      const lines = this.#errors.trim().split("\n");
      this.#deliver({ failed: `ended (${signal ?? `exit code ${code}`}): ${lines.findLast((line) => line.includes("Error")) ?? lines.at(-1)}` });
    });
  }

  #deliver(answer) {
    if (this.#waiting === null) this.#answers.push(answer);
    else {
      const resolve = this.#waiting;
      this.#waiting = null;
      resolve(answer);
    }
  }

  /** @throws Missing when the contender is not installed; Error when it failed. */
  async ask(request) {
    const answered =
      this.#answers.length > 0
        ? Promise.resolve(this.#answers.shift())
        : new Promise((resolve) => {
            this.#waiting = resolve;
          });
    this.#process.stdin.write(`${JSON.stringify(request)}\n`);
    const answer = await answered;
    if (answer.missing !== undefined) throw new Missing(answer.missing);
    if (answer.failed !== undefined) throw new Error(`${this.contender.name}: ${answer.failed}`);
    return answer;
  }

  close() {
    this.#process.stdin.end();
    this.#process.kill();
  }
}
