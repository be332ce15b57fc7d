// One customer: what they have ordered, and the name they go by.

import { ask } from "./api.js";
import { empty, failed, field, h, loading, replace } from "./dom.js";
import { count, day, money } from "./format.js";
import { follow } from "./live.js";
import { table } from "./orders.js";
import { carryOut } from "./strip.js";

export async function show(page, { id, signal }) {
  document.title = "Customer · Valleyfold";
  const title = h("h1", { tabindex: "-1" }, id);
  const facts = h("dl", { class: "tally" });
  const list = h("div", { class: "list" }, loading("orders"));
  const more = h("button", { type: "button", class: "button", hidden: true, onclick: () => orders(cursor) }, "More orders");
  const name = h("input", { type: "text", required: true, maxlength: "200", autocomplete: "off" });
  const email = h("input", { type: "email", required: true, maxlength: "200", autocomplete: "off" });
  const outcome = h("p", { class: "outcome", tabindex: "-1", hidden: true });
  let cursor = null;
  let known = [];

  const rename = h("form", { class: "search", "aria-label": "Name and email", onsubmit: save },
    field("Name", name), field("Email", email), h("div", { class: "field actions" }, h("button", { class: "button" }, "Save")));

  async function save(event) {
    event.preventDefault();
    try {
      await carryOut("RenameCustomer", { customer_id: id, name: name.value.trim(), email: email.value.trim() }, "customer_statistics", statistics);
      replace(outcome, "Saved. Orders keep the name they were placed under.");
      outcome.className = "outcome done";
    } catch (error) {
      if (signal.aborted) return;
      replace(outcome, error.message);
      outcome.className = "outcome refused";
    }
    outcome.hidden = false;
    outcome.focus();
  }

  async function statistics(position) {
    const one = await ask("StatisticsOf", { customer_id: id }, { after: position, signal });
    draw(one);
  }

  function draw(one) {
    document.title = `${one.name} · Valleyfold`;
    title.textContent = one.name;
    if (!rename.contains(document.activeElement)) [name.value, email.value] = [one.name, one.email];
    const entry = (label, value) => h("div", null, h("dt", null, label), h("dd", null, value));
    replace(facts, entry("Orders", count(one.orders)), entry("Open", count(one.open_orders)), entry("Cancelled", count(one.cancelled_orders)),
      entry("Spent", money(one.spent)), entry("Last order", day(one.last_order_at) || "none"), entry("Lives in", `${one.city}, ${one.country}`));
  }

  async function orders(after, position) {
    const found = await ask("OrdersOf", { customer_id: id, after, limit: 20 }, { after: position, signal });
    known = after ? [...known, ...found.items] : found.items;
    cursor = found.next;
    more.hidden = !cursor;
    replace(list, known.length ? table(known, "Orders of this customer, the latest first", { customer: false }) : empty("No orders yet", "This customer has only looked around so far."));
  }

  async function load() {
    try {
      await Promise.all([statistics(), orders(null)]);
    } catch (error) {
      if (signal.aborted) return;
      replace(page, title, failed(error.status === 404 ? { title: "Not found", message: "There is no customer of that number." } : error, () => show(page, { id, signal })));
    }
  }

  replace(page, h("p", { class: "crumb" }, h("a", { href: "#/customers" }, "Customers"), " / "), title, facts,
    h("p", null, h("a", { class: "button", href: `#/new?customer=${encodeURIComponent(id)}` }, "Order for this customer")),
    h("h2", null, "Name and email"), rename, outcome, h("h2", null, "Orders"), list, more);
  follow("customer_statistics", {
    key: id,
    signal,
    opened: load,
    changed(key, row, position) {
      if (row) draw(row);
      if (known.length <= 20) orders(null, position).catch(() => {}); // The next change, or a reload, brings it again.
    },
  });
  await load();
}
