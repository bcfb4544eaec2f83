// The feature browser of keras_sae. All it shows is in the page: settings as JSON, and arrays, compressed, in base64.
// The address says what is open: #/units, #/inputs, #/unit/17 or #/input/5, so that links and the back button work.

const $ = (id) => document.getElementById(id);
const settings = JSON.parse($("settings").textContent);
const data = await unpack($("arrays").textContent);
const { kind, columns, names, labels, labelNames } = settings;
const inputCount = data.codes.shape[0];
const unitCount = data.unit.shape[0];
const steps = data.strongest.shape[1];
const placeOf = new Map([...data.unit.values].map((unit, place) => [unit, place]));
const words = kind === "vector" && names && !columns;
const narrow = matchMedia("(max-width: 900px)");
const dark = matchMedia("(prefers-color-scheme: dark)");

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const types = { float32: Float32Array, int32: Int32Array, int8: Int8Array, uint8: Uint8Array };
  const arrays = {};
  for (const { name, dtype, shape, offset } of settings.arrays) {
    const size = shape.reduce((product, length) => product * length, 1);
    arrays[name] = { shape, values: new types[dtype](buffer, offset, size) };
  }
  return arrays;
}

// Values

const size = (shape) => shape.reduce((product, length) => product * length, 1);
const row = ({ values }, place, length) => values.subarray(place * length, (place + 1) * length);
const inRange = (bytes, [low, high]) => Float32Array.from(bytes, (byte) => low + (byte / 255) * (high - low));
const feature = (place) => Float32Array.from(row(data.features, place, size(settings.featureShape)), (v) => v / 127);
const target = (input) => inRange(row(data.targets, input, size(settings.shape)), settings.range);
const original = (input) =>
  data.inputs ? inRange(row(data.inputs, input, size(settings.inputShape)), settings.inputRange) : target(input);
const activation = (input, place) => data.codes.values[input * unitCount + place];
const column = (place) => Float32Array.from({ length: inputCount }, (_, input) => Math.abs(activation(input, place)));
const isActive = (value) => Math.abs(value) > settings.threshold;

function added(input, step) {
  const scale = data.addedScale.values[input * (steps + 1) + step];
  return Float32Array.from(row(data.added, input * (steps + 1) + step, size(settings.shape)), (v) => v * scale);
}

function sum(input, count) {
  const total = Float32Array.from(data.nothing.values);
  for (let step = 0; step < count; step++) added(input, step).forEach((value, place) => (total[place] += value));
  return total;
}

// Text

const number = (value) => (Number.isFinite(value) ? Number(value.toPrecision(3)).toLocaleString("en") : "none");
const percent = (share) => (Number.isFinite(share) ? `${number(100 * share)}\u00a0%` : "none");
const escape = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const labelOf = (input) => (labels ? labelNames[labels[input]] : "");
const titleOf = (input) => (names ? names[input] : `Input ${input}`);
const preferred = (place) => (data.label && data.label.values[place] >= 0 ? labelNames[data.label.values[place]] : "");

function strongestInputs(place, count) {
  const values = column(place);
  const order = Array.from(values.keys()).filter((input) => isActive(values[input]));
  return order.sort((a, b) => values[b] - values[a]).slice(0, count);
}

function strongestColumns(values, count) {
  const order = Array.from(values.keys()).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
  return order.slice(0, count);
}

const descriptions = Array.from({ length: unitCount }, (_, place) => {
  if (words) return strongestInputs(place, 5).map((input) => names[input]).join(", ");
  if (kind !== "vector" || !columns) return "";
  const values = feature(place);
  return strongestColumns(values, 2).map((each) => `${values[each] < 0 ? "−" : "+"}${columns[each]}`).join(" ");
});

// Pictures

let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["zero", "positive", "negative", "paper", "ink"]) {
    const text = style.getPropertyValue(`--${name}`).trim();
    colours[name] = [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16));
  }
}

