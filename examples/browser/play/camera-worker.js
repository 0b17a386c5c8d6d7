/** Encodes what the camera and the microphone give, and publishes it, in a worker. */
import { Session } from "../transfork.js";
import { CATALOG, writeCatalog } from "./catalog.js";
import { wallClock } from "./clock.js";
import { writeLoc } from "./container.js";
import { Rate } from "./stats.js";

/** Microseconds between key frames, and how long an audio group is without pictures. */
const [GOP, AUDIO_GROUP] = [2_000_000, 1_000_000];
/** Pictures that may wait in the encoder; more are left out, so that those that go are new. */
const BEHIND = 4;
const PRIORITY = { catalog: 100, audio: 80, video: 60 };

/** Tried in this order. */
const VIDEO_CODECS = ["avc1.42e01f", "vp09.00.31.08", "vp8"];

/** What the encoder is asked for, with a bitrate for the size. */
async function videoConfig({ width, height, framerate }) {
  const bitrate = Math.round(Math.max(300_000, width * height * framerate * 0.06));
  for (const codec of VIDEO_CODECS) {
    const config = { codec, width, height, framerate, bitrate, latencyMode: "realtime", bitrateMode: "variable" };
    if (codec.startsWith("avc1")) config.avc = { format: "avc" };
    const { supported } = await VideoEncoder.isConfigSupported(config).catch(() => ({}));
    if (supported) return config;
  }
  throw new Error("This browser has no encoder for pictures.");
}

/** Turns times of a device into those of the wall clock: the smallest difference is taken for the way to us. */
class WallTime {
  #offset = Infinity;
  of(timestamp) {
    this.#offset = Math.min(this.#offset, wallClock() - timestamp);
    return Math.round(timestamp + this.#offset);
  }
}

/** One track on air: a group at a time, frames as LOC. */
class Channel {
  bytes = 0;
  frames = 0;
  constructor(session, path, options) { this.track = session.publish(path, options); }
  begin(timestamp) {
    this.group?.end();
    this.group = this.track.group();
    this.began = timestamp;
  }
  write(timestamp, chunk) {
    const payload = new Uint8Array(chunk.byteLength);
    chunk.copyTo(payload);
    const frame = writeLoc(timestamp, payload);
    this.group.write(frame);
    this.bytes += frame.length;
    this.frames += 1;
  }
  end() {
    this.group?.end();
    this.track.end();
  }
}

class Broadcast {
  #session;
  #channels = {};
  #renditions = {};
  #encoders = [];
  #over = false;
  constructor(path) { this.path = path; }

