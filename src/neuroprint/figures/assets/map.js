const REGIONS = { A: "#D55E00", B: "#009E73" };
const MOST_PICTURES = 60;
const find = (id) => document.getElementById(id);
const canvas = find("map"), pen = canvas.getContext("2d"), hint = find("hint");
const count = data.ids.length;
const radius = Math.min(6.5, Math.max(3, 30 / Math.sqrt(Math.max(count, 1)) + 1.5));
const known = (i) => data.centers[0][i] !== null;
const signed = (value, digits) => value.toFixed(digits).replace(/^-(?=0(\.0*)?$)/, "").replace("-", "\u2212");
const chosen = { A: new Set(), B: new Set() };   // cases of each region
const outlines = { A: null, B: null };   // what was drawn, in the map's units
let axis = 0, mode = "move", region = "A", pointed = null, kept = null, drawn = null;

// The view: the map's units to pixels, the same scale both ways.
const extent = (values) => values.length
  ? values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [values[0], values[0]]) : [0, 1];
const [left, right] = extent(data.x), [bottom, top_] = extent(data.y);
let view = null;
function fit() {
  const wide = canvas.clientWidth, high = canvas.clientHeight, pad = 46;
  const scale = Math.min((wide - 2 * pad) / (right - left || 1), (high - 2 * pad) / (top_ - bottom || 1));
  view = { scale, x: wide / 2 - scale * (left + right) / 2, y: high / 2 + scale * (bottom + top_) / 2 };
}
const onScreen = (x, y) => [view.x + view.scale * x, view.y - view.scale * y];
const onMap = (x, y) => [(x - view.x) / view.scale, (view.y - y) / view.scale];
const placeOf = (i) => onScreen(data.x[i], data.y[i]);
function zoom(by, x, y) {
  view = { scale: view.scale * by, x: x + (view.x - x) * by, y: y + (view.y - y) * by };
  draw();
}

// Colors: between the two nearest of the stops.
const mixed = (one, other, share) => [1, 3, 5].map((at) => {
  const [from, to] = [one, other].map((color) => parseInt(color.slice(at, at + 2), 16));
  return Math.round(from + share * (to - from));
});
function colorOf(i) {
  const { range: [low, high], colors } = data.axes[axis];
  const at = Math.min(1, Math.max(0, (data.centers[axis][i] - low) / (high - low))) * (colors.length - 1);
  const stop = Math.min(Math.floor(at), colors.length - 2);
  return `rgb(${mixed(colors[stop], colors[stop + 1], at - stop)})`;
}

function draw() {
  const dense = window.devicePixelRatio || 1, wide = canvas.clientWidth, high = canvas.clientHeight;
  if (canvas.width !== Math.round(wide * dense) || canvas.height !== Math.round(high * dense)) {
    canvas.width = Math.round(wide * dense);
    canvas.height = Math.round(high * dense);
  }
  if (!view) fit();
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, wide, high);
  for (const name of Object.keys(REGIONS)) if (outlines[name]) path(outlines[name], REGIONS[name]);
  for (let i = 0; i < count; i++) spot(i);
  const marked = kept === null ? pointed : kept;
  if (marked !== null) ring(marked, "#000", radius + 3.5);
}
function spot(i) {
  const [x, y] = placeOf(i);
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  if (known(i)) {
    pen.fillStyle = colorOf(i);
    pen.fill();
  }
  pen.lineWidth = known(i) ? 0.6 : 1.5;
  pen.strokeStyle = known(i) ? "#333" : "#767676";
  pen.stroke();
  for (const name of Object.keys(REGIONS)) if (chosen[name].has(i)) ring(i, REGIONS[name], radius + 1.5);
}
function ring(i, color, reach) {
  pen.beginPath();
  pen.arc(...placeOf(i), reach, 0, 2 * Math.PI);
  pen.lineWidth = 2;
  pen.strokeStyle = color;
  pen.stroke();
}
function path(corners, color) {
  pen.beginPath();
  corners.forEach((corner, place) => pen[place ? "lineTo" : "moveTo"](...onScreen(...corner)));
  pen.closePath();
  pen.fillStyle = color + "18";
  pen.fill();
  pen.lineWidth = 1.5;
  pen.strokeStyle = color;
  pen.stroke();
}

