/** Plays one broadcast in a worker: its catalog, the renditions in use, and what is shown and heard when. */
import { CatalogReader } from "./catalog.js";
import { Clock, wallClock } from "./clock.js";
import { audioDecoder, isPlayable, videoDecoder } from "./decoders.js";
import { Figures } from "./figures.js";
import { Quality } from "./quality.js";
import { Track } from "./track.js";

/** Priorities of subscriptions: higher is sent first where there is not room for all. */
const PRIORITY = { catalog: 220, audio: 200, video: 120 };
/** How much a rendition that takes over is above one that is too large, or below one that is too small. */
const STEP = 20;
/** Most pictures that are decoded or wait to be shown; more wait as bytes. */
const AHEAD = 12;
/** A group is given this long after its first frame is due before those before it are given up. */
const GRACE = 15_000;
/** After this a track has come to the present, or is always late. */
const SETTLE = 2_000_000;
/** A picture that stays for longer than this is told about. */
const STALL = 2_000_000;
/** Back in sight, pictures are not shown that are later than this, for so long at most. */
const [STALE, CATCH_UP] = [100_000, 1_000_000];

/** A rendition of pictures: the track, its decoder, and pictures that wait for their time. */
class Pictures {
  ready = [];
  #decoder;
  constructor(player, rendition, priority) {
    const onFrame = (frame) => player.arrived(this, frame);
    const onEnd = (error) => player.trackEnded(this, error);
    Object.assign(this, { player, rendition, priority });
    // The newest first: where there is not room for all, what is behind is given up, and not waited for.
    const options = { priority, order: "descending", onFrame, onEnd };
    this.track = new Track(player.session, `${player.path}/${rendition.name}`, rendition, options);
  }
  prioritize(priority) {
    this.priority = priority;
    this.track.update({ priority });
  }
  /** Gives the decoder what it can take. */
  pump() {
    const { clock, figures } = this.player;
    while (this.ready.length + (this.#decoder?.busy ?? 0) < AHEAD) {
      const frame = this.track.groups.take(({ timestamp }) => clock.due(timestamp) + GRACE < wallClock());
      if (!frame) return;
      if (!this.#decoder && !frame.key) continue;
      this.#decoder ??= videoDecoder(this.rendition, (frame) => this.#decoded(frame), (error) => this.#failed(error));
      if (this.player.shown === this) figures.decoding(frame.timestamp, wallClock());
      this.#decoder.decode(frame);
    }
  }
  #decoded(frame) {
    this.player.figures.decoded += 1;
    // Decoders may hold a picture back that is not the next one to be shown.
    const at = this.ready.findLastIndex(({ timestamp }) => timestamp <= frame.timestamp);
    this.ready.splice(at + 1, 0, frame);
    this.player.pictureReady(this);
    this.pump();
  }
  #failed(error) {
    this.#decoder?.close();
    this.#decoder = undefined;
    this.player.notice(`a picture of ${this.rendition.name} could not be decoded: ${error.message}`);
  }
  /** The newest picture that is due. */
  due(now) {
    let due;
    while (this.ready.length > 0 && this.player.clock.due(this.ready[0].timestamp) <= now) {
      due?.image.close();
      due = this.ready.shift();
    }
    return due;
  }
  /** Lets go of what is not newer. */
  forget(timestamp = -Infinity) {
    while (this.ready[0]?.timestamp <= timestamp) this.ready.shift().image.close();
  }
  close() {
    this.track.close();
    this.#decoder?.close();
    for (const { image } of this.ready.splice(0)) image.close();
  }
}

/** A rendition of sound, which goes to the worklet. */
class Sound {
  #decoder;
  constructor(player, rendition) {
    const onFrame = (frame) => player.arrived(this, frame);
    const onEnd = (error) => player.trackEnded(this, error);
    Object.assign(this, { player, rendition });
    const options = { priority: PRIORITY.audio, onFrame, onEnd };
    this.track = new Track(player.session, `${player.path}/${rendition.name}`, rendition, options);
  }
  pump() {
    const { clock, figures, port } = this.player;
    const onSound = ({ planes, rate, timestamp }) => {
      figures.heard(planes[0].length / rate);
      this.player.soundReady();
      port?.postMessage({ planes, rate, timestamp, delay: clock.delay }, planes.map(({ buffer }) => buffer));
    };
    const onError = (error) => {
      this.#decoder = undefined;
      this.player.notice(`sound of ${this.rendition.name} could not be decoded: ${error.message}`);
    };
    for (;;) {
      const frame = this.track.groups.take(({ timestamp }) => clock.due(timestamp) < wallClock());
      if (!frame) return;
      this.#decoder ??= audioDecoder(this.rendition, onSound, onError);
      this.#decoder.decode({ ...frame, key: true });
    }
  }
  close() {
    this.track.close();
    this.#decoder?.close();
    this.player.port?.postMessage({ clear: true });
  }
}

