/** What the cases use inside of the page. */

/** SHA-256 in hex. */
export async function hash(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Random bytes, more than the browser gives at a time. */
export function noise(size) {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(at + 65536, size)));
  return bytes;
}

/** All bytes in one piece. */
export const joined = async (pieces) => new Uint8Array(await new Blob(pieces).arrayBuffer());

/** Frames of a group as texts. */
export async function texts(group) {
  const texts = [];
  for await (const frame of group) texts.push(new TextDecoder().decode(frame));
  return texts;
}

/** Waits for a track to be announced, or to be gone. */
export async function until(session, type, path) {
  for await (const event of session.announced(path)) if (event.type === type && event.path === path) return;
}

/** The error that a promise ends with, as plain data. */
export async function refusal(promise) {
  try {
    await promise;
  } catch ({ name, message, code, scope }) {
    return { name, message, code, scope };
  }
  throw new Error("it did not fail");
}
