// Keeps a page up to date: asks for it again every two seconds and puts the new <main> in place of the old. It waits while nobody
// looks, and while somebody reads closely: with text selected, or with the focus inside.
"use strict";

(() => {
  const EVERY = 2000;
  const PATIENCE = 10000;
  const content = document.getElementById("content");
  const live = document.getElementById("live");
  const said = live.firstElementChild;
  const pause = document.createElement("button");
  let paused = false;
  let timer = 0;

  const say = (text) => {
    if (said.textContent !== text) said.textContent = text;
  };

  const isRead = () => {
    const selection = document.getSelection();
    const selects = selection && !selection.isCollapsed && content.contains(selection.anchorNode);
    const focused = document.activeElement;
    return selects || (focused !== content && content.contains(focused));
  };

  const show = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = page.getElementById("content");
    if (!fresh) return false;
    if (fresh.innerHTML !== content.innerHTML) {
      const scrolled = [...content.querySelectorAll(".scroll, pre")].map((part) => [part.scrollLeft, part.scrollTop]);
      content.replaceChildren(...fresh.childNodes);
      [...content.querySelectorAll(".scroll, pre")].forEach((part, at) => {
        if (scrolled[at]) [part.scrollLeft, part.scrollTop] = scrolled[at];
      });
      document.title = page.title;
    }
    return true;
  };

  const refresh = async () => {
    const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (response.status === 401) {
      say("Logged out: load the page again.");
      paused = true;
      pause.hidden = true;
      return;
    }
    const text = await response.text();
    if (isRead()) return;
    say(show(text) ? "Live" : "The server does not answer with a page.");
  };

  const turn = async () => {
    if (!paused && !document.hidden && !isRead()) {
      try {
        await refresh();
      } catch {
        say("Not reached: this is what was last known.");
      }
    } else if (!paused && !document.hidden) {
      say("Waits while you read.");
    }
    later();
  };

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(turn, EVERY);
  };

  pause.type = "button";
  pause.textContent = "Pause";
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    say(paused ? "Paused" : "Live");
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      clearTimeout(timer);
      turn();
    }
  });
  live.append(pause);
  say("Live");
  later();
})();
