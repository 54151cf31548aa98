// What the page does in the browser beside links and forms: keys, the model picker, buttons that
// take one click, and the notice that the connection is lost. Without it every task still works.
"use strict";

(() => {
  const typing = (target) => target.closest("input, textarea, select, dialog, [contenteditable]");

  // -------------------------------------------------------------- one click
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    if (signedOut && form.method === "post" && !form.dataset.checked) {
      event.preventDefault();
      form.dataset.sent = "yes";
      sendWhenSignedIn(form, event.submitter);
      return;
    }
    delete form.dataset.checked;
    form.dataset.sent = "yes";
    for (const button of form.querySelectorAll("button")) {
      button.setAttribute("aria-disabled", "true");
    }
  });

  // Behind a login the proxy would send the form's reader on to the provider, without the form, and
  // a browser does not even go there. So whether somebody is signed in is asked first.
  const signedOut = document.getElementById("signed-out");

  async function sendWhenSignedIn(form, submitter) {
    const ping = { redirect: "manual", cache: "no-store" };
    // Without a connection the browser itself says so when it sends the form.
    const answer = await fetch(signedOut.dataset.ping, ping).catch(() => null);
    delete form.dataset.sent;
    signedOut.hidden = answer === null || answer.ok;
    if (signedOut.hidden) {
      form.dataset.checked = "yes";
      form.requestSubmit(submitter);
    }
  }

  // Back in the browser shows the page as it was left.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      for (const button of form.querySelectorAll("button")) {
        button.removeAttribute("aria-disabled");
      }
    }
  });

  // A dangerous button can be pressed once the name that it asks for is typed.
  // Spaces around commas, and what a page shows as one space, mean nothing.
  const typed = (names) => names.split(",").map((name) => name.trim().split(/\s+/).join(" ")).join(",");
  const judge = (field) => {
    const button = field.form.querySelector("[data-needs-name]");
    if (button) {
      button.disabled = typed(field.value) !== typed(field.dataset.name);
    }
  };
  const judgeAll = () => document.querySelectorAll("[data-name]").forEach(judge);
  judgeAll();
  // A live part brings such fields later.
  new MutationObserver(judgeAll).observe(document.body, { childList: true, subtree: true });
  document.addEventListener("input", (event) => {
    const field = event.target.closest("[data-name]");
    if (field) {
      judge(field);
    }
  });

  // ------------------------------------------------------------ copy a link
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) {
      await navigator.clipboard.writeText(new URL(button.dataset.copy, location.href).href);
      button.textContent = button.dataset.copied;
    }
  });

  // --------------------------------------------------------------- the keys
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) {
      return;
    }
    if (event.key === "/") {
      event.preventDefault();
      open();
    } else if (event.key === "j" || event.key === "k") {
      const stops = [...document.querySelectorAll("[data-stop]")];
      const at = stops.indexOf(document.activeElement?.closest("[data-stop]"));
      const to = stops[event.key === "j" ? Math.min(at + 1, stops.length - 1) : Math.max(at - 1, 0)];
      to?.focus();
      to?.scrollIntoView({ block: "nearest" });
    }
  });

  // ------------------------------------------------------- the model picker
  const dialog = document.getElementById("find");
  const input = dialog.querySelector("input");
  const list = dialog.querySelector("ul");
  const notice = dialog.querySelector("[data-empty]");
  const MOST_FOUND = 50;
  const MOST_WORDS = 5; // that may stand in another order than in the name
  const MOST_RANKED = 20000;
  // uFuzzy's own settings for alphabets beyond Latin; a word may have one wrong letter.
  const fuzzy = new uFuzzy({
    unicode: true,
    interSplit: "[^\\p{L}\\d']+",
    intraSplit: "\\p{Ll}\\p{Lu}",
    intraBound: "\\p{L}\\d|\\d\\p{L}|\\p{Ll}\\p{Lu}",
    intraChars: "[\\p{L}\\d']",
    intraContr: "'\\p{L}{1,2}\\b",
    intraMode: 1,
  });
  let names = null;
  let models = [];
  let words = [];
  let descriptions = [];
  let at = -1;

  // Names are asked for once a page; the browser keeps them while the same commit is live.
  function load() {
    names ??= (async () => {
      const answer = await fetch(dialog.dataset.models);
      if (!answer.ok) {
        throw new Error(answer.statusText);
      }
      models = (await answer.json()).models;
      words = models.map((model) => model.name);
      descriptions = models.map((model) => plain(model.description));
    })().catch((error) => {
      names = null; // The next look asks again.
      throw error;
    });
    return names;
  }

  function plain(text) {
    return text.normalize("NFC").toLowerCase();
  }

  async function open() {
    if (!dialog.open) {
      dialog.showModal();
    }
    input.select();
    try {
      await load();
    } catch {
      notice.textContent = notice.dataset.lost;
      return;
    }
    show();
  }

  function show() {
    const wanted = input.value.trim();
    const found = search(wanted);
    list.replaceChildren(...found.map(([model, ranges], place) => entry(model, ranges, place)));
    list.hidden = found.length === 0;
    list.scrollTop = 0;
    input.setAttribute("aria-expanded", String(found.length > 0));
    notice.textContent = found.length > 0 || models.length === 0 ? "" : notice.dataset.none;
    select(found.length > 0 ? 0 : -1);
  }

  // Pairs of a model and the places in its name that match, the best first: names, then those of
  // which only the description has the words. Without a word the first models.
  function search(wanted) {
    if (!wanted) {
      return models.slice(0, MOST_FOUND).map((model) => [model, []]);
    }
    const [ids, info, order] = fuzzy.search(words, wanted.normalize("NFC"), MOST_WORDS, MOST_RANKED);
    const named = order
      ? order.map((place) => ({ id: info.idx[place], ranges: info.ranges[place] }))
      : (ids ?? []).map((id) => ({ id, ranges: [] }));
    named.forEach((match) => (match.inside = inside(words[match.id], match.ranges)));
    // Words that begin where a word of the name begins come first; uFuzzy's order holds otherwise.
    named.sort((left, right) => left.inside - right.inside);
    const found = named.slice(0, MOST_FOUND).map((match) => [models[match.id], match.ranges]);
    const seen = new Set(named.map((match) => match.id));
    const parts = plain(wanted).split(/\s+/);
    for (let id = 0; id < models.length && found.length < MOST_FOUND; id++) {
      if (!seen.has(id) && parts.every((part) => descriptions[id].includes(part))) {
        found.push([models[id], []]);
      }
    }
    return found;
  }

  // For the page that has a list of its own.
  window.findModels = async (wanted) => {
    await load();
    return search(wanted).map(([model]) => model);
  };

  // How many of the matched places begin inside a word.
  function inside(name, ranges) {
    let count = 0;
    for (let place = 0; place < ranges.length; place += 2) {
      const joined = place > 0 && ranges[place] === ranges[place - 1];
      count += ranges[place] > 0 && !joined && /[\p{L}\d]/u.test(name[ranges[place] - 1]) ? 1 : 0;
    }
    return count;
  }

  function entry(model, ranges, place) {
    const item = document.createElement("li");
    item.id = `found-${place}`;
    item.setAttribute("role", "option");
    item.dataset.address = dialog.dataset.model + encodeURIComponent(model.node);
    const name = document.createElement("b");
    let done = 0;
    for (let part = 0; part < ranges.length; part += 2) {
      const mark = document.createElement("mark");
      mark.textContent = model.name.slice(ranges[part], ranges[part + 1]);
      name.append(model.name.slice(done, ranges[part]), mark);
      done = ranges[part + 1];
    }
    name.append(model.name.slice(done));
    item.append(name);
    if (model.description) {
      const text = document.createElement("span");
      text.className = "why";
      text.dir = "auto";
      text.textContent = model.description;
      item.append(" ", text);
    }
    return item;
  }

  function select(place) {
    list.children[at]?.setAttribute("aria-selected", "false");
    at = place;
    const chosen = list.children[at];
    chosen?.setAttribute("aria-selected", "true");
    chosen?.scrollIntoView({ block: "nearest" });
    if (chosen) {
      input.setAttribute("aria-activedescendant", chosen.id);
    } else {
      input.removeAttribute("aria-activedescendant");
    }
  }

  function go(item, aside) {
    const address = item
      ? item.dataset.address
      : `${dialog.dataset.search}?search=${encodeURIComponent(input.value.trim())}`;
    if (aside) {
      window.open(address, "_blank", "noopener");
    } else {
      location.assign(address);
    }
  }

  input.addEventListener("input", () => names?.then(show, () => {}));
  input.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    const last = list.children.length - 1;
    if (event.isComposing) {
      return; // Enter ends a Korean syllable here
    }
    if (steps && last >= 0) {
      event.preventDefault();
      select(Math.min(Math.max(at + steps, 0), last));
    } else if (event.key === "Escape") {
      event.preventDefault(); // the browser would empty the field first
      dialog.close();
    } else if (event.key === "Enter") {
      event.preventDefault();
      go(list.children[at], event.ctrlKey || event.metaKey);
    }
  });
  list.addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) {
      go(item, event.ctrlKey || event.metaKey);
    }
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) {
      dialog.close();
    }
  });
  for (const link of document.querySelectorAll("[data-find]")) {
    link.addEventListener("pointerenter", () => load().catch(() => {}));
    link.addEventListener("click", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
        event.preventDefault();
        open();
      }
    });
  }

  // ------------------------------------------------------- lost connections
  const offline = document.getElementById("offline");
  document.addEventListener("htmx:sse:error", () => (offline.hidden = false));
  document.addEventListener("htmx:sse:after:connection", () => (offline.hidden = true));
})();
