// The captions page: sends the newest picture, shows what the model says of it and where it looked.

import { byId, Channel, framed, make, makeSvg, PALETTE, percent, put } from "./shared.js";

const LONGER_SIDE = 320; // enough for the encoder, and small enough to keep the network out of the latency
const WORD_TIME = 120;
const SPOKEN_TIME = 4_000;
const RATE_TIME = 5_000;
const NUMBERS_TIME = 250; // numbers that change faster than this cannot be read
const HISTORY = 20;
// The least time between two pictures of a source. The camera is as fast as the answers are.
const PACE = { camera: 0, file: 2_000, scenes: 125, folder: 2_000 };
const SOURCE_TITLES = { camera: "Camera", file: "Pictures of this computer", scenes: "Film of scenes", folder: "Folder of the server" };
const STAGES = ["wait", "decode", "encode", "speak", "explain", "names"];
const HINT = "Point at a word, or move to it with the Tab key, to see where the model looks. Press it to pause.";
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

let hello = null;
let source = null;
let paused = false;
let pending = null; // the one picture in flight: { at, source, picture }
let notBefore = 0;
let pumpTimer = 0;
let serverPicture = null; // came just before the caption that belongs to it
let caption = null; // the newest caption message
let lookedAt = null; // index of the word under the pointer or the focus
const wanted = {}; // what the user set, to be said again to a server that was started again

// ---- Pictures to the server ----

// Sends the next picture when nothing stands against it. Whatever may have changed that calls pump().
function pump() {
  clearTimeout(pumpTimer);
  if (paused || document.hidden || !channel.ready) cameraFrames = 0; // frames of a break were not skipped
  else if (!pending) sendNext();
}

function sendNext() {
  const wait = notBefore - performance.now();
  if (wait > 0) pumpTimer = setTimeout(pump, wait);
  else if (source === "camera") sendCamera();
  else if (source === "file") sendFile();
  else if (source) {
    start();
    channel.send({ kind: "next", source });
  }
}

function start() {
  pending = { at: performance.now(), source, picture: null };
  notBefore = pending.at + PACE[source];
  channel.expectAnswer();
  return pending;
}

const drawing = document.createElement("canvas");

async function send(picture, width, height) {
  const mine = pending;
  const scale = Math.min(1, LONGER_SIDE / Math.max(width, height));
  drawing.width = Math.max(1, Math.round(width * scale));
  drawing.height = Math.max(1, Math.round(height * scale));
  const context = drawing.getContext("2d");
  context.fillStyle = "white"; // JPEG has no transparency: it would become black
  context.fillRect(0, 0, drawing.width, drawing.height);
  context.drawImage(picture, 0, 0, drawing.width, drawing.height);
  const jpeg = await new Promise((done) => drawing.toBlob(done, "image/jpeg", 0.8));
  // Meanwhile the connection may have been lost, and this picture with it.
  if (pending === mine && jpeg) channel.send(jpeg);
}

const video = byId("video");
let cameraStream = null;
let cameraTime = -1;
let cameraFrames = 0;
let skipped = 0;

