/** The page: what is on air, the player and its buttons, and how it goes. The work is done in a worker. */
import { Camera } from "./camera.js";
import { Chart } from "./charts.js";
import { Sound } from "./sound.js";

const $ = (id) => document.getElementById(id);
const given = new URLSearchParams(location.search);
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const send = (message, transfer = []) => worker.postMessage(message, transfer);
const sound = new Sound();
const broadcasts = new Map();
/** The broadcast that plays, or is waited for. Nothing is chosen by itself once somebody has chosen. */
let chosen = given.get("play") ?? undefined;
let hasChosen = chosen !== undefined;

const canvas = $("picture").transferControlToOffscreen();
send({ type: "canvas", canvas }, [canvas]);
send({ type: "port", port: sound.port }, [sound.port]);

/** Nobody looks at a page that is hidden, so it has sound alone. */
const sight = () => send({ type: "sight", isInSight: !document.hidden });
document.addEventListener("visibilitychange", sight);
sight();

// The relay.

/** The relay to use. A fingerprint that the page was given is that of one relay. */
function relay() {
  const url = $("relay").value;
  return { url, fingerprint: url === given.get("relay") ? given.get("fingerprint") ?? undefined : undefined };
}
function connect() {
  const { url, fingerprint } = relay();
  send({ type: "connect", url, fingerprint });
  $("command").textContent = `moqt pub ${url} demo/test --format test`;
}
$("relay").value = given.get("relay") ?? new URL("/", location).href;
$("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  connect();
});
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("command").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
});

// What is on air.

function list(path, isLive) {
  if (isLive && !broadcasts.has(path)) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: path });
    button.addEventListener("click", () => press(chosen === path ? undefined : path));
    const item = document.createElement("li");
    item.append(button);
    broadcasts.set(path, { item, button });
    const after = [...broadcasts.keys()].sort().find((other) => other > path);
    $("broadcasts").insertBefore(item, after ? broadcasts.get(after).item : null);
    if (!hasChosen && chosen === undefined) choose(path);
  } else if (!isLive && broadcasts.has(path)) {
    broadcasts.get(path).item.remove();
    broadcasts.delete(path);
  }
  $("count").textContent = broadcasts.size;
  $("none").hidden = broadcasts.size > 0;
  mark();
}

function mark() {
  for (const [path, { button }] of broadcasts) button.setAttribute("aria-pressed", String(path === chosen));
  $("toggle").disabled = chosen === undefined && broadcasts.size === 0;
  $("toggle").setAttribute("aria-pressed", String(chosen !== undefined));
  $("toggle").querySelector("span").textContent = chosen === undefined ? "Play" : "Stop";
  $("now").textContent = chosen ?? "";
}

function choose(path) {
  chosen = path;
  mark();
  for (const { chart } of Object.values(tiles)) chart.clear();
  $("notice").hidden = true;
  if (path === undefined) {
    send({ type: "stop" });
    show("idle", "Stopped");
  } else {
    send({ type: "watch", path });
  }
}

// The player.

function show(state, words) {
  $("stage").dataset.state = state;
  $("curtain-words").textContent = state === "playing" ? "" : words;
  $("picture").setAttribute("aria-label", state === "playing" ? `The picture of ${chosen}` : words);
  $("state").textContent = words;
}

/** Somebody has chosen. That is when the browser lets sound begin, and they expect some unless they turned it off. */
function press(path) {
  if (path !== undefined && isHeard === undefined) listen(true);
  hasChosen = true;
  choose(path);
}
const toggle = () => press(chosen === undefined ? broadcasts.keys().next().value : undefined);
async function listen(wanted) {
  if (wanted) await sound.start();
  isHeard = wanted;
  sound.volume = wanted ? $("volume").value / 100 : 0;
  $("mute").setAttribute("aria-pressed", String(wanted));
  $("sound-hint").hidden = wanted;
}
/** Whether sound is on; `undefined` until somebody has a say. */
let isHeard;
const mute = () => listen(!isHeard);
const full = () => document.fullscreenElement ? document.exitFullscreen() : $("stage").requestFullscreen();

