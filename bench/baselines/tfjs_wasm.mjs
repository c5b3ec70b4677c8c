/** TensorFlow.js on its WebAssembly backend (SIMD, threads): matMul, softmax, matMul, in chunks of 256 queries. */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { floats, halfSquares, optionalModules, scoreOfDenoised, serve, threads } from "./peer.mjs";

await serve(async ({ folder, n, d }) => {
  const require = createRequire(optionalModules);
  const tf = require("@tensorflow/tfjs-core");
  const wasm = require("@tensorflow/tfjs-backend-wasm");
  wasm.setWasmPaths(join(dirname(require.resolve("@tensorflow/tfjs-backend-wasm")), "/"));
  wasm.setThreadsCount(threads);
  await tf.setBackend("wasm");
  await tf.ready();
  const rows = floats(folder, "rows.f32");
  const data = tf.tensor2d(rows, [n, d]);
  const halves = tf.tensor1d(halfSquares(rows, n, d));
  let level;
  let bias;
  const evaluate = (x, count) => {
    const { a, b } = level;
    const result = new Float32Array(count * d);
    for (let first = 0; first < count; first += 256) {
      const last = Math.min(first + 256, count);
      const means = tf.tidy(() => {
        const queries = tf.mul(tf.tensor2d(x.slice(first * d, last * d), [last - first, d]), a / (b * b));
        return tf.matMul(tf.softmax(tf.add(tf.matMul(queries, data, false, true), bias)), data);
      });
      result.set(means.dataSync(), first * d);
      means.dispose();
    }
    return result;
  };
  return {
    version: `tfjs ${tf.version_core}`,
    prepare: (next) => {
      level = next;
      bias?.dispose();
      bias = tf.tidy(() => tf.mul(halves, -((next.a / next.b) ** 2)));
    },
    evaluate,
    score: (x, count) => scoreOfDenoised(evaluate(x, count), x, level),
  };
});
