"use strict";
// Without this script every picture of a slider is shown, one below the other.
for (const box of document.querySelectorAll(".slider")) {
  const frames = Array.from(box.querySelectorAll(".frame"));
  const range = box.querySelector("input");
  const said = box.querySelector("output");
  const show = () => {
    const now = Number(range.value);
    frames.forEach((frame, place) => { frame.hidden = place !== now; });
    said.textContent = frames[now].dataset.label;
    range.setAttribute("aria-valuetext", frames[now].dataset.label);
  };
  range.addEventListener("input", show);
  show();
}
