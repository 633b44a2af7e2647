// One sitting of a reviewer: shows a row, takes what is said, saves it, shows the next one.
//
// A form is cleared only when the server has said that it is on the disk: a reload, a dead server or
// a closed tab loses nothing that was typed.

import { isTyping, keys } from "/static/app.js";
import { visible } from "/static/figures.js";
import { agree } from "/static/review_agreement.js";
import * as sheet from "/static/review_form.js";

const { $, element, rating } = sheet;
const { slug, reviewer, mode, queue, target: wanted } = $("review").dataset;
const target = Number(wanted);
const base = `/review/${encodeURIComponent(slug)}`;
const session = { reviewer, mode, queue };
const IDLE_MS = 60_000; // after which a reviewer is taken to have left

let item = null;
let busy = false;
let spent = 0; // ms of attention to this answer
let seen = performance.now();

// --- showing -------------------------------------------------------------------------------------

function status(text, bad = false) {
  $("status").textContent = text || "\u00a0";
  $("status").classList.toggle("bad", bad);
}

function fill(place, said) {
  place.textContent = visible(said.text);
  if (said.cut) {
    const left = `${said.cut.toLocaleString("en")} more characters are not shown`;
    place.append(element("p", left, "warning"));
  }
}

function show(found, said, form = null) {
  item = found.item;
  const { done, skipped, total, pace_s: pace } = found.progress;
  const goal = Math.min(target, total || target); // a short queue ends before the target
  $("bar").max = goal;
  $("bar").value = Math.min(done, goal);
  const left = Math.max(0, goal - done);
  const words = [`${done} of ${goal} rows`];
  if (skipped) words.push(`${skipped} skipped`);
  if (pace) words.push(`${Math.round(pace)} s each`);
  if (pace && left) words.push(`about ${Math.max(1, Math.round((left * pace) / 60))} min left`);
  $("pace").textContent = words.join(" · ");
  $("sheet").hidden = item === null;
  const end = total ? "You have seen every row of this queue." : "This queue has no row for you.";
  status(item === null ? `${said} ${end}`.trim() : said);
  if (item === null) return;
  $("prompt").replaceChildren(
    ...item.prompt.map((turn) => {
      const block = document.createElement("div");
      if (item.prompt.length > 1) block.append(element("small", turn.role));
      const text = element("div", "", "said");
      text.dir = "auto";
      fill(text, turn);
      block.append(text);
      return block;
    }),
  );
  if (rating) {
    fill($("answer"), answer());
    $("which").textContent = `${item.at + 1} of ${item.answers.length}`;
    $("edit-button").disabled = answer().cut > 0;
  } else {
    fill($("answer-a"), item.answers[0]);
    fill($("answer-b"), item.answers[1]);
  }
  sheet.put({ at: at(), text: rating ? answer().text : "" }, form);
  spent = (form?.seconds ?? 0) * 1000;
  seen = performance.now();
  sheet.move(0, false);
  window.scrollTo(0, 0);
}

const answer = () => item.answers[item.at];
const at = () => (rating ? answer().key : item.row);

// What a comparison was, as the form has it, wherever its answers stand now.
function asForm(said) {
  if (!said) return null;
  const form = { ...said };
  if (said.kind === "comparison") {
    const first = item ? said.keys[0] === item.answers[0].key : true;
    const better = said.strength < 0 === first ? "a" : "b";
    form.verdict = said.strength ? better : said.both_bad ? "bad" : "tie";
    form.strength = Math.abs(said.strength) || 1;
  }
  return form;
}

// --- saving --------------------------------------------------------------------------------------

