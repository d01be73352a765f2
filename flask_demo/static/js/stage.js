// The photo in the middle: its progress, then two pictures to slide between, and who made them.

import { $, fillAlert, link } from "./dom.js";
import { listen } from "./gestures.js";
import { Viewer } from "./viewer.js";
import { facts, phases, sizes, stageWords } from "./words.js";

const UNSHOWN = "Browsers cannot show this kind of photo, so there is no before to slide to. The result is a PNG.";

export class Stage {
  // `bench` carries what the page is at, for the style sheet: idle, busy or done.
  constructor(bench, queue) {
    Object.assign(this, { bench, queue, photo: null, mode: "photo", shown: "", trouble: null });
    this.viewer = new Viewer($("viewer"), { label: $("zoom"), fit: $("fit") });
    listen(this.viewer);
    this.listenToTools();
    $("cancel").addEventListener("click", () => this.photo && queue.cancel(this.photo));
    $("modes")?.addEventListener("change", (event) => this.setMode(event.target.value));
    setInterval(() => this.photo && !this.settled && this.showProgress(), 1000);
  }

  get comparing() { return this.mode === "versions"; }
  get settled() { return ["done", "failed"].includes(this.photo.state); }

  select(photo) {
    this.photo = photo;
    this.shown = "";
    this.render();
  }

  // Tells what is no photo's own fault, until photos come; null takes it back.
  tell(trouble) {
    this.trouble = trouble;
    fillAlert(trouble);
  }

  setMode(mode) {
    this.mode = mode;
    this.queue.setTargets(this.comparing ? ["production", "staging"] : ["production"], this.photo);
  }

  // Brings everything in line with the photo; called on each change of it.
  async render() {
    const photo = this.photo;
    const stage = !photo ? "idle" : this.settled ? "done" : "busy";
    this.bench.dataset.stage = stage;
    $("result").hidden = !photo || (photo.state === "failed" && this.unshown);
    $("viewer").classList.toggle("busy", stage === "busy");
    $("viewer").setAttribute("aria-busy", String(stage === "busy"));
    document.querySelector(".viewer-busy").hidden = stage !== "busy";
    if (!photo) return fillAlert(this.trouble);
    this.showProgress();
    await this.showPictures(photo);
  }

  showProgress() {
    const { photo, queue } = this;
    const bar = $("progress");
    if (photo.share === null) bar.removeAttribute("value");
    else bar.value = photo.share * 100;
    $("progress-text").textContent = stageWords(photo, queue.ahead(photo), queue.targets.length > 1);
  }

  // The two pictures that `photo` has to show now, and what they are called.
  sides(photo) {
    const { production, staging } = photo.results;
    if (this.comparing && production && staging) {
      const name = (result, place) => [`${place}, v${result.version}`, `version ${result.version} in ${place}`];
      const [left, leftWords] = name(production, "Production");
      const [right, rightWords] = name(staging, "Staging");
      return { left: production.url, right: staging.url, tags: [left, right, [leftWords, rightWords]] };
    }
    if (production && photo.state === "done") {
      const { from } = sizes(production.meta);
      return { left: photo.url, right: production.url, tags: [from ? `Before, ${from}` : "Before", `After, version ${production.version}`, ["before", "after"]] };
    }
    return { left: photo.url, right: production?.url ?? null, tags: ["Before", "After", ["before", "after"]] };
  }

  async showPictures(photo) {
    const { left, right, tags } = this.sides(photo);
    const error = this.settled && (this.comparing || photo.error?.target !== "staging") ? photo.error : null;
    const key = [left, right, photo.state === "done", error?.message].join(" ");
    if (key === this.shown) return;
    this.shown = key;
    const done = photo.state === "done" && right !== null;
    for (const id of ["tools", "made", "hint"]) $(id).hidden = !done;
    $("note").hidden = true;
    fillAlert(error ?? this.trouble, error && this.queue.mayRetry(photo) ? () => this.queue.retry() : null);
    this.viewer.label(...tags);
    const seen = await this.viewer.show({ left, right });
    if (this.shown !== key || this.photo !== photo) return;
    this.unshown = !seen;
    $("result").hidden = photo.state === "failed" && !seen;
    if (done) this.showResult(photo);
    if (error) $("alert").scrollIntoView({ block: "nearest" });
  }

  showResult(photo) {
    const { production, staging } = photo.results;
    const both = this.comparing && staging;
    offer($("download"), production, both ? `Download v${production.version}` : "Download");
    offer($("download-staging"), both ? staging : null, both ? `Download v${staging.version}` : "");
    $("made").replaceChildren(...maker(production));
    if (both) $("made").append(document.createElement("br"), ...maker(staging));
    $("made").title = phases(production);
    $("note").hidden = this.viewer.hasLeft || !this.viewer.hasRight;
    $("note").textContent = UNSHOWN;
  }

  // ---- tools

  listenToTools() {
    const { viewer } = this;
    const actions = { in: () => viewer.step(1), out: () => viewer.step(-1), fit: () => viewer.fit(), actual: () => viewer.zoom(viewer.actual) };
    $("tools").addEventListener("click", (event) => actions[event.target.dataset.zoom]?.());
    $("pixels").addEventListener("click", () => {
      viewer.setPixels(!viewer.pixels);
      $("pixels").setAttribute("aria-pressed", String(viewer.pixels));
    });
  }
}

function offer(anchor, result, text) {
  anchor.hidden = !result;
  if (result) Object.assign(anchor, { href: result.url, download: result.fileName, textContent: text });
}

function maker(result) {
  const parts = [`Made by ${result.model} `, link(result.versionUrl, `version ${result.version}`)];
  if (result.run) parts.push(", run ", link(result.runUrl, result.run.slice(0, 8), "mono"));
  const how = facts(result);
  if (how) parts.push(`. ${how}.`);
  return parts;
}
