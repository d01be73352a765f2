// Small things that every part of the page needs.

export const $ = (id) => document.getElementById(id);

export function paragraph(className, textContent) {
  return Object.assign(document.createElement("p"), { className, textContent });
}

export function link(href, textContent, className = "") {
  return href ? Object.assign(document.createElement("a"), { href, textContent, className }) : textContent;
}

// Tells a screen reader, without moving anything that is seen.
export function say(text) {
  $("say").textContent = text;
}

// Shows `parts` (message, hint, command, detail, retry) in the alert, or hides it when there are none.
export function fillAlert(parts, onRetry) {
  const box = $("alert");
  box.hidden = !parts;
  box.replaceChildren();
  if (!parts) return;
  box.append(paragraph("alert-message", parts.message));
  if (parts.hint || parts.command) {
    const hint = paragraph("alert-hint", parts.hint || "");
    if (parts.command) hint.append(" ", Object.assign(document.createElement("code"), { textContent: parts.command }));
    box.append(hint);
  }
  if (parts.detail) box.append(paragraph("alert-detail", parts.detail));
  if (!onRetry) return;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "button", textContent: "Try again" });
  button.addEventListener("click", onRetry);
  box.append(button);
}

// Says moments in the reader's own time and words; the server wrote them in UTC.
export function localTimes(root = document) {
  for (const moment of root.querySelectorAll("time")) {
    const date = new Date(moment.dateTime);
    if (Number.isNaN(date.valueOf())) continue;
    moment.title = moment.textContent;
    moment.textContent = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
}
