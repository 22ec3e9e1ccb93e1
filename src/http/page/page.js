"use strict";
// The page as the server writes it, again every five seconds while somebody sees it.
async function refresh() {
  const old = document.querySelector("main");
  if (!document.hidden) {
    try {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      const open = new Set([...old.querySelectorAll("details[open]")].map((each) => each.id));
      next.querySelectorAll("details").forEach((each) => { each.open = open.has(each.id); });
      old.replaceWith(next);
      document.title = next.dataset.title;
      next.dataset.refreshed = "yes";
    } catch (error) {
      const state = old.querySelector("#state");
      state.textContent = "no answer from the server since " + (state.dataset.lost ||= new Date().toLocaleTimeString());
      state.className = "bad";
    }
  }
  setTimeout(refresh, 5000);
}
setTimeout(refresh, 5000);
