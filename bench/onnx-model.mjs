/**
 * The posterior mean as an ONNX graph, for onnxruntime in Python and Node: Gemm(x, Y^T) + bias -> Softmax -> MatMul(Y). Y stays in
 * rows.f32 beside the model (external data), a constant that the runtime may pack. The wire format is Protocol Buffers: fields are
 * (number << 3 | type), type 0 a varint, type 2 a length and bytes; numbers are those of onnx.proto (IR version 8, opset 17).
 */
import { writeFileSync } from "node:fs";

function varint(value) {
  const bytes = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}

const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field, content) => Buffer.concat([varint(field * 8 + 2), varint(content.length), content]);
const text = (field, value) => bytes(field, Buffer.from(value));
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));

const FLOAT = 1;
const INTEGER_ATTRIBUTE = 2;
const EXTERNAL = 1;

const attribute = (name, value) => message(5, text(1, name), number(3, value), number(20, INTEGER_ATTRIBUTE));
const node = (type, inputs, output, ...attributes) =>
  message(1, ...inputs.map((input) => text(1, input)), text(2, output), text(4, type), ...attributes);
const extent = (size) => message(1, typeof size === "string" ? text(2, size) : number(1, size));
const tensor = (field, name, ...shape) => message(field, text(1, name), message(2, message(1, number(1, FLOAT), message(2, ...shape.map(extent)))));

/** Inputs "x" [rows, d], already times a/b^2, and "bias" [n]; output "denoised" [rows, d]. */
export function writeOnnxModel(path, n, d) {
  const rows = message(5, number(1, n), number(1, d), number(2, FLOAT), text(8, "Y"), message(13, text(1, "location"), text(2, "rows.f32")), number(14, EXTERNAL));
  const graph = message(
    7,
    node("Gemm", ["x", "Y", "bias"], "logits", attribute("transB", 1)),
    node("Softmax", ["logits"], "weights", attribute("axis", 1)),
    node("MatMul", ["weights", "Y"], "denoised"),
    text(2, "posterior"),
    rows,
    tensor(11, "x", "rows", d),
    tensor(11, "bias", n),
    tensor(12, "denoised", "rows", d),
  );
  writeFileSync(path, Buffer.concat([number(1, 8), message(8, text(1, ""), number(2, 17)), graph]));
}
