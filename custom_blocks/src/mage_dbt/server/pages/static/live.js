// Live parts of a page: the tab's title follows them, and what a reader has opened stays open.
"use strict";

(() => {
  const wanted = new Map();

  // A reader opens and closes by a click, also with the keyboard.
  document.addEventListener("click", (event) => {
    const details = event.target.closest("summary")?.parentElement;
    if (details?.id && details.closest("[data-live]")) {
      wanted.set(details.id, !details.open);
    }
  });

  const follow = (part) => {
    const title = part.querySelector("[data-title]")?.dataset.title;
    if (title && document.title !== title) {
      document.title = title;
    }
    for (const [id, open] of wanted) {
      const details = document.getElementById(id);
      if (details && details.open !== open) {
        details.open = open;
      }
    }
  };

  for (const part of document.querySelectorAll("[data-live]")) {
    new MutationObserver(() => follow(part)).observe(part, {
      attributes: true,
      attributeFilter: ["open", "data-title"],
      childList: true,
      subtree: true,
    });
  }
})();
