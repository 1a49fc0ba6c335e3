// Drawings in SVG: distributions, their course over the hour, stacked bars.

import { clock, colour, el, seconds, svg, swatch, whole, words } from "./dom.js";

const WIDTH = 300, WIDE = 620, HEIGHT = 96, BASE = 80;

const picture = (label, width, ...children) =>
  svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, ...children);
const text = (x, y, words, anchor = "start") => svg("text", { x, y, "text-anchor": anchor }, words);
const nothing = (words) => el("p", { class: "empty" }, words);

// A bar for each bucket; the dashed line is the hour's shape at the same scale. Past `late` seconds bars are red.
export const distribution = (found, late, what) => {
  const { edges, recent, hour } = found;
  const total = recent.reduce((sum, count) => sum + count, 0), all = hour.reduce((sum, count) => sum + count, 0);
  if (!all) return nothing("nothing was measured yet");
  const first = Math.max(0, hour.findIndex((count) => count) - 1), last = hour.findLastIndex((count) => count) + 1;
  const shares = (counts, of) => counts.slice(first, last + 1).map((count) => (of ? count / of : 0));
  const now = shares(recent, total), usual = shares(hour, all), most = Math.max(...now, ...usual);
  const step = WIDTH / now.length, y = (share) => BASE - (share / most) * (BASE - 6);
  const edge = (index) => (index < edges.length ? seconds(edges[index]) : `> ${seconds(edges.at(-1))}`);
  const bars = now.map((share, index) => svg("rect", {
    class: (first + index > 0 ? edges[first + index - 1] : 0) >= late ? "bar late" : "bar",
    x: index * step + 1, width: Math.max(1, step - 2), y: y(share), height: BASE - y(share),
  }, svg("title", {}, `up to ${edge(first + index)}: ${whole(recent[first + index] ?? 0)}`)));
  const points = usual.flatMap((share, index) => [`${index * step},${y(share)}`, `${(index + 1) * step},${y(share)}`]);
  return picture(`${what}: how many took how long; the last bucket ends at ${edge(last)}`, WIDTH, ...bars,
    svg("polyline", { class: "usual", points: points.join(" ") }, svg("title", {}, "the last hour")),
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: BASE, y2: BASE }),
    text(0, HEIGHT - 4, `≤ ${edge(first)}`), text(WIDTH, HEIGHT - 4, `≤ ${edge(last)}`, "end"));
};

// Lines of the last hour, minute by minute. A minute without a value is a gap in its line.
export const course = (points, fields, what) => {
  const values = points.flatMap((point) => fields.map((field) => point[field])).filter((value) => value !== null);
  if (points.length < 2 || !values.length) return nothing("its course is drawn after two minutes");
  const begin = points[0].time, span = Math.max(60, points.at(-1).time - begin), most = Math.max(...values) || 1;
  const x = (time) => ((time - begin) / span) * WIDTH, y = (value) => BASE - (value / most) * (BASE - 14);
  const lines = fields.map((field, index) => {
    let pen = "M";
    const path = points.map((point) => {
      if (point[field] === null) { pen = "M"; return ""; }
      const step = `${pen}${x(point.time).toFixed(1)},${y(point[field]).toFixed(1)}`;
      pen = "L";
      return step;
    }).join("");
    return svg("path", { class: index ? "p50" : "p95", d: path });
  });
  return picture(`${what} over the last hour, at most ${seconds(most)}`, WIDTH, ...lines,
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: BASE, y2: BASE }),
    text(0, 10, `p95 (blue) and p50; top ${seconds(most)}`), text(0, HEIGHT - 4, clock(begin)),
    text(WIDTH, HEIGHT - 4, clock(points.at(-1).time), "end"));
};

// One bar of parts, and what they are; `parts` are [name of the colour, words, count].
export const stack = (parts, show = whole) => {
  const total = parts.reduce((sum, part) => sum + part[2], 0);
  if (!total) return nothing("nothing yet");
  const bar = el("div", { class: "stack", "aria-hidden": "true" }, parts.map(([name, , count]) => {
    const piece = el("i");
    piece.style.flex = `${count} 0 0`;
    piece.style.background = colour(name);
    return piece;
  }));
  return [bar, el("div", { class: "legend" }, parts.map(([name, label, count]) =>
    el("span", {}, swatch(name), " ", label, " ", el("b", {}, show(count)))))];
};

// How the streams of each minute ended: stacked columns.
export const columns = (points) => {
  if (points.length < 2) return nothing("their course is drawn after two minutes");
  const order = ["completed", "limit", "left", "rejected", "failed"];
  const most = Math.max(1, ...points.map((point) => order.reduce((sum, name) => sum + (point.results[name] ?? 0), 0)));
  const step = WIDE / points.length;
  const bars = points.flatMap((point, index) => {
    let top = BASE;
    return order.filter((name) => point.results[name]).map((name) => {
      const height = (point.results[name] / most) * (BASE - 14);
      top -= height;
      const bar = svg("rect", { x: index * step, width: Math.max(1, step - 1), y: top, height },
        svg("title", {}, `${clock(point.time)}: ${words(name)} ${whole(point.results[name])}`));
      bar.style.fill = colour(`result-${name}`);
      return bar;
    });
  });
  return picture("How streams ended, minute by minute", WIDE, ...bars,
    svg("line", { class: "axis", x1: 0, x2: WIDE, y1: BASE, y2: BASE }), text(0, 10, `up to ${whole(most)} a minute`),
    text(0, HEIGHT - 4, clock(points[0].time)), text(WIDE, HEIGHT - 4, clock(points.at(-1).time), "end"));
};
