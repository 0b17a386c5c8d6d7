/** A client of MoQ Transfork, draft 04, over WebTransport, for pages and workers: see {@link Session}. */

/** Most bytes of a field, of a frame and of a group of ours, items of a list, groups that nobody reads. */
export const LIMITS = { field: 1 << 16, frame: 16 << 20, group: 16 << 20, list: 64, unread: 16 };
/** Why streams and sessions end, as numbers on the wire; from 64 on they are the application's own. */
export const CODES = {
  cancelled: 0, "no common version": 9, "unexpected stream": 10, "out of bounds": 11, "not found": 13,
  "cut short": 14, "protocol violation": 15, "going away": 68, "too large": 69, expired: 70,
};
const nameOf = (code) => Object.keys(CODES).find((name) => CODES[name] === code) ?? "ended";
/** Something has ended early: a "request", a "group" or the "session", as `scope` says. */
export class TransforkError extends Error {
  constructor(what, code = 0, { scope = "request", why = `${nameOf(code)} (code ${code})` } = {}) {
    super(`${what}: ${why}`);
    Object.assign(this, { name: "TransforkError", code, scope });
  }
}
const fail = (what, reason) => { throw new TransforkError(what, CODES[reason]); };

// Messages and their fields are of kinds: `read` takes one off a stream, `write` gives the pieces to send.
async function varint(stream) {
  const [head] = await stream.bytes(1);
  const rest = await stream.bytes((1 << (head >> 6)) - 1);
  return rest.reduce((value, byte) => value * 256 + byte, head & 0x3f);
}
function varintBytes(value) {
  const size = value < 2 ** 6 ? 1 : value < 2 ** 14 ? 2 : value < 2 ** 30 ? 4 : 8;
  const bytes = Uint8Array.from({ length: size }, (_, at) => Math.floor(value / 256 ** (size - 1 - at)));
  bytes[0] |= Math.log2(size) << 6;
  return bytes;
}
const inBounds = (value) => Number.isSafeInteger(value) && value >= 0 ? value : fail(value, "out of bounds");
const atMost = (most) => (value) => value <= most ? value : fail(value, "too large");
const numeric = (decode, encode) => ({
  read: async (stream) => decode(await varint(stream)),
  write: (value) => [varintBytes(inBounds(encode(value)))],
});
const number = numeric(inBounds, (value) => value);
const priority = numeric((value) => Math.min(value, 255), (value = 128) => value);
/** An end of a range: zero for none, or one more than it is. */
const bound = numeric((value) => inBounds(value) > 0 ? value - 1 : undefined, (value = -1) => value + 1);
const oneOf = (...values) =>
  numeric((at) => values[at] ?? fail(at, "protocol violation"), (value = values[0]) => values.indexOf(value));
const block = (limit) => ({
  read: async (stream) => stream.bytes(await number.read(stream), limit),
  write: (bytes) => [...number.write(bytes.length), bytes],
});
const list = (kind) => ({
  async read(stream) {
    const [items, size] = [[], atMost(LIMITS.list)(await number.read(stream))];
    while (items.length < size) items.push(await kind.read(stream));
    return items;
  },
  write: (items) => [...number.write(items.length), ...items.flatMap(kind.write)],
});
/** Fields by name. What begins a stream has a type, which is read before all else. */
const message = (fields, type) => ({
  type,
  async read(stream) {
    const value = {};
    for (const [name, kind] of Object.entries(fields)) value[name] = await kind.read(stream);
    return value;
  },
  write: (value) => (type === undefined ? [] : number.write(type))
    .concat(Object.entries(fields).flatMap(([name, kind]) => kind.write(value[name]))),
});

/** Paths are text here: UTF-8 parts joined by `/`, where a `/` or `%` inside of a part is percent-encoded. */
const parsePath = (text) =>
  text.split("/").filter(Boolean).map((part) => new TextEncoder().encode(decodeURIComponent(part)));
