/** Sound that waits for its time: chunks in, blocks of samples out. Times are in microseconds. */

/** Off by more than this, sound jumps to where it should be; by less, it is played a little faster or slower. */
const [JUMP, DRIFT] = [100_000, 4_000];
/** The most that speed changes, as a share: nobody hears that. */
const BEND = 0.005;
/** Between chunks, what is missing from here on is a gap. */
const GAP = 15_000;
/** Most that waits. */
const MOST = 4_000_000;
/** Samples over which sound comes and goes, so that it does not crack. */
const FADE = 128;

/** The queue. `rate` is that of what comes out; chunks have their own. */
export class SampleQueue {
  #chunks = [];
  /** Where in the first chunk to read on, in samples, not always at one. */
  #at = 0;
  #running = false;
  #gain = 0;
  /** Samples that came out of chunks, and times that there were none. */
  played = 0;
  gaps = 0;
  constructor(rate) { this.rate = rate; }

  /** Adds a chunk: its time, its rate, and one array of samples for each channel. */
  push({ timestamp, rate, planes }) {
    const { length } = planes[0];
    const chunk = { timestamp, rate, planes, length, end: timestamp + length * 1_000_000 / rate };
    if (length === 0) return;
    const last = this.#chunks.at(-1);
    // What is from before is of another clock, or comes twice.
    if (last && (timestamp < last.timestamp || timestamp > last.end + MOST)) this.clear();
    this.#chunks.push(chunk);
    while (this.waiting > MOST) this.#shift();
  }

  clear() {
    this.#chunks = [];
    this.#at = 0;
    this.#running = false;
  }

  #shift() {
    this.#chunks.shift();
    this.#at = 0;
  }

  /** How much waits. */
  get waiting() {
    return this.#chunks.length === 0 ? 0 : this.#chunks.at(-1).end - this.#time;
  }

  /** The time of what is read next. */
  get #time() {
    const [{ timestamp, rate }] = this.#chunks;
    return timestamp + this.#at * 1_000_000 / rate;
  }

  /** Fills arrays, one for each channel, with what is due from `due` on; zeros where there is nothing. */
  render(output, due) {
    const { length } = output[0];
    let speed = 1;
    if (this.#chunks.length > 0) {
      const late = due - this.#time;
      if (Math.abs(late) > JUMP) this.#running = false;
      else if (Math.abs(late) > DRIFT) speed += Math.max(-BEND, Math.min(BEND, late / 1_000_000));
    }
    for (let sample = 0; sample < length; sample++) {
      if (!this.#running) this.#begin(due + sample * 1_000_000 / this.rate);
      const chunk = this.#running ? this.#chunks[0] : undefined;
      this.#gain = Math.max(0, Math.min(1, this.#gain + (chunk ? 1 : -1) / FADE));
      output.forEach((plane, channel) => {
        plane[sample] = chunk ? this.#gain * between(chunk.planes[channel] ?? chunk.planes[0], this.#at) : 0;
      });
      if (chunk) this.#advance(speed);
    }
  }

  /** Starts where the time is come. */
  #begin(due) {
    while (this.#chunks.length > 0 && this.#chunks[0].end <= due) this.#shift();
    if (this.#chunks.length === 0 || this.#time > due) return;
    this.#at += (due - this.#time) * this.#chunks[0].rate / 1_000_000;
    this.#running = this.#at < this.#chunks[0].length;
    this.#gain = 0;
  }

  #advance(speed) {
    this.played += 1;
    const [chunk, next] = this.#chunks;
    this.#at += speed * chunk.rate / this.rate;
    if (this.#at < chunk.length) return;
    const rest = this.#at - chunk.length;
    this.#shift();
    if (next && next.timestamp < chunk.end + GAP) this.#at = rest;
    else {
      this.#running = false;
      this.gaps += 1;
    }
  }
}

/** The value between two samples. */
function between(plane, at) {
  const [left, share] = [Math.floor(at), at % 1];
  const from = plane[left];
  return share === 0 ? from : from + ((plane[left + 1] ?? from) - from) * share;
}
