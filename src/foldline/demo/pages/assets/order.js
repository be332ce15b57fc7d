// One order: its lines, its addresses, what may happen to it next, and what has happened so far.

import { ask } from "./api.js";
import { failed, field, h, loading, notice, option, replace } from "./dom.js";
import { STATUS, count, day, full, money, plural } from "./format.js";
import { follow } from "./live.js";
import { pill } from "./orders.js";
import { carryOut } from "./strip.js";

const VIEW = "order_details";
const OVER = {
  SHIPPED: "The parcel is on its way, so nothing about this order can change any more.",
  CANCELLED: "The order is cancelled. Its stock went back on the shelves.",
};

export async function show(page, { id, signal }) {
  document.title = `Order ${id} · Valleyfold`;
  let order = null;
  let busy = false;

  const head = h("div", { class: "order-head" });
  const lines = h("section", { class: "sheet", "aria-labelledby": "lines-title" });
  const life = h("section", { class: "sheet life", "aria-labelledby": "life-title" });
  const facts = h("section", { class: "sheet facts", "aria-labelledby": "facts-title" });
  const timeline = h("section", { class: "sheet timeline-sheet", "aria-labelledby": "timeline-title" });
  const outcome = h("p", { class: "outcome", tabindex: "-1", hidden: true });
  const end = h("p", { class: "end", hidden: true });

  async function refresh(position) {
    const fresh = await ask("OrderOf", { order_id: id }, { after: position, signal });
    if (!order || fresh.version >= order.version) {
      order = fresh;
      draw();
    }
  }

  function say(text, kind) {
    outcome.hidden = !text;
    outcome.className = `outcome ${kind}`;
    outcome.setAttribute("role", kind === "refused" ? "alert" : "status");
    replace(outcome, text);
  }

  async function act(name, body, done) {
    if (busy) return;
    busy = true;
    enable();
    try {
      await carryOut(name, { order_id: id, ...body }, VIEW, refresh);
      say(done, "done");
    } catch (error) {
      if (signal.aborted) return;
      say(error.message, "refused");
    } finally {
      busy = false;
      enable();
      // The button that was pressed may be disabled by now: the focus goes to what came of it.
      if (!signal.aborted && !outcome.hidden) outcome.focus();
    }
  }

  // --- What may happen next --------------------------------------------------------------------------------------

  const product = h("select", { required: true }, option("", "Loading…"));
  const quantity = h("input", { type: "number", min: "1", max: "999", value: "1", required: true });
  const method = h("select", null, option("card", "card"), option("transfer", "bank transfer"), option("voucher", "voucher"));
  const carrier = h("select", null, ["Heron Post", "Marten Parcels", "Blue Mule"].map((name) => option(name, name)));
  const tracking = h("input", { type: "text", maxlength: "60", placeholder: "optional", autocomplete: "off" });
  const reason = h("input", { type: "text", maxlength: "200", required: true, value: "Ordered by mistake", autocomplete: "off" });

  const actions = {
    add: action("Add an item", "Add item", [field("Product", product), field("Quantity", quantity)], () =>
      act("AddItem", { product_id: product.value, quantity: Number(quantity.value) }, "The item is added.")),
    pay: action("Pay", "Pay", [field("By", method)], () => act("PayOrder", { method: method.value }, "The order is paid.")),
    ship: action("Ship", "Ship", [field("With", carrier), field("Parcel number", tracking)], () =>
      act("ShipOrder", { carrier: carrier.value, tracking: tracking.value.trim() }, "Shipped.")),
    cancel: action("Cancel", "Cancel order", [field("Reason", reason)], () =>
      act("CancelOrder", { reason: reason.value.trim() }, "Cancelled.")),
  };

  function action(title, label, controls, run) {
    const button = h("button", { type: "submit", class: "button" }, label);
    const why = h("p", { class: "why" });
    const fieldset = h("fieldset", null, h("legend", null, title), h("div", { class: "controls" }, controls, h("div", { class: "field actions" }, button)), why);
    const form = h("form", { onsubmit: (event) => { event.preventDefault(); run(); } }, fieldset);
    return { form, fieldset, button, why };
  }

  function enable() {
    const status = order?.status;
    const over = OVER[status] ?? "";
    const why = {
      add: over || (status === "PAID" ? "It is paid, so its items stay as they are." : ""),
      pay: over || (status === "PAID" ? "It is paid already." : ""),
      ship: over || (status === "PLACED" ? "It has to be paid first." : ""),
      cancel: over,
    };
    const likely = status === "PLACED" ? "pay" : status === "PAID" ? "ship" : null;
    for (const [name, one] of Object.entries(actions)) {
      one.fieldset.disabled = busy || Boolean(why[name]);
      one.form.hidden = Boolean(over);
      one.why.textContent = why[name];
      one.button.classList.toggle("primary", name === likely);
    }
    end.hidden = !over;
    end.textContent = over;
    if (order) actions.pay.button.textContent = status === "PLACED" ? `Pay ${money(order.total, order.currency)}` : "Pay";
  }

  // --- Drawing ----------------------------------------------------------------------------------------------------

  function draw() {
    replace(head,
      h("p", { class: "crumb" }, h("a", { href: "#/" }, "Orders"), " / "),
      head.querySelector("h1") ?? h("h1", { tabindex: "-1" }, h("span", { class: "hidden" }, "Order "), id),
      pill(order.status),
      h("p", { class: "byline" }, h("a", { href: `#/customers/${encodeURIComponent(order.customer_id)}` }, order.customer_name), h("span", null, order.customer_email)));
    drawLines();
    drawFacts();
    drawTimeline();
    enable();
  }

  function drawLines() {
    const value = (amount) => h("td", { class: "number" }, money(amount, order.currency));
    replace(lines,
      h("h2", { id: "lines-title" }, plural(order.lines.reduce((sum, line) => sum + line.quantity, 0), "item")),
      h("table", { class: "lines" },
        h("caption", { class: "hidden" }, "What was ordered"),
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "Item"), ["Quantity", "Each", "Amount"].map((head) => h("th", { scope: "col", class: "number" }, head)))),
        h("tbody", null, order.lines.map((line) => h("tr", null,
          h("th", { scope: "row" }, line.name), h("td", { class: "number" }, count(line.quantity)), value(line.unit_price), value(Number(line.unit_price) * line.quantity)))),
        h("tfoot", null,
          h("tr", null, h("th", { scope: "row", colspan: "3" }, "Goods"), value(order.goods)),
          h("tr", null, h("th", { scope: "row", colspan: "3" }, "Delivery"), Number(order.delivery) ? value(order.delivery) : h("td", { class: "number" }, "free")),
          h("tr", { class: "sum" }, h("th", { scope: "row", colspan: "3" }, "Total"), value(order.total)))));
  }

  function address(label, place) {
    return h("div", null, h("dt", null, label), h("dd", null, h("address", null, order.customer_name, h("br"), place.street, h("br"), `${place.postcode} ${place.city}`, h("br"), place.country)));
  }

  function drawFacts() {
    const { payment, shipment } = order;
    replace(facts,
      h("h2", { id: "facts-title", class: "hidden" }, "Addresses, payment and shipping"),
      h("dl", null,
        address("Ship to", order.shipping_address),
        address("Bill to", order.billing_address),
        h("div", null, h("dt", null, "Payment"), h("dd", null, payment
          ? [money(payment.amount, order.currency), ` by ${payment.method}`, h("br"), h("small", null, day(payment.at)),
             Number(payment.refunded) > 0 && [h("br"), h("small", null, `${money(payment.refunded, order.currency)} refunded`)]]
          : h("span", { class: "none" }, "not yet"))),
        h("div", null, h("dt", null, "Parcel"), h("dd", null, shipment
          ? [shipment.carrier, h("br"), h("small", null, shipment.tracking || day(shipment.at))] : h("span", { class: "none" }, "not yet")))));
  }

  function drawTimeline() {
    replace(timeline,
      h("h2", { id: "timeline-title" }, "Timeline"),
      h("ol", { class: "timeline" }, order.timeline.map((moment) => h("li", { class: `moment ${moment.event}` },
        h("time", { datetime: moment.at, title: full(moment.at) }, day(moment.at), h("small", null, new Date(moment.at).toLocaleTimeString("en-GB"))),
        h("div", null,
          h("p", { class: "what" }, moment.text),
          h("p", { class: "proof" }, h("code", null, moment.event), ` version ${moment.version} · position ${count(moment.position)}`)),
        h("span", { class: "number" }, moment.amount === null ? "" : money(moment.amount, order.currency))))));
  }

  async function begin() {
    replace(page, loading("the order"));
    try {
      // An order that was placed a moment ago may be known to the log, and not to the view yet.
      await refresh(sessionStorage.getItem(`after ${id}`));
      sessionStorage.removeItem(`after ${id}`);
    } catch (error) {
      if (signal.aborted) return;
      replace(page, h("h1", { tabindex: "-1" }, id), failed(error.status === 404 ? { title: "Not found", message: "There is no order of that number." } : error, begin));
      return;
    }
    replace(page, head,
      h("div", { class: "columns" }, h("div", null, lines, timeline),
        h("div", null, replaceLife(), facts)));
    stock();
  }

  function replaceLife() {
    replace(life, h("h2", { id: "life-title" }, "What happens next"), outcome, end, ...["pay", "ship", "add", "cancel"].map((name) => actions[name].form));
    return life;
  }

  async function stock() {
    try {
      const products = await ask("Stock", {}, { signal });
      const sections = new Map();
      for (const one of products) sections.set(one.section, [...(sections.get(one.section) ?? []), one]);
      replace(product, option("", "Choose…"), [...sections].sort().map(([section, wares]) => h("optgroup", { label: section }, wares.map((one) =>
        option(one.product_id, `${one.name} · ${money(one.price)} · ${one.available ? `${count(one.available)} left` : "sold out"}`)))));
    } catch (error) {
      if (!signal.aborted) replace(product, option("", "The products could not be loaded"));
    }
  }

  follow(VIEW, {
    key: id,
    signal,
    opened: () => order && refresh().catch(() => {}), // The sign beside the strip tells that the server is away.
    changed(key, row) {
      if (!row || !order || row.version <= order.version) return;
      const before = order.status;
      order = row;
      draw();
      if (!busy && row.status !== before) notice(`This order is now ${(STATUS[row.status] ?? row.status).toLowerCase()}`);
    },
  });
  await begin();
}
