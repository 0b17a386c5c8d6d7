/** What the page that plays decides without a browser: packing, catalogs, order, time and sound. */
import assert from "node:assert/strict";

import { CATALOG, CatalogReader, writeCatalog } from "../play/catalog.js";
import { Clock, wallClock } from "../play/clock.js";
import { CONTAINERS, writeLoc } from "../play/container.js";
import { Groups, LIMITS } from "../play/groups.js";
import { Player } from "../play/player.js";
import { Quality } from "../play/quality.js";
import { SampleQueue } from "../play/samples.js";
import { Rate, Recent } from "../play/stats.js";

const bytes = (hex) => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
const text = (value) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

const readCatalog = (document, place = CATALOG) =>
  new CatalogReader(place).read(document instanceof Uint8Array ? document : text(document));

function containers() {
  const payload = "0000000365b804";
  for (const [hex, timestamp] of [
    ["05 10 80 16 e3 60", 1_500_000], ["0a 08 80 01 5f 90 08 80 02 0f 58", 1_500_000],
    ["02 06 07", 7], ["06 0d 02 ff ff 03 09", 9],
  ]) {
    const frame = CONTAINERS.loc(bytes(hex + payload));
    assert.equal(frame.timestamp, timestamp, hex);
    assert.deepEqual(Buffer.from(frame.payload).toString("hex"), payload, hex);
  }
  assert.equal(CONTAINERS.legacy(bytes("80 16 e3 60 aa")).timestamp, 1_500_000);
  assert.equal(CONTAINERS.loc(bytes("05 10 80 01 5f 90" + payload), 90_000).timestamp, 1_000_000);
  for (const timestamp of [0, 63, 64, 16383, 16384, 2 ** 30, 1_795_000_000_000_000]) {
    const { timestamp: read, payload } = CONTAINERS.loc(writeLoc(timestamp, bytes("01 02")));
    assert.equal(read, timestamp);
    assert.deepEqual(payload, bytes("01 02"));
  }
  for (const [hex, words] of [
    ["", /cut short/], ["05", /cut short/], ["05 10 80", /cut short/], ["02 10 80", /cut short/], ["00", /no time/],
    ["04 08 00 08 01", /0 units/], ["04 0d 7f 01 01", /cut short/], ["ff ff ff ff ff ff ff ff 00", /cut short/],
  ]) assert.throws(() => CONTAINERS.loc(bytes(hex)), words, hex);
}

function catalogs() {
  const video = { kind: "video", name: "v", container: "loc", codec: "avc1.42c00d", bitrate: 5, width: 640,
    height: 360, framerate: 30, description: bytes("0142c0") };
  const audio = { kind: "audio", name: "a", container: "loc", codec: "opus", bitrate: undefined, rate: 48_000,
    channels: 2, description: undefined };
  const written = writeCatalog({ video: [video], audio: [audio] });
  assert.deepEqual(readCatalog(written), { video: [video], audio: [audio], strange: [] });
  assert.deepEqual(readCatalog({ other: 1 }), { video: [], audio: [], strange: [] });
  const renditions = {
    small: { codec: "jpeg", codedWidth: 320, codedHeight: 180 }, odd: { codec: "vp8", container: { kind: "cmaf" } },
    large: { codec: "jpeg", codedWidth: 640, codedHeight: 360, "x.y": [] },
  };
  const read = readCatalog({ video: { renditions } });
  assert.deepEqual(read.video.map(({ name, container }) => `${name} ${container}`), ["large legacy", "small legacy"]);
  assert.deepEqual(read.strange.map(({ name }) => name), ["odd"]);
  const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`v${at}`, { codec: "vp8" }]));
  for (const [catalog, words] of [
    ["{", /the catalog is wrong: .*JSON/], ["[]", /no object/], [{ video: 1 }, /"video" has no renditions/],
    [bytes("ff"), /the catalog is wrong/], [" ".repeat((1 << 20) + 1), /larger than/],
    [{ video: { renditions: many } }, /larger than|more than 64 renditions/],
    [{ video: { renditions: { v: null } } }, /"v" is no object/], [{ video: { renditions: { v: {} } } }, /no codec/],
    [{ video: { renditions: { "../v": { codec: "vp8" } } } }, /of the name/],
    [{ video: { renditions: { v: { codec: "vp8", description: "0g" } } } }, /hexadecimal/],
    [{ video: { renditions: { v: { codec: "vp8", description: "00".repeat(70_000) } } } }, /too long/],
    [{ video: { renditions: { v: { codec: "v".repeat(300) } } } }, /no codec/],
    [{ audio: { renditions: { a: { codec: "opus", numberOfChannels: 2 } } } }, /sample rate/],
    [{ audio: { renditions: { a: { codec: "opus", sampleRate: 48_000 } } } }, /channels/],
    [{ audio: { renditions: { a: { codec: "opus", sampleRate: 1e300, numberOfChannels: 2 } } } }, /sample rate/],
  ]) assert.throws(() => readCatalog(catalog), words);
}

