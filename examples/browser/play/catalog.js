/** What a broadcast consists of: reads catalogs, JSON documents of hang or of MSF, and writes those of hang. */
import { CONTAINERS } from "./container.js";

/** Most bytes of a catalog, tracks in it or in an update, renditions of a kind, characters of a name, and bytes that a
 *  decoder is to have beforehand. */
export const LIMITS = { bytes: 1 << 20, tracks: 256, renditions: 64, name: 256, description: 1 << 16 };

const wrong = (what) => { throw new Error(`the catalog is wrong: ${what}`); };
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value) => typeof value === "string" && value !== "" && value.length <= LIMITS.name;
const isName = (name) => isText(name) && !name.split("/").includes("..");
const isContainer = (name) => typeof name === "string" && Object.hasOwn(CONTAINERS, name);
const positive = (value) => typeof value === "number" && value > 0 && Number.isFinite(value) ? value : undefined;

/** Bytes that are written as text, where there are any. */
function description(text, name, decode) {
  if (text === undefined || text === null || text === "") return undefined;
  if (typeof text !== "string") wrong(`the description of "${name}" is no text`);
  if (text.length > 2 * LIMITS.description) wrong(`the description of "${name}" is too long`);
  return decode(text, name);
}
function fromHex(text, name) {
  if (text.length % 2 > 0 || /[^0-9a-f]/i.test(text)) wrong(`the description of "${name}" is not hexadecimal`);
  return Uint8Array.from(text.match(/../g), (byte) => Number.parseInt(byte, 16));
}
function fromBase64(text, name) {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    return wrong(`the description of "${name}" is no base64`);
  }
}

/** A rendition of what a format says of it, checked. */
function rendition(kind, { name, container, codec, bitrate, description, ...more }) {
  if (!isText(codec)) wrong(`"${name}" has no codec`);
  const common = { kind, name, container, codec, bitrate: positive(bitrate), description };
  if (kind === "video")
    return { ...common, width: positive(more.width), height: positive(more.height),
      framerate: positive(more.framerate) };
  const [rate, channels] = [positive(more.rate), positive(more.channels)];
  if (!rate || rate > 384_000) wrong(`"${name}" has no sample rate`);
  if (!channels || channels > 32) wrong(`"${name}" has no number of channels`);
  return { ...common, rate, channels };
}

const checkName = (name) => isName(name) || wrong(`a track of the name "${String(name).slice(0, LIMITS.name)}"`);
function checkCount(kind, { length }) {
  if (length > LIMITS.renditions) wrong(`"${kind}" has more than ${LIMITS.renditions} renditions`);
}

function hangSection(kind, value) {
  if (value === undefined || value === null) return [];
  if (!isObject(value) || !isObject(value.renditions)) wrong(`"${kind}" has no renditions`);
  const entries = Object.entries(value.renditions);
  checkCount(kind, entries);
  return entries.map(([name, entry]) => {
    checkName(name);
    if (!isObject(entry)) wrong(`"${name}" is no object`);
    const { codec, bitrate, codedWidth: width, codedHeight: height, framerate } = entry;
    return rendition(kind, { name, container: entry.container?.kind ?? "legacy", codec, bitrate, width, height,
      framerate, rate: entry.sampleRate, channels: entry.numberOfChannels,
      description: description(entry.description, name, fromHex) });
  });
}
const readHang = ({ video, audio }) => [...hangSection("video", video), ...hangSection("audio", audio)];

/** Codecs by which tracks of MSF are known that say no role. */
const FAMILIES = {
  video: ["avc1", "avc3", "hvc1", "hev1", "av01", "vp8", "vp08", "vp09", "jpeg"],
  audio: ["mp4a", "opus", "flac", "mp3", "ac-3", "ec-3", "pcm", "pcm-s16", "pcm-f32", "ulaw", "alaw"],
};
function kindOf({ role, codec }) {
  const kinds = Object.keys(FAMILIES);
  if (role !== undefined && role !== null) return kinds.find((kind) => kind === role);
  return isText(codec) ? kinds.find((kind) => FAMILIES[kind].includes(codec.split(".")[0].toLowerCase())) : undefined;
}

function msfTrack(kind, track, data) {
  const { name, packaging: container, codec, bitrate, width, height, framerate, timescale, initData, initRef } = track;
  const isGiven = initRef !== undefined && initRef !== null;
  const found = isGiven ? data.find((one) => isObject(one) && one.id === initRef) : undefined;
  if (isGiven && typeof found?.data !== "string") wrong(`"${name}" refers to init data that is not there`);
  if (timescale !== undefined && timescale !== null && !positive(timescale))
    wrong(`"${name}" has no timescale that could be one`);
  // What is in other containers is not for a decoder.
  const text = isContainer(container) ? initData ?? found?.data : undefined;
  const channels = Number.parseInt(track.channelConfig, 10) || 2;
  const read = rendition(kind, { name, container, codec, bitrate, width, height, framerate, channels,
    rate: track.samplerate ?? 48_000, description: description(text, name, fromBase64) });
  return timescale ? { ...read, timescale } : read;
}

