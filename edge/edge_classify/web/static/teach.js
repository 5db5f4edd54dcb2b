"use strict";
// A model is taught what was labelled; its figures stand beside those of the file in use, and one button exchanges them.

const ASK_AGAIN_MS = 1000;
const TITLES = { now: "in use", taught: "taught", before: "before" };

let taught = false;
let labelled = 0;
let shown = "";

async function act(path, model) {
  try {
    notice("");
    show(await ask(path, { model }));
  } catch (error) {
    notice(error.message);
  }
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function measured(figures) {
  if (figures.right === null) {
    const added = Object.entries(figures.added).map(([label, share]) => `${label} ${percent(share)}`).join(", ");
    return `added: ${added} of the photos recognised, each by a head that had not seen it`;
  }
  const how = figures.cross_validated ? "cross-validated on" : "measured on";
  return `${percent(figures.right)} right, ${how} ${figures.photos} photos`;
}

function describe(what, figures) {
  const part = element("section", undefined, "file");
  part.append(element("h3", TITLES[what]), element("p", measured(figures)));
  part.append(element("p", figures.labels.join(", "), "labels"));
  return part;
}

function change(what, state, model) {
  const { now } = model.files;
  const coming = model.files[what];
  const gone = now.labels.filter((label) => !coming.labels.includes(label));
  const button = element("button", what === "taught" ? "Use what was taught" : "Restore the previous model");
  button.type = "button";
  button.disabled = Boolean(state.job);
  button.onclick = () => act(what === "taught" ? "use" : "back", model.name);
  const words = gone.length ? [element("p", `It does not know ${gone.join(", ")}.`, "hint")] : [];
  return [button, ...words];
}

function showModel(state, model, several) {
  const section = element("section");
  section.append(element("h2", several ? model.name : "The model"));
  if (model.why_not) {
    section.append(element("p", `It cannot be taught here: ${model.why_not}.`));
    return section;
  }
  const ways = element("p");
  const teach = (path, words) => {
    const button = element("button", words);
    button.type = "button";
    button.disabled = Boolean(state.job) || !labelled;
    button.onclick = () => act(path, model.name);
    ways.append(button, " ");
  };
  if (model.remembers) teach("teach/add", "Add what was labelled");
  teach("teach", model.remembers ? "Teach only what was labelled" : "Teach what was labelled");
  const files = element("div", undefined, "files");
  for (const what of ["now", "taught", "before"]) {
    const figures = model.files[what];
    if (!figures) continue;
    const part = describe(what, figures);
    if (what !== "now") part.append(...change(what, state, model));
    files.append(part);
  }
  section.append(ways, files);
  return section;
}

function show(state) {
  const { job } = state;
  byId("job").textContent = job ? `${job.model} is being taught: ${Math.round(job.seconds)} s …` : "";
  if (job) taught = true;
  else if (taught && state.failed) notice(`Nothing was taught: ${state.failed}.`);
  const { models, notes } = state;
  const now = JSON.stringify({ models, notes, busy: Boolean(job) });
  if (now !== shown) {
    shown = now;
    const several = models.length > 1;
    byId("models").replaceChildren(...models.map((model) => showModel(state, model, several)));
    byId("notes").replaceChildren(...notes.map((note) => element("li", note)));
    byId("found").hidden = !notes.length;
  }
  if (job) setTimeout(refresh, ASK_AGAIN_MS);
}

async function refresh() {
  try {
    show(await ask("teaching.json"));
  } catch (error) {
    notice(error.message);
    setTimeout(refresh, 5 * ASK_AGAIN_MS);
  }
}

async function showLabelled() {
  const { classes } = await ask("photos.json");
  const found = Object.entries(classes).filter(([, photos]) => photos);
  byId("labelled").replaceChildren(...found.map(([label, photos]) => {
    const entry = element("li", `${label} `);
    entry.append(element("span", photos, "score"));
    return entry;
  }));
  labelled = found.length;
  if (!found.length) byId("labelled").append(element("li", "Nothing yet: label photos first."));
}

showLabelled().catch((error) => notice(error.message)).then(refresh);
