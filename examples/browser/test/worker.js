/** Publishes a track and reads it back, in a dedicated worker. */
import { Session } from "/transfork.js";
import { texts, until } from "/test/inside.js";

onmessage = async ({ data: url }) => {
  const [near, far] = [await Session.connect(url), await Session.connect(url)];
  const track = near.publish("worker/text");
  await until(far, "active", "worker/text");
  const subscription = await far.subscribe("worker/text");
  track.write("hello from a worker");
  for await (const group of subscription) {
    postMessage(await texts(group));
    break;
  }
  near.close();
  far.close();
};
