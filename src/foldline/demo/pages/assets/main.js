// Which page the address names, and moving between them.

import { failed, h, loading, replace } from "./dom.js";
import { tell } from "./live.js";
import { quiet } from "./strip.js";

const main = document.getElementById("main");

const ROUTES = [
  [/^\/$/, "orders", () => import("./orders.js")],
  [/^\/orders\/(.+)$/, "orders", () => import("./order.js")],
  [/^\/new$/, "new", () => import("./place.js")],
  [/^\/products$/, "products", () => import("./products.js")],
  [/^\/customers$/, "customers", () => import("./customers.js")],
  [/^\/customers\/(.+)$/, "customers", () => import("./customer.js")],
];

let leaving = new AbortController();
let first = true;

// Show the page that the address names. Each page gets a signal that aborts when it is left, and takes down with it
// whatever the page had under way.
async function go() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path, query = ""] = (location.hash.slice(1) || "/").split("?");
  const found = ROUTES.map(([pattern, nav, load]) => ({ match: pattern.exec(path), nav, load })).find((one) => one.match);
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (found && link.dataset.nav === found.nav) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const page = h("div", { class: "page" }, loading("the page"));
  replace(main, page);
  tell("connecting");
  try {
    if (!found) throw { title: "There is no such page", message: "The address may be mistyped. The orders are on the first page." };
    const module = await found.load();
    if (signal.aborted) return;
    await module.show(page, { id: found.match[1] && decodeURIComponent(found.match[1]), query: new URLSearchParams(query), signal });
  } catch (error) {
    if (signal.aborted) return;
    document.title = "Valleyfold";
    replace(page, h("h1", { tabindex: "-1" }, "Oh."), failed(error, go));
  }
  if (signal.aborted) return;
  if (!first) {
    window.scrollTo(0, 0);
    page.querySelector("h1")?.focus({ preventScroll: true });
  }
  first = false;
}

document.querySelector("[data-skip]").addEventListener("click", (event) => {
  event.preventDefault(); // The address names the page, so it cannot name the place to skip to.
  main.focus();
});
window.addEventListener("hashchange", go);
quiet();
go();