const mix = (from, to, share) => from.map((value, channel) => value + (to[channel] - value) * share);
const clip = (value) => Math.min(1, Math.max(0, value));
const css = (colour) => `rgb(${colour.map(Math.round).join(" ")})`;

function draw(canvas, values, shape, [low, high], signed) {
  if (kind === "image") return drawImage(canvas, values, shape, low, high, signed);
  canvas.width = 240;
  canvas.height = 120;
  const pen = canvas.getContext("2d");
  const y = (value) => 118 - (116 * (value - low)) / (high - low || 1);
  pen.fillStyle = css(colours.zero);
  pen.fillRect(0, 0, 240, 120);
  if (kind === "series") return drawLines(pen, values, shape, y);
  const width = 240 / values.length;
  values.forEach((value, place) => {
    pen.fillStyle = css(value < 0 ? colours.negative : colours.positive);
    const top = y(Math.max(0, value));
    pen.fillRect(place * width, top, Math.max(1, width * 0.85), y(Math.min(0, value)) - top);
  });
}

function drawImage(canvas, values, [height, width, channels = 1], low, high, signed) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    let colour;
    if (channels === 3) {
      colour = [0, 1, 2].map((channel) => 255 * clip((values[3 * pixel + channel] - low) / (high - low)));
    } else if (signed) {
      const share = values[pixel] / Math.max(Math.abs(low), Math.abs(high));
      colour = mix(colours.zero, share < 0 ? colours.negative : colours.positive, clip(Math.abs(share)));
    } else {
      colour = mix(colours.paper, colours.ink, clip((values[pixel] - low) / (high - low)));
    }
    pixels.data.set([...colour, 255], 4 * pixel);
  }
  pen.putImageData(pixels, 0, 0);
}

const lineColours = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9"];
function drawLines(pen, values, [length, channels], y) {
  for (let channel = 0; channel < channels; channel++) {
    pen.strokeStyle = lineColours[channel % lineColours.length];
    pen.lineWidth = 2;
    pen.beginPath();
    for (let step = 0; step < length; step++) pen.lineTo((240 * step) / (length - 1 || 1), y(values[step * channels + channel]));
    pen.stroke();
  }
}

const pictures = {
  unit: (canvas, place) => draw(canvas, feature(place), settings.featureShape, [-1, 1], true),
  original: (canvas, input) => {
    const shape = data.inputs ? settings.inputShape : settings.shape;
    const range = data.inputs ? settings.inputRange : settings.range;
    draw(canvas, original(input), shape, range, range[0] < 0);
  },
  target: (canvas, input) => draw(canvas, target(input), settings.shape, settings.range, settings.range[0] < 0),
  sum: (canvas, input, count) => draw(canvas, sum(input, count), settings.shape, settings.range, settings.range[0] < 0),
  added: (canvas, input, step) => {
    let largest = 1e-9;
    for (let each = 0; each < steps; each++) {
      largest = Math.max(largest, 127 * data.addedScale.values[input * (steps + 1) + each]);
    }
    draw(canvas, added(input, step), settings.shape, [-largest, largest], true);
  },
};

// A canvas says by data-draw what belongs on it. With a text it is a picture to screen readers, without one it is decoration.
const picture = (what, text = "") =>
  `<canvas data-draw="${what}" ${text ? `role="img" aria-label="${escape(text)}"` : 'aria-hidden="true"'}></canvas>`;

function paint(element) {
  for (const canvas of element.querySelectorAll("canvas[data-draw]")) {
    const [what, ...places] = canvas.dataset.draw.split(" ");
    pictures[what](canvas, ...places.map(Number));
  }
}

// The grid

