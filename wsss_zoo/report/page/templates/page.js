"use strict";
const all = (query, place = document) => [...place.querySelectorAll(query)];

// Pointing at a group anywhere shows it everywhere.
const focus = (group) => {
  document.body.classList.toggle("focus", group !== undefined);
  for (const item of all("[data-g].on")) item.classList.remove("on");
  if (group !== undefined) for (const item of all(`[data-g="${group}"]`)) item.classList.add("on");
};
for (const kind of ["mouseover", "focusin"])
  document.addEventListener(kind, (event) => focus(event.target.closest?.("[data-g]")?.dataset.g));

// One confusion matrix at a time.
const choice = document.getElementById("matrix");
if (choice) {
  const show = () => {
    for (const item of all("[data-matrix]")) item.hidden = item.dataset.matrix !== choice.value;
  };
  choice.addEventListener("change", show);
  show();
}

// How much of the label maps lies over the photographs.
const mix = document.getElementById("mix");
if (mix) {
  const set = () => document.documentElement.style.setProperty("--mix", mix.value / 100);
  mix.addEventListener("input", set);
  set();
}

const filter = document.getElementById("filter");
if (filter) {
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of all(".runs tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}

addEventListener("beforeprint", () => all("details").forEach((item) => (item.open = true)));
for (const item of all(".control")) item.hidden = false;
document.documentElement.dataset.ready = "yes";
