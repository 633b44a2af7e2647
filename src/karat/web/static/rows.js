// Rows and one row: pages by key, texts copied whole, a page that waits for its filters.
import { keys, plain } from "/static/app.js";

const by = (id) => document.getElementById(id);
const go = (id) => () => by(id)?.click();
const list = [];
if (by("next") || by("prev")) {
  const what = document.querySelector("table.rows") ? "page" : "row";
  list.push(["n", `next ${what}`, go("next")], ["p", `previous ${what}`, go("prev")]);
}
if (by("back")) list.push(["u", "back to the rows", go("back")]);
keys(list);

// The row that was opened is where the keys go on from; once loaded, since going to a fragment takes
// the focus away.
function comeBack() {
  if (/^#r\d+$/.test(location.hash)) document.querySelector(`${location.hash} [data-item]`)?.focus();
}
if (document.readyState === "complete") setTimeout(comeBack);
else addEventListener("load", () => setTimeout(comeBack));

// On a narrow page the counts come before the rows, so they begin closed.
const facets = document.querySelector(".facets");
if (facets && matchMedia("(max-width: 900px)").matches) facets.open = false;

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const said = button.textContent;
    try {
      const answer = await fetch(button.dataset.copy);
      if (!answer.ok) throw new Error(answer.statusText);
      await navigator.clipboard.writeText(await answer.text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => { button.textContent = said; }, 1500);
  });
}

const find = document.querySelector("form.find");
if (find) plain(find);

const making = by("making");
async function look() {
  const url = `${location.pathname.replace(/\/rows$/, "/")}${making.dataset.state}`;
  const found = await (await fetch(url)).json();
  if (found.error) return;
  if (found.ready) {
    // A page that shows rows already is left alone while somebody writes in it or reads on.
    if (making.dataset.then || (!document.activeElement?.matches("input,select,a") && scrollY < 80)) {
      location.reload();
    } else {
      making.textContent = "Filters, counts and sorting are ready: load the page again.";
    }
    return;
  }
  by("share").textContent = `${Math.round(found.share * 100)}%`;
  if (by("bar")) by("bar").value = found.share;
  setTimeout(look, 700);
}
if (making && by("share")) setTimeout(look, 700);
