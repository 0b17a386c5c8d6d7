/** Puts the camera on air: asks for it, shows it, and hands its pictures and sound to a worker. */

/** What is asked of the camera. Others are taken as they are. */
const PICTURE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const SOUND = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/** Why there is no camera, in words. */
const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera.",
  NotFoundError: "There is no camera here.",
  NotReadableError: "Another program uses the camera.",
};

/** The part of the page that goes on air. */
export class Camera {
  #stream;
  #worker;
  /** Elements of the page, and `relay()`, which says where to publish. */
  constructor(parts) {
    Object.assign(this, parts);
    this.name.value = `camera/${crypto.randomUUID().slice(0, 4)}`;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#worker) this.#stop("Off air");
      else this.#start().catch((error) => this.#stop(REASONS[error.name] ?? error.message, "failed"));
    });
    addEventListener("pagehide", () => this.#worker?.postMessage({ type: "stop" }));
  }

  #say(words, state) {
    this.state.textContent = words;
    this.state.dataset.state = state;
  }

  async #start() {
    if (!globalThis.MediaStreamTrackProcessor || !globalThis.VideoEncoder)
      throw new Error("This browser cannot publish: it has no VideoEncoder or no MediaStreamTrackProcessor.");
    this.button.disabled = true;
    this.#say("Asking for the camera", "waiting");
    const audio = this.withSound.checked && SOUND;
    this.#stream = await navigator.mediaDevices.getUserMedia({ video: PICTURE, audio });
    this.button.disabled = false;
    this.button.textContent = "Go off air";
    this.preview.srcObject = this.#stream;
    this.preview.hidden = false;
    this.preview.play().catch(() => {});
    this.#worker = new Worker(new URL("camera-worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => {
      if (data.type === "failed") this.#stop(data.words, "failed");
      else this.#say(data.words, data.type);
    };
    this.#worker.onerror = ({ message }) => this.#stop(message, "failed");
    const message = { type: "start", path: this.name.value, relay: this.relay() };
    for (const track of this.#stream.getTracks()) {
      const { readable } = new MediaStreamTrackProcessor({ track });
      message[track.kind] = { readable, settings: track.getSettings() };
      track.addEventListener("ended", () => this.#stop("The camera has ended.", "failed"));
    }
    this.#worker.postMessage(message, [message.video, message.audio].filter(Boolean).map(({ readable }) => readable));
    this.#say("Connecting", "waiting");
  }

  #stop(words, state = "idle") {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    // It ends by itself once the relay has been told.
    this.#worker?.postMessage({ type: "stop" });
    [this.#stream, this.#worker] = [undefined, undefined];
    this.preview.srcObject = null;
    this.preview.hidden = true;
    Object.assign(this.button, { disabled: false, textContent: "Go on air" });
    this.#say(words, state);
  }
}
