/** When to show what: one clock for all tracks of a broadcast. Times are in microseconds. */

/** The wall clock, finer than `Date`. */
export const wallClock = () => (performance.timeOrigin + performance.now()) * 1000;

/** How long frames were under way is looked at in slices of this, and for so many of them. */
const SLICE = 500_000;
const [SLICES_OF_BEST, SLICES_OF_WORST] = [20, 8];
/** More jitter than this is not waited for: what comes later is late. */
const MOST = 400_000;
/** Longer than that apart from one another, the times of frames are of another clock. */
const JUMP = 10_000_000;
/** How far the delay moves in a second, as a share: fast to where nothing is late, slow back. */
const [RISE, FALL] = [0.25, 0.03];
/** What is later than this is missed. Sound would have a hole for each such frame until the delay has come to where it
 *  has to be, so it goes there at once. */
const MISSED = 20_000;

/**
 * A jitter buffer without a queue: it learns how long frames are under way, and says when each is due so that most of
 * them are there in time.
 *
 * A frame is due at its time plus `delay`. That is what the fastest frames take, plus the jitter seen lately and the
 * lead, and at least the target.
 */
export class Clock {
  #slices = [];
  #delay;
  #moved;
  /** How long before it is due a frame has to be there: sound is asked for ahead of when it is heard. */
  lead = 0;
  constructor(target = 40_000) { this.target = target; }

  /** Forgets everything, as for another broadcast. */
  reset() {
    this.#slices = [];
    this.#delay = undefined;
  }

  /** A frame has come. */
  arrived(timestamp, now) {
    const took = now - timestamp;
    if (this.#slices.length > 0 && Math.abs(took - this.#best) > JUMP) this.reset();
    const last = this.#slices.at(-1);
    if (!last || now >= last.until) {
      this.#slices.push({ best: took, worst: took, until: now + SLICE });
      if (this.#slices.length > SLICES_OF_BEST) this.#slices.shift();
    } else {
      last.best = Math.min(last.best, took);
      // At first frames come that had waited for us, which says nothing of the way.
      last.worst = this.#slices.length === 1 ? last.best : Math.max(last.worst, took);
    }
    this.#move(now, took);
  }

  get #best() { return Math.min(...this.#slices.map(({ best }) => best)); }

  /** How far apart the fastest frames and the slowest ones are. */
  get jitter() {
    const worst = Math.max(...this.#slices.slice(-SLICES_OF_WORST).map(({ worst }) => worst));
    return this.#slices.length === 0 ? 0 : Math.min(worst - this.#best, MOST);
  }

  #move(now, took) {
    const wanted = this.#best + Math.max(this.target, this.jitter + this.lead);
    const passed = now - (this.#moved ?? now);
    this.#moved = now;
    if (this.#slices.length === 1) this.#delay = wanted;
    else if (took + this.lead > this.#delay + MISSED) this.#delay = Math.max(wanted, this.#delay);
    else if (wanted > this.#delay) this.#delay = Math.min(wanted, this.#delay + passed * RISE);
    else this.#delay = Math.max(wanted, this.#delay - passed * FALL);
  }

  /** What is between a frame's time and when it is due; `undefined` before the first frame. */
  get delay() { return this.#delay; }

  /** When a frame is due. */
  due(timestamp) { return timestamp + this.#delay; }
}
