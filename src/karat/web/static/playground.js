// The playground: one prompt to several models. Everything that is asked stands in the address, the
// prompt too while it is short, so that a link asks the same.
import { keys as listKeys } from "/static/app.js";
import { html, render, useEffect, useRef, useState } from "/static/vendor/preact.js";
import { money, took } from "/static/figures.js";
import { ask, asCsv, asJson, asRows, post, save, shown } from "/static/playground_stream.js";

const MOST_IN_ADDRESS = 1500; // characters of a text: servers on the way cut longer addresses
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
const EFFORTS = ["", "none", "minimal", "low", "medium", "high", "xhigh"];
const place = document.getElementById("playground");
const choices = await fetch("/playground/choices.json").then((reply) => {
  if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
  return reply.json();
}).catch((error) => {
  place.textContent = `The models could not be listed (${error.message}). Load the page again.`;
  throw error;
});

function fromAddress() {
  const said = new URLSearchParams(location.search);
  const models = said.getAll("model");
  const form = {
    models: models.length ? models : choices.first, rewards: said.getAll("reward"),
    prompt: said.get("prompt") ?? "", system: said.get("system") ?? "",
    reasoning: EFFORTS.includes(said.get("reasoning")) ? said.get("reasoning") : "",
  };
  for (const name of NUMBERS) form[name] = said.get(name) ?? (name === "max_tokens" ? "512" : "");
  return form;
}

function toAddress(form) {
  const said = new URLSearchParams();
  for (const model of form.models) said.append("model", model);
  for (const reward of form.rewards) said.append("reward", reward);
  for (const name of [...NUMBERS, "reasoning"]) if (form[name]) said.set(name, form[name]);
  for (const name of ["system", "prompt"])
    if (form[name] && form[name].length <= MOST_IN_ADDRESS) said.set(name, form[name]);
  history.replaceState(null, "", `${location.pathname}?${said}`);
}

function asked(form) {
  const body = { models: form.models, rewards: form.rewards, prompt: form.prompt };
  if (form.system) body.system = form.system;
  if (form.reasoning) body.reasoning = form.reasoning;
  for (const name of NUMBERS) if (form[name] !== "") body[name] = Number(form[name]);
  return body;
}

