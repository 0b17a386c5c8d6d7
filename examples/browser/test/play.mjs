/** The cases of the page that plays, as `relay --dev` serves it. */
import assert from "node:assert/strict";

import { units } from "./units.mjs";

/** The number of the test source's picture in an image: 32 squares along the top edge, the highest bit first. */
const NUMBER = `globalThis.numberOf = (image) => {
  const context = new OffscreenCanvas(image.width, 1).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, Math.round(-image.width / 80));
  const bit = (at) => context.getImageData((at + 0.5) * image.width / 40, 0, 1, 1).data[0] > 127;
  return Array.from({ length: 32 }, (_, at) => Number(bit(at))).reduce((sum, bit) => sum * 2 + bit, 0);
}`;

/** The page of a relay, with what to add to its URL. */
async function open(test, query = {}, url = test.url) {
  const page = await test.page(new URL(`/?${new URLSearchParams(query)}`, url).href);
  await page.evaluate(NUMBER);
  return page;
}

/** The number of the picture that the page shows; it comes to more than that; that of a screenshot. */
const pictureDrawn = (page) => page.evaluate(() => numberOf(document.getElementById("picture")));
const pictureAfter = (page, number) =>
  page.waitForFunction((number) => numberOf(document.getElementById("picture")) > number, number);
const pictureOn = (page, screenshot) => page.evaluate(async (base64) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return numberOf(await createImageBitmap(new Blob([bytes])));
}, screenshot.toString("base64"));

/** Waits until an element of the page says so. */
const says = (page, element, words) =>
  page.locator(element, { hasText: words }).first().waitFor({ state: "attached" });

/** The figures that the page shows. */
const figures = (page) => page.evaluate(() => {
  const text = (id) => document.getElementById(id).textContent;
  const numbers = (id) => Array.from(text(id).matchAll(/\d+(?:\.\d+)?/g), ([number]) => Number(number));
  const [decoded, shown] = numbers("pictures");
  const [heard, played] = numbers("sound-figures");
  const [, p50, , p99] = numbers("to-decode");
  return { decoded, shown, heard, played, p50, p99, toDecode: text("to-decode"), toScreen: text("to-screen") };
});

/** What ffmpeg is given, what it is to write, and codecs between: pictures in order, out of order, and others. */
const INPUT = ["-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30", "-f", "lavfi",
  "-i", "sine=frequency=440:sample_rate=48000", "-t", "20", "-g", "30"];