/** A catalog of MSF, draft 01, with these tracks. */
const msf = (tracks, more = {}) => ({ version: "1", tracks, ...more });
const readMsf = (document) => readCatalog(document, "/catalog");
const names = ({ video, audio }) => [...video, ...audio].map(({ name }) => name).join(" ");

function catalogsOfMsf() {
  const size = { width: 320, height: 180, framerate: 30 };
  const video = { name: "v", packaging: "loc", isLive: true, role: "video", codec: "avc1.42c00d", bitrate: 300_000 };
  const audio = { name: "a", packaging: "loc", isLive: true, role: "audio", codec: "opus", samplerate: 44_100,
    channelConfig: "1" };
  const init = { initDataList: [{ id: "i", type: "inline", data: "AULA" }] };
  const [description, common] = [bytes("0142c0"), { container: "loc", bitrate: undefined }];
  const expected = {
    video: [{ ...common, kind: "video", name: "v", codec: "avc1.42c00d", bitrate: 300_000, ...size, description }],
    audio: [{ ...common, kind: "audio", name: "a", codec: "opus", rate: 44_100, channels: 1, description: undefined }],
    strange: [],
  };
  assert.deepEqual(readMsf(msf([{ ...video, ...size, initRef: "i" }, audio], init)), expected);
  const old = { version: 1, tracks: [{ ...video, ...size, initData: "AULA" }, audio] };
  assert.deepEqual(readMsf(old), expected, "draft 00");
  const { video: [noRole], audio: [defaults], strange } = readMsf(msf([
    { name: "v", packaging: "legacy", codec: "vp8", timescale: 90_000 },
    { name: "a", packaging: "loc", role: "audio", codec: "mp4a.40.2" },
    { name: "c", packaging: "cmaf", role: "video", codec: "vp8", initData: "no base64!" },
    { name: "t", packaging: "mediatimeline", role: "mediatimeline" }, { name: "u", packaging: "loc", codec: "text" },
  ], { extra: [] }));
  assert.deepEqual([noRole.kind, noRole.container, noRole.timescale], ["video", "legacy", 90_000]);
  assert.deepEqual([defaults.rate, defaults.channels], [48_000, 2]);
  assert.deepEqual(strange.map(({ name }) => name), ["c"]);
  assert.equal(names(readMsf(msf([]))), "");

  const many = (count, track = {}) => Array.from({ length: count }, (_, at) => ({ ...track, name: `v${at}` }));
  for (const [catalog, words] of [
    ['{"version":"1","tracks":[{"na', /JSON/], [{}, /version/], [{ version: 2, tracks: [] }, /version/],
    [{ version: "1" }, /no list of tracks/], [msf({}), /no list of tracks/], [msf([1]), /number 0 is no object/],
    [msf([{ ...video, name: 7 }]), /of the name "7"/], [msf([{ ...video, name: "../v" }]), /of the name/],
    [msf([video, video]), /same name/], [msf([{ ...video, codec: {} }]), /no codec/],
    [msf([{ ...audio, samplerate: "48000" }]), /sample rate/], [msf([{ ...audio, channelConfig: "99" }]), /channels/],
    [msf([{ ...video, timescale: 0 }]), /timescale/], [msf([{ ...video, initData: "!" }]), /no base64/],
    [msf([{ ...video, initRef: "i" }]), /init data that is not there/], [msf([video], { initDataList: 1 }), /no list/],
    [msf([{ ...video, initData: "AAAA".repeat(40_000) }]), /too long/],
    [msf(many(100_000)), /larger than/], [msf(Array(100_000).fill({})), /more than 256 tracks/],
    [msf(many(65, video)), /"video" has more than 64/], ["[".repeat(1 << 20), /the catalog is wrong/],
  ]) assert.throws(() => readMsf(catalog), words);
}

