// What every page has: the theme button, keys that go to the views, and the list of a page's keys.
//
// A page adds its own with `keys([["x", "what it does", () => …], …])`. No key is taken from a field
// in which one types, nor together with Ctrl, Alt or Cmd.
const root = document.documentElement;
const help = document.getElementById("help");
const VIEWS = { r: "/runs", m: "/models", p: "/playground", c: "/compare", v: "/review" };
const own = new Map();
let going = 0;

export function keys(list) {
  for (const [key, said, run] of list) own.set(key, { said, run });
}

export function isTyping(target) {
  return Boolean(target?.closest?.("input:not([type=checkbox],[type=radio],[type=range]),textarea,select,[contenteditable]"));
}

// A form whose empty fields, or those that say what is usual, are left out: addresses hold what was
// asked and nothing else.
export function plain(form, isUsual = (field) => !field.value) {
  form.addEventListener("submit", () => {
    for (const field of form.elements) if (field.name && isUsual(field)) field.disabled = true;
  });
  addEventListener("pageshow", () => {
    for (const field of form.querySelectorAll("[disabled]")) field.disabled = false;
  });
}

function toggleTheme() {
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("karat-theme", root.dataset.theme);
  } catch {
    // Not kept where a browser keeps nothing.
  }
}

function link(href) {
  return document.querySelector(`.top nav a[href="${href}"]`);
}

// The next link of a list, or the one before; the first where none has the focus.
function step(by) {
  const items = [...document.querySelectorAll("[data-keys=list] [data-item]")];
  if (!items.length) return;
  const here = items.indexOf(document.activeElement);
  const next = here < 0 ? (by > 0 ? 0 : items.length - 1) : here + by;
  items[Math.min(items.length - 1, Math.max(0, next))].focus();
}

function listed() {
  const found = [];
  if (document.querySelector("[data-keys=list]")) {
    found.push(["j", "next"], ["k", "previous"], ["Enter", "open"]);
  }
  for (const [key, { said }] of own) found.push([key, said]);
  if (document.querySelector("input[type=search]")) found.push(["/", "search"]);
  for (const [key, href] of Object.entries(VIEWS)) {
    if (link(href)) found.push([`g ${key}`, `go to ${link(href).textContent.trim()}`]);
  }
  if (!own.has("t")) found.push(["t", "light or dark"]);
  found.push(["?", "these keys"], ["Esc", "close"]);
  return found;
}

function showHelp() {
  const list = help.querySelector("dl");
  list.replaceChildren();
  for (const [key, said] of listed()) {
    const term = document.createElement("dt");
    for (const part of key.split(" ")) {
      const shown = document.createElement("kbd");
      shown.textContent = part;
      term.append(shown, " ");
    }
    const meaning = document.createElement("dd");
    meaning.textContent = said;
    list.append(term, meaning);
  }
  help.showModal();
}

const COMMON = {
  "?": showHelp,
  t: toggleTheme,
  j: () => step(1),
  k: () => step(-1),
  "/": () => document.querySelector("input[type=search]")?.focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && event.target.matches?.("input[type=search]")) event.target.blur();
  if (isTyping(event.target)) return;
  const after = going && Date.now() - going < 1500 ? VIEWS[event.key] : undefined;
  going = 0;
  if (after && link(after)) {
    event.preventDefault();
    location.assign(after);
    return;
  }
  if (own.has(event.key) && own.get(event.key).run) {
    event.preventDefault();
    own.get(event.key).run(event);
  } else if (event.key === "g") {
    going = Date.now();
  } else if (Object.hasOwn(COMMON, event.key)) {
    event.preventDefault();
    COMMON[event.key]();
  }
});

document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
document.getElementById("theme").addEventListener("click", toggleTheme);
document.getElementById("keys").addEventListener("click", showHelp);
help.addEventListener("click", (event) => {
  if (event.target === help) help.close(); // outside of what it shows
});
