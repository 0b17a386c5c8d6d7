/** Decoders with one shape: `decode({ timestamp, payload, key })`, `busy` frames inside, `close()`. */

/** Codecs of sound without compression: how to read a sample as a number from -1 to 1. */
const PCM = {
  "pcm-s16": { size: 2, read: (view, at) => view.getInt16(at, true) / 32768 },
  "pcm-f32": { size: 4, read: (view, at) => view.getFloat32(at, true) },
};
PCM.pcm = PCM["pcm-f32"];

/** Pictures of which each is a file of its own. `onFrame` gets `{ image, timestamp }`, in order. */
class ImageFiles {
  busy = 0;
  #last = Promise.resolve();
  #closed = false;
  constructor(type, onFrame, onError) { Object.assign(this, { type, onFrame, onError }); }
  decode({ timestamp, payload }) {
    this.busy += 1;
    const decoded = createImageBitmap(new Blob([payload], { type: this.type }));
    const before = this.#last;
    this.#last = decoded.then(async (image) => {
      await before;
      if (this.#closed) image.close();
      else this.onFrame({ image, timestamp });
    }).catch(() => { if (!this.#closed) this.onError(new Error("a picture could not be decoded")); })
      .finally(() => { this.busy -= 1; });
  }
  close() { this.#closed = true; }
}

/** What WebCodecs decodes, pictures or sound. */
class Codec {
  #decoder;
  #Chunk;
  constructor(Decoder, Chunk, config, onOutput, onError) {
    this.#Chunk = Chunk;
    this.#decoder = new Decoder({ output: onOutput, error: onError });
    this.#decoder.configure(config);
  }
  get busy() { return this.#decoder.decodeQueueSize; }
  decode({ timestamp, payload, key }) {
    if (this.#decoder.state === "closed") return;
    this.#decoder.decode(new this.#Chunk({ type: key ? "key" : "delta", timestamp, data: payload }));
  }
  close() { if (this.#decoder.state !== "closed") this.#decoder.close(); }
}

const videoConfig = ({ codec, description, width, height }) =>
  ({ codec, description, codedWidth: width, codedHeight: height, optimizeForLatency: true });
const audioConfig = ({ codec, description, rate, channels }) => ({
  // The head of an Opus file says what the catalog says as well.
  codec, description: codec === "opus" ? undefined : description, sampleRate: rate, numberOfChannels: channels,
});
const isImage = ({ codec }) => codec === "jpeg" || codec === "mjpeg";

/** Whether a rendition can be decoded here. */
export async function isPlayable(rendition) {
  if (isImage(rendition) || Object.hasOwn(PCM, rendition.codec)) return true;
  const [Decoder, config] = rendition.kind === "video"
    ? [globalThis.VideoDecoder, videoConfig(rendition)] : [globalThis.AudioDecoder, audioConfig(rendition)];
  return await Decoder?.isConfigSupported(config).then(({ supported }) => supported, () => false) ?? false;
}

/** Decodes pictures: `onFrame({ image, timestamp })`, and `onError(error)` after which a new decoder is needed. */
export function videoDecoder(rendition, onFrame, onError) {
  if (isImage(rendition)) return new ImageFiles("image/jpeg", onFrame, onError);
  const output = (image) => onFrame({ image, timestamp: image.timestamp });
  return new Codec(VideoDecoder, EncodedVideoChunk, videoConfig(rendition), output, onError);
}

function readPcm({ size, read }, channels, payload) {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const length = Math.floor(payload.byteLength / size / channels);
  return Array.from({ length: channels }, (_, channel) =>
    Float32Array.from({ length }, (_, at) => read(view, (at * channels + channel) * size)));
}

function planesOf(data) {
  const planes = Array.from({ length: data.numberOfChannels }, (_, planeIndex) => {
    const plane = new Float32Array(data.numberOfFrames);
    data.copyTo(plane, { planeIndex, format: "f32-planar" });
    return plane;
  });
  data.close();
  return planes;
}

/** Decodes sound: `onSound({ planes, rate, timestamp })`, with one array of numbers for each channel. */
export function audioDecoder(rendition, onSound, onError) {
  const { codec, rate, channels } = rendition;
  if (Object.hasOwn(PCM, codec)) {
    const decode = ({ timestamp, payload }) =>
      onSound({ planes: readPcm(PCM[codec], channels, payload), rate, timestamp });
    return { busy: 0, decode, close() {} };
  }
  const output = (data) => {
    const { timestamp, sampleRate: rate } = data;
    onSound({ planes: planesOf(data), rate, timestamp });
  };
  return new Codec(AudioDecoder, EncodedAudioChunk, audioConfig(rendition), output, onError);
}
