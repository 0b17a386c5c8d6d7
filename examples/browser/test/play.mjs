/** The cases of the page that plays, as `relay --dev` serves it. */
import assert from "node:assert/strict";

/** The page of a relay, with what to add to its URL. */
const open = (test, query = {}, url = test.url) => test.page(new URL(`/?${new URLSearchParams(query)}`, url).href);

/** Waits until the page says so in the element. */
const says = (page, element, words) => page.locator(element, { hasText: words }).waitFor();

/** The figures that the page shows. */
const figures = (page) => page.evaluate(() => {
  const text = (id) => document.getElementById(id).textContent;
  const numbers = (id) => Array.from(text(id).matchAll(/\d+(?:\.\d+)?/g), ([number]) => Number(number));
  const [decoded, shown] = numbers("pictures");
  const [soundDecoded, soundPlayed] = numbers("sound-figures");
  return { decoded, shown, soundDecoded, soundPlayed, toDecode: text("to-decode"), toScreen: text("to-screen") };
});

export const cases = {
  "camera on air": async (test) => {
    const page = await open(test);
    await says(page, "#session", "Connected");
    await page.locator("#camera-name").fill("camera/one");
    await page.locator("#camera-go").click();
    await says(page, "#camera-state", /On air as camera\/one: \d+×\d+, .* [1-9]\d* pictures/);
    await page.locator("#broadcasts button[aria-pressed=true]", { hasText: "camera/one" }).waitFor();
    await says(page, "#state", "Playing camera/one");
    await page.locator("#mute").click();
    await says(page, "#sound-figures", /, [1-9][\d.]* s played/);
    const { decoded, toDecode } = await figures(page);
    assert.ok(decoded > 5, `${decoded} pictures`);
    test.say(`capture to decoder: ${toDecode}`);
    await page.locator("#camera-go").click();
    await says(page, "#state", "camera/one has ended");
    await page.locator("#broadcasts button").waitFor({ state: "detached" });
  },
};
