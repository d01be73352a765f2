// Where photos come from: the picker, a drop, the clipboard, the samples.

import { $ } from "./dom.js";

const MOST = 30;

// `onPhotos(sources)` gets `{name, fields, url, file}` each; `onTrouble(parts)` what could not be taken.
export function listen(form, onPhotos, onTrouble) {
  const take = (files) => {
    const taken = files.slice(0, MOST);
    if (taken.length) onPhotos(taken.map(fromFile));
    if (files.length > MOST) onTrouble({ message: `This page takes ${MOST} photos at a time.`, hint: `${files.length - MOST} were left out: add them when these are done.` });
  };
  const takeChosen = () => {
    const files = [...$("photo").files];
    $("photo").value = ""; // the same photo may be chosen again
    take(files);
  };

  $("photo").multiple = true;
  $("photo").addEventListener("change", takeChosen);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const button = event.submitter;
    if (button?.name === "sample") onPhotos([fromSample(button)]);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
  listenForDrops((transfer) => {
    const { files, folders } = split(transfer);
    take(files);
    if (folders) onTrouble({ message: "A folder cannot be dropped here.", hint: "Open it and drop the photos in it." });
  });
  takeChosen(); // a quick person chose a photo before this script was there
}

function fromFile(file) {
  return { name: file.name || "photo", fields: { photo: file }, url: URL.createObjectURL(file), file };
}

function fromSample(button) {
  return { name: button.title, fields: { sample: button.value }, url: button.querySelector("img").src, file: null };
}

function split(transfer) {
  const files = [];
  let folders = 0;
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    if (item.webkitGetAsEntry?.()?.isDirectory) folders += 1;
    else files.push(item.getAsFile());
  }
  return { files, folders };
}

function listenForDrops(onDrop) {
  let inside = 0;
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const count = (step) => document.body.classList.toggle("dragging", (inside += step) > 0);
  document.addEventListener("dragenter", (event) => hasFiles(event) && count(1));
  document.addEventListener("dragleave", (event) => hasFiles(event) && count(-1));
  document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    inside = 0;
    count(0);
    onDrop(event.dataTransfer);
  });
}
