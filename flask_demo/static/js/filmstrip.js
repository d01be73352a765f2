// The queue as a strip of thumbnails: one button per photo that shows it, one that takes it away.

import { queueWords } from "./words.js";

export class Filmstrip {
  // `list` is the <ul>; `onSelect(photo)` and `onRemove(photo)` are what its buttons do.
  constructor(list, { onSelect, onRemove }) {
    Object.assign(this, { list, onSelect, onRemove, items: new Map() });
  }

  // Brings the strip in line with `photos`; `selected` is the one on the stage.
  render(photos, selected) {
    this.list.hidden = !photos.length;
    for (const [photo, item] of this.items) {
      if (photos.includes(photo)) continue;
      item.remove();
      this.items.delete(photo);
    }
    for (const photo of photos) {
      if (!this.items.has(photo)) this.add(photo);
      this.update(photo, photo === selected);
    }
  }

  // Scrolls the strip, and nothing but the strip, until `item` is seen.
  reveal(item) {
    const { scrollLeft, clientWidth } = this.list;
    const at = item.offsetLeft - this.list.offsetLeft;
    if (at < scrollLeft) this.list.scrollLeft = at;
    else if (at + item.offsetWidth > scrollLeft + clientWidth) this.list.scrollLeft = at + item.offsetWidth - clientWidth + 8;
  }

  focus(photo) { this.items.get(photo)?.querySelector(".thumb").focus({ preventScroll: true }); }

  add(photo) {
    const item = document.createElement("li");
    const thumb = button("thumb", () => this.onSelect(photo));
    const image = Object.assign(new Image(), { src: photo.url, alt: "", draggable: false });
    image.addEventListener("error", () => image.replaceWith(extension(photo.name)));
    const bar = Object.assign(document.createElement("progress"), { max: 1, ariaHidden: "true" });
    const caption = Object.assign(document.createElement("span"), { className: "thumb-state" });
    thumb.append(image, bar, caption);
    const remove = button("thumb-remove", () => this.onRemove(photo));
    remove.setAttribute("aria-label", `Remove ${photo.name}`);
    remove.textContent = "×";
    item.append(thumb, remove);
    this.items.set(photo, item);
    this.list.append(item);
  }

  update(photo, selected) {
    const item = this.items.get(photo);
    const [thumb, bar, caption] = [item.querySelector(".thumb"), item.querySelector("progress"), item.querySelector(".thumb-state")];
    item.dataset.state = photo.state;
    caption.textContent = queueWords(photo);
    thumb.setAttribute("aria-label", `${photo.name}: ${queueWords(photo)}`);
    thumb.title = photo.name;
    if (selected && !thumb.hasAttribute("aria-current")) this.reveal(item);
    if (selected) thumb.setAttribute("aria-current", "true");
    else thumb.removeAttribute("aria-current");
    bar.hidden = ["waiting", "done", "failed"].includes(photo.state);
    if (photo.share === null) bar.removeAttribute("value");
    else bar.value = photo.share;
  }
}

function button(className, onClick) {
  const made = Object.assign(document.createElement("button"), { type: "button", className });
  made.addEventListener("click", onClick);
  return made;
}

function extension(name) {
  const text = name.includes(".") ? name.split(".").pop().slice(0, 4).toUpperCase() : "?";
  return Object.assign(document.createElement("span"), { className: "thumb-unshown", textContent: text, ariaHidden: "true" });
}
