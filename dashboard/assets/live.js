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

// A page that takes long is asked for less often: the server spends a tenth of its time on it at most.
let asking = false;
let restUntil = 0;

async function refresh() {
  if (asking || performance.now() < restUntil) return;
  asking = true;
  const begun = performance.now();
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
    restUntil = performance.now() + 10 * (performance.now() - begun) - 1_000;
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
let isWanted = true;
const RETRY_MS = 5_000;

function start() {
  if (source || !isWanted || document.hidden) return;
  source = new EventSource(tail ? tail.dataset.events : document.body.dataset.liveFrom);
  if (tail) source.onmessage = (message) => show(JSON.parse(message.data));
  else source.addEventListener("change", refresh);
  source.onopen = () => toggle.classList.add("on");
  source.onerror = () => {
    toggle.classList.remove("on");
    // The browser gives up after an answer that is no stream, such as that of a proxy or of a server that asks for the token.
    if (source?.readyState === EventSource.CLOSED) {
      stop();
      setTimeout(start, RETRY_MS);
    }
  };
}

function stop() {
  source?.close();
  source = null;
  toggle.classList.remove("on");
}

if (toggle && (tail || document.querySelector("[data-live]"))) {
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    isWanted = !isWanted;
    toggle.setAttribute("aria-pressed", String(isWanted));
    isWanted ? start() : stop();
  });
  // A page that nobody sees holds no connection, except for the events, which would be missed.
  document.addEventListener("visibilitychange", () => (document.hidden && !tail ? stop() : start()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", start);
  start();
}
