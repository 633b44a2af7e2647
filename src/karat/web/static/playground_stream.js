// The playground's answers: their stream, their text as it may be shown, and files of them.

const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const MOST_SHOWN = 200000;

// What a model wrote is anybody's text: signs that nobody sees, or that turn others around, show.
export function shown(text) {
  const cut = text.length > MOST_SHOWN ? text.slice(0, MOST_SHOWN) : text;
  const seen = cut
    .replace(CONTROLS, (sign) => String.fromCharCode(sign === "\u007f" ? 0x2421 : 0x2400 + sign.charCodeAt(0)))
    .replace(TURNS, (sign) => `\u27e8U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
  const left = text.length - cut.length;
  return left ? `${seen}\n\u2026 and ${left.toLocaleString("en")} characters more; the download has all` : seen;
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
export function asCsv(asked, answers) {
  const rows = answers.map((answer) => {
    const { grades, ...line } = record(answer);
    for (const [reward, scores] of Object.entries(grades))
      for (const [name, value] of Object.entries(scores ?? {})) line[`${reward}.${name}`] = value;
    return { prompt: asked.prompt, system: asked.system ?? "", ...line };
  });
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

export function usd(value) {
  if (value === null || value === undefined) return "unknown";
  if (value === 0) return "$0";
  return value < 0.01 ? `$${value.toPrecision(2).replace(/e-(\d+)$/, (_, n) => `e\u2212${n}`)}` : `$${value.toFixed(value < 1 ? 4 : 2)}`;
}

export function time(ms) {
  if (ms === null || ms === undefined) return "\u2013";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}