const OUTPUT = ["-f", "mp4", "-movflags", "cmaf+separate_moof+skip_trailer", "-frag_duration", "1", "-"];
const ENCODED = {
  "H.264 and AAC of ffmpeg": { codec: "avc1",
    args: ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-c:a", "aac"] },
  "VP9 and Opus of ffmpeg": { codec: "vp09",
    args: ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"] },
};

/** Milliseconds in which 100 pictures and 3 s of sound have to be there, from when the page begins to play. */
const IN_TIME = 8000;

/** A page shows the test source, as it should be: pictures, sound, and a clock that runs. */
async function plays(test, name, page, opened) {
  await page.locator("#mute").click();
  await says(page, "#state", `Playing demo/${name}`);
  const [first, began] = [await pictureDrawn(page), performance.now()];
  await page.waitForFunction(() => {
    const [pictures, sound] = ["pictures", "sound-figures"].map((id) => document.getElementById(id).textContent);
    return Number.parseInt(pictures) >= 100 && Number.parseFloat(sound) > 3;
  }, undefined, { polling: 100 });
  const [took, all] = [began, opened].map((since) => Math.round(performance.now() - since));
  await says(page, "#sound-figures", /, [1-9][\d.]* s played/);
  const before = await pictureDrawn(page);
  const screenshot = await page.locator("#picture").screenshot();
  const [after, seconds] = [await pictureDrawn(page), (performance.now() - began) / 1000];
  const shown = await pictureOn(page, screenshot);
  assert.ok(before <= shown && shown <= after, `${shown} in the screenshot, ${before} before it and ${after} after it`);
  // 30 a second; a clock that is frozen, or that stands most of the time, is neither.
  assert.ok(after - first > 20 * seconds, `the picture went from ${first} to ${after} in ${seconds} s`);
  const { toDecode, toScreen, p50, p99, decoded, heard } = await figures(page);
  test.say(`${decoded} pictures and ${heard} s of sound ${took} ms after it began, ${all} ms after the page was opened`);
  test.say(`capture to decoder: ${toDecode}; to screen: ${toScreen}`);
  assert.ok(took < IN_TIME, `100 pictures and 3 s of sound took ${took} ms`);
  await test.keep(page, name);
  return { p50, p99 };
}

export const cases = {
  "the parts of the player": async () => {
    for (const unit of Object.values(units)) await unit();
  },

  "test source": async (test) => {
    const publisher = test.moqt("pub", test.url, "demo/clean", "--format", "test");
    const opened = performance.now();
    const page = await open(test, { play: "demo/clean" });
    const { p50, p99 } = await plays(test, "clean", page, opened);
    assert.deepEqual([...test.asked], [new URL(test.url).origin], "nothing is from elsewhere");
    // On a machine of which this is all that runs they are a tenth of that.
    assert.ok(p50 < 250 && p99 < 1000, `p50 ${p50} ms, p99 ${p99} ms`);
    // Another rendition takes over, and back.
    for (const [name, width] of [["video-low", 320], ["video", 640]]) {
      const before = await pictureDrawn(page);
      await page.locator("#quality").selectOption(name);
      await page.waitForFunction((width) => document.getElementById("picture").width === width, width);
      await says(page, "#rendition", new RegExp(`^${name} at priority 120$`));
      assert.ok(await pictureDrawn(page) >= before, "the picture goes on where it was");
    }
    publisher.kill("SIGINT");
    await says(page, "#state", "demo/clean has ended");
    assert.ok(await page.locator("#notice").isHidden(), await page.locator("#notice").textContent());
  },

  "test source with loss": async (test) => {
    test.moqt("pub", test.url, "demo/loss", "--format", "test");
    const link = "loss=1%,delay=5ms";
    const way = test.start("impair", "--to", test.address, "--up", `${link},seed=1`, "--down", `${link},seed=2`);
    const [address] = await way.says(/[\d.]+:\d+/);
    const opened = performance.now();
    const page = await open(test, { play: "demo/loss", relay: `https://${address}/`, fingerprint: test.fingerprint });
    await plays(test, "loss", page, opened);
  },

  ...Object.fromEntries(Object.entries(ENCODED).map(([what, { args, codec }]) => [what, async (test) => {
    const publisher = test.moqt("pub", test.url, `demo/${codec}`, "--format", "fmp4");
    const source = test.tool("ffmpeg", ...INPUT, ...args, ...OUTPUT);
    if (!source) return test.say("not run: there is no ffmpeg");
    source.child.stdout.pipe(publisher.child.stdin);
    const page = await open(test, { play: `demo/${codec}` });
    await page.locator("#mute").click();
    await says(page, "#state", `Playing demo/${codec}`);
    await page.waitForFunction(() => {
      const [pictures, sound] = ["pictures", "sound-figures"].map((id) => document.getElementById(id).textContent);
      return Number.parseInt(pictures) >= 60 && Number.parseFloat(/, ([\d.]+) s played/.exec(sound)?.[1]) > 1;
    });
    test.say(`${await page.locator("#pictures").textContent()}; ${await page.locator("#sound-figures").textContent()}`);
    assert.match(await page.locator("#quality").textContent(), new RegExp(codec));
    await test.keep(page, codec);
    assert.ok(await page.locator("#notice").isHidden(), await page.locator("#notice").textContent());
  }])),

  "a page out of sight": async (test) => {
    test.moqt("pub", test.url, "demo/hidden", "--format", "test");
    const page = await open(test, { play: "demo/hidden" });
    await page.locator("#mute").click();
    await says(page, "#state", "Playing demo/hidden");
    await says(page, "#sound-figures", /, [1-9][\d.]* s played/);
    // Without a screen Chromium hides nothing, not even behind another tab: the page is told what it would see.
    const look = (visibilityState) => page.evaluate((visibilityState) => {
      Object.defineProperty(document, "visibilityState", { value: visibilityState, configurable: true });
      Object.defineProperty(document, "hidden", { value: visibilityState === "hidden", configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, visibilityState);
    const dropped = () => page.locator("[data-tile=dropped] output").textContent();
    const [lost, began, first] = [await dropped(), performance.now(), await pictureDrawn(page)];
    await look("hidden");
    await says(page, "#rendition", "video, once the page is in sight");
    const [before, away] = [await figures(page), 3000];
    await new Promise((resolve) => setTimeout(resolve, away));
    const after = await figures(page);
    assert.ok(after.decoded - before.decoded < 15, `${after.decoded - before.decoded} pictures out of sight`);
    const [heard, played] = ["heard", "played"].map((what) => after[what] - before[what]);
    test.say(`out of sight for ${away} ms: ${heard.toFixed(1)} s of sound decoded, ${played.toFixed(1)} s played`);
    // What the device plays has gaps on a machine that has much to do, in sight or not.
    assert.ok(heard > 0.8 * away / 1000 && played > 1, `${heard} s of sound decoded, ${played} s played`);
    const bitrate = await page.locator("[data-tile=bitrate] output").textContent();
    assert.ok(Number.parseFloat(bitrate) < 1000 && bitrate.endsWith("kbit/s"), bitrate);

    // Every picture that the page shows from now on, and when.
    const seen = page.evaluate((last) => new Promise((resolve) => {
      const [since, shown] = [performance.now(), []];
      const look = () => {
        const [number, now] = [numberOf(document.getElementById("picture")), performance.now() - since];
        if (number !== last) shown.push({ number, now });
        last = number;
        if (now < 2000) requestAnimationFrame(look);
        else resolve(shown);
      };
      look();
    }), await pictureDrawn(page));
    await look("visible");
    const shown = await seen;
    const { now, number } = shown[0];
    const newest = first + 30 * (performance.now() - began - 2000 + now) / 1000;
    test.say(`back after ${away} ms, the first new picture came after ${Math.round(now)} ms`);
    assert.ok(now < 1000, `the first picture came after ${now} ms`);
    assert.ok(number > newest - 20, `the first picture was ${number}, of ${newest}`);
    assert.ok(shown.length > 20, `${shown.length} pictures in what is left of 2 s`);
    const { toScreen } = await figures(page);
    const latency = Number.parseInt(await page.locator("[data-tile=latency] output").textContent());
    test.say(`${latency} ms from glass to glass; to screen: ${toScreen}`);
    assert.ok(latency < 1000, `${latency} ms`);
    assert.equal(await dropped(), lost);
    await says(page, "#rendition", /^video at priority 120$/);
    assert.ok(await page.locator("#notice").isHidden(), await page.locator("#notice").textContent());
  },

  "a catalog in MSF": async (test) => {
    test.moqt("pub", test.url, "demo/msf", "--format", "test", "--catalog", "msf");
    const opened = performance.now();
    const page = await open(test, { play: "demo/msf" });
    await plays(test, "msf", page, opened);
    assert.match(await page.locator("#quality").textContent(), /video, 640×360, jpeg.*video-low, 320×180/);
    assert.ok(await page.locator("#notice").isHidden(), await page.locator("#notice").textContent());
  },

  "a way that is too narrow": async (test) => {
    test.moqt("pub", test.url, "demo/narrow", "--format", "test");
    const way = test.start("impair", "--to", test.address, "--down", "rate=2.6M,queue=50000,delay=5ms");
    const [address] = await way.says(/[\d.]+:\d+/);
    const { fingerprint } = test;
    const page = await open(test, { play: "demo/narrow", relay: `https://${address}/`, fingerprint });
    // What is behind is given up, so that the small rendition takes over soon, and is new.
    await says(page, "#rendition", /^video-low at priority 120$/);
    await page.waitForFunction(() => document.getElementById("picture").width === 320);
    const before = await pictureDrawn(page);
    await pictureAfter(page, before + 30);
    const latency = Number.parseInt(await page.locator("[data-tile=latency] output").textContent());
    test.say(`${latency} ms from glass to glass`);
    assert.ok(latency < 2000, `${latency} ms`);
  },

  "camera on air": async (test) => {
    const page = await open(test, { play: "camera/one" });
    await says(page, "#session", "Connected");
    await page.locator("#camera-name").fill("camera/one");
    await page.locator("#camera-go").click();
    await says(page, "#camera-state", /On air as camera\/one: \d+×\d+, .* [1-9]\d* pictures/);
    await page.locator("#broadcasts button[aria-pressed=true]", { hasText: "camera/one" }).waitFor();
    await says(page, "#state", "Playing camera/one");
    await page.locator("#mute").click();
    await says(page, "#sound-figures", /, [1-9][\d.]* s played/);
    const { decoded, toDecode } = await figures(page);
    assert.ok(decoded > 5, `${decoded} pictures`);
    test.say(`capture to decoder: ${toDecode}`);
    await test.keep(page, "camera");
    await page.locator("#camera-go").click();
    await says(page, "#state", "camera/one has ended");
    await page.locator("#broadcasts button", { hasText: "camera/one" }).waitFor({ state: "detached" });
  },

  "the player by keyboard": async (test) => {
    const { url } = await test.relay();
    for (const name of ["demo/a", "demo/b"]) test.moqt("pub", url, name, "--format", "test");
    const page = await open(test, { play: "demo/a" }, url);
    await says(page, "#state", "Playing demo/a");
    await page.locator("#broadcasts button", { hasText: "demo/b" }).waitFor();
    const order = [];
    for (let presses = 0; presses < 40 && order.at(-1) !== "Go on air"; presses++) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate(() => {
        const { activeElement: { textContent, ariaLabel, labels } } = document;
        return ariaLabel || labels?.[0]?.textContent.trim().replace(/\s+/g, " ") || textContent.trim();
      }));
    }
    assert.deepEqual(order.map((name) => name.replace(/ (?:Automatic|40 ms).*/, "")), [
      "Skip to the picture", "Relay", "Connect", "Turn the sound on", "Stop", "Sound", "Volume", "Quality", "Buffer",
      "Full screen", "In figures", "demo/a", "demo/b", "Name", "with sound", "Go on air",
    ]);
    for (let back = 0; back < 3; back++) await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("Enter");
    await says(page, "#state", "Playing demo/b");
    await page.keyboard.press("k");
    await says(page, "#state", "Stopped");
    await page.keyboard.press("k");
    await says(page, "#state", "Playing");
    const isLoud = page.locator("#mute[aria-pressed=true]");
    await isLoud.waitFor();
    await page.keyboard.press("m");
    await isLoud.waitFor({ state: "detached" });
    // In a field, letters are letters.
    await page.locator("#camera-name").focus();
    await page.keyboard.type("km");
    assert.match(await page.locator("#camera-name").inputValue(), /km$/);
    await says(page, "#state", "Playing");
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll("button, input, select, canvas:not([aria-hidden]), video, img")].filter((one) =>
        !(one.ariaLabel || one.labels?.length || one.textContent.trim() || one.alt !== undefined)).map(({ id }) => id));
    assert.deepEqual(nameless, []);
  },

  "a broadcast goes away": async (test) => {
    const relay = await test.relay("--idle-timeout", "1s");
    const pub = () => test.moqt("pub", relay.url, "demo/test", "--format", "test");
    const first = pub();
    const page = await open(test, {}, relay.url);
    await says(page, "#state", "Playing demo/test");
    first.kill("SIGKILL");
    await says(page, "#state", "demo/test has ended");
    await says(page, "#count", "0");
    const second = pub();
    await says(page, "#state", "Playing demo/test");
    const before = await pictureDrawn(page);
    await pictureAfter(page, before);
    // Another one takes the place of one that has ended and is still announced.
    second.kill("SIGINT");
    await says(page, "#state", "demo/test has ended");
    pub();
    await says(page, "#state", "Playing demo/test");
  },

  "the relay of the player comes back": async (test) => {
    const first = await test.relay();
    const page = await open(test, { play: "demo/test" }, first.url);
    await says(page, "#state", "Waiting for demo/test");
    first.process.kill("SIGTERM");
    await page.locator("#session[data-state=lost]").waitFor();
    await first.process.ended;
    const again = await test.relay("--bind", new URL(first.url).host);
    test.moqt("pub", again.url, "demo/test", "--format", "test");
    await says(page, "#state", "Playing demo/test");
  },

  "catalogs that are wrong": async (test) => {
    const { url } = await test.relay();
    const publisher = await test.page();
    await publisher.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const session = await Session.connect(url);
      const publish = (name, catalog, place = "catalog.json") => session.publish(`${name}/${place}`)
        .write(typeof catalog === "string" ? catalog : JSON.stringify(catalog));
      const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`v${at}`, { codec: "vp8" }]));
      publish("wrong/cut", '{"video":{"rendi');
      publish("wrong/many", { video: { renditions: many } });
      publish("wrong/codec", { video: { renditions: { v: { codec: "none.1" } } } });
      publish("wrong/empty", {});
      const msf = (tracks) => ({ version: "1", tracks });
      publish("wrong/msf-cut", '{"version":"1","tracks":[{"na', "catalog");
      publish("wrong/msf-many", msf(Array(100_000).fill({})), "catalog");
      publish("wrong/msf-large", msf(Array(100_000).fill({ name: "video" })), "catalog");
      publish("wrong/msf-type", msf({ name: "v" }), "catalog");
      publish("wrong/both", msf([{ name: "w", role: "video", packaging: "loc", codec: "none.2" }]), "catalog");
      publish("wrong/both", { video: { renditions: { v: { codec: "none.1" } } } });
      const jpeg = { codec: "jpeg", container: { kind: "loc" } };
      publish("wrong/track", { video: { renditions: { "not-there": jpeg } } });
      publish("wrong/frames", { video: { renditions: { v: jpeg } } });
      const track = session.publish("wrong/frames/v", { keep: 2 });
      setInterval(() => track.write(Uint8Array.of(0x40, 0xff, 1)), 200);
    }, url);
    test.moqt("pub", url, "wrong/not", "--format", "test");
    const page = await open(test, { play: "wrong/nobody" }, url);
    await page.locator("#broadcasts button", { hasText: "wrong/track" }).waitFor();
    const press = (name) => page.locator("#broadcasts button", { hasText: `wrong/${name}` }).click();
    for (const [name, element, words] of [
      ["cut", "#state", /the catalog is wrong: .*JSON/],
      ["many", "#state", /the catalog is wrong: (it is larger|"video" has more)/],
      ["codec", "#notice", "cannot be played here: v (none.1, legacy)"],
      ["codec", "#state", "has nothing that can be played here"],
      ["empty", "#state", "has nothing that can be played here"],
      ["msf-cut", "#state", /the catalog is wrong: .*JSON/],
      ["msf-many", "#state", /the catalog is wrong: it has more than 256 tracks/],
      ["msf-large", "#state", /the catalog is wrong: it is larger than/],
      ["msf-type", "#state", /the catalog is wrong: it has no list of tracks/],
      ["both", "#notice", /^cannot be played here: v \(none.1, legacy\)$/],
      ["track", "#notice", /not-there is lost: .*not found/],
      ["frames", "#notice", "a group of v is wrong: a frame is cut short"],
      ["not", "#state", "Playing wrong/not"],
    ]) {
      if (await page.locator("#now").textContent() !== `wrong/${name}`) await press(name);
      await says(page, element, words);
    }
    await publisher.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const session = await Session.connect(url);
      for (let at = 0; at < 501; at++) session.publish(`many/${at}/catalog.json`);
    }, url);
    await says(page, "#notice", "more than 500 broadcasts");
    await says(page, "#count", /^500$/);
  },
};