// What is told of one case.
function facts(i) {
  const center = known(i) ? data.centers.map((values) => signed(values[i], 0)).join(", ") : "unknown";
  const rows = [["side", data.sides[i]], ["center x, y, z (mm)", center]];
  if (data.volumes) rows.push(["volume", data.volumes[i] === null ? "unknown" : signed(data.volumes[i], 1) + " cm\u00b3"]);
  return rows;
}
function terms(rows) {
  const list = document.createElement("dl");
  list.append(...rows.flatMap((row) => row.map((text, column) => {
    const cell = document.createElement(column ? "dd" : "dt");
    cell.textContent = text;
    return cell;
  })));
  return list;
}
function pictured(figure, i) {
  if (!data.pictures[i]) return figure.replaceChildren("no picture of this case");
  const image = new Image();
  image.src = data.pictures[i];
  image.alt = "projection of " + data.ids[i];
  figure.replaceChildren(image);
}
function show(i) {
  pictured(find("picture"), i);
  find("case").textContent = data.ids[i];
  find("facts").replaceChildren(...terms(facts(i)).children);
}
function keep(i) {
  kept = i;
  if (i !== null) show(i);
  draw();
}

// What the cases of a region share.
const median = (values) => {
  const ordered = [...values].sort((one, other) => one - other), half = ordered.length >> 1;
  return ordered.length % 2 ? ordered[half] : (ordered[half - 1] + ordered[half]) / 2;
};
const spread = (values, digits, unit) => !values.length ? "unknown"
  : `${signed(median(values), digits)} (${extent(values).map((end) => signed(end, digits)).join(" to ")})${unit}`;
function shared(cases) {
  const sides = new Map();
  cases.forEach((i) => sides.set(data.sides[i], (sides.get(data.sides[i]) || 0) + 1));
  const [side, most] = [...sides].sort((one, other) => other[1] - one[1])[0];
  const of = (values) => cases.map((i) => values[i]).filter((value) => value !== null);
  const rows = [["side", `${side}: ${most} of ${cases.length}`]];
  rows.push(["", "median (range)"]);
  data.axes.forEach((one, k) => rows.push([one.label.replace(" (mm)", ""), spread(of(data.centers[k]), 0, " mm")]));
  if (data.volumes) rows.push(["volume", spread(of(data.volumes), 1, " cm\u00b3")]);
  return rows;
}
function tile(i) {
  const button = document.createElement("button"), figure = document.createElement("figure");
  button.type = "button";
  pictured(figure, i);
  button.append(figure, data.ids[i]);
  button.addEventListener("click", () => keep(i));
  return button;
}
function panel(name) {
  const cases = [...chosen[name]], section = document.createElement("section"), heading = document.createElement("h2");
  section.id = "region" + name;
  section.style.borderTop = "3px solid " + REGIONS[name];
  heading.textContent = `Region ${name}: ${cases.length} ${cases.length === 1 ? "case" : "cases"}`;
  const clear = document.createElement("button");
  clear.type = "button";
  clear.textContent = "clear";
  clear.addEventListener("click", () => enclose(name, null));
  heading.append(clear);
  section.append(heading);
  if (!cases.length) {
    section.append("No case lies in it.");
    return section;
  }
  const told = terms(shared(cases)), tiles = document.createElement("div");
  tiles.className = "cases";
  tiles.append(...cases.slice(0, MOST_PICTURES).map(tile));
  section.append(told, tiles);
  if (cases.length > MOST_PICTURES) section.append(`and ${cases.length - MOST_PICTURES} more`);
  return section;
}
function inside([x, y], corners) {
  let within = false;
  corners.forEach(([x1, y1], place) => {
    const [x2, y2] = corners[(place + 1) % corners.length];
    if ((y1 > y) !== (y2 > y) && x < x1 + (x2 - x1) * (y - y1) / (y2 - y1)) within = !within;
  });
  return within;
}
function enclose(name, corners) {
  outlines[name] = corners;
  chosen[name] = new Set(!corners ? [] : data.ids.map((_, i) => i).filter((i) => inside([data.x[i], data.y[i]], corners)));
  find("regions").replaceChildren(...Object.keys(REGIONS).filter((one) => outlines[one]).map(panel));
  draw();
}

