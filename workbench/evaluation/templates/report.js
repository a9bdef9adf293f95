"use strict";
// The slider: a range input lies over the pictures, so that keys, mouse and touch all work.
for (const frame of document.querySelectorAll(".frame")) {
  const range = frame.querySelector("input");
  if (!range) continue;
  const place = () => frame.style.setProperty("--at", range.value + "%");
  const drag = (event) => {
    const box = frame.getBoundingClientRect();
    range.value = (100 * (event.clientX - box.left)) / box.width;
    place();
  };
  range.addEventListener("input", place);
  range.addEventListener("pointerdown", (event) => {
    range.setPointerCapture(event.pointerId);
    drag(event);
  });
  range.addEventListener("pointermove", (event) => event.buttons && drag(event));
  place();
}
for (const choice of document.querySelectorAll(".views input")) {
  choice.addEventListener("change", () => {
    document.getElementById("pictures").className = choice.value;
  });
}

// The curves: plotly.js is stored gzipped, a third of its size, and unpacked last.
const figures = document.getElementById("figures");
async function draw() {
  const packed = atob(document.getElementById("plotly").textContent.trim());
  const bytes = Uint8Array.from(packed, (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const options = { displaylogo: false, responsive: true, displayModeBar: false };
  for (const [name, figure] of Object.entries(JSON.parse(figures.textContent))) {
    const place = document.getElementById("plot-" + name);
    place.replaceChildren();
    Plotly.newPlot(place, figure.data, figure.layout, options);
  }
}
const failed = (error) => {
  for (const place of document.querySelectorAll(".plot p"))
    place.textContent = "This browser cannot draw the curves: " + error.message;
};
// After the pictures are on the screen: unpacking takes a moment on a phone.
if (figures) addEventListener("load", () => setTimeout(() => draw().catch(failed), 50));
