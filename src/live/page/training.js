// The training page: asks the program that trains how it stands, and draws that.

import { byId, Channel, framed, make, makeSvg, put } from "./shared.js";

const POLL_TIME = 500;
const PHASES = {
  preparing: "Preparing", training: "Training", validating: "Validating",
  finished: "Finished", stopped: "Stopped", failed: "Failed",
};

let status = null;
let ended = false;
let asked = false; // one question in flight
let stopSent = false;

// ---- Questions ----

function poll() {
  if (asked || ended || document.hidden) return;
  asked = channel.send({ kind: "status" });
  if (asked) channel.expectAnswer();
}

function onMessage(message) {
  if (message.kind === "hello") {
    put(byId("run"), message.run);
    showPictures(message.pictures);
    // Another run may answer now: ask it at least once.
    asked = ended = stopSent = false;
    poll();
  } else if (message.kind === "status") {
    asked = false;
    channel.answered();
    status = message;
    ended = !message.running && message.phase in { finished: 1, stopped: 1, failed: 1 };
    showStatus();
  } else if (message.kind === "problem") {
    asked = false;
    channel.answered();
    showProblem(message.message);
  }
}

function onState(state, reason) {
  if (state !== "connected") asked = false;
  if (state === "refused") {
    const again = make("button", { type: "button" }, "Connect again");
    again.onclick = () => channel.connect();
    showProblem(reason, make("p", {}, again));
  } else showProblem(status?.problem ?? "");
  showStop();
}

// ---- What the page shows ----

function showProblem(text, ...more) {
  const box = byId("problem");
  if (box.dataset.text === text) return; // an alert must not be read again and again
  box.dataset.text = text;
  box.replaceChildren(...(text ? [make("p", {}, make("strong", {}, text))] : []), ...more);
}

function clock(seconds) {
  if (seconds === null) return "–";
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

const number = (value, digits = 3) => (value === null ? "–" : value.toFixed(digits));

function showStatus() {
  const { phase, epoch, epochs, step, steps } = status;
  const title = status.stopping && status.running ? "Stopping" : PHASES[phase] ?? phase;
  byId("phase").hidden = false;
  byId("phase").dataset.phase = phase;
  put(byId("phase"), title);
  put(byId("line"), status.line);
  showProblem(status.problem ?? "");
  // The epoch that runs counts as far as its steps have come.
  const done = phase === "finished" ? epochs : Math.max(0, epoch - 1) + (epoch && steps ? step / steps : 0);
  byId("progress").max = epochs || 1;
  byId("progress").value = done;
  const share = Math.floor((100 * done) / (epochs || 1));
  document.title = `${ended ? title : `${share} %`} – ${byId("run").textContent}`;
  put(byId("news"), ended ? `${title}. ${status.problem ?? status.line}` : `${title}, epoch ${epoch} of ${epochs}`);
  put(byId("epoch"), `${epoch} of ${epochs} (${share} %)`);
  put(byId("loss"), number(status.loss));
  put(byId("validation-loss"), number(status.validation_loss));
  put(byId("rate"), `${number(status.rate, 0)} ${status.items}/s`);
  put(byId("elapsed"), clock(status.elapsed));
  put(byId("remaining"), ended ? "–" : clock(status.remaining));
  showStop();
  showCurves();
  showEpochs();
}

function showStop() {
  const stop = byId("stop");
  const stopping = stopSent || status?.stopping;
  stop.disabled = !channel.ready || ended || !status || stopping;
  stop.hidden = ended;
  put(stop, stopping ? "Stopping …" : "Stop the training");
  if (stop.disabled) byId("stop-dialog").close();
}

// ---- Curves ----

let drawn = "";

function showCurves(again = false) {
  if (!status) return;
  const { training_loss, validation_loss, metrics } = status.curves;
  const now = JSON.stringify(status.curves);
  if (now === drawn && !again) return;
  drawn = now;
  byId("losses").replaceChildren(chart(byId("losses").clientWidth, 260, {
    id: "losses", heading: "Loss", legend: true,
    series: [
      { name: "training", points: training_loss, look: "thin" },
      { name: "validation", points: validation_loss, look: "thick" },
    ],
  }));
  // The boxes must be in the grid before their width is known.
  const names = Object.keys(metrics);
  while (byId("metrics").children.length > names.length) byId("metrics").lastChild.remove();
  while (byId("metrics").children.length < names.length) byId("metrics").append(make("div"));
  names.forEach((name, index) => {
    const box = byId("metrics").children[index];
    box.replaceChildren(chart(box.clientWidth, 180, {
      id: `metric-${index}`, heading: name, fromZero: true, series: [{ name: "", points: metrics[name], look: "thick" }],
    }));
  });
}

// Steps of 1, 2 or 5 times a power of ten: the ones people count in.
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => {
    const value = (first + index) * step;
    return { value, text: value.toFixed(digits) };
  });
}

