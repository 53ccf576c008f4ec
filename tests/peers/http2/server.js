// An HTTP server for Weft's tests: the same paths over HTTP/2 without TLS (by prior knowledge) and over HTTP/1.1.
//
// usage: server.js [--window BYTES]      the HTTP/2 window of each stream for what clients send, 65,535 if not given
//
// Prints "listening HTTP2-PORT HTTP1-PORT" and ends with its standard input.
"use strict";

const { parseArgs } = require("node:util");
const { once } = require("node:events");
const { setImmediate: nextTurn } = require("node:timers/promises");
const crypto = require("node:crypto");
const http = require("node:http");
const http2 = require("node:http2");
const websocket = require("./websocket.js");
const { pattern } = require("./pattern.js");

const KEYS_MAX = 1_000;
const PART_BYTES = 65_536;
const BYTES_MAX = 1 << 30;

/** Whether the exchange with a key is over, and whether its downstream went before the end. */
const sights = new Map();

const PATHS = {
  /** What came: the head as it was, and the body's length and hash. */
  async "/request"(request, response) {
    const hash = crypto.createHash("sha256");
    let bytes = 0;
    for await (const part of request) {
      hash.update(part);
      bytes += part.length;
    }
    json(response, {
      version: request.httpVersion,
      method: request.method,
      path: request.url,
      authority: request.headers[":authority"] ?? request.headers.host,
      fields: pairs(request.rawHeaders),
      trailers: pairs(request.rawTrailers),
      bytes,
      sha256: hash.digest("hex"),
    });
  },

  /** The body comes back as it comes in; so do the trailers that begin with `x-`, with the body's hash. */
  async "/echo"(request, response) {
    const hash = crypto.createHash("sha256");
    response.writeHead(200, { "content-type": "application/octet-stream", trailer: "x-sha256" });
    response.flushHeaders?.();
    for await (const part of request) {
      hash.update(part);
      if (!response.write(part)) await room(response);
    }
    const own = Object.entries(request.trailers).filter(([name]) => name.startsWith("x-"));
    response.addTrailers({ ...Object.fromEntries(own), "x-sha256": hash.digest("hex") });
    response.end();
  },

  /** `size` bytes of the pattern. */
  async "/bytes"(request, response, query) {
    const size = Number(query.get("size"));
    if (!Number.isInteger(size) || size < 0 || size > BYTES_MAX) {
      json(response, { error: `size: must be 0 to ${BYTES_MAX}, got ${query.get("size")}` }, 400);
      return;
    }
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": size });
    if (request.method === "HEAD") return void response.end();
    for (let sent = 0; sent < size && !response.destroyed; sent += PART_BYTES) {
      const part = pattern(sent, Math.min(PART_BYTES, size - sent));
      if (!response.write(part)) await room(response);
    }
    response.end();
  },

  async "/early-hints"(request, response) {
    response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    await nextTurn(); // so that the answer follows in a write of its own
    json(response, { hinted: true });
  },

  async "/status"(request, response, query) {
    response.writeHead(Number(query.get("code")), { "x-status": query.get("code") });
    response.end();
  },

  /** Begins an answer and breaks it off. */
  async "/reset"(request, response) {
    response.writeHead(200, { "content-type": "text/plain" });
    await new Promise((written) => response.write("the beginning", written));
    if (response.stream) response.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    else response.socket.destroy();
  },

  /** Begins an answer and waits until the downstream goes. */
  async "/hang"(request, response, query) {
    const sight = { known: true, gone: false };
    remember(query.get("key"), sight);
    response.on("close", () => (sight.gone = true));
    response.writeHead(200, { "content-type": "text/plain" });
    response.write("the beginning");
  },

  async "/seen"(request, response, query) {
    json(response, sights.get(query.get("key")) ?? { known: false });
  },

  /** Pushes where the peer allows it, and says whether it did. */
  async "/push"(request, response) {
    const allowed = response.stream?.pushAllowed ?? false;
    if (allowed) response.stream.pushStream({ ":path": "/pushed" }, (error, pushed) => error ?? pushed.end("pushed"));
    json(response, { allowed });
  },
};

function handle(request, response) {
  const url = new URL(request.url, "http://test");
  const body = PATHS[url.pathname];
  if (!body) return void json(response, { error: `no such path: ${url.pathname}` }, 404);
  body(request, response, url.searchParams).catch((error) => {
    // Whoever breaks off a body sees to it that its other half ends here, too.
    if (!request.aborted && error.code !== "ABORT_ERR" && error.code !== "ERR_STREAM_PREMATURE_CLOSE") console.error(error);
    response.destroy?.();
  });
}

/** A request that waits for leave to send its body (RFC 9110 §10.1.1). */
function handleExpectation(request, response) {
  if (new URL(request.url, "http://test").searchParams.has("refuse")) {
    json(response, { refused: true }, 417);
    return;
  }
  response.writeContinue();
  handle(request, response);
}

/** A WebSocket over HTTP/2 (RFC 8441). */
function handleConnect(request, response) {
  const { stream } = response;
  if (request.headers[":protocol"] !== "websocket" || request.url !== "/websocket") {
    response.writeHead(501);
    return void response.end();
  }
  stream.respond({ ":status": 200, "sec-websocket-protocol": "echo" });
  echo(stream);
}

/** A WebSocket over HTTP/1.1 (RFC 6455). */
function handleUpgrade(request, socket, head) {
  const key = request.headers["sec-websocket-key"];
  if (request.url !== "/websocket" || Buffer.from(key ?? "", "base64").length !== 16) {
    socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    return;
  }
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
      `sec-websocket-accept: ${websocket.accept(key)}\r\nsec-websocket-protocol: echo\r\n\r\n`,
  );
  echo(socket, head);
}

async function echo(stream, head) {
  try {
    for await (const { opcode, masked, payload } of websocket.frames(stream, head)) {
      if (!masked) throw new Error("a client's frame is not masked");
      const answer = opcode === websocket.OPCODE.ping ? websocket.OPCODE.pong : opcode;
      stream.write(websocket.encode(answer, payload, { masked: false }));
      if (opcode === websocket.OPCODE.close) stream.end();
    }
  } catch (error) {
    stream.destroy(error);
  }
}

/** Waits until there is room for more, or nobody left to read it. */
function room(response) {
  return new Promise((resolve) => {
    const done = () => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}

function json(response, value, status = 200) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

function pairs(flat) {
  return flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1]]] : []));
}

function remember(key, sight) {
  sights.set(key, sight);
  while (sights.size > KEYS_MAX) sights.delete(sights.keys().next().value);
}

async function main() {
  const { values } = parseArgs({ options: { window: { type: "string", default: "65535" } } });
  const window = Number(values.window);
  if (!Number.isInteger(window) || window < 1 || window > 0x7fffffff) {
    console.error(`--window: must be 1 to ${0x7fffffff}, got ${values.window}`);
    process.exit(2);
  }
  const h2 = http2.createServer({ settings: { enableConnectProtocol: true, initialWindowSize: window } });
  const h1 = http.createServer();
  h1.on("upgrade", handleUpgrade);
  h2.on("connect", handleConnect);
  for (const server of [h2, h1]) {
    server.on("request", handle);
    server.on("checkContinue", handleExpectation);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  console.log(`listening ${h2.address().port} ${h1.address().port}`);
  process.stdin.resume().on("end", () => process.exit(0));
}

main();
