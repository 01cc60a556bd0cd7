// Classify an image with an ONNX file, in Node.js.
//
//     npm install && node classify_onnx.mjs ../../demo/digits.onnx ../../demo/digit.png

import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { PNG } from "pngjs";

const [path, picture] = process.argv.slice(2);
const session = await InferenceSession.create(path);
const { width, height, data } = PNG.sync.read(readFileSync(picture)); // RGBA, 0..255
const pixels = new Float32Array(width * height * 3);
for (let i = 0; i < width * height; i++) {
  for (let channel = 0; channel < 3; channel++) {
    pixels[3 * i + channel] = data[4 * i + channel];
  }
}
const images = new Tensor("float32", pixels, [1, height, width, 3]);
const outputs = await session.run({ [session.inputNames[0]]: images });
const scores = Array.from(outputs[session.outputNames[0]].data);
const best = scores.indexOf(Math.max(...scores));
console.log(`${best} with ${scores[best].toFixed(6)}`);
