/**
 * Who takes part. Precision classes: "certified" is ours; "float32" are the peers that ratios refer to; "bf16" and "truncated" are
 * shown apart, their scores being of another class. `held` names the instruction set a contender is kept to.
 */
import { fileURLToPath } from "node:url";

const script = (name) => fileURLToPath(new URL(`baselines/${name}`, import.meta.url));
const python = (name, ...args) => ({ language: "python", command: [script(name), ...args] });
const node = (name, ...args) => ({ language: "node", command: [script(name), ...args] });

/** torch, MKL and oneDNN kept to AVX2, or to AVX-512 without its later extensions. */
const torchHeld = {
  avx2: { ATEN_CPU_CAPABILITY: "avx2", MKL_ENABLE_INSTRUCTIONS: "AVX2", ONEDNN_MAX_CPU_ISA: "AVX2" },
  avx512: { ATEN_CPU_CAPABILITY: "avx512", MKL_ENABLE_INSTRUCTIONS: "AVX512", ONEDNN_MAX_CPU_ISA: "AVX512_CORE" },
};

export const ours = { name: "ours", precision: "certified", held: null, env: {}, ...node("ours.mjs") };

export const peers = [
  { name: "torch-sdpa", precision: "float32", ...python("torch_posterior.py", "sdpa") },
  { name: "torch-matmul", precision: "float32", ...python("torch_posterior.py", "matmul") },
  { name: "numpy", precision: "float32", ...python("numpy_posterior.py") },
  { name: "jax", precision: "float32", ...python("jax_posterior.py") },
  { name: "onnxruntime", precision: "float32", ...python("onnxruntime_posterior.py") },
  { name: "onnxruntime-node", precision: "float32", ...node("onnxruntime_node.mjs") },
  { name: "tfjs-wasm", precision: "float32", ...node("tfjs_wasm.mjs") },
  { name: "typed-arrays", precision: "float32", ...node("typed_arrays.mjs") },
  { name: "torch-sdpa-bf16", precision: "bf16", ...python("torch_posterior.py", "sdpa-bf16") },
  { name: "faiss-top100", precision: "truncated", ...python("faiss_top100.py") },
].map((peer) => ({ held: null, env: {}, ...peer }));

/** Ours on every backend that `available` names, and torch's attention, each kept to an instruction set. */
export function heldContenders(available) {
  const sets = ["avx2", "avx512"].filter((set) => available.includes(`cpu-${set}`));
  return sets.flatMap((set) => [
    { ...ours, name: `ours@${set}`, held: set, env: { DIFFUSION_REGIMES_BACKEND: `cpu-${set}` } },
    { ...peers[0], name: `torch-sdpa@${set}`, held: set, env: torchHeld[set] },
  ]);
}

export const torchTrajectories = { name: "torch loop", precision: "float32", held: null, env: {}, ...python("torch_trajectories.py") };
export const torchMixtures = { name: "torch", precision: "float32", held: null, env: {}, ...python("torch_mixtures.py") };
