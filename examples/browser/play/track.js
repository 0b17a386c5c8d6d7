/** Reads one rendition of a broadcast: a subscription, its groups in order, and what each frame holds. */
import { CONTAINERS } from "./container.js";
import { Groups } from "./groups.js";

/** A track that is read. Its groups and frames wait in `groups`; `onFrame` is called when there is more. */
export class Track {
  groups = new Groups();
  bytes = 0;
  #subscription;
  #over = false;
  /** `path` is that of the track, `wish` what to subscribe with. `onEnd` gets the error, or nothing where the track is
   *  finished. */
  constructor(session, path, rendition, { onFrame, onEnd, ...wish }) {
    Object.assign(this, { rendition, onFrame });
    const over = (error) => { if (!this.#over) onEnd(error); };
    this.#read(session, path, wish).then(() => over(), over);
  }

  async #read(session, path, wish) {
    const onGap = ({ last }) => {
      this.groups.skip(last);
      this.onFrame();
    };
    this.#subscription = await session.subscribe(path, { ...wish, onGap });
    if (this.#over) this.#subscription.cancel();
    for await (const group of this.#subscription) {
      if (this.#over) break;
      const place = this.groups.begin(group.sequence, () => group.cancel());
      if (place) this.#fill(place, group);
    }
  }

  async #fill(place, group) {
    const { container, timescale } = this.rendition;
    let whole = true;
    try {
      for await (const bytes of group) {
        this.bytes += bytes.length;
        const frame = CONTAINERS[container](bytes, timescale);
        // A frame without anything in it is no picture.
        if (frame.payload.length > 0) this.groups.add(place, frame);
        this.onFrame(frame);
      }
    } catch (error) {
      whole = false;
      // Those with a scope are of the way, not of what came.
      if (error.scope === undefined) this.problem = error;
    }
    this.groups.end(place, whole);
    this.onFrame();
  }

  /** Subscribes with other options from now on. */
  update(change) { this.#subscription?.update(change); }

  close() {
    this.#over = true;
    this.#subscription?.cancel();
    this.groups.clear();
  }
}
