// Values as people read them.

const LANGUAGE = "en-GB";

export const STATUS = { PLACED: "Placed", PAID: "Paid", SHIPPED: "Shipped", CANCELLED: "Cancelled" };

export function money(amount, currency = "EUR") {
  return new Intl.NumberFormat(LANGUAGE, { style: "currency", currency: currency || "EUR" }).format(Number(amount));
}

export function count(number) {
  return new Intl.NumberFormat(LANGUAGE).format(number);
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

const DAY = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit" });
const FULL = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "full", timeStyle: "medium" });

export function day(iso) {
  return iso ? DAY.format(new Date(iso)) : "";
}

export function clock(iso) {
  return iso ? CLOCK.format(new Date(iso)) : "";
}

export function full(iso) {
  return iso ? FULL.format(new Date(iso)) : "";
}

// Sums in whole cents: amounts come as exact decimal text, and leave so.
export function cents(amount) {
  return Math.round(Number(amount) * 100);
}
