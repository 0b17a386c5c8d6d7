/** The page: all tracks of a relay in a list, what the pressed ones carry as text, and a line of one's own. */
import { Session, TransforkError } from "./transfork.js";

const ROOM = "chat/lobby";
/** Lines that stay on the page, and characters of one that are shown. */
const [LINES, CHARACTERS] = [300, 500];

const at = (id) => document.getElementById(id);
const wish = new URLSearchParams(location.search);
at("relay").value = wish.get("relay") ?? "http://localhost:4443/";
at("name").value = wish.get("name") ?? `guest-${Math.floor(Math.random() * 9000 + 1000)}`;

/** @type {Session | undefined} */
let session;
/** Our own track. */
let voice;
/** Subscriptions to the tracks of the list that are read, by their paths. */
const reading = new Map();

function status(state, text) {
  at("status").dataset.state = state;
  at("status").textContent = text;
}

/** Adds a line, and follows it unless the reader has scrolled up. */
function log(from, text) {
  const list = at("log");
  const follow = list.scrollTop + list.clientHeight >= list.scrollHeight - 40;
  const item = document.createElement("li");
  for (const [name, words] of from ? [["from", from], ["text", text]] : [["note", text]]) {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = words;
    item.append(span);
  }
  list.append(item);
  if (list.childElementCount > LINES) list.firstElementChild.remove();
  if (follow) list.scrollTop = list.scrollHeight;
}

/** People of the room go by their names. */
const label = (path) => decodeURIComponent(path.startsWith(`${ROOM}/`) ? path.slice(ROOM.length + 1) : path);

function show(frame) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(frame).trimEnd();
    return text.length > CHARACTERS ? `${text.slice(0, CHARACTERS)} …` : text;
  } catch {
    return `(${frame.length} bytes that are no text)`;
  }
}

async function read(path, button) {
  reading.set(path, undefined);
  button.setAttribute("aria-pressed", "true");
  const onGap = ({ first, last, code }) => {
    const which = first === last ? `group ${first}` : `groups ${first} to ${last}`;
    log("", `${label(path)}: ${which} did not come (code ${code})`);
  };
  try {
    const subscription = await session.subscribe(path, { onGap });
    reading.set(path, subscription);
    for await (const group of subscription)
      for await (const frame of group) log(label(path), show(frame));
    if (!subscription.stopped) log("", `${label(path)} has ended.`);
  } catch (error) {
    if (!reading.get(path)?.stopped && error.scope !== "session") log("", `${label(path)}: ${error.message}`);
  } finally {
    reading.delete(path);
    button.setAttribute("aria-pressed", "false");
  }
}

function stop(path) {
  const subscription = reading.get(path);
  if (!subscription) return;
  subscription.stopped = true;
  subscription.cancel();
}

function list(path) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label(path);
  button.title = path;
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    if (reading.has(path)) stop(path);
    else read(path, button);
  });
  const item = document.createElement("li");
  item.dataset.path = path;
  item.append(button);
  at("tracks").append(item);
  if (path.startsWith(`${ROOM}/`) && path !== voice.path) read(path, button);
}

async function follow() {
  try {
    for await (const { type, path } of session.announced()) {
      if (type === "active") list(path);
      if (type === "ended") at("tracks").querySelector(`[data-path="${CSS.escape(path)}"]`)?.remove();
      at("count").textContent = at("tracks").childElementCount || (type === "live" ? "none yet" : "");
    }
  } catch (error) {
    if (error.scope !== "session") status("failed", error.message);
  }
}

/** Leaves in order: others read that we have ended, rather than that we are lost. */
async function leave() {
  at("join").disabled = true;
  await Promise.race([voice.end(), session.closed, new Promise((resolve) => setTimeout(resolve, 1000))]);
  session?.close(0, "left");
}

/** What can be typed and pressed, with a session and without. */
function enable(on) {
  for (const id of ["line", "send"]) at(id).disabled = !on;
  for (const id of ["relay", "name"]) at(id).disabled = on;
  at("join").textContent = on ? "Leave" : "Connect";
  at("join").disabled = false;
}

async function join() {
  at("join").disabled = true;
  status("idle", `Connecting to ${at("relay").value} …`);
  try {
    session = await Session.connect(at("relay").value);
    voice = session.publish(`${ROOM}/${encodeURIComponent(at("name").value)}`, { keep: 16 });
  } catch (error) {
    session = undefined;
    status("failed", error instanceof TransforkError || error instanceof RangeError ? error.message : String(error));
    return enable(false);
  }
  status("on", `Connected to ${at("relay").value} as ${at("name").value}.`);
  enable(true);
  at("line").focus();
  follow();
  const { code, reason, by } = await session.closed;
  session = undefined;
  at("tracks").replaceChildren();
  at("count").textContent = "";
  const what = by === "peer" ? "The relay ended the session" : "The connection was lost";
  const why = reason || (code ? `code ${code}` : "it gave no reason");
  if (by === "us") status("idle", "You left.");
  else status("failed", `${what}: ${why}`);
  enable(false);
}

at("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  if (session) leave();
  else join();
});

addEventListener("pagehide", () => session?.close(0, "left"));

at("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("line").value.trim();
  if (!session || text === "") return;
  voice.write(text);
  log(label(voice.path), text);
  at("line").value = "";
});
