/** onnxruntime's Node package on the graph of onnx-model.mjs, in chunks of 256 queries. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { floats, halfSquares, optionalModules, scoreOfDenoised, serve, threads } from "./peer.mjs";

await serve(async ({ folder, n, d }) => {
  const require = createRequire(optionalModules);
  const ort = require("onnxruntime-node");
  const session = await ort.InferenceSession.create(join(folder, "model.onnx"), { intraOpNumThreads: threads, interOpNumThreads: 1 });
  const halves = halfSquares(floats(folder, "rows.f32"), n, d);
  let level;
  let bias;
  const evaluate = async (x, count) => {
    const scale = level.a / level.b ** 2;
    const result = new Float32Array(count * d);
    for (let first = 0; first < count; first += 256) {
      const last = Math.min(first + 256, count);
      const queries = x.slice(first * d, last * d).map((value) => value * scale);
      const { denoised } = await session.run({ x: new ort.Tensor("float32", queries, [last - first, d]), bias });
      result.set(denoised.data, first * d);
    }
    return result;
  };
  return {
    version: `onnxruntime-node ${ort.env?.versions?.common ?? ""}`,
    prepare: (next) => {
      level = next;
      bias = new ort.Tensor("float32", halves.map((half) => -half * ((next.a / next.b) ** 2)), [n]);
    },
    evaluate,
    score: async (x, count) => scoreOfDenoised(await evaluate(x, count), x, level),
  };
});