function Playground() {
  const [form, setForm] = useState(fromAddress);
  const [answers, setAnswers] = useState([]);
  const [running, setRunning] = useState(false);
  const [said, setSaid] = useState("");
  const [worst, setWorst] = useState(null);
  const stopper = useRef(null);
  const sent = useRef(null);
  const change = (more) => setForm((old) => ({ ...old, ...more }));

  useEffect(() => { // not at every key: browsers refuse an address that changes too often
    const timer = setTimeout(() => toAddress(form), 200);
    return () => clearTimeout(timer);
  }, [form]);
  useEffect(() => {
    if (!form.models.length) return void setWorst(null);
    const gone = new AbortController();
    const timer = setTimeout(async () => {
      try {
        setWorst(await (await post("/playground/estimate", asked(form), gone.signal)).json());
      } catch (error) {
        if (error.name !== "AbortError") setWorst({ error: error.message });
      }
    }, 250);
    return () => { clearTimeout(timer); gone.abort(); };
  }, [form]);

  const run = async () => {
    if (stopper.current || !form.models.length || !form.prompt.trim()) return;
    const stop = (stopper.current = new AbortController());
    const body = (sent.current = asked(form));
    toAddress(form);
    const found = body.models.map((model) => (
      { model, text: "", thoughts: "", error: "", done: null, grades: {}, grading: [] }
    ));
    const show = () => setAnswers(found.map((one) => ({ ...one })));
    const draw = drawing(show);
    let ended = null, outcome = "";
    setRunning(true);
    setSaid(`Asking ${body.models.length}`);
    draw();
    try {
      await ask(body, stop.signal, (event) => {
        if (event.end) ended = event;
        else if (event.at !== undefined) take(found[event.at], event);
        draw();
      });
      if (!ended) throw new Error("the server broke off");
      const bad = found.filter((one) => one.error).length;
      const graded = body.rewards.length ? `, grading for ${money(ended.grading_usd)}` : "";
      outcome = (bad ? `Done; ${bad} of ${found.length} failed` : "Done") + graded;
    } catch (error) {
      const why = stop.signal.aborted ? "stopped" : error.message;
      for (const one of found) {
        if (!one.done && !one.error) one.error = why;
        one.grading = [];
      }
      outcome = stop.signal.aborted ? "Stopped; nothing more is paid for" : why;
    }
    show(); // with what is said of it, and not a frame later
    setSaid(outcome);
    stopper.current = null;
    setRunning(false);
  };
  const stop = () => stopper.current?.abort();

  const keys = useRef(null);
  keys.current = (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
    if (event.key === "Escape") stop();
  };
  useEffect(() => {
    const hear = (event) => keys.current(event);
    document.addEventListener("keydown", hear);
    return () => document.removeEventListener("keydown", hear);
  }, []);

  const keep = (form, type, write) => save(`playground.${form}`, type, write(sent.current, answers));
  const keepParquet = async () => {
    try {
      const made = await post("/playground/answers.parquet", { rows: asRows(sent.current, answers) });
      save("playground.parquet", "application/vnd.apache.parquet", await made.blob());
    } catch (error) {
      setSaid(error.message);
    }
  };
  // What failed when it was asked says so itself, below.
  const told = new Set(answers.filter((one) => one.error).map((one) => one.model));
  const problems = Object.entries(worst?.problems ?? {}).filter(([name]) => !told.has(name));
  const ready = form.models.length && form.prompt.trim();
  return html`
    <form class="card pg-ask" onSubmit=${(event) => { event.preventDefault(); run(); }}>
      <label>Prompt
        <textarea class="pg-prompt" name="prompt" value=${form.prompt}
          onInput=${(event) => change({ prompt: event.target.value })}></textarea></label>
      ${form.prompt.length > MOST_IN_ADDRESS && html`<small>The prompt is too long for the address:
        a link to this page leaves it out.</small>`}
      <details open=${Boolean(form.system)}><summary>System prompt</summary>
        <label><span>What every model is told first</span><textarea name="system" value=${form.system}
          onInput=${(event) => change({ system: event.target.value })}></textarea></label></details>
      <${Models} form=${form} change=${change} problems=${worst?.problems ?? {}} />
      <${Rewards} form=${form} change=${change} />
      <${Options} form=${form} change=${change} />
      <div class="pg-go">
        <button class="btn" type="submit" disabled=${running || !ready}>Run <kbd>Ctrl Enter</kbd></button>
        <button class="btn-quiet" type="button" disabled=${!running} onClick=${stop}>Stop <kbd>Esc</kbd></button>
        <output aria-live="polite">${[said, cost(worst, form)].filter(Boolean).join(". ")}</output>
      </div>
      ${problems.length > 0 && html`<ul class="pg-notes" aria-label="What cannot be asked">
        ${problems.map(([name, why]) => html`<li key=${name}>${name}: ${why}</li>`)}</ul>`}
    </form>
    ${answers.length > 0 && html`
      <p class="downloads">Keep these answers:${" "}
        <button class="btn-quiet" type="button" onClick=${() => keep("json", "application/json", asJson)}>JSON</button>
        ${" "}<button class="btn-quiet" type="button" onClick=${() => keep("csv", "text/csv", asCsv)}>CSV</button>
        ${" "}<button class="btn-quiet" type="button" onClick=${keepParquet}>Parquet</button></p>
      <div class="pg-answers">${answers.map((one, at) => html`<${Answer} key=${at} one=${one} running=${running} />`)}</div>`}`;
}

// At most one drawing a frame, however fast the pieces come.
function drawing(draw) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; draw(); });
  };
}

function take(one, { text, thoughts, error, done, grading, grades }) {
  if (text) one.text += text;
  if (thoughts) one.thoughts += thoughts;
  if (error) one.error = error;
  if (done) one.done = done;
  if (grading) one.grading = grading;
  if (grades) {
    one.grades = { ...one.grades, ...grades };
    one.grading = one.grading.filter((name) => !(name in grades));
  }
}

function cost(worst, form) {
  if (!worst) return form.models.length ? "" : "Choose a model";
  if (worst.error) return worst.error;
  const what = form.rewards.length ? "answers and grades" : "answers";
  const known = `At most ${money(worst.worst_usd)} for ${what}, with one try each`;
  if (!worst.unpriced.length) return known;
  return `${known}, and what ${worst.unpriced.join(", ")} costs: the price is unknown`;
}

function Models({ form, change, problems }) {
  const [text, setText] = useState("");
  const full = form.models.length >= choices.most_models;
  const add = () => {
    const name = text.trim();
    if (!name || full) return;
    if (!form.models.includes(name)) change({ models: [...form.models, name] });
    setText("");
  };
  const enter = (event) => {
    if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) { event.preventDefault(); add(); }
  };
  return html`<fieldset class="pg-picks"><legend>Models</legend><div class="pg-row">
    ${form.models.map((name) => html`<span key=${name} class=${problems[name] ? "pg-chip pg-chip-bad" : "pg-chip"}>${name}
      <button type="button" aria-label=${`Leave out ${name}`}
        onClick=${() => change({ models: form.models.filter((other) => other !== name) })}>×</button></span>`)}
    <input list="pg-known" placeholder="provider/name" aria-label="Add a model" value=${text} disabled=${full}
      onInput=${(event) => setText(event.target.value)} onKeyDown=${enter} />
    <datalist id="pg-known">${choices.models.map((one) => html`<option key=${one.name} value=${one.name}>${one.note}</option>`)}</datalist>
    <button class="btn-quiet" type="button" onClick=${add} disabled=${full || !text.trim()}>Add</button>
  </div></fieldset>`;
}

