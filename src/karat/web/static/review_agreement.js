// How far a reviewer agrees with others, and with the run's reward: asked anew after each answer.

import { $, element } from "/static/review_form.js";

const digits = (value) => value.toFixed(2).replace("-", "\u2212");

function cell(figure) {
  const made = document.createElement("td");
  if (figure.value === null) {
    made.textContent = figure.n ? "all alike" : "–";
  } else {
    made.textContent = digits(figure.value);
    const ends = figure.low === null ? "" : `${digits(figure.low)} to ${digits(figure.high)}, `;
    made.append(element("small", `${ends}n ${figure.n}`));
  }
  return made;
}

function agreementTable(title, lines) {
  const block = document.createElement("div");
  block.className = "scroll";
  block.tabIndex = 0;
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of ["", "all rows", "random rows"]) {
    const made = element("th", name);
    made.scope = "col";
    head.append(made);
  }
  const body = table.createTBody();
  // Where everybody says the same nothing can be measured: told once, and not line by line.
  const told = lines.filter((line) => line.all.value !== null || line.random.value !== null);
  const alike = [...new Set(lines.filter((line) => !told.includes(line)).map((line) => line.attribute))];
  const note = element("p", `All judgements are alike, so that nothing can be measured: ${alike.join(", ")}.`, "soft");
  if (!told.length) return [element("h3", title), note];
  for (const line of told) {
    const row = body.insertRow();
    const name = element("td", line.attribute);
    name.append(element("small", line.statistic));
    row.append(name, cell(line.all), cell(line.random));
  }
  block.append(table);
  return [element("h3", title), block, ...(alike.length ? [note] : [])];
}

export async function agree(ask, reviewer) {
  const found = await ask(`agreement?${new URLSearchParams({ reviewer })}`).catch(() => null);
  if (!found) return;
  const notes = [];
  if (found.said < found.from) notes.push(`Shown once you have judged ${found.from} answers.`);
  else {
    notes.push(
      "With 95% intervals. Only random rows speak for the whole run: rows chosen because a grader " +
        "was unsure look worse.",
    );
    if (!found.with.length) notes.push("Nobody else has reviewed this run yet.");
    else if (found.with.every((one) => !one.lines.length)) notes.push("No row was seen by two yet.");
  }
  if (found.broken) notes.push(`${found.broken} lines of ratings.jsonl cannot be read.`);
  $("agreement-note").textContent = notes.join(" ");
  const tables = [...found.with, ...(found.reward ? [found.reward] : [])].filter((t) => t.lines.length);
  $("agreement-tables").replaceChildren(
    ...tables.flatMap((one) => agreementTable(`You and ${one.name}`, one.lines)),
  );
}
