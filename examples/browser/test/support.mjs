/** Programs that run beside the browser, and the server that gives it its files. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

/** Serves a folder on this machine, as `{ origin, close }`. */
export async function serveFiles(folder) {
  const root = fileURLToPath(folder);
  const server = http.createServer(async (request, response) => {
    const asked = new URL(request.url, "http://localhost").pathname;
    const file = path.join(root, asked === "/" ? "index.html" : asked);
    try {
      if (!file.startsWith(root)) throw new Error("outside");
      const body = await readFile(file);
      response.writeHead(200, { "content-type": TYPES[path.extname(file)] ?? "application/octet-stream" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A page from localhost is a secure context, as WebTransport asks for.
  return { origin: `http://localhost:${server.address().port}`, close: () => server.close() };
}

/** A program that runs, and what it has written so far. */
export class Process {
  stdout = Buffer.alloc(0);
  stderr = "";
  #heard = [];

  constructor(program, args) {
    const { CARGO, RUST_LOG, ...env } = process.env;
    this.child = spawn(program, args, { env });
    this.child.stdin.on("error", () => {});
    this.child.stdout.on("data", (data) => {
      this.stdout = Buffer.concat([this.stdout, data]);
      this.#wake();
    });
    this.child.stderr.on("data", (data) => {
      this.stderr += data;
      this.#wake();
    });
    /** Resolves with the exit status; all that it wrote is there then. */
    this.ended = new Promise((resolve, reject) => {
      this.child.on("error", reject);
      this.child.on("close", (status, signal) => {
        resolve(status ?? signal);
        this.#wake();
      });
    });
    this.ended.catch(() => {});
  }

  #wake() {
    for (const check of this.#heard) check();
  }

  /** Waits for words on stdout or stderr, and returns the match. */
  says(words) {
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = words.exec(`${this.stdout}\n${this.stderr}`);
        if (found) resolve(found);
        return found;
      };
      if (check()) return;
      this.#heard.push(check);
      this.ended.then(() => check() ?? reject(new Error(`it ended and never said ${words}`)), reject);
    });
  }

  write(text) {
    this.child.stdin.write(text);
  }

  finish() {
    this.child.stdin.end();
  }

  kill(signal = "SIGKILL") {
    this.child.kill(signal);
  }
}

/** A relay on a free port of this machine, or on that of `--bind`. */
export class Relay {
  static async start(moqt, ...options) {
    const relay = new Relay();
    const bind = options.includes("--bind") ? [] : ["--bind", "127.0.0.1:0"];
    relay.process = new Process(moqt, ["relay", "--dev", ...bind, ...options]);
    const [, address] = await relay.process.says(/http:\/\/([\d.:]+)\//);
    [, relay.fingerprint] = await relay.process.says(/--tls-fingerprint ([0-9a-f]{64})/);
    relay.url = `http://${address}/`;
    relay.pinned = `https://${address}/`;
    return relay;
  }
}

/** SHA-256 in hex. */
export const hash = (bytes) => createHash("sha256").update(bytes).digest("hex");
