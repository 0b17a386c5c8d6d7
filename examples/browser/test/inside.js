/** What the cases use inside of the page. */

/** SHA-256 in hex. */
export async function hash(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Random bytes, more than the browser gives at a time. */
export function noise(size) {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(at + 65536, size)));
  return bytes;
}

/** All bytes in one piece. */
export const joined = async (pieces) => new Uint8Array(await new Blob(pieces).arrayBuffer());

/** Frames of a group as texts. */
export async function texts(group) {
  const texts = [];
  for await (const frame of group) texts.push(new TextDecoder().decode(frame));
  return texts;
}

/** Waits for a track to be announced, or to be gone. */
export async function until(session, type, path) {
  for await (const event of session.announced(path)) if (event.type === type && event.path === path) return;
}

/** The error that a promise ends with, as plain data. */
export async function refusal(promise) {
  try {
    await promise;
  } catch ({ name, message, code, scope }) {
    return { name, message, code, scope };
  }
  throw new Error("it did not fail");
}

/** Waits until something is so. */
export async function when(isSo) {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve));
}

/** A stream in both directions, as its two ends. */
function ends() {
  const [there, back] = [new TransformStream(), new TransformStream()];
  return [{ readable: back.readable, writable: there.writable }, { readable: there.readable, writable: back.writable }];
}

/** Reads a stream to its end, which is "complete" or a code. */
export const endOf = (stream) => stream.drain().then(() => "complete", ({ streamErrorCode }) => streamErrorCode);

/** Stands in for the browser's WebTransport: a server that asks a client for tracks. `wire` is the client's module. */
export class Server {
  #ask;
  /** Streams in one direction that the client has opened, and how each ends. */
  groups = [];
  ready = Promise.resolve();
  closed = new Promise(() => {});
  incomingUnidirectionalStreams = new ReadableStream();
  incomingBidirectionalStreams = new ReadableStream({ start: (controller) => { this.#ask = controller; } });
  constructor(wire) { this.wire = wire; }

  #stream(end) { return new this.wire.Stream(end, (error) => { throw error; }); }
  async #greet(stream) {
    await stream.bytes(1);
    const { versions: [version], extensions } = await stream.receive(this.wire.SESSION_CLIENT);
    stream.send(this.wire.SESSION_SERVER, { version, extensions });
  }
  async createBidirectionalStream() {
    const [near, far] = ends();
    this.#greet(this.#stream(far));
    return near;
  }
  async createUnidirectionalStream(options) {
    const { readable, writable } = new TransformStream();
    this.groups.push({ writable: Object.assign(writable, options), end: endOf(this.#stream({ readable })) });
    return writable;
  }
  /** Subscribes, and gives the stream for what else there is to say. */
  async subscribe(wish) {
    const [near, far] = ends();
    this.#ask.enqueue(near);
    const request = this.#stream(far);
    request.send(this.wire.SUBSCRIBE, wish);
    await request.receive(this.wire.INFO);
    return request;
  }
}
