/** The cases: a name, and what has to go through. Functions for `evaluate` run inside of the page. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { hash } from "./support.mjs";
import { vectors } from "./vectors.mjs";

export const cases = {
  "vectors of the wire": async () => {
    assert.ok(await vectors() >= 40);
  },

  "session setup": async (test) => {
    const page = await test.page();
    const end = await page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const session = await Session.connect(url);
      return session.close();
    }, test.url);
    assert.deepEqual(end, { code: 0, reason: "", by: "us" });
  },

  "announce and publish": async (test) => {
    const page = await test.page();
    const reader = test.moqt("sub", test.url, "page/noise", "--strict", "--from", "0");
    const sent = await page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const { hash, joined, noise } = await import("/test/inside.js");
      const session = await Session.connect(url);
      const track = session.publish("page/noise", { keep: 64, priority: 200 });
      while (track.readers === 0) await track.changed;
      const frames = [];
      for (let number = 0; number < 40; number++) {
        const group = track.group();
        for (const size of [0, 1, 63, 64, 16383, 16384, 40_000]) {
          frames.push(noise(size));
          group.write(frames.at(-1));
        }
        group.end();
      }
      await track.end();
      session.close();
      return hash(await joined(frames));
    }, test.url);
    assert.equal(await reader.ended, 0, reader.stderr);
    assert.equal(reader.stdout.length, 40 * 72_895);
    assert.equal(hash(reader.stdout), sent);
  },

  "discover and subscribe": async (test) => {
    const folder = await mkdtemp(path.join(tmpdir(), "moqt-browser-"));
    try {
      const input = path.join(folder, "input");
      const bytes = randomBytes(3_000_001);
      await writeFile(input, bytes);
      const page = await test.page();
      const live = page.waitForEvent("console");
      const seen = page.evaluate(async (url) => {
        const { Session } = await import("/transfork.js");
        const { hash, joined } = await import("/test/inside.js");
        const session = await Session.connect(url);
        const events = [];
        const groups = [];
        for await (const event of session.announced("found")) {
          events.push(event);
          if (event.type === "live") console.log("live");
          if (event.type === "ended") break;
          if (event.type !== "active") continue;
          const onGap = (gap) => events.push(gap);
          for await (const group of await session.subscribe(event.path, { order: "ascending", onGap })) {
            const frames = [];
            for await (const frame of group) frames.push(frame);
            groups[group.sequence] = await joined(frames);
          }
        }
        session.close();
        return { events, groups: groups.length, hash: await hash(await joined(groups)) };
      }, test.url);
      await live;
      const publisher = test.moqt("pub", test.url, "found/a%2Fb/c", "--input", input, "--wait-subscriber");
      const { events, groups, hash: received } = await seen;
      assert.deepEqual(events, [
        { type: "live" }, { type: "active", path: "found/a%2Fb/c" }, { type: "ended", path: "found/a%2Fb/c" },
      ]);
      assert.ok(groups > 1, `${groups} groups`);
      assert.equal(received, hash(bytes));
      assert.equal(await publisher.ended, 0, publisher.stderr);
    } finally {
      await rm(folder, { recursive: true });
    }
  },

  "ranges and gaps": async (test) => {
    const page = await test.page();
    const seen = await page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const { texts, until } = await import("/test/inside.js");
      const [near, far] = [await Session.connect(url), await Session.connect(url)];
      const track = near.publish("page/range", { first: 10, keep: 10 });
      for (let number = 10; number < 20; number++) track.write(`text ${number}`);
      await until(far, "active", "page/range");
      const read = async (options) => {
        const [gaps, groups] = [[], {}];
        const onGap = ({ first, last, code }) => gaps.push([first, last, code]);
        for await (const group of await far.subscribe("page/range", { ...options, onGap }))
          groups[group.sequence] = (await texts(group)).join();
        return { gaps, groups };
      };
      const middle = await read({ first: 12, last: 14, priority: 7, order: "descending" });
      const early = await read({ first: 5, last: 11 });
      return { middle, early };
    }, test.url);
    assert.deepEqual(seen.middle, { gaps: [], groups: { 12: "text 12", 13: "text 13", 14: "text 14" } });
    assert.deepEqual(seen.early.groups, { 10: "text 10", 11: "text 11" });
    assert.deepEqual(seen.early.gaps, [[5, 9, 13]]);
  },

  "info": async (test) => {
    const page = await test.page();
    const seen = await page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const { until } = await import("/test/inside.js");
      const [near, far] = [await Session.connect(url), await Session.connect(url)];
      near.publish("page/past", { priority: 9, order: "descending", first: 7 }).write("seven");
      await until(far, "active", "page/past");
      return far.info("page/past");
    }, test.url);
    assert.deepEqual(seen, { priority: 9, latest: 7, order: "descending" });
  },

  "cancel a subscription": async (test) => {
    const publisher = test.moqt("pub", test.url, "lines/a", "--format", "lines");
    publisher.write("one\n");
    const page = await test.page();
    const seen = await page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const { texts, until } = await import("/test/inside.js");
      const session = await Session.connect(url);
      await until(session, "active", "lines/a");
      const read = [];
      for await (const group of await session.subscribe("lines/a", { first: 0 })) {
        read.push(...await texts(group));
        break;
      }
      const other = await session.subscribe("lines/a", { first: 0 });
      other.cancel();
      for await (const group of other) group.cancel();
      const third = await session.subscribe("lines/a", { first: 0 });
      for await (const group of third) {
        read.push(...await texts(group));
        third.cancel();
      }
      // The session is alive after each way to leave.
      const { latest } = await session.info("lines/a");
      return { read, latest };
    }, test.url);
    assert.deepEqual(seen, { read: ["one", "one"], latest: 0 });
    publisher.finish();
    assert.equal(await publisher.ended, 0, publisher.stderr);
  },

  "a subscription is changed": async (test) => {
    const way = test.start("impair", "--to", test.address, "--down", "rate=4M,queue=50000,delay=5ms");
    const [address] = await way.says(/[\d.]+:\d+/);
    const page = await test.page();
    const seen = await page.evaluate(async ({ url, narrow, fingerprint }) => {
      const { Session } = await import("/transfork.js");
      const { noise, refusal, until } = await import("/test/inside.js");
      const [near, far] = [await Session.connect(url), await Session.connect(narrow, { fingerprint })];
      const count = 32;
      const order = [];
      for (const name of ["a", "b"]) {
        const track = near.publish(`change/${name}`, { keep: count });
        for (let number = 0; number < count; number++) track.write(noise(20_000));
        await until(far, "active", track.path);
      }
      const read = async (name, priority, onBegin, onGroup) => {
        const subscription = await far.subscribe(`change/${name}`, { first: 0, last: count - 1, priority });
        const drain = async (group) => {
          for await (const _ of group);
          order.push(name);
          onGroup?.(subscription);
        };
        const groups = [];
        for await (const group of subscription) {
          onBegin?.();
          groups.push(drain(group));
        }
        await Promise.all(groups);
      };
      // The other one is asked for when the first one comes. Once a few groups of that are there, it is what is wanted.
      let before;
      const change = (subscription) => {
        if (order.length < 4 || before) return;
        before = order.join("");
        subscription.update({ priority: 10 });
      };
      let begin;
      const begun = new Promise((resolve) => { begin = resolve; });
      await Promise.all([read("a", 200, begin, change), begun.then(() => read("b", 100))]);

      const track = near.publish("change/c", { keep: 8 });
      for (const text of ["0", "1", "2"]) track.write(text);
      await until(far, "active", "change/c");
      const sequences = [];
      const open = await far.subscribe("change/c", { first: 1 });
      for await (const { sequence } of open) {
        sequences.push(sequence);
        if (sequence === 2) open.update({ last: 3 });
        if (sequence === 2) track.write("3");
      }
      const bounded = await far.subscribe("change/c", { first: 3, last: 5 });
      bounded.update({ last: 6 });
      const wider = await refusal((async () => { for await (const _ of bounded); })());
      return { before, order: order.join(""), sequences, wider };
    }, { url: test.url, narrow: `https://${address}/`, fingerprint: test.fingerprint });
    assert.match(seen.before, /^a+$/, "the first one has the way for itself");
    assert.match(seen.order, /a$/, "the other one is through first");
    assert.deepEqual(seen.sequences.sort(), [1, 2, 3], "a subscription that is given an end comes to it");
    assert.deepEqual([seen.wider.code, seen.wider.scope], [15, "request"], seen.wider.message);
    test.say(`groups in the order in which they came: ${seen.order}`);
  },

  "a subscriber of ours changes its mind": async (test) => {
    const page = await test.page();
    const seen = await page.evaluate(async () => {
      const wire = await import("/transfork.js");
      const { Server, endOf, when } = await import("/test/inside.js");
      let server;
      globalThis.WebTransport = class { constructor() { return server = new Server(wire); } };
      const session = await wire.Session.connect("https://here/");
      const track = session.publish("a", { keep: 8 });
      const orders = () => server.groups.map(({ writable }) => writable.sendOrder);

      const request = await server.subscribe({ id: 0, track: "a", priority: 100 });
      const groups = [track.group(), track.group()];
      await when(() => server.groups.length === 2);
      const before = orders();
      request.send(wire.SUBSCRIBE_UPDATE, { priority: 7, order: "descending" });
      await when(() => orders().every((order) => order !== 100));
      groups.push(track.group());
      await when(() => server.groups.length === 3);
      const after = orders();
      request.send(wire.SUBSCRIBE_UPDATE, { priority: 7, last: 1 });
      const gap = await request.receive(wire.SUBSCRIBE_GAP);
      const outside = await server.groups[2].end;
      request.send(wire.SUBSCRIBE_UPDATE, { priority: 7, last: 2 });
      const wider = await endOf(request);
      await when(() => track.readers === 0);

      const other = await server.subscribe({ id: 1, track: "a", first: 0 });
      await when(() => server.groups.length === 6);
      const ends = server.groups.slice(3).map(({ end }) => end);
      other.send(wire.SUBSCRIBE_UPDATE, { priority: 7, first: 1, last: 2 });
      const early = await other.receive(wire.SUBSCRIBE_GAP);
      for (const group of groups) group.end();
      return { before, after, gap, outside, wider, early, ends: await Promise.all([...ends, endOf(other)]) };
    });
    assert.deepEqual(seen.before, [100, 100]);
    assert.deepEqual(seen.after, [7, 7, 7], "groups under way, and those after them");
    assert.deepEqual(seen.gap, { first: 2, additional: 0, code: 0 });
    assert.equal(seen.outside, 0);
    assert.equal(seen.wider, 15);
    assert.deepEqual(seen.early, { first: 0, additional: 0, code: 0 });
    assert.deepEqual(seen.ends, [0, "complete", "complete", "complete"]);
  },

  "a subscriber cancels": async (test) => {
    const page = await test.page();
    const reader = test.moqt("sub", test.url, "page/left", "--format", "lines");
    const readers = page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const session = await Session.connect(url);
      const track = session.publish("page/left");
      while (track.readers === 0) await track.changed;
      const group = track.group();
      group.write("one");
      while (track.readers > 0) await track.changed;
      group.write("nobody reads this");
      track.write("nor this");
      await track.end();
      // The session is alive.
      for await (const { type } of session.announced("page")) if (type === "live") return track.readers;
    }, test.url);
    await reader.says(/one/);
    reader.kill("SIGINT");
    assert.equal(await reader.ended, 130);
    assert.equal(await readers, 0);
  },

  "wrong input": async (test) => {
    const page = await test.page();
    const { pinned } = await test.relay();
    const seen = await page.evaluate(async ({ url, pinned }) => {
      const { Session } = await import("/transfork.js");
      const { refusal } = await import("/test/inside.js");
      const session = await Session.connect(url);
      const { WebTransport } = globalThis;
      delete globalThis.WebTransport;
      const old = await refusal(Session.connect(url));
      globalThis.WebTransport = WebTransport;
      return {
        old,
        address: await refusal(Session.connect("relay.example")),
        nobody: await refusal(Session.connect("http://127.0.0.1:9/")),
        silent: await refusal(Session.connect("https://127.0.0.1:9/", { fingerprint: "ab".repeat(32) })),
        short: await refusal(Session.connect(pinned, { fingerprint: "abcd" })),
        another: await refusal(Session.connect(pinned, { fingerprint: "ab".repeat(32) })),
        track: await refusal(session.subscribe("no/such/track")),
        info: await refusal(session.info("no/such/track")),
        escape: await refusal(session.subscribe("50%")),
        alive: (await session.announced().next()).value.type,
      };
    }, { url: test.url, pinned });
    const message = (words, expected) => assert.match(expected.message, words);
    message(/^no session with http:.*: WebTransport is not defined/, seen.old);
    message(/Invalid URL/, seen.address);
    message(/^no session with http:\/\/127\.0\.0\.1:9\/: Failed to fetch$/, seen.nobody);
    message(/^no session with https:\/\/127\.0\.0\.1:9\/: /, seen.silent);
    message(/^no session with https:/, seen.short);
    message(/^no session with https:\/\/127\.0\.0\.1:\d+\/: Opening handshake failed/, seen.another);
    assert.deepEqual(seen.track, { name: "TransforkError", code: 13, scope: "request",
      message: "subscription to no/such/track: not found (code 13)" });
    assert.equal(seen.info.code, 13);
    message(/URI malformed/, seen.escape);
    assert.ok(seen.alive);
  },

  "a publisher is lost": async (test) => {
    const { url } = await test.relay("--idle-timeout", "1s");
    const publisher = test.moqt("pub", url, "lines/lost", "--format", "lines");
    publisher.write("one\n");
    const page = await test.page();
    const begun = page.waitForEvent("console");
    const seen = page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const { refusal, texts, until } = await import("/test/inside.js");
      const session = await Session.connect(url);
      await until(session, "active", "lines/lost");
      const read = (async () => {
        for await (const group of await session.subscribe("lines/lost", { first: 0 })) console.log(await texts(group));
      })();
      const gone = until(session, "ended", "lines/lost");
      const error = await refusal(read);
      await gone;
      return error;
    }, url);
    await begun;
    publisher.kill("SIGKILL");
    const { scope, message } = await seen;
    assert.equal(scope, "request");
    assert.match(message, /^subscription to lines\/lost: .+ \(code \d+\)$/);
  },

  "a relay goes away": async (test) => {
    const relay = await test.relay();
    const page = await test.page();
    const begun = page.waitForEvent("console");
    const seen = page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const { refusal } = await import("/test/inside.js");
      const session = await Session.connect(url);
      const names = session.announced();
      await names.next();
      console.log("ready");
      const told = await names.next().then(({ done }) => done, ({ message }) => message);
      return { told, end: await session.closed, after: await refusal(session.info("a")) };
    }, relay.url);
    await begun;
    relay.process.kill("SIGTERM");
    const { told, end, after } = await seen;
    // It says that there are no more names, and ends the session after that, which Chromium may take for a loss.
    assert.equal(told, true);
    assert.ok(end.by === "peer" || end.by === "network", end.by);
    assert.equal(after.scope, "session");
    assert.match(after.message, /^info of a: the session was ended by (peer|network): /);
  },

  "a relay dies": async (test) => {
    const relay = await test.relay("--idle-timeout", "1s");
    const page = await test.page();
    const begun = page.waitForEvent("console");
    const seen = page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const session = await Session.connect(url);
      console.log("ready");
      return session.closed;
    }, relay.url);
    await begun;
    relay.process.kill("SIGKILL");
    const { by, reason } = await seen;
    assert.equal(by, "network");
    assert.notEqual(reason, "");
  },

  "close code and reason": async (test) => {
    const server = test.start("closing");
    const [, url, fingerprint] = await server.says(/(https:\S+) (\S+)/);
    const page = await test.page();
    // Chromium tells its page over two ways at once, and the one without the code may be faster: a session that it has
    // logged as closed in order is "Connection lost." to the page then. So one that is heard is enough.
    const most = 60;
    const ends = await page.evaluate(async ({ url, fingerprint, most }) => {
      const { Session } = await import("/transfork.js");
      const ends = [];
      while (ends.length < most && ends.at(-1)?.code === undefined)
        ends.push(await (await Session.connect(url, { fingerprint })).closed);
      return ends;
    }, { url: `${url}close?42&server+says+bye`, fingerprint, most });
    const heard = ends.pop();
    assert.deepEqual(heard, { code: 42, reason: "server says bye", by: "peer" });
    for (const { by } of ends) assert.ok(by === "peer" || by === "network", by);
    test.say(`the close was heard with code and reason after ${ends.length} that were not`);
  },

  "close code and reason of the page": async (test) => {
    const server = test.start("closing");
    const [, url, fingerprint] = await server.says(/(https:\S+) (\S+)/);
    const page = await test.page();
    const end = await page.evaluate(async ({ url, fingerprint }) => {
      const { Session } = await import("/transfork.js");
      const session = await Session.connect(url, { fingerprint });
      return session.close(77, "page says bye");
    }, { url, fingerprint });
    assert.deepEqual(end, { code: 77, reason: "page says bye", by: "us" });
    const [, code, reason] = await server.says(/^(?:closed|lost) \/ (\d+)? ?(.*)$/m);
    assert.deepEqual([code, reason], ["77", "page says bye"]);
  },

  "a reader that is too slow": async (test) => {
    const page = await test.page();
    const seen = await page.evaluate(async (url) => {
      const { LIMITS, Session } = await import("/transfork.js");
      const { texts, until } = await import("/test/inside.js");
      const [near, far] = [await Session.connect(url), await Session.connect(url)];
      const count = LIMITS.unread + 5;
      const track = near.publish("page/slow", { keep: count });
      for (let number = 0; number < count; number++) track.write(`text ${number}`);
      await until(far, "active", "page/slow");
      const lost = new Map();
      let all;
      const lostAll = new Promise((resolve) => { all = resolve; });
      const onGap = ({ first, code }) => {
        // The relay may tell of them, too, once they have been given up here.
        if (!lost.has(first)) lost.set(first, code);
        if (lost.size === 5) all();
      };
      const subscription = await far.subscribe("page/slow", { first: 0, last: count - 1, onGap });
      await lostAll;
      const read = [];
      for await (const group of subscription) read.push(...await texts(group));
      return { lost: lost.size, codes: [...new Set(lost.values())], read: read.length };
    }, test.url);
    assert.deepEqual(seen, { lost: 5, codes: [70], read: 16 });
  },

  "a group is cancelled": async (test) => {
    const page = await test.page();
    const seen = await page.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const { refusal, texts, until } = await import("/test/inside.js");
      const [near, far] = [await Session.connect(url), await Session.connect(url)];
      const track = near.publish("page/groups");
      const [first, second] = [track.group(), track.group()];
      first.write("one");
      second.write("two");
      await until(far, "active", "page/groups");
      let told;
      const gap = new Promise((resolve) => { told = resolve; });
      const read = [];
      for await (const group of await far.subscribe("page/groups", { first: 0, last: 1, onGap: told })) {
        if (group.sequence === 1) {
          read.push(texts(group));
          continue;
        }
        for await (const _ of group) break;
        await gap;
        second.write("more");
        second.end();
      }
      return { gap: await gap, read: await Promise.all(read) };
    }, test.url);
    assert.deepEqual(seen.read, [["two", "more"]]);
    assert.deepEqual([seen.gap.first, seen.gap.last], [0, 0]);
  },

  "a page is left": async (test) => {
    const near = await test.page(`/?${new URLSearchParams({ relay: test.url, name: "leaver" })}`);
    await near.locator("#join").click();
    const far = await test.page();
    const begun = far.waitForEvent("console");
    const gone = far.evaluate(async (url) => {
      const { Session } = await import("/transfork.js");
      const session = await Session.connect(url);
      for await (const { type } of session.announced("chat/lobby/leaver")) {
        if (type === "active") console.log("there");
        if (type === "ended") return;
      }
    }, test.url);
    await begun;
    await near.goto("about:blank");
    await gone;
  },

  "inside of a worker": async (test) => {
    const page = await test.page();
    const seen = await page.evaluate((url) => new Promise((resolve, reject) => {
      const worker = new Worker("/test/worker.js", { type: "module" });
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage(url);
    }), test.url);
    assert.deepEqual(seen, ["hello from a worker"]);
  },

  "the page": async (test) => {
    const open = (relay, name) => test.page(`/?${new URLSearchParams({ relay, name })}`);
    const alice = await open(test.url, "alice");
    const status = (page, words) => page.locator("#status", { hasText: words }).waitFor();
    const line = (page, words) => page.locator("#log li", { hasText: words }).first().waitFor();
    // By keyboard alone.
    await alice.locator("#relay").focus();
    await alice.keyboard.press("Enter");
    await status(alice, "Connected");
    const bob = await open(test.url, "bob/%");
    await bob.locator("#join").click();
    await alice.locator("#tracks button[aria-pressed=true]", { hasText: "bob/%" }).waitFor();
    await bob.locator("#tracks button[aria-pressed=true]", { hasText: "alice" }).waitFor();
    const reader = test.moqt("sub", test.url, "chat/lobby/alice", "--format", "lines");
    const writer = test.moqt("pub", test.url, "news/today", "--format", "lines");
    await alice.keyboard.type("hello, bob");
    await alice.keyboard.press("Enter");
    await line(bob, "hello, bob");
    await reader.says(/hello, bob/);
    await bob.locator("#tracks button", { hasText: "news/today" }).click();
    writer.write("it works\n");
    await line(bob, "it works");
    writer.finish();
    await line(bob, "news/today has ended");
    await bob.locator("#join").click();
    await status(bob, "You left.");
    await alice.locator("#tracks button", { hasText: "bob/%" }).waitFor({ state: "detached" });
    const nobody = await open("http://127.0.0.1:9/", "carol");
    await nobody.locator("#join").click();
    await status(nobody, "no session with http://127.0.0.1:9");
    await test.keep(alice, "chat");
  },
};
