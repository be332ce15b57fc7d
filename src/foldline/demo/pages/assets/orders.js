// The order list: searched, paged by cursor, and kept current by the stream of its rows.

import { ask } from "./api.js";
import { empty, failed, field, h, loading, notice, option, replace } from "./dom.js";
import { STATUS, clock, count, day, full, money } from "./format.js";
import { follow } from "./live.js";
import { ridge, since } from "./ridge.js";

const FILTERS = ["status", "email", "at_least", "since", "until"];
const SIZE = 20;

export function pill(status) {
  return h("span", { class: `pill ${status.toLowerCase()}` }, STATUS[status] ?? status);
}

export function row(order, { customer = true } = {}) {
  return h(
    "tr",
    { "data-order": order.order_id },
    h("th", { scope: "row", "data-label": "Order" }, h("a", { href: `#/orders/${encodeURIComponent(order.order_id)}` }, order.order_id)),
    customer && h("td", { class: "who", "data-label": "Customer" }, h("span", null, order.customer_name), h("small", null, order.customer_email)),
    h("td", { class: "number", "data-label": "Items" }, count(order.items)),
    h("td", { class: "number total", "data-label": "Total" }, money(order.total, order.currency)),
    h("td", { "data-label": "Status" }, pill(order.status)),
    h("td", { class: "when", "data-label": "Placed" },
      h("time", { datetime: order.placed_at, title: full(order.placed_at) }, day(order.placed_at), h("small", null, clock(order.placed_at)))),
  );
}

export function table(orders, caption, options) {
  const heads = ["Order", options?.customer === false ? null : "Customer", "Items", "Total", "Status", "Placed"];
  return h(
    "table",
    { class: "orders" },
    h("caption", { class: "hidden" }, caption),
    h("thead", null, h("tr", null, heads.filter(Boolean).map((head) =>
      h("th", { scope: "col", class: head === "Items" || head === "Total" ? "number" : null }, head)))),
    h("tbody", null, orders.map((order) => row(order, options))),
  );
}

export async function show(page, { query, signal }) {
  document.title = "Orders · Valleyfold";
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const filtered = FILTERS.some((name) => filters[name]);
  const trail = [null]; // The cursor of each page up to this one: a cursor only leads onwards.
  let next = null;
  let shown = 0;

  const figures = h("p", { class: "figures" }, " ");
  const top = h("div", { class: "ridge-place" });
  const list = h("div", { class: "list" });
  const newer = h("button", { type: "button", class: "button", onclick: () => turn(-1) }, "Newer");
  const older = h("button", { type: "button", class: "button", onclick: () => turn(1) }, "Older");
  const where = h("span", { class: "where" });
  const pager = h("nav", { class: "pager", "aria-label": "Pages of the list", hidden: true }, newer, where, older);
  const status = h("select", { name: "status" }, option("", "Any status"),
    Object.entries(STATUS).map(([value, label]) => option(value, label, value === filters.status)));
  const form = h(
    "form",
    { class: "search", role: "search", "aria-label": "Orders", onsubmit: search, onchange: search },
    field("Status", status),
    field("Email", h("input", { type: "text", inputmode: "email", name: "email", value: filters.email, placeholder: "part of an address", autocomplete: "off", spellcheck: "false" })),
    field("At least", h("input", { type: "number", name: "at_least", min: "0", step: "0.01", value: filters.at_least, placeholder: "€" })),
    field("From", h("input", { type: "date", name: "since", value: filters.since })),
    field("To", h("input", { type: "date", name: "until", value: filters.until })),
    h("div", { class: "field actions" },
      h("button", { class: "button", type: "submit" }, "Search"),
      filtered && h("a", { class: "button plain", href: "#/" }, "Clear")),
  );
  replace(page, h("h1", { tabindex: "-1" }, "Orders"), figures, top, form, list, pager);

  function search(event) {
    event.preventDefault();
    if (!form.reportValidity()) return;
    const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim?.() ?? value)).toString();
    const address = wanted ? `#/?${wanted}` : "#/";
    if (location.hash !== address) location.hash = address;
    else if (event.type === "submit") load();
  }

  async function turn(step) {
    if (step > 0) trail.push(next);
    else trail.pop();
    await load();
    if (!signal.aborted) list.querySelector("tbody a")?.focus();
  }

  let waiting = Promise.resolve();
  async function load(after) {
    const number = ++shown;
    try {
      const found = await ask("SearchOrders", { ...filters, after: trail.at(-1), limit: SIZE }, { after, signal });
      if (number !== shown) return; // A later question was asked meanwhile.
      next = found.next;
      pager.hidden = trail.length === 1 && !next;
      newer.disabled = trail.length === 1;
      older.disabled = !next;
      where.textContent = `Page ${trail.length}`;
      if (found.items.length) replace(list, table(found.items, "Orders, the latest first"));
      else if (filtered) {
        replace(list, empty("No order fits", "Nothing was placed that fits all of what you search for.", h("a", { class: "button", href: "#/" }, "Show all orders")));
      } else replace(list, empty("No orders yet", "The shelves are full and the door is open.", h("a", { class: "button primary", href: "#/new" }, "Place the first order")));
    } catch (error) {
      if (signal.aborted || number !== shown) return;
      pager.hidden = true;
      replace(list, failed(error, begin));
    }
  }

  async function countUp() {
    try {
      const shop = await ask("ShopFigures", {}, { signal });
      replace(figures,
        h("a", { href: "#/", "aria-current": filtered ? null : "true" }, h("b", null, count(shop.orders)), " orders"),
        Object.entries(STATUS).map(([name, label]) => [" ", h("a", { href: `#/?status=${name}`, "aria-current": filters.status === name ? "true" : null },
          h("b", null, count(shop.by_status[name] ?? 0)), ` ${label.toLowerCase()}`)]));
    } catch (error) {
      if (!signal.aborted) replace(figures, " "); // The list tells what is wrong; a second telling helps nobody.
    }
  }

  async function draw() {
    try {
      const days = await ask("SalesPerDay", { since: since(), until: new Date().toISOString().slice(0, 10) }, { signal });
      if (signal.aborted) return;
      top.hidden = !days.length;
      if (days.length) replace(top, ridge(days));
    } catch {
      top.hidden = true; // An ornament: the page is whole without it.
    }
  }

  // Rows that change while a list is being fetched are fetched once more after it, and not once each.
  let again = 0;
  function soon(position) {
    if (again) {
      again = position;
      return;
    }
    again = position;
    waiting = waiting.then(async () => {
      const upto = again;
      again = 0;
      await Promise.all([load(upto), countUp()]);
    });
  }

  follow("order_summary", {
    signal,
    opened: () => soon(0),
    changed(key, order, position) {
      const old = list.querySelector(`tr[data-order="${CSS.escape(key)}"]`);
      if (old && order && !filtered) {
        const focused = old.contains(document.activeElement);
        const fresh = row(order);
        fresh.classList.add("changed");
        old.replaceWith(fresh);
        if (focused) fresh.querySelector("a").focus();
        notice(`Order ${key} is now ${(STATUS[order.status] ?? order.status).toLowerCase()}`);
        countUp();
      } else if (trail.length === 1 || old) soon(position);
    },
  });
  function begin() {
    replace(list, loading("orders"));
    return Promise.all([load(), countUp(), draw()]);
  }

  await begin();
}
