/**
 * The bytes of MoQ Transfork, draft 04: numbers, paths and frames, and how they come off a stream.
 *
 * A path is text here: UTF-8 parts joined by `/`; a `/` or `%` inside of a part is percent-encoded. Numbers end at
 * 2^53 - 1, where JavaScript's do.
 */

/** Bytes of a message, of a frame, and of a group of ours; groups of a subscription that nobody reads yet. */
export const LIMITS = { message: 1 << 16, frame: 16 << 20, group: 16 << 20, unread: 16 };

/** What a stream begins with; groups are alone on those in one direction. */
export const STREAM = { session: 0, announce: 1, subscribe: 2, fetch: 3, info: 4, group: 0 };
export const STATUSES = ["ended", "active", "live"];
export const ORDERS = ["default", "ascending", "descending"];
/** Why streams and sessions end, and the numbers for it; from 64 on they are the application's own. */
export const CODES = {
  cancelled: 0, "transport failed": 4, malformed: 5, "no common version": 9, "unexpected stream": 10,
  "out of bounds": 11, duplicate: 12, "not found": 13, "cut short": 14, "protocol violation": 15,
  "internal error": 65, unauthorized: 66, timeout: 67, "going away": 68, "too many or too large": 69, expired: 70,
};

/** @param {number | undefined} code @returns {string} e.g. `not found (code 13)` */
export function describe(code) {
  const name = Object.keys(CODES).find((name) => CODES[name] === code);
  return name ? `${name} (code ${code})` : `code ${code}`;
}

/** Something has ended early; `scope` says what: "request", "group" or "session". `code` is the number on the wire. */
export class TransforkError extends Error {
  /** @param {string} message @param {{ code?: number, scope?: string, cause?: unknown }} [details] */
  constructor(message, { code, scope = "request", cause } = {}) {
    super(message, { cause });
    Object.assign(this, { name: "TransforkError", code, scope });
  }
}

/** @param {keyof CODES} reason @param {string} what */
export const failure = (reason, what) => new TransforkError(`${what}: ${reason}`, { code: CODES[reason] });

/** What resets or stops a stream with a code. Browsers do not agree on the arguments yet. */
export function streamError(code) {
  try {
    return new WebTransportError("", { streamErrorCode: code });
  } catch {
    return new WebTransportError({ streamErrorCode: code });
  }
}

/** For promises whose failure is heard of in another way. */
export const quietly = (promise) => void promise.catch(() => {});

/** @param {number} value @returns {Uint8Array} its shortest form */
function varint(value) {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is no whole number from 0 on`);
  const size = value < 2 ** 6 ? 1 : value < 2 ** 14 ? 2 : value < 2 ** 30 ? 4 : 8;
  const bytes = new Uint8Array(size);
  for (let at = size - 1, rest = value; at >= 0; at--, rest = Math.floor(rest / 256)) bytes[at] = rest % 256;
  bytes[0] |= Math.log2(size) << 6;
  return bytes;
}

/** Numbers as varints, bytes behind their length, arrays behind their count.
 *  @param {...(number | Uint8Array | Uint8Array[])} fields @returns {Uint8Array} */
export function encode(...fields) {
  const pieces = fields.flatMap((field) =>
    typeof field === "number" ? [varint(field)]
    : Array.isArray(field) ? [encode(field.length, ...field)]
    : [varint(field.length), field]);
  const bytes = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** @param {string} path @returns {Uint8Array[]} its parts, none for "" */
export function parsePath(path) {
  let parts;
  try {
    parts = path === "" ? [] : path.split("/").map(decodeURIComponent);
  } catch {
    throw new RangeError(`"${path}": write % as %25`);
  }
  if (parts.includes("")) throw new RangeError(`"${path}" has an empty part`);
  parts = parts.map((part) => new TextEncoder().encode(part));
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  if (parts.length > 32 || size > 1023) throw new RangeError(`a path has at most 32 parts and 1023 bytes`);
  return parts;
}

/** @param {Uint8Array[]} parts @returns {string} the one way to write it here; no way back for what is not UTF-8 */
export function formatPath(parts) {
  const texts = parts.map((part) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(part));
  return texts.map((text) => text.replace(/[/%\p{Cc}]/gu, encodeURIComponent)).join("/");
}

/** Takes messages off a stream. It reads no more than it is asked for, so that a slow reader slows the sender. */
export class Reader {
  #source;
  #chunks = [];
  #size = 0;

  /** @param {ReadableStream<Uint8Array>} readable */
  constructor(readable) {
    this.#source = readable.getReader();
  }

  async #more() {
    const { value, done } = await this.#source.read();
    if (value?.length) this.#chunks.push(value);
    this.#size += value?.length ?? 0;
    return !done;
  }

  /** Whether the stream ends here, and not inside of a message. */
  async ended() {
    while (this.#size === 0) if (!await this.#more()) return true;
    return false;
  }

  async bytes(size, limit = LIMITS.message) {
    if (size > limit) throw failure("too many or too large", `${size} bytes`);
    while (this.#size < size) if (!await this.#more()) throw failure("cut short", "stream");
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size;) {
      const chunk = this.#chunks.shift();
      bytes.set(chunk.subarray(0, size - at), at);
      if (chunk.length > size - at) this.#chunks.unshift(chunk.subarray(size - at));
      at += chunk.length;
    }
    this.#size -= size;
    return bytes;
  }

  async varint(most = Number.MAX_SAFE_INTEGER) {
    const [head] = await this.bytes(1);
    const rest = await this.bytes((1 << (head >> 6)) - 1);
    const value = rest.reduce((value, byte) => value * 256 + byte, head & 0x3f);
    if (value > most) throw failure("out of bounds", "a number");
    return value;
  }

  async oneOf(values) {
    const value = await this.varint();
    if (value >= values.length) throw failure("protocol violation", `value ${value}`);
    return values[value];
  }

  async block(limit) {
    return this.bytes(await this.varint(), limit);
  }

  async path() {
    const count = await this.varint();
    if (count > 32) throw failure("malformed", `a path of ${count} parts`);
    const parts = [];
    for (let left = 1023; parts.length < count; left -= parts.at(-1).length) parts.push(await this.block(left));
    return formatPath(parts);
  }

  async priority() {
    return Math.min(await this.varint(Infinity), 255);
  }

  /** What a publisher says of its track. */
  async info() {
    return { priority: await this.priority(), latest: await this.varint(), order: await this.oneOf(ORDERS) };
  }

  /** What a subscriber wants: no `first` is from the latest group on, no `last` without end. */
  async terms() {
    const [priority, order] = [await this.priority(), await this.oneOf(ORDERS)];
    const [first, last] = [await this.varint(), await this.varint()];
    const given = (number) => number === 0 ? undefined : number - 1;
    return { priority, order, first: given(first), last: given(last) };
  }

  cancel(code) {
    quietly(this.#source.cancel(streamError(code)));
  }
}

/** Priority, order and range of a subscription, as {@link encode} takes them; ends of a range are sent plus one. */
export const terms = ({ priority = 128, order = "default", first = -1, last = -1 }) =>
  [priority, ORDERS.indexOf(order), first + 1, last + 1];

/** A request: a stream in both directions. */
export class Request {
  constructor({ readable, writable }) {
    this.reader = new Reader(readable);
    this.writer = writable.getWriter();
    quietly(this.writer.closed);
  }

  send(...fields) {
    quietly(this.writer.write(encode(...fields)));
  }

  finish() {
    quietly(this.writer.close());
  }

  cancel(code = CODES.cancelled) {
    quietly(this.writer.abort(streamError(code)));
    this.reader.cancel(code);
  }
}
