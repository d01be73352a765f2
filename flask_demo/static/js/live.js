// Keeps what the page says about the serving versions true while it is open, and tells when Production changes.

import { $, localTimes, say } from "./dom.js";
import { Watch } from "./watch.js";

export class Live {
  // `onVersion(version)` is called when another version (or null) is in Production.
  constructor(bench, onVersion) {
    this.bench = bench;
    this.version = bench.dataset.version || null;
    this.onVersion = onVersion;
    $("dismiss").addEventListener("click", () => this.dismiss());
    new Watch(bench.dataset.model, Number(bench.dataset.poll), (told) => this.follow(told));
  }

  async follow(told) {
    if (!told) return this.lost();
    await this.refresh();
    const { production } = told;
    if (!production.reachable || production.version === this.version) return;
    const [old, now] = [this.version, production.version];
    this.version = this.bench.dataset.version = now;
    const text = !now ? `Version ${old} left Production. Nothing serves now.` : `Version ${now} is in Production now${old ? `, in place of version ${old}` : ""}.`;
    $("banner-text").textContent = text;
    $("banner").hidden = false;
    say(text);
    this.onVersion(now);
  }

  dismiss() {
    $("banner").hidden = true;
    $("main").focus({ preventScroll: true });
  }

  lost() {
    Object.assign($("status"), { textContent: "The demo does not answer" }).dataset.state = "away";
  }

  // Puts the server's own rendering of each live part in place of the old one.
  async refresh() {
    const answer = await fetch(this.bench.dataset.fragment, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    localTimes(fresh);
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const here = $(part.id);
      if (here.innerHTML === part.innerHTML) continue;
      here.replaceChildren(...part.childNodes);
      here.className = part.className;
      if (part.dataset.state) here.dataset.state = part.dataset.state;
    }
  }
}
