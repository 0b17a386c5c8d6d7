/**
 * A client of MoQ Transfork, draft 04, over WebTransport, for pages and workers.
 *
 *     const session = await Session.connect("http://localhost:4443/");
 *     for await (const group of await session.subscribe("demo/clock"))
 *       for await (const frame of group) console.log(group.sequence, new TextDecoder().decode(frame));
 *
 * Priorities go from 0 to 255, and higher is sent first. Leaving a `for await` cancels what it reads.
 */
import { GroupReader, Subscription, Track } from "./tracks.js";
import {
  CODES, LIMITS, Reader, Request, STATUSES, STREAM, TransforkError, describe, encode, failure, formatPath, parsePath,
  quietly, streamError, terms,
} from "./wire.js";

export { CODES, LIMITS, TransforkError };

const VERSION = 0xff0bad04;
/** Says that 04 means the draft to the letter, and not what older crates made of it. */
const ENCODING = { id: 0x0f04, draft: 1 };
/** The `sendOrder` of requests, above that of every group. */
const FIRST = Number.MAX_SAFE_INTEGER;

/** A session with a relay, or with any other server of Transfork. */
export class Session {
  #transport;
  #subscriptions = new Map();
  #nextId = 0;
  #tracks = new Map();
  #watchers = new Set();
  #serving = new Set();
  #end;
  #farewell;

  /** What the peer thinks it can send us, in bits per second; 0 where it does not know. */
  peerBitrate = 0;
  /** Resolves, and never rejects, with `{ code, reason, by }`, where `by` is "us", "peer" or "network".
   *  @type {Promise<{ code?: number, reason: string, by: string }>} */
  closed;

