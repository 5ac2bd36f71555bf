// Opens what a link points to, filters, and copies. Without it, the page still reads.
"use strict";

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView({ block: "start" });
  }
}

function filter(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const operation of document.querySelectorAll(".operation")) {
    const text = operation.dataset.text;
    operation.hidden = !wanted.every((word) => text.includes(word));
    if (!operation.hidden) shown += 1;
    const link = document.querySelector(`nav a[href="#${CSS.escape(operation.id)}"]`);
    if (link) link.parentElement.hidden = operation.hidden;
  }
  for (const group of document.querySelectorAll('section[id^="area-"], nav details')) {
    group.hidden = !group.querySelector(".operation:not([hidden]), li:not([hidden])");
  }
  for (const rest of document.querySelectorAll("#credentials, #shapes")) rest.hidden = wanted.length > 0;
  document.getElementById("none").hidden = shown > 0;
}

for (const operation of document.querySelectorAll(".operation")) {
  const who = operation.querySelector(".who");
  operation.dataset.text = `${operation.querySelector("summary").textContent} ${who ? who.textContent : ""}`.toLowerCase();
}
for (const block of document.querySelectorAll(".copyable")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(block.querySelector("code").textContent);
      button.textContent = "Copied";
    } catch {
      // Only pages over HTTPS or from this machine may write to the clipboard.
      getSelection().selectAllChildren(block.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  block.append(button);
}
// On a phone the contents would fill the first screens.
if (matchMedia("(max-width: 52rem)").matches) {
  for (const group of document.querySelectorAll("nav details")) group.open = false;
}
const input = document.getElementById("filter");
input.addEventListener("input", () => filter(input.value));
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== input) {
    event.preventDefault();
    input.focus();
  }
});
addEventListener("hashchange", reveal);
reveal();
