// Figures and others' texts as scripts write them: the forms are those of the server's own pages
// (karat.report.cells, karat.report.run_parts, karat.visible), so that a figure does not change
// its looks where a script writes it.

// Dollars with as many digits as matter, and never an exponent.
export function money(usd) {
  if (usd === null || usd === undefined) return "unknown";
  if (usd === 0) return "$0";
  if (usd >= 1) return `$${usd.toFixed(2)}`;
  const places = Math.min(30, Math.max(1, 3 - Math.floor(Math.log10(Math.abs(usd)))));
  return `$${usd.toFixed(places).replace(/\.?0+$/, "")}`;
}

// Milliseconds with as many digits as matter.
export function took(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${ms >= 10 ? Math.round(ms) : +ms.toPrecision(2)} ms`;
  return ms < 100_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}

// A count in three digits where it is long.
export function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  return value >= 1e3 ? `${+(value / 1e3).toPrecision(3)}k` : `${+value.toPrecision(3)}`;
}

const UNSEEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5" +
    "\\u180b-\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0" +
    "\\ufff0-\\ufffb\\ufffe\\uffff\\ud800-\\udfff\\u{e0000}-\\u{e0fff}]",
  "gu",
);

// What a model wrote is anybody's text: signs that nobody sees, or that turn others around, show.
export function visible(text) {
  const number = (sign) => sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return text.replaceAll("\r\n", "\n").replace(UNSEEN, (sign) => `⟨U+${number(sign)}⟩`);
}
