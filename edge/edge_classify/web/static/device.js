"use strict";
// What the scripts of all pages share: making elements, telling people, and asking the device.

const byId = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Said again only when it changes: a screen reader would repeat it.
function notice(text) {
  const shown = byId("notice");
  if (shown.textContent !== text) shown.textContent = text;
  shown.hidden = !text;
}

async function ask(path, content) {
  const options = content && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The device does not answer: nothing was changed.");
  }
  if (answer.status === 401) location.href = "login";
  if (!answer.ok) throw new Error(`Refused: ${(await answer.text()).trim()}.`);
  return answer.json();
}
