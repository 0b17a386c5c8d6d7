/** The worker of the page: one session, the names that are announced, and a player at a time. */
import { Session } from "../transfork.js";
import { CATALOGS } from "./catalog.js";
import { Player } from "./player.js";

/** Milliseconds between figures, and before the first and the longest wait for a relay that is lost. */
const [REPORT, SOON, LATE] = [250, 500, 8000];
/** Milliseconds before a broadcast that has ended, and is announced all the same, is tried again. */
const AGAIN = 3000;
/** Microseconds that sound has to be there before the worklet asks for it. */
const MARGIN = 15_000;
/** Most broadcasts that are listed. */
const MOST = 500;

let wanted;
let session;
let player;
let retry;
let canvas;
let port;
let path;
let isInSight = true;
let target = 40;
/** What the worklet tells of the sound. */
let heard = { played: 0, gaps: 0, waiting: 0 };
/** Broadcasts that are announced, each with the places of its catalogs. */
const live = new Map();
const tell = (message) => postMessage(message);

function draw(image) {
  const [width, height] = [image.displayWidth ?? image.width, image.displayHeight ?? image.height];
  if (canvas.width !== width || canvas.height !== height) {
    Object.assign(canvas, { width, height });
    tell({ type: "size", width, height });
  }
  canvas.getContext("2d", { alpha: false }).drawImage(image, 0, 0, width, height);
}

/** The place of the catalog that is read, if the broadcast has more than one. */
const catalogOf = (name) => CATALOGS.find((place) => live.get(name).has(place));

/** Plays what is wanted, if it is there. `wait` is how long to leave it alone should it end and still be announced. */
function play(wait = AGAIN) {
  stop();
  if (path === undefined || session === undefined) return;
  if (!live.has(path)) return tell({ type: "state", state: "waiting", words: `Waiting for ${path}` });
  // A publisher that ends is announced for a while; another one of the same name may take its place unnoticed.
  const onEnd = () => { retry = setTimeout(play, wait, Math.min(wait * 2, 10 * AGAIN)); };
  player = new Player({ session, path, catalog: catalogOf(path), isInSight, target, port, draw, tell, onEnd });
}

function stop() {
  clearTimeout(retry);
  player?.close();
  player = undefined;
}

/** Keeps a session with the relay, and tells of broadcasts as they come and go. */
async function stay({ url, fingerprint }) {
  let wait = SOON;
  for (;;) {
    const is = wanted;
    try {
      tell({ type: "session", state: "connecting", words: `Connecting to ${url}` });
      const opened = await Session.connect(url, { fingerprint });
      if (wanted !== is) return opened.close();
      session = opened;
      wait = SOON;
      tell({ type: "session", state: "connected", words: `Connected to ${url}` });
      await listen(opened);
    } catch (error) {
      if (wanted === is) tell({ type: "session", state: "lost", words: error.message });
    }
    forget();
    if (wanted !== is) return;
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, LATE);
    if (wanted !== is) return;
  }
}

function forget() {
  stop();
  session = undefined;
  for (const name of live.keys()) tell({ type: "broadcast", path: name, live: false });
  live.clear();
}

async function listen(opened) {
  for await (const { type, path: track } of opened.announced()) {
    if (type === "live") tell({ type: "known" });
    const place = CATALOGS.find((place) => track?.endsWith(place));
    if (place === undefined) continue;
    const name = track.slice(0, -place.length);
    if (type === "active" && live.size >= MOST && name !== path && !live.has(name)) {
      tell({ type: "notice", words: `There are more than ${MOST} broadcasts; the others are not listed.` });
      continue;
    }
    const places = live.get(name) ?? new Set();
    if (type === "active") live.set(name, places.add(place));
    else if (!places.delete(place)) continue;
    if (places.size === 0) live.delete(name);
    tell({ type: "broadcast", path: name, live: live.has(name) });
    if (name !== path) continue;
    if (live.has(name)) {
      if (player?.catalog !== catalogOf(name)) play();
    } else if (player) {
      stop();
      tell({ type: "state", state: "ended", words: `${name} has ended` });
    }
  }
  const { reason, by } = await opened.closed;
  throw new Error(`The session was ended by ${by === "peer" ? "the relay" : by}${reason ? `: ${reason}` : ""}`);
}

function connect(to) {
  wanted = to;
  session?.close();
  forget();
  stay(to);
}

const HANDLERS = {
  canvas: (message) => { canvas = message.canvas; },
  port: (message) => {
    port = message.port;
    port.onmessage = ({ data }) => {
      heard = data;
      if (player) player.clock.lead = data.device + MARGIN;
    };
  },
  connect,
  watch: (message) => {
    if (player && message.path === path) return;
    path = message.path;
    play();
  },
  stop: () => {
    path = undefined;
    stop();
  },
  sight: (message) => {
    ({ isInSight } = message);
    if (player) player.isInSight = isInSight;
  },
  rendition: ({ name }) => player?.choose(name),
  target: ({ milliseconds }) => {
    target = milliseconds;
    if (player) player.target = milliseconds;
  },
  leave: () => session?.close(),
};
onmessage = ({ data }) => HANDLERS[data.type](data);

const screen = () => {
  player?.show();
  requestAnimationFrame(screen);
};
requestAnimationFrame(screen);
setInterval(() => player && tell({ type: "figures", ...player.report(), ...heard }), REPORT);