const views = {
  units: {
    heading: "Units",
    explanation: words ? "Each unit with the inputs for which it is most active." : "What each unit adds to a reconstruction: " +
      (kind === "series" ? "a line for each channel." : settings.featureShape[2] === 3 ? "grey changes nothing." : "red adds, blue takes away."),
    places: [...Array(unitCount).keys()],
    sorts: {
      "share of inputs": [(place) => data.active.values[place], (share) => (share ? `${percent(share)} active` : "dead")],
      rate: [(place) => data.rate.values[place], (rate) => `rate ${number(rate)}`],
      "largest activation": [(place) => data.largest.values[place], (value) => `at most ${number(value)}`],
      sparsity: [(place) => data.sparsity.values[place], (value) => `sparsity ${number(value)}`],
      ...(data.purity && { "purity of labels": [(place) => data.purity.values[place], () => ""] }),
      number: [(place) => -data.unit.values[place], () => ""],
    },
    text: (place) => `${data.unit.values[place]} ${preferred(place)} ${descriptions[place]} ${data.active.values[place] ? "" : "dead"}`,
    tile: unitTile,
  },
  inputs: {
    heading: "Inputs",
    explanation: "Open an input to see which units are active for it, and how they compose its reconstruction.",
    places: [...Array(inputCount).keys()],
    sorts: {
      number: [(input) => -input, () => ""],
      "active units": [(input) => activeUnits(input), (count) => `${count} active`],
      "error of reconstruction": [(input) => data.error.values[input * (steps + 2) + steps + 1], (error) => `error ${number(error)}`],
    },
    text: (input) => `${titleOf(input)} ${labelOf(input)}`,
    tile: inputTile,
  },
};
let view = "units";
let found = [];
let shown = 0;
const PART = 200;

const activeUnits = (input) => row(data.codes, input, unitCount).reduce((count, value) => count + isActive(value), 0);

// What a tile says: the figure that the grid is sorted by, or a note.
function unitTile(place, note) {
  const unit = data.unit.values[place];
  const label = preferred(place) && `${preferred(place)} ${percent(data.purity.values[place])}`;
  return `<a class="tile" href="#/unit/${unit}">${words ? "" : picture(`unit ${place}`)}<b>Unit ${unit}</b>
    ${descriptions[place] ? `<span>${escape(descriptions[place])}</span>` : ""}
    <span>${note}</span><span>${escape(label)}</span></a>`;
}

function inputTile(input, note) {
  return `<a class="tile" href="#/input/${input}">${words ? "" : picture(`original ${input}`)}<b>${escape(titleOf(input))}</b>
    <span>${note}</span><span>${escape(labelOf(input))}</span></a>`;
}

function showView(name) {
  view = name;
  const { heading, explanation, sorts } = views[name];
  $("heading").textContent = heading;
  $("explanation").textContent = explanation;
  $("sort").innerHTML = Object.keys(sorts).map((sort) => `<option>${sort}</option>`).join("");
  $("search").value = "";
  $("ascending").checked = false;
  $("grid").className = words || columns ? "wide" : "";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  arrange();
}

function arrange() {
  const { places, sorts, text } = views[view];
  const wanted = $("search").value.trim().toLowerCase();
  const exact = /^\d+$/.test(wanted) && view === "units"; // a number is that of a unit
  found = places.filter((place) =>
    exact ? String(data.unit.values[place]) === wanted : text(place).toLowerCase().includes(wanted));
  const [key] = sorts[$("sort").value];
  const value = (place) => (Number.isFinite(key(place)) ? key(place) : -Infinity);
  const sign = $("ascending").checked ? 1 : -1;
  found.sort((a, b) => sign * (value(a) - value(b)) || a - b);
  shown = 0;
  $("grid").innerHTML = "";
  $("found").textContent = `${found.length.toLocaleString("en")} of ${places.length.toLocaleString("en")} ${view}`;
  showMore();
}

