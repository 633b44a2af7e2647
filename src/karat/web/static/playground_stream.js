// The playground's answers: their stream, their text as it may be shown, and files of them.
import { visible } from "/static/figures.js";

const MOST_SHOWN = 200000;

// A text as it may be shown; the download has all of it.
export function shown(text) {
  const left = text.length - MOST_SHOWN;
  const seen = visible(left > 0 ? text.slice(0, MOST_SHOWN) : text);
  return left > 0 ? `${seen}\n… and ${left.toLocaleString("en")} characters more; the download has all` : seen;
}

// Calls `hear` with every event of the answers to `asked`. Throws what the server says is wrong.
export async function ask(asked, signal, hear) {
  const reply = await post("/playground/ask", asked, signal);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const pieces = (rest + value).split("\n\n");
    rest = pieces.pop();
    for (const piece of pieces) if (piece.startsWith("data: ")) hear(JSON.parse(piece.slice(6)));
  }
}

export async function post(path, value, signal) {
  const reply = await fetch(path, {
    method: "POST", signal, body: JSON.stringify(value),
    headers: { "content-type": "application/json", accept: "application/json" },
  });
  if (!reply.ok) {
    let said = `HTTP ${reply.status}`;
    try { said = (await reply.json()).error.message; } catch { /* no words came */ }
    throw new Error(said);
  }
  return reply;
}

export function asJson(asked, answers) {
  return JSON.stringify({ asked, answers: answers.map(record) }, null, 2);
}

// One line an answer; every score has a column of its own.
export function asRows(asked, answers) {
  return answers.map((answer) => {
    const { grades, ...line } = record(answer);
    for (const [reward, scores] of Object.entries(grades))
      for (const [name, value] of Object.entries(scores ?? {})) line[`${reward}.${name}`] = value;
    return { prompt: asked.prompt, system: asked.system ?? "", ...line };
  });
}

export function asCsv(asked, answers) {
  const rows = asRows(asked, answers);
  const names = [...new Set(rows.flatMap(Object.keys))];
  const lines = [names, ...rows.map((row) => names.map((name) => row[name]))];
  return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

function record({ model, text, thoughts, error, done, grades }) {
  return { model, text, thoughts, error, ...(done ?? {}), grades };
}

// A sheet takes a cell that begins so for a formula. Source: OWASP, "CSV Injection".
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