  /** @param {string} url `https:`, or `http:` to ask there for the certificate's fingerprint first
   *  @param {{ fingerprint?: string, timeout?: number }} [options] SHA-256 of the certificate in hex; milliseconds
   *  @returns {Promise<Session>} */
  static async connect(url, { fingerprint, timeout = 10_000 } = {}) {
    const session = new Session();
    const target = new URL(url);
    const signal = AbortSignal.timeout(timeout);
    const late = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    quietly(late);
    let what = `no relay tells its fingerprint at ${target.origin}`;
    try {
      if (target.protocol === "http:") {
        const answer = await fetch(new URL("/certificate.sha256", target), { signal });
        if (!answer.ok) throw new Error(`status ${answer.status}; try https:`);
        fingerprint = (await answer.text()).trim();
        target.protocol = "https:";
      }
      what = `no session with ${target}`;
      await Promise.race([session.#start(target, fingerprint), late]);
      return session;
    } catch (cause) {
      const why = signal.aborted ? `no answer within ${timeout / 1000} s` : cause.message;
      session.close();
      throw new TransforkError(`${what}: ${why}`, { scope: "session", code: cause.streamErrorCode, cause });
    }
  }

  async #start(url, fingerprint) {
    if (!globalThis.WebTransport) throw new Error("no WebTransport in this browser, or none for such pages");
    if (fingerprint && !/^[0-9a-f]{64}$/i.test(fingerprint)) throw new Error("a fingerprint is 64 hexadecimal digits");
    const value = fingerprint && Uint8Array.from(fingerprint.match(/../g), (byte) => parseInt(byte, 16));
    this.#transport = new WebTransport(url, value && { serverCertificateHashes: [{ algorithm: "sha-256", value }] });
    this.closed = this.#transport.closed.then(
      (end) => this.#end ?? { code: end.closeCode, reason: end.reason, by: "peer" },
      (error) => this.#end ?? this.#farewell ?? { reason: error.message, by: "network" },
    );
    await this.#transport.ready;
    const control = await this.#request();
    control.send(STREAM.session, 1, VERSION, 1, ENCODING.id, encode(ENCODING.draft));
    const version = await control.reader.varint();
    let encoding;
    for (let left = await control.reader.varint(); left > 0; left--) {
      const [id, payload] = [await control.reader.varint(), await control.reader.block()];
      if (id === ENCODING.id) encoding = payload[0];
    }
    if (version !== VERSION || encoding !== ENCODING.draft) throw failure("no common version", "Transfork");
    quietly(this.closed.then(() => this.#tracks.forEach((track) => track.lose())));
    quietly(this.#follow(control));
    quietly(this.#accept(this.#transport.incomingUnidirectionalStreams, (stream) => this.#deliver(stream)));
    quietly(this.#accept(this.#transport.incomingBidirectionalStreams, (stream) => this.#answer(stream)));
  }

  /** Ends the session at once; the peer sees code and reason.
   *  @param {number} [code] @param {string} [reason] at most 1024 bytes */
  close(code = CODES.cancelled, reason = "") {
    this.#end ??= { code, reason, by: "us" };
    this.#transport?.close({ closeCode: code, reason });
    return this.closed;
  }

  /** The session lasts as long as its first stream. */
  async #follow(control) {
    try {
      while (!await control.reader.ended()) this.peerBitrate = await control.reader.varint();
      this.#farewell = { code: CODES.cancelled, reason: "", by: "peer" };
    } catch (error) {
      if (error.source === "stream") this.#farewell = { code: error.streamErrorCode, reason: "", by: "peer" };
    }
    control.finish();
    setTimeout(() => this.#transport.close(), 1000);
  }

  async #accept(streams, handle) {
    const reader = streams.getReader();
    for (let next; !(next = await reader.read()).done;) quietly(handle(next.value));
  }

  async #request(signal, ...fields) {
    signal?.throwIfAborted();
    const request = new Request(await this.#transport.createBidirectionalStream({ sendOrder: FIRST }));
    signal?.addEventListener("abort", () => request.cancel());
    if (fields.length > 0) request.send(...fields);
    return request;
  }

  /** The error that a user sees, made of the one that a stream gave. */
  async #explain(error, what, scope = "request") {
    const told = (why, code) => new TransforkError(`${what}: ${why}`, { code, scope, cause: error });
    if (error instanceof TransforkError) return told(error.message, error.code);
    if (error.source === "stream") return told(describe(error.streamErrorCode ?? 0), error.streamErrorCode ?? 0);
    if (!(error instanceof DOMException) || error.name === "AbortError") return error;
    const { code, reason, by } = await this.closed;
    scope = "session";
    return told(`the session was ended by ${by}: ${reason || describe(code ?? 0)}`, code);
  }

  // ---- as a subscriber

  /** Tracks below a prefix as they come and go. Once all that were there have been told, the type is "live".
   *  @param {string} [prefix] parts of a path, or nothing for all
   *  @param {{ signal?: AbortSignal }} [options]
   *  @returns {AsyncGenerator<{ type: "active" | "ended" | "live", path?: string }>} */
  async *announced(prefix = "", { signal } = {}) {
    const active = new Set();
    let request, problem;
    try {
      const parts = parsePath(prefix);
      request = await this.#request(signal, STREAM.announce, parts);
      while (!await request.reader.ended()) {
        const type = await request.reader.oneOf(STATUSES);
        const suffix = type === "live" ? "" : await request.reader.path();
        const path = [formatPath(parts), suffix].filter((text) => text !== "").join("/");
        if (type === "active") active.add(path);
        if (type === "ended") active.delete(path);
        yield type === "live" ? { type } : { type, path };
      }
    } catch (error) {
      problem = await this.#explain(error, `announcements below "${prefix}"`);
    } finally {
      request?.cancel();
    }
    if (signal?.aborted) return;
    for (const path of active) yield { type: "ended", path };
    if (problem) throw problem;
  }

  /** A track's groups, by default from the latest on without end. `onGap` hears of those that do not come.
   *  @param {string} path
   *  @param {{ priority?: number, order?: "ascending" | "descending", first?: number, last?: number,
   *    onGap?: (gap: { first: number, last: number, code: number, reason: string }) => void, signal?: AbortSignal }}
   *    [options]
   *  @returns {Promise<Subscription>} */
  async subscribe(path, { onGap, signal, ...options } = {}) {
    const id = this.#nextId++;
    let request;
    try {
      const parts = parsePath(path);
      request = await this.#request(signal);
      const subscription = new Subscription(request, onGap);
      signal?.addEventListener("abort", () => subscription.cancel());
      this.#subscriptions.set(id, subscription);
      request.send(STREAM.subscribe, id, parts, ...terms(options));
      subscription.info = await request.reader.info();
      quietly(this.#listen(id, path, subscription));
      return subscription;
    } catch (error) {
      this.#subscriptions.delete(id);
      request?.cancel();
      signal?.throwIfAborted();
      throw await this.#explain(error, `subscription to ${path}`);
    }
  }

  async #listen(id, path, subscription) {
    const { reader } = subscription.request;
    try {
      while (!await reader.ended()) {
        const [first, more, code] = [await reader.varint(), await reader.varint(), await reader.varint()];
        subscription.gap(first, first + more, code);
      }
      subscription.request.finish();
      await subscription.finish();
    } catch (error) {
      subscription.end(await this.#explain(error, `subscription to ${path}`));
    } finally {
      this.#subscriptions.delete(id);
    }
  }

  async #deliver(stream) {
    const reader = new Reader(stream);
    try {
      if (await reader.varint() !== STREAM.group) return this.close(CODES["unexpected stream"], "no group stream");
      const [id, sequence] = [await reader.varint(), await reader.varint()];
      const group = new GroupReader(sequence, reader, (...args) => this.#explain(...args));
      const subscription = this.#subscriptions.get(id);
      if (subscription) subscription.deliver(group);
      else group.cancel();
    } catch {
      reader.cancel(CODES.malformed);
    }
  }

  /** What the publisher says of a track; `latest` is 0 also where there is no group.
   *  @param {string} path @param {{ signal?: AbortSignal }} [options]
   *  @returns {Promise<{ priority: number, latest: number, order: string }>} */
  async info(path, { signal } = {}) {
    let request;
    try {
      request = await this.#request(signal, STREAM.info, parsePath(path));
      return await request.reader.info();
    } catch (error) {
      signal?.throwIfAborted();
      throw await this.#explain(error, `info of ${path}`);
    } finally {
      request?.finish();
    }
  }

  /** The frames of one past group, from one of them on.
   *  @param {string} path @param {number} sequence
   *  @param {{ frame?: number, priority?: number, signal?: AbortSignal }} [options]
   *  @returns {AsyncGenerator<Uint8Array>} */
  async *fetch(path, sequence, { frame = 0, priority = 128, signal } = {}) {
    let request;
    try {
      request = await this.#request(signal, STREAM.fetch, parsePath(path), priority, sequence, frame);
      while (!await request.reader.ended()) yield await request.reader.block(LIMITS.frame);
      signal?.throwIfAborted();
    } catch (error) {
      signal?.throwIfAborted();
      throw await this.#explain(error, `group ${sequence} of ${path}`);
    } finally {
      request?.cancel();
    }
  }

  // ---- as a publisher

  /** Announces a track. It begins with the group `first`, keeps so many, and is best sent in this order.
   *  @param {string} path
   *  @param {{ priority?: number, order?: "ascending" | "descending", keep?: number, first?: number }} [options]
   *  @returns {Track} */
  publish(path, options = {}) {
    path = formatPath(parsePath(path));
    if (path === "" || this.#tracks.has(path)) throw failure(path === "" ? "malformed" : "duplicate", `"${path}"`);
    const track = new Track(path, options, () => {
      if (this.#tracks.delete(path)) this.#watchers.forEach((tell) => tell("ended", path));
    });
    this.#tracks.set(path, track);
    this.#watchers.forEach((tell) => tell("active", path));
    return track;
  }

  async #answer(stream) {
    const request = new Request(stream);
    try {
      switch (await request.reader.varint()) {
        case STREAM.announce: return await this.#serveAnnouncements(request);
        case STREAM.subscribe: return await this.#serveSubscription(request);
        case STREAM.fetch: return await this.#serveGroup(request);
        case STREAM.info: request.send(...this.#track(await request.reader.path()).info()); return request.finish();
        default: return this.close(CODES["unexpected stream"], "no such request");
      }
    } catch (error) {
      request.cancel(error instanceof TransforkError ? error.code : CODES.cancelled);
    }
  }

  #track(path) {
    const track = this.#tracks.get(path);
    if (!track) throw failure("not found", path);
    return track;
  }

  async #serveAnnouncements(request) {
    const prefix = await request.reader.path();
    const tell = (type, path) => {
      if (prefix !== "" && path !== prefix && !path.startsWith(`${prefix}/`)) return;
      request.send(STATUSES.indexOf(type), parsePath(path.slice(prefix && prefix.length + 1)));
    };
    for (const path of this.#tracks.keys()) tell("active", path);
    request.send(STATUSES.indexOf("live"));
    this.#watchers.add(tell);
    await Promise.race([request.reader.ended(), request.writer.closed]).finally(() => this.#watchers.delete(tell));
    request.finish();
  }

  async #serveGroup({ reader, writer }) {
    const [path, , sequence, from] =
      [await reader.path(), await reader.varint(), await reader.varint(), await reader.varint()];
    const group = this.#track(path).groups.find((group) => group.sequence === sequence);
    if (!group) throw failure("not found", `group ${sequence}`);
    for await (const frame of group.frames(from)) await writer.write(encode(frame));
    await writer.close();
  }

  async #serveSubscription(request) {
    const { reader, writer } = request;
    const [id, path, wish] = [await reader.varint(), await reader.path(), await reader.terms()];
    const track = this.#track(path);
    if (this.#serving.has(id)) throw failure("duplicate", `subscription ${id}`);
    if (wish.last < wish.first) throw failure("protocol violation", "range");
    const gap = (first, last, code) => request.send(first, last - first, code ?? CODES.cancelled);
    const start = wish.first ?? track.groups.at(-1)?.sequence ?? track.next;
    const gone = new AbortController();
    const sends = new Set();
    let left = false;
    const updates = (async () => {
      while (!await reader.ended()) {
        const { priority, order, last = wish.last } = await reader.terms();
        Object.assign(wish, { priority, order, last });
      }
      left = true;
    })();
    const failed = Promise.race([writer.closed, updates.then(() => new Promise(() => {}))]);
    quietly(failed);
    this.#serving.add(id);
    track.join();
    try {
      request.send(...track.info());
      for (let next = start; !left && next <= (wish.last ?? Infinity);) {
        const group = track.groups.find((group) => group.sequence >= next);
        if (!group && track.over) break;
        if (!group) {
          await Promise.race([track.bell.next, updates, failed]);
          continue;
        }
        const { sequence } = group;
        if (sequence > next) gap(next, Math.min(sequence - 1, wish.last ?? Infinity), CODES["not found"]);
        next = sequence + 1;
        if (sequence > wish.last) break;
        const stream = await this.#open(sendOrder(track, wish, sequence - start), failed);
        const send = this.#send(stream, id, group, gone.signal)
          .catch((error) => gap(sequence, sequence, error.streamErrorCode ?? error.code))
          .finally(() => sends.delete(send));
        sends.add(send);
      }
      await Promise.race([Promise.all(sends), failed]);
      request.finish();
    } finally {
      gone.abort(failure("cancelled", path));
      this.#serving.delete(id);
      track.leave();
    }
  }

  /** Waits while the peer's limit on streams is reached. */
  async #open(sendOrder, failed) {
    const opening = this.#transport.createUnidirectionalStream({ sendOrder });
    try {
      return await Promise.race([opening, failed]);
    } catch (error) {
      quietly(opening.then((stream) => stream.abort()));
      throw error;
    }
  }

  /** Ends when the peer has the group, or with the error that tells why it has not. */
  async #send(stream, id, group, gone) {
    const writer = stream.getWriter();
    const given = AbortSignal.any([group.given, gone]);
    const abort = () => quietly(writer.abort(streamError(given.reason.code)));
    const stopped = writer.closed.then(() => new Promise(() => {}));
    quietly(stopped);
    given.addEventListener("abort", abort);
    if (given.aborted) abort();
    await writer.write(encode(STREAM.group, id, group.sequence));
    const frames = group.frames();
    for (let next; !(next = await Promise.race([frames.next(), stopped])).done;) await writer.write(encode(next.value));
    await writer.close();
  }
}

/** Among our groups: what the subscriber wants first, then the track's own priority, then the order of its groups. */
function sendOrder(track, { priority, order }, at) {
  const newestFirst = (order === "default" ? track.order : order) === "descending";
  return (priority * 256 + track.priority) * 2 ** 32 + (newestFirst ? at : 2 ** 32 - 1 - at);
}
