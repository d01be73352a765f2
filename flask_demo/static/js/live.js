// Keeps what the page says about the serving versions true while it is open, and tells when another one takes over.

import { $, localTimes, say } from "./dom.js";
import { Watch } from "./watch.js";

const STAGES = { production: "Production", staging: "Staging" };

export class Live {
  // `versions` says which version each stage has now, or null; `onVersions()` is called when one of them is another.
  constructor(bench, onVersions) {
    this.bench = bench;
    this.versions = { production: bench.dataset.version || null, staging: bench.dataset.staging || null };
    this.onVersions = onVersions;
    $("dismiss").addEventListener("click", () => this.dismiss());
    new Watch(bench.dataset.model, Number(bench.dataset.poll), (told) => this.follow(told));
  }

  async follow(told) {
    if (!told) return this.lost();
    await this.refresh();
    const news = Object.keys(STAGES).map((target) => this.change(target, told[target])).filter(Boolean).join(" ");
    if (!news) return;
    $("banner-text").textContent = news;
    $("banner").hidden = false;
    say(news);
    this.onVersions();
  }

  // Takes in what `panel` says of one stage; returns a sentence when another version is there than before.
  change(target, panel) {
    const old = this.versions[target];
    if (!panel?.reachable || panel.version === old) return "";
    const [stage, now] = [STAGES[target], panel.version];
    this.versions[target] = now;
    if (!now) return `Version ${old} left ${stage}.${target === "production" ? " Nothing serves now." : ""}`;
    return `Version ${now} is in ${stage} now${old ? `, in place of version ${old}` : ""}.`;
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