const formatPath = (parts) =>
  parts.map((part) => new TextDecoder().decode(part).replace(/[/%]/g, encodeURIComponent)).join("/");
const join = (...paths) => formatPath(paths.flatMap(parsePath));
export const path = {
  read: async (stream) => formatPath(await list(block(1023)).read(stream)),
  write: (text) => list(block()).write(parsePath(text)),
};

const order = oneOf("default", "ascending", "descending");
const extensions = list(message({ id: number, payload: block(LIMITS.field) }));
/** The extension says that 04 means the draft to the letter, and not what older crates made of it. */
const HELLO = { versions: [0xff0bad04], extensions: [{ id: 0x0f04, payload: Uint8Array.of(1) }] };
export const SESSION_CLIENT = message({ versions: list(number), extensions }, 0);
export const SESSION_SERVER = message({ version: number, extensions });
export const ANNOUNCE_PLEASE = message({ prefix: path }, 1);
export const STATUS = oneOf("ended", "active", "live");
export const SUBSCRIBE = message({ id: number, track: path, priority, order, first: bound, last: bound }, 2);
export const SUBSCRIBE_UPDATE = message({ priority, order, first: bound, last: bound });
export const SUBSCRIBE_GAP = message({ first: number, additional: number, code: number });
export const INFO_PLEASE = message({ track: path }, 4);
export const INFO = message({ priority, latest: number, order });
export const GROUP = message({ subscribe: number, sequence: number }, 0);
export const FRAME = block(LIMITS.frame);

