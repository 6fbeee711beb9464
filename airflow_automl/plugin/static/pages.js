// Three things that a page can't do by itself: follow Airflow's theme, show what has changed, and open Airflow's own
// pages from within the frame that Airflow puts these pages into. Everything works without it, a little less well.
"use strict";

const framed = window.parent !== window;

function airflow() {
  try {
    return framed ? window.parent.document : null;
  } catch {
    return null; // somebody else's frame
  }
}

// Theme

function stored() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function theme() {
  const root = airflow()?.documentElement;
  const named = ["dark", "light"].find((each) => root?.classList.contains(each)) ?? stored();
  if (named === "dark" || named === "light") document.documentElement.dataset.theme = named;
  else delete document.documentElement.dataset.theme;
}

theme();
const host = airflow();
if (host) {
  document.documentElement.dataset.framed = "";
  const watcher = new MutationObserver(theme);
  watcher.observe(host.documentElement, { attributes: true, attributeFilter: ["class"] });
  window.addEventListener("pagehide", () => watcher.disconnect());
}

// What has changed

// What the server sent of each part: scripts may have changed what is shown of it since.
const sent = new WeakMap();

function replace(old, fresh) {
  const news = fresh.innerHTML;
  if ((sent.get(old) ?? old.innerHTML) === news) return;
  sent.set(old, news);
  const stops = "a, button, input, summary, .scroll";
  const scrolls = [...old.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  const open = [...old.querySelectorAll("details")].map((each) => each.open);
  const focused = old.contains(document.activeElement) ? [...old.querySelectorAll(stops)].indexOf(document.activeElement) : -1;
  old.className = fresh.className;
  // The announced line stays the same element, or screen readers would not hear it change.
  const spoken = old.querySelector("[role=status]");
  const line = fresh.querySelector("[role=status]");
  if (spoken && line) {
    if (spoken.textContent !== line.textContent) spoken.textContent = line.textContent;
    line.replaceWith(spoken);
  }
  old.replaceChildren(...fresh.childNodes);
  old.querySelectorAll("details").forEach((each, index) => (each.open = open[index] ?? false));
  old.querySelectorAll(".scroll").forEach((each, index) => (each.scrollLeft = scrolls[index] ?? 0));
  return () => focused >= 0 && old.querySelectorAll(stops)[focused]?.focus();
}

// A page changes its kind when a task submits its job, when the job ends, when the service comes back: then all of it is
// new. Else only its live parts are.
function show(page) {
  const refocus = [];
  const [old, fresh] = [document, page].map((each) => each.querySelector("main"));
  if (old.dataset.kind !== fresh.dataset.kind) old.replaceWith(fresh);
  else
    for (const part of document.querySelectorAll("[data-live]")) {
      const news = page.getElementById(part.id);
      if (news) refocus.push(replace(part, news));
    }
  document.title = page.title;
  document.dispatchEvent(new Event("renewed"));
  refocus.forEach((each) => each?.());
}

let next;

async function refresh() {
  clearTimeout(next);
  let seconds = Number(document.body.dataset.refresh);
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // What a proxy says while the API server restarts is no page of ours.
      if (page.querySelector("main[data-kind]")) {
        show(page);
        document.body.dataset.refresh = page.body.dataset.refresh ?? "";
        seconds = Number(page.body.dataset.refresh);
      }
    } catch {
      // The API server is away for a moment: what is shown stays, and it is asked again.
    }
  }
  if (seconds) next = setTimeout(refresh, seconds * 1000);
}

// Links to elsewhere: the frame may not navigate what is around it, so Airflow's document follows the link for us.

function outside(event) {
  const link = event.target.closest?.("a[data-outside]");
  const around = airflow();
  if (!link || !around || event.defaultPrevented || event.button !== 0) return;
  event.preventDefault();
  const twin = around.createElement("a");
  twin.href = link.href;
  twin.rel = "noopener noreferrer";
  if (link.dataset.outside === "new" || event.ctrlKey || event.metaKey) twin.target = "_blank";
  around.body.append(twin);
  twin.click();
  twin.remove();
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-live]").forEach((each) => sent.set(each, each.innerHTML));
  document.addEventListener("click", outside);
  document.querySelectorAll("form[data-submit-on-change] select").forEach((each) => {
    each.addEventListener("change", () => each.form.requestSubmit());
  });
  const seconds = Number(document.body.dataset.refresh);
  if (seconds) next = setTimeout(refresh, seconds * 1000);
  document.addEventListener("visibilitychange", () => Number(document.body.dataset.refresh) && refresh());
});