// The pointer.
const at = (event) => [event.offsetX, event.offsetY];
function nearest([x, y]) {
  let found = null, least = (radius + 5) ** 2;
  for (let i = 0; i < count; i++) {
    const [px, py] = placeOf(i), apart = (px - x) ** 2 + (py - y) ** 2;
    if (apart < least) [found, least] = [i, apart];
  }
  return found;
}
function point(i) {
  hint.hidden = i === null;
  if (i !== null) {
    const name = document.createElement("b"), [x, y] = placeOf(i);
    name.textContent = data.ids[i];
    hint.replaceChildren(name, facts(i).map((row) => row.join(": ")).join("\n"));
    const wide = hint.offsetWidth, high = hint.offsetHeight;
    hint.style.left = (x + 14 + wide > canvas.clientWidth ? Math.max(2, x - wide - 14) : x + 14) + "px";
    hint.style.top = Math.max(2, Math.min(y - high / 2, canvas.clientHeight - high - 2)) + "px";
    if (kept === null) show(i);
  }
  if (i !== pointed) {
    pointed = i;
    draw();
  }
}
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  drawn = { from: at(event), last: at(event), corners: [at(event)], moved: false };
});
canvas.addEventListener("pointermove", (event) => {
  const here = at(event);
  if (!drawn) return point(nearest(here));
  drawn.moved ||= Math.hypot(here[0] - drawn.from[0], here[1] - drawn.from[1]) > 4;
  if (!drawn.moved) return;
  point(null);
  if (mode === "move") {
    view = { ...view, x: view.x + here[0] - drawn.last[0], y: view.y + here[1] - drawn.last[1] };
    drawn.last = here;
    return draw();
  }
  const [x, y] = drawn.from;
  drawn.corners = mode === "box" ? [[x, y], [here[0], y], here, [x, here[1]]] : [...drawn.corners, here];
  draw();
  path(drawn.corners.map((corner) => onMap(...corner)), REGIONS[region]);
});
canvas.addEventListener("pointerup", (event) => {
  const { moved, corners } = drawn || { moved: true, corners: [] };
  drawn = null;
  if (!moved) {
    const i = nearest(at(event));
    keep(i === kept ? null : i);
  } else if (mode !== "move" && corners.length > 2) enclose(region, corners.map((corner) => onMap(...corner)));
});
canvas.addEventListener("pointercancel", () => { drawn = null; draw(); });
canvas.addEventListener("pointerleave", () => { if (!drawn) point(null); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  point(null);
  zoom(Math.exp(-event.deltaY / 400), ...at(event));
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (event.key === "Escape") keep(null);
  if (!step || !count) return;
  event.preventDefault();
  keep(kept === null ? 0 : (kept + step + count) % count);
});

// Buttons.
function buttons(group, entries, pressed) {
  entries.forEach(([text, action, title], place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    if (title) button.title = title;
    if (pressed) button.setAttribute("aria-pressed", String(place === 0));
    button.addEventListener("click", () => {
      if (pressed) group.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
      action();
    });
    group.append(button);
  });
}
function colored(k) {
  axis = k;
  const { label, colors, range, ends } = data.axes[k];
  find("bar").querySelector("i").style.background = `linear-gradient(to top, ${colors.join(", ")})`;
  find("bar").title = label;
  [["low", 0], ["high", 1]].forEach(([id, end]) => { find(id).textContent = `${ends[end]} ${signed(range[end], 0)} mm`; });
  draw();
}
const drag = (name, letter) => () => {
  mode = name;
  region = letter || region;
  canvas.style.cursor = name === "move" ? "grab" : "crosshair";
};
const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];
buttons(find("modes"), [["move", drag("move")], ["box A", drag("box", "A")], ["lasso A", drag("lasso", "A")],
  ["box B", drag("box", "B")], ["lasso B", drag("lasso", "B")]], true);
buttons(find("zoom"), [["+", () => zoom(1.4, ...middle()), "zoom in"], ["\u2212", () => zoom(1 / 1.4, ...middle()), "zoom out"],
  ["all", () => { fit(); draw(); }, "show all cases"]], false);
buttons(find("colors"), data.axes.map((one, k) => [one.label.replace(" (mm)", ""), () => colored(k)]), true);
find("legend").hidden = data.ids.every((_, i) => known(i));
canvas.style.cursor = "grab";
new ResizeObserver(() => { fit(); draw(); }).observe(find("frame"));
colored(0);
