// The page /ask/run in the browser: the list follows what is typed, without a page in between.
"use strict";

(() => {
  const form = document.querySelector("[data-pick]");
  if (form) {
    pick(form);
  }
  // A live part may bring such a box later.
  document.addEventListener("change", (event) => {
    event.target.closest("[data-resubmit]")?.form.requestSubmit();
  });

  function pick(form) {
    const input = form.querySelector("input[type=search]");
    const list = form.querySelector("ul");

    const entry = (model) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = form.dataset.to + encodeURIComponent(model.node);
      const name = document.createElement("b");
      name.textContent = model.name;
      link.append(name);
      if (model.description) {
        const text = document.createElement("span");
        text.className = "why";
        text.textContent = ` ${model.description}`;
        link.append(text);
      }
      item.append(link);
      return item;
    };

    window.findModels("").catch(() => {}); // They are here when the first letter is typed.
    input.addEventListener("input", async () => {
      const wanted = input.value.trim();
      const found = await window.findModels(wanted).catch(() => null);
      if (found === null || wanted !== input.value.trim()) {
        return; // Without the names the form asks the server; other letters have a look of their own.
      }
      list.replaceChildren(...found.map(entry));
      form.querySelector("[data-empty]").hidden = found.length > 0;
      form.querySelector("[data-more]")?.remove();
    });
    // Enter takes the first that is listed, as one sees it.
    form.addEventListener("submit", (event) => {
      const first = list.querySelector("a");
      if (first && input.value.trim()) {
        event.preventDefault();
        location.assign(first.href);
      }
    });
  }
})();
