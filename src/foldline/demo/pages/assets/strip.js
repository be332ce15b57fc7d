// "What just happened": the way of the last command, from the button to the screen.

import { Problem, eventsOf, execute } from "./api.js";
import { h, replace } from "./dom.js";
import { count, plural } from "./format.js";

const strip = document.getElementById("strip");

function step(kind, label, ...value) {
  return h("li", { class: `step ${kind}` }, h("span", { class: "step-label" }, label), h("span", { class: "step-value" }, ...value));
}

export function quiet() {
  replace(
    strip,
    h("li", { class: "step quiet" }, "Nothing yet. Change something, and its way from command to screen shows here."),
  );
}

function milliseconds(since) {
  const spent = performance.now() - since;
  return `${spent < 10 ? spent.toFixed(1) : Math.round(spent)} ms`;
}

// The events in a few words: each type once, with how many there were.
function types(events, receipt) {
  if (!events.length) return [plural(receipt.event_ids.length, "event")];
  const counted = new Map();
  for (const event of events) counted.set(event.type, (counted.get(event.type) ?? 0) + 1);
  return [...counted].flatMap(([type, times], index) => [index ? " + " : "", h("code", null, type), times > 1 ? ` × ${times}` : ""]);
}

// Give a command, wait by its position until `view` shows it (`refresh` fetches that), and show the way of it all.
// Throws the Problem of a command that was refused, after showing it.
export async function carryOut(name, body, view, refresh) {
  const sent = performance.now();
  replace(strip, step("command", "command", h("code", null, name)), step("pending", "events", "deciding…"));
  let receipt;
  try {
    receipt = await execute(name, body);
  } catch (error) {
    const why = error instanceof Problem && error.status === 409 ? h("code", null, error.code) : error.title ?? "failed";
    replace(
      strip,
      step("command", "command", h("code", null, name)),
      step("rejected", "rejected", why),
      step("quiet", "events", "none: nothing was recorded"),
    );
    throw error;
  }
  const decided = milliseconds(sent);
  const recorded = performance.now();
  const first = step("command", "command", h("code", null, name));
  const position = step("position", "position", h("b", null, count(receipt.position)), h("small", null, ` durable in ${decided}`));
  const events = step("events", plural(receipt.event_ids.length, "event"), ...types([], receipt));
  replace(strip, first, events, position, step("pending", "view", h("code", null, view), " catching up…"));
  const told = eventsOf(receipt).then(
    (found) => replace(events.lastElementChild, ...types(found, receipt)),
    () => {}, // The count stays in its place: the strip explains, and nothing depends on it.
  );
  try {
    await refresh(receipt.position);
    const spent = milliseconds(recorded);
    await told;
    replace(strip, first, events, position, step("view", "view", h("code", null, view), h("small", null, ` caught up in ${spent}`)));
  } catch (error) {
    replace(strip, first, events, position, step("rejected", "view", h("code", null, view), " has not caught up yet"));
    error.receipt = receipt; // The command itself was carried out.
    throw error;
  }
  return receipt;
}
