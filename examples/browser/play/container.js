/** What a frame of media is on the wire: a small head with the time, then what a codec takes. */

/** Properties of LOC by number. Even ones are integers, odd ones bytes. */
const [OLD_TIMESTAMP, TIMESCALE, TIMESTAMP] = [0x06, 0x08, 0x10];
/** Units a second, unless the track or a frame says otherwise. */
const MICROS = 1_000_000;

/** Reads integers of QUIC's varying length off bytes. */
class Reader {
  constructor(bytes) { Object.assign(this, { bytes, at: 0 }); }
  varint() {
    const first = this.bytes[this.at];
    const rest = this.take(1 << (first >> 6)).subarray(1);
    return rest.reduce((value, byte) => value * 256 + byte, first & 0x3f);
  }
  take(size) {
    if (!(size <= this.bytes.length - this.at)) throw new Error("a frame is cut short");
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }
  get left() { return this.bytes.subarray(this.at); }
}

/** An integer as QUIC writes it. */
function varint(value) {
  const size = value < 2 ** 6 ? 1 : value < 2 ** 14 ? 2 : value < 2 ** 30 ? 4 : 8;
  const bytes = Array.from({ length: size }, (_, at) => Math.floor(value / 256 ** (size - 1 - at)) % 256);
  bytes[0] |= Math.log2(size) << 6;
  return bytes;
}

function readLoc(bytes, timescale = MICROS) {
  const frame = new Reader(bytes);
  const block = new Reader(frame.take(frame.varint()));
  const found = new Map();
  for (let type = 0; block.left.length > 0;) {
    type += block.varint();
    if (type % 2 === 0) found.set(type, block.varint());
    else block.take(block.varint());
  }
  const scale = found.get(TIMESCALE) ?? timescale;
  const ticks = found.get(TIMESTAMP) ?? found.get(OLD_TIMESTAMP);
  if (ticks === undefined) throw new Error("a frame says no time");
  if (scale === 0) throw new Error("a frame has 0 units of time a second");
  return { timestamp: scale === MICROS ? ticks : Math.round(ticks * (MICROS / scale)), payload: frame.left };
}

function readLegacy(bytes) {
  const frame = new Reader(bytes);
  return { timestamp: frame.varint(), payload: frame.left };
}

/** Ways to pack a frame. Each reads `{ timestamp, payload }`, in microseconds, or throws. Times of LOC may be in units
 *  of the track. */
export const CONTAINERS = { loc: readLoc, legacy: readLegacy };

/** A frame as LOC: the time in microseconds, and what the codec made. */
export function writeLoc(timestamp, payload) {
  const block = [TIMESTAMP, ...varint(timestamp)];
  const head = [...varint(block.length), ...block];
  const frame = new Uint8Array(head.length + payload.length);
  frame.set(head);
  frame.set(payload, head.length);
  return frame;
}
