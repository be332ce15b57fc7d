// Who buys here, with what they have ordered so far.

import { ask } from "./api.js";
import { empty, failed, field, h, loading, replace } from "./dom.js";
import { count, day, money } from "./format.js";
import { follow } from "./live.js";

export async function show(page, { query, signal }) {
  document.title = "Customers · Valleyfold";
  const name = query.get("name") ?? "";
  const trail = [null];
  let next = null;
  const list = h("div", { class: "list" }, loading("customers"));
  const newer = h("button", { type: "button", class: "button", onclick: () => turn(-1) }, "Back");
  const older = h("button", { type: "button", class: "button", onclick: () => turn(1) }, "More");
  const pager = h("nav", { class: "pager", "aria-label": "Pages of the list", hidden: true }, newer, older);
  const input = h("input", { type: "search", name: "name", value: name, placeholder: "part of a name", autocomplete: "off" });
  replace(page, h("h1", { tabindex: "-1" }, "Customers"),
    h("form", { class: "search", role: "search", "aria-label": "Customers", onsubmit: search }, field("Name", input), h("div", { class: "field actions" }, h("button", { class: "button" }, "Search"), name && h("a", { class: "button plain", href: "#/customers" }, "Clear"))),
    list, pager);

  function search(event) {
    event.preventDefault();
    location.hash = input.value.trim() ? `#/customers?name=${encodeURIComponent(input.value.trim())}` : "#/customers";
  }

  async function turn(step) {
    if (step > 0) trail.push(next);
    else trail.pop();
    await load();
    list.querySelector("tbody a")?.focus();
  }

  async function load(after) {
    try {
      const found = await ask("Customers", { name, after: trail.at(-1) }, { after, signal });
      next = found.next;
      pager.hidden = trail.length === 1 && !next;
      newer.disabled = trail.length === 1;
      older.disabled = !next;
      if (!found.items.length) {
        replace(list, empty(name ? "Nobody of that name" : "No customers yet", name ? "Try a shorter part of it." : "They come with the first order."));
        return;
      }
      replace(list, h("table", { class: "orders customers" },
        h("caption", { class: "hidden" }, "Customers by name"),
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "Name"), h("th", { scope: "col" }, "Town"), ["Orders", "Open", "Spent"].map((head) => h("th", { scope: "col", class: "number" }, head)), h("th", { scope: "col" }, "Last order"))),
        h("tbody", null, found.items.map((one) => h("tr", null,
          h("th", { scope: "row", class: "who", "data-label": "Name" }, h("a", { href: `#/customers/${encodeURIComponent(one.customer_id)}` }, one.name), h("small", null, one.email)),
          h("td", { "data-label": "Town" }, one.city, h("small", null, one.country)),
          h("td", { class: "number", "data-label": "Orders" }, count(one.orders)),
          h("td", { class: "number", "data-label": "Open" }, one.open_orders ? count(one.open_orders) : "–"),
          h("td", { class: "number total", "data-label": "Spent" }, money(one.spent)),
          h("td", { class: "when", "data-label": "Last order" }, day(one.last_order_at)))))));
    } catch (error) {
      if (!signal.aborted) replace(list, failed(error, () => load()));
    }
  }

  let pending = false;
  follow("customer_statistics", {
    signal,
    opened: load,
    async changed(key, row, position) {
      if (pending || list.contains(document.activeElement)) return; // Nothing moves under somebody's hands.
      pending = true;
      await load(position);
      pending = false;
    },
  });
  await load();
}
