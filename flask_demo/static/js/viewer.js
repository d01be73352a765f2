// Before and after, one above the other, with a divider, zoom down to single pixels, and panning.
// Coordinates: `scale` is CSS pixels per pixel of the result; (x, y) is where the result's corner lies in the viewer.

const MOST = 16; // device pixels per pixel of the result

export class Viewer {
  constructor(root, controls) {
    this.root = root;
    this.controls = controls;
    this.before = root.querySelector(".viewer-before");
    this.after = root.querySelector(".viewer-after");
    this.clip = root.querySelector(".viewer-clip");
    this.divider = root.querySelector(".viewer-divider");
    this.handle = root.querySelector(".viewer-handle");
    this.tags = { before: root.querySelector(".viewer-tag-before"), after: root.querySelector(".viewer-tag-after") };
    this.split = 0.5;
    this.size = null;
    this.fitted = true;
    this.smooth = false;
    this.pointers = new Map();
    new ResizeObserver(() => this.refit()).observe(root);
    this.listen();
  }

  // Shows the photo alone while the result is on its way. A browser that cannot show it gets an empty stage.
  async preview(url) {
    this.reset();
    this.size = null;
    this.hasBefore = await loads(this.before, url);
    this.after.hidden = true;
    this.before.hidden = !this.hasBefore;
    if (this.hasBefore) this.size = { width: this.before.naturalWidth, height: this.before.naturalHeight };
    this.split = 1;
    this.shape();
    this.refit();
  }

  // Shows the result over the photo that `preview` has loaded.
  async compare(url) {
    if (!(await loads(this.after, url))) throw new Error("The result cannot be shown.");
    this.after.hidden = false;
    this.size = { width: this.after.naturalWidth, height: this.after.naturalHeight };
    this.root.classList.toggle("single", !this.hasBefore);
    this.divider.hidden = !this.hasBefore;
    this.controls.smooth.hidden = !this.hasBefore;
    this.split = this.hasBefore ? 0.5 : 0;
    this.fitted = true;
    this.shape();
    this.refit();
  }

  label(before, after) {
    this.tags.before.textContent = before;
    this.tags.after.textContent = after;
  }

  reset() {
    this.fitted = true;
    this.divider.hidden = true;
    this.tags.before.classList.add("away");
    this.tags.after.classList.add("away");
  }

  // ---- geometry

  get box() { return { width: this.root.clientWidth, height: this.root.clientHeight }; }
  get actual() { return 1 / window.devicePixelRatio; }
  get fitScale() { return Math.min(this.box.width / this.size.width, this.box.height / this.size.height); }
  get lowest() { return Math.min(this.fitScale, this.actual); }
  get highest() { return Math.max(MOST * this.actual, this.fitScale); }

  refit() {
    if (!this.size || !this.box.width) return;
    if (this.fitted) {
      this.scale = this.fitScale;
      this.x = (this.box.width - this.size.width * this.scale) / 2;
      this.y = (this.box.height - this.size.height * this.scale) / 2;
    }
    this.draw();
  }

  // Gives the viewer the photo's proportions, within what the style sheet allows.
  shape() {
    this.root.style.aspectRatio = this.size ? `${this.size.width} / ${this.size.height}` : "";
  }

  fit() { this.fitted = true; this.refit(); }

  // Zooms to `scale` and keeps the point (px, py) of the viewer where it is; the middle when none is given.
  zoom(scale, px = this.box.width / 2, py = this.box.height / 2) {
    if (!this.size) return;
    const next = Math.min(this.highest, Math.max(this.lowest, scale));
    if (Math.abs(next - this.fitScale) < 1e-6) return this.fit();
    this.x = px - ((px - this.x) * next) / this.scale;
    this.y = py - ((py - this.y) * next) / this.scale;
    this.scale = next;
    this.fitted = false;
    this.draw();
  }

  // The next step of: fit, 1, 2, 4, 8, 16 device pixels per pixel.
  step(direction) {
    if (!this.size) return;
    const steps = [this.fitScale, 1, 2, 4, 8, MOST].map((step, at) => (at ? step * this.actual : step)).sort((a, b) => a - b);
    const next = direction > 0 ? steps.find((step) => step > this.scale * 1.01) : steps.reverse().find((step) => step < this.scale * 0.99);
    if (next) this.zoom(next);
  }

  pan(dx, dy) {
    if (!this.size || this.fitted) return;
    this.x += dx;
    this.y += dy;
    this.draw();
  }

  keepInside() {
    const hold = (at, size, room) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
    this.x = hold(this.x, this.size.width * this.scale, this.box.width);
    this.y = hold(this.y, this.size.height * this.scale, this.box.height);
  }

  // The part of the viewer that the photo covers, left to right.
  get covered() {
    const left = Math.max(0, this.x);
    return { left, right: Math.min(this.box.width, this.x + this.size.width * this.scale) };
  }

  // ---- drawing

