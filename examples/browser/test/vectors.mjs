/** The client's bytes against the vectors that the Rust crates are tested with. Needs no browser. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import * as wire from "../transfork.js";

const FOLDER = new URL("../../../crates/moqt-wire/vectors/transfork-04/", import.meta.url);

/** Those with vectors of their own. */
const MESSAGES = [
  "ANNOUNCE_PLEASE", "SUBSCRIBE", "SUBSCRIBE_UPDATE", "SUBSCRIBE_GAP",
  "INFO_PLEASE", "INFO", "GROUP",
];
/** What the client leaves to its peer to refuse. */
const LENIENT = ["no-parts", "1024-bytes"];

/** A vector's value as the client has it: integers are numbers, paths texts, and what is absent undefined. */
function plain(value) {
  if (value === null) return undefined;
  if (Array.isArray(value)) return value.join("/");
  if (typeof value === "string") return /^\d+$/.test(value) ? Number(value) : value;
  if (value.interest) return plain(value.interest);
  return Object.fromEntries(Object.entries(value).map(([key, value]) => [key, plain(value)]));
}

/** Without what is undefined. */
const given = (message) => JSON.parse(JSON.stringify(message));

/** A stream that gives its bytes one by one. */
const stream = (bytes) =>
  new wire.Stream({ readable: ReadableStream.from(Array.from(bytes, (byte) => Uint8Array.of(byte))) });

/** Of the vectors these cannot be had in JavaScript's numbers, or in a path as text. */
const beyond = ({ hex, decoded }) => /(?:^|[^\d])\d{17,}/.test(JSON.stringify(decoded)) || /ff002f/.test(hex);

/** What begins a stream has a type before it, which is no part of the vectors. */
const typeOf = ({ type }) => type === undefined ? "" : Buffer.of(type).toString("hex");

/** Checks all vectors, and returns how many there were. */
export async function vectors() {
  let count = 0;
  for (const name of MESSAGES) {
    for (const vector of JSON.parse(await readFile(new URL(`${name.toLowerCase()}.json`, FOLDER)))) {
      const what = `${name}: ${vector.id}`;
      const bytes = Uint8Array.from(Buffer.from(vector.hex, "hex"));
      count += 1;
      if (vector.error !== undefined && !LENIENT.includes(vector.id)) {
        await assert.rejects(stream(bytes).receive(wire[name]), { name: "TransforkError" }, what);
      } else if (vector.error === undefined && !beyond(vector)) {
        const message = await stream(bytes).receive(wire[name]);
        assert.deepEqual(given(message), given(plain(vector.decoded)), what);
        if (!vector.lenient && !vector.id.startsWith("empty-part"))
          assert.equal(Buffer.concat(wire[name].write(message)).toString("hex"), typeOf(wire[name]) + vector.hex, what);
      }
    }
  }
  return count;
}
