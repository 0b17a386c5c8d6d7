/** Plays what the worker decodes, in the thread of the sound. */
import { SampleQueue } from "./samples.js";

/** How often it tells how it goes, in blocks of 128 samples. */
const REPORT = 64;

class Player extends AudioWorkletProcessor {
  #queue = new SampleQueue(sampleRate);
  #delay;
  #latency = 0;
  /** The wall clock less that of the context, smoothed: blocks are asked for in bursts. */
  #offset;
  #blocks = 0;
  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data.port) this.#listen(data.port);
      if (data.latency !== undefined) this.#latency = data.latency;
    };
  }
  #listen(port) {
    this.worker = port;
    port.onmessage = ({ data }) => {
      this.#delay = data.delay ?? this.#delay;
      if (data.clear) this.#queue.clear();
      if (data.planes) this.#queue.push(data);
    };
  }
  #now() {
    const seen = Date.now() * 1000 - currentTime * 1_000_000;
    const off = seen - (this.#offset ?? seen);
    this.#offset = Math.abs(off) > 50_000 ? seen : (this.#offset ?? seen) + off * 0.01;
    return currentTime * 1_000_000 + this.#offset;
  }
  process(inputs, [output]) {
    const now = this.#now();
    if (this.#delay !== undefined) this.#queue.render(output, now + this.#latency - this.#delay);
    this.#blocks += 1;
    if (this.#blocks % REPORT === 0) {
      const { played, gaps, waiting } = this.#queue;
      this.worker?.postMessage({ played: played / sampleRate, gaps, waiting, device: this.#latency });
    }
    return true;
  }
}

registerProcessor("player", Player);
