/** What the page shows of how it goes. Times are in microseconds. */
import { Rate, Recent } from "./stats.js";

/** A time of media that is this far from the wall clock is none of a wall clock. */
const [FUTURE, PAST] = [-1_000_000, 3_600_000_000];

const isWallClock = (took) => took > FUTURE && took < PAST;

/** Counts while a broadcast plays. */
export class Figures {
  decoded = 0;
  shownCount = 0;
  soundSeconds = 0;
  /** Of renditions that are no longer in use. */
  dropped = 0;
  bytes = 0;
  /** From the capture of a frame until it goes to the decoder, and until it is shown, in milliseconds. */
  #toDecode = new Recent();
  #toScreen = new Recent();
  #lately = new Recent(15);
  /** How far the newest picture is ahead of the one that is shown. */
  #ahead = new Recent(30);
  #bytes = new Rate();
  #frames = new Rate();
  #newest;
  /** The time of the picture that is shown. */
  last;
  #began;

  /** A picture goes to the decoder. Those from before we came have waited for us, and do not count. */
  decoding(timestamp, now) {
    this.#began ??= now;
    this.#newest = timestamp;
    const took = now - timestamp;
    if (timestamp >= this.#began && isWallClock(took)) this.#toDecode.add(took / 1000);
  }
  /** Pictures stop, or begin again: what is from before does not count from now on. */
  pause(now) {
    this.#began = now;
    this.last = undefined;
    [this.#lately, this.#ahead] = [new Recent(15), new Recent(30)];
  }
  /** A picture is on the screen. */
  showed(timestamp, now) {
    this.shownCount += 1;
    this.last = timestamp;
    this.#ahead.add(Math.max(0, this.#newest - timestamp) / 1000);
    const took = now - timestamp;
    if (!isWallClock(took)) return;
    this.#lately.add(took / 1000);
    if (timestamp >= this.#began) this.#toScreen.add(took / 1000);
  }
  /** Sound has been decoded, so many seconds. */
  heard(seconds) { this.soundSeconds += seconds; }

  report({ clock, tracks, now }) {
    const sum = (of, start) => tracks.reduce((sum, track) => sum + of(track), start);
    const percentiles = (recent) =>
      ({ count: recent.count, p50: recent.percentile(0.5), p99: recent.percentile(0.99) });
    return {
      decoded: this.decoded,
      shown: this.shownCount,
      sound: this.soundSeconds,
      framerate: this.#frames.add(this.shownCount, now),
      bitrate: 8 * this.#bytes.add(sum(({ bytes }) => bytes, this.bytes), now),
      dropped: sum(({ groups }) => groups.dropped, this.dropped),
      latency: this.#lately.percentile(0.5),
      buffer: this.#ahead.percentile(0.5),
      jitter: clock.jitter / 1000,
      delay: isWallClock(clock.delay) ? clock.delay / 1000 : undefined,
      toDecode: percentiles(this.#toDecode),
      toScreen: percentiles(this.#toScreen),
    };
  }
}