function sendCamera() {
  if (!cameraStream || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return; // "playing" pumps
  if (video.currentTime === cameraTime) { // the answer was faster than the camera
    pumpTimer = setTimeout(pump, 10);
    return;
  }
  cameraTime = video.currentTime;
  const frames = video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
  if (cameraFrames) skipped += Math.max(0, frames - cameraFrames - 1);
  cameraFrames = frames;
  start();
  send(video, video.videoWidth, video.videoHeight);
}

let files = [];
let fileIndex = -1;
let sendSameAgain = false;

async function sendFile() {
  if (!files.length) return;
  if (!sendSameAgain) fileIndex = (fileIndex + 1) % files.length;
  sendSameAgain = false;
  const file = files[fileIndex];
  const mine = start();
  try {
    const picture = await createImageBitmap(file);
    if (pending !== mine) return;
    mine.picture = picture;
    mine.name = file.name;
    await send(picture, picture.width, picture.height);
  } catch {
    // Other files may have been chosen meanwhile.
    if (pending !== mine) return;
    settle();
    files = files.filter((other) => other !== file);
    fileIndex -= 1;
    showProblem("frame", `This browser cannot read ${file.name}: choose a JPEG, PNG or WebP picture.`);
    pump();
  }
}

function takeFiles(list) {
  const pictures = [...list].filter((file) => file.type.startsWith("image/"));
  if (!list.length) return;
  setSource("file");
  if (!pictures.length) return showProblem("frame", "There are no pictures among these files.");
  const path = (file) => file.webkitRelativePath || file.name;
  files = pictures.sort((a, b) => path(a).localeCompare(path(b), undefined, { numeric: true }));
  fileIndex = -1;
  notBefore = 0;
  clearProblem("frame");
  pump();
}

function settle() {
  pending = null;
  channel.answered();
}

// ---- Sources ----

function setSource(name) {
  closeCamera();
  source = name;
  byId("source").value = name;
  clearProblem("camera");
  clearProblem("frame");
  forgetCaption();
  byId("chooser").hidden = name !== "file";
  showNote();
  video.hidden = name !== "camera";
  byId("still").hidden = true;
  byId("stage").hidden = name === "file"; // until one is chosen
  byId("stage").setAttribute("aria-label", "No picture yet");
  setMirror(false);
  notBefore = 0;
  if (name === "camera") openCamera();
  else pump();
}

function setMirror(on) {
  byId("mirror").checked = on;
  for (const id of ["video", "still"]) byId(id).classList.toggle("mirrored", on);
  drawBoxes();
}

async function openCamera() {
  closeCamera();
  clearProblem("camera");
  if (!navigator.mediaDevices) return showCameraProblem({ name: "Insecure" });
  put(byId("looked"), "If the browser asks whether this page may use the camera, choose “Allow”.");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: { ideal: "environment" } },
    });
  } catch (error) {
    if (source === "camera") showCameraProblem(error);
    return;
  } finally {
    put(byId("looked"), "");
  }
  // The user may have chosen another source while the browser asked.
  if (source !== "camera" || cameraStream) return stream.getTracks().forEach((track) => track.stop());
  cameraStream = stream;
  cameraFrames = 0;
  const [track] = stream.getVideoTracks();
  track.onended = () => { if (source === "camera") showCameraProblem({ name: "Ended" }); };
  // Webcams of computers seldom say where they look: they look at the user.
  setMirror((track.getSettings().facingMode ?? "user") === "user");
  byId("stage").hidden = false;
  video.srcObject = stream;
  if (!paused) video.play().catch(() => {}); // interrupted by another source: nothing is lost
}

function closeCamera() {
  cameraStream?.getTracks().forEach((track) => track.stop());
  cameraStream = video.srcObject = null;
}

const CAMERA_PROBLEMS = {
  NotFoundError: ["No camera was found.", "Connect one, or check that it is switched on, and try again."],
  NotAllowedError: ["The browser does not let this page use the camera.",
    "To allow it: open the site information beside the address (the icon left of it), set “Camera” to “Allow”, and try again. The operating system may have a camera setting for the browser as well."],
  Framed: ["The notebook around this page does not let it use the camera.",
    "Open the page in a tab of its own: there the browser asks you."],
  NotReadableError: ["Another program uses the camera.", "Close it (a video call, another tab) and try again."],
  Insecure: ["This page must be opened by https or on localhost to use the camera.",
    "Browsers keep the camera from pages that came over an open network."],
  Ended: ["The camera has stopped.", "It may have been unplugged. Connect it and try again."],
};

