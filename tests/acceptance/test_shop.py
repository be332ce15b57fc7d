"""What a person does in the demo shop, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

Window = Callable[..., Page]
Picture = Callable[[Page, str], None]

AUDIT = """() => {
  const problems = [];
  const rgb = (text) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = rgb(getComputedStyle(one).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, :disabled, noscript")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgb(style.color)), light(behind(element))].sort((x, y) => y - x);
    const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if ((a + 0.05) / (b + 0.05) < least)
      problems.push(`contrast ${(a + 0.05) / (b + 0.05)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  for (const control of document.querySelectorAll("input, select, button, a"))
    if (!control.labels?.length && !control.getAttribute("aria-label") && !control.textContent.trim())
      problems.push(`no name: ${control.outerHTML.slice(0, 80)}`);
  if (document.querySelectorAll("h1").length !== 1) problems.push("there is not one h1");
  const { scrollWidth } = document.documentElement;
  if (scrollWidth > innerWidth) problems.push(`wider than the window: ${scrollWidth}`);
  return problems;
}"""


def row(page: Page, order: str) -> Locator:
    return page.locator(f'tr[data-order="{order}"]')


def status(page: Page) -> Locator:
    return page.locator(".order-head .pill")


def action(page: Page, title: str) -> Locator:
    return page.get_by_role("group", name=title, exact=True)


def place(page: Page, *wishes: tuple[str, int]) -> str:
    """Place an order in the form; returns its number when its page is there."""
    page.get_by_role("link", name="New order").click()
    page.get_by_label("Customer").select_option(index=3)
    for product, quantity in wishes:
        page.get_by_label(product, exact=True).fill(str(quantity))
    page.get_by_role("button", name="Place order").click()
    expect(status(page)).to_have_text("Placed")
    return page.url.rpartition("/")[2]


def test_an_order_is_placed_paid_and_shipped(window: Window, picture: Picture) -> None:
    page = window()
    expect(page.locator("table.orders tbody tr")).to_have_count(20)
    picture(page, "orders")
    order = place(page, ("Bone folder", 2), ("Grid pad, A5", 1))
    expect(page.locator(".lines tbody tr")).to_have_count(2)
    expect(page.get_by_role("heading", name=f"Order {order}")).to_be_focused()
    expect(action(page, "Ship")).to_have_attribute("disabled", "")

    page.get_by_role("link", name="Orders", exact=True).first.click()
    expect(page.locator("table.orders tbody tr").first).to_have_attribute("data-order", order)
    expect(row(page, order)).to_contain_text("Placed")
    row(page, order).get_by_role("link").click()

    page.get_by_role("button", name=re.compile(r"^Pay €")).click()
    expect(status(page)).to_have_text("Paid")
    expect(action(page, "Pay")).to_have_attribute("disabled", "")
    page.get_by_label("Parcel number").fill("HP00001234")
    page.get_by_role("button", name="Ship").click()
    expect(status(page)).to_have_text("Shipped")

    moments = page.locator(".timeline .moment")
    expect(moments).to_have_count(3)
    for moment, event in zip(moments.all(), ("OrderPlaced", "OrderPaid", "OrderShipped"), strict=True):
        expect(moment).to_contain_text(event)
    expect(moments.last).to_contain_text("parcel HP00001234")
    expect(page.locator(".life button:visible")).to_have_count(0)
    steps = page.locator("#strip .step")
    expect(steps.nth(0)).to_contain_text("ShipOrder")
    expect(steps.nth(1)).to_contain_text("OrderShipped")
    expect(steps.nth(2)).to_contain_text("durable in")
    expect(steps.nth(3)).to_contain_text(re.compile(r"order_details caught up in [\d.]+ ms"))
    picture(page, "order")


def test_another_window_sees_it_live(window: Window) -> None:
    here, there = window(), window()
    expect(there.locator("#live")).to_have_text("live")
    order = place(here, ("Blank postcards, 20 pieces", 1))
    expect(row(there, order)).to_contain_text("Placed")
    third = window(f"#/orders/{order}")
    expect(third.locator("#live")).to_have_text("live")
    here.get_by_role("button", name=re.compile(r"^Pay €")).click()
    expect(row(there, order)).to_contain_text("Paid")
    expect(status(third)).to_have_text("Paid")
    expect(third.locator(".timeline")).to_contain_text("OrderPaid")


def test_a_rejection_is_said_in_words(window: Window, picture: Picture) -> None:
    page = window("#/new")
    page.get_by_label("Customer").select_option(index=5)
    wish = page.get_by_label("Tabletop book press", exact=True)
    wish.fill("999")
    page.get_by_role("button", name="Place order").click()
    said = page.get_by_role("alert")
    expect(said).to_contain_text(re.compile(r"Only \d+ of Tabletop book press left; you asked for 999\."))
    expect(said).to_be_focused()
    expect(page.locator("#strip .rejected")).to_contain_text("out-of-stock")
    picture(page, "rejected")
    wish.fill("1")
    page.get_by_role("button", name="Place order").click()
    expect(status(page)).to_have_text("Placed")


def test_an_empty_order_is_refused(window: Window) -> None:
    page = window("#/new")
    page.get_by_label("Customer").select_option(index=1)
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_role("alert")).to_have_text("An order needs at least one item.")


def test_what_another_window_did_is_respected(window: Window) -> None:
    """Two people look at one order: the second one's command meets the rules as they are by then."""
    here = window()
    order = place(here, ("Steel rule, 30 cm", 1))
    there = window(f"#/orders/{order}")
    expect(status(there)).to_have_text("Placed")
    # Cut off from news, the other window believes what it last saw.
    there.route("**/queries/OrderOf*", lambda route: route.abort())
    there.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
    there.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(there.locator("#live")).to_have_text("paused")
    here.get_by_role("button", name="Cancel order").click()
    expect(status(here)).to_have_text("Cancelled")
    there.get_by_role("button", name=re.compile(r"^Pay €")).click()
    expect(there.get_by_role("alert")).to_have_text("This order is cancelled.")


def test_adding_and_cancelling_move_the_stock(window: Window) -> None:
    def left() -> int:
        cell = shelves.get_by_role("row", name=re.compile("^Scoring board")).locator(".stock")
        found = re.search(r"(\d+) left", cell.inner_text())
        return int(found[1]) if found else 0

    shelves = window("#/products")
    expect(shelves.get_by_role("row", name=re.compile("^Scoring board"))).to_be_visible()
    before = left()
    page = window()
    place(page, ("Grid pad, A5", 1))
    page.get_by_label("Product").select_option("scoring-board")
    page.get_by_label("Quantity").fill("2")
    page.get_by_role("button", name="Add item").click()
    expect(page.locator(".lines tbody tr")).to_have_count(2)
    stock = shelves.get_by_role("row", name=re.compile("^Scoring board")).locator(".stock")
    expect(stock).to_contain_text(f"{before - 2} left")
    page.get_by_label("Reason").fill("Wrong size")
    page.get_by_role("button", name="Cancel order").click()
    expect(page.locator(".timeline")).to_contain_text("Cancelled: Wrong size")
    expect(stock).to_contain_text(f"{before} left")


def test_the_keyboard_is_enough(window: Window) -> None:
    page = window()
    expect(page.locator("table.orders tbody tr")).to_have_count(20)

    def tab_to(target: Locator, most: int = 80) -> None:
        target.wait_for()
        for _ in range(most):
            page.keyboard.press("Tab")
            if target.evaluate("one => one === document.activeElement"):
                return
        raise AssertionError(f"{target} is not reached with the Tab key")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    tab_to(page.get_by_role("link", name="New order"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New order")).to_be_focused()
    tab_to(page.get_by_label("Waxed linen thread, 50 m"))
    page.keyboard.type("3")
    tab_to(page.get_by_label("Customer"))
    page.keyboard.press("ArrowDown")
    tab_to(page.get_by_role("button", name="Place order"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^Order "))).to_be_focused()
    tab_to(page.get_by_role("button", name=re.compile(r"^Pay €")))
    page.keyboard.press("Enter")
    expect(status(page)).to_have_text("Paid")
    expect(page.get_by_text("The order is paid.")).to_be_focused()
    tab_to(page.get_by_role("button", name="Ship"))
    page.keyboard.press("Enter")
    expect(status(page)).to_have_text("Shipped")


def test_orders_are_searched_and_paged(window: Window, picture: Picture) -> None:
    page = window()
    rows = page.locator("table.orders tbody tr")
    expect(rows).to_have_count(20)
    first = rows.first.get_attribute("data-order")
    page.get_by_role("button", name="Older").click()
    expect(page.locator(".where")).to_have_text("Page 2")
    expect(rows.first).not_to_have_attribute("data-order", first or "")
    page.get_by_role("button", name="Newer").click()
    expect(rows.first).to_have_attribute("data-order", first or "")

    email = rows.first.locator(".who small").inner_text()
    page.get_by_label("Email").fill(email)
    page.get_by_role("button", name="Search").click()
    expect(rows.first).to_contain_text(email)
    expect(page.get_by_label("Email")).to_have_value(email)
    for one in rows.all():
        expect(one).to_contain_text(email)

    page.goto("/#/?status=CANCELLED&at_least=20")
    expect(page.get_by_label("Status")).to_have_value("CANCELLED")
    expect(rows.first).to_contain_text("Cancelled")
    page.get_by_label("At least").fill("999999")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("No order fits")).to_be_visible()
    picture(page, "empty")
    page.get_by_role("link", name="Show all orders").click()
    expect(rows).to_have_count(20)


def test_a_server_that_is_away_is_told_and_tried_again(window: Window, picture: Picture) -> None:
    page = window("#/customers")
    expect(page.locator("table.customers tbody tr")).to_have_count(20)

    def refuse(route: Route) -> None:
        route.abort("connectionrefused")

    page.route("**/queries/**", refuse)
    page.get_by_role("link", name="Orders", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The shop cannot be reached")
    picture(page, "error")
    page.unroute("**/queries/**", refuse)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("table.orders tbody tr")).to_have_count(20)


def test_what_is_not_there_is_said(window: Window) -> None:
    page = window("#/orders/nothing")
    expect(page.get_by_role("alert")).to_contain_text("There is no order of that number.")
    page.goto("/#/nowhere")
    expect(page.get_by_role("alert")).to_contain_text("There is no such page")


def test_a_rename_leaves_old_orders_as_they_were(window: Window) -> None:
    page = window("#/customers")
    page.locator("table.customers tbody tr").nth(2).get_by_role("link").click()
    name = page.get_by_role("textbox", name="Name")
    expect(name).not_to_have_value("")
    name.fill("Marlene Zweig")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Marlene Zweig")).to_be_visible()
    expect(page.get_by_text("Orders keep the name they were placed under.")).to_be_focused()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1180, 820), (390, 844), (320, 640)])
def test_every_page_can_be_read(window: Window, picture: Picture, width: int, height: int, dark: bool) -> None:
    """Contrast by WCAG AA, a name for each control, one heading, and nothing wider than the window."""
    page = window(width=width, height=height, dark=dark)
    expect(page.locator("table.orders tbody tr")).to_have_count(20)
    order = page.locator("table.orders tbody tr").first.get_attribute("data-order")
    places = {
        "orders": ("#/", "table.orders"),
        "order": (f"#/orders/{order}", ".timeline"),
        "new": ("#/new", ".wares"),
        "products": ("#/products", "table.products"),
        "customers": ("#/customers", "table.customers"),
        "customer": ("#/customers/c-0001", ".tally dd"),
        "lost": ("#/nowhere", ".state.error"),
    }
    for name, (path, sign) in places.items():
        page.goto("/" + path)
        expect(page.locator(sign).first).to_be_visible()
        expect(page.locator(".state[role=status]")).to_have_count(0)
        picture(page, f"{name}-{width}{'-dark' if dark else ''}")
        assert page.evaluate(AUDIT) == [], name
