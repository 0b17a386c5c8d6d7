/** The sound of the page: a context, a worklet that plays, and how loud. */

/** Begins once the user allows it; `port` is for the worker that decodes. */
export class Sound {
  #context;
  #gain;
  #node;
  #started;
  #volume = 1;
  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.#toWorklet = port2;
  }
  #toWorklet;

  /** Starts to play. Has to be called from a press of a button or a key, and may be called again. */
  async start() {
    this.#started ??= this.#start();
    await this.#started;
    await this.#context.resume();
  }
  async #start() {
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.#gain = new GainNode(this.#context, { gain: this.#volume });
    await this.#context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    this.#node = new AudioWorkletNode(this.#context, "player", { numberOfInputs: 0, outputChannelCount: [2] });
    this.#node.port.postMessage({ port: this.#toWorklet }, [this.#toWorklet]);
    this.#node.connect(this.#gain).connect(this.#context.destination);
    // How long the device takes may change, as with another headset.
    setInterval(() => this.#tell(), 1000);
    this.#tell();
  }
  #tell() {
    const { outputLatency = 0 } = this.#context;
    this.#node.port.postMessage({ latency: outputLatency * 1_000_000 });
  }

  /** From 0 to 1. */
  set volume(volume) {
    this.#volume = volume;
    this.#gain?.gain.setTargetAtTime(volume, this.#context.currentTime, 0.02);
  }
  get isRunning() { return this.#context?.state === "running"; }
}
