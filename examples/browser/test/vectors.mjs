/** The client's bytes against the vectors that the Rust crates are tested with. Needs no browser. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import { ORDERS, Reader, STATUSES, encode, formatPath, parsePath, terms } from "../wire.js";

const FOLDER = new URL("../../../crates/moqt-wire/vectors/transfork-04/", import.meta.url);

/** How each message is read, into the fields of a vector, and how it is written from them. */
const MESSAGES = {
  announce_please: {
    read: async (r) => ({ interest: { prefix: await r.path() } }),
    write: ({ interest }) => [parsePath(interest.prefix)],
  },
  announce: {
    read: async (r) => {
      const status = await r.oneOf(STATUSES);
      return { status, suffix: status === "live" ? undefined : await r.path() };
    },
    write: ({ status, suffix }) =>
      [STATUSES.indexOf(status), ...suffix === undefined ? [] : [parsePath(suffix)]],
  },
  subscribe: {
    read: async (r) => ({ id: await r.varint(), track: await r.path(), ...await r.terms() }),
    write: ({ id, track, ...rest }) => [id, parsePath(track), ...terms(rest)],
  },
  subscribe_update: { read: (r) => r.terms(), write: (message) => terms(message) },
  subscribe_gap: {
    read: async (r) => ({ first: await r.varint(), additional: await r.varint(), code: await r.varint() }),
    write: ({ first, additional, code }) => [first, additional, code],
  },
  info: {
    read: (r) => r.info(),
    write: ({ priority, latest, order }) => [priority, latest, ORDERS.indexOf(order)],
  },
  info_please: {
    read: async (r) => ({ track: await r.path() }),
    write: ({ track }) => [parsePath(track)],
  },
  fetch: {
    read: async (r) => ({ track: await r.path(), priority: await r.priority(), group: await r.varint(),
      frame: await r.varint() }),
    write: ({ track, priority, group, frame }) => [parsePath(track), priority, group, frame],
  },
  group: {
    read: async (r) => ({ subscribe: await r.varint(), sequence: await r.varint() }),
    write: ({ subscribe, sequence }) => [subscribe, sequence],
  },
};

/** A vector's value as the client has it: integers are numbers, paths texts, and what is absent undefined. */
function plain(value) {
  if (value === null) return undefined;
  if (Array.isArray(value)) return value.join("/");
  if (typeof value === "string") return /^\d+$/.test(value) ? Number(value) : value;
  return Object.fromEntries(Object.entries(value).map(([key, value]) => [key, plain(value)]));
}

/** Without what is undefined. */
const given = (message) => JSON.parse(JSON.stringify(message));

/** A stream that gives its bytes one by one. */
const reader = (bytes) => new Reader(new ReadableStream({
  start(controller) {
    for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
    controller.close();
  },
}));

/** Of the vectors these cannot be had in JavaScript's numbers, or in a path as text. */
const beyond = ({ hex, decoded }) => /(?:^|[^\d])\d{17,}/.test(JSON.stringify(decoded)) || /ff002f/.test(hex);

/** Checks all vectors, and returns how many there were. */
export async function vectors() {
  let count = 0;
  for (const [name, { read, write }] of Object.entries(MESSAGES)) {
    for (const vector of JSON.parse(await readFile(new URL(`${name}.json`, FOLDER)))) {
      const what = `${name}: ${vector.id}`;
      const bytes = Uint8Array.from(Buffer.from(vector.hex, "hex"));
      count += 1;
      if (vector.error !== undefined && vector.id !== "no-parts") {
        await assert.rejects(read(reader(bytes)), { name: "TransforkError" }, what);
      } else if (vector.error === undefined && !beyond(vector)) {
        const message = await read(reader(bytes));
        assert.deepEqual(given(message), given(plain(vector.decoded)), what);
        if (!vector.lenient && !vector.id.startsWith("empty-part"))
          assert.equal(Buffer.from(encode(...write(message))).toString("hex"), vector.hex, what);
      }
    }
  }
  assert.equal(formatPath(parsePath("a%2Fb/50%25/ü")), "a%2Fb/50%25/ü");
  return count;
}