function showMore() {
  const { tile, sorts } = views[view];
  const [key, say] = sorts[$("sort").value];
  const first = shown;
  for (const place of found.slice(shown, shown + PART)) {
    const item = document.createElement("li");
    item.innerHTML = tile(place, say(key(place)));
    paint(item);
    $("grid").append(item);
  }
  shown = Math.min(found.length, shown + PART);
  $("more").hidden = shown === found.length;
  if (first && first < shown) $("grid").children[first].firstElementChild.focus();
  mark();
}

// Details

function bars(entries, most) {
  return `<ul class="bars">${entries.map(([name, value, text]) => {
    const share = (100 * Math.abs(value)) / (most || 1);
    return `<li><span title="${escape(name)}">${escape(name)}</span><span class="bar" aria-hidden="true">
      <i class="${value < 0 ? "negative" : ""}" style="left:0;width:${share}%"></i></span><span>${escape(text)}</span></li>`;
  }).join("")}</ul>`;
}

function columnBars(values) {
  const order = strongestColumns(values, 12);
  return bars(order.map((each) => [columns[each], values[each], number(values[each])]), Math.abs(values[order[0]]));
}

function legend() {
  if (kind !== "series" || !columns) return "";
  return `<p class="quiet">${columns.map((name, channel) =>
    `<span style="color:${lineColours[channel % lineColours.length]}" aria-hidden="true">■</span> ${escape(name)}`).join(" ")}</p>`;
}

function histogram(values) {
  const active = values.filter(isActive);
  if (!active.length) return "<p>The unit is active for none of the inputs shown.</p>";
  const largest = Math.max(...active);
  const counts = Array(20).fill(0);
  for (const value of active) counts[Math.min(19, Math.floor((20 * value) / largest))]++;
  const highest = Math.max(...counts);
  const rects = counts.map((count, bin) =>
    `<rect x="${bin * 5 + 0.4}" y="${60 - (58 * count) / highest}" width="4.2" height="${(58 * count) / highest}"/>`);
  const text = `Active for ${active.length} of the ${values.length} inputs shown, most often with an absolute activation of
    about ${number(((counts.indexOf(highest) + 0.5) * largest) / 20)}; the largest is ${number(largest)}.`;
  return `<svg viewBox="0 0 100 60" preserveAspectRatio="none" role="img" aria-label="${text}">${rects.join("")}</svg>
    <div class="axis" aria-hidden="true"><span>0</span><span>${number(largest)}</span></div><p class="quiet">${text}</p>`;
}

function similar(place) {
  const own = column(place);
  const norm = (values) => Math.hypot(...values);
  const length = norm(own);
  const scores = [];
  for (let other = 0; other < unitCount; other++) {
    if (other === place) continue;
    const values = column(other);
    const product = values.reduce((total, value, input) => total + value * own[input], 0);
    if (product > 0) scores.push([product / (length * norm(values)), other]);
  }
  return scores.sort((a, b) => b[0] - a[0]).slice(0, 8);
}

function labelShares(place) {
  const mass = Array(labelNames.length).fill(0);
  column(place).forEach((value, input) => (mass[labels[input]] += value));
  const total = mass.reduce((a, b) => a + b, 0);
  if (!total) return "";
  const order = [...mass.keys()].sort((a, b) => mass[b] - mass[a]).slice(0, 5);
  return `<h3>Labels</h3><p class="quiet">Share of each label in the activation on the inputs shown</p>
    ${bars(order.map((each) => [labelNames[each], mass[each], percent(mass[each] / total)]), mass[order[0]])}`;
}

