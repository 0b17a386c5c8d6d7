/**
 * Runs the cases of `cases.mjs` and `play.mjs` in a headless Chromium, and prints TAP.
 *
 *     node run.mjs --moqt PROGRAM --closing PROGRAM --impair PROGRAM --chromium PROGRAM --modules FOLDER [PART]
 *
 * `cargo xtask interop browser` builds the programs, installs the modules and calls this.
 */
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";

import { cases as client } from "./cases.mjs";
import { cases as player } from "./play.mjs";
import { Process, Relay, serveFiles } from "./support.mjs";

/** Milliseconds for one case, and for what it may take to clean up after it. */
const [PATIENCE, CLEANUP] = [30_000, 5_000];

const option = { type: "string" };
const { values: programs, positionals: [part = ""] } = parseArgs({
  options: { moqt: option, closing: option, impair: option, chromium: option, modules: option },
  allowPositionals: true,
});

const { chromium } = createRequire(path.resolve(programs.modules, "package.json"))("playwright-core");
const browser = await chromium.launch({
  executablePath: programs.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream"],
});
const files = await serveFiles(new URL("..", import.meta.url));

/** What a case gets: programs and pages that are gone when it is over. */
class Context {
  #processes = [];
  #pages = [];
  words = [];
  remarks = [];
  /** Where pages have asked for anything. */
  asked = new Set();
  origin = files.origin;
  constructor({ url, fingerprint }) { Object.assign(this, { url, fingerprint, address: new URL(url).host }); }

  start(program, ...args) {
    const process = new Process(programs[program], args);
    this.#processes.push(process);
    return process;
  }

  /** A program of the machine, if it is there. */
  tool(program, ...args) {
    if (spawnSync(program, ["-version"]).error) return undefined;
    const process = new Process(program, args);
    this.#processes.push(process);
    return process;
  }

  /** A remark that is shown whatever comes of the case. */
  say(words) {
    this.remarks.push(words);
  }

  moqt(...args) {
    return this.start("moqt", ...args);
  }

  async relay(...options) {
    const relay = await Relay.start(programs.moqt, ...options);
    this.#processes.push(relay.process);
    return relay;
  }

  /** Keeps a screenshot in the folder MOQT_SCREENSHOTS, if there is such a wish. */
  async keep(page, name) {
    const folder = process.env.MOQT_SCREENSHOTS;
    if (!folder) return;
    await mkdir(folder, { recursive: true });
    await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
  }

  async page(place = "/test/empty.html") {
    const page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE / 2);
    this.#pages.push(page);
    page.on("request", (request) => this.asked.add(new URL(request.url()).origin));
    page.on("console", (message) => this.words.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => this.words.push(`page error: ${error.stack}`));
    await page.goto(new URL(place, this.origin).href);
    return page;
  }

  async end() {
    for (const process of this.#processes) {
      this.words.push(...process.stderr.split("\n").filter((line) => line !== "").map((line) => `stderr: ${line}`));
      process.kill();
    }
    // As a user closes a tab: otherwise the relay hears nothing of it until the connection is idle for too long.
    await Promise.all(this.#pages.map((page) => page.close({ runBeforeUnload: true })));
  }
}

async function within(patience, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not end within ${patience} ms`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Runs a case, and gives the lines of its result without their number. */
async function result(name, run, relay) {
  const context = new Context(relay);
  const began = performance.now();
  let problem;
  try {
    await within(PATIENCE, run(context), "the case");
  } catch (error) {
    problem = error;
  }
  const took = Math.round(performance.now() - began);
  await within(CLEANUP, context.end(), "cleaning up").catch((error) => { problem ??= error; });
  const words = problem ? [problem.stack, ...context.words].join("\n").split("\n") : [];
  return { failed: problem !== undefined, line: `browser: ${name} # ${took} ms`, remarks: [...context.remarks, ...words] };
}

// Most cases wait most of the time, so those of the client and of the player run beside each other, each on a relay of
// their own.
const lanes = [client, player].map((cases) => Object.entries(cases).filter(([name]) => name.includes(part)));
const count = lanes.flat().length;
let [number, failures] = [0, 0];
console.log(`TAP version 14\n1..${count}`);
await Promise.all(lanes.map(async (chosen) => {
  const relay = await Relay.start(programs.moqt);
  for (const [name, run] of chosen) {
    const { failed, line, remarks } = await result(name, run, relay);
    number += 1;
    failures += Number(failed);
    console.log([`${failed ? "not ok" : "ok"} ${number} - ${line}`, ...remarks.map((words) => `# ${words}`)].join("\n"));
  }
  relay.process.kill();
}));
files.close();
const closed = browser.close();
await within(CLEANUP, closed, "the browser").catch((error) => console.log(`# ${error.message}`));
console.log(`# Chromium ${browser.version()}: ${count - failures} of ${count} passed`);
process.exit(failures === 0 && count > 0 ? 0 : 1);
