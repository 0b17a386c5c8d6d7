/** Puts the groups of one track in order, and lets go of those that are too late. */

/** Most groups that wait, and most bytes of them. Beyond that the oldest are let go of. */
export const LIMITS = { groups: 8, bytes: 32 << 20 };

/** One group, as far as it has come. */
class Group {
  frames = [];
  bytes = 0;
  /** Frames that were taken. */
  taken = 0;
  complete = false;
  constructor(sequence, cancel) { Object.assign(this, { sequence, cancel }); }
}

/** Groups that come beside one another, read one after the other. */
export class Groups {
  #waiting = [];
  /** The number of the group that is to come next. */
  #next;
  /** Groups that were not read to their end. */
  dropped = 0;

  /** A group has begun to arrive. `undefined` if it is too late for it. */
  begin(sequence, cancel = () => {}) {
    if (sequence < this.#next || this.#waiting.some((group) => group.sequence === sequence)) {
      cancel();
      return undefined;
    }
    const group = new Group(sequence, cancel);
    this.#waiting.push(group);
    this.#waiting.sort((a, b) => a.sequence - b.sequence);
    this.#bound();
    return this.#waiting.includes(group) ? group : undefined;
  }

  /** A frame of a group has arrived: anything with a `payload`. */
  add(group, frame) {
    group.frames.push(frame);
    group.bytes += frame.payload.length;
    this.#bound();
  }

  /** Nothing more comes of a group; `whole` unless something is missing. */
  end(group, whole = true) {
    group.complete = true;
    group.broken = !whole;
  }

  /** Groups up to this one do not come, unless they have begun. */
  skip(last) {
    if (this.#next === undefined || this.#waiting.some(({ sequence }) => sequence <= last)) return;
    this.dropped += Math.max(0, last + 1 - this.#next);
    this.#next = Math.max(this.#next, last + 1);
  }

  /**
   * The next frame, with `key` where it is the first of its group; `undefined` if it has to be waited for. A newer
   * group takes over once its first frame `isDue`.
   */
  take(isDue) {
    for (;;) {
      const [group] = this.#waiting;
      const newer = this.#waiting.findLast(({ taken, frames }, at) => at > 0 && taken === 0 && frames.length > 0);
      if (newer && isDue(newer.frames[0])) {
        this.#leave(this.#waiting.indexOf(newer));
      } else if (group?.frames.length > 0 && this.#isNext(group, isDue)) {
        this.#count(group.sequence);
        group.bytes -= group.frames[0].payload.length;
        group.taken += 1;
        return { ...group.frames.shift(), key: group.taken === 1, group: group.sequence };
      } else if (group?.complete && group.frames.length === 0) {
        this.#count(group.sequence);
        this.#shift();
        if (group.broken) this.dropped += 1;
      } else {
        return undefined;
      }
    }
  }

  /** Whether nothing is missing before a group, or it is too late for that. */
  #isNext({ sequence, frames }, isDue) {
    return this.#next === undefined || sequence <= this.#next || isDue(frames[0]);
  }

  /** The group is read now, or over: what is missing before it will not be read. */
  #count(sequence) {
    this.dropped += Math.max(0, sequence - (this.#next ?? sequence));
    this.#next = Math.max(this.#next ?? sequence, sequence);
  }

  #shift() {
    const group = this.#waiting.shift();
    this.#next = group.sequence + 1;
    return group;
  }

  /** Lets go of the oldest groups. */
  #leave(count) {
    for (; count > 0; count--) {
      this.#count(this.#waiting[0].sequence);
      const group = this.#shift();
      if (!group.complete || group.frames.length > 0 || group.broken) this.dropped += 1;
      group.frames = [];
      group.cancel();
    }
  }

  #bound() {
    const bytes = () => this.#waiting.reduce((sum, group) => sum + group.bytes, 0);
    while (this.#waiting.length > LIMITS.groups || (this.#waiting.length > 1 && bytes() > LIMITS.bytes))
      this.#leave(1);
  }

  /** Lets go of everything. */
  clear() {
    for (const group of this.#waiting.splice(0)) group.cancel();
  }
}
