// Puts the page together: one photo at a time from drop, paste, picker or sample, through upload.js, into viewer.js.

import { Cancelled, Refused, send, tooLarge } from "./upload.js";
import { Viewer } from "./viewer.js";
import { Watch } from "./watch.js";

const $ = (id) => document.getElementById(id);
const bench = $("main");
const form = $("send");
const viewer = new Viewer($("viewer"), { label: $("zoom"), fit: $("fit"), smooth: $("smooth") });

const BACKENDS = { openvino: "OpenVINO", onnxruntime: "ONNX Runtime", torch: "PyTorch" };

let running = null; // AbortController of the photo on its way
let current = null; // {fields, url, name} of the photo on the stage
let urls = []; // object URLs to give back

function localTimes() {
  for (const moment of document.querySelectorAll("time")) {
    const date = new Date(moment.dateTime);
    if (Number.isNaN(date.valueOf())) continue;
    moment.title = moment.textContent;
    moment.textContent = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
}
localTimes();

// ---- one photo, from here to the viewer

async function run(photo) {
  running?.abort();
  const mine = (running = new AbortController());
  current = photo;
  stage("busy");
  fillAlert(null);
  progress("Reading the photo", 0);
  await viewer.preview(photo.url);
  if (mine.signal.aborted) return;
  const started = performance.now();
  let clock = 0;
  const work = () => {
    const tick = () => {
      const seconds = Math.floor((performance.now() - started) / 1000);
      progress(seconds ? `Upscaling, ${seconds} s` : "Upscaling", null);
    };
    tick();
    clock = setInterval(tick, 1000);
  };
  try {
    const onProgress = (share) => (share === null ? clock || work() : progress(`Sending, ${Math.round(share * 100)} %`, share * 100));
    const result = await send(form, photo.fields, form.dataset.limitText, { onProgress, signal: mine.signal });
    await show(photo, result);
  } catch (error) {
    if (mine !== running) return;
    if (error instanceof Cancelled) stage("idle");
    else fail(error instanceof Refused ? error.parts : { message: error.message });
  } finally {
    clearInterval(clock);
    if (mine === running) running = null;
  }
}

async function show(photo, result) {
  const url = keep(URL.createObjectURL(result.blob));
  await viewer.compare(url);
  const { width, height, out_width: outWidth, out_height: outHeight } = result.meta;
  const [from, to] = [width && `${width} × ${height}`, outWidth && `${outWidth} × ${outHeight}`];
  viewer.label(from ? `Before, ${from}` : "Before", `After, version ${result.version}`);
  Object.assign($("download"), { href: url, download: result.fileName });
  fillMade(result, from, to);
  $("note").hidden = viewer.hasBefore;
  $("note").textContent = viewer.hasBefore ? "" : "Browsers cannot show this kind of photo, so there is no before to slide to. The result is a PNG.";
  stage("done");
  viewer.refit();
  say(`Done. ${from && to ? `${from} became ${to}. ` : ""}Made by version ${result.version}.`);
}

function fillMade(result, from, to) {
  const { backend, precision, seconds } = result.meta;
  const total = seconds && (seconds.total ?? Object.values(seconds).reduce((sum, part) => sum + part, 0));
  const facts = [from && to && `${from} to ${to}`, total && `in ${total.toFixed(2)} s`, backend && `by ${BACKENDS[backend] ?? backend}`, precision && `in ${precision}`].filter(Boolean);
  const made = $("made");
  made.replaceChildren(`Made by ${result.model} `, link(result.versionUrl, `version ${result.version}`));
  if (result.run) made.append(", run ", link(result.runUrl, result.run.slice(0, 8), "mono"));
  if (facts.length) made.append(`. ${facts.join(" ")}.`);
}

function fail(parts) {
  stage("idle");
  fillAlert(parts);
  $("alert").scrollIntoView({ block: "nearest" });
}

function stage(name) {
  bench.dataset.stage = name;
  const busy = name === "busy";
  $("result").hidden = name === "idle";
  $("viewer").classList.toggle("busy", busy);
  $("viewer").setAttribute("aria-busy", String(busy));
  document.querySelector(".viewer-busy").hidden = !busy;
  for (const id of ["tools", "made"]) $(id).hidden = name !== "done";
  if (busy) $("note").hidden = true;
  $("again").hidden = name !== "done";
  $("choose").textContent = name === "idle" ? "Choose a photo" : "Choose another photo";
}

function progress(text, value) {
  const bar = $("progress");
  if (value === null) bar.removeAttribute("value");
  else bar.value = value;
  $("progress-text").textContent = text;
}

function fillAlert(parts) {
  const box = $("alert");
  box.hidden = !parts;
  box.replaceChildren();
  if (!parts) return;
  box.append(paragraph("alert-message", parts.message));
  if (parts.hint || parts.command) {
    const hint = paragraph("alert-hint", parts.hint || "");
    if (parts.command) hint.append(" ", Object.assign(document.createElement("code"), { textContent: parts.command }));
    box.append(hint);
  }
  if (parts.detail) box.append(paragraph("alert-detail", parts.detail));
}

function paragraph(className, textContent) { return Object.assign(document.createElement("p"), { className, textContent }); }
function link(href, textContent, className = "") { return href ? Object.assign(document.createElement("a"), { href, textContent, className }) : textContent; }
function say(text) { $("say").textContent = text; }
function keep(url) { urls.push(url); return url; }

// ---- where photos come from

function takeFile(file) {
  if (!file) return;
  if (file.size > Number(form.dataset.limit)) return fail(tooLarge(form.dataset.limitText).parts);
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  run({ fields: { photo: file }, url: keep(URL.createObjectURL(file)) });
}

function takeChosen() {
  const input = $("photo");
  const [file] = input.files;
  input.value = ""; // the same photo may be chosen again
  if (file) takeFile(file);
}

$("photo").addEventListener("change", takeChosen);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const button = event.submitter;
  if (button?.name === "sample") run({ fields: { sample: button.value }, url: button.querySelector("img").src });
});

