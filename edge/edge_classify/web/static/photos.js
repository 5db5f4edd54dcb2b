"use strict";
// Cards of photos that are alike; a key gives those selected a class. What is shown as done is done: a card goes when
// the device has moved its files.

const RESERVED = new Set(["x", "z", "u"]);
const KEYS = [..."123456789", ..."abcdefghijklmnopqrstvwy"];
const UNKNOWN = "unknown";

let groups = [];
// The card of each group, by the name of its first photo: its picture is asked for once.
let cards = new Map();
let classes = {};
// In the order in which they became known: a class keeps its key.
const order = [];
let keys = new Map();
let focused = 0;
let anchor = 0;
const selected = new Set();
const done = [];

async function load() {
  try {
    const found = await ask("photos.json");
    groups = found.groups;
    classes = { ...Object.fromEntries(order.map((label) => [label, 0])), ...found.classes };
    cards.clear();
    selected.clear();
    focused = Math.min(focused, Math.max(0, groups.length - 1));
    showClasses();
    showCards();
  } catch (error) {
    notice(error.message);
  }
}

function showClasses() {
  const free = KEYS.filter((key) => !RESERVED.has(key));
  keys = new Map();
  order.push(...Object.keys(classes).filter((label) => !order.includes(label)));
  byId("classes").replaceChildren(...order.map((label) => {
    const key = label === UNKNOWN ? "u" : free.shift();
    if (key) keys.set(key, label);
    const button = element("button");
    button.type = "button";
    if (key) button.append(element("kbd", key), " ");
    button.append(label, " ", element("span", classes[label], "score"));
    button.onclick = () => act("label", { label });
    const entry = element("li");
    entry.append(button);
    return entry;
  }));
}

function showCards() {
  const photos = groups.reduce((sum, group) => sum + group.length, 0);
  byId("count").textContent = photos
    ? `${photos} ${photos === 1 ? "photo" : "photos"} on ${groups.length} ${groups.length === 1 ? "card" : "cards"}`
    : "No photo waits for a class.";
  cards = new Map(groups.map((group) => [group[0].name, cards.get(group[0].name) || makeCard(group)]));
  byId("cards").replaceChildren(...cards.values());
  mark();
}

function makeCard(group) {
  const card = element("li");
  const button = element("button", undefined, "card");
  button.type = "button";
  const [first] = group;
  const picture = element("img");
  picture.loading = "lazy";
  picture.src = `photos/${encodeURIComponent(first.name)}`;
  const best = Object.entries(first.scores || {}).sort((one, other) => other[1] - one[1]).slice(0, 2)
    .map(([label, score]) => `${label} ${Math.round(100 * score)} %`).join(", ");
  picture.alt = best ? `It looked like ${best}` : first.name;
  button.append(picture, element("span", `${first.reason || ""}${best ? `: ${best}` : ""}`, "what"));
  if (group.length > 1) button.append(element("b", `×${group.length}`));
  button.onclick = (event) => choose(groups.indexOf(group), event.shiftKey);
  button.onfocus = () => { focused = groups.indexOf(group); mark(); };
  card.append(button);
  return card;
}

function choose(place, range) {
  if (range) {
    const [from, to] = [Math.min(anchor, place), Math.max(anchor, place)];
    for (let each = from; each <= to; each += 1) selected.add(each);
  } else {
    if (selected.has(place)) selected.delete(place); else selected.add(place);
    anchor = place;
  }
  focused = place;
  mark();
}

function mark() {
  [...byId("cards").children].forEach((card, place) => {
    const button = card.firstChild;
    button.setAttribute("aria-pressed", selected.has(place));
    button.classList.toggle("focused", place === focused);
  });
}

function focusOn(place) {
  const card = byId("cards").children[place];
  if (card) card.firstChild.focus();
}

let busy = Promise.resolve();

// One after another: a key pressed while the device still works is not lost, and goes to the cards shown then.
function act(path, content) {
  busy = busy.then(async () => {
    const places = selected.size ? [...selected].sort((a, b) => a - b) : [focused];
    const names = places.flatMap((place) => (groups[place] || []).map((photo) => photo.name));
    if (!names.length) return;
    try {
      const answer = await ask(path, { ...content, names });
      done.push(answer.number);
      const missing = answer.missing.length;
      notice(missing ? `${missing} of them were no longer there: somebody else has moved them.` : "");
      if (content.label) classes[content.label] = (classes[content.label] || 0) + answer.moved.length;
      groups = groups.filter((_, place) => !places.includes(place));
      selected.clear();
      focused = Math.min(places[0], Math.max(0, groups.length - 1));
      anchor = focused;
      showClasses();
      showCards();
      focusOn(focused);
    } catch (error) {
      notice(error.message);
    }
  });
  return busy;
}

function undo() {
  busy = busy.then(async () => {
    const number = done.pop();
    if (!number) {
      notice("There is nothing to undo.");
      return;
    }
    try {
      await ask("undo", { number });
      await load();
      focusOn(focused);
      notice("");
    } catch (error) {
      notice(error.message);
    }
  });
}

function move(step, range) {
  const place = Math.min(Math.max(focused + step, 0), groups.length - 1);
  if (range) {
    if (!selected.size) anchor = focused;
    choose(place, true);
  }
  focusOn(place);
}

function columns() {
  const cards = [...byId("cards").children];
  return Math.max(1, cards.filter((card) => card.offsetTop === cards[0].offsetTop).length);
}

document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  if (event.key in steps) move(steps[event.key], event.shiftKey);
  else if (event.key === "Escape") { selected.clear(); mark(); }
  else if (event.key === "x" || event.key === "Delete") act("remove", {});
  else if (event.key === "z") undo();
  else if (keys.has(event.key)) act("label", { label: keys.get(event.key) });
  else return;
  event.preventDefault();
});
byId("remove").onclick = () => act("remove", {});
byId("undo").onclick = undo;
byId("new-class").onsubmit = (event) => {
  event.preventDefault();
  const name = byId("new-name").value.trim();
  if (!name) return;
  if (!(name in classes)) classes[name] = 0;
  byId("new-name").value = "";
  showClasses();
  focusOn(focused);
};
load().then(() => focusOn(0));
