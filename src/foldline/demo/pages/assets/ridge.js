// The takings of a year as a folded strip of paper: a facet a week, lit where they rose and in shade where they fell.

import { h, svg } from "./dom.js";
import { money, day } from "./format.js";

const WEEKS = 52;
const MS = 86400000;

export function since() {
  return new Date(Date.now() - WEEKS * 7 * MS).toISOString().slice(0, 10);
}

export function ridge(days) {
  const start = Date.parse(since());
  const weeks = new Array(WEEKS + 1).fill(0);
  for (const one of days) {
    const week = Math.floor((Date.parse(one.day) - start) / (7 * MS));
    if (week >= 0 && week <= WEEKS) weeks[week] += one.cents;
  }
  weeks.pop(); // The week that has only begun would look like a fall.
  const most = Math.max(...weeks, 1);
  const width = 1040, height = 92;
  const x = (index) => (index * width) / (WEEKS - 1);
  const y = (value) => height - 10 - (value / most) * (height - 22);
  const facets = weeks.slice(1).map((value, index) => {
    const before = weeks[index];
    const points = [[x(index), y(before)], [x(index + 1), y(value)], [x(index + 1), height], [x(index), height]];
    return svg("polygon", {
      class: value >= before ? "facet-a" : "facet-b",
      points: points.map((point) => point.map((part) => part.toFixed(1)).join(",")).join(" "),
    });
  });
  const edge = weeks.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const total = days.reduce((sum, one) => sum + one.cents, 0) / 100;
  const best = weeks.indexOf(Math.max(...weeks));
  const said = `Takings by week over the last year, ${money(total)} in all. The best week began on ${day(start + best * 7 * MS)} with ${money(weeks[best] / 100)}.`;
  return h(
    "figure",
    { class: "ridge" },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": said },
      ...facets, svg("polyline", { class: "edge", points: edge })),
    h("figcaption", null, h("span", null, "52 weeks of takings"), h("b", null, money(total))),
  );
}
