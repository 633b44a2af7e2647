// The list of runs while it is open: rows change where they stand, the search works as one types.
const box = document.getElementById("runs");
const search = document.getElementById("q");
let latest = 0;

// The page as the server makes it now; an answer that was overtaken by a later one is dropped.
async function refresh() {
  const mine = ++latest;
  const reply = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
  if (!reply?.ok || mine !== latest) return;
  const made = new DOMParser().parseFromString(await reply.text(), "text/html");
  if (mine !== latest) return;
  const focused = document.activeElement?.closest?.("[data-slug]")?.dataset.slug;
  box.replaceChildren(...made.getElementById("runs").children);
  for (const part of [".sub", ".first-run"]) {
    const now = document.querySelector(part), then = made.querySelector(part);
    if (now && then) now.replaceChildren(...then.childNodes);
    else now?.remove();
  }
  if (focused) row(focused)?.querySelector("[data-item]").focus();
  if (!search && made.getElementById("q")) location.reload();
}

function row(slug) {
  return box.querySelector(`[data-slug="${CSS.escape(slug)}"]`);
}

function put(found, cells) {
  for (const place of found.querySelectorAll("[data-cell]")) {
    const text = cells[place.dataset.cell];
    if (place.textContent !== text) place.textContent = text;
  }
  found.querySelector(".pill").className = `pill ${cells.pill}`;
  const bar = found.querySelector("progress");
  bar.hidden = cells.bar === null;
  bar.value = cells.bar ?? 0;
  if (found.dataset.status !== cells.status) {
    found.dataset.status = cells.status;
    found.classList.add("changed");
  }
}

const events = new EventSource(`/runs/events?since=${Math.max(0, Number(box.dataset.now) - 5)}`);
events.addEventListener("message", (event) => {
  let unknown = false;
  for (const [slug, cells] of Object.entries(JSON.parse(event.data))) {
    const found = row(slug);
    if (found && cells) put(found, cells);
    else if (found) found.remove();
    else if (cells) unknown = true;
  }
  if (unknown && !new URL(location.href).searchParams.get("q")) refresh();
});
// "3 min ago" grows old by itself.
setInterval(() => document.hidden || refresh(), 60_000);
addEventListener("pagehide", () => events.close());

if (search) {
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const url = new URL(location.href);
      if (search.value.trim()) url.searchParams.set("q", search.value.trim());
      else url.searchParams.delete("q");
      history.replaceState(null, "", url);
      refresh();
    }, 120);
  });
}