function showCameraProblem(error) {
  closeCamera();
  byId("stage").hidden = true;
  const policy = document.permissionsPolicy ?? document.featurePolicy;
  const forbidden = framed && error.name === "NotAllowedError" && !(policy?.allowsFeature("camera") ?? false);
  const [what, todo] = CAMERA_PROBLEMS[forbidden ? "Framed" : error.name] ??
    ["The camera could not be opened.", `The browser says: ${error.message || error.name}`];
  const actions = [button("Try again", openCamera)];
  if (hello.sources.some(({ name }) => name === "scenes"))
    actions.push(button("Show the film of scenes instead", () => setSource("scenes")));
  if (framed) actions.push(tabLink());
  showProblem("camera", what, make("p", {}, todo), make("p", { class: "toolbar" }, ...actions));
}

const tabLink = () =>
  make("a", { href: location.href, target: "_blank", rel: "noopener" }, "Open in a tab of its own");

function button(text, action) {
  const node = make("button", { type: "button" }, text);
  node.onclick = action;
  return node;
}

function showProblem(kind, text, ...more) {
  // What stands there already must not be read again and again.
  const shown = byId("problem");
  if (!more.length && shown.dataset.kind === kind && shown.textContent === text) return;
  byId("problem").dataset.kind = kind;
  byId("problem").replaceChildren(make("p", {}, make("strong", {}, text)), ...more);
}

function clearProblem(kind) {
  if (byId("problem").dataset.kind !== kind) return;
  byId("problem").dataset.kind = "";
  byId("problem").replaceChildren();
}

// ---- Messages of the server ----

async function onCaption(message) {
  const answered = pending;
  const picture = serverPicture;
  serverPicture = null;
  settle();
  // An answer to a source that was left meanwhile, or that nobody waits for any more.
  if (answered?.source !== source) return pump();
  const roundTrip = performance.now() - answered.at;
  clearProblem("frame");
  try {
    const still = picture ? await createImageBitmap(picture) : answered.picture;
    if (answered.source !== source) return;
    if (still) showStill(still);
    showCaption(message, roundTrip, answered.name ?? message.name);
  } finally {
    pump();
  }
}

function onMessage(message) {
  if (message.kind === "hello") onHello(message);
  else if (message.kind === "caption") onCaption(message);
  else if (message.kind === "settings") showSettings(message.settings);
  else if (message.kind === "problem") {
    showProblem("frame", message.message);
    // One that answers no frame leaves the one that is on its way alone.
    if (message.frame === null) return;
    settle();
    serverPicture = null;
    notBefore = Math.max(notBefore, performance.now() + 1_000); // do not ask a troubled server in a hurry
    pump();
  }
}

function onHello(message) {
  hello = message;
  byId("source").replaceChildren(...hello.sources.map(({ name, about }) =>
    make("option", { value: name }, about || SOURCE_TITLES[name] || name)));
  byId("model").replaceChildren(...hello.models.map(({ name }) => make("option", { value: name }, name)));
  byId("model-row").hidden = hello.models.length < 2;
  byId("no-classifier").hidden = hello.classifier !== null;
  put(byId("classifier-title"), `What an image classifier sees${hello.classifier ? `: ${hello.classifier.name}` : ""}`);
  showSettings(hello.settings);
  // After a reconnection the page goes on with what the user had chosen, where the server still has it.
  if (!hello.models.some(({ name }) => name === wanted.model)) delete wanted.model;
  if (Object.keys(wanted).length) channel.send({ kind: "settings", ...wanted });
  if (hello.sources.some(({ name }) => name === source)) {
    byId("source").value = source;
    pump();
    if (source === "camera" && !cameraStream) openCamera();
  } else setSource(hello.source);
}

function onState(state, reason) {
  // Where nobody looks, the camera's light goes out.
  if (state === "stopped" || state === "refused") closeCamera();
  if (state === "connected") clearProblem("refused");
  else {
    pending = null;
    pump();
  }
  if (state === "refused" && byId("problem").dataset.kind !== "refused")
    showProblem("refused", reason, make("p", {}, button("Connect again", () => channel.connect())));
}

// ---- What the page shows ----

function showStill(picture) {
  const still = byId("still");
  still.width = picture.width;
  still.height = picture.height;
  still.getContext("2d").drawImage(picture, 0, 0);
  still.hidden = byId("stage").hidden = false;
  picture.close();
}

