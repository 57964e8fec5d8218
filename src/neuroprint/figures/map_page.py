"""The page of the interactive map: its layout and the script that answers the pointer."""

from __future__ import annotations

from string import Template
from typing import Final

PAGE: Final = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline';
  style-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>
  * { box-sizing: border-box; }
  html, body { height: 100%; margin: 0; }
  body { display: flex; flex-direction: column; padding: 12px 16px; color: #222; background: #fff;
    font: 14px/1.45 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; min-height: 380px; }
  header { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: center; justify-content: space-between; }
  h1 { font-size: 16px; margin: 0; }
  [role=group] button { font: inherit; font-size: 13px; padding: 4px 11px; border: 1px solid #bbb; background: #fff;
    color: #222; cursor: pointer; margin-left: -1px; }
  [role=group] button:first-of-type { border-radius: 5px 0 0 5px; margin-left: 6px; }
  [role=group] button:last-of-type { border-radius: 0 5px 5px 0; }
  [role=group] button[aria-pressed=true] { background: #0072B2; border-color: #0072B2; color: #fff; }
  main { flex: 1; display: flex; gap: 14px; min-height: 0; margin-top: 8px; }
  #frame { flex: 1; min-width: 0; border: 1px solid #ddd; border-radius: 5px; position: relative; overflow: hidden; }
  #map { position: absolute; inset: 0; }
  aside { width: 244px; flex: none; overflow: auto; }
  aside figure { margin: 0; width: 244px; height: 232px; background: #111; border-radius: 5px; display: flex;
    align-items: center; justify-content: center; color: #bbb; font-size: 13px; text-align: center; padding: 4px; }
  aside img { width: 100%; height: 100%; object-fit: contain; }
  h2 { font-size: 14px; margin: 10px 0 4px; overflow-wrap: anywhere; }
  dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 12px; margin: 0; font-size: 13px; }
  dt { color: #666; } dd { margin: 0; white-space: nowrap; font-variant-numeric: tabular-nums; }
  aside p { color: #666; font-size: 12.5px; }
</style>
<script>$plotly</script>
</head>
<body>
<header>
  <h1>$title</h1>
  <div role="group" aria-label="Color by the tumor center's">color by tumor center</div>
</header>
<main>
  <div id="frame"><div id="map"></div></div>
  <aside aria-live="polite">
    <figure id="picture">Point at a case</figure>
    <h2 id="case">&nbsp;</h2>
    <dl id="facts"></dl>
    <p>The picture is a maximum intensity projection of FLAIR (without one, of the first modality), the patient's right
    on the left. Click a case to keep it here; click it again to let go. Distances on the map have no unit.</p>
  </aside>
</main>
<script>
"use strict";
const data = $data;
const find = (id) => document.getElementById(id);
const indices = data.ids.map((_, i) => i);
const located = indices.filter((i) => data.centers[0][i] !== null);
const lost = indices.filter((i) => data.centers[0][i] === null);
const size = Math.min(13, Math.max(6, 60 / Math.sqrt(Math.max(data.ids.length, 1)) + 3));
const pick = (list, chosen) => chosen.map((i) => list[i]);
const number = (value, unit) => value === null ? "unknown" : value.toFixed(1).replace("-", "\\u2212") + " " + unit;
const place = (i) => data.centers[0][i] === null ? "unknown"
  : data.centers.map((c) => c[i].toFixed(0).replace("-", "\\u2212")).join(", ");

function facts(i) {
  const rows = [["side", data.sides[i]], ["center x, y, z (mm)", place(i)]];
  if (data.volumes) rows.push(["volume", number(data.volumes[i], "cm\\u00b3")]);
  return rows;
}
const hover = (i) => "<b>" + data.hover[i] + "</b><br>" + facts(i).map((row) => row.join(": ")).join("<br>");

function marker(k) {
  const axis = data.axes[k];
  return { size, opacity: 0.9, line: { width: 0.6, color: "#333" }, color: pick(data.centers[k], located),
    colorscale: axis.colors, cmin: axis.range[0], cmax: axis.range[1],
    colorbar: { title: { text: axis.label.slice(-6), side: "top", font: { size: 13 } }, thickness: 14,
      outlinewidth: 0, len: 0.9 } };
}
const trace = (chosen, name, look) => ({ type: "scatter", mode: "markers", name, x: pick(data.x, chosen),
  y: pick(data.y, chosen), customdata: chosen, text: chosen.map(hover), hovertemplate: "%{text}<extra></extra>",
  showlegend: chosen === lost, marker: look });
const bare = { visible: true, showticklabels: false, showgrid: false, zeroline: false, ticks: "" };
const layout = { margin: { l: 14, r: 14, t: 14, b: 14 }, hovermode: "closest", dragmode: "pan", plot_bgcolor: "#fff",
  font: { family: "system-ui, Segoe UI, Helvetica, Arial, sans-serif", color: "#222" },
  hoverlabel: { bgcolor: "#fff", bordercolor: "#888", align: "left", font: { color: "#222" } },
  showlegend: lost.length > 0, legend: { orientation: "h", x: 0, y: 0, bgcolor: "rgba(255,255,255,.8)" },
  xaxis: bare, yaxis: { ...bare, scaleanchor: "x" } };
const traces = [trace(located, "tumor center known", marker(0)),
  trace(lost, "no tumor center", { size, symbol: "circle-open", color: "#767676" })];
Plotly.newPlot("map", traces, layout, { displaylogo: false, scrollZoom: true,
  modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d"]] });
new ResizeObserver(() => Plotly.Plots.resize("map")).observe(find("frame"));

const group = document.querySelector("[role=group]");
data.axes.forEach((axis, k) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = axis.label.replace(" (mm)", "");
  button.setAttribute("aria-pressed", String(k === 0));
  button.addEventListener("click", () => {
    group.querySelectorAll("button").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    Plotly.restyle("map", { marker: [marker(k)] }, [0]);
  });
  group.append(button);
});

function show(i) {
  const picture = find("picture"), address = data.pictures[i];
  if (address) {
    const image = new Image();
    image.src = address;
    image.alt = "FLAIR projection of " + data.ids[i];
    picture.replaceChildren(image);
  } else picture.replaceChildren("no picture of this case");
  find("case").textContent = data.ids[i];
  find("facts").replaceChildren(...facts(i).flatMap((row) => row.map((text, column) => {
    const cell = document.createElement(column ? "dd" : "dt");
    cell.textContent = text;
    return cell;
  })));
}
let kept = null;
find("map").on("plotly_hover", (event) => { if (kept === null) show(event.points[0].customdata); });
find("map").on("plotly_click", (event) => {
  const i = event.points[0].customdata;
  kept = kept === i ? null : i;
  show(i);
});
</script>
</body>
</html>
""")
