/** Tracks and their groups, those of others and our own. Nothing here knows how they travel. */
import { CODES, LIMITS, ORDERS, TransforkError, describe, failure, terms } from "./wire.js";

/** Wakes all who wait for `next`. */
class Bell {
  constructor() { this.ring(); }
  ring() {
    this.resolve?.();
    this.next = new Promise((resolve) => { this.resolve = resolve; });
  }
}

/** A group on its way to us. Iterate over it, once, for its frames as `Uint8Array`. */
export class GroupReader {
  /** @param {number} sequence @param {import("./wire.js").Reader} reader @param {Function} explain */
  constructor(sequence, reader, explain) { Object.assign(this, { sequence, reader, explain }); }

  cancel(code = CODES.cancelled) { this.reader.cancel(code); }

  async *[Symbol.asyncIterator]() {
    try {
      while (!await this.reader.ended()) yield await this.reader.block(LIMITS.frame);
    } catch (error) {
      throw await this.explain(error, `group ${this.sequence}`, "group");
    } finally {
      this.cancel();
    }
  }
}

/** Iterate over it for groups as they arrive, which on a bad network is not in order.
 *  `info` is `{ priority, latest, order }` as the publisher has it; `latest` is 0 also where there is no group. */
export class Subscription {
  #groups = [];
  #bell = new Bell();
  #arrived = 0;
  #over = false;
  #error;

  /** @param {import("./wire.js").Request} request @param {Function} [onGap] */
  constructor(request, onGap) { Object.assign(this, { request, onGap }); }

  /** @internal */
  deliver(group) {
    if (this.#over) return group.cancel();
    this.#arrived += 1;
    if (this.#groups.push(group) > LIMITS.unread) {
      const oldest = this.#groups.sort((a, b) => a.sequence - b.sequence).shift();
      oldest.cancel(CODES.expired);
      this.gap(oldest.sequence, oldest.sequence, CODES.expired);
    }
    this.#bell.ring();
  }

  /** @internal */
  gap(first, last, code) { this.onGap?.({ first, last, code, reason: describe(code) }); }

  /** @internal The publisher is done; its last groups may come after its word for that. */
  async finish(patience = 500) {
    for (let seen = -1; seen < this.#arrived && !this.#over;) {
      seen = this.#arrived;
      await new Promise((resolve) => setTimeout(resolve, patience));
    }
    this.end();
  }

  /** @internal */
  end(error) {
    if (!this.#over) this.#error = error;
    this.#over = true;
    this.#bell.ring();
  }

  async *[Symbol.asyncIterator]() {
    try {
      while (this.#groups.length > 0 || !this.#over) {
        if (this.#groups.length > 0) yield this.#groups.shift();
        else await this.#bell.next;
      }
      if (this.#error) throw this.#error;
    } finally {
      this.cancel();
    }
  }

  /** Other terms from now on. A range can only shrink, and an end of it that is left out stays where it is.
   *  @param {{ priority?: number, order?: string, first?: number, last?: number }} options */
  update(options) { this.request.send(...terms(options)); }

  /** Unsubscribes; groups that nobody has begun to read are dropped. */
  cancel(code = CODES.cancelled) {
    for (const group of this.#groups.splice(0)) group.cancel(code);
    this.request.cancel(code);
    this.end();
  }
}

/** A group of ours. */
export class GroupWriter {
  #frames = [];
  #size = 0;
  #bell = new Bell();
  #over = false;
  #given = new AbortController();

  constructor(sequence) { this.sequence = sequence; }

  /** @param {string | BufferSource} data one frame; bytes are not copied: leave them as they are */
  write(data) {
    if (this.#over) throw new TransforkError(`group ${this.sequence} is over`, { scope: "group" });
    const frame = typeof data === "string" ? new TextEncoder().encode(data)
      : ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data);
    if (this.#size + frame.length > LIMITS.group) throw failure("too many or too large", `group ${this.sequence}`);
    this.#size += frame.length;
    this.#frames.push(frame);
    this.#bell.ring();
  }

  /** The group is complete. */
  end() {
    this.#over = true;
    this.#bell.ring();
  }

  /** Nobody is sent more of it. */
  abort(code = CODES.cancelled) {
    this.#given.abort(new TransforkError(`group ${this.sequence} was given up`, { code, scope: "group" }));
    this.end();
  }

  /** @internal */
  get given() { return this.#given.signal; }

  /** @internal */
  async *frames(from = 0) {
    for (let at = from;; at++) {
      while (at >= this.#frames.length && !this.#over) await this.#bell.next;
      this.given.throwIfAborted();
      if (at >= this.#frames.length) return;
      yield this.#frames[at];
    }
  }
}

/** A track of ours. It keeps its last groups for whoever asks; a subscriber that is slower than that has gaps. */
export class Track {
  /** How many subscriptions there are. */
  readers = 0;
  /** @internal */
  groups = [];
  bell = new Bell();
  over = false;

  constructor(path, { priority = 128, order = "ascending", keep = 4, first = 0 }, unpublish) {
    Object.assign(this, { path, priority, order, keep, next: first, unpublish });
  }

  /** Begins a group; the one before goes on until it is ended. */
  group() {
    if (this.over) throw new TransforkError(`track ${this.path} is over`);
    const group = new GroupWriter(this.next++);
    if (this.groups.push(group) > this.keep) this.groups.shift().abort(CODES.expired);
    this.bell.ring();
    return group;
  }

  /** A group of one frame. */
  write(data) {
    const group = this.group();
    group.write(data);
    group.end();
  }

  /** Resolves once somebody reads the track, or it is over. */
  async wanted() { while (this.readers === 0 && !this.over) await this.bell.next; }

  /** The track is complete. Resolves once all who read it have everything and it is no longer announced. */
  async end() {
    this.lose();
    while (this.readers > 0) await this.bell.next;
    this.unpublish();
  }

  /** @internal The session has ended. */
  lose() {
    this.over = true;
    this.bell.ring();
  }

  /** @internal */
  join() {
    this.readers += 1;
    this.bell.ring();
  }

  /** @internal */
  leave() {
    this.readers -= 1;
    this.bell.ring();
  }

  /** @internal */
  info() { return [this.priority, this.groups.at(-1)?.sequence ?? 0, ORDERS.indexOf(this.order)]; }
}
