"use strict";
// What comes is shown as text and never as HTML. The stream connects again by itself.

const EVENTS_SHOWN = 100;
const MEMBERS_SHOWN = 40;
const INSTANCES_SHOWN = 100;
const SVG = "http://www.w3.org/2000/svg";
let own = null; // this node, once it is known
const at = (id) => document.getElementById(id);

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function row(cells) {
  const made = element("tr");
  for (const cell of cells) {
    const [text, kind] = Array.isArray(cell) ? cell : [cell, ""];
    made.append(element("td", text, kind));
  }
  return made;
}

function fill(id, rows, none) {
  const body = at(id);
  const heads = [...body.parentElement.tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const made of rows) [...made.cells].forEach((cell, index) => (cell.dataset.head = heads[index]));
  if (!rows.length) {
    const cell = element("td", none);
    cell.colSpan = 9;
    rows = [element("tr")];
    rows[0].append(cell);
  }
  body.replaceChildren(...rows);
}

function pairs(id, entries) {
  at(id).replaceChildren(...entries.flatMap(([name, text, kind]) => [element("dt", name), element("dd", text, kind)]));
}

const state = (good, text) => [text, good ? "good" : "bad"];

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Members stand on the circle in the order in which the token visits them, which is that of their ids.
function draw(nodes, here) {
  const place = (index, radius) => {
    const angle = (2 * Math.PI * index) / nodes.length - Math.PI / 2;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  };
  const parts = [shape("circle", { class: "way", r: 85 }), shape("path", { class: "head", d: "M -6 -92 L 6 -85 L -6 -78 Z" })];
  parts[1].setAttribute("transform", `rotate(${nodes.length > 1 ? 180 / nodes.length : 90})`);
  nodes.forEach((node, index) => {
    const [x, y] = place(index, 85);
    const kind = `node${node.member ? "" : " away"}${node.node === here ? " own" : ""}`;
    parts.push(shape("circle", { class: kind, cx: x, cy: y, r: nodes.length > 12 ? 12 : 22 }));
    const label = shape("text", { x, y });
    label.textContent = node.node;
    parts.push(label);
  });
  at("drawing").replaceChildren(...parts);
  const away = nodes.filter((node) => !node.member).map((node) => node.node);
  const members = nodes.filter((node) => node.member).map((node) => node.node);
  at("drawing").setAttribute(
    "aria-label", `The ring: members ${members.join(", ") || "none"}; absent ${away.join(", ") || "none"}`);
}

function link(each) {
  return `${each.link}: ${each.remote} ${each.up ? "up" : "DOWN"}, ${ms(each.latency_us)}, MTU ${each.mtu}, ` +
    `${each.downs} times down`;
}

function show(told) {
  const found = told.status;
  if (own === null && found.node !== null) {
    own = found.node;
    for (const each of at("events").rows) if (!each.cells[1].textContent) each.cells[1].textContent = own;
  }
  at("title").textContent = `Rondo ${told.cluster} node ${found.node ?? "?"}`;
  document.title = `${told.healthy ? "" : "! "}${at("title").textContent}`;
  at("state").textContent = found.why ? `${found.state}: ${found.why}` : found.state;
  at("state").className = told.healthy ? "good" : "bad";
  draw(told.nodes, found.node);
  const ring = found.ring;
  pairs("figures", [
    ["Ring", ring ? `${ring.representative}.${ring.sequence.toString(16)}` : "none"],
    ["Members", `${found.members.length} of ${told.nodes.length}`,
      found.members.length === told.nodes.length ? "good" : "bad"],
    ["Rotation", `${ms(told.rotation_us)}, worst ${ms(told.rotation_worst_us)}`],
    ["Token time-out", told.token_timeout_ms === null ? "-" : `${told.token_timeout_ms} ms`],
    ["Transport", told.transport],
    ["Software", told.software],
    ["Seen at", told.time],
  ]);
  fill("nodes", told.nodes.map((node) => row([
    node.name ? `${node.node} ${node.name}` : node.node,
    state(node.member, node.member ? "member" : node.since ? `absent since ${node.since}` : "absent"),
    node.addresses.join(", "),
    [node.links.map(link).join("; "), node.links.some((each) => !each.up) ? "bad" : ""],
  ])), "no node is known");
  cluster(told);
  offerLogs(found.node, told.others.map((node) => node.node));
  quorum(found.quorum, found.services.control);
  const supervisor = ["supervisord", { ...found.supervisor, restarts: "-", last_end: "" }];
  fill("processes", [supervisor, ...Object.entries(found.services)].map(([name, each]) => row([
    name, state(each.state === "running" || each.state === "off", each.state), each.pid ?? "-", each.restarts,
    each.last_end || each.why || "",
  ])), "");
  const rates = groupRates(found.groups, Date.now() / 1000);
  const perSecond = (group, name) => (rates.has(group) ? count(rates.get(group)[name]) : "-");
  fill("groups", found.groups.map(({ group, members: list }) => row([
    group, perSecond(group, "messages"), perSecond(group, "message_bytes"), members(list),
  ])), "no groups");
  fill("applications", [
    ...told.applications.map((each) => application(found.node, each, last(each))),
    ...told.others.flatMap((node) => node.applications.map((each) => application(node.node, each, ""))),
  ], "no applications");
  fill("instances", instances(told.applications), "none has run");
}

// Of other nodes neither the pid nor what happened last is known here.
const application = (node, each, happened) => row([
  node ?? "?", each.id, state(each.state !== "failed", each.state), each.pid ?? "-", each.restarts, happened,
]);

