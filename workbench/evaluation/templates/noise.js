// plotly.js is stored gzipped; each figure is drawn when it comes to be seen.
async function unpack() {
  const packed = atob(document.getElementById("plotly").textContent.trim());
  const bytes = Uint8Array.from(packed, (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const options = { displaylogo: false, responsive: true, displayModeBar: false };
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      const figure = figures[target.dataset.figure];
      target.replaceChildren();
      Plotly.newPlot(target, figure.data, figure.layout, options);
    }
  }, { rootMargin: "200px" });
  document.querySelectorAll("[data-figure]").forEach((place) => seen.observe(place));
}
addEventListener("load", () =>
  setTimeout(() =>
    unpack().catch((error) => {
      for (const place of document.querySelectorAll("[data-figure] p"))
        place.textContent = "This browser cannot draw the figures: " + error.message;
    }), 50));
