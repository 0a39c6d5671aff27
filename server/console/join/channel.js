// The signalling channel (docs/channel.md): commands with their results, and whatever the server says by itself.

const AGAIN_MS = [500, 1000, 2000, 4000];
const RESULT_MS = 15000;

/** What the server answers to a command that it does not carry out; `code` is the document's. */
export class Refused extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

/** Events: "frame" (detail: a frame that no command waits for), "open", "lost", "closed" (detail: why, for good). */
export class Channel extends EventTarget {
  #socket = null;
  #waiting = new Map();
  #count = 0;
  #tries = 0;
  #hello;
  #over = false;

  /** `hello`: fields of the first frame, the token among them. */
  constructor(hello) {
    super();
    this.#hello = hello;
  }

  open() {
    const address = new URL("/ws", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = (this.#socket = new WebSocket(address, ["ringway.v1"]));
    socket.onopen = async () => {
      try {
        await this.send("hello", { version: 1, ...this.#hello });
        this.#tries = 0;
        this.#tell("open");
      } catch (error) {
        this.#end(error);
      }
    };
    socket.onmessage = ({ data }) => this.#read(JSON.parse(data));
    socket.onclose = ({ code }) => this.#closed(socket, code);
  }

  /** A command; resolves to its result, or rejects with Refused. */
  send(type, fields = {}) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Refused({ code: "LOST", message: "" }));
    const id = String(++this.#count);
    this.#socket.send(JSON.stringify({ type, id, ...fields }));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(id, { type: "error", code: "SILENT", message: "" }), RESULT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
    });
  }

  close() {
    this.#over = true;
    this.#socket?.close();
  }

  #read(frame) {
    if (frame.type === "ping") this.#socket.send('{"type":"pong"}');
    else if (frame.type === "result" || (frame.type === "error" && frame.id)) this.#settle(frame.id, frame);
    else this.#tell("frame", frame);
  }

  #settle(id, frame) {
    const command = this.#waiting.get(id);
    if (!command) return;
    this.#waiting.delete(id);
    clearTimeout(command.timer);
    if (frame.type === "result") command.resolve(frame.result);
    else command.reject(new Refused(frame));
  }

  #closed(socket, code) {
    if (socket !== this.#socket) return;
    for (const id of [...this.#waiting.keys()]) this.#settle(id, { type: "error", code: "LOST", message: "" });
    if (this.#over) return;
    if (code >= 4400 && code < 4408) return this.#end(new Refused({ code: "UNAUTHORIZED", message: "" }));
    this.#tell("lost");
    setTimeout(() => this.#over || this.open(), AGAIN_MS[Math.min(this.#tries++, AGAIN_MS.length - 1)]);
  }

  #end(error) {
    if (this.#over || error.code === "LOST" || error.code === "SILENT") return;
    this.close();
    this.#tell("closed", error);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
