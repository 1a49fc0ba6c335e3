// The pulse: a line for each open stream that beats with its chunks, as on a monitor beside a bed.

import { $, el, say, seconds, whole } from "./dom.js";

const SPAN = 30_000; // milliseconds that a trace shows
const FOLD = 24; // with more open streams than this there is a line for each model, and for what is stalled
const MOST_STALLED = 12;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const STATES = ["stalled", "waiting", "streaming", "held"];
const lines = new Map(); // by the id of a stream or a model
let colours = {};

const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  colours = {
    streaming: read("--flow"), stalled: read("--stall"), waiting: read("--wait"), held: read("--held"), grid: read("--line"),
  };
};

class Line {
  constructor(id) {
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.name = el("span");
    this.where = el("span");
    this.cells = ["state", "n age", "n silent", "n chunks"].map((name) => el("td", { class: name }));
    this.row = el("tr", { "data-id": id }, el("th", { scope: "row" }, this.name, this.where),
      el("td", { class: "trace" }, this.canvas), ...this.cells);
    this.beats = []; // [time, how many chunks, state]
    this.chunks = null;
  }

  show(state, name, where, texts, beats, now) {
    this.row.dataset.state = state;
    say(this.name, name);
    this.name.title = name.slice(0, 300);
    say(this.where, where);
    this.cells.forEach((cell, index) => say(cell, texts[index]));
    this.beats.push([now, beats, state]);
    while (this.beats.length && now - this.beats[0][0] > SPAN + 2000) this.beats.shift();
  }

  draw(now) {
    const ratio = devicePixelRatio || 1, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width) return;
    if (this.canvas.width !== Math.round(width * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const c = this.canvas.getContext("2d"), middle = height * 0.62;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    const x = (time) => width - ((now - time) / SPAN) * width;
    const most = Math.max(4, ...this.beats.map((beat) => beat[1]));
    c.lineWidth = 1.8;
    c.lineJoin = "round";
    let [before] = this.beats;
    for (const beat of this.beats.slice(1)) {
      const from = x(before[0]), to = x(beat[0]), state = beat[2];
      before = beat;
      if (to < 0) continue;
      c.beginPath();
      c.strokeStyle = colours[state];
      c.setLineDash(state === "waiting" && !beat[1] ? [2, 4] : []);
      c.lineWidth = state === "stalled" ? 2.6 : 1.8;
      c.moveTo(from, middle);
      if (beat[1] > 0) {
        // A heartbeat: a small wave, the spike, its echo.
        const high = (Math.log1p(beat[1]) / Math.log1p(most)) * (middle - 3), step = (to - from) / 8;
        for (const [at, up] of [[2, 0], [2.6, 0.12], [3.2, 0], [3.6, -0.12], [4.3, 1], [5, -0.3], [5.5, 0], [6.4, 0.16], [7, 0]]) {
          c.lineTo(from + at * step, middle - up * high);
        }
      }
      c.lineTo(to, middle);
      c.stroke();
    }
    c.setLineDash([]);
    const last = this.beats.at(-1);
    if (last) {
      c.fillStyle = colours[last[2]];
      c.beginPath();
      c.arc(Math.min(x(last[0]), width - 3), middle, 2.6, 0, 7);
      c.fill();
    }
  }
}

const line = (id) => {
  if (!lines.has(id)) lines.set(id, new Line(id));
  return lines.get(id);
};

export const worded = (one) => ({
  stalled: one.phase === "keep_alive" ? "stalled, keep-alives only" : "stalled",
  waiting: "waiting", streaming: "streaming", held: "held by the app",
})[one.state];

const shown = (answer, now) => {
  const found = [];
  const folded = answer.open > FOLD;
  for (const model of folded ? answer.models : []) {
    const state = model.stalled ? "stalled" : STATES.find((one) => model[one] === model.open) ?? "streaming";
    const one = line(`model ${model.provider} ${model.model}`);
    const parts = STATES.filter((name) => model[name]).map((name) => `${whole(model[name])} ${name}`);
    one.show(state, model.model, `${whole(model.open)} open, ${model.provider}`,
      [parts.join(", "), seconds(model.oldest), model.stalled ? seconds(model.silence) : "", ""], model.beats, now);
    found.push(one);
  }
  const alone = folded ? answer.streams.filter((one) => one.state === "stalled").slice(0, MOST_STALLED) : answer.streams;
  for (const stream of alone) {
    const one = line(stream.id);
    const beats = one.chunks === null ? 0 : Math.max(0, stream.chunks - one.chunks);
    one.chunks = stream.chunks;
    const labels = Object.values(stream.labels).filter(Boolean);
    one.show(stream.state, stream.model, [stream.server, ...labels].join(" · "),
      [worded(stream), seconds(stream.age), stream.silence >= 1 ? seconds(stream.silence) : "", whole(stream.chunks)],
      beats, now);
    found.push(one);
  }
  const rest = answer.states.stalled - alone.filter((one) => one.state === "stalled").length;
  say($("pulse-note"), folded && rest > 0
    ? `${whole(answer.open)} open streams by model, and ${MOST_STALLED} of ${whole(answer.states.stalled)} that are stalled`
    : folded ? `${whole(answer.open)} open streams by model` : "a line for each open stream; it beats with its chunks");
  return found;
};

export const beat = (answer) => {
  const now = performance.now();
  const found = shown(answer, now);
  const body = $("streams");
  const kept = new Set(found);
  for (const [id, one] of lines) {
    if (!kept.has(one)) {
      one.row.remove();
      lines.delete(id);
    }
  }
  found.forEach((one, index) => {
    if (body.children[index] !== one.row) body.insertBefore(one.row, body.children[index] ?? null);
  });
  $("no-streams").classList.toggle("hidden", found.length > 0);
  if (calm.matches) for (const one of lines.values()) one.draw(now);
};

let drawn = 0;
const frame = (now) => {
  // 25 pictures a second are enough to be smooth.
  if (now - drawn > 38 && !calm.matches && !document.hidden) {
    drawn = now;
    for (const one of lines.values()) one.draw(now);
  }
  requestAnimationFrame(frame);
};
readColours();
dark.addEventListener("change", readColours);
requestAnimationFrame(frame);