  async start({ relay, video, audio }) {
    this.#session = await Session.connect(relay.url, relay);
    if (this.#over) return this.#session.close();
    const ended = ({ reason }) => this.fail(`The relay has ended the session${reason ? `: ${reason}` : ""}.`);
    this.#session.closed.then(ended);
    this.#expected = audio ? 2 : 1;
    await Promise.all([this.#pictures(video), audio && this.#sound(audio)]);
  }
  /** How many renditions there will be. */
  #expected;

  /** A rendition is known by what its encoder says with its first frame. With the last one all is announced. */
  #describe(kind, rendition) {
    this.#renditions[kind] = rendition;
    if (Object.keys(this.#renditions).length < this.#expected) return;
    const { video, audio } = this.#renditions;
    const catalog = this.#session.publish(this.path + CATALOG, { priority: PRIORITY.catalog });
    catalog.write(writeCatalog({ video: [video], audio: audio ? [audio] : [] }));
    this.#catalog = catalog;
    for (const kind of Object.keys(this.#renditions))
      this.#channels[kind] = new Channel(this.#session, `${this.path}/${kind}`, { priority: PRIORITY[kind], keep: 3 });
    this.#wantsKey = true;
    this.#report();
  }
  #catalog;
  #wantsKey = true;

  async #pictures({ readable, settings: { width, height, frameRate: framerate = 30 } }) {
    const [time, config] = [new WallTime(), await videoConfig({ width, height, framerate })];
    const encoder = new VideoEncoder({
      output: (chunk, { decoderConfig } = {}) => {
        if (decoderConfig && !this.#renditions.video) {
          const { codec, description } = decoderConfig;
          this.#describe("video", { name: "video", codec, description: description && new Uint8Array(description),
            width, height, framerate, bitrate: config.bitrate });
        }
        const channel = this.#channels.video;
        if (!channel || this.#over) return;
        if (chunk.type === "key") channel.begin(chunk.timestamp);
        if (channel.group) channel.write(chunk.timestamp, chunk);
      },
      error: ({ message }) => this.fail(`The pictures could not be encoded: ${message}`),
    });
    this.#encoders.push(encoder);
    encoder.configure(config);
    let last = -Infinity;
    await this.#each(readable, encoder, (frame) => {
      const timestamp = time.of(frame.timestamp);
      const keyFrame = this.#wantsKey || timestamp - last >= GOP;
      if (encoder.encodeQueueSize > BEHIND && !keyFrame) return;
      if (keyFrame) [last, this.#wantsKey] = [timestamp, false];
      const stamped = new VideoFrame(frame, { timestamp });
      encoder.encode(stamped, { keyFrame });
      stamped.close();
    });
  }

  async #sound({ readable }) {
    const time = new WallTime();
    let encoder;
    const output = (chunk) => {
      const channel = this.#channels.audio;
      if (!channel || this.#over) return;
      const [video, { timestamp }] = [this.#channels.video, chunk];
      // Both begin together, so that who comes in gets sound with the first picture.
      const isDue = !channel.group || timestamp - channel.began >= (video ? GOP : AUDIO_GROUP)
        || (video?.began > channel.began && timestamp >= video.began);
      if (isDue) channel.begin(timestamp);
      channel.write(timestamp, chunk);
    };
    const start = ({ sampleRate, numberOfChannels }) => {
      const error = ({ message }) => this.fail(`The sound could not be encoded: ${message}`);
      encoder = new AudioEncoder({ output, error });
      const bitrate = 48_000 * numberOfChannels;
      encoder.configure({ codec: "opus", sampleRate, numberOfChannels, bitrate });
      this.#encoders.push(encoder);
      this.#describe("audio", { name: "audio", codec: "opus", rate: 48_000, channels: numberOfChannels, bitrate });
    };
    await this.#each(readable, undefined, (data) => {
      if (!encoder) start(data);
      const { format, sampleRate, numberOfFrames, numberOfChannels } = data;
      const bytes = new Uint8Array(numberOfChannels * data.allocationSize({ planeIndex: 0, format: "f32-planar" }));
      for (let planeIndex = 0; planeIndex < numberOfChannels; planeIndex++)
        data.copyTo(bytes.subarray(planeIndex * numberOfFrames * 4), { planeIndex, format: "f32-planar" });
      const timestamp = time.of(data.timestamp);
      const stamped = new AudioData({ format: format && "f32-planar", sampleRate, numberOfFrames, numberOfChannels,
        timestamp, data: bytes });
      encoder.encode(stamped);
      stamped.close();
    });
  }

  /** Gives each thing that a device makes to `take`, and closes it. */
  async #each(readable, encoder, take) {
    const reader = readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || this.#over) {
        value?.close();
        return reader.cancel();
      }
      if (encoder?.state !== "closed") take(value);
      value.close();
    }
  }

  #report() {
    const [bytes, frames] = [new Rate(), new Rate()];
    const { codec, width, height } = this.#renditions.video;
    this.#timer = setInterval(() => {
      const now = wallClock();
      const sum = Object.values(this.#channels).reduce((sum, channel) => sum + channel.bytes, 0);
      const [bits, rate] = [8 * bytes.add(sum, now), frames.add(this.#channels.video.frames, now)];
      postMessage({ type: "on", words: `On air as ${this.path}: ${width}×${height}, ${codec}, `
        + `${Math.round(bits / 1000)} kbit/s, ${Math.round(rate)} pictures a second` });
    }, 500);
  }
  #timer;

  fail(words) {
    if (this.#over) return;
    postMessage({ type: "failed", words });
    this.stop();
  }

  stop() {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#timer);
    for (const encoder of this.#encoders) if (encoder.state !== "closed") encoder.close();
    for (const channel of Object.values(this.#channels)) channel.end();
    // The catalog last: it is the end of the broadcast. What has been sent is given a moment to arrive.
    this.#catalog?.end();
    setTimeout(() => {
      this.#session?.close();
      close();
    }, 300);
  }
}

let broadcast;
onmessage = ({ data }) => {
  if (data.type === "stop") return broadcast?.stop();
  broadcast = new Broadcast(data.path);
  broadcast.start(data).catch((error) => broadcast.fail(error.message));
};