async function ask(path, body) {
  const how = body && {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const reply = await fetch(`${base}/${path}`, how);
  const found = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(found.error?.message ?? `the server answered ${reply.status}`);
  return found;
}

function word() {
  const form = sheet.read();
  const common = { ...session, row: item.row, seconds: spent / 1000, reveal: $("reveal").checked };
  if (rating) {
    const { values, comment, edited: text } = form;
    if (!Object.keys(values).length && !comment.trim() && text === null) return null;
    return { ...common, kind: "rating", keys: [answer().key], values, comment, edited: text };
  }
  if (!form.verdict) return null;
  const side = { a: -1, b: 1 }[form.verdict] ?? 0;
  return {
    ...common, kind: "comparison", keys: item.answers.map((one) => one.key),
    strength: side * form.strength, both_bad: form.verdict === "bad", comment: form.comment,
  };
}

async function say(said) {
  const place = at();
  const found = await ask("say", said);
  sheet.forget(place);
  return found;
}

async function save() {
  if (!item) return;
  attend();
  const said = word();
  if (said === null) {
    status(rating ? "Rate an attribute first, or skip the row." : "Choose one first, or skip.", true);
    return;
  }
  await tell(() => say(said), "Saved.");
}

async function skip() {
  if (!item) return;
  attend();
  const said = { ...session, kind: "skip", row: item.row, seconds: spent / 1000 };
  await tell(() => say({ ...said, comment: $("comment").value }), "Skipped.");
}

async function undo() {
  await tell(() => ask("undo", session), "Taken back: say it again, or skip.");
}

// Nothing else is said while something is on its way; what failed stays in the form.
async function tell(send, done) {
  if (busy) return;
  busy = true;
  $("form").inert = true;
  try {
    const found = await send();
    document.activeElement?.blur();
    item = found.item;
    show(found, done, asForm(found.form));
    behind(found.behind);
    agree(ask, reviewer);
  } catch (error) {
    status(`Not saved: ${error.message}. Your form is kept; press Enter to try again.`, true);
  } finally {
    busy = false;
    $("form").inert = false;
  }
}

function behind(found) {
  $("behind").hidden = !found;
  $("behind").replaceChildren(element("h2", "What you judged"));
  for (const [number, one] of (found?.answers ?? []).entries()) {
    const scores = Object.entries(one.scores).map(([key, value]) => `${key} ${value.toFixed(2)}`);
    const name = found.answers.length > 1 ? `${"AB"[number]}: ${one.model}` : one.model;
    $("behind").append(element("p", name), element("p", scores.join(" · "), "soft num"));
  }
}

// --- keys and clicks -----------------------------------------------------------------------------

// Time counts while somebody is there.
function attend() {
  const now = performance.now();
  if (document.visibilityState === "visible") spent += Math.min(now - seen, IDLE_MS);
  seen = now;
}

// Not while something is on its way: the form is that of the answer before.
const idle = (run) => (event) => busy || !item || run(event);

keys(
  rating
    ? [
        ["0 … 4", "rate it so, and on to the next attribute"],
        ["ArrowUp", "the attribute before", idle(() => sheet.step(0, -1))],
        ["ArrowDown", "the next attribute (or Tab)", idle(() => sheet.step(0, 1))],
        ["ArrowLeft", "one less", idle(() => sheet.step(-1))],
        ["ArrowRight", "one more", idle(() => sheet.step(1))],
        ["Backspace", "leave this attribute out", idle(() => sheet.rate(-1))],
        ["e", "edit the answer: what you write is yours", idle(sheet.toggleEdit)],
      ]
    : [
        ["a", "A is better", idle(() => sheet.decide("a"))],
        ["b", "B is better", idle(() => sheet.decide("b"))],
        ["ArrowLeft", "the left one, A", idle((event) => sheet.point(event, "a"))],
        ["ArrowRight", "the right one, B", idle((event) => sheet.point(event, "b"))],
        ["t", "neither: a tie", idle(() => sheet.decide("tie"))],
        ["x", "both are bad", idle(() => sheet.decide("bad"))],
        ["1 2 3", "slightly, clearly, by far"],
      ],
);
keys([
  ["Enter", "save (in a text: Ctrl Enter)"],
  ["c", "comment (Esc leaves it)", idle(() => $("comment").focus())],
  ["s", "skip this row", skip],
  ["u", "take back what you said last", undo],
  ["r", "afterwards, show who wrote it", () => ($("reveal").checked = !$("reveal").checked)],
]);

document.addEventListener("keydown", (event) => {
  attend();
  if (!item || busy || event.isComposing || document.querySelector("dialog[open]")) return;
  const typing = isTyping(event.target);
  const control = event.ctrlKey || event.metaKey;
  if (typing && event.key === "Escape") event.target.blur();
  const sends = typing ? control : !event.target.matches("button, a, summary");
  if (event.key === "Enter" && sends) {
    event.preventDefault();
    save();
  } else if (!typing && !control && !event.altKey && /^[0-4]$/.test(event.key)) {
    event.preventDefault();
    sheet.digit(event.key);
  }
});

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
$("skip").addEventListener("click", skip);
$("undo").addEventListener("click", undo);
$("edit-button")?.addEventListener("click", sheet.toggleEdit);
for (const event of ["pointerdown", "wheel", "touchmove", "visibilitychange"]) {
  document.addEventListener(event, attend, { passive: true });
}
try {
  show(await ask(`next?${new URLSearchParams(session)}`), "");
  agree(ask, reviewer);
} catch (error) {
  status(`${error.message}.`, true);
}
