// Making elements: text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

let fields = 0;

// A control with its label, tied together by an id.
export function field(label, control, note) {
  control.id ||= `field-${++fields}`;
  const described = note ? h("span", { class: "note", id: `${control.id}-note` }, note) : null;
  if (described) control.setAttribute("aria-describedby", described.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, described);
}

export function option(value, label, selected = false) {
  const made = h("option", { value }, label);
  made.selected = selected;
  return made;
}

// A passing message, spoken by screen readers. Elements that somebody looks at are never moved by it.
export function notice(text, kind = "info") {
  const box = document.getElementById("notices");
  const shown = h("p", { class: `notice ${kind}` }, text, h("button", { type: "button", "aria-label": "Dismiss", onclick: () => shown.remove() }, "×"));
  box.append(shown);
  while (box.children.length > 3) box.firstChild.remove();
  setTimeout(() => shown.remove(), 8000);
}

// The states that every list and page has besides the good one.
export function loading(what) {
  return h("div", { class: "state", role: "status" }, h("span", { class: "fold", "aria-hidden": "true" }), h("p", null, `Loading ${what}…`));
}

export function empty(title, text, ...more) {
  return h("div", { class: "state" }, h("p", { class: "state-title" }, title), h("p", null, text), ...more);
}

export function failed(error, again) {
  return h(
    "div",
    { class: "state error", role: "alert" },
    h("p", { class: "state-title" }, error.title ?? "Something went wrong"),
    h("p", null, error.message),
    again && h("button", { type: "button", class: "button", onclick: again }, "Try again"),
  );
}
