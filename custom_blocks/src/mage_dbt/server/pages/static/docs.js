// dbt's documentation: the page is loaded again when it is made. Without JavaScript it loads itself.
"use strict";

(() => {
  const making = document.getElementById("docs-making");
  const frame = document.getElementById("docs-frame");

  if (making) {
    const look = async () => {
      const asked = { cache: "no-store" };
      const answer = document.hidden ? null : await fetch(making.dataset.state, asked).catch(() => null);
      if (answer?.ok && (await answer.json()).state !== "making") {
        location.reload();
      } else {
        setTimeout(look, 1000 * making.dataset.seconds);
      }
    };
    look();
  }

  // It knows its pages by what stands behind the # of its address.
  if (frame) {
    const start = frame.src;
    const lead = () => {
      frame.src = start + location.hash;
    };
    if (location.hash) lead();
    window.addEventListener("hashchange", lead);
  }
})();
