/** Figures over the last while. */

/** Values that are kept, the newest; their percentiles. */
export class Recent {
  #values = [];
  constructor(most = 600) { this.most = most; }
  add(value) {
    this.#values.push(value);
    if (this.#values.length > this.most) this.#values.shift();
  }
  get count() { return this.#values.length; }
  /** `share` from 0 to 1; `undefined` without values. */
  percentile(share) {
    const sorted = this.#values.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  }
}

/** How much of a growing total came in a second, over the last second. */
export class Rate {
  #points = [];
  /** Takes the total at a time in microseconds, and gives its growth per second. */
  add(total, now) {
    this.#points.push({ total, now });
    while (this.#points.length > 2 && now - this.#points[1].now >= 1_000_000) this.#points.shift();
    const [first] = this.#points;
    return now > first.now ? (total - first.total) * 1_000_000 / (now - first.now) : 0;
  }
}