function updatesOfMsf() {
  const reader = new CatalogReader("/catalog");
  const read = (document) => names(reader.read(text(document)));
  const update = (...changes) => ({ deltaUpdate: changes.map(([op, ...tracks]) => ({ op, tracks })) });
  const video = { name: "v", packaging: "loc", role: "video", codec: "vp8", width: 640, height: 360 };
  const audio = { name: "a", packaging: "loc", role: "audio", codec: "opus" };
  assert.throws(() => read(update(["remove", { name: "v" }])), /nothing before it/);
  assert.equal(read(msf([video])), "v");
  assert.equal(read(update(["add", audio], ["clone", { name: "w", parentName: "v", width: 320 }])), "v w a");
  assert.equal(read({ deltaUpdate: true, removeTracks: [{ name: "v" }], addTracks: [video] }), "v w a", "draft 00");
  for (const change of [
    ["add", audio], ["remove", { name: "x" }], ["clone", { name: "x", parentName: "y" }], ["turn", audio], ["add", 1],
    ["add", { ...video, name: "x", codec: 1 }], ["add", { ...audio, name: "" }],
  ]) assert.throws(() => read(update(["remove", { name: "v" }], change)), /the catalog is wrong/);
  assert.equal(read(update(["remove", { name: "w" }])), "v a", "an update that cannot be made changes nothing");
  assert.throws(() => read({ deltaUpdate: [{ op: "add" }] }), /without tracks/);
  assert.throws(() => read(update(["remove", ...Array(257).fill({ name: "v" })])), /more than 256/);
  const note = { role: "log", packaging: "moqlog", note: "x".repeat(200_000) };
  assert.throws(() => {
    for (let at = 0; at < 10; at++) read(update(["add", { ...note, name: `n${at}` }]));
  }, /too large/);
  assert.throws(() => read(update(...Array.from({ length: 20 }, (_, at) =>
    ["clone", { name: `c${at}`, parentName: "n0" }]))), /too large/);
}

/** Frames of one byte whose times are their numbers. */
const frame = (timestamp) => ({ timestamp, payload: new Uint8Array(1) });
/** Takes frames until there is none, at a time. */
function drain(groups, now = -1) {
  const taken = [];
  for (let next; (next = groups.take(({ timestamp }) => timestamp <= now)) !== undefined;)
    taken.push(`${next.group}:${next.timestamp}${next.key ? "k" : ""}`);
  return taken.join(" ");
}

function groupsInOrder() {
  const groups = new Groups();
  const [first, second] = [groups.begin(4), groups.begin(5)];
  groups.add(second, frame(20));
  assert.equal(drain(groups), "", "the first is waited for");
  groups.add(first, frame(10));
  groups.add(first, frame(11));
  assert.equal(drain(groups), "4:10k 4:11");
  groups.end(first);
  assert.equal(drain(groups), "5:20k");
  assert.equal(groups.dropped, 0);
  groups.end(second);
  assert.equal(groups.begin(5), undefined, "a group comes once");
}

