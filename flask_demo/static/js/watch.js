// Asks what serves now, as often as the page says, while somebody looks at it.

export class Watch {
  // `onAnswer(document)` is called with each answer that differs from the one before; null when the demo does not answer.
  constructor(url, everyMs, onAnswer) {
    Object.assign(this, { url, everyMs, onAnswer, etag: "" });
    document.addEventListener("visibilitychange", () => this.look());
    this.look();
  }

  look() {
    clearInterval(this.timer);
    if (document.hidden) return;
    this.timer = setInterval(() => this.ask(), this.everyMs);
    this.ask();
  }

  async ask() {
    if (this.asking) return;
    this.asking = true;
    try {
      const answer = await fetch(this.url, { cache: "no-store", headers: this.etag ? { "If-None-Match": this.etag } : {} });
      if (answer.status === 304) return;
      if (!answer.ok) throw new Error(String(answer.status));
      const told = await answer.json();
      await this.onAnswer(told);
      this.etag = answer.headers.get("ETag") || "";
    } catch {
      this.etag = "";
      await this.onAnswer(null);
    } finally {
      this.asking = false;
    }
  }
}