document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])][0];
  if (file) {
    event.preventDefault();
    takeFile(file);
  }
});

let inside = 0;
const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
document.addEventListener("dragenter", (event) => {
  if (hasFiles(event)) document.body.classList.toggle("dragging", ++inside > 0);
});
document.addEventListener("dragleave", (event) => {
  if (hasFiles(event)) document.body.classList.toggle("dragging", --inside > 0);
});
document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("dragging");
  takeFile(event.dataTransfer.files[0]);
});

$("cancel").addEventListener("click", () => {
  running?.abort();
  stage("idle");
});

// ---- the viewer's tools

document.querySelector(".tools-zoom").addEventListener("click", (event) => {
  const action = event.target.dataset.zoom;
  if (action === "in") viewer.step(1);
  else if (action === "out") viewer.step(-1);
  else if (action === "fit") viewer.fit();
  else if (action === "actual") viewer.zoom(viewer.actual);
});
$("smooth").addEventListener("click", () => {
  const smooth = !viewer.smooth;
  viewer.setSmooth(smooth);
  $("smooth").setAttribute("aria-pressed", String(smooth));
});

// ---- what serves now

function followProduction(model) {
  const status = $("status");
  const state = !model || !model.reachable ? "away" : model.version ? "live" : "empty";
  status.dataset.state = state;
  status.textContent = !model ? "The demo does not answer" : { away: "Model server does not answer", live: `Version ${model.version} in Production`, empty: "No version in Production" }[state];
  if (!model?.reachable) return;
  showCandidate(model.candidate);
  const loaded = bench.dataset.version;
  const changed = (model.version || "") !== loaded;
  $("banner").hidden = !changed;
  if (changed) {
    $("banner-text").textContent = model.version
      ? `Version ${model.version} is in Production now.${loaded ? ` This page shows version ${loaded}.` : ""}`
      : `Version ${loaded} is no longer in Production.`;
  }
}

// Brings what the page says about Production up to date without giving up the photo on the stage.
async function refreshPanel() {
  try {
    const page = new DOMParser().parseFromString(await (await fetch(location.pathname, { cache: "no-store" })).text(), "text/html");
    document.querySelector(".serving").replaceWith(page.querySelector(".serving"));
    bench.dataset.version = page.getElementById("main").dataset.version;
    $("banner").hidden = true;
    localTimes();
  } catch {
    // The demo is away; the status line says so.
  }
}

function showCandidate(candidate) {
  const line = $("candidate");
  line.hidden = !candidate;
  if (!candidate) return;
  const state = candidate.state === "refused" ? "was refused" : "is being prepared";
  line.textContent = `Version ${candidate.version} ${state}${candidate.reason ? `: ${candidate.reason}` : ""}`;
}

$("reload").addEventListener("click", () => location.reload());
$("again").addEventListener("click", async () => {
  await refreshPanel();
  if (current) run(current);
});
new Watch(bench.dataset.api, Number(bench.dataset.poll), followProduction);
takeChosen(); // a quick person chose a photo before this script was there
