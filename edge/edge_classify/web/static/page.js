"use strict";
// A picture and its answers come together in one message, and the next one is asked for when this one is shown: the
// page is never behind, however slow the network is.

const STAGES = [
  ["capture_age", "capture to start", "--age"],
  ["preprocess", "preprocess", "--prepare"],
  ["inference", "inference", "--infer"],
  ["postprocess", "postprocess", "--rest"],
];
const CHART_POINTS = 100;
const CHART = { width: 300, height: 80 };
const RETRY_MS = 2000;
const PAGE_TITLE = "edge-classify";

const decoder = new TextDecoder();
const points = [];
let socket = null;
let askedAt = 0;
let pictureAddress = "";
let shownStates = "";
let severalModels = false;

function percent(score) {
  return `${Math.round(100 * score)} %`;
}

function clock(iso) {
  return new Date(iso).toLocaleTimeString();
}

function ask() {
  askedAt = performance.now();
  if (socket && socket.readyState === WebSocket.OPEN) socket.send("next");
}

function connect() {
  const address = new URL("live", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { notice(""); ask(); };
  socket.onmessage = (event) => show(event.data);
  socket.onclose = () => {
    socket = null;
    if (document.hidden) return;
    whyClosed().then(notice);
    setTimeout(() => { if (!socket && !document.hidden) connect(); }, RETRY_MS);
  };
}

// The browser does not say why a socket was refused.
async function whyClosed() {
  try {
    const answer = await fetch("state.json");
    if (answer.status === 401) location.href = "login";
    if (!answer.ok) return `The device refuses: ${(await answer.text()).trim()}.`;
    const state = await answer.json();
    if (state.viewers >= 8) return "Eight pages are open already, which is the most. Waiting for one to be closed.";
    return "The connection was closed. Connecting again …";
  } catch {
    return "The device does not answer: edge-classify has ended, or the network is down. Trying again …";
  }
}

function show(data) {
  const length = new DataView(data).getUint32(0);
  const facts = JSON.parse(decoder.decode(new Uint8Array(data, 4, length)));
  const underway = performance.now() - askedAt - facts.waited_ms;
  const address = URL.createObjectURL(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
  const arrived = new Image();
  arrived.onload = () => {
    byId("picture").src = address;
    showFacts(facts, facts.age_ms + Math.max(0, underway));
    URL.revokeObjectURL(pictureAddress);
    pictureAddress = address;
    ask();
  };
  arrived.onerror = () => {
    URL.revokeObjectURL(address);
    ask();
  };
  arrived.src = address;
}

function showFacts(facts, age) {
  const lost = facts.lost_seconds !== null;
  byId("when").textContent = lost
    ? `The camera is lost: no picture for ${Math.round(facts.lost_seconds)} s`
    : `Frame ${facts.frame}, ${clock(facts.time)}, ${age < 950 ? `${Math.round(age)} ms` : `${(age / 1000).toFixed(1)} s`} old`;
  notice(lost ? "The camera is lost. What is shown below was the last that was known." : "");
  facts.models.forEach(showModel);
  const states = facts.models.map((model) => model.state).join(", ");
  document.title = states ? `${states} – ${PAGE_TITLE}` : PAGE_TITLE;
  if (states !== shownStates) {
    shownStates = states;
    refreshHistory();
  }
  if (!lost && facts.models.length) showLatency(facts.models);
}

function showModel(model, place) {
  const models = byId("models");
  while (models.children.length <= place) {
    models.append(byId("model").content.cloneNode(true));
  }
  const shown = models.children[place];
  shown.querySelector(".name").textContent = severalModels ? model.model : "State";
  const state = shown.querySelector(".state");
  if (state.textContent !== model.state) state.textContent = model.state; // a screen reader tells of changes only
  const bars = shown.querySelector(".bars");
  while (bars.children.length < model.categories.length) {
    const bar = element("li");
    const track = element("span", undefined, "track");
    track.append(element("span", undefined, "fill"));
    bar.append(element("span", "", "label"), element("span", "", "score"), track);
    bars.append(bar);
  }
  model.categories.forEach((category, index) => {
    const [label, score, track] = bars.children[index].children;
    label.textContent = category.name;
    score.textContent = percent(category.score);
    track.firstChild.style.width = `${100 * category.score}%`;
  });
}

function showLatency(models) {
  const last = models[models.length - 1].timing_ms;
  const times = { capture_age: models[0].timing_ms.capture_age, preprocess: 0, inference: 0 };
  for (const { timing_ms } of models) {
    times.preprocess += timing_ms.preprocess;
    times.inference += timing_ms.inference;
  }
  times.postprocess = Math.max(0, last.total - times.capture_age - times.preprocess - times.inference);
  times.total = last.total;
  points.push(times);
  if (points.length > CHART_POINTS) points.shift();
  const top = Math.max(...points.map((point) => point.total), 1);
  const step = CHART.width / (CHART_POINTS - 1);
  const first = CHART_POINTS - points.length;
  const below = points.map(() => 0);
  const chart = byId("chart");
  STAGES.forEach(([stage, , color], index) => {
    const lower = points.map((_, place) => below[place]);
    points.forEach((point, place) => { below[place] += point[stage]; });
    const along = (heights) => heights.map((height, place) =>
      `${((first + place) * step).toFixed(1)},${(CHART.height * (1 - height / top)).toFixed(1)}`);
    let area = chart.children[index];
    if (!area) {
      area = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
      area.style.fill = `var(${color})`;
      chart.append(area);
    }
    area.setAttribute("points", [...along(below), ...along(lower).reverse()].join(" "));
  });
  byId("latency-now").textContent =
    `${last.total.toFixed(1)} ms from capture to result; top of the chart: ${top.toFixed(1)} ms`;
  [...byId("legend").children].forEach((entry, index) => {
    entry.lastChild.textContent = `${STAGES[index][1]} ${times[STAGES[index][0]].toFixed(1)} ms`;
  });
}

async function refreshHistory() {
  let state;
  try {
    state = await (await fetch("state.json")).json();
  } catch {
    return; // whoever closes the connection says why
  }
  const list = byId("history");
  const changes = state.history.slice().reverse();
  if (!changes.length) return;
  list.replaceChildren(...changes.map((change) => {
    const line = element("li");
    const when = element("time", clock(change.time));
    when.dateTime = change.time;
    const name = severalModels ? `${change.model}: ` : "";
    line.append(when, element("span", `${name}${change.state} (${percent(change.score)})`));
    return line;
  }));
}

async function showDevice() {
  const answer = await fetch("facts.json");
  if (!answer.ok) return;
  const facts = await answer.json();
  severalModels = facts.models.length > 1;
  byId("camera").textContent = facts.camera;
  if (facts.actions) allowActions(facts.models);
  const list = byId("facts");
  const add = (name, text) => list.append(element("dt", name), element("dd", text));
  add("camera", facts.camera || "a video");
  for (const model of facts.models) {
    const precision = model.precision ? `, ${model.precision}` : "";
    const threads = model.threads === 1 ? "1 thread" : `${model.threads} threads`;
    add(severalModels ? model.name : "model",
      `${severalModels ? "" : `${model.name}, `}${model.input}${precision}, ${threads}; ${model.labels.length} labels: ${model.labels.slice(0, 30).join(", ")}${model.labels.length > 30 ? ", …" : ""}`);
  }
}

function allowActions(models) {
  const labels = new Set(models.flatMap((model) => model.labels));
  byId("take-names").replaceChildren(...[...labels].map((label) => {
    const option = element("option");
    option.value = label;
    return option;
  }));
  byId("take").hidden = false;
  const script = element("script");
  script.src = "take.js";
  document.head.append(script);
}

for (const [, name, color] of STAGES) {
  const entry = element("li");
  const mark = element("i");
  mark.style.background = `var(${color})`;
  entry.append(mark, element("span", name));
  byId("legend").append(entry);
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !socket) connect();
});
showDevice().finally(connect);