function Rewards({ form, change }) {
  const extra = form.rewards.filter((name) => !choices.rewards.some((one) => one.name === name));
  const names = [...choices.rewards.map((one) => one.name), ...extra];
  const toggle = (name, on) => change({
    rewards: names.filter((other) => (other === name ? on : form.rewards.includes(other))),
  });
  if (!names.length) return null;
  return html`<fieldset class="pg-picks"><legend>Grade the answers with</legend><div class="pg-row">
    ${names.map((name) => html`<label key=${name} class="pg-check"><input type="checkbox"
      checked=${form.rewards.includes(name)} onChange=${(event) => toggle(name, event.target.checked)} />${name}</label>`)}
  </div></fieldset>`;
}

function Options({ form, change }) {
  const limits = {
    temperature: { min: 0, max: 2, step: 0.1 }, top_p: { min: 0.01, max: 1, step: 0.01 },
    max_tokens: { min: 1, step: 1, required: true }, seed: { min: 0, step: 1 },
  };
  return html`<div class="pg-options">
    ${NUMBERS.map((name) => html`<label key=${name}>${name}<input type="number" name=${name} placeholder="default" ...${limits[name]}
      value=${form[name]} onInput=${(event) => change({ [name]: event.target.value })} /></label>`)}
    <label>reasoning<select name="reasoning" value=${form.reasoning} onChange=${(event) => change({ reasoning: event.target.value })}>
      ${EFFORTS.map((name) => html`<option key=${name} value=${name}>${name || "default"}</option>`)}</select></label>
  </div>`;
}

function Answer({ one, running }) {
  const { model, text, thoughts, error, done, grades, grading } = one;
  const state = error ? ["pill-bad", "failed"] : done ? ["pill-good", done.finish_reason || "done"]
    : running ? ["pill-live", text || thoughts ? "writing" : "waiting"] : ["pill-soft", "stopped"];
  const facts = done && [
    ["Cost", money(done.cost_usd)], ["Latency", took(done.latency_ms)],
    ["First token", took(done.ttft_ms)], ["Tokens in", done.prompt_tokens], ["Tokens out", done.completion_tokens],
  ];
  return html`<section class="card" aria-label=${`Answer of ${model}`}>
    <div class="pg-head"><h2>${model}</h2><span class=${`pill ${state[0]}`}>${state[1]}</span></div>
    ${done && done.answered_by !== model && html`<small>answered by ${done.answered_by}</small>`}
    ${thoughts && html`<details class="pg-thoughts"><summary>Thoughts</summary><pre tabindex="0" dir="auto">${shown(thoughts)}</pre></details>`}
    <pre class="pg-text" tabindex="0" role="region" aria-label=${`Text of ${model}`} dir="auto">${shown(text)}</pre>
    ${error && html`<p class="warning" role="alert">${error}</p>`}
    ${facts && html`<dl class="pg-facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value ?? "–"}</dd></div>`)}</dl>`}
    ${(grading.length > 0 || Object.keys(grades).length > 0) && html`<div class="pg-grades">
      ${Object.entries(grades).map(([name, found]) => html`<${Grades} key=${name} name=${name} found=${found} />`)}
      ${grading.map((name) => html`<p key=${name} class="soft">${name} is grading</p>`)}</div>`}
  </section>`;
}

function Grades({ name, found }) {
  const scales = choices.rewards.find((one) => one.name === name)?.attributes ?? {};
  if (found === null) return html`<h3>${name}</h3><p class="soft">has no score for this answer</p>`;
  if (found.error) return html`<h3>${name}</h3><p class="warning">${found.error}</p>`;
  return html`<h3>${name}</h3><table><tbody>${Object.entries(found).map(([key, value]) => {
    const [low, high] = scales[key] ?? [null, null];
    return html`<tr key=${key}><th scope="row">${key}</th><td class="num">${value.toFixed(2)}</td><td class="pg-meter">${
      low !== null && html`<meter min=${low} max=${high} value=${value} aria-label=${`${key} from ${low} to ${high}`}></meter>`}</td></tr>`;
  })}</tbody></table>`;
}

listKeys([
  ["Ctrl Enter", "ask the models"], ["Esc", "stop asking"],
  ["e", "write the prompt", () => document.querySelector(".pg-prompt").focus()],
]);
place.replaceChildren();
render(html`<${Playground} />`, place);
