// One stream of server-sent events a window: the rows of the view that the page on screen shows.
//
// Browsers allow few connections to one server, so a window that nobody sees lets go of its own.

const STATES = { connecting: "connecting", open: "live", lost: "reconnecting", paused: "paused" };

export function tell(state) {
  const sign = document.getElementById("live");
  if (sign.dataset.state === state) return;
  sign.dataset.state = state;
  sign.lastElementChild.textContent = STATES[state];
}

// Call `changed(key, row, position)` for each row that changes, until the signal aborts; `row` is null for one that is
// gone. `opened()` is called each time the stream starts, so that what changed before can be fetched.
export function follow(view, { key, changed, opened, signal }) {
  let source = null;
  let started = false;

  function start() {
    if (source || signal.aborted) return;
    tell("connecting");
    source = new EventSource(`/views/${view}/live${key ? `?key=${encodeURIComponent(key)}` : ""}`);
    source.addEventListener("open", () => {
      tell("open");
      if (started) opened?.();
      started = true;
    });
    source.addEventListener("error", () => tell("lost"));
    for (const kind of ["row", "deleted"]) {
      source.addEventListener(kind, (message) => {
        const data = JSON.parse(message.data);
        changed(data.key, data.row, Number(message.lastEventId));
      });
    }
  }

  function stop() {
    source?.close();
    source = null;
  }

  function look() {
    if (document.hidden) {
      stop();
      tell("paused");
    } else start();
  }

  document.addEventListener("visibilitychange", look, { signal });
  window.addEventListener("pagehide", stop, { signal });
  window.addEventListener("pageshow", look, { signal });
  signal.addEventListener("abort", stop);
  look();
}
