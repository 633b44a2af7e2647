// What is worked out from the rows follows the page: asked for until it is there.
import { keys, plain } from "/static/app.js";

const by = (id) => document.getElementById(id);
const go = (id) => () => by(id)?.click();
const box = by("rows");

function told() {
  const list = [];
  if (by("swap")) list.push(["s", "swap A and B", go("swap")]);
  if (by("next") || by("prev")) list.push(["n", "next page", go("next")], ["p", "previous page", go("prev")]);
  keys(list);
}

async function ask() {
  const answer = await fetch(box.dataset.part).catch(() => null);
  if (!answer?.ok) {
    box.querySelector("p:last-child").textContent = "The server did not answer; load the page again.";
    return;
  }
  const text = await answer.text(); // escaped by the server's templates, as the page itself is
  if (answer.status === 202) {
    const made = new DOMParser().parseFromString(text, "text/html");
    const share = made.querySelector("progress");
    if (share && box.querySelector("progress")) {
      box.querySelector("progress").value = share.value;
      box.querySelector("p.num").textContent = made.querySelector("p.num").textContent;
      setTimeout(ask, 400);
      return;
    }
  }
  box.innerHTML = text; // escaped by the server's templates, as the page itself is
  told();
  if (location.hash) by(location.hash.slice(1))?.scrollIntoView();
}

told();
if (box?.querySelector("#reading progress")) setTimeout(ask, 200);
plain(by("sides"));
