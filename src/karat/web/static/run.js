// The page of a run: parts that take longer are fetched, charts are drawn, and while the run works
// what the server sends takes the place of what was there.
import { money, short } from "/static/figures.js";

const run = document.getElementById("run");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const ink = (name) => {
  // light-dark() is resolved on an element only.
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.style.color = `var(${name})`;
  run.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

// --- charts over time ------------------------------------------------------------------------------

const plots = [];
let series = { at: [], answers: [], tokens: [], cost_usd: [] };
let budget = null;

const day = { month: "short", day: "numeric" };
const hour = { hour: "2-digit", minute: "2-digit", hour12: false };
function clock(ticks) {
  const span = ticks.length ? ticks[ticks.length - 1] - ticks[0] : 0;
  const form = span > 2 * 86400 ? day : span > 600 ? hour : { ...hour, second: "2-digit" };
  return ticks.map((at) => new Date(at * 1000).toLocaleString("en-GB", form));
}

function plot(place, values, say, stepped) {
  const soft = ink("--soft"), line = ink("--line"), gold = ink("--gold");
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { show: false } };
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const many = Math.max(...values, 0);
  const made = new uPlot(
    {
      width: place.clientWidth, height: 190, legend: { show: false }, cursor: { y: false },
      scales: { x: { range: (u, from, to) => (from === to ? [from - 2, to + 2] : [from, to]) }, y: { range: (u, low, high) => [0, Math.max(high, many) * 1.08 || 1] } },
      axes: [
        { ...axis, font, grid: { show: false }, space: 76, size: 30, values: (u, ticks) => clock(ticks) },
        { ...axis, font, size: 58, space: 36, values: (u, ticks) => ticks.map(say) },
      ],
      series: [
        {},
        {
          stroke: gold, width: 1.75, points: { show: values.length < 3 },
          fill: gold.replace("rgb(", "rgba(").replace(")", ", 0.13)"),
          ...(stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
        },
      ],
    },
    [series.at, values], place,
  );
  new ResizeObserver(() => {
    if (place.clientWidth && made.width !== place.clientWidth) {
      made.setSize({ width: place.clientWidth, height: 190 });
    }
  }).observe(place);
  return made;
}

// What costs nothing is told by its tokens.
const free = () => !series.cost_usd.some((usd) => usd > 0);
const second = () => (free() ? series.tokens : series.cost_usd);

function drawAll() {
  const rate = document.getElementById("plot-rate");
  if (!rate || !window.uPlot || !series.at.length) return;
  for (const one of plots.splice(0)) one.destroy();
  plots.push(plot(rate, series.answers, short, true));
  document.getElementById("cost-name").textContent = free() ? "Tokens a second" : "Cost so far";
  const place = document.getElementById("plot-cost");
  plots.push(plot(place, second(), free() ? short : money, free()));
  tellNow();
}

function tellNow() {
  const last = series.at.length - 1;
  if (last < 0) return;
  const mean = (values) => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
  const busy = run.dataset.state === "running";
  document.getElementById("rate-now").textContent = busy
    ? short(mean(series.answers.slice(-5)))
    : `${short(mean(series.answers))} on average`;
  document.getElementById("cost-now").textContent = free()
    ? short(mean(busy ? series.tokens.slice(-5) : series.tokens)) + (busy ? "" : " on average")
    : money(series.cost_usd[last]);
}

let reading = false;
async function readSeries() {
  if (reading) return;
  reading = true;
  try {
    const answer = await fetch(run.dataset.series);
    if (!answer.ok) return;
    const rows = await answer.json();
    series = {
      at: rows.map((row) => row.at), answers: rows.map((row) => row.answers_per_s),
      tokens: rows.map((row) => row.tokens_per_s), cost_usd: rows.map((row) => row.cost_usd),
    };
    const known = free();
    if (plots.length === 2 && plots[1].known === known) {
      plots[0].setData([series.at, series.answers]);
      plots[1].setData([series.at, second()]);
      tellNow();
    } else {
      drawAll();
      if (plots[1]) plots[1].known = known;
    }
  } finally {
    reading = false;
  }
}

// The theme's colours are in the canvas: it is drawn anew.
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

// --- parts -----------------------------------------------------------------------------------------

async function load(place) {
  const said = place.querySelector(".empty");
  try {
    const answer = await fetch(place.dataset.load);
    const text = answer.ok ? await answer.text() : "";
    if (text.trim()) {
      const made = document.createElement("div");
      made.innerHTML = text; // escaped by the server's templates, as the page itself is
      said.replaceWith(made);
    } else if (place.matches("section")) {
      place.remove();
    } else {
      said.remove();
    }
  } catch {
    said.textContent = "The server did not answer; load the page again.";
  }
}
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      load(entry.target);
    }
  }
}, { rootMargin: "600px" });
for (const place of document.querySelectorAll("[data-load]")) seen.observe(place);

function replace(parts) {
  for (const place of document.querySelectorAll("[data-part]")) {
    const html = parts[place.dataset.part] ?? "";
    // Not under the reader's finger: a link that has the focus stays where it is.
    if (html && place.shown !== html && !place.contains(document.activeElement)) {
      const left = place.querySelector(".scroll")?.scrollLeft;
      place.innerHTML = html;
      place.shown = html;
      if (left) place.querySelector(".scroll").scrollLeft = left;
    }
  }
  document.getElementById("no-flow")?.toggleAttribute("hidden", Boolean(parts.flow));
  document.getElementById("no-models")?.toggleAttribute("hidden", Boolean(parts.models));
  document.getElementById("costs").hidden = !parts.costs;
  document.getElementById("faults").hidden = !parts.faults;
  document.getElementById("workers").hidden = !parts.workers;
  const { state, pill, said, note, progress } = parts.head;
  const mark = document.getElementById("state");
  mark.textContent = state;
  mark.className = `pill ${pill}`;
  document.getElementById("said").textContent = said;
  document.getElementById("note").textContent = note;
  const bar = document.getElementById("progress");
  if (progress === undefined) bar.removeAttribute("value");
  else bar.value = progress;
}

if (run.dataset.state === "running") {
  const events = new EventSource(run.dataset.events);
  let drawn = 0;
  events.onmessage = (event) => {
    const told = JSON.parse(event.data);
    if (!told.parts) return;
    if (told.state !== "running") {
      events.close();
      location.reload(); // now there is a report to show
      return;
    }
    replace(told.parts);
    if (performance.now() - drawn > 1800) {
      drawn = performance.now();
      readSeries();
    }
  };
}
readSeries();