function groupsBehind() {
  const groups = new Groups();
  const cancelled = [];
  const begin = (sequence) => groups.begin(sequence, () => cancelled.push(sequence));
  const first = begin(1);
  groups.add(first, frame(10));
  assert.equal(drain(groups), "1:10k");
  groups.add(begin(2), frame(20));
  groups.add(begin(4), frame(40));
  assert.equal(drain(groups, 19), "");
  assert.equal(drain(groups, 45), "4:40k", "the newest that is due takes over");
  assert.deepEqual(cancelled, [1, 2]);
  assert.equal(groups.dropped, 3, "two were left, and one never came");
  // What is known not to come is not waited for.
  const fifth = begin(7);
  groups.add(fifth, frame(70));
  groups.end(groups.begin(5));
  assert.equal(drain(groups, 0), "");
  const late = new Groups();
  late.end(late.begin(1));
  drain(late);
  late.skip(3);
  late.add(late.begin(4), frame(1));
  assert.equal(drain(late), "4:1k");
  assert.equal(late.dropped, 2);
}

function groupsAreBounded() {
  const groups = new Groups();
  const cancelled = [];
  for (let sequence = 0; sequence <= LIMITS.groups; sequence++)
    groups.begin(sequence, () => cancelled.push(sequence));
  assert.deepEqual(cancelled, [0]);
  const large = new Groups();
  const half = { timestamp: 0, payload: new Uint8Array(LIMITS.bytes / 2) };
  const [first, second] = [large.begin(0), large.begin(1)];
  large.add(first, half);
  large.add(second, half);
  assert.equal(large.dropped, 0);
  large.add(second, frame(1));
  assert.equal(large.dropped, 1);
}

function time() {
  const clock = new Clock(40_000);
  let now = 1e15;
  // What had waited for us comes at once, and then what is new, 2 ms after its time.
  for (let age = 400; age > 0; age -= 33) clock.arrived(now - age * 1000, now);
  const frames = (count, took) => {
    for (let at = 0; at < count; at++) clock.arrived((now += 33_000) - took(at), now);
  };
  frames(30, () => 2000);
  assert.ok(Math.abs(clock.delay - 42_000) < 1000, `${clock.delay} after a calm second`);
  frames(60, (at) => at % 7 === 0 ? 90_000 : 2000);
  assert.ok(clock.delay >= 89_000 && clock.delay < 95_000, `${clock.delay} with jitter`);
  assert.equal(Math.round(clock.jitter), 88_000);
  frames(1, () => 100_000);
  assert.ok(clock.delay < 99_000, `${clock.delay}: what is a little late moves it little`);
  frames(1, () => 250_000);
  assert.ok(clock.delay > 249_000 && clock.delay < 251_000, `${clock.delay}: what is missed moves it at once`);
  frames(400, () => 2000);
  assert.ok(Math.abs(clock.delay - 42_000) < 1000, `${clock.delay} after thirteen calm seconds`);
  frames(2, () => 3_000_000);
  assert.ok(clock.jitter <= 400_000, "what is far too late is not waited for");
  clock.arrived(5_000_000, now);
  assert.equal(clock.delay, now - 5_000_000 + 40_000, "another clock is begun with anew");
}

function quality() {
  const way = new Quality();
  let now = 0;
  let state = { index: 0, count: 2, dropped: 0 };
  const steps = (count, change = {}) => {
    for (let at = 0; at < count; at++) {
      now += 250_000;
      const next = way.decide({ ...state, now, late: 0, ...change });
      if (next !== undefined) return next;
    }
    return undefined;
  };
  assert.equal(steps(200), undefined, "the best one stays");
  state.dropped = 3;
  assert.equal(steps(1), 1, "down after groups that were dropped");
  state.index = 1;
  assert.equal(steps(79), undefined, "patience is doubled");
  assert.equal(steps(24), 0, "up when it has gone well");
  assert.equal(steps(15, { coming: 0 }), undefined, "a trial takes its time");
  assert.equal(steps(3, { coming: 0 }), 1, "and is given up");
  state = { index: 0, count: 2, dropped: 9 };
  const other = new Quality();
  assert.equal(other.decide({ ...state, now: 0, late: 0 }), undefined);
  other.pause();
  assert.equal(other.decide({ ...state, now: 1e6, late: 0, dropped: 20 }), undefined, "a pause is not looked back on");
  const late = { now: 5e6, index: 0, count: 3, dropped: 0, late: 2e6 };
  assert.equal(new Quality().decide(late), 1, "down when it stalls");
}