const times = []; // of the captions of the last seconds
let busySince = 0;
let changedAt = -Infinity;
let lit = 0; // how many words have been spoken
let litTimer = 0;

function showCaption(message, roundTrip, name) {
  const now = performance.now();
  if (!times.length) busySince = now;
  times.push(now);
  document.documentElement.dataset.frames = Number(document.documentElement.dataset.frames) + 1;
  const before = caption?.words.map(({ word }) => word) ?? [];
  const changed = message.caption !== caption?.caption;
  caption = message;
  if (lookedAt >= caption.words.length) lookedAt = null;
  byId("caption").dataset.caption = caption.caption;
  const about = { camera: "Picture of the camera", scenes: "Drawn scene" }[source] ?? "Picture";
  byId("stage").setAttribute("aria-label", name ? `${about} ${name}` : about);
  if (changed) {
    let same = 0;
    while (same < before.length && before[same] === caption.words[same]?.word) same += 1;
    speak(same, now - changedAt);
    changedAt = now;
    remember(caption.caption);
  }
  showWords();
  drawBoxes();
  showTruth();
  showNumbersSoon({ ...message, roundTrip });
}

// Lights the words one after the other, from the first that differs. Where captions change faster than
// they can be spoken, they are shown at once: a reader would never see their ends.
function speak(from, sinceLast) {
  clearInterval(litTimer);
  const count = caption.words.length;
  const hurry = stillness.matches || sinceLast < WORD_TIME * count;
  lit = hurry ? count : Math.min(lit, from);
  if (hurry) return;
  litTimer = setInterval(() => {
    lit += 1;
    showWords();
    if (lit >= caption.words.length) clearInterval(litTimer);
  }, WORD_TIME);
}

// The buttons stay and only change, so that the keyboard focus survives the next caption.
function showWords() {
  const box = byId("caption");
  while (box.children.length > caption.words.length) box.lastChild.remove();
  while (box.children.length < caption.words.length) box.append(wordButton(box.children.length));
  caption.words.forEach(({ word, probability, region }, index) => {
    const [text, mark, bar] = box.children[index].children;
    const [colour, ink] = region === null ? ["transparent", "inherit"] : PALETTE[region % PALETTE.length];
    box.children[index].classList.toggle("lit", index < lit);
    put(text, word);
    put(mark, region === null ? "" : String(region));
    Object.assign(mark.style, { background: colour, color: ink });
    bar.style.borderTopColor = colour;
    bar.firstChild.style.width = `${100 * probability}%`;
    box.children[index].setAttribute("aria-label",
      `${word}, probability ${percent(probability)}${region === null ? "" : `, looks at ${regionName(region)}`}`);
  });
  showLooked();
}

function wordButton(index) {
  const node = make("button", { type: "button", class: "word" },
    make("span", { class: "text" }), make("span", { class: "mark" }), make("span", { class: "bar" }, make("span")));
  const look = (at) => () => { lookedAt = at; drawBoxes(); showLooked(); };
  node.onpointerenter = node.onfocus = look(index);
  node.onpointerleave = node.onblur = look(null);
  node.onclick = () => setPaused(true);
  return node;
}

const regionName = (region) => (region === 0 ? "region 0 (the whole picture)" : `region ${region}`);

function showLooked() {
  const word = caption?.words[lookedAt];
  if (!word) return put(byId("looked"), caption ? HINT : "");
  const best = word.attention.map((share, region) => [share, region]).sort((a, b) => b[0] - a[0]).slice(0, 3);
  const places = best.map(([share, region]) => `${regionName(region)} ${percent(share)}`).join(", ");
  put(byId("looked"), `“${word.word}” has probability ${percent(word.probability)}. ` +
    (places ? `Attention: ${places}.` : "This model does not say where it looks."));
}

