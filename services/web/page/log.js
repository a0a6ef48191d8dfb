"use strict";
// The last lines of a node's log. Nothing is fetched until somebody asks for it.

// The nodes that have a page, this one first by its own way: it may be asked even if it is in no ring.
function offerLogs(here, others) {
  const choice = at("log-node");
  const offered = [["/api/v1/log", here ?? "this"], ...others.map((node) => [`/api/v1/nodes/${node}/log`, node])];
  const now = [...choice.options].map((option) => `${option.value} ${option.textContent}`).join();
  if (now === offered.map((each) => each.join(" ")).join()) return;
  const chosen = choice.value;
  choice.replaceChildren(...offered.map(([path, name]) => {
    const option = element("option", name);
    option.value = path;
    option.selected = path === chosen;
    return option;
  }));
}

async function showLog() {
  const path = at("log-node").value;
  at("log-state").textContent = "asking";
  try {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const told = await answer.json();
    fill("log", told.lines.reverse().map((line) => row([line.source, line.text])), "nothing is in it");
    at("log-state").textContent = `node ${told.node ?? "?"}, ${told.lines.length} lines`;
  } catch (error) {
    fill("log", [], "it did not come");
    at("log-state").textContent = error.message;
  }
}

document.getElementById("log-show").addEventListener("click", showLog);
