// Mouse, fingers, wheel and keys on the viewer.

const SLIDE = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };

// Lets hands move `viewer`; while its root has the class "busy", they do nothing.
export function listen(viewer) {
  const { root, handle } = viewer;
  const pointers = new Map();
  let dragging = "";

  const idle = () => !viewer.size || root.classList.contains("busy");
  const point = (event) => {
    const box = root.getBoundingClientRect();
    return { px: event.clientX - box.left, py: event.clientY - box.top };
  };

  root.addEventListener("pointerdown", (event) => {
    if (idle() || event.button > 0) return;
    root.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, point(event));
    const onHandle = handle.contains(event.target);
    dragging = onHandle || (viewer.fitted && viewer.comparing) ? "split" : "pan";
    if (pointers.size === 2) dragging = "pinch";
    root.classList.toggle("panning", dragging === "pan");
    // A finger that only wants to scroll the page must not make the divider jump.
    if (dragging === "split" && !onHandle && event.pointerType !== "touch") viewer.slideTo(point(event).px);
  });

  root.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const now = point(event);
    if (dragging === "split") viewer.slideTo(now.px);
    else if (dragging === "pan") viewer.pan(now.px - last.px, now.py - last.py);
    else pinch(viewer, last, now, [...pointers].find(([id]) => id !== event.pointerId)?.[1]);
    pointers.set(event.pointerId, now);
  });

  const release = (event) => {
    pointers.delete(event.pointerId);
    if (pointers.size) dragging = "pan";
    root.classList.remove("panning");
  };
  root.addEventListener("pointerup", release);
  root.addEventListener("pointercancel", release);

  root.addEventListener("wheel", (event) => {
    // A page that is scrolled past the photo must not stick to it: the wheel zooms after a click, or with Ctrl.
    const meant = event.ctrlKey || event.metaKey || root.contains(document.activeElement);
    if (idle() || !meant) return;
    const out = event.deltaY > 0;
    if (out && viewer.scale <= viewer.lowest && !event.ctrlKey) return;
    event.preventDefault();
    const { px, py } = point(event);
    const distance = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : 1);
    viewer.zoom(viewer.scale * Math.exp(-distance * 0.003), px, py);
  }, { passive: false });

  root.addEventListener("dblclick", (event) => {
    if (idle() || handle.contains(event.target)) return;
    const { px, py } = point(event);
    if (viewer.fitted) viewer.zoom(Math.max(viewer.actual, viewer.fitScale * 2), px, py);
    else viewer.fit();
  });

  handle.addEventListener("keydown", (event) => {
    if (!(event.key in SLIDE)) return;
    event.preventDefault();
    event.stopPropagation();
    viewer.setSplit(viewer.split + SLIDE[event.key] * (event.shiftKey ? 5 : 1));
  });
  root.addEventListener("keydown", (event) => !idle() && zoomByKey(viewer, event));
}

function pinch(viewer, last, now, other) {
  if (!other) return;
  const span = (a, b) => Math.hypot(a.px - b.px, a.py - b.py) || 1;
  viewer.zoom((viewer.scale * span(now, other)) / span(last, other), (now.px + other.px) / 2, (now.py + other.py) / 2);
}

function zoomByKey(viewer, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const far = event.shiftKey ? 200 : 40;
  const actions = {
    "+": () => viewer.step(1), "=": () => viewer.step(1), "-": () => viewer.step(-1), 0: () => viewer.fit(), 1: () => viewer.zoom(viewer.actual),
    ArrowLeft: () => viewer.pan(far, 0), ArrowRight: () => viewer.pan(-far, 0), ArrowUp: () => viewer.pan(0, far), ArrowDown: () => viewer.pan(0, -far),
  };
  if (!(event.key in actions) || (event.key.startsWith("Arrow") && viewer.fitted)) return;
  event.preventDefault();
  actions[event.key]();
}
