// A run's page while the run goes on: its heading follows the live part. When the run is over, the
// whole page is loaded again. Not when a refresh asks for a decision: its question comes as a live
// part, and somebody may have begun to answer it.
"use strict";

(() => {
  const progress = document.getElementById("progress");
  const heading = document.getElementById("state");
  const look = () => {
    const state = progress.querySelector("[data-state]")?.textContent;
    if (state && heading.textContent !== state) {
      heading.textContent = state;
    }
    const link = progress.querySelector("[data-over]");
    if (link) {
      observer.disconnect();
      location.replace(link.href);
    }
  };
  const observer = new MutationObserver(look);
  observer.observe(progress, { childList: true, subtree: true });
  look();
})();