function unitDetail(place) {
  const unit = data.unit.values[place];
  const top = strongestInputs(place, 12);
  const others = similar(place);
  return `${steering("unit", unit)}<h2 id="detail-heading" tabindex="-1">Unit ${unit}</h2>
    ${words ? `<p>${escape(descriptions[place])}</p>` : `<div class="large">${picture(`unit ${place}`, `Feature of unit ${unit}`)}</div>`}
    ${legend()}
    <dl><dt>Active for</dt><dd>${percent(data.active.values[place])} of ${settings.measured.toLocaleString("en")} inputs</dd>
    <dt>Rate</dt><dd>${number(data.rate.values[place])}, the mean activation</dd>
    <dt>Largest</dt><dd>${number(data.largest.values[place])}</dd>
    <dt>Sparsity</dt><dd>${number(data.sparsity.values[place])} (Hoyer: 1 for a single input, 0 for all alike)</dd>
    ${preferred(place) ? `<dt>Purity</dt><dd>${percent(data.purity.values[place])} ${escape(preferred(place))}</dd>` : ""}</dl>
    ${kind === "vector" && columns ? `<h3>Columns</h3>${columnBars(feature(place))}` : ""}
    <h3>Top inputs</h3>${top.length ? "" : "<p>None of the inputs shown.</p>"}
    <ul class="tiles">${top.map((input) => `<li>${inputTile(input, number(activation(input, place)))}</li>`).join("")}</ul>
    <h3>Activations</h3>${histogram(column(place))}
    ${labels ? labelShares(place) : ""}
    ${others.length ? `<h3>Co-active units</h3><p class="quiet">Cosine of the activations on the inputs shown</p>` : ""}
    <ul class="tiles${words || columns ? " wide" : ""}">${others.map(([score, other]) => `<li>${unitTile(other, `cosine ${number(score)}`)}</li>`).join("")}</ul>`;
}

const explained = (input, count) => {
  const error = (step) => data.error.values[input * (steps + 2) + step];
  return 1 - error(count) / error(0);
};

function inputDetail(input) {
  const all = Array.from({ length: steps }, (_, step) => data.strongest.values[input * steps + step]);
  const activations = all.map((unit) => (placeOf.has(unit) ? activation(input, placeOf.get(unit)) : NaN));
  const used = activations.filter((value) => !(Math.abs(value) <= settings.threshold)).length;
  const most = used < steps ? used : steps + 1;
  const row = (step) => {
    const unit = all[step];
    const others = step === steps;
    const known = !others && placeOf.has(unit);
    return `<li data-count="${step + 1}">${words ? "" : `<span>${known ? picture(`unit ${placeOf.get(unit)}`) : ""}</span>`}
      <span>${others ? "all other units" : `<a href="#/unit/${unit}">Unit ${unit}</a>, ${number(activations[step])}`}
      ${known && descriptions[placeOf.get(unit)] ? `<br>${escape(descriptions[placeOf.get(unit)])}` : ""}
      <br><span class="quiet">explains ${percent(explained(input, step + 1))}</span></span>
      ${words ? "" : `<span>${picture(`added ${input} ${step}`, "what it adds")}</span><span>${picture(`sum ${input} ${step + 1}`, "sum so far")}</span>`}</li>`;
  };
  return `${steering("input", input)}<h2 id="detail-heading" tabindex="-1">${escape(titleOf(input))}</h2>
    <p>${escape(labelOf(input))}</p>
    ${words ? "" : `<div class="pictures">
      ${data.inputs ? `<figure>${picture(`original ${input}`, "The input")}<figcaption>input</figcaption></figure>` : ""}
      <figure>${picture(`target ${input}`, data.inputs ? "The input after preprocessing" : "The input")}
        <figcaption>${data.inputs ? "preprocessed" : "input"}</figcaption></figure>
      <figure id="sum">${picture(`sum ${input} ${steps + 1}`, "The reconstruction")}<figcaption>reconstruction</figcaption></figure>
    </div>${legend()}`}
    <label for="count">Units used: <output id="used"></output></label>
    <input type="range" id="count" min="0" max="${most}" value="${most}" data-input="${input}">
    <h3>Composition</h3>
    <p class="quiet">Active: ${activeUnits(input).toLocaleString("en")} of ${unitCount.toLocaleString("en")} units. The strongest, with activation,
      what each adds, and the sum so far. "Explains": how much smaller the squared error is than without any unit.</p>
    <ol class="composition${words ? " plain" : ""}">${[...Array(used).keys(), ...(used < steps ? [] : [steps])].map(row).join("")}</ol>
    ${columns && kind === "vector" ? `<h3>Columns</h3>${columnBars(target(input))}` : ""}`;
}

