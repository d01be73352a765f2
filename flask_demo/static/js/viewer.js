// Two pictures, one above the other, with a divider, zoom down to single pixels, and panning of both at once.
// Coordinates: `scale` is CSS pixels per pixel of the right picture; (x, y) is where its corner lies in the viewer.

const MOST = 16; // device pixels per pixel of the right picture
const SQUARES = 4; // device pixels per pixel from which on a pixel is drawn as a square

export class Viewer {
  constructor(root, controls) {
    this.root = root;
    this.controls = controls;
    this.left = root.querySelector(".viewer-left");
    this.right = root.querySelector(".viewer-right");
    this.clip = root.querySelector(".viewer-clip");
    this.divider = root.querySelector(".viewer-divider");
    this.handle = root.querySelector(".viewer-handle");
    this.tags = { left: root.querySelector(".viewer-tag-left"), right: root.querySelector(".viewer-tag-right") };
    this.split = 0.5;
    this.size = null;
    this.fitted = true;
    this.pixels = false;
    this.turn = 0;
    new ResizeObserver(() => this.refit()).observe(root);
  }

  // Shows one picture over the other; without `right`, the left one alone. Where both were seen is kept when the size
  // stays. Returns false when another call came in between, or when there is nothing that this browser can show.
  async show({ left, right }) {
    const mine = ++this.turn;
    const [hasLeft, hasRight] = await Promise.all([loads(this.left, left), loads(this.right, right)]);
    if (mine !== this.turn) return false;
    Object.assign(this, { hasLeft, hasRight });
    const largest = hasRight ? this.right : hasLeft ? this.left : null;
    const size = largest && { width: largest.naturalWidth, height: largest.naturalHeight };
    const same = this.size && size && this.size.width === size.width && this.size.height === size.height;
    this.size = size;
    if (!same) this.fitted = true;
    if (!same || !this.comparing) this.split = 0.5;
    this.comparing = hasLeft && hasRight;
    this.left.hidden = !hasLeft;
    this.right.hidden = !hasRight;
    this.divider.hidden = !this.comparing;
    this.root.classList.toggle("single", !this.comparing);
    // The viewer takes the picture's proportions, within what the style sheet allows.
    this.root.style.aspectRatio = size ? `${size.width} / ${size.height}` : "";
    this.refit();
    return Boolean(size);
  }

  // What the two sides are called: on the tags, and in words for the slider.
  label(left, right, words) {
    this.tags.left.textContent = left;
    this.tags.right.textContent = right;
    this.words = words;
    this.handle.setAttribute("aria-label", `Divider between ${words[0]} and ${words[1]}`);
    if (this.size) this.drawSplit();
  }

  setPixels(pixels) {
    this.pixels = pixels;
    if (this.size) this.draw();
  }

  setSplit(share) {
    this.split = Math.min(1, Math.max(0, share));
    this.drawSplit();
  }

  // ---- geometry

  get box() { return { width: this.root.clientWidth, height: this.root.clientHeight }; }
  get actual() { return 1 / window.devicePixelRatio; }
  get fitScale() { return Math.min(this.box.width / this.size.width, this.box.height / this.size.height); }
  get lowest() { return Math.min(this.fitScale, this.actual); }
  get highest() { return Math.max(MOST * this.actual, this.fitScale); }

  // The part of the viewer that the picture covers, left to right.
  get covered() {
    const left = Math.max(0, this.x);
    return { left, right: Math.min(this.box.width, this.x + this.size.width * this.scale) };
  }

  refit() {
    if (!this.size || !this.box.width) return;
    if (this.fitted) {
      this.scale = this.fitScale;
      this.x = (this.box.width - this.size.width * this.scale) / 2;
      this.y = (this.box.height - this.size.height * this.scale) / 2;
    }
    this.draw();
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

  slideTo(px) {
    const { left, right } = this.covered;
    this.setSplit((px - left) / (right - left));
  }

  keepInside() {
    const hold = (at, size, room) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
    this.x = hold(this.x, this.size.width * this.scale, this.box.width);
    this.y = hold(this.y, this.size.height * this.scale, this.box.height);
  }

  // ---- drawing

  draw() {
    this.keepInside();
    const { width, height } = this.size;
    const device = this.scale * window.devicePixelRatio;
    // Whole device pixels, or a picture at 1:1 would blur.
    const whole = (at) => Math.round(at * window.devicePixelRatio) / window.devicePixelRatio;
    const transform = `translate(${whole(this.x)}px, ${whole(this.y)}px) scale(${this.scale})`;
    for (const image of [this.left, this.right]) {
      Object.assign(image.style, { width: `${width}px`, height: `${height}px`, transform });
      // One rule for both sides, or the comparison would flatter one: squares from 4 device pixels per own pixel on.
      const own = (device * width) / (image.naturalWidth || width);
      image.classList.toggle("pixels", own > 1 && (this.pixels || own >= SQUARES - 0.01));
    }
    this.root.toggleAttribute("data-zoomed", !this.fitted);
    this.controls.label.textContent = `${Math.round(device * 100)} %`;
    this.controls.fit.setAttribute("aria-pressed", String(this.fitted));
    this.drawSplit();
  }

  drawSplit() {
    const { left, right } = this.covered;
    const at = this.comparing ? left + this.split * (right - left) : this.hasRight ? 0 : this.box.width;
    const share = Math.round(this.split * 100);
    this.divider.style.left = `${at}px`;
    this.clip.style.clipPath = `inset(0 ${this.box.width - at}px 0 0)`;
    this.handle.setAttribute("aria-valuenow", String(share));
    if (this.words) this.handle.setAttribute("aria-valuetext", `${share} % ${this.words[0]}, ${100 - share} % ${this.words[1]}`);
    this.tags.left.classList.toggle("away", !this.comparing || at < this.tags.left.offsetWidth + 20);
    this.tags.right.classList.toggle("away", !this.comparing || at > this.box.width - this.tags.right.offsetWidth - 20);
  }
}

async function loads(image, url) {
  if (!url) {
    image.removeAttribute("src");
    return false;
  }
  if (image.getAttribute("src") !== url) image.src = url;
  try {
    await image.decode();
    return image.naturalWidth > 0;
  } catch {
    return false;
  }
}
