// What is on the shelves, live.

import { ask } from "./api.js";
import { empty, failed, h, loading, notice, replace, svg } from "./dom.js";
import { count, money } from "./format.js";
import { follow } from "./live.js";
import { carryOut } from "./strip.js";

const DELIVERY = 20;

export async function show(page, { signal }) {
  document.title = "Products · Valleyfold";
  const list = h("div", null, loading("products"));
  replace(page, h("h1", { tabindex: "-1" }, "Products"), h("p", { class: "lead" }, "Stock is reserved in the very append that places an order, so it is never sold twice."), list);
  const rows = new Map();
  let most = 1;

  function bar(available) {
    const width = Math.max(0, Math.min(100, (available / most) * 100));
    return svg("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "bar-all", width: "100", height: "6" }), svg("rect", { class: "bar-full", width: width.toFixed(1), height: "6" }));
  }

  function cells(one) {
    return [
      h("th", { scope: "row" }, one.name),
      h("td", { class: "number" }, money(one.price)),
      h("td", { class: `stock ${one.available <= 0 ? "out" : one.available <= 5 ? "few" : ""}` }, bar(one.available), h("span", null, one.available > 0 ? `${count(one.available)} left` : "sold out")),
      h("td", { class: "number sold" }, `${count(one.sold)} sold`),
      h("td", { class: "number" }, h("button", { type: "button", class: "button small", "aria-label": `Receive ${DELIVERY} of ${one.name}`, onclick: (event) => receive(one, event.currentTarget) }, `Receive ${DELIVERY}`)),
    ];
  }

  async function receive(one, button) {
    button.disabled = true;
    try {
      await carryOut("ReceiveStock", { product_id: one.product_id, quantity: DELIVERY }, "stock_level", refresh);
      notice(`${DELIVERY} more of ${one.name}`);
    } catch (error) {
      if (!signal.aborted) notice(error.message, "refused");
    } finally {
      button.disabled = false;
      rows.get(one.product_id)?.querySelector("button")?.focus();
    }
  }

  function draw(products) {
    if (!products.length) return replace(list, empty("No products", "Nothing is sold here yet."));
    most = Math.max(1, ...products.map((one) => one.available));
    const sections = new Map();
    for (const one of products) sections.set(one.section, [...(sections.get(one.section) ?? []), one]);
    replace(list, [...sections].sort().map(([section, wares]) => h("section", { class: "sheet", "aria-label": section },
      h("table", { class: "products" },
        h("caption", null, section),
        h("thead", { class: "hidden" }, h("tr", null, ["Product", "Price", "Stock", "Sold", "Delivery"].map((head) => h("th", { scope: "col" }, head)))),
        h("tbody", null, wares.map((one) => {
          const row = h("tr", null, cells(one));
          rows.set(one.product_id, row);
          return row;
        }))))));
  }

  async function refresh(position) {
    const products = await ask("Stock", {}, { after: position, signal });
    draw(products);
  }

  async function load() {
    try {
      await refresh();
    } catch (error) {
      if (!signal.aborted) replace(list, failed(error, () => { replace(list, loading("products")); load(); }));
    }
  }

  follow("stock_level", {
    signal,
    opened: load,
    changed(key, one) {
      const row = rows.get(key);
      if (!row || !one) return void load();
      const focused = row.contains(document.activeElement);
      replace(row, cells(one));
      row.classList.add("changed");
      if (focused) row.querySelector("button").focus();
    },
  });
  await load();
}
