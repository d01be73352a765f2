// Asks what serves now, as often as the page says, while somebody looks at it.

export class Watch {
  // `onChange(model)` is called with each answer that differs from the one before; null when the demo does not answer.
  constructor(url, everyMs, onChange) {
    Object.assign(this, { url, everyMs, onChange, etag: "" });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stop() : this.start()));
    this.start();
  }

  start() {
    this.stop();
    this.timer = setInterval(() => this.ask(), this.everyMs);
    this.ask();
  }

  stop() { clearInterval(this.timer); }

  async ask() {
    if (this.asking) return;
    this.asking = true;
    try {
      const answer = await fetch(this.url, { cache: "no-store", headers: this.etag ? { "If-None-Match": this.etag } : {} });
      if (answer.status === 304) return;
      if (!answer.ok) throw new Error(String(answer.status));
      const model = await answer.json();
      this.etag = answer.headers.get("ETag") || "";
      this.onChange(model);
    } catch {
      this.etag = "";
      this.onChange(null);
    } finally {
      this.asking = false;
    }
  }
}
