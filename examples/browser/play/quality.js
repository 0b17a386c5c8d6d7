/** Picks a rendition by how it goes. Times are in microseconds. */

/** Trouble is looked for in this last while; so many groups dropped in it are too much. */
const [WHILE, MOST_DROPPED] = [4_000_000, 2];
/** A picture that stays for so long, or comes so late, is trouble, too. */
const LATE = 1_000_000;
/** How long all has to go well before something better is tried; twice as long after each failure, up to a bound. */
const [PATIENCE, MOST_PATIENCE] = [10_000_000, 80_000_000];
/** How long something better may take to come up. */
const TRIAL = 4_000_000;

/** Decides once in a while: `decide` gives the index of a rendition to go to, the best one being 0, or nothing. */
export class Quality {
  #points = [];
  #calmSince;
  #patience = PATIENCE;
  #trial;

  /** There were no pictures for a while, which says nothing of the way. */
  pause() {
    this.#points = [];
    this.#calmSince = undefined;
    this.#trial = undefined;
  }

  /**
   * `index` of `count` renditions plays, `coming` is that on its way, if one is; `dropped` is the number of groups
   * that were, and `late` how long the picture that is shown has been due.
   */
  decide({ now, index, count, coming, dropped, late }) {
    this.#points.push({ now, dropped });
    while (now - this.#points[0].now > WHILE) this.#points.shift();
    const isTrouble = dropped - this.#points[0].dropped > MOST_DROPPED || late > LATE;
    this.#calmSince = isTrouble ? now : this.#calmSince ?? now;
    if (this.#trial && (index === this.#trial.index || isTrouble || now > this.#trial.until)) {
      const failed = index !== this.#trial.index;
      this.#patience = failed ? Math.min(this.#patience * 2, MOST_PATIENCE) : this.#patience;
      this.#trial = undefined;
      this.#calmSince = now;
      if (failed && coming !== undefined) return index;
    }
    if (coming !== undefined) return undefined;
    if (isTrouble && index < count - 1) {
      this.#points = [];
      this.#patience = Math.min(this.#patience * 2, MOST_PATIENCE);
      return index + 1;
    }
    if (index > 0 && now - this.#calmSince > this.#patience) {
      this.#trial = { index: index - 1, until: now + TRIAL };
      return index - 1;
    }
    return undefined;
  }
}
