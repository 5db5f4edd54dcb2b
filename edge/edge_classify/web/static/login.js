"use strict";
// Without this script the form works too, and a wrong token is answered by a line of text.

document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wrong = document.getElementById("wrong");
  const answer = await fetch("login", { method: "POST", body: new URLSearchParams(new FormData(event.target)) });
  if (answer.ok) {
    location.href = "./";
    return;
  }
  wrong.textContent = `${(await answer.text()).trim()}.`;
  wrong.hidden = false;
});
