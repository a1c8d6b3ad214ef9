// Keeps the parts of a page that are marked with `data-live` up to date. Everything else works without this script.
"use strict";

const toggle = document.querySelector("button.live");
const tail = document.querySelector("tbody[data-events]");
const EVENTS_MAX = 200;

// A part that somebody works in is not replaced under their hands.
function isInUse(part) {
  if (part.contains(document.activeElement) && document.activeElement !== document.body) return true;
  const selection = getSelection();
  return selection && !selection.isCollapsed && part.contains(selection.anchorNode);
}

// What was opened by hand stays open.
function keepOpen(from, to) {
  const before = from.querySelectorAll("details");
  const after = to.querySelectorAll("details");
  if (before.length === after.length) before.forEach((one, at) => (after[at].open = one.open));
}

let asking = false;

async function refresh() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (!next || isInUse(part)) continue;
      keepOpen(part, next);
      if (next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
    }
  } catch {
    // The server is away. The connection below comes back with it.
  } finally {
    asking = false;
  }
}

function cell(text) {
  const td = document.createElement("td");
  td.textContent = text ?? "";
  return td;
}

function show(event) {
  const row = document.createElement("tr");
  const time = cell(event.at.slice(11, 23));
  time.title = event.at;
  const job = cell("");
  if (event.job) {
    const link = document.createElement("a");
    link.href = tail.dataset.jobs + encodeURIComponent(event.job);
    link.textContent = event.job;
    job.append(link);
  }
  row.append(time, cell(event.kind), cell(event.queue), job, cell(event.detail));
  tail.prepend(row);
  while (tail.rows.length > EVENTS_MAX) tail.deleteRow(-1);
}

let source = null;

function start() {
  if (tail) {
    source = new EventSource(tail.dataset.events);
    source.onmessage = (message) => show(JSON.parse(message.data));
  } else {
    source = new EventSource(document.body.dataset.liveFrom);
    source.addEventListener("change", refresh);
  }
  source.onopen = () => toggle.classList.add("on");
  source.onerror = () => toggle.classList.remove("on");
}

function stop() {
  source?.close();
  source = null;
  toggle.classList.remove("on");
}

if (toggle && (tail || document.querySelector("[data-live]"))) {
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    const isOn = toggle.getAttribute("aria-pressed") === "true";
    toggle.setAttribute("aria-pressed", String(!isOn));
    isOn ? stop() : start();
  });
  start();
  addEventListener("pagehide", stop);
}