function readMsf({ version, tracks, initDataList: data = [] }) {
  if (version !== 1 && typeof version !== "string") wrong("it is of a version of MSF that is not known");
  if (!Array.isArray(tracks)) wrong("it has no list of tracks");
  if (tracks.length > LIMITS.tracks) wrong(`it has more than ${LIMITS.tracks} tracks`);
  if (!Array.isArray(data)) wrong("its init data is no list");
  tracks.forEach((track, at) => isObject(track) ? checkName(track.name) : wrong(`track number ${at} is no object`));
  if (new Set(tracks.map(({ name }) => name)).size < tracks.length) wrong("two of its tracks have the same name");
  // Tracks of other kinds are nothing to play.
  return Object.keys(FAMILIES).flatMap((kind) => {
    const media = tracks.filter((track) => kindOf(track) === kind);
    checkCount(kind, media);
    return media.map((track) => msfTrack(kind, track, data));
  });
}

/** The lists of an update in draft 00 of MSF, by what they are in draft 01: operations. */
const LISTS = { addTracks: "add", removeTracks: "remove", cloneTracks: "clone" };

function msfUpdated(before, { deltaUpdate, ...fields }) {
  if (before === undefined) wrong("an update, and nothing before it");
  const lists = () => Object.entries(fields).filter(([name]) => Object.hasOwn(LISTS, name))
    .map(([name, tracks]) => ({ op: LISTS[name], tracks }));
  const changes = (Array.isArray(deltaUpdate) ? deltaUpdate : lists()).flatMap((operation) =>
    Array.isArray(operation?.tracks) ? operation.tracks.map((track) => ({ op: operation.op, track }))
      : wrong("an update without tracks"));
  if (changes.length > LIMITS.tracks) wrong(`an update of more than ${LIMITS.tracks} tracks`);
  const tracks = [...before.tracks];
  let left = LIMITS.bytes - JSON.stringify(before).length;
  const find = (wanted) => tracks.findIndex(({ name }) => name === wanted);
  for (const { op, track } of changes) {
    if (!isObject(track)) wrong("an update of what is no track");
    checkName(track.name);
    const { parentName, ...rest } = track;
    const [at, parent] = [find(track.name), op === "clone" ? tracks[find(parentName)] : {}];
    if (op === "remove" && at >= 0) tracks.splice(at, 1);
    else if ((op === "add" || op === "clone") && at < 0 && parent) tracks.push({ ...parent, ...rest });
    else wrong(`an update that cannot be made of "${track.name}"`);
    // Small updates add up, and a clone is as large as the whole.
    if (op !== "remove") left -= JSON.stringify(tracks.at(-1)).length;
    if (left < 0 || tracks.length > LIMITS.tracks) wrong("it has grown too large");
  }
  return { ...before, tracks };
}
const isMsfUpdate = ({ deltaUpdate }) => (deltaUpdate ?? false) !== false;

/** Formats by where their catalogs are, behind the namespace of a broadcast. The first one that is there is taken. */
const FORMATS = {
  "/catalog.json": { read: readHang },
  "/catalog": { read: readMsf, isUpdate: isMsfUpdate, updated: msfUpdated },
};
export const CATALOGS = Object.keys(FORMATS);
/** Where ours is. */
export const [CATALOG] = CATALOGS;

/** Best first: by size, then by bitrate. */
const better = (a, b) => (b.width ?? 0) * (b.height ?? 0) - (a.width ?? 0) * (a.height ?? 0)
  || (b.bitrate ?? 0) - (a.bitrate ?? 0);

/** Reads one group of a catalog: a whole document, and updates of it where the format has such. */
export class CatalogReader {
  #document;
  #format;
  /** `place` is one of `CATALOGS`. */
  constructor(place) { this.#format = FORMATS[place]; }

  /**
   * The renditions after one more document, the best ones first, as `{ video, audio, strange }`; `strange` are those
   * that nothing here can unpack. Unknown fields are skipped; throws if it is no catalog, which changes nothing.
   */
  read(bytes) {
    const { read, isUpdate = () => false, updated } = this.#format;
    if (bytes.length > LIMITS.bytes) wrong(`it is larger than ${LIMITS.bytes} bytes`);
    let document;
    try {
      document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch (error) {
      wrong(error.message);
    }
    if (!isObject(document)) wrong("it is no object");
    if (isUpdate(document)) document = updated(this.#document, document);
    const all = read(document);
    this.#document = document;
    const known = all.filter(({ container }) => isContainer(container));
    return {
      video: known.filter(({ kind }) => kind === "video").sort(better),
      audio: known.filter(({ kind }) => kind === "audio").sort(better),
      strange: all.filter((one) => !known.includes(one)),
    };
  }
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