$("toggle").addEventListener("click", toggle);
$("mute").addEventListener("click", mute);
$("sound-hint").addEventListener("click", () => listen(true).then(() => $("mute").focus()));
$("full").addEventListener("click", full);
$("volume").addEventListener("input", () => listen($("volume").value > 0));
$("quality").addEventListener("change", () => send({ type: "rendition", name: $("quality").value || undefined }));
$("buffer").addEventListener("input", () => {
  $("buffer-value").textContent = `${$("buffer").value} ms`;
  send({ type: "target", milliseconds: Number($("buffer").value) });
});
addEventListener("keydown", ({ key, target, ctrlKey, altKey, metaKey }) => {
  if (ctrlKey || altKey || metaKey || target.closest("input:not([type=range]), select, textarea")) return;
  if (key === "k" && !$("toggle").disabled) toggle();
  if (key === "m") mute();
  if (key === "f") full();
});

const label = ({ name, codec, width, height, bitrate }) =>
  [name, width && height && `${width}×${height}`, codec, bitrate && `${Math.round(bitrate / 1000)} kbit/s`]
    .filter(Boolean).join(", ");

function renditions({ video, audio }) {
  const options = video.map((one) => new Option(label(one), one.name));
  $("quality").replaceChildren(new Option("Automatic", ""), ...options);
  $("quality").disabled = video.length < 2;
  $("sound-hint").hidden = isHeard || audio.length === 0;
}

// How it goes.

const tile = (name, options) => {
  const element = document.querySelector(`[data-tile=${name}]`);
  return { output: element.querySelector("output"), chart: new Chart(element.querySelector("canvas"), options) };
};
const tiles = {
  latency: tile("latency", { floor: 100 }),
  buffer: tile("buffer", { floor: 100 }),
  bitrate: tile("bitrate", { floor: 100 }),
  dropped: tile("dropped", { bars: true, floor: 2 }),
};
const number = (value, unit, digits = 0) => value === undefined ? "–" : `${value.toFixed(digits)} ${unit}`;
const rate = (bits) => bits >= 1e6 ? number(bits / 1e6, "Mbit/s", 1) : number(bits / 1e3, "kbit/s");
const spread = ({ count, p50, p99 }) =>
  count === 0 ? "–" : `p50 ${number(p50, "ms", 1)}, p99 ${number(p99, "ms", 1)} (${count})`;
let droppedBefore = 0;

function figures(now) {
  const put = (name, words, value) => {
    tiles[name].output.textContent = words;
    tiles[name].chart.add(value);
  };
  put("latency", number(now.latency, "ms"), now.latency);
  put("buffer", number(now.buffer, "ms"), now.buffer);
  put("bitrate", rate(now.bitrate), now.bitrate / 1000);
  put("dropped", String(now.dropped), Math.max(0, now.dropped - droppedBefore));
  droppedBefore = now.dropped;
  $("to-decode").textContent = spread(now.toDecode);
  $("to-screen").textContent = spread(now.toScreen);
  $("pictures").textContent = `${now.decoded} decoded, ${now.shown} shown, ${number(now.framerate, "a second", 1)}`;
  const [heard, played] = [number(now.sound, "s", 1), number(now.played, "s", 1)];
  $("sound-figures").textContent = `${heard} decoded, ${played} played, ${now.gaps} gaps`;
  const delay = now.delay === undefined ? "" : `, shown after ${number(now.delay, "ms", 1)}`;
  $("jitter").textContent = number(now.jitter, "ms", 1) + delay;
}

const HANDLERS = {
  session: ({ state, words }) => {
    $("session").dataset.state = state;
    $("session").textContent = words;
  },
  broadcast: ({ path, live }) => list(path, live),
  known: () => { if (chosen !== undefined) send({ type: "watch", path: chosen }); },
  state: ({ state, words }) => show(state, words),
  size: ({ width, height }) => { $("stage").style.aspectRatio = `${width} / ${height}`; },
  renditions,
  rendition: ({ name, priority, coming }) => {
    const words = coming ? `, then ${coming.name} at ${coming.priority}` : "";
    $("rendition").textContent = priority === undefined ? `${name}, once the page is in sight`
      : `${name} at priority ${priority}${words}`;
  },
  notice: ({ words }) => {
    $("notice").hidden = false;
    $("notice").textContent = words;
  },
  figures,
};
worker.onmessage = ({ data }) => HANDLERS[data.type](data);
worker.onerror = ({ message }) => HANDLERS.notice({ words: `the player has failed: ${message}` });
addEventListener("pagehide", () => send({ type: "leave" }));

new Camera({
  form: $("camera"), name: $("camera-name"), withSound: $("camera-sound"), preview: $("preview"),
  button: $("camera-go"), state: $("camera-state"), relay,
});

show("idle", "Choose a broadcast to play");
mark();
connect();