/** A broadcast that is played. `tell(message)` is for the page, `draw(image)` shows a picture. */
export class Player {
  clock = new Clock();
  figures = new Figures();
  #catalog;
  #closed = false;
  /** The rendition on its way to take over, and who picks it, unless it is the user. */
  #coming;
  #quality = new Quality();
  #sound;
  #shownAt;
  #isInSight;
  /** What is to be shown once the page is in sight. */
  #resting;
  /** Until then pictures may be too late to be shown. */
  #catchUp = -Infinity;
  /** `catalog` is the place of the one to read, behind the path. `onEnd` is called when nothing more comes by itself,
   *  as with a catalog that has ended or cannot be had. */
  constructor({ session, path, catalog, isInSight = true, target, port, tell, draw, onEnd }) {
    Object.assign(this, { session, path, catalog, port, tell, draw, target });
    this.#isInSight = isInSight;
    const end = (state, words) => {
      if (this.#closed) return;
      this.#say(state, words);
      this.close();
      onEnd();
    };
    this.#follow().then(() => end("ended", `${path} has ended`), ({ message }) => end("failed", message));
  }

  /** Reads the catalog as it changes, to its end. One that is wrong may be followed by one that is right. */
  async #follow() {
    this.#say("waiting", `Waiting for the catalog of ${this.path}`);
    this.#catalog = await this.session.subscribe(this.path + this.catalog, { priority: PRIORITY.catalog });
    if (this.#closed) this.#catalog.cancel();
    let newest = -1;
    for await (const group of this.#catalog) {
      const reader = new CatalogReader(this.catalog);
      for await (const document of group) {
        if (group.sequence < newest || this.#closed) continue;
        newest = group.sequence;
        try {
          await this.#take(reader.read(document));
        } catch ({ message }) {
          if (this.shown || this.#sound) this.notice(message);
          else this.#say("failed", message);
        }
      }
    }
  }

  /** What the catalog offers is taken, as far as it can be played. */
  async #take({ video, audio, strange }) {
    const all = [...video, ...audio];
    const playable = await Promise.all(all.map(isPlayable));
    const can = (renditions) => renditions.filter((one) => playable[all.indexOf(one)]);
    const cannot = [...strange, ...all.filter((one) => !can([one]).length)];
    [this.video, this.audio] = [can(video), can(audio)];
    if (this.#closed) return;
    this.tell({ type: "renditions", video: this.video, audio: this.audio });
    const words = cannot.map(({ name, codec, container }) => `${name} (${codec}, ${container})`).join(", ");
    if (words !== "") this.notice(`cannot be played here: ${words}`);
    if (this.video.length + this.audio.length === 0)
      throw new Error("the catalog has nothing that can be played here");
    const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
    const [audioNow] = this.audio;
    if (!same(this.#sound?.rendition, audioNow)) {
      this.#sound?.close();
      this.#sound = audioNow && new Sound(this, audioNow);
    }
    const before = this.shown?.rendition ?? this.#resting;
    const now = this.video.find((one) => same(one, before)) ?? this.video[0];
    if (!same(now, before)) this.#begin(now);
    this.#say("waiting", `Waiting for the first picture of ${this.path}`);
  }

  /** Shows a rendition, or none, in place of another. Pictures are for a page that is in sight only. */
  #begin(rendition) {
    this.#coming?.close();
    if (this.shown) this.#letGo();
    this.#coming = undefined;
    this.#resting = this.#isInSight ? undefined : rendition;
    if (rendition && this.#isInSight) this.shown = new Pictures(this, rendition, PRIORITY.video);
    if (rendition) this.#tellRendition();
  }

  #letGo() {
    this.figures.dropped += this.shown.track.groups.dropped;
    this.figures.bytes += this.shown.track.bytes;
    this.shown.close();
    this.shown = undefined;
  }

  /** Whether the page can be seen. If not there is sound alone; then pictures begin again with the newest group. */
  set isInSight(isInSight) {
    if (this.#closed || isInSight === this.#isInSight) return;
    const [rendition, now] = [this.shown?.rendition ?? this.#resting, wallClock()];
    this.#isInSight = isInSight;
    this.#begin(rendition);
    this.figures.pause(now);
    this.#quality?.pause();
    this.#shownAt = now;
    this.#catchUp = now + CATCH_UP;
  }

  set target(milliseconds) { this.clock.target = milliseconds * 1000; }

  /** Something has come for a rendition; `frame` is what, if it is a frame. */
  arrived(of, frame) {
    if (frame) this.#time(of, frame, wallClock());
    if (of.track.problem) this.notice(`a group of ${of.rendition.name} is wrong: ${of.track.problem.message}`);
    of.track.problem = undefined;
    of.pump();
  }

  /** The first frames of a track have waited for us, which says nothing of the way that others take. */
  #time(of, { timestamp }, now) {
    of.since ??= now;
    of.isSettled ||= this.clock.delay === undefined || this.clock.due(timestamp) >= now || now - of.since > SETTLE;
    if (of.isSettled) this.clock.arrived(timestamp, now);
  }

  /** A rendition by its name takes over; without a name the player picks. */
  choose(name) {
    if (this.#closed) return;
    this.#quality = name === undefined ? new Quality() : undefined;
    const index = this.video?.findIndex((one) => one.name === name) ?? -1;
    if (index >= 0) this.#go(index);
  }

  /** A rendition is subscribed to beside the one that is shown, and takes over once it has a picture to show. */
  #go(index) {
    const rendition = this.video[index];
    if (this.#resting) return this.#begin(rendition);
    if (!this.shown || rendition === (this.#coming ?? this.shown).rendition) return;
    this.#coming?.close();
    this.#coming = undefined;
    if (rendition !== this.shown.rendition) {
      // What is larger must not take from what plays; what is smaller has to get through where that does not.
      const step = index > this.video.indexOf(this.shown.rendition) ? STEP : -STEP;
      this.#coming = new Pictures(this, rendition, PRIORITY.video + step);
    }
    this.#tellRendition();
  }

  #tellRendition() {
    if (this.#resting) return this.tell({ type: "rendition", name: this.#resting.name });
    const { rendition: { name }, priority } = this.shown;
    const coming = this.#coming && { name: this.#coming.rendition.name, priority: this.#coming.priority };
    this.tell({ type: "rendition", name, priority, coming });
  }

  /** A rendition on its way takes over where the one that is shown has come to. */
  pictureReady(of) {
    if (of !== this.#coming) return;
    of.forget(this.figures.last);
    if (of.ready.length === 0) return;
    this.#letGo();
    [this.shown, this.#coming] = [of, undefined];
    of.prioritize(PRIORITY.video);
    this.#tellRendition();
  }

  /** Without pictures, sound is what plays. */
  soundReady() {
    if (this.video.length === 0) this.#say("playing", `Playing ${this.path}, which is sound alone`);
  }

  #adapt(now) {
    if (!this.#quality || !this.shown || this.#closed) return;
    const index = this.video.indexOf(this.shown.rendition);
    const coming = this.#coming && this.video.indexOf(this.#coming.rendition);
    const dropped = this.figures.dropped + this.shown.track.groups.dropped;
    const late = this.figures.last === undefined ? 0 : now - this.clock.due(this.figures.last);
    const next = this.#quality.decide({ now, index, count: this.video.length, coming, dropped, late });
    if (next !== undefined) this.#go(next);
  }

  /** Shows what is due. To be called for each picture of the screen. */
  show() {
    if (this.#closed) return;
    const now = wallClock();
    this.shown?.pump();
    this.#coming?.pump();
    this.#sound?.pump();
    const frame = this.shown?.due(now);
    if (!frame) {
      const isStalled = this.shown && this.#shownAt < now - STALL;
      if (isStalled) this.#say("waiting", `Waiting for the next picture of ${this.path}`);
      return;
    }
    if (now < this.#catchUp && now - this.clock.due(frame.timestamp) > STALE) return frame.image.close();
    this.#catchUp = -Infinity;
    this.#shownAt = now;
    this.draw(frame.image);
    frame.image.close();
    this.figures.showed(frame.timestamp, now);
    this.#say("playing", `Playing ${this.path}`);
  }

  /** The figures of now. */
  report() {
    const now = wallClock();
    this.#adapt(now);
    const tracks = [this.shown, this.#sound, this.#coming].filter(Boolean).map(({ track }) => track);
    return this.figures.report({ clock: this.clock, tracks, now });
  }

  trackEnded(of, error) {
    if (this.#closed || of === undefined) return;
    const { name } = of.rendition;
    if (of === this.#coming) {
      of.close();
      this.#coming = undefined;
    }
    this.notice(error ? `${name} is lost: ${error.message}` : `${name} has ended`);
    if (of === this.shown) this.#say("waiting", error ? `${name} is lost: ${error.message}` : `${name} has ended`);
  }

  notice(words) { this.tell({ type: "notice", words }); }

  #state;
  #say(state, words) {
    if (this.#closed || this.#state === state + words) return;
    this.#state = state + words;
    this.tell({ type: "state", state, words });
  }
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#catalog?.cancel();
    for (const part of [this.shown, this.#coming, this.#sound]) part?.close();
  }
}
