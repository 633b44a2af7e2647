// The form of a reviewer: what is chosen and typed, as an object and back; drafts of it.
//
// It is kept in this browser at every change, one draft for each answer, until the server has said
// that what was said is on the disk.

export const $ = (id) => document.getElementById(id);
const root = $("review");
const { slug, reviewer, mode } = root.dataset;
export const rating = mode === "rate";
export const ATTRIBUTES = [...document.querySelectorAll(".attribute")];

let shown = null; // the answer, or in a comparison the row: {at, text}
let current = 0; // attribute

export function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function chosen(name) {
  return document.querySelector(`input[name="${name}"]:checked`)?.value;
}

export function read() {
  const form = { comment: $("comment").value };
  if (rating) {
    form.values = {};
    for (const one of ATTRIBUTES) {
      const value = chosen(one.dataset.name);
      if (value !== undefined) form.values[one.dataset.name] = Number(value);
    }
    form.edited = $("edit-box").hidden ? null : edited();
  } else {
    form.verdict = chosen("verdict");
    form.strength = Number(chosen("strength"));
  }
  return form;
}

// A text box turns all line ends into \n: that alone is no edit.
function edited() {
  const text = $("edit").value;
  return text === shown.text.replace(/\r\n?/g, "\n") ? null : text;
}

// Shows a form for this answer: the one given, else its draft, else an empty one.
export function put(answer, given) {
  shown = answer;
  const form = given ?? kept() ?? {};
  $("comment").value = form.comment ?? "";
  if (rating) {
    for (const input of document.querySelectorAll(".attribute input")) {
      input.checked = form.values?.[input.name] === Number(input.value);
    }
    edit(form.edited != null, form.edited);
    return;
  }
  for (const input of document.querySelectorAll('input[name="verdict"]')) {
    input.checked = input.value === form.verdict;
  }
  for (const input of document.querySelectorAll('input[name="strength"]')) {
    input.checked = Number(input.value) === (form.strength || 1);
  }
  weigh();
}

const slot = (at) => `karat-review:${slug}:${reviewer}:${mode}:${at}`;

export function keep() {
  try {
    if (shown) localStorage.setItem(slot(shown.at), JSON.stringify(read()));
  } catch {
    // Where a browser keeps nothing, the form is on the page alone.
  }
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(slot(shown.at)));
  } catch {
    return null;
  }
}

export function forget(at) {
  try {
    localStorage.removeItem(slot(at));
  } catch {
    // There is nothing then.
  }
}

// Makes an attribute the one that keys rate.
export function move(number, focus = true) {
  if (!rating) return;
  current = Math.min(Math.max(number, 0), ATTRIBUTES.length - 1);
  for (const [place, one] of ATTRIBUTES.entries()) one.classList.toggle("current", place === current);
  const { name } = ATTRIBUTES[current].dataset;
  for (const rule of document.querySelectorAll("[data-rule]")) {
    rule.classList.toggle("current", rule.dataset.rule === name);
  }
  if (focus) focused(ATTRIBUTES[current]).focus({ preventScroll: true });
}

const focused = (group) => group.querySelector("input:checked") ?? group.querySelector("input");

export function rate(value) {
  const inputs = ATTRIBUTES[current].querySelectorAll("input");
  for (const input of inputs) input.checked = Number(input.value) === value;
  keep();
}

// One more or one less on this attribute, or another attribute.
export function step(by, down = 0) {
  if (by) {
    const value = chosen(ATTRIBUTES[current].dataset.name);
    rate(value === undefined ? 2 : Math.min(Math.max(Number(value) + by, 0), 4));
  }
  move(current + down);
}

export function decide(verdict) {
  document.querySelector(`input[name="verdict"][value="${verdict}"]`).checked = true;
  weigh();
  keep();
}

// An arrow points at an answer; where the strength has the focus it goes on along that.
export function point(event, verdict) {
  if (event.target.name !== "strength") {
    decide(verdict);
    return;
  }
  const value = Number(event.target.value) + (verdict === "a" ? -1 : 1);
  const next = document.querySelector(`input[name="strength"][value="${value}"]`);
  if (!next) return;
  next.checked = true;
  next.focus();
  keep();
}

export function weigh() {
  const verdict = chosen("verdict");
  const decided = verdict === "a" || verdict === "b";
  document.querySelector(".strength").classList.toggle("off", verdict !== undefined && !decided);
  for (const card of document.querySelectorAll("[data-side]")) {
    card.classList.toggle("chosen", card.dataset.side === verdict);
  }
}

function edit(on, text = null) {
  const was = !$("edit-box").hidden;
  $("edit-box").hidden = !on;
  $("answer").hidden = on;
  $("edit-button").setAttribute("aria-pressed", String(on));
  if (on && (text !== null || !was)) $("edit").value = text ?? shown.text;
}

export function toggleEdit() {
  if ($("edit-button").disabled) return;
  edit($("edit-box").hidden);
  keep();
  if (!$("edit-box").hidden) $("edit").focus();
}

// A key gives the figure that it bears, as the button beside it does.
export function digit(key) {
  if (rating) {
    rate(Number(key));
    move(current + 1);
  } else if (key >= "1" && key <= "3") {
    document.querySelector(`input[name="strength"][value="${key}"]`).checked = true;
    keep();
  }
}

for (const event of ["input", "change"]) root.addEventListener(event, keep);
$("form").addEventListener("change", () => rating || weigh());
for (const [number, group] of ATTRIBUTES.entries()) {
  group.addEventListener("focusin", () => number === current || move(number, false));
}