function sound() {
  const rate = 48_000;
  const queue = new SampleQueue(rate);
  const micros = (samples) => samples * 1_000_000 / rate;
  const push = (start, length = 480) => queue.push({ timestamp: micros(start), rate,
    planes: [Float32Array.from({ length }, (_, at) => (start + at) / 1e6)] });
  const render = (due) => {
    const output = [new Float32Array(128)];
    queue.render(output, micros(due));
    return output[0];
  };
  assert.ok(render(0).every((value) => value === 0), "silence without sound");
  for (let start = 1000; start < 10_000; start += 480) push(start);
  const before = render(950);
  assert.ok(before.subarray(0, 50).every((value) => value === 0), "sound begins at its time");
  assert.ok(before[60] > 0);
  render(1078);
  assert.ok(Math.abs(render(1206)[10] - 0.001216) < 1e-6, "samples come out as they went in");
  assert.equal(queue.played, 78 + 256);
  // A clock that is 10 ms ahead is caught up with, by speed and not by a jump.
  const wanted = 1334 + 480;
  const faster = render(wanted);
  assert.ok(faster[127] - faster[0] > 127.3e-6 && faster[127] < 0.0015, "a little faster");
  assert.ok(render(8000).some((value) => value > 0.008), "far behind it jumps");
  assert.ok(Math.abs(queue.waiting - micros(10_120 - 8128)) < 10, `${queue.waiting} waits`);
  assert.ok(render(100_000).every((value) => value === 0), "nothing is left");
  assert.equal(queue.waiting, 0);
  const other = new SampleQueue(rate);
  other.push({ timestamp: 0, rate: 24_000, planes: [new Float32Array(2400)] });
  for (let at = 0; at < 4800; at += 128) other.render([new Float32Array(128)], micros(at));
  assert.equal(other.played, 4800, "another rate lasts as long");
  for (let at = 0; at < 500; at++) push(200_000 + at * 480);
  assert.ok(queue.waiting <= 4_000_000, `${queue.waiting} waits`);
}

function statistics() {
  const recent = new Recent(4);
  assert.equal(recent.percentile(0.5), undefined);
  for (const value of [100, 1, 2, 3, 4]) recent.add(value);
  assert.deepEqual([recent.count, recent.percentile(0), recent.percentile(0.5), recent.percentile(1)], [4, 1, 3, 4]);
  const rate = new Rate();
  for (let at = 0; at <= 12; at++) assert.equal(rate.add(at * 25, at * 250_000), at === 0 ? 0 : 100);
}

/** A session of which a test is the other side. */
class FakeSession {
  subscriptions = [];
  async subscribe(path, { onGap, ...wish }) {
    let queue;
    const groups = new ReadableStream({ start: (controller) => { queue = controller; } });
    const subscription = Object.assign(groups.values(), { path, wish, isCancelled: false });
    Object.assign(subscription, {
      update: (change) => Object.assign(wish, change),
      cancel: () => { subscription.isCancelled = true; },
      give: (sequence, ...frames) =>
        queue.enqueue(Object.assign(ReadableStream.from(frames).values(), { sequence, cancel() {} })),
    });
    this.subscriptions.push(subscription);
    return subscription;
  }
  /** The one to a track that is not cancelled, once there is one. */
  async to(path) {
    const find = () => this.subscriptions.find((one) => one.path === path && !one.isCancelled);
    await until(() => find() !== undefined, path);
    return find();
  }
}

