// What was counted: figures, ends, times, provider or app, retries, limits, models.

import { $, during, el, percent, say, seconds, whole, words } from "./dom.js";
import { columns, course, distribution, stack } from "./charts.js";

const figure = (name, value, level = "", title = "") =>
  el("div", { "data-level": level, title }, el("dt", {}, name), el("dd", {}, value));
const put = (id, ...children) => $(id).replaceChildren(...children.flat());
let open = null;

const level = (value, warn, bad) => (value === null || !(value > warn) ? "" : value > bad ? "bad" : "warn");

export const opened = (answer) => {
  open = answer;
  const { stalled } = answer.states, [active, hung] = $("figures").children;
  if (!active) return;
  say(active.lastChild, whole(answer.open));
  say(hung.lastChild, whole(stalled));
  hung.dataset.level = stalled >= 3 ? "bad" : stalled ? "warn" : "";
};

export const counted = (answer) => {
  const { recent, hour, distributions, promised } = answer, points = answer.course.points;
  for (const place of document.querySelectorAll(".window")) say(place, during(recent.seconds));
  for (const place of document.querySelectorAll(".hour")) say(place, during(hour.seconds));
  say($("scope"), `${whole(answer.processes)} ${answer.processes === 1 ? "process" : "processes"}`);
  const failing = recent.operations ? recent.operations_failed / recent.operations : null;
  put("figures",
    figure("Open", "–"), figure("Stalled", "–", "", "no chunk for longer than the threshold of the phase"),
    figure("Ended", recent.per_second === null ? whole(recent.ended) : `${recent.per_second.toFixed(1)} /s`),
    figure("Users felt", percent(recent.operations_failed, recent.operations),
      level(failing, promised.failing_warn, promised.failing_bad), "operations that failed for good, retries considered"),
    figure("First token p50", seconds(recent.first_token.p50)),
    figure("First token p95", seconds(recent.first_token.p95), level(recent.first_token.p95, promised.first_token_p95, 2 * promised.first_token_p95)));
  if (open) opened(open);
  put("outcomes", stack(Object.entries(hour.outcomes).sort((a, b) => b[1] - a[1])
    .map(([name, count]) => [`outcome-${name}`, words(name), count])));
  put("course-results", columns(points));
  put("first-distribution", distribution(distributions.first_token, promised.first_token_p95, "First tokens"));
  put("first-course", course(points, ["first_token_p95", "first_token_p50"], "Time to the first token"));
  put("gap-distribution", distribution(distributions.gap, 5, "Gaps between chunks"));
  put("gap-course", course(points, ["gap_p95", "gap_p50"], "Gaps between chunks"));
  whose(recent);
  retries(hour);
  limits(answer.limits);
  models(answer.models, promised);
};

const whose = (recent) => {
  const { wait_seconds: wait, hold_seconds: hold, loop_lag: lag } = recent;
  const text = !(wait + hold) ? "No stream has been read in this time."
    : lag.p95 !== null && lag.p95 > 0.25 ? "The app's event loop is late: what looks slow may be the app."
      : hold > wait ? "The app works on its chunks for longer than it waits for them: speed is the app's."
        : "The app waits for the provider: speed is the provider's.";
  put("whose", el("p", {}, text),
    stack([["wait", "waiting for the provider", wait], ["held", "held by the app", hold]], seconds),
    el("p", {}, "Event loop late by ", el("b", {}, seconds(lag.p95)), " (p95); ", el("b", {}, whole(recent.stalls)), " stalls ended"));
};

const retries = (hour) => {
  const again = Object.entries(hour.retries).flatMap(([source, reasons]) =>
    Object.entries(reasons).map(([reason, count]) => [`outcome-${/^\d/.test(reason) ? (reason === "429" ? "rate_limited" : "http_error") : reason}`,
      `${source === "sdk" ? "SDK" : "app"}, ${words(reason)}`, count]));
  const recovered = Object.values(hour.recoveries).reduce((sum, count) => sum + count, 0);
  put("retries", again.length ? stack(again.sort((a, b) => b[2] - a[2])) : el("p", { class: "empty" }, "Nothing was tried again."),
    el("p", {}, el("b", {}, whole(recovered)), " recovered, ", el("b", {}, whole(hour.operations_failed)),
      " failed for good, ", el("b", {}, whole(hour.fallbacks)), " fell back; ",
      el("b", {}, seconds(hour.backoff_seconds)), " slept between attempts"));
};

const limits = (found) => put("limits", found.length ? found.slice(0, 8).map((one) => {
  const known = one.limit !== null;
  const text = known ? `${whole(one.remaining)} of ${whole(one.limit)}` : whole(one.remaining);
  const name = `${one.model} · ${one.kind}`;
  return el("div", { class: known && one.remaining < 0.15 * one.limit ? "meter low" : "meter", title: `${one.provider}, ${one.server}; said ${seconds(one.age)} ago` },
    el("span", { class: "name" }, name),
    known ? el("progress", { value: one.remaining, max: one.limit, "aria-label": name }) : el("span"),
    el("span", { class: "n" }, text));
}) : el("p", { class: "empty" }, "No provider has told of a limit."));

const models = (rows, promised) => put("models", rows.length ? el("table", {},
  el("thead", {}, el("tr", {}, ["Model", "Open", "Stalled", "Ended", "Users felt", "First token p95"].map((name, at) =>
    el("th", { scope: "col", class: at ? "n" : "" }, name)))),
  el("tbody", {}, rows.map((row) => {
    const share = row.operations ? row.operations_failed / row.operations : null;
    return el("tr", { "data-state": row.stalled || level(share, 0, promised.failing_bad) === "bad" ? "stalled" : "" },
      el("th", { scope: "row", title: row.provider }, el("span", { class: "name" }, row.model)),
      [whole(row.open), whole(row.stalled), whole(row.ended), percent(row.operations_failed, row.operations),
        seconds(row.first_token.p95)].map((text) => el("td", { class: "n" }, text)));
  }))) : el("p", { class: "empty" }, "No model was asked."));
