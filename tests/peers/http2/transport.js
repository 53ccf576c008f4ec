// One request at a time as seen from a client, alike over HTTP/2 and HTTP/1.1.
//
// `open({ method, path, headers, settings })` gives an exchange:
//   stream     what the body is written to; `finish(trailers)` ends it
//   interim    the 1xx answers so far, as [status, headers]
//   head       a promise of { status, headers }
//   body       the body's parts, to be iterated over; it throws where the body is broken off
//   trailers() the trailers, once the body is read
//   cancel()   gives the exchange up
"use strict";

const { once } = require("node:events");
const crypto = require("node:crypto");
const http = require("node:http");
const http2 = require("node:http2");
const websocket = require("./websocket.js");

const START_TIMEOUT = 10_000; // milliseconds

/** HTTP/2 by prior knowledge, over one connection; it allows no push. */
class Http2 {
  constructor(target, authority, settings = {}) {
    this.authority = authority;
    this.pushed = 0;
    this.connect = () => this.connected(http2.connect(`http://${target}`, { settings: { enablePush: false, ...settings } }));
    this.connect();
  }

  connected(session) {
    this.session = session;
    this.session.on("stream", () => (this.pushed += 1));
    // `once` fails with the session, too.
    this.settled = once(this.session, "remoteSettings", { signal: AbortSignal.timeout(START_TIMEOUT) });
    this.settled.catch(() => {});
    this.session.on("error", () => {}); // the streams say it
  }

  open({ method = "GET", path, headers = {}, body = false }) {
    // Whoever stands between may close a connection between two exchanges.
    if (this.session.closed || this.session.destroyed) this.connect();
    const fields = { ":method": method, ":path": path, ":authority": this.authority, ...headers };
    const stream = this.session.request(fields, { endStream: !body, waitForTrailers: body });
    const interim = [];
    let [received, trailers] = [{}, {}];
    stream.on("error", () => {}); // whoever waits for something of it is told
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    stream.on("headers", ({ ":status": status, ...fields }) => interim.push([status, fields]));
    stream.on("trailers", (fields) => (received = fields));
    const head = once(stream, "response").then(([{ ":status": status, ...fields }]) => ({ status, headers: fields }));
    head.catch(() => {});
    return {
      stream,
      interim,
      head,
      body: stream,
      finish(fields = {}) {
        trailers = fields;
        stream.end();
      },
      trailers: () => received,
      cancel: () => stream.close(http2.constants.NGHTTP2_CANCEL),
    };
  }

  /** A WebSocket by extended CONNECT (RFC 8441), once the server's settings allow it. */
  async websocket(path) {
    await this.settled;
    if (!this.session.remoteSettings.enableConnectProtocol) {
      throw new Error("SETTINGS_ENABLE_CONNECT_PROTOCOL: must be 1");
    }
    const stream = this.session.request(
      {
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "http",
        ":path": path,
        ":authority": this.authority,
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "echo",
      },
      { endStream: false },
    );
    const [headers] = await once(stream, "response");
    if (headers[":status"] !== 200) throw new Error(`status: must be 200, got ${headers[":status"]}`);
    return { stream, head: Buffer.alloc(0) };
  }

  close() {
    this.session.destroy();
  }
}

/** HTTP/1.1, over as many connections as it takes. */
class Http1 {
  constructor(target, authority) {
    this.authority = authority;
    [this.host, this.port] = target.split(":");
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 100 });
    this.pushed = 0;
  }

  open({ method = "GET", path, headers = {}, body = false }) {
    const fields = { host: this.authority, ...headers };
    const request = http.request({ host: this.host, port: this.port, agent: this.agent, method, path, headers: fields });
    const interim = [];
    request.on("continue", () => interim.push([100, {}]));
    request.on("information", ({ statusCode, headers }) => statusCode === 100 || interim.push([statusCode, headers]));
    const response = once(request, "response").then(([response]) => response);
    response.catch(() => {});
    request.on("error", () => {});
    if (body) request.flushHeaders();
    else request.end();
    return {
      stream: request,
      interim,
      head: response.then(({ statusCode, headers }) => ({ status: statusCode, headers })),
      body: {
        async *[Symbol.asyncIterator]() {
          yield* await response;
        },
      },
      finish(trailers = {}) {
        request.addTrailers(trailers);
        request.end();
      },
      trailers: async () => (await response).trailers,
      cancel: () => request.destroy(),
    };
  }

  /** A WebSocket by Upgrade (RFC 6455). */
  async websocket(path) {
    const key = crypto.randomBytes(16).toString("base64");
    const request = http.request({
      host: this.host,
      port: this.port,
      path,
      headers: {
        host: this.authority,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-key": key,
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "echo",
      },
    });
    request.end();
    const [response, socket, head] = await Promise.race([
      once(request, "upgrade"),
      once(request, "response").then(([response]) => {
        throw new Error(`status: must be 101, got ${response.statusCode}`);
      }),
    ]);
    const got = response.headers["sec-websocket-accept"];
    if (got !== websocket.accept(key)) throw new Error(`sec-websocket-accept: must be ${websocket.accept(key)}, got ${got}`);
    return { stream: socket, head };
  }

  close() {
    this.agent.destroy();
  }
}

module.exports = { Http1, Http2 };
