// What both pages need: the channel to the server and a few helpers for the document.

export const byId = (id) => document.getElementById(id);

// The colours of Okabe and Ito, told apart with every common kind of colour blindness, each with the
// ink that is readable on it.
export const PALETTE = [
  ["rgb(0,114,178)", "white"], ["rgb(213,94,0)", "black"], ["rgb(0,158,115)", "black"],
  ["rgb(204,121,167)", "black"], ["rgb(230,159,0)", "black"], ["rgb(86,180,233)", "black"],
];

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const make = (tag, attributes = {}, ...children) =>
  build(document.createElement(tag), attributes, children);

export const makeSvg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Writes only what differs: a screen reader would read an unchanged sentence again.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The probability of a whole caption is often so small that a percentage of it says nothing.
export const percent = (share) => (share > 0 && share < 1e-4
  ? `1 in ${Number((1 / share).toPrecision(2)).toLocaleString("en")}`
  : `${(100 * share).toPrecision(share >= 0.1 ? 3 : 2)} %`);

// A notebook shows the page in a frame, often a small one that may not use the camera.
export const framed = window.top !== window.self;

// The server gives frames up after as long.
const ANSWER_TIME = 30_000;
const ALIVE_TIME = 15_000;
const STOPPED_RETRY = 3_000;

// The WebSocket to the server. It connects again by itself, and tells `onState` how it stands:
// "connecting", "connected", "reconnecting", "stopped" (retries too) or "refused" (does not).
export class Channel {
  constructor({ onMessage, onPicture = () => {}, onState, stoppedText, goneText }) {
    Object.assign(this, { onMessage, onPicture, onState, stoppedText, goneText });
    this.failures = 0;
    this.stopped = false;
    this.url = new URL("channel", location.href);
    this.url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    setInterval(() => this.#look(), 500);
    this.retryAt = this.answerBy = this.socket = null;
  }

  connect() {
    this.#forgetSocket();
    this.retryAt = null;
    // While it tries again and again the status stays the same: it is read aloud when it changes.
    if (this.failures) this.#tell(this.state, this.text);
    else this.#tell("connecting", "Connecting …");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.expectAnswer(); // the hello
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return this.onPicture(data);
      const message = JSON.parse(data);
      if (message.kind === "hello") {
        this.failures = 0;
        this.stopped = false;
        this.ready = true;
        this.answered();
        this.#tell("connected", "Connected");
      } else if (message.kind === "goodbye") {
        this.stopped = true;
      }
      this.onMessage(message);
    };
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
  }

  // Text or picture; false when there is nobody to send it to.
  send(data) {
    if (!this.ready || this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(data instanceof Blob ? data : JSON.stringify(data));
    this.sentAt = performance.now();
    return true;
  }

  // From now on the server owes an answer: a connection that is silent too long is given up, because
  // a lost network would otherwise be noticed only after minutes.
  expectAnswer() { this.answerBy = performance.now() + ANSWER_TIME; }
  answered() { this.answerBy = null; }

  #look() {
    const now = performance.now();
    if (this.retryAt !== null) {
      if (now >= this.retryAt) this.connect();
      else this.#tell(this.state, this.text);
    } else if (this.answerBy !== null && now > this.answerBy) {
      this.#closed(1006, "");
    } else if (this.ready && now - this.sentAt > ALIVE_TIME) {
      this.send({ kind: "alive" });
    }
  }

  #closed(code, reason) {
    this.#forgetSocket();
    if (code === 1008) {
      this.retryAt = null;
      return this.#tell("refused", "Refused", reason || "The server refused this page.");
    }
    this.stopped ||= code === 1001;
    const delay = this.stopped ? STOPPED_RETRY : Math.min(5_000, 500 * 2 ** this.failures);
    this.failures += 1;
    this.retryAt = performance.now() + delay;
    if (this.stopped) return this.#tell("stopped", this.stoppedText);
    this.#tell("reconnecting", this.failures > 3 ? this.goneText : "Reconnecting");
  }

  // A socket that hangs may take long to close: its late events must not touch the next one.
  #forgetSocket() {
    this.ready = false;
    this.answerBy = null;
    this.sentAt = performance.now();
    if (!this.socket) return;
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }

  #tell(state, text, reason = text) {
    Object.assign(this, { state, text });
    const seconds = this.retryAt === null ? null : Math.max(0, Math.ceil((this.retryAt - performance.now()) / 1000));
    document.documentElement.dataset.connected = state === "connected" ? "yes" : "no";
    put(byId("status"), text);
    // Beside the status and hidden from screen readers, which would read every second.
    put(byId("countdown"), seconds ? `in ${seconds} s` : "");
    this.onState(state, reason);
  }
}
