// Puts the page together: photos go from intake.js through queue.js onto the stage, and live.js tells what serves.

import { $, localTimes, say } from "./dom.js";
import { Filmstrip } from "./filmstrip.js";
import { listen } from "./intake.js";
import { Live } from "./live.js";
import { Queue } from "./queue.js";
import { Stage } from "./stage.js";

const form = $("send");
const bench = $("main");
const queue = new Queue(form, changed);
const stage = new Stage(bench, queue);
const strip = new Filmstrip($("queue"), { onSelect: select, onRemove: remove });
const told = new Map(); // photo -> the state that was said last

function changed(photo) {
  if (stage.photo && !queue.photos.includes(stage.photo)) choose(queue.photos.at(-1) ?? null);
  else if (!photo || photo === stage.photo) stage.render();
  strip.render(queue.photos, stage.photo);
  $("choose").textContent = queue.photos.length ? "Add photos" : "Choose photos";
  offerAgain();
  if (photo) announce(photo);
}

function announce(photo) {
  if (told.get(photo) === photo.state) return;
  told.set(photo, photo.state);
  const { production } = photo.results;
  if (photo.state === "working") say(`${photo.name}: upscaling.`);
  if (photo.state === "done" && production) say(`${photo.name}: done, made by version ${production.version}.`);
  if (photo.state === "failed" && photo !== stage.photo) say(`${photo.name}: ${photo.error.message}`);
}

function choose(photo) {
  stage.select(photo);
  strip.render(queue.photos, photo);
}

function select(photo) {
  choose(photo);
  $("result").scrollIntoView({ block: "nearest" });
}

function remove(photo) {
  const at = queue.photos.indexOf(photo);
  queue.remove(photo);
  const neighbour = queue.photos[Math.min(at, queue.photos.length - 1)];
  if (neighbour) strip.focus(neighbour);
  else $("photo").focus({ preventScroll: true });
}

// ---- another version serves

const live = new Live(bench, offerAgain);

function offerAgain() {
  const count = queue.photos.filter((photo) => queue.outdated(photo, live.versions).length).length;
  $("again").hidden = !count;
  $("again").textContent = count === 1 ? "Run the photo again" : `Run ${count} photos again`;
}

$("again").addEventListener("click", () => {
  queue.renew(live.versions, stage.photo);
  live.dismiss();
});

// ---- from here on photos may come

localTimes();
listen(
  form,
  (sources) => {
    stage.tell(null);
    const [first] = queue.add(sources);
    choose(first);
  },
  (parts) => stage.tell(parts),
);