// Mirrors coordinates instead of the drawing, so that the numbers stay readable.
function drawBoxes() {
  const overlay = byId("overlay");
  const shown = caption && byId("boxes").checked && !byId("stage").hidden;
  if (!shown) return overlay.replaceChildren();
  const { width, height, words, boxes } = caption;
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const attention = words[lookedAt]?.attention ?? [];
  const strongest = Math.max(...attention, 1e-9);
  const used = new Set(words.map(({ region }) => region));
  const size = Math.max(width, height) / 24;
  const tags = []; // above all boxes, so that no box hides a number
  const frames = boxes.map(([left, top, right, bottom], region) => {
    const looking = attention.length > 0;
    const chosen = looking ? region === words[lookedAt].region : used.has(region);
    const opacity = looking ? 0.08 + 0.92 * (attention[region] / strongest) : chosen ? 1 : 0.3;
    const x = byId("mirror").checked ? width - right : left;
    const [colour, ink] = PALETTE[region % PALETTE.length];
    const frame = { x, y: top, width: right - left, height: bottom - top };
    if (chosen) {
      const tag = size * (region > 9 ? 1.5 : 1);
      tags.push(makeSvg("rect", { x, y: top, width: tag, height: size * 1.15, fill: colour }),
        makeSvg("text", { x: x + tag / 2, y: top + size * 0.9, "font-size": size * 0.9, fill: ink, "text-anchor": "middle" }, String(region)));
    }
    return makeSvg("g", { opacity, class: chosen ? "chosen" : "" },
      makeSvg("rect", { ...frame, class: "halo" }),
      makeSvg("rect", { ...frame, class: "box", stroke: colour, fill: looking && region ? colour : "none" }));
  });
  overlay.replaceChildren(...frames, ...tags);
}

function forgetCaption() {
  caption = lookedAt = null;
  clearInterval(litTimer);
  lit = 0;
  byId("caption").replaceChildren();
  byId("caption").dataset.caption = "";
  showTruth();
  showLooked();
}

function showTruth() {
  const truth = caption?.truth?.slice(0, 2) ?? [];
  byId("truth").hidden = !truth.length;
  put(byId("truth"), truth.length ? `People said: ${truth.map((text) => `“${text}”`).join(", ")}` : "");
}

let numbersTimer = 0;
let numbersOf = null;

function showNumbersSoon(message) {
  numbersOf = message;
  numbersTimer ||= setTimeout(() => { numbersTimer = 0; showNumbers(numbersOf); }, NUMBERS_TIME);
}

function showNumbers({ model, log_probability, milliseconds, roundTrip, superseded, names, others }) {
  put(byId("model-name"), model);
  put(byId("probability"), log_probability === null ? "0" :
    `exp(${log_probability.toFixed(2)}) = ${percent(Math.exp(log_probability))}`);
  put(byId("round-trip"), `${roundTrip.toFixed(0)} ms`);
  const stages = STAGES.map((name) => [name, milliseconds[name] ?? 0]);
  const served = stages.reduce((sum, [, time]) => sum + time, 0);
  stages.push(["network + browser", Math.max(0, roundTrip - served)]);
  const colour = (index) => PALETTE[index]?.[0] ?? "gray";
  byId("stages").replaceChildren(...stages.map(([, time], index) => {
    const part = make("span");
    Object.assign(part.style, { flexGrow: time, background: colour(index) });
    return part;
  }));
  byId("stage-legend").replaceChildren(...stages.map(([name, time], index) => {
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = colour(index);
    return make("li", {}, swatch, `${name} ${time.toFixed(1)} ms`);
  }));
  const lost = skipped + superseded;
  put(byId("skipped"), `${lost} frame${lost === 1 ? "" : "s"} skipped: only the newest is looked at.`);
  byId("names").replaceChildren(...names.map(({ name, probability }) => {
    const bar = make("span", { class: "bar" }, make("span"));
    bar.firstChild.style.width = `${100 * probability}%`;
    return make("li", {}, make("span", {}, name), make("span", { class: "number" }, percent(probability)), bar);
  }));
  byId("others-panel").hidden = !others.length;
  byId("others").replaceChildren(...others.map((other) =>
    make("li", {}, other.caption, " ", make("span", { class: "number" }, other.log_probability?.toFixed(2) ?? "–"))));
}