/** Waits until something is so. */
async function until(isSo, what) {
  for (let tries = 0; !isSo(); tries++) {
    assert.ok(tries < 1000, `it takes too long: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A player of two renditions of `a`, with what it tells, and what is between it and its broadcast. */
async function playing() {
  globalThis.createImageBitmap = async () => ({ width: 1, height: 1, close() {} });
  const [session, told] = [new FakeSession(), {}];
  const tell = (message) => { told[message.type] = message; };
  const player = new Player({ session, path: "a", catalog: CATALOG, target: 0, tell, draw() {}, onEnd() {} });
  const renditions = [["large", 640, 360], ["small", 320, 180]];
  const video = renditions.map(([name, width, height]) => ({ name, codec: "jpeg", width, height }));
  const audio = [{ name: "sound", codec: "pcm-s16", rate: 48_000, channels: 1 }];
  (await session.to("a/catalog.json")).give(0, text(writeCatalog({ video, audio })));
  const frame = (size, age = 0) => writeLoc(Math.round(wallClock() - age), new Uint8Array(size));
  return { player, session, told, frame, picture: (age) => frame(1, age) };
}

async function renditionsChange() {
  const { player, session, told, picture } = await playing();
  let shown = await session.to("a/large");
  assert.equal(shown.wish.priority, 120);
  shown.give(0, picture());
  await until(() => player.figures.decoded === 1, "the first picture");
  for (const [name, above] of [["small", 20], ["large", -20], ["small", 20], ["large", -20]]) {
    player.choose(name);
    const next = await session.to(`a/${name}`);
    assert.deepEqual([next.wish.priority, next.wish.order], [120 + above, "descending"]);
    assert.deepEqual([told.rendition.priority, told.rendition.coming], [120, { name, priority: 120 + above }]);
    assert.ok(!shown.isCancelled, "what is shown goes on");
    next.give(0, picture());
    await until(() => shown.isCancelled, `${name} takes over`);
    assert.deepEqual([next.wish.priority, next.wish.order], [120, "descending"], "nothing is left of the switch");
    assert.deepEqual([told.rendition.name, told.rendition.priority, told.rendition.coming], [name, 120, undefined]);
    shown = next;
  }
  (await session.to("a/catalog.json")).give(1, text("{"));
  await until(() => told.notice !== undefined, "a word on the catalog");
  assert.match(told.notice.words, /the catalog is wrong/);
  assert.ok(!shown.isCancelled, "what plays goes on");
  player.choose("small");
  const small = await session.to("a/small");
  player.choose("large");
  assert.ok(small.isCancelled && !shown.isCancelled, "one that is not wanted any more is let go of");
  player.close();
  assert.ok(session.subscriptions.every(({ isCancelled }) => isCancelled));
}

async function outOfSight() {
  const { player, session, told, frame, picture } = await playing();
  const [large, sound] = [await session.to("a/large"), await session.to("a/sound")];
  const shows = (count) => until(() => player.show() ?? player.figures.shownCount >= count, `picture ${count}`);
  large.give(7, picture());
  await shows(1);
  player.isInSight = false;
  assert.ok(large.isCancelled && !sound.isCancelled);
  assert.deepEqual(told.rendition, { type: "rendition", name: "large" });
  sound.give(0, frame(9600));
  await until(() => player.figures.soundSeconds === 0.1, "sound goes on, also where nothing asks for pictures");
  assert.doesNotMatch(told.state.words, /sound alone/);
  player.choose("small");
  assert.equal(told.rendition.name, "small");
  assert.ok(!session.subscriptions.some(({ path }) => path === "a/small"));
  await new Promise((resolve) => setTimeout(resolve, 400));
  player.isInSight = true;
  const small = await session.to("a/small");
  assert.deepEqual([small.wish.priority, small.wish.order], [120, "descending"]);
  // A group from when nobody looked.
  const ages = Array.from({ length: 20 }, (_, at) => 390_000 - at * 10_000);
  small.give(99, ...ages.map(picture));
  await until(() => player.show() ?? player.figures.decoded === 21, "all is decoded");
  assert.equal(player.figures.shownCount, 1, "what is old is not shown");
  small.give(100, picture());
  await shows(2);
  const { dropped, toDecode, latency } = player.report();
  assert.equal(dropped, 0);
  assert.equal(toDecode.count, 1);
  assert.ok(latency < 500, `${latency} ms`);
  player.isInSight = false;
  player.close();
  player.isInSight = true;
  assert.ok(session.subscriptions.every(({ isCancelled }) => isCancelled));
}

/** All of them by name. */
export const units = { containers, catalogs, catalogsOfMsf, updatesOfMsf, groupsInOrder, groupsBehind, groupsAreBounded,
  time, quality, sound, statistics, renditionsChange, outOfSight };
