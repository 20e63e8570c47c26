// Draws the figures, in the colours of the scheme in force, and keeps their time axes together.
(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const narrow = matchMedia("(max-width: 560px)");
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const config = {
    responsive: true, displaylogo: false, doubleClick: "reset",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };
  let zoom = null; // Range of time in view; null: all of it.

  // Colours are names of style variables ("--c1"), wherever they stand in a figure.
  const coloured = (value, style) => {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value === null || typeof value !== "object" || "bdata" in value) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
  };

  // A label of the user's that begins with "--" stays as it is: these hold names, never colours.
  const WORDS = ["name", "text", "y", "tickvals", "ticktext", "categoryarray"];
  const dressed = (item, style) => {
    const kept = (data) => Object.fromEntries(Object.entries(data).map(([key, value]) =>
      [key, WORDS.includes(key) ? value : coloured(value, style)]));
    const axis = { gridcolor: "--grid", linecolor: "--rule", zerolinecolor: "--rule", ticks: "",
                   exponentformat: "none", separatethousands: true };
    const layout = item.layout;
    const over = (own) => kept({ ...axis, ...own });
    return {
      data: item.data.map((trace) => {
        const clone = kept(trace);
        if (trace.colorbar) clone.colorbar = { ...clone.colorbar, len: narrow.matches ? 1 : trace.colorbar.len };
        return clone;
      }),
      layout: {
        ...coloured({ ...layout, xaxis: 0, yaxis: 0 }, style),
        xaxis: { ...over(layout.xaxis), ...(zoom && layout.meta ? { range: zoom } : {}) },
        yaxis: over(layout.yaxis),
        margin: { ...layout.margin, l: narrow.matches ? 76 : layout.margin.l },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: coloured(layout.plot_bgcolor || "rgba(0,0,0,0)", style),
        font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", size: narrow.matches ? 10 : 12,
                color: coloured("--ink-2", style) },
        hoverlabel: { bgcolor: coloured("--sheet", style), bordercolor: coloured("--rule", style),
                      font: { color: coloured("--ink", style) }, namelength: 40 },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: coloured("--ink-2", style),
                   activecolor: coloured("--ink", style) },
        dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      },
    };
  };

  const draw = (item) => {
    const figure = dressed(item, getComputedStyle(document.documentElement));
    return Plotly.react(item.id, figure.data, figure.layout, { ...config, displayModeBar: narrow.matches ? false : "hover" });
  };

  // One zoom for everything over time.  The others' own notices come back later and find nothing to do.
  const follow = (source, change) => {
    const range = change["xaxis.range"] || (change["xaxis.range[0]"] !== undefined
      ? [change["xaxis.range[0]"], change["xaxis.range[1]"]]
      : change["xaxis.autorange"] && source.layout.xaxis.range);
    if (!range || JSON.stringify(range) === JSON.stringify(zoom)) return;
    zoom = range.slice();
    for (const other of figures) {
      if (other.layout.meta && (other !== source || change["xaxis.autorange"])) {
        Plotly.relayout(other.id, { "xaxis.range": zoom.slice() });
      }
    }
  };

  for (const item of figures) {
    draw(item);
    if (item.layout.meta) document.getElementById(item.id).on("plotly_relayout", (change) => follow(item, change));
  }
  const redraw = () => figures.forEach(draw);
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
  window.addEventListener("beforeprint", redraw);
  window.addEventListener("afterprint", redraw);
})();
