// An HTTP client for Weft's tests, over HTTP/2 without TLS (by prior knowledge) or HTTP/1.1: calls server.js and checks
// what comes back.
//
// usage: client.js --target HOST:PORT --authority NAME --case CASE [--protocol h2|h1]
//
// CASE is one name, several with commas between, or "all"; --list prints them. Each case makes one line of JSON: its name,
// whether it passed, and what it saw or what was wrong. The exit code is 1 if one failed. Each is bounded in time.
"use strict";

const { setTimeout: pause } = require("node:timers/promises");
const { once } = require("node:events");
const { isDeepStrictEqual, inspect } = require("node:util");
const crypto = require("node:crypto");
const { readOptions, runCases } = require("../cases.js");
const { pattern } = require("./pattern.js");
const { Http1, Http2 } = require("./transport.js");
const websocket = require("./websocket.js");

const LARGE = 100_000_000;
const SMALL_WINDOW = 4_096;
const PART = 65_536;
const STREAMS = 200;

const CASES = {
  async get({ client, options }) {
    const fields = { "x-one": "1", "x-empty": "", "x-long": "y".repeat(10_000) };
    const { status, headers, body } = await whole(client, { path: "/request?a=b%20c&d=%2F", headers: fields });
    equal("status", status, 200);
    const seen = JSON.parse(body);
    equal("request line", [seen.method, seen.path], ["GET", "/request?a=b%20c&d=%2F"]);
    equal("authority", seen.authority, options.authority);
    const got = Object.fromEntries(seen.fields.filter(([name]) => name in fields));
    equal("fields", got, fields);
    equal("bytes of the body", seen.bytes, 0);
    return { upstream_version: seen.version, through: headers["through"]?.split(", ") ?? [] };
  },

  /** A cookie that comes in crumbs is one field to whoever cannot have crumbs (RFC 9113 §8.2.3). */
  async cookies({ client }) {
    const { body } = await whole(client, { path: "/request", headers: { cookie: ["a=1", "b=2", "c=3"] } });
    const crumbs = JSON.parse(body).fields.filter(([name]) => name.toLowerCase() === "cookie");
    equal("cookies", crumbs.map(([, value]) => value).join("; "), "a=1; b=2; c=3");
    return { fields: crumbs.length };
  },

  async head({ client }) {
    const { status, headers, body } = await whole(client, { method: "HEAD", path: "/bytes?size=12345" });
    equal("status, length, bytes", [status, headers["content-length"], body.length], [200, "12345", 0]);
    return { content_length: 12345 };
  },

  async "no-content"({ client }) {
    for (const code of [204, 304]) {
      const { status, headers, body } = await whole(client, { path: `/status?code=${code}` });
      equal("status, field, bytes", [status, headers["x-status"], body.length], [code, `${code}`, 0]);
    }
    return { codes: [204, 304] };
  },

  /** Each part of the body is answered before the next one is sent. */
  async "both-ways"({ client }) {
    const exchange = client.open({ method: "POST", path: "/echo", body: true });
    exchange.stream.write(pattern(0, 1));
    equal("status", (await exchange.head).status, 200);
    const parts = exchange.body[Symbol.asyncIterator]();
    let [sent, received] = [1, 0];
    for (let turn = 0; turn < 50; turn++) {
      while (received < sent) {
        const { value, done } = await parts.next();
        equal("the body has ended", done, false);
        equal("the part is the pattern", value.equals(pattern(received, value.length)), true);
        received += value.length;
      }
      exchange.stream.write(pattern(sent, 1_000 * turn));
      sent += 1_000 * turn;
    }
    exchange.finish();
    for (let next = await parts.next(); !next.done; next = await parts.next()) received += next.value.length;
    equal("bytes received", received, sent);
    return { bytes: received, turns: 50 };
  },

  async trailers({ client }) {
    const headers = { te: "trailers", trailer: "x-first, x-second" };
    const exchange = client.open({ method: "POST", path: "/echo", body: true, headers });
    exchange.stream.write("a body");
    exchange.finish({ "x-first": "1", "x-second": "two words" });
    const body = await text(exchange);
    const trailers = await exchange.trailers();
    equal("body", body, "a body");
    equal("trailers", [trailers["x-first"], trailers["x-second"]], ["1", "two words"]);
    equal("hash in the trailers", trailers["x-sha256"], sha256(["a body"]));
    return { trailers: Object.keys(trailers).length };
  },

  async websocket({ client }) {
    const { stream, head } = await client.websocket("/websocket");
    const frames = websocket.frames(stream, head);
    const { text, binary, ping, pong, close } = websocket.OPCODE;
    const sent = [
      [text, Buffer.from("hello ☂"), text],
      [binary, pattern(0, 300), binary],
      [binary, pattern(7, 200_000), binary],
      [ping, Buffer.from("are you there"), pong],
      [close, Buffer.from([0x03, 0xe8]), close],
    ];
    for (const [opcode, payload, answer] of sent) {
      stream.write(websocket.encode(opcode, payload, { masked: true }));
      const { value } = await frames.next();
      equal("opcode", value?.opcode, answer);
      equal("the payload is the same", value.payload.equals(payload), true);
    }
    equal("after the close", (await frames.next()).done, true);
    stream.end();
    if (!stream.destroyed) await once(stream, "close");
    return { frames: sent.length };
  },

  async "early-hints"({ client }) {
    const exchange = client.open({ path: "/early-hints" });
    const { status } = await exchange.head;
    equal("body", JSON.parse(await text(exchange)), { hinted: true });
    equal("interim answers", exchange.interim.map(([code]) => code), [103]);
    equal("link", exchange.interim[0][1].link, "</style.css>; rel=preload; as=style");
    equal("status", status, 200);
    return { interim: [103] };
  },

  async continue({ client }) {
    const exchange = client.open({ method: "POST", path: "/request", body: true, headers: { expect: "100-continue" } });
    await until(() => exchange.interim.length > 0, "100");
    equal("interim answers", exchange.interim.map(([code]) => code), [100]);
    exchange.stream.write("a body");
    exchange.finish();
    equal("bytes of the body", JSON.parse(await text(exchange)).bytes, 6);
    return { interim: [100] };
  },

  async "continue-refused"({ client }) {
    const headers = { expect: "100-continue" };
    const exchange = client.open({ method: "POST", path: "/request?refuse", body: true, headers });
    equal("status", (await exchange.head).status, 417);
    equal("body", JSON.parse(await text(exchange)), { refused: true });
    exchange.cancel();
    return { status: 417 };
  },

  async "no-push"({ client }) {
    const { body } = await whole(client, { path: "/push" });
    equal("the server may push", JSON.parse(body), { allowed: false });
    equal("pushed streams", client.pushed, 0);
    return { allowed: false };
  },

  /** In HTTP/2 through a window that is smaller than any frame. */
  async download({ fresh, protocol }) {
    const client = fresh({ initialWindowSize: SMALL_WINDOW });
    const exchange = client.open({ path: `/bytes?size=${LARGE}` });
    equal("status", (await exchange.head).status, 200);
    const hash = crypto.createHash("sha256");
    let bytes = 0;
    for await (const part of exchange.body) {
      hash.update(part);
      bytes += part.length;
    }
    client.close();
    equal("bytes", bytes, LARGE);
    equal("hash", hash.digest("hex"), sha256(parts(LARGE)));
    return { bytes, window: protocol === "h2" ? SMALL_WINDOW : undefined };
  },

  async upload({ client }) {
    const exchange = client.open({ method: "POST", path: "/request", body: true });
    for (const part of parts(LARGE)) {
      if (!exchange.stream.write(part)) await once(exchange.stream, "drain");
    }
    exchange.finish();
    const seen = JSON.parse(await text(exchange));
    equal("bytes", seen.bytes, LARGE);
    equal("hash", seen.sha256, sha256(parts(LARGE)));
    return { bytes: seen.bytes };
  },

  async "many-at-once"({ client }) {
    const one = async (number) => {
      const exchange = client.open({ method: "POST", path: "/echo", body: true });
      exchange.stream.write(`${number}`);
      await pause(number % 7);
      exchange.finish({ "x-number": `${number}` });
      equal("body", await text(exchange), `${number}`);
      equal("trailer", (await exchange.trailers())["x-number"], `${number}`);
    };
    await Promise.all(Array.from({ length: STREAMS }, (_, number) => one(number)));
    return { exchanges: STREAMS };
  },

  /** An answer that is broken off must not look like one that has ended. */
  async reset({ client }) {
    const exchange = client.open({ path: "/reset" });
    equal("status", (await exchange.head).status, 200);
    const broken = await text(exchange).then(
      (body) => `ended after "${body}"`,
      () => "broken off",
    );
    equal("the answer", broken, "broken off");
    equal("the next answer", (await whole(client, { path: "/request" })).status, 200);
    return { answer: broken };
  },

  async cancel({ client }) {
    const key = crypto.randomUUID();
    const exchange = client.open({ path: `/hang?key=${key}` });
    equal("status", (await exchange.head).status, 200);
    exchange.body[Symbol.asyncIterator]().next().catch(() => {});
    const seen = async () => JSON.parse((await whole(client, { path: `/seen?key=${key}` })).body);
    equal("before it is given up", await seen(), { known: true, gone: false });
    exchange.cancel();
    await until(async () => (await seen()).gone, "the server to see it");
    return { gone: true };
  },
};

