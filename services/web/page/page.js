"use strict";
// What comes is shown as text and never as HTML. The stream connects again by itself.

const EVENTS_SHOWN = 100;
const MEMBERS_SHOWN = 40;
const SVG = "http://www.w3.org/2000/svg";
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

const ms = (us) => (us === null || us === undefined ? "-" : `${(us / 1000).toFixed(us < 10000 ? 2 : 0)} ms`);
const state = (good, text) => [text, good ? "good" : "bad"];

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Members stand on the circle in the order in which the token visits them, which is that of their ids.
function draw(nodes, own) {
  const place = (index, radius) => {
    const angle = (2 * Math.PI * index) / nodes.length - Math.PI / 2;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  };
  const parts = [shape("circle", { class: "way", r: 85 }), shape("path", { class: "head", d: "M -6 -92 L 6 -85 L -6 -78 Z" })];
  parts[1].setAttribute("transform", `rotate(${nodes.length > 1 ? 180 / nodes.length : 90})`);
  nodes.forEach((node, index) => {
    const [x, y] = place(index, 85);
    const kind = `node${node.member ? "" : " away"}${node.node === own ? " own" : ""}`;
    parts.push(shape("circle", { class: kind, cx: x, cy: y, r: nodes.length > 12 ? 12 : 22 }));
    const label = shape("text", { x, y });
    label.textContent = node.node;
    parts.push(label);
  });
  at("drawing").replaceChildren(...parts);
  const away = nodes.filter((node) => !node.member).map((node) => node.node);
  const here = nodes.filter((node) => node.member).map((node) => node.node);
  at("drawing").setAttribute(
    "aria-label", `The ring: members ${here.join(", ") || "none"}; absent ${away.join(", ") || "none"}`);
}

function link(each) {
  return `${each.link}: ${each.remote} ${each.up ? "up" : "DOWN"}, ${ms(each.latency_us)}, MTU ${each.mtu}, ` +
    `${each.downs} times down`;
}

function show(told) {
  const found = told.status;
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
  quorum(found.quorum, found.services.control);
  const supervisor = ["supervisord", { ...found.supervisor, restarts: "-", last_end: "" }];
  fill("processes", [supervisor, ...Object.entries(found.services)].map(([name, each]) => row([
    name, state(each.state === "running" || each.state === "off", each.state), each.pid ?? "-", each.restarts,
    each.last_end || each.why || "",
  ])), "");
  fill("groups", found.groups.map((group) => row([group.group, members(group.members)])), "no groups");
  fill("applications", told.applications.map((each) => row([
    each.id, state(each.state !== "failed", each.state), each.pid ?? "-", each.restarts, last(each),
  ])), "no applications");
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

function happened(event) {
  const kind = event.level === "notice" || event.level === "info" ? "" : "bad";
  const made = row([event.time, [event.event, kind], `${event.source}: ${event.text}`]);
  made.dataset.event = event.event;
  const body = at("events");
  body.prepend(made);
  while (body.rows.length > EVENTS_SHOWN) body.lastElementChild.remove();
}

const stream = new EventSource("/api/v1/events");
stream.addEventListener("status", (message) => show(JSON.parse(message.data)));
stream.addEventListener("happened", (message) => happened(JSON.parse(message.data)));
stream.addEventListener("error", () => {
  at("state").textContent = "no connection to rondo web; it is tried again";
  at("state").className = "bad";
});
