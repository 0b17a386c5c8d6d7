/** What a broadcast consists of: reads and writes the catalog, a JSON document in the hang format. */
import { CONTAINERS } from "./container.js";

/** Most bytes of a catalog, renditions of a section, and characters of a name. */
export const LIMITS = { bytes: 1 << 20, renditions: 64, name: 256 };

/** Where a broadcast's catalog is, behind its namespace. */
export const CATALOG = "/catalog.json";

const wrong = (what) => { throw new Error(`the catalog is wrong: ${what}`); };
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const positive = (value) => typeof value === "number" && value > 0 && Number.isFinite(value) ? value : undefined;
const isName = (name) => name !== "" && name.length <= LIMITS.name && !name.split("/").includes("..");

function hex(text, name) {
  if (text === undefined || text === null || text === "") return undefined;
  if (typeof text !== "string" || text.length % 2 > 0 || /[^0-9a-f]/i.test(text))
    wrong(`the description of "${name}" is not hexadecimal`);
  return Uint8Array.from(text.match(/../g), (byte) => Number.parseInt(byte, 16));
}

function rendition(kind, name, entry) {
  if (!isName(name)) wrong(`a track of the name "${name.slice(0, LIMITS.name)}"`);
  if (!isObject(entry)) wrong(`"${name}" is no object`);
  if (typeof entry.codec !== "string" || entry.codec === "") wrong(`"${name}" has no codec`);
  const container = entry.container?.kind ?? "legacy";
  const common = { kind, name, container, codec: entry.codec, bitrate: positive(entry.bitrate) };
  const description = hex(entry.description, name);
  if (kind === "video")
    return { ...common, description, width: positive(entry.codedWidth), height: positive(entry.codedHeight),
      framerate: positive(entry.framerate) };
  const [rate, channels] = [positive(entry.sampleRate), positive(entry.numberOfChannels)];
  if (!rate || rate > 384_000) wrong(`"${name}" has no sample rate`);
  if (!channels || channels > 32) wrong(`"${name}" has no number of channels`);
  return { ...common, description, rate, channels };
}

function section(kind, value) {
  if (value === undefined || value === null) return [];
  if (!isObject(value) || !isObject(value.renditions)) wrong(`"${kind}" has no renditions`);
  const entries = Object.entries(value.renditions);
  if (entries.length > LIMITS.renditions) wrong(`"${kind}" has more than ${LIMITS.renditions} renditions`);
  return entries.map(([name, entry]) => rendition(kind, name, entry));
}

/** Best first: by size, then by bitrate. */
const better = (a, b) => (b.width ?? 0) * (b.height ?? 0) - (a.width ?? 0) * (a.height ?? 0)
  || (b.bitrate ?? 0) - (a.bitrate ?? 0);

/**
 * The renditions in a catalog's bytes, the best ones first, as `{ video, audio, strange }`; `strange` are those that
 * nothing here can unpack. Unknown fields are skipped; throws if it is no catalog.
 */
export function readCatalog(bytes) {
  if (bytes.length > LIMITS.bytes) wrong(`it is larger than ${LIMITS.bytes} bytes`);
  let catalog;
  try {
    catalog = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    wrong(error.message);
  }
  if (!isObject(catalog)) wrong("it is no object");
  const all = [...section("video", catalog.video), ...section("audio", catalog.audio)];
  const known = all.filter(({ container }) => Object.hasOwn(CONTAINERS, container));
  return {
    video: known.filter(({ kind }) => kind === "video").sort(better),
    audio: known.filter(({ kind }) => kind === "audio").sort(better),
    strange: all.filter((one) => !known.includes(one)),
  };
}

const toHex = (bytes) => bytes && Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The catalog of renditions as `readCatalog` gives them. All are packed as LOC. */
export function writeCatalog({ video = [], audio = [] }) {
  const container = { kind: "loc" };
  const entries = (renditions, fields) => renditions.length === 0 ? undefined : {
    renditions: Object.fromEntries(renditions.map((one) =>
      [one.name, { codec: one.codec, description: toHex(one.description), ...fields(one), container }])),
  };
  return JSON.stringify({
    video: entries(video, ({ width, height, framerate, bitrate }) =>
      ({ codedWidth: width, codedHeight: height, framerate, bitrate })),
    audio: entries(audio, ({ rate, channels, bitrate }) =>
      ({ sampleRate: rate, numberOfChannels: channels, bitrate })),
  });
}
