// The photos of this page and what becomes of each. One is on its way at a time: the model works no faster on two.
//
// A photo's `state`: waiting, sending, working, receiving, pausing (told to come back later), done, failed.
// Its `results` hold what "production" and, when versions are compared, "staging" made of it.

import { Cancelled, Refused, send, tooLarge } from "./upload.js";

const PATIENCE = 20; // times to come back to a busy server before giving up
const AGAIN = new Set(["lost", "server_unreachable", "no_model", "restarting", "busy", "too_often", "timeout", "internal"]);

export class Queue {
  // `onChange(photo)` is called whenever something about a photo changed; null when the list itself did.
  constructor(form, onChange) {
    Object.assign(this, { form, onChange, photos: [], targets: ["production"], working: null, last: 0 });
  }

  add(sources) {
    const limit = Number(this.form.dataset.limit);
    const added = sources.map((source) => ({ ...source, id: ++this.last, state: "waiting", share: null, since: 0, wait: 0, results: {}, again: new Set(), error: null }));
    for (const photo of added) {
      if (photo.file?.size > limit) this.fail(photo, tooLarge(this.form.dataset.limitText));
    }
    this.photos.push(...added);
    this.onChange(null);
    this.pump();
    return added;
  }

  // Takes a photo away; work on it ends.
  remove(photo) {
    photo.controller?.abort();
    this.photos = this.photos.filter((each) => each !== photo);
    for (const result of Object.values(photo.results)) URL.revokeObjectURL(result.url);
    if (photo.file) URL.revokeObjectURL(photo.url);
    this.onChange(null);
  }

  // Ends the work on a photo; one with a result stays with it, one without goes.
  cancel(photo) {
    photo.controller?.abort();
    if (!photo.results.production) return this.remove(photo);
    photo.again.clear();
    this.move(photo, "done");
  }

  // From now on each photo goes to all `targets`; those that lack a result are sent again, `first` before the others.
  setTargets(targets, first) {
    this.targets = targets;
    for (const photo of this.photos) {
      if (photo.state === "done" && this.missing(photo).length) photo.state = "waiting";
    }
    this.first = first;
    this.onChange(null);
    this.pump();
  }

  // The targets whose result of `photo` another version made than the one in `versions` (target -> version) now.
  outdated(photo, versions) {
    if (photo.state !== "done") return [];
    return this.targets.filter((target) => photo.results[target] && versions[target] && photo.results[target].version !== versions[target]);
  }

  // Sends photos again that another version than those in `versions` handled; what they have stays until then.
  renew(versions, first) {
    for (const photo of this.photos) {
      const targets = this.outdated(photo, versions);
      if (!targets.length) continue;
      targets.forEach((target) => photo.again.add(target));
      photo.state = "waiting";
    }
    this.first = first;
    this.onChange(null);
    this.pump();
  }

  // Tries the photos again for which there is hope.
  retry() {
    for (const photo of this.photos) if (this.mayRetry(photo)) Object.assign(photo, { state: "waiting", error: null });
    this.onChange(null);
    this.pump();
  }

  mayRetry(photo) { return Boolean(photo.error) && AGAIN.has(photo.error.code) && ["failed", "done"].includes(photo.state); }
  missing(photo) { return this.targets.filter((target) => !photo.results[target] || photo.again.has(target)); }
  ahead(photo) { return this.photos.slice(0, this.photos.indexOf(photo)).filter((each) => !["done", "failed"].includes(each.state)).length; }

  next() {
    if (this.first?.state === "waiting" && this.photos.includes(this.first)) return this.first;
    return this.photos.find((photo) => photo.state === "waiting");
  }

  async pump() {
    if (this.working) return;
    while ((this.working = this.next() ?? null)) await this.work(this.working);
  }

  async work(photo) {
    photo.controller = new AbortController();
    photo.error = null;
    try {
      for (let target; (target = this.missing(photo)[0]); ) {
        photo.target = target;
        const result = await this.ask(photo, target);
        URL.revokeObjectURL(photo.results[target]?.url);
        photo.results[target] = result;
        photo.again.delete(target);
      }
      this.move(photo, "done");
    } catch (error) {
      if (error instanceof Cancelled) return;
      this.fail(photo, error);
      this.onChange(photo);
    }
  }

  async ask(photo, target) {
    const options = { signal: photo.controller.signal, onProgress: (phase, share) => this.move(photo, phase, share) };
    this.move(photo, "sending", 0);
    for (let tries = 1; ; tries += 1) {
      try {
        return await send(this.form, { ...photo.fields, to: target }, options);
      } catch (error) {
        if (!(error instanceof Refused) || !error.retryAfter || tries === PATIENCE) throw error;
        photo.why = error.message;
        photo.wait = performance.now() + error.retryAfter * 1000;
        this.move(photo, "pausing");
        await pause(error.retryAfter, options.signal);
      }
    }
  }

  fail(photo, error) {
    const parts = error instanceof Refused ? error.parts : { code: "page", message: "This page could not handle the photo.", detail: error.message };
    photo.error = { ...parts, target: photo.target };
    photo.state = photo.results.production ? "done" : "failed";
  }

  move(photo, state, share = null) {
    if (photo.state !== state) photo.since = performance.now();
    Object.assign(photo, { state, share });
    this.onChange(photo);
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(new Cancelled()); });
  });
}
