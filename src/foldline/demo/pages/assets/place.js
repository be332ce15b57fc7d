// The form that places an order.

import { ask, newOrderId } from "./api.js";
import { empty, failed, field, h, loading, option, replace } from "./dom.js";
import { cents, count, money } from "./format.js";
import { follow } from "./live.js";
import { carryOut } from "./strip.js";

const MOST = 10;

export async function everyCustomer(signal) {
  const all = [];
  let after = null;
  do {
    const page = await ask("Customers", { limit: 100, after }, { signal });
    all.push(...page.items);
    after = page.next;
  } while (after);
  return all;
}

export async function show(page, { query, signal }) {
  document.title = "New order · Valleyfold";
  replace(page, h("h1", { tabindex: "-1" }, "New order"), loading("products and customers"));
  let products, people, terms;
  try {
    [products, people, terms] = await Promise.all([ask("Stock", {}, { signal }), everyCustomer(signal), ask("DeliveryTerms", {}, { signal })]);
  } catch (error) {
    if (!signal.aborted) replace(page, h("h1", { tabindex: "-1" }, "New order"), failed(error, () => show(page, { query, signal })));
    return;
  }

  if (!products.length || !people.length) {
    replace(page, h("h1", { tabindex: "-1" }, "New order"), empty("Nothing to sell yet", "An order needs a product and a customer. Add them by the commands AddProduct, ReceiveStock and RegisterCustomer."));
    return;
  }

  const customer = h("select", { name: "customer", required: true }, option("", "Choose…"),
    people.map((one) => option(one.customer_id, `${one.name}, ${one.city}`, one.customer_id === query.get("customer"))));
  const outcome = h("p", { class: "outcome refused", role: "alert", tabindex: "-1", hidden: true });
  const summary = h("div", { class: "basket" });
  const button = h("button", { type: "submit", class: "button primary wide" }, "Place order");
  const rows = new Map();
  const sections = new Map();
  for (const one of products) {
    if (!sections.has(one.section)) sections.set(one.section, []);
    sections.get(one.section).push(one);
  }

  function ware(one) {
    const input = h("input", { type: "number", min: "0", max: "999", step: "1", value: "", placeholder: "0", inputmode: "numeric",
      id: `wish-${one.product_id}`, "aria-describedby": `left-${one.product_id}`, oninput: addUp });
    const left = h("span", { class: "left", id: `left-${one.product_id}` });
    const row = h("li", { class: "ware" }, h("label", { for: input.id }, one.name), left, h("span", { class: "number" }, money(one.price, terms.currency)), input);
    rows.set(one.product_id, { one, input, left, row });
    return row;
  }

  function mark(entry) {
    const { one, left, row, input } = entry;
    left.textContent = one.available ? `${count(one.available)} left` : "sold out";
    row.classList.toggle("few", one.available > 0 && one.available <= 5);
    row.classList.toggle("out", one.available <= 0);
    row.classList.toggle("over", Number(input.value) > one.available);
  }

  function chosen() {
    return [...rows.values()].filter(({ input }) => Number(input.value) > 0);
  }

  function addUp() {
    rows.forEach(mark);
    const lines = chosen();
    const goods = lines.reduce((sum, { one, input }) => sum + cents(one.price) * Number(input.value), 0);
    const delivery = goods >= cents(terms.free_from) ? 0 : cents(terms.delivery);
    if (!lines.length) {
      replace(summary, h("p", { class: "none" }, "Nothing chosen yet. Set a quantity beside a product."));
      return;
    }
    replace(summary,
      h("ul", null, lines.map(({ one, input }) => h("li", null, h("span", null, `${count(Number(input.value))} × ${one.name}`), h("span", { class: "number" }, money((cents(one.price) * Number(input.value)) / 100, terms.currency))))),
      h("dl", null,
        h("div", null, h("dt", null, "Delivery"), h("dd", { class: "number" }, delivery ? money(delivery / 100, terms.currency) : "free")),
        h("div", { class: "sum" }, h("dt", null, "Total"), h("dd", { class: "number" }, money((goods + delivery) / 100, terms.currency)))),
      lines.length > MOST && h("p", { class: "note warn" }, `An order has at most ${MOST} different items.`));
  }

  // The order's own page waits for the position, where the view has not reached it yet.
  function leave(receipt) {
    sessionStorage.setItem(`after ${orderId}`, receipt.position);
    location.hash = `#/orders/${orderId}`;
  }

  let orderId = newOrderId();
  let busy = false;
  async function place(event) {
    event.preventDefault();
    if (busy) return;
    busy = button.disabled = true;
    outcome.hidden = true;
    const items = chosen().map(({ one, input }) => ({ product_id: one.product_id, quantity: Number(input.value) }));
    try {
      const receipt = await carryOut("PlaceOrder", { order_id: orderId, customer_id: customer.value, items }, "order_details",
        (position) => ask("OrderOf", { order_id: orderId }, { after: position }));
      leave(receipt);
    } catch (error) {
      if (signal.aborted) return;
      if (error.receipt) return leave(error.receipt);
      if (error.code === "order-exists") orderId = newOrderId();
      replace(outcome, error.message);
      outcome.hidden = false;
      outcome.focus();
    } finally {
      busy = button.disabled = false;
    }
  }

  replace(page,
    h("h1", { tabindex: "-1" }, "New order"),
    h("form", { class: "place", onsubmit: place },
      h("div", { class: "wares" }, [...sections].sort().map(([section, wares]) =>
        h("fieldset", null, h("legend", null, section), h("ul", null, wares.map(ware))))),
      h("div", { class: "sheet summary" },
        h("h2", null, "The order"),
        field("Customer", customer),
        summary, outcome, button,
        h("p", { class: "note" }, `Prices and stock are decided when the order is placed. Delivery is free from ${money(terms.free_from, terms.currency)}.`))));
  addUp();

  follow("stock_level", {
    signal,
    changed(key, fresh) {
      const entry = rows.get(key);
      if (!entry || !fresh) return;
      entry.one = fresh;
      addUp();
    },
  });
}