/** A stream in one direction or both. It is read as asked for, so that a slow reader slows the sender. */
export class Stream {
  #source;
  #sink;
  #unread = new Uint8Array();
  /** `rethrow` throws what a user sees for an error of reading. */
  constructor({ readable, writable }, rethrow) {
    this.#source = readable?.getReader();
    this.#sink = writable?.getWriter();
    Object.assign(this, { writable, rethrow });
    /** Resolves when the peer has all that was written, and rejects if it never will. */
    this.written = this.#sink?.closed;
    this.written?.catch(() => {});
  }
  async #empty() {
    while (this.#unread.length === 0) {
      const { value, done } = await this.#source.read();
      if (done) return true;
      this.#unread = value;
    }
    return false;
  }
  async bytes(size, limit = LIMITS.field) {
    const bytes = new Uint8Array(atMost(limit)(size));
    for (let at = 0; at < size;) {
      if (await this.#empty()) fail("stream", "cut short");
      const piece = this.#unread.subarray(0, size - at);
      bytes.set(piece, at);
      at += piece.length;
      this.#unread = this.#unread.subarray(piece.length);
    }
    return bytes;
  }
  receive(kind) { return kind.read(this).catch(this.rethrow); }
  async drain() { while (!await this.#empty()) this.#unread = new Uint8Array(); }
  /** All that comes; leaving the loop cancels the stream, and its end is answered by ours. */
  async *each(kind, onEnd = () => this.finish()) {
    let over = false;
    try {
      while (!(over = await this.#empty().catch(this.rethrow))) yield await this.receive(kind);
    } finally {
      if (over) onEnd();
      else this.cancel();
    }
  }
  send(kind, value) { for (const piece of kind.write(value)) this.#sink.write(piece).catch(() => {}); }
  finish() { return this.#sink?.close().catch(() => {}); }
  cancel = (code = CODES.cancelled) => {
    const init = { streamErrorCode: code };
    const error = new WebTransportError(init, init); // Some browsers take it first, others second.
    this.#sink?.abort(error).catch(() => {});
    this.#source?.cancel(error).catch(() => {});
  };
}

/** A group of ours. It keeps its frames for those who come later. */
class Group {
  #frames = [];
  #size = 0;
  #streams = new Set();
  constructor(sequence) { this.sequence = sequence; }
  /** @param {string | Uint8Array} data a frame; its bytes are not copied: leave them as they are */
  write(data) {
    const frame = typeof data === "string" ? new TextEncoder().encode(data) : data;
    this.#size += frame.length;
    if (this.over || this.#size > LIMITS.group) throw new Error(`group ${this.sequence} is over or full`);
    this.#frames.push(frame);
    for (const stream of this.#streams) stream.send(FRAME, frame);
    return this;
  }
  /** The group is complete. */
  end() { this.#close((stream) => stream.finish()); }
  /** Nobody is sent more of it. */
  abort(code) { this.#close((stream) => stream.cancel(code)); }
  #close(over) {
    this.#streams.forEach(over);
    this.over ??= over;
  }
  sendTo(stream) {
    this.#streams.add(stream);
    for (const frame of this.#frames) stream.send(FRAME, frame);
    this.over?.(stream); // It is how its streams are ended.
  }
}

/** A track of ours. It keeps its last groups; a subscriber that is slower than that has gaps.
 *  `readers` is how many there are, and `changed` resolves the next time that anything is different. */
class Track {
  constructor(fields) { this.change(fields); }
  change(fields) {
    Object.assign(this, fields).tell?.();
    this.changed = new Promise((resolve) => { this.tell = resolve; });
  }
  /** Begins a group, while `write` is one of a single frame. Those before go on until they are ended. */
  group() {
    if (this.over) throw new Error(`track ${this.path} is over`);
    const group = new Group(this.next++);
    if (this.groups.push(group) > this.keep) this.groups.shift().abort(CODES.expired);
    this.change({ latest: group.sequence });
    return group;
  }
  write(data) { this.group().write(data).end(); }
  /** The track is complete. Resolves once its readers have everything and it is no longer announced. */
  async end() {
    this.change({ over: true });
    while (this.readers > 0) await this.changed;
    this.unpublish();
  }
}

/** A session with a relay, or with any other server of Transfork. */
export class Session {
  #transport;
  #end;
  #subscriptions = new Map();
  #tracks = new Map();
  #watchers = new Set();
  #nextId = 0;
  /** `http:` asks there for the certificate's fingerprint, its SHA-256 in hex, and goes on with `https:`. */
  static async connect(url, { fingerprint } = {}) {
    const [session, target] = [new Session(), new URL(url)];
    try {
      if (target.protocol === "http:") {
        const answer = await fetch(new URL("/certificate.sha256", target));
        if (!answer.ok) throw new Error(`no fingerprint, but status ${answer.status}`);
        fingerprint = (await answer.text()).trim();
        target.protocol = "https:";
      }
      await session.#start(target, fingerprint && Uint8Array.fromHex(fingerprint));
      return session;
    } catch ({ code, message }) {
      session.close();
      throw new TransforkError(`no session with ${url}`, code, { scope: "session", why: message });
    }
  }
  async #start(url, value) {
    const pins = value && { serverCertificateHashes: [{ algorithm: "sha-256", value }] };
    const transport = this.#transport = new WebTransport(url, pins);
    let by = "network";
    /** Resolves, and never rejects, with `{ code, reason, by }`, where `by` is "us", "peer" or "network". */
    this.closed = transport.closed.then(
      ({ closeCode, reason }) => this.#end ?? { code: closeCode, reason, by: "peer" },
      (error) => this.#end ?? { reason: error.message, by },
    );
    await transport.ready;
    const control = await this.#ask("setup", SESSION_CLIENT, HELLO);
    const { version, extensions } = await control.receive(SESSION_SERVER);
    const encoding = extensions.find(({ id }) => id === HELLO.extensions[0].id)?.payload[0];
    if (version !== HELLO.versions[0] || encoding !== 1) fail("setup", "no common version");
    // The session lasts as long as its first stream; code and reason may come a moment later.
    const last = () => setTimeout(() => transport.close(), 1000);
    control.drain().then(() => { by = "peer"; }).then(last, last);
    this.closed.then(() => this.#tracks.forEach((track) => track.end()));
    this.#accept(transport.incomingUnidirectionalStreams, (stream) => this.#deliver(stream));
    this.#accept(transport.incomingBidirectionalStreams, (stream) => this.#answer(stream));
  }
  async #accept(streams, handle) {
    for await (const incoming of streams) {
      const { readable = incoming, writable } = incoming;
      const stream = new Stream({ readable, writable }, (error) => this.#rethrow(error, "group", "group"));
      handle(stream).catch((error) => stream.cancel(error.scope && error.code));
    }
  }
  /** Ends the session at once; the peer sees code and reason. */
  close(code = CODES.cancelled, reason = "") {
    this.#end ??= { code, reason, by: "us" };
    this.#transport?.close({ closeCode: code, reason });
    return this.closed;
  }
  /** Throws the error that a user sees, made of the one that a stream gave. */
  async #rethrow(error, what, scope) {
    if (error.source === "stream") throw new TransforkError(what, error.streamErrorCode ?? 0, { scope });
    if (error.scope) throw new TransforkError(what, error.code, { scope, why: error.message });
    if (!(error instanceof DOMException)) throw error;
    const { code, reason, by } = await this.closed;
    const why = `the session was ended by ${by}: ${reason || `code ${code}`}`;
    throw new TransforkError(what, code, { scope: "session", why });
  }
  async #ask(what, kind, value) {
    const rethrow = (error) => this.#rethrow(error, what);
    const stream = new Stream(await this.#transport.createBidirectionalStream().catch(rethrow), rethrow);
    stream.send(kind, value);
    return stream;
  }

  /** Tracks as they come and go: `{ type: "active" | "ended", path }`; "live" is told once all are known. */
  async *announced(prefix = "") {
    const request = await this.#ask(`announcements below "${prefix}"`, ANNOUNCE_PLEASE, { prefix });
    for await (const type of request.each(STATUS))
      yield type === "live" ? { type } : { type, path: join(prefix, await request.receive(path)) };
  }
  /** A track's `{ priority, latest, order }`, where `latest` is 0 also without a group. */
  async info(path) {
    const request = await this.#ask(`info of ${path}`, INFO_PLEASE, { track: path });
    return request.receive(INFO).finally(() => request.finish());
  }
  /** Groups as they arrive, each with a `sequence` and frames to iterate over. Options are `priority`, `order`, `first`
   *  and `last` of the groups, which `update` changes, and `onGap({ first, last, code })` for what does not come. */
  async subscribe(path, { onGap = () => {}, ...wish } = {}) {
    const id = this.#nextId++;
    const request = await this.#ask(`subscription to ${path}`, SUBSCRIBE, { id, track: path, ...wish });
    const update = (change) => request.send(SUBSCRIBE_UPDATE, Object.assign(wish, change));
    let unread;
    const source = { start: (controller) => { unread = controller; }, cancel: () => request.cancel() };
    const groups = new ReadableStream(source, { highWaterMark: LIMITS.unread });
    this.#subscriptions.set(id, (group) => {
      if (unread.desiredSize > 0) return unread.enqueue(group);
      group.cancel(CODES.expired);
      onGap({ first: group.sequence, last: group.sequence, code: CODES.expired });
    });
    const info = await request.receive(INFO);
    const listen = async () => {
      for await (const { first, additional, code } of request.each(SUBSCRIBE_GAP))
        onGap({ first, last: first + additional, code });
      await new Promise((resolve) => setTimeout(resolve, 500)); // The last groups may come late.
      unread.close();
    };
    listen().catch((error) => unread.error(error)).finally(() => this.#subscriptions.delete(id));
    return Object.assign(groups.values(), { info, update, cancel: request.cancel });
  }
  async #deliver(stream) {
    if (await stream.receive(number) !== GROUP.type) fail("stream", "unexpected stream");
    const { subscribe, sequence } = await stream.receive(GROUP);
    const push = this.#subscriptions.get(subscribe) ?? ((group) => group.cancel());
    push(Object.assign(stream.each(FRAME), { sequence, cancel: stream.cancel }));
  }

  /** Announces a track. It begins with the group `first`, keeps so many, and is best sent in this order. */
  publish(name, { priority = 128, order = "ascending", keep = 4, first = 0 } = {}) {
    const path = join(name);
    if (path === "" || this.#tracks.has(path)) throw new Error(`"${path}" is published already, or no name`);
    const tell = (type) => this.#watchers.forEach((watcher) => watcher(type, path));
    const unpublish = () => this.#tracks.delete(path) && tell("ended");
    const track = new Track({ path, priority, order, keep, next: first, latest: 0, readers: 0, groups: [], unpublish });
    this.#tracks.set(path, track);
    tell("active");
    return track;
  }
  async #answer(request) {
    switch (await request.receive(number)) {
      case ANNOUNCE_PLEASE.type: return this.#serveAnnouncements(request, await request.receive(ANNOUNCE_PLEASE));
      case SUBSCRIBE.type: return this.#serveSubscription(request, await request.receive(SUBSCRIBE));
      case INFO_PLEASE.type: return this.#serveInfo(request, await request.receive(INFO_PLEASE));
      default: fail("request", "unexpected stream");
    }
  }
  async #serveAnnouncements(request, { prefix }) {
    const tell = (type, name) => {
      if (prefix !== "" && !`${name}/`.startsWith(`${prefix}/`)) return;
      request.send(STATUS, type);
      request.send(path, name.slice(prefix.length));
    };
    for (const name of this.#tracks.keys()) tell("active", name);
    request.send(STATUS, "live");
    this.#watchers.add(tell);
    await request.drain().finally(() => this.#watchers.delete(tell));
    request.finish();
  }
  async #serveInfo(request, { track }) {
    request.send(INFO, this.#tracks.get(track) ?? fail(track, "not found"));
    request.finish();
  }
  async #serveSubscription(request, { id, track: name, first, last = Infinity, priority }) {
    const track = this.#tracks.get(name) ?? fail(name, "not found");
    const streams = new Map();
    const gap = (first, additional, code) => request.send(SUBSCRIBE_GAP, { first, additional, code });
    const suit = (stream, sequence) => {
      stream.writable.sendOrder = priority;
      if (sequence < first || sequence > last) stream.cancel();
    };
    const send = async (group, sequence) => {
      const writable = await this.#transport.createUnidirectionalStream({ sendOrder: priority });
      const stream = new Stream({ writable });
      stream.send(GROUP, { subscribe: id, sequence });
      group.sendTo(stream);
      streams.set(sequence, stream);
      stream.written.catch((error) => gap(sequence, 0, error.streamErrorCode ?? 0))
        .finally(() => streams.delete(sequence));
      suit(stream, sequence); // There may have been an update meanwhile.
    };
    const update = (change) => {
      if (change.first < first || change.last > last) return request.cancel(CODES["protocol violation"]);
      ({ priority, first = first, last = last } = change);
      streams.forEach(suit);
      track.change();
    };
    const listen = async () => { for await (const change of request.each(SUBSCRIBE_UPDATE, () => {})) update(change); };
    const leave = () => { last = -1; };
    let next = first ??= track.groups.at(-1)?.sequence ?? track.next;
    listen().then(leave, leave).then(() => track.change());
    request.written.catch(() => streams.forEach((stream) => stream.cancel()));
    request.send(INFO, track);
    track.change({ readers: track.readers + 1 });
    while ((next = Math.max(next, first)) <= last) {
      const group = track.groups.find(({ sequence }) => sequence >= next);
      if (!group && track.over) break;
      if (group?.sequence > next) gap(next, Math.min(group.sequence - 1, last) - next, CODES["not found"]);
      if (group?.sequence <= last) await send(group, group.sequence).catch(leave);
      if (group) next = group.sequence + 1;
      else await track.changed;
    }
    await Promise.allSettled(Array.from(streams.values(), ({ written }) => written));
    await request.finish();
    track.change({ readers: track.readers - 1 });
  }
}
