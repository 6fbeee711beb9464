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

function replace(old, fresh) {
  if (old.innerHTML === fresh.innerHTML) return;
  const places = [...old.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  const focused = old.contains(document.activeElement) ? [...old.querySelectorAll("a, .scroll")].indexOf(document.activeElement) : -1;
  old.className = fresh.className;
  // The announced line stays the same element, or screen readers would not hear it change.
  const spoken = old.querySelector("[role=status]");
  const news = fresh.querySelector("[role=status]");
  if (spoken && news) {
    if (spoken.textContent !== news.textContent) spoken.textContent = news.textContent;
    news.replaceWith(spoken);
  }
  old.replaceChildren(...fresh.childNodes);
  old.querySelectorAll(".scroll").forEach((each, index) => (each.scrollLeft = places[index] ?? 0));
  if (focused >= 0) old.querySelectorAll("a, .scroll")[focused]?.focus();
}

async function refresh() {
  let seconds = Number(document.body.dataset.refresh);
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.status === 401 || answer.status === 403) return location.reload();
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.ok !== (document.querySelector(".message[role=alert]") === null)) return location.reload();
      for (const old of document.querySelectorAll("[data-live]")) {
        const fresh = page.getElementById(old.id);
        if (fresh) replace(old, fresh);
      }
      document.title = page.title;
      if (answer.ok) seconds = Number(page.body.dataset.refresh);
    } catch {
      // The API server is away for a moment: what is shown stays, and it is asked again.
    }
  }
  if (seconds) setTimeout(refresh, seconds * 1000);
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
  document.addEventListener("click", outside);
  document.querySelectorAll("form[data-submit-on-change] select").forEach((each) => {
    each.addEventListener("change", () => each.form.requestSubmit());
  });
  const seconds = Number(document.body.dataset.refresh);
  if (seconds) setTimeout(refresh, seconds * 1000);
});
