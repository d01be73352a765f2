// Sends one photo and returns the result: bytes, and who made it. XMLHttpRequest, because fetch reports no upload progress.

export class Refused extends Error {
  // `parts` is the demo's error document: code, message, hint, command, detail; `retryAfter` is in seconds, or null.
  constructor(parts, retryAfter = null) {
    super(parts.message);
    this.parts = parts;
    this.retryAfter = retryAfter;
  }
}

export class Cancelled extends Error {}

const LOST = { code: "lost", message: "The demo does not answer.", hint: "Check the connection. If it runs on this machine, run:", command: "stackctl status" };

export function tooLarge(limitText) {
  return new Refused({ code: "too_large", message: `This file is larger than ${limitText}, the most this page takes.`, hint: "Small photos gain the most: try a smaller one." });
}

// `onProgress(phase, share)`: "sending" and "receiving" with 0..1, "working" with null while the model is at it.
export function send(form, fields, { onProgress, signal }) {
  const body = new FormData();
  body.set("csrf_token", form.elements.csrf_token.value);
  for (const [name, value] of Object.entries(fields)) body.set(name, value);

  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const share = (event) => (event.lengthComputable ? event.loaded / event.total : null);
    request.open("POST", form.action);
    request.responseType = "blob";
    request.setRequestHeader("Accept", "application/json, image/*");
    request.upload.onprogress = (event) => onProgress("sending", share(event));
    request.upload.onload = () => onProgress("working", null);
    request.onprogress = (event) => request.status === 200 && onProgress("receiving", share(event));
    request.onload = async () => {
      if (request.status === 200) resolve(readResult(request));
      else reject(await readRefusal(request, form.dataset.limitText));
    };
    request.onerror = () => reject(new Refused(LOST));
    request.onabort = () => reject(new Cancelled());
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function readResult(request) {
  const header = (name) => request.getResponseHeader(name) || "";
  return {
    url: URL.createObjectURL(request.response),
    model: header("X-Stackctl-Model"),
    version: header("X-Stackctl-Model-Version"),
    run: header("X-Stackctl-Run"),
    versionUrl: header("X-Demo-Version-Url"),
    runUrl: header("X-Demo-Run-Url"),
    meta: JSON.parse(header("X-Stackctl-Meta") || "{}"),
    fileName: /filename="([^"]+)"/.exec(header("Content-Disposition"))?.[1] || "photo",
  };
}

async function readRefusal(request, limitText) {
  const wait = Number.parseInt(request.getResponseHeader("Retry-After") || "", 10);
  try {
    return new Refused(JSON.parse(await request.response.text()).error, Number.isNaN(wait) ? null : wait);
  } catch {
    return request.status === 413 ? tooLarge(limitText) : new Refused({ code: "internal", message: `The demo answered with an error (HTTP ${request.status}).`, hint: "Run:", command: "stackctl logs demo" });
  }
}
