// Makes elements and words. Text is only ever set as text, so that no name can be markup.

const SVG = "http://www.w3.org/2000/svg";
const made = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
};
export const $ = (id) => document.getElementById(id);
export const el = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) =>
  made(document.createElementNS(SVG, tag), attributes, children);

// Sets a text only where it has changed: 2 times a second, for hundreds of cells.
export const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

// A swatch in the colour of an outcome or a result. The style is set through the object model, as the policy wants it.
export const swatch = (name) => {
  const mark = el("span", { class: "swatch", "aria-hidden": "true" });
  mark.style.background = colour(name);
  return mark;
};
export const colour = (name) => `var(--${name}, var(--held))`;

export const seconds = (value) => {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 s";
  if (value < 0.1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  if (value < 10) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
};
export const whole = (value) => Math.round(value).toLocaleString("en");
export const percent = (part, of) => {
  if (!of) return "–";
  const share = (100 * part) / of;
  return share === 0 ? "0%" : share < 1 ? `${share.toFixed(1)}%` : `${Math.round(share)}%`;
};
export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString("en-GB");
export const words = (name) => name.replaceAll("_", " ");
export const during = (span) => (span === null ? "since the process began" : `last ${seconds(Math.max(span, 1))}`);