function equal(what, got, wanted) {
  if (!isDeepStrictEqual(got, wanted)) throw new Error(`${what}: got ${short(got)}, not ${short(wanted)}`);
}

function short(value) {
  return inspect(value, { breakLength: Infinity }).slice(0, 200);
}

/** Looks until it comes true, for ten seconds. */
async function until(look, what) {
  const end = Date.now() + 10_000;
  while (!(await look())) {
    if (Date.now() > end) throw new Error(`waited ten seconds for ${what}`);
    await pause(10);
  }
}

/** A request without a body, and the whole of its answer. */
async function whole(client, request) {
  const exchange = client.open(request);
  const { status, headers } = await exchange.head;
  return { status, headers, body: await text(exchange) };
}

async function text(exchange) {
  const parts = [];
  for await (const part of exchange.body) parts.push(part);
  return Buffer.concat(parts).toString();
}

function* parts(size) {
  for (let sent = 0; sent < size; sent += PART) yield pattern(sent, Math.min(PART, size - sent));
}

function sha256(parts) {
  const hash = crypto.createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

async function main() {
  const options = readOptions(CASES, { protocol: { type: "string", default: "h2" } });
  const transport = { h2: Http2, h1: Http1 }[options.protocol];
  if (!transport) {
    console.error(`--protocol: must be h2 or h1, got ${options.protocol}`);
    process.exit(2);
  }
  const fresh = (settings) => new transport(options.target, options.authority, settings);
  await runCases(CASES, options, { client: fresh(), fresh, options, protocol: options.protocol });
}

main();