function compose() {
  const count = Number($("count").value);
  const input = Number($("count").dataset.input);
  const text = count === Number($("count").max) ? "all" : count;
  $("used").textContent = `${text}, which explains ${percent(explained(input, count))}`;
  $("count").setAttribute("aria-valuetext", `${text} units`);
  if ($("sum")) pictures.sum($("sum").firstElementChild, input, count);
  for (const item of document.querySelectorAll(".composition li")) {
    if (Number(item.dataset.count) === count) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
}

function steering(what, number) {
  const own = view === `${what}s`;
  const place = own ? found.indexOf(what === "unit" ? placeOf.get(number) : number) : -1;
  const link = (to, text) => {
    const other = place < 0 ? undefined : found[place + to];
    if (other === undefined) return "<span></span>";
    return `<a href="#/${what}/${what === "unit" ? data.unit.values[other] : other}">${text}</a>`;
  };
  return `<div class="steps">${link(-1, "Previous")}${link(1, "Next")}<a href="#/${view}" id="close">Close</a></div>`;
}

// The address

let opened = "";
function route() {
  const [, what, number] = location.hash.match(/^#\/(units|inputs|unit|input)(?:\/(\d+))?$/) ?? [null, view];
  if (what === "units" || what === "inputs") {
    if (what !== view || !$("grid").children.length) showView(what);
    const before = document.querySelector(`#grid a[href="${opened}"]`);
    opened = "";
    $("detail").hidden = true;
    $("page").inert = false;
    mark();
    before?.focus();
    return;
  }
  const place = what === "unit" ? placeOf.get(Number(number)) : Number(number);
  if (!(place >= 0 && place < (what === "unit" ? unitCount : inputCount))) {
    location.replace(`#/${what}s`);
    return;
  }
  if (!$("grid").children.length) showView(`${what}s`);
  opened = location.hash;
  show(what, place);
  $("detail-heading").focus({ preventScroll: true });
}

function show(what, place) {
  $("detail").innerHTML = what === "unit" ? unitDetail(place) : inputDetail(place);
  $("detail").hidden = false;
  $("detail").scrollTop = 0;
  $("page").inert = narrow.matches;
  paint($("detail"));
  if ($("count")) compose();
  mark();
}

function mark() {
  for (const link of document.querySelectorAll("#grid a")) {
    if (link.getAttribute("href") === opened) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function start() {
  readColours();
  const dead = data.active.values.filter((share) => share === 0).length;
  const some = unitCount < settings.units ? `; the page shows the ${unitCount.toLocaleString("en")} most active` : "";
  $("summary").textContent = `${settings.units.toLocaleString("en")} units, measured on ${settings.measured.toLocaleString("en")} inputs` +
    ` (${inputCount.toLocaleString("en")} shown). ${dead.toLocaleString("en")} units are dead: active for none of them${some}.`;
  $("source").textContent = settings.source;
  $("search").addEventListener("input", arrange);
  $("sort").addEventListener("change", arrange);
  $("ascending").addEventListener("change", arrange);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("more").addEventListener("click", showMore);
  $("detail").addEventListener("input", compose);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !$("detail").hidden) location.hash = `/${view}`;
  });
  dark.addEventListener("change", () => {
    readColours();
    paint(document);
    if ($("count")) compose();
  });
  narrow.addEventListener("change", () => ($("page").inert = narrow.matches && !$("detail").hidden));
  addEventListener("hashchange", route);
  route();
  document.documentElement.dataset.ready = "true";
}

start();
