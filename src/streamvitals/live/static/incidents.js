// What broke: like ends in one line, filters, and one stream's story in a sentence and a picture.

import { $, clock, colour, el, say, seconds, svg, swatch, whole, words } from "./dom.js";

const FIXED = ["outcome", "model", "provider"];
let answer = { incidents: [], records: [], truncated: 0 };
let shown = "";

const wanted = () => new URLSearchParams(location.hash.slice(1));
const valueOf = (incident, name) => (FIXED.includes(name) ? incident[name] : incident.labels?.[name]) ?? "";
const ago = (now, time) => (now - time < 90 ? `${Math.max(0, Math.round(now - time))} s ago` : `${seconds(now - time)} ago`);

export const load = async () => {
  const reply = await fetch("api/v1/incidents", { headers: { Accept: "application/json" } });
  if (reply.status === 404) { $("incidents").classList.add("hidden"); return; }
  if (!reply.ok) throw new Error(`incidents: ${reply.status}`);
  answer = await reply.json();
  show();
};

const show = () => {
  const names = [...FIXED, ...new Set(answer.incidents.flatMap((one) => Object.keys(one.labels ?? {})))];
  const filter = wanted();
  const chosen = answer.incidents.filter((one) => names.every((name) => !filter.get(name) || valueOf(one, name) === filter.get(name)));
  const text = JSON.stringify([chosen, [...filter], names]);
  say($("incidents-note"), `${whole(chosen.reduce((sum, one) => sum + one.count, 0))} streams`
    + (answer.truncated ? `; ${whole(answer.truncated)} older ones are not kept` : ""));
  $("no-incidents").classList.toggle("hidden", chosen.length > 0);
  say($("no-incidents"), answer.incidents.length ? "None of these: choose another filter." : "None: every stream has completed.");
  for (const place of document.querySelectorAll("#incident-list time")) say(place, ago(answer.now, Number(place.dataset.time)));
  if (text === shown) return; // nothing that would take the focus away
  shown = text;
  const at = document.activeElement?.dataset?.id, on = document.activeElement?.name;
  $("filters").replaceChildren(...names.map((name) => selection(name, filter.get(name) ?? "")));
  $("incident-list").replaceChildren(...chosen.map(item));
  if (at) [...document.querySelectorAll("#incident-list button")].find((one) => one.dataset.id === at)?.focus();
  if (on) $("filters").elements[on]?.focus();
};

const selection = (name, value) => {
  const values = [...new Set([value, ...answer.incidents.map((one) => valueOf(one, name))])].filter(Boolean).sort();
  const change = (event) => {
    const filter = wanted();
    if (event.target.value) filter.set(name, event.target.value); else filter.delete(name);
    history.replaceState(null, "", `#${filter}`);
    show();
  };
  return el("label", {}, words(name), el("select", { name, onchange: change },
    el("option", { value: "" }, "all"),
    values.map((one) => el("option", { value: one, selected: one === value }, one.length > 60 ? `${one.slice(0, 60)}…` : one))));
};

const item = (one) => el("li", {}, el("button", { type: "button", "data-id": one.id, "aria-haspopup": "dialog", onclick: () => open(one) },
  swatch(`outcome-${one.outcome}`), el("strong", {}, words(one.outcome)), el("span", { class: "what" }, one.sentence),
  el("span", { class: "when" }, `${one.model.slice(0, 40)} · ${whole(one.count)} × · `, el("time", { "data-time": one.last }, ago(answer.now, one.last)),
    one.recovered ? ` · ${whole(one.recovered)} recovered` : "")));

