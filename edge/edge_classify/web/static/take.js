"use strict";
// Hold the button, or the space bar on it: a photo every 0.25 s goes into the class's folder.

const INTERVAL_MS = 250;
const DARK_HINT = { dark: "It is dark.", blurred: "It is blurred." };

function takePhotos(section) {
  const name = section.querySelector("input");
  const button = section.querySelector("button");
  const told = section.querySelector("p");
  let held = false;

  async function take() {
    const label = name.value.trim();
    if (!label) {
      told.textContent = "First say what it is.";
      held = false;
    }
    while (held) {
      const began = performance.now();
      try {
        const answer = await fetch("take", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ label }),
        });
        if (!answer.ok) throw new Error(`Refused: ${(await answer.text()).trim()}.`);
        const { photos, different, hint } = await answer.json();
        const words = hint ? DARK_HINT[hint] || `They are ${hint}.` : "";
        told.textContent = `${label}: ${photos} photos, ${different} different. ${words}`;
      } catch (error) {
        told.textContent = error.message;
        held = false;
      }
      await new Promise((done) => { setTimeout(done, Math.max(0, INTERVAL_MS - (performance.now() - began))); });
    }
  }

  const press = (event) => {
    if (event.type === "keydown" && event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    if (!held) { held = true; take(); }
  };
  const release = () => { held = false; };
  button.addEventListener("pointerdown", press);
  button.addEventListener("keydown", press);
  for (const kind of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) button.addEventListener(kind, release);
}

takePhotos(document.getElementById("take"));
