"use strict";
// The last minutes of each node as small plots. Nobody measures while nobody looks, so they begin when the page is opened.

const MINUTES = 5;
const PLOT_NODES = 8;
const WIDTH = 240, HEIGHT = 60;
const PLOTS = [
  ["Messages in", (rate) => rate.messages_rx, (value) => count(value) + "/s"],
  ["Packets in", (rate) => rate.mcast_rx, (value) => count(value) + "/s"],
  ["Sent again", (rate) => rate.mcast_retx, (value) => count(value) + "/s"],
  ["Rotation", (rate) => rate.rotation_us, (value) => ms(value)],
];
const measured = new Map(); // node -> [{at, rate}]
const counted = new Map(); // node -> {at, counters}

const count = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));
const ms = (us) => (us === null || us === undefined ? "-" : `${(us / 1000).toFixed(us < 10000 ? 2 : 0)} ms`);

// A counter that has become smaller belongs to a process that was started again.
function rateOf(node, at, counters, rotation_us) {
  const before = counted.get(node);
  if (before && at - before.at < 0.9) return ratesNow(node);
  counted.set(node, { at, counters });
  if (!before) return null;
  const rate = { rotation_us };
  for (const [name, value] of Object.entries(counters)) {
    rate[name] = Math.max(0, value - (before.counters[name] ?? value)) / (at - before.at);
  }
  const kept = (measured.get(node) ?? []).filter((each) => each.at > at - MINUTES * 60);
  kept.push({ at, rate });
  measured.set(node, kept);
  return rate;
}

// What each group is sent, a second: of the last two looks that are far enough apart.
let groupsCounted = { at: 0, groups: new Map(), rates: new Map() };

function groupRates(groups, at) {
  const before = groupsCounted;
  if (at - before.at < 0.9) return before.rates;
  const rates = new Map();
  for (const each of groups) {
    const old = before.groups.get(each.group);
    if (!old) continue;
    const rate = (name) => Math.max(0, each[name] - old[name]) / (at - before.at);
    rates.set(each.group, { messages: rate("messages"), message_bytes: rate("message_bytes") });
  }
  groupsCounted = { at, groups: new Map(groups.map((each) => [each.group, each])), rates };
  return rates;
}

function ratesNow(node) {
  const kept = measured.get(node);
  return kept && kept.length ? kept[kept.length - 1].rate : null;
}

function forget(present) {
  for (const node of [...measured.keys(), ...counted.keys()]) {
    if (!present.has(node)) {
      measured.delete(node);
      counted.delete(node);
    }
  }
}

function drawPlots(now) {
  const nodes = [...measured.keys()].sort((one, other) => one - other).slice(0, PLOT_NODES);
  at("plots").replaceChildren(...PLOTS.map(([name, of, shown]) => {
    const lines = nodes.map((node) => measured.get(node).map((each) => [each.at, of(each.rate)]));
    const most = Math.max(0, ...lines.flat().map(([, value]) => value));
    const drawing = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "plot",
      "aria-label": `${name} of the last ${MINUTES} minutes, at most ${shown(most)}; its figures are in the table below` });
    lines.forEach((line, index) => {
      const points = line.map(([when, value]) =>
        `${(WIDTH * (1 - (now - when) / (MINUTES * 60))).toFixed(1)},${(HEIGHT - 2 - (HEIGHT - 4) * (most ? value / most : 0)).toFixed(1)}`);
      drawing.append(shape("polyline", { class: `line l${index}`, points: points.join(" ") }));
    });
    const figure = element("figure");
    figure.append(element("figcaption", `${name}, at most ${shown(most)}`), drawing);
    return figure;
  }), legend(nodes));
  fill("minutes", nodes.map((node) => row([node, ...PLOTS.map(([, of, shown]) => summary(measured.get(node).map(({ rate }) => of(rate)), shown))])),
    "nothing is measured yet");
}

// The mean and the most of what a line shows; what was not known at a moment does not count.
function summary(values, shown) {
  const known = values.filter((value) => Number.isFinite(value));
  if (!known.length) return "-";
  return `${shown(known.reduce((sum, value) => sum + value, 0) / known.length)}, at most ${shown(Math.max(...known))}`;
}

function legend(nodes) {
  const made = element("p", undefined, "legend");
  nodes.forEach((node, index) => made.append(element("span", `node ${node}`, `l${index}`)));
  return made;
}
