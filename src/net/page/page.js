"use strict";
// Text of the server's is only ever put into the page as text.
const $ = id => document.getElementById(id);
const POLL_MS = 1000, WINDOW = 10, MINUTE = 60;
const state = {status: null, history: [], rates: [], token: sessionStorage.getItem("verge-token") || "", pixels: null};

function element(tag, text, className) {
  const e = document.createElement(tag);
  if (text !== undefined && text !== null) e.textContent = String(text);
  if (className) e.className = className;
  return e;
}

// Cells are texts, or [text, class, columns].
function rows(id, table, empty) {
  const body = $(id);
  const made = table.map(cells => {
    const row = element("tr");
    if (cells.chosen) row.className = "chosen";
    for (const c of cells) {
      const cell = Array.isArray(c) ? element("td", c[0], c[1]) : element("td", c);
      if (Array.isArray(c) && c[2]) cell.colSpan = c[2];
      row.append(cell);
    }
    return row;
  });
  if (!made.length && empty) {
    const row = element("tr");
    row.append(element("td", empty, "soft"));
    made.push(row);
  }
  body.replaceChildren(...made);
}
function head(id, names) {
  const row = element("tr");
  row.append(...names.map(n => element("th", n)));
  $(id).replaceChildren(row);
}

const number = (v, digits = 3) => v === undefined || v === null || !isFinite(v) ? "–" : v !== 0 && (Math.abs(v) >= 1e6 || Math.abs(v) < 1e-3) ? v.toExponential(2) : String(Number(v.toPrecision(digits)));
const milliseconds = s => s === null || s === undefined ? "–" : s < 0.001 ? number(s * 1e6) + " µs" : s < 1 ? number(s * 1e3) + " ms" : number(s) + " s";
const bytes = n => n === undefined || n < 0 ? "–" : number(n / 1048576) + " MiB";

// --- figures from counters: differences between two polls ---

const samples = (status, name) => (status.metrics && status.metrics[name]) || [];
const keyOf = labels => JSON.stringify(labels);
function increase(name, keep = () => true) {
  const now = state.history[state.history.length - 1], before = state.history[0];
  if (!now || now === before) return {seconds: 0, by: []};
  const old = new Map(samples(before.status, name).map(([labels, v]) => [keyOf(labels), v]));
  const by = [];
  for (const [labels, v] of samples(now.status, name)) {
    const was = old.get(keyOf(labels)) || 0;
    if (keep(labels)) by.push([labels, v < was ? v : v - was]);
  }
  return {seconds: (now.at - before.at) / 1000, by};
}
const total = found => found.by.reduce((sum, [, v]) => sum + v, 0);
const rate = (name, keep) => {
  const found = increase(name, keep);
  return found.seconds ? total(found) / found.seconds : null;
};
// Of a histogram of seconds, straight within a bucket.
function quantile(name, q, keep) {
  const buckets = new Map();
  for (const [labels, v] of increase(name + "_bucket", keep).by) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    buckets.set(bound, (buckets.get(bound) || 0) + v);
  }
  const sorted = [...buckets].sort((a, b) => a[0] - b[0]);
  const all = sorted.length ? sorted[sorted.length - 1][1] : 0;
  if (!all) return null;
  let low = 0, below = 0;
  for (const [bound, count] of sorted) {
    if (count >= q * all) return bound === Infinity ? low : low + (bound - low) * (count > below ? (q * all - below) / (count - below) : 1);
    low = bound;
    below = count;
  }
  return low;
}

// --- what is shown of each poll ---

function figures(list) {
  $("figures").replaceChildren(...list.map(([text, value, id]) => {
    const box = element("div");
    const strong = element("b", value);
    if (id) strong.id = id;
    box.append(strong, element("span", text, "soft"));
    return box;
  }));
}

function showNow(status) {
  const perSecond = rate("verge_requests_total"), refused = rate("verge_failures_total");
  const list = [];
  if (status.can.metrics) {
    list.push(["requests a second", number(perSecond), "rate"], ["p50", milliseconds(quantile("verge_request_seconds", 0.5)), "p50"],
              ["p99", milliseconds(quantile("verge_request_seconds", 0.99)), "p99"], ["refused or failed a second", number(refused), "refused"],
              ["requests in all", number(samples(status, "verge_requests_total").reduce((s, [, v]) => s + v, 0), 12), "total"],
              ["waiting for a lane", number(samples(status, "verge_lane_waiting").reduce((s, [, v]) => s + v, 0), 6), "waiting"]);
    for (const [, v] of samples(status, "process_resident_memory_bytes")) list.push(["memory", bytes(v), "memory"]);
  } else {
    list.push(["models", status.models.length]);
  }
  figures(list);
  state.rates.push(perSecond || 0);
  if (state.rates.length > MINUTE) state.rates.shift();
  const most = Math.max(1, ...state.rates), from = MINUTE - state.rates.length;
  $("curve").setAttribute("points", state.rates.map((v, i) => (from + i) + "," + (19 - 18 * v / most).toFixed(2)).join(" "));
}