// Those that run first, then those that have ended, the last one first.
function instances(applications) {
  const all = applications.flatMap((each) => [
    ...(each.pid === null ? [] : [{ id: each.id, instance: each.instance, pid: each.pid, started: each.started, time: null }]),
    ...each.history.map((end) => ({ ...end, id: each.id })),
  ]);
  all.sort((one, other) => (other.time ?? Infinity) - (one.time ?? Infinity) || other.started - one.started);
  return all.slice(0, INSTANCES_SHOWN).map((each) => row([
    each.id, each.instance, each.pid, moment(each.started), each.time === null ? "it runs" : moment(each.time),
    [each.why, each.text].filter(Boolean).join("; "),
  ]));
}

// In the browser's time zone, day first, as it sorts.
const moment = (seconds) => new Date(seconds * 1000).toLocaleString("sv");

// What every node says of itself; this one by its status, the others by what their pages have told.
function cluster(told) {
  const found = told.status, totem = found.counters.totem ?? {}, now = Date.now() / 1000;
  const names = ["messages_rx", "messages_tx", "mcast_rx", "mcast_tx", "mcast_retx"];
  const links = told.nodes.flatMap((node) => node.links);
  const mine = {
    node: found.node, age_seconds: 0, name: (told.nodes.find((node) => node.node === found.node) ?? {}).name ?? "",
    state: found.state, why: found.why, healthy: told.healthy, members: found.members, rotation_us: told.rotation_us,
    ring: found.ring ? `${found.ring.representative}.${found.ring.sequence.toString(16)}` : null,
    quorate: found.quorum ? found.quorum.quorate : null,
    links: { up: links.filter((each) => each.up).length, all: links.length },
    processes: Object.entries(found.services).map(([name, each]) => ({ name, state: each.state, restarts: each.restarts })),
    counters: Object.fromEntries(names.filter((name) => name in totem).map((name) => [name, totem[name]])),
  };
  const nodes = [mine, ...told.others].sort((one, other) => one.node - other.node);
  forget(new Set(nodes.map((node) => node.node)));
  fill("cluster", nodes.map((node) => {
    const seen = now - node.age_seconds;
    const rate = node.age_seconds < 8 ? rateOf(node.node, seen, node.counters, node.rotation_us) : null;
    const pair = (one, other) => (rate ? `${count(rate[one] ?? 0)}, ${count(rate[other] ?? 0)}` : "-");
    const late = node.age_seconds > 15 ? `, ${Math.round(node.age_seconds)} s ago` : "";
    const broken = node.processes.filter((each) => each.state !== "running" && each.state !== "off");
    return row([
      node.name ? `${node.node} ${node.name}` : node.node ?? "?",
      state(node.healthy && !late, node.state + late),
      `${node.ring ?? "none"}: ${node.members.join(" ")}`,
      node.quorate === null ? "-" : state(node.quorate, node.quorate ? "yes" : "NO"),
      pair("messages_rx", "messages_tx"),
      pair("mcast_rx", "mcast_tx"),
      rate ? count(rate.mcast_retx ?? 0) : "-",
      ms(node.rotation_us),
      node.links.all ? state(node.links.up === node.links.all, `${node.links.up} of ${node.links.all} up`) : "-",
      [broken.map((each) => `${each.name} ${each.state}`).join(", "), "bad"],
    ]);
  }), "");
  drawPlots(now);
}

function quorum(votes, control) {
  if (!votes) {
    pairs("quorum", [["Provider", control.state === "running" ? "none: nobody counts votes" : "not known"]]);
    return;
  }
  pairs("quorum", [
    ["Quorate", votes.quorate ? "yes" : "NO", votes.quorate ? "good" : "bad"],
    ["Votes", `${votes.total_votes} of ${votes.expected_votes}, ${votes.quorum} needed`],
    ["Flags", votes.flags.join(", ") || "-"],
    ["Members", votes.nodes.filter((node) => node.state === "member").map((node) => `${node.node}: ${node.votes}`).join(", ")],
  ]);
}

function members(list) {
  const shown = list.slice(0, MEMBERS_SHOWN).map((each) => `${each.node}:${each.pid}`).join(" ");
  return list.length > MEMBERS_SHOWN ? `${shown} and ${list.length - MEMBERS_SHOWN} more` : shown;
}

function last(application) {
  const end = application.history[application.history.length - 1];
  return application.message || (end ? `instance ${end.instance} ${[end.why, end.text].filter(Boolean).join("; ")}` : "");
}

// In the order of their times. The clocks of two nodes may differ, and what is heard of later may have been earlier.
function happened(event) {
  const kind = event.level === "notice" || event.level === "info" ? "" : "bad";
  const [day, clock] = [event.time.slice(0, 10), event.time.slice(11, 23)];
  const made = row([clock, event.node ?? own ?? "", [event.event, kind], `${event.source}: ${event.text}`]);
  made.cells[0].title = `${day} ${event.time.slice(11)}`;
  made.dataset.event = event.event;
  made.dataset.at = Date.parse(event.time);
  const body = at("events");
  const next = [...body.rows].find((other) => Number(other.dataset.at) <= Number(made.dataset.at));
  body.insertBefore(made, next ?? null);
  while (body.rows.length > EVENTS_SHOWN) body.lastElementChild.remove();
}

const stream = new EventSource("/api/v1/events");
stream.addEventListener("status", (message) => show(JSON.parse(message.data)));
stream.addEventListener("happened", (message) => happened(JSON.parse(message.data)));
stream.addEventListener("error", () => {
  at("state").textContent = "no connection to rondo web; it is tried again";
  at("state").className = "bad";
});