const open = (incident) => {
  const records = answer.records.filter((one) => incident.records.includes(one.id));
  const story = el("div");
  const tell = (record) => story.replaceChildren(...(record ? [timeline(record, incident), facts(record)] : [el("p", { class: "empty" }, "Its streams are no longer kept one by one.")]));
  const choose = el("select", { "aria-label": "Stream", onchange: (event) => tell(records[event.target.selectedIndex]) },
    records.map((one) => el("option", {}, `${clock(one.time)} · ${one.request_id || one.id}`.slice(0, 80))));
  $("detail").replaceChildren(
    el("h2", { id: "detail-title" }, incident.sentence),
    el("button", { type: "button", class: "close", onclick: () => $("detail").close() }, "Close"),
    el("p", {}, `${words(incident.outcome)}${incident.error_type ? ` (${incident.error_type})` : ""}: `,
      el("b", {}, OWNERS[incident.owner] ?? incident.owner), ` ${whole(incident.count)} streams of ${incident.model} at ${incident.server}, first ${clock(incident.first)}, last ${clock(incident.last)}; ${whole(incident.recovered)} recovered.`),
    el("p", { class: "next" }, "Look next: ", linked(incident.next)),
    records.length > 1 ? el("label", {}, "One of them: ", choose) : "", story);
  tell(records[0]);
  $("detail").showModal();
};
const OWNERS = {
  provider: "the provider's.", quota: "a quota.", caller: "the caller's request.", app: "the app's own doing.", limit: "a limit that was agreed.",
};
// An address in what to do next becomes a link, if it is one of the web.
const linked = (text) => String(text ?? "").split(/(https?:\/\/[^\s<>"']+)/).map((part, at) =>
  (at % 2 ? el("a", { href: part, rel: "noreferrer noopener", target: "_blank" }, part) : part));

const facts = (record) => {
  const names = ["request_id", "trace_id", "pid", "server", "chunk_index", "bytes", "seconds", "silence", "causes"];
  return el("dl", {}, names.filter((name) => record[name] !== undefined && record[name] !== null && String(record[name]) !== "")
    .map((name) => [el("dt", {}, words(name)), el("dd", {}, String(Array.isArray(record[name]) ? record[name].join(" ← ") : typeof record[name] === "number" && ["seconds", "silence"].includes(name) ? seconds(record[name]) : record[name]).slice(0, 400))]));
};

// One stream from its request to its end, in seconds since the request; what is not known is not drawn.
const timeline = (record, incident) => {
  const line = record.timeline ?? {};
  const since = (time) => (time === null || time === undefined ? null : Math.max(0, time));
  const end = Math.max(since(line.end) ?? 0, 0.001), width = 800, x = (time) => 10 + (Math.min(time, end) / end) * (width - 20);
  const marks = [["headers", "headers"], ["first_chunk", "first chunk"], ["first_token", "first token"]]
    .map(([name, label]) => [since(line[name]), label]).filter(([time]) => time !== null);
  const told = [[0, "request"], ...marks];
  const parts = [svg("rect", { x: 10, y: 62, width: width - 20, height: 14, rx: 3, fill: "var(--fill)" })];
  const flowing = marks.find(([, label]) => label === "first chunk")?.[0];
  if (flowing !== undefined) parts.push(svg("rect", { class: "bar", x: x(flowing), y: 62, width: Math.max(1, x(end) - x(flowing)), height: 14 }));
  (line.attempts ?? []).forEach((attempt, index) => {
    const at = since(attempt.start) ?? 0;
    told.push([at, `attempt ${index + 1}${attempt.status || attempt.reason ? `: ${attempt.status || words(String(attempt.reason))}` : ""}${attempt.backoff ? `, then ${seconds(attempt.backoff)} of back-off` : ""}`]);
    parts.push(svg("line", { x1: x(at), x2: x(at), y1: 50, y2: 84, stroke: "var(--ink)", "stroke-width": 2 }));
    const next = since((line.attempts ?? [])[index + 1]?.start);
    if (attempt.backoff && next !== null) parts.push(svg("rect", { class: "bar app", x: x(Math.max(at, next - attempt.backoff)), y: 66, width: Math.max(1, x(next) - x(Math.max(at, next - attempt.backoff))), height: 6 }));
  });
  const gap = line.longest_gap;
  if (gap && gap.seconds) {
    told.push([since(gap.at), `longest gap: ${seconds(gap.seconds)}`]);
    parts.push(svg("rect", { x: x(since(gap.at)), y: 58, width: Math.max(2, x(since(gap.at) + gap.seconds) - x(since(gap.at))), height: 22, fill: "none", stroke: "var(--warn)", "stroke-width": 2 }),
      svg("text", { x: Math.min(Math.max(x(since(gap.at) + gap.seconds / 2), 70), width - 160), y: 98, "text-anchor": "middle" }, "longest gap"));
  }
  for (const stall of line.stalls ?? []) {
    told.push([since(stall.at), `stalled for ${seconds(stall.seconds)}`]);
    parts.push(svg("rect", { class: "bar late", x: x(since(stall.at)), y: 62, width: Math.max(2, x(since(stall.at) + stall.seconds) - x(since(stall.at))), height: 14 }));
  }
  marks.forEach(([time, label], index) => parts.push(
    svg("line", { x1: x(time), x2: x(time), y1: 40 - 12 * index, y2: 62, stroke: "var(--soft)" }),
    svg("text", { x: x(time) + (x(time) > width - 130 ? -3 : 3), y: 46 - 12 * index, "text-anchor": x(time) > width - 130 ? "end" : "start" }, `${label} ${seconds(time)}`)));
  const cross = svg("path", { d: `M${x(end) - 6} 63l12 12m0-12l-12 12`, fill: "none", "stroke-width": 4 });
  cross.style.stroke = colour(`outcome-${incident.outcome}`);
  told.push([end, `${words(incident.outcome)}: the end`]);
  parts.push(cross, svg("text", { x: 10, y: 98 }, "0 s"), svg("text", { x: width - 10, y: 98, "text-anchor": "end" }, `${seconds(end)}: ${words(incident.outcome)}`));
  return el("div", {}, svg("svg", { viewBox: `0 0 ${width} 104`, role: "img", "aria-label": "From request to end; the list below says the same" }, ...parts),
    el("ol", {}, told.sort((a, b) => a[0] - b[0]).map(([time, label]) => el("li", {}, `${seconds(time)} `, label))));
};

addEventListener("hashchange", show);
