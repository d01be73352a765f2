// Sends one photo and returns the result: bytes, and who made it. XMLHttpRequest, because fetch reports no upload progress.

export class Refused extends Error {
  // `parts` is the demo's error document: message, hint, command, detail.
  constructor(parts) {
    super(parts.message);
    this.parts = parts;
  }
}

export class Cancelled extends Error {}

const LOST = { message: "The demo does not answer.", hint: "Check the connection. If it runs on this machine, run:", command: "stackctl status" };

export function tooLarge(limitText) {
  return new Refused({ message: `This file is larger than ${limitText}, the most this page takes.`, hint: "Small photos gain the most: try a smaller one." });
}

// `onProgress(share)` is called with 0..1 while the photo is sent, and with null when all of it was.
export function send(form, fields, limitText, { onProgress, signal }) {
  const body = new FormData();
  body.set("csrf_token", form.elements.csrf_token.value);
  for (const [name, value] of Object.entries(fields)) body.set(name, value);

  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.responseType = "blob";
    request.setRequestHeader("Accept", "application/json, image/*");
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.upload.onload = () => onProgress(null);
    request.onload = async () => {
      if (request.status === 200) resolve(readResult(request));
      else reject(await readRefusal(request, limitText));
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
    blob: request.response,
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
  try {
    return new Refused(JSON.parse(await request.response.text()).error);
  } catch {
    return request.status === 413 ? tooLarge(limitText) : new Refused({ message: `The demo answered with an error (HTTP ${request.status}).`, hint: "Run:", command: "stackctl logs demo" });
  }
}
