// Listens to the agent and hands on what it says. Where events are not to be had it asks, as in an app of one's own.

import { $, clock, say } from "./dom.js";
import { beat } from "./pulse.js";
import { counted, opened } from "./figures.js";
import { load } from "./incidents.js";

const MARKS = { ok: "all is well: ", warn: "look: ", bad: "trouble: " };
let heard = 0;

const connection = (state, text) => {
  $("connection").dataset.state = state;
  say($("connection"), text);
};
const lost = () => connection("lost", heard
  ? `no connection: shown is what was at ${clock(heard)}` : "no connection to the agent");

const streams = (answer) => {
  heard = answer.now;
  document.body.dataset.now = answer.now;
  connection("live", "live");
  $("headline").dataset.level = answer.headline.level;
  say($("verdict"), answer.headline.text);
  document.title = `${MARKS[answer.headline.level]}streamvitals`;
  beat(answer);
  opened(answer);
};
const summary = (answer) => {
  counted(answer);
  load().catch(() => undefined); // the connection's own state is shown already
};

const wait = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
const ask = async (path) => {
  const reply = await fetch(path);
  if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
  return reply.json();
};
const poll = async () => {
  for (const link of document.querySelectorAll(".agent")) link.classList.add("hidden");
  for (let turn = 0; ; turn += 1) {
    try {
      if (!document.hidden || turn % 20 === 0) {
        streams(await ask("api/v1/streams?limit=40"));
        if (turn % 10 === 0) summary(await ask("api/v1/summary"));
      }
    } catch {
      lost();
    }
    await wait(500);
  }
};

const listen = () => {
  const events = new EventSource("api/v1/events");
  events.addEventListener("streams", (event) => streams(JSON.parse(event.data)));
  events.addEventListener("summary", (event) => summary(JSON.parse(event.data)));
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) poll(); // refused: there are none here, or too many look
    else lost();
  });
};
listen();