// The chart is drawn in the pixels of its box, so that its text keeps its size on a phone.
function chart(width, height, { id, heading, series, legend = false, fromZero = false }) {
  const wide = width > 500;
  const [left, right, top, bottom] = [44, !legend ? 44 : wide ? 112 : 12, 34, 36];
  // A loss that is no number any more comes as null.
  const filled = series
    .map((line) => ({ ...line, points: line.points.filter(([, value]) => Number.isFinite(value)) }))
    .filter(({ points }) => points.length);
  const values = filled.flatMap(({ points }) => points.map(([, value]) => value));
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (!values.length) [low, high] = [0, 1];
  if (fromZero) low = Math.min(0, low);
  if (high - low < 1e-9) high = low + (Math.abs(low) || 1) * 0.1;
  const rows = ticks(low, high, height > 200 ? 5 : 3);
  const columns = ticks(0, status.epochs || 1, Math.min(status.epochs || 1, Math.floor(width / 70) || 1))
    .filter(({ value }) => Number.isInteger(value) && value <= (status.epochs || 1));
  [low, high] = [rows[0].value, rows.at(-1).value];
  const x = (epoch) => left + ((width - left - right) * epoch) / (status.epochs || 1);
  const y = (value) => height - bottom - ((height - bottom - top) * (value - low)) / (high - low);
  const text = (content, attributes) => makeSvg("text", attributes, content);

  const what = filled.map(({ name, points }) =>
    `${name || heading}: ${points[0][1].toFixed(3)} at first, ${points.at(-1)[1].toFixed(3)} after ${+points.at(-1)[0].toFixed(2)} epochs`);
  const svg = makeSvg("svg", {
    class: "chart", viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-labelledby": `${id}-title ${id}-desc`,
  },
  makeSvg("title", { id: `${id}-title` }, `${heading} by epoch`),
  makeSvg("desc", { id: `${id}-desc` }, what.length ? `${what.join("; ")}.` : "No values yet."),
  text(heading, { x: 0, y: 16, class: "heading" }));
  for (const { value, text: label } of rows) {
    svg.append(makeSvg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }),
      text(label, { x: left - 6, y: y(value) + 4, "text-anchor": "end" }));
  }
  svg.append(makeSvg("line", { x1: left, x2: width - right, y1: y(low), y2: y(low), class: "axis" }));
  for (const { value, text: label } of columns) svg.append(text(label, { x: x(value), y: height - bottom + 16, "text-anchor": "middle" }));
  svg.append(text("epoch", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }));

  if (legend) series.forEach(({ name, look }, index) => {
    const at = width - 200 + 100 * index;
    svg.append(makeSvg("polyline", { points: `${at},12 ${at + 22},12`, class: look }), text(name, { x: at + 28, y: 16, class: "name" }));
    if (look === "thick") svg.append(makeSvg("circle", { cx: at + 11, cy: 12, r: 4 }));
  });

  const labels = []; // above all lines
  let lastLabel = Infinity;
  // From the lower label upwards, each at least a line above the one before.
  for (const { name, points, look } of [...filled].sort((a, b) => a.points.at(-1)[1] - b.points.at(-1)[1])) {
    svg.append(makeSvg("polyline", { points: points.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" "), class: look }));
    if (look === "thick") for (const [epoch, value] of points) svg.append(makeSvg("circle", { cx: x(epoch), cy: y(value), r: 4 }));
    const [epoch, value] = points.at(-1);
    const label = `${name} ${value.toFixed(value < 10 ? 2 : 1)}`.trim();
    const room = width - 7 * label.length; // on a phone: at the right edge the labels stand below and above their lines
    const beside = x(epoch) + 8 <= room;
    lastLabel = Math.min(y(value) + (beside ? 4 : legend && !labels.length ? 18 : -9), lastLabel - 14);
    labels.push(text(label, { x: beside ? x(epoch) + 8 : room, y: lastLabel, class: "name" }));
  }
  svg.append(...labels);
  return svg;
}

// ---- Samples ----

function showPictures(pictures) {
  byId("samples").replaceChildren(...pictures.map(({ name, url, references }) => {
    const head = make("th", { scope: "row" });
    // The name below says what it is; what the picture shows is what the model has to find out.
    if (url) head.append(make("img", { src: url, alt: "", loading: "lazy" }));
    head.append(name);
    const list = make("ul", {}, ...references.map((text) => make("li", {}, text)));
    const people = references.length ? [make("details", {}, make("summary", {}, "What people said"), list)] : [];
    const row = make("tr", {}, head, make("td", {}, make("p", { class: "said" }, "–"), ...people));
    row.dataset.name = name;
    return row;
  }));
}

function showEpochs() {
  const select = byId("sample-epoch");
  const epochs = status.samples.map(({ epoch }) => epoch).sort((a, b) => b - a);
  if (select.dataset.epochs !== epochs.join()) {
    select.dataset.epochs = epochs.join();
    const chosen = select.value;
    const latest = epochs.length ? `the latest epoch (${epochs[0]})` : "the first epoch";
    select.replaceChildren(make("option", { value: "latest" }, latest),
      ...epochs.map((epoch) => make("option", { value: epoch }, `epoch ${epoch}`)));
    select.value = epochs.includes(Number(chosen)) ? chosen : "latest";
  }
  showSamples();
}

function showSamples() {
  byId("no-samples").hidden = status.samples.length > 0;
  const chosen = byId("sample-epoch").value;
  const epoch = chosen === "latest" ? Math.max(...status.samples.map((entry) => entry.epoch)) : Number(chosen);
  const said = status.samples.find((entry) => entry.epoch === epoch)?.samples ?? [];
  for (const row of byId("samples").children)
    put(row.querySelector(".said"), said.find(({ name }) => name === row.dataset.name)?.text ?? "–");
}

// ---- Controls ----

byId("sample-epoch").onchange = () => status && showSamples();
byId("stop").onclick = () => byId("stop-dialog").showModal();
byId("stop-no").onclick = () => byId("stop-dialog").close();
byId("stop-yes").onclick = () => {
  byId("stop-dialog").close();
  stopSent = channel.send({ kind: "stop" });
  showStop();
};
document.addEventListener("visibilitychange", poll);
new ResizeObserver(() => showCurves(true)).observe(byId("losses"));
byId("own-tab").href = location.href;
byId("own-tab").hidden = !framed;

const gone = "The program that trains is gone. This is its last state; the page connects again by itself";
const channel = new Channel({ onMessage, onState, stoppedText: gone, goneText: gone });
channel.connect();
setInterval(poll, POLL_TIME);
