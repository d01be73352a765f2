// What the page says about a photo on its way and about a result.

const BACKENDS = { openvino: "OpenVINO", onnxruntime: "ONNX Runtime", torch: "PyTorch" };

const percent = (share) => (share === null ? "" : ` ${Math.round(share * 100)} %`);
const seconds = (since) => {
  const whole = Math.floor((performance.now() - since) / 1000);
  return whole > 0 ? `, ${whole} s` : "";
};

// One line for the stage: what happens to `photo` now; `ahead` photos come first.
export function stageWords(photo, ahead, comparing) {
  const by = comparing ? ` with ${photo.target === "staging" ? "Staging" : "Production"}` : "";
  switch (photo.state) {
    case "waiting": return ahead ? `Waiting for ${ahead} other photo${ahead === 1 ? "" : "s"}` : "Waiting";
    case "sending": return `Sending${percent(photo.share)}`;
    case "working": return `Upscaling${by}${seconds(photo.since)}`;
    case "receiving": return `Receiving${percent(photo.share)}`;
    case "pausing": return `${photo.why} Next try in ${Math.max(1, Math.ceil((photo.wait - performance.now()) / 1000))} s`;
    default: return "";
  }
}

// One word or two for the photo's place in the queue.
export function queueWords(photo) {
  const words = { waiting: "Waiting", sending: "Sending", working: "Upscaling", receiving: "Receiving", pausing: "Pausing", failed: "Failed" };
  return words[photo.state] ?? "Done";
}

// Sizes of before and after, "64 × 48" each; empty when the report does not tell.
export function sizes({ width, height, out_width: outWidth, out_height: outHeight }) {
  return { from: width ? `${width} × ${height}` : "", to: outWidth ? `${outWidth} × ${outHeight}` : "" };
}

// "64 × 48 to 256 × 192 in 0.24 s by OpenVINO in fp32": what is known of how a result was made.
export function facts(result) {
  const { backend, precision, seconds: phases } = result.meta;
  const { from, to } = sizes(result.meta);
  const total = phases && (phases.total ?? Object.values(phases).reduce((sum, part) => sum + part, 0));
  return [from && to && `${from} to ${to}`, total && `in ${total.toFixed(2)} s`, backend && `by ${BACKENDS[backend] ?? backend}`, precision && `in ${precision}`].filter(Boolean).join(" ");
}

// How long the model server spent on what: "Decode 4 ms, infer 210 ms".
export function phases(result) {
  const entries = Object.entries(result.meta.seconds ?? {}).filter(([name]) => name !== "total");
  const text = entries.map(([name, time]) => `${name} ${time < 1 ? `${Math.round(time * 1000)} ms` : `${time.toFixed(2)} s`}`).join(", ");
  return text && text[0].toUpperCase() + text.slice(1);
}