  draw() {
    this.keepInside();
    const { width, height } = this.size;
    const device = this.scale * window.devicePixelRatio;
    // Whole device pixels, or a photo at 1:1 would blur.
    const whole = (at) => Math.round(at * window.devicePixelRatio) / window.devicePixelRatio;
    const transform = `translate(${whole(this.x)}px, ${whole(this.y)}px) scale(${this.scale})`;
    for (const image of [this.before, this.after]) {
      Object.assign(image.style, { width: `${width}px`, height: `${height}px`, transform });
    }
    this.after.classList.toggle("pixels", device > 1.01);
    this.before.classList.toggle("pixels", !this.smooth);
    this.root.toggleAttribute("data-zoomed", !this.fitted);
    this.controls.label.textContent = `${Math.round(device * 100)} %`;
    this.controls.fit.setAttribute("aria-pressed", String(this.fitted));
    this.drawSplit();
  }

  drawSplit() {
    const { left, right } = this.covered;
    const at = left + this.split * (right - left);
    const share = Math.round(this.split * 100);
    this.divider.style.left = `${at}px`;
    this.clip.style.clipPath = `inset(0 ${this.box.width - at}px 0 0)`;
    this.handle.setAttribute("aria-valuenow", String(share));
    this.handle.setAttribute("aria-valuetext", `${share} % before, ${100 - share} % after`);
    const comparing = !this.after.hidden && this.hasBefore;
    this.tags.before.classList.toggle("away", !comparing || at < this.tags.before.offsetWidth + 20);
    this.tags.after.classList.toggle("away", !comparing || at > this.box.width - this.tags.after.offsetWidth - 20);
  }

  setSplit(share) {
    this.split = Math.min(1, Math.max(0, share));
    this.drawSplit();
  }

  setSmooth(smooth) {
    this.smooth = smooth;
    if (this.size) this.draw();
  }

  // ---- hands

  listen() {
    this.root.addEventListener("pointerdown", (event) => this.press(event));
    this.root.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) this.root.addEventListener(name, (event) => this.release(event));
    this.root.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.root.addEventListener("dblclick", (event) => {
      if (this.root.classList.contains("busy")) return;
      const { px, py } = this.point(event);
      if (this.fitted) this.zoom(Math.max(this.actual, this.fitScale * 2), px, py);
      else this.fit();
    });
    this.handle.addEventListener("keydown", (event) => this.slideByKey(event));
    this.root.addEventListener("keydown", (event) => this.zoomByKey(event));
  }

  point(event) {
    const box = this.root.getBoundingClientRect();
    return { px: event.clientX - box.left, py: event.clientY - box.top };
  }

  press(event) {
    if (!this.size || this.root.classList.contains("busy") || event.button > 0) return;
    this.root.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.point(event));
    const onHandle = this.handle.contains(event.target);
    this.dragging = onHandle || (this.fitted && this.hasBefore) ? "split" : "pan";
    if (this.pointers.size === 2) this.dragging = "pinch";
    if (onHandle) event.stopPropagation();
    this.root.classList.toggle("panning", this.dragging === "pan");
    if (this.dragging === "split" && event.pointerType !== "touch") this.slideTo(this.point(event).px);
  }

  move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const now = this.point(event);
    if (this.dragging === "split") this.slideTo(now.px);
    else if (this.dragging === "pan") this.pan(now.px - last.px, now.py - last.py);
    else this.pinch(event.pointerId, now);
    this.pointers.set(event.pointerId, now);
  }

  release(event) {
    this.pointers.delete(event.pointerId);
    if (this.pointers.size) this.dragging = "pan";
    this.root.classList.remove("panning");
  }

  pinch(id, now) {
    const other = [...this.pointers].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const last = this.pointers.get(id);
    const span = (a, b) => Math.hypot(a.px - b.px, a.py - b.py) || 1;
    this.zoom((this.scale * span(now, other)) / span(last, other), (now.px + other.px) / 2, (now.py + other.py) / 2);
  }

  wheel(event) {
    if (!this.size || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { px, py } = this.point(event);
    this.zoom(this.scale * Math.exp(-event.deltaY * 0.004), px, py);
  }

  slideTo(px) {
    const { left, right } = this.covered;
    this.setSplit((px - left) / (right - left));
  }

  slideByKey(event) {
    const steps = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    this.setSplit(this.split + steps[event.key] * (event.shiftKey ? 5 : 1));
  }

  zoomByKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 200 : 40;
    const actions = {
      "+": () => this.step(1), "=": () => this.step(1), "-": () => this.step(-1), 0: () => this.fit(), 1: () => this.zoom(this.actual),
      ArrowLeft: () => this.pan(far, 0), ArrowRight: () => this.pan(-far, 0), ArrowUp: () => this.pan(0, far), ArrowDown: () => this.pan(0, -far),
    };
    const arrow = event.key.startsWith("Arrow");
    if (!(event.key in actions) || (arrow && this.fitted)) return;
    event.preventDefault();
    actions[event.key]();
  }
}

async function loads(image, url) {
  image.src = url;
  try {
    await image.decode();
    return image.naturalWidth > 0;
  } catch {
    return false;
  }
}