const countOf = labels => Object.entries(labels).map(([k, v]) => k + " " + v).join(", ");

function showModels(status) {
  head("models-head", ["model", "variant", "state", "accuracy", "latency p50", "memory", "a second", "p50", "p99"]);
  const table = [];
  for (const m of status.models) {
    const p = m.parameters || {};
    if (m.reason) table.push([m.name + " " + m.version, ["cannot serve: " + m.reason, "text bad", 8]]);
    const variants = Array.isArray(p.variants) ? p.variants : Object.entries(p.variants || {}).map(([id, v]) => Object.assign({id}, v));
    for (const v of variants) {
      const id = v.id || v.variant || v.name;
      const mine = l => l.model === m.name && String(l.version) === String(m.version) && l.variant === id;
      const latency = typeof v.latency_us === "number" ? v.latency_us / 1e6 : typeof v.p50_us === "number" ? v.p50_us / 1e6 : null;
      const row = [m.name + " " + m.version, (v.model ? v.model + " / " : "") + id, [v.state || "–", v.state === "resident" ? "good" : "soft"], number(v.accuracy, 4), milliseconds(latency),
                   bytes(v.resident_bytes), number(rate("verge_requests_total", mine)), milliseconds(quantile("verge_request_seconds", 0.5, mine)),
                   milliseconds(quantile("verge_request_seconds", 0.99, mine))];
      row.chosen = id === p.default_variant;
      table.push(row);
    }
  }
  rows("models", table, "No model is served.");
}

function showCounts(status) {
  const counted = pattern => Object.keys(status.metrics || {}).filter(n => pattern.test(n) && !/_(bucket|sum|count)$/.test(n));
  const exits = [];
  for (const name of counted(/^verge_exit/)) {
    const all = samples(status, name).reduce((s, [, v]) => s + v, 0);
    for (const [labels, v] of samples(status, name)) if (v) exits.push([[countOf(labels), "text"], number(v, 12), all ? number(100 * v / all) + " %" : "–"]);
  }
  rows("exits", exits, "No request has left at an exit yet.");
  const refusals = [];
  for (const [labels, v] of [...samples(status, "verge_failures_total"), ...samples(status, "verge_net_shed_total")]) if (v) refusals.push([[countOf(labels), "text"], number(v, 12)]);
  rows("refusals", refusals, status.can.metrics ? "None." : "Not shown on this listener.");
  const energies = [];
  for (const name of counted(/^verge_energy/)) for (const [labels, v] of samples(status, name)) energies.push([name.replace(/^verge_/, ""), [countOf(labels), "text"], number(v, 6)]);
  rows("energies", energies, "No energy was counted.");
  head("tenants-head", ["tenant", "bounds", "a second", "p99"]);
  rows("tenants", Object.entries(status.tenants || {}).map(([name, t]) => {
    const several = Object.keys(status.tenants).length > 1;
    const mine = l => !several || l.tenant === name;
    return [name, [countOf(t.bounds) || "none", "text"], number(rate("verge_requests_total", mine)), milliseconds(quantile("verge_request_seconds", 0.99, mine))];
  }), "Not shown on this listener.");
}

function showStatus(status) {
  $("name").textContent = status.server.name;
  $("version").textContent = status.server.version;
  $("ready").textContent = status.server.ready ? "ready" : "not ready";
  $("ready").className = status.server.ready ? "good" : "bad";
  document.title = status.server.name + (status.server.ready ? "" : " (not ready)");
  $("try").hidden = !status.can.infer;
  showNow(status);
  showModels(status);
  showCounts(status);
  const names = [...new Set(status.models.filter(m => !m.reason).map(m => m.name))], select = $("model");
  if (names.join("\n") !== [...select.options].map(o => o.value).join("\n")) {
    const was = select.value;
    select.replaceChildren(...names.map(n => Object.assign(element("option", n), {value: n})));
    if (names.includes(was)) select.value = was;
    newModel();
  }
}

// --- the form ---

