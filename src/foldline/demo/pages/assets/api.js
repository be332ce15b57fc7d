// The shop's HTTP interface: commands, queries, and the position that ties the two together.

const PATIENCE = 15000;

// Why something was refused or failed, in words. `code` is for programs; `faults` name the fields that are wrong.
export class Problem extends Error {
  constructor(status, body) {
    super(said(status, body));
    this.status = status;
    this.code = body.code ?? body.type ?? "";
    this.faults = body.faults ?? [];
    this.title = TITLES[status] ?? body.title ?? "The shop could not do that";
  }
}

const TITLES = {
  0: "The shop cannot be reached",
  403: "That is not allowed",
  404: "Not found",
  409: "The shop said no",
  412: "Somebody was quicker",
  422: "Something is missing or wrong",
  503: "Not quite there yet",
};

function said(status, body) {
  if (body.faults?.length) return body.faults.map((fault) => `${fault.path.replace(/^\$\.?/, "")}: ${fault.message}`).join("; ");
  if (status === 503) return "What you did is safely recorded; the page has not caught up with it. Try again in a moment.";
  return body.detail ?? body.title ?? `The server answered ${status}.`;
}

async function call(path, options = {}) {
  const signals = [AbortSignal.timeout(PATIENCE), options.signal].filter(Boolean);
  let response;
  try {
    response = await fetch(path, { ...options, signal: AbortSignal.any(signals) });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(0, { detail: "The server does not answer. Is “foldline demo” still running?" });
  }
  const text = await response.text();
  let body = {};
  try {
    body = text ? JSON.parse(text) : {};
  } catch {
    body = { detail: text.slice(0, 200) };
  }
  if (!response.ok) throw new Problem(response.status, body);
  return body;
}

function search(values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return text ? `?${text}` : "";
}

// Ask a query. With `after` (a position) the answer waits until the views it reads have reached it.
export function ask(query, values = {}, { after, signal } = {}) {
  const headers = after ? { "Foldline-After": String(after) } : {};
  return call(`/queries/${query}${search(values)}`, { headers, signal });
}

// Give a command, and get its receipt. The key makes it safe to send again: it is carried out once.
export async function execute(name, body) {
  const key = newKey();
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: JSON.stringify(body),
  };
  try {
    return await call(`/commands/${name}`, options);
  } catch (error) {
    // An answer that was lost says nothing about the command: the same key asks again without doing it twice.
    if (error.status !== 0) throw error;
    return call(`/commands/${name}`, options);
  }
}

// The events of a receipt, as they were recorded.
export async function eventsOf(receipt) {
  const wanted = new Set(receipt.event_ids);
  const found = await call(`/events${search({ after: receipt.position - wanted.size, limit: wanted.size })}`);
  return found.items.filter((event) => wanted.has(event.event_id));
}

function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-");
}

// A short number for a new order, in letters that cannot be mistaken for one another.
export function newOrderId() {
  const letters = "23456789ABCDEFGHJKMNPQRSTVWXYZ";
  return Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => letters[byte % letters.length]).join("");
}