function remember(text) {
  const list = byId("history");
  [...list.children].find((item) => item.dataset.caption === text)?.remove();
  const time = new Date().toLocaleTimeString([], { hour12: false });
  list.prepend(make("li", { "data-caption": text }, make("time", {}, time), " ", text));
  while (list.children.length > HISTORY) list.lastChild.remove();
}

// Numbers that change with the clock, and the copy of the caption that is read aloud.
let spokenAt = -Infinity;
setInterval(() => {
  const now = performance.now();
  while (times.length && times[0] < now - RATE_TIME) times.shift();
  const span = Math.min(RATE_TIME, Math.max(1_000, now - busySince)); // at first there are no 5 seconds yet
  put(byId("rate"), (times.length / (span / 1_000)).toFixed(1));
  if (caption && now - spokenAt >= SPOKEN_TIME && byId("spoken").textContent !== caption.caption) {
    put(byId("spoken"), caption.caption);
    spokenAt = now;
  }
}, 500);

// ---- Controls ----

let settingsTimer = 0;

function showSettings({ model, temperature, beam }) {
  if (settingsTimer) return; // the user is moving a slider: an older answer must not move it back
  byId("model").value = model;
  byId("temperature").value = temperature;
  byId("beam").value = beam;
  showSliders();
  const speaker = hello.models.find(({ name }) => name === model);
  put(byId("about"), speaker?.about ?? "");
  put(byId("note"), speaker?.note ?? "");
  showNote();
}

// What a captioner has learnt from matters where the picture is from elsewhere.
function showNote() {
  byId("note").hidden = !byId("note").textContent || source === "scenes";
}

function showSliders() {
  put(byId("temperature-value"), Number(byId("temperature").value).toFixed(1));
  put(byId("beam-value"), byId("beam").value);
}

function change(name, value) {
  wanted[name] = value;
  // A temperature and a beam exclude each other: what is said again must not undo what was turned last.
  if (name === "temperature" && value > 0) delete wanted.beam;
  if (name === "beam" && value > 1) delete wanted.temperature;
  showSliders();
  clearTimeout(settingsTimer);
  settingsTimer = setTimeout(() => {
    settingsTimer = 0;
    channel.send({ kind: "settings", ...wanted });
    if (source !== "file") return;
    sendSameAgain = true; // the same picture, captioned another way, is what one wants to see
    notBefore = 0;
    pump();
  }, 150);
}

function setPaused(on) {
  paused = on;
  put(byId("pause"), paused ? "Resume" : "Pause");
  if (cameraStream) paused ? video.pause() : video.play().catch(() => {});
  pump();
}

byId("source").onchange = (event) => setSource(event.target.value);
byId("temperature").oninput = (event) => change("temperature", Number(event.target.value));
byId("beam").oninput = (event) => change("beam", Number(event.target.value));
byId("model").onchange = (event) => change("model", event.target.value);
byId("mirror").onchange = (event) => setMirror(event.target.checked);
byId("boxes").onchange = drawBoxes;
byId("pause").onclick = () => setPaused(!paused);
byId("files").onchange = byId("directory").onchange = (event) => takeFiles(event.target.files);
video.onplaying = pump;
document.addEventListener("visibilitychange", pump);
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.closest("input, select, button, a, summary")) return;
  event.preventDefault(); // it would scroll
  if (!event.repeat) setPaused(!paused);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (hello) takeFiles(event.dataTransfer.files);
});

byId("own-tab").href = location.href;
byId("own-tab").hidden = !framed;
put(byId("privacy"), "Nothing is stored: frames go from this browser to the program that serves this page, are captioned and forgotten.");

const channel = new Channel({
  onMessage, onState,
  onPicture: (data) => { serverPicture = data; },
  stoppedText: "The server was stopped. Run the cell again; this page connects again by itself",
  goneText: "Nobody answers at this address. If the program was started again, open its new address. Reconnecting",
});
channel.connect();