const chosenModel = () => state.status && state.status.models.filter(m => m.name === $("model").value && !m.reason).sort((a, b) => b.version - a.version)[0];
const shapeOf = t => t.shape.map(d => d < 0 ? 1 : d);
const elements = t => shapeOf(t).reduce((a, b) => a * b, 1);
// Height, width and channels of what looks like a picture.
function imageOf(t) {
  let d = shapeOf(t);
  if (t.datatype === "BYTES") return null;
  while (d.length > 2 && d[0] === 1) d = d.slice(1);
  const fits = (h, w, c) => h >= 8 && w >= 8 && h <= 1024 && w <= 1024 && (c === 1 || c === 3) ? {h, w, c} : null;
  if (d.length === 3) return fits(d[0], d[1], d[2]) || (fits(d[1], d[2], d[0]) && Object.assign(fits(d[1], d[2], d[0]), {first: true}));
  return d.length === 2 ? fits(d[0], d[1], 1) : null;
}
const scaleOf = t => /^U?INT/.test(t.datatype) ? (t.datatype === "INT8" ? 127 : 255) : 1;

function pixelsOf(image) {
  const kind = $("pattern").value, out = new Float32Array(image.h * image.w * image.c);
  if (kind === "picture" && state.pixels) {
    const canvas = document.createElement("canvas");
    canvas.width = image.w;
    canvas.height = image.h;
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(state.pixels, 0, 0, image.w, image.h);
    const rgba = context.getImageData(0, 0, image.w, image.h).data;
    for (let p = 0; p < image.h * image.w; ++p) {
      for (let c = 0; c < image.c; ++c) out[p * image.c + c] = image.c === 3 ? rgba[4 * p + c] / 255 : (0.299 * rgba[4 * p] + 0.587 * rgba[4 * p + 1] + 0.114 * rgba[4 * p + 2]) / 255;
    }
  } else if (kind === "noise") {
    for (let i = 0; i < out.length; ++i) out[i] = Math.random();
  } else if (kind === "bars") {
    for (let i = 0; i < out.length; ++i) out[i] = Math.floor(i / image.c) % image.w % 8 < 4 ? 0.9 : 0.1;
  }
  return out;
}

// The values of an input in the protocol's order; pictures are kept as height, width, channels with values 0…1.
function valuesOf(t) {
  const image = imageOf(t), n = elements(t), scale = scaleOf(t), whole = scale !== 1;
  if (t.datatype === "BYTES") return Array(n).fill("");
  if (t.datatype === "BOOL") return Array(n).fill(false);
  const values = new Array(n).fill(0);
  if (image) {
    const pixels = state.shown || pixelsOf(image);
    for (let y = 0; y < image.h; ++y) for (let x = 0; x < image.w; ++x) for (let c = 0; c < image.c; ++c) {
      const v = pixels[(y * image.w + x) * image.c + c] * scale;
      values[image.first ? (c * image.h + y) * image.w + x : (y * image.w + x) * image.c + c] = whole ? Math.round(v) : v;
    }
  } else if ($("pattern").value !== "zeros") {
    for (let i = 0; i < n; ++i) values[i] = whole ? Math.floor(Math.random() * 10) : $("pattern").value === "noise" ? Math.random() : i % 8 < 4 ? 0.9 : 0.1;
  }
  return values;
}

function preview() {
  const model = chosenModel(), canvas = $("preview");
  const picture = model && model.inputs.map(imageOf).find(i => i);
  canvas.hidden = !picture;
  $("picture-label").hidden = !picture;
  state.shown = null;
  if (!picture) return;
  state.shown = pixelsOf(picture);
  canvas.width = picture.w;
  canvas.height = picture.h;
  const data = new ImageData(picture.w, picture.h);
  for (let p = 0; p < picture.w * picture.h; ++p) {
    for (let c = 0; c < 3; ++c) data.data[4 * p + c] = 255 * state.shown[p * picture.c + (picture.c === 3 ? c : 0)];
    data.data[4 * p + 3] = 255;
  }
  canvas.getContext("2d").putImageData(data, 0, 0);
}

function newModel() {
  preview();
  $("send").disabled = !chosenModel();
}

// Sliders: 0 is no bound; else from 0.1 to 1000, evenly in the logarithm.
const logarithmic = v => v > 0 ? Number((10 ** (-1 + 4 * (v - 1) / 99)).toPrecision(2)) : null;
const bounds = () => ({deadline: logarithmic(Number($("deadline").value)), accuracy: Number($("accuracy").value) ? Number($("accuracy").value) / 100 : null,
                       energy: logarithmic(Number($("energy").value))});
function showBounds() {
  const b = bounds();
  $("deadline-shown").textContent = b.deadline === null ? "none" : b.deadline + " ms";
  $("accuracy-shown").textContent = b.accuracy === null ? "none" : b.accuracy.toFixed(2);
  $("energy-shown").textContent = b.energy === null ? "none" : b.energy + " mJ";
}

const headers = more => Object.assign(more || {}, state.token ? {Authorization: "Bearer " + state.token} : {});

function showOutputs(outputs) {
  return (outputs || []).map(o => {
    const data = o.data || [];
    const best = data.map((v, i) => [v, i]).filter(([v]) => typeof v === "number").sort((a, b) => b[0] - a[0]).slice(0, 3);
    return o.name + " [" + o.shape.join(", ") + "]: " + (data.length > 3 && best.length ? "largest " + best.map(([v, i]) => "#" + i + " " + number(v, 4)).join(", ") : data.slice(0, 3).join(", "));
  }).join("; ");
}

async function send(event) {
  event.preventDefault();
  const model = chosenModel();
  if (!model) return;
  const b = bounds(), parameters = {"verge.trace": true};
  if (b.deadline !== null) parameters["verge.deadline_ms"] = b.deadline;
  if (b.accuracy !== null) parameters["verge.min_accuracy"] = b.accuracy;
  if (b.energy !== null) parameters["verge.max_energy_mj"] = b.energy;
  for (const name of ["objective", "rule"]) if ($(name).value) parameters["verge." + name] = $(name).value;
  $("send").disabled = true;
  try {
    if (model.inputs.reduce((n, t) => n + elements(t), 0) > 4e6) throw new Error("the input is too large for this page");
    const inputs = model.inputs.map(t => ({name: t.name, datatype: /^B?F(P|LOAT)?16$/.test(t.datatype) ? "FP32" : t.datatype, shape: shapeOf(t), data: valuesOf(t)}));
    const began = performance.now();
    const response = await fetch("/v2/models/" + encodeURIComponent(model.name) + "/infer",
                                 {method: "POST", headers: headers({"Content-Type": "application/json"}), body: JSON.stringify({inputs, parameters})});
    const answer = await response.json(), took = performance.now() - began;
    const p = answer.parameters || {};
    $("answer").className = response.ok ? "answer good" : "answer bad";
    $("answer").textContent = response.ok ? "Answered by " + [p["verge.model"], p["verge.variant"], p["verge.exit"]].filter(x => x).join(", ") + " in " + number(took) + " ms as seen here. " + showOutputs(answer.outputs)
                                          : "Refused: " + answer.error;
    rows("chosen", Object.entries(p).filter(([k]) => k !== "verge.trace").map(([k, v]) => [k.replace(/^verge\./, "").replace(/_/g, " "), [typeof v === "number" ? number(v, 4) : v, "text"]]));
    showTrace(p["verge.trace"]);
  } catch (error) {
    $("answer").className = "answer bad";
    $("answer").textContent = "No answer: " + error.message;
  }
  $("send").disabled = false;
}

function showTrace(text) {
  let candidates = [];
  try {
    candidates = text ? JSON.parse(text).candidates || [] : [];
  } catch (error) {
    candidates = [];
  }
  const names = ["model", "variant", "exit", "accuracy", "predicted_ms", "energy_mj", "passed_over"].filter(n => candidates.some(c => c[n] !== undefined && c[n] !== null && c[n] !== ""));
  head("candidates-head", names.map(n => n.replace("_", " ")));
  rows("candidates", candidates.map(c => {
    const row = names.map(n => typeof c[n] === "number" ? number(c[n]) : n === "passed_over" ? [c[n] || "chosen", "text"] : c[n]);
    row.chosen = !c.passed_over;
    return row;
  }));
}

// --- polling ---

async function poll() {
  await look();
  setTimeout(poll, document.hidden ? 5 * POLL_MS : POLL_MS);
}

async function look() {
  let response;
  try {
    response = await fetch("/v2/verge/status", {headers: headers(), cache: "no-store"});
  } catch (error) {
    $("trouble").textContent = "The server cannot be reached.";
    return;
  }
  try {
    $("door").hidden = response.status !== 401;
    const status = await response.json();
    if (!response.ok) throw new Error(status.error);
    state.status = status;
    state.history.push({at: performance.now(), status: {metrics: status.metrics}});
    if (state.history.length > WINDOW) state.history.shift();
    $("trouble").textContent = "";
    showStatus(status);
  } catch (error) {
    $("trouble").textContent = error.message;
  }
}

$("form").addEventListener("submit", send);
$("form").addEventListener("input", showBounds);
$("model").addEventListener("change", newModel);
$("pattern").addEventListener("change", preview);
$("picture").addEventListener("change", async event => {
  const file = event.target.files[0];
  if (!file) return;
  try {
    state.pixels = await createImageBitmap(file);
    if (![...$("pattern").options].some(o => o.value === "picture")) $("pattern").append(Object.assign(element("option", "picture"), {value: "picture"}));
    $("pattern").value = "picture";
    preview();
  } catch (error) {
    $("answer").textContent = "That is no picture: " + error.message;
  }
});
$("token-form").addEventListener("submit", event => {
  event.preventDefault();
  state.token = $("token").value;
  sessionStorage.setItem("verge-token", state.token);
});
showBounds();
poll();
