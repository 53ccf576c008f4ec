// A gRPC client on grpc-js for Weft's tests: calls the service Echo of echo.proto and checks what comes back.
//
// usage: client.js --target HOST:PORT --authority NAME --case CASE [--seconds N]
//
// CASE is one name, several with commas between, or "all"; --list prints them. Each case makes one line of JSON: its name,
// whether it passed, and what it saw or what was wrong. The exit code is 1 if one failed. Each is bounded in time. What
// grpc-js hides (compression, whether an answer is trailers alone) is looked at with frames of our own over node:http2.
"use strict";

const { isDeepStrictEqual, inspect } = require("node:util");
const { setTimeout: pause } = require("node:timers/promises");
const { once } = require("node:events");
const crypto = require("node:crypto");
const http2 = require("node:http2");
const path = require("node:path");
const zlib = require("node:zlib");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const { readOptions, runCases } = require("../cases.js");

const { status } = grpc;
const CALL_TIMEOUT = 20_000; // milliseconds, of a call that has no deadline of its own
const LARGE = 4 << 20;
const CALLS = 1_000;
const CONCURRENCY = 50;
const MESSAGE = "naïve: 100 % of 日本 ☂,\ttab\nand line";
const BINARY = Buffer.from(Array.from({ length: 256 }, (_, index) => index));

const definition = loader.loadSync(path.join(__dirname, "echo.proto"), { defaults: true, longs: Number });
const { Echo } = grpc.loadPackageDefinition(definition).weft.test;

const CASES = {
  async unary({ client, options }) {
    const { reply } = await unary(client, { payload: BINARY });
    equal("payload", reply.payload, BINARY);
    const { reply: empty } = await unary(client, {});
    equal("an empty payload", [empty.payload.length, empty.received], [0, 1]);
    if (reply.authority) equal("authority", reply.authority, options.authority);
    return { authority: reply.authority };
  },

  async large({ client }) {
    const { reply } = await unary(client, { payload: pattern(LARGE) });
    equal("bytes received", reply.receivedBytes, LARGE);
    equal("the payload is the same", reply.payload.equals(pattern(LARGE)), true);
    return { bytes_each_way: LARGE };
  },

  async "server-stream"({ client }) {
    const call = client.ServerStream({ replyBytes: 10_000, replies: 500 }, within(CALL_TIMEOUT));
    const wanted = pattern(10_000);
    let replies = 0;
    for await (const reply of call) {
      equal("number", reply.number, replies++);
      equal("the payload is the pattern", reply.payload.equals(wanted), true);
    }
    equal("replies", replies, 500);
    return { replies };
  },

  async "client-stream"({ client }) {
    const { call, answer } = clientStream(client);
    for (let count = 0; count < 500; count++) {
      if (!call.write({ payload: pattern(10_000) })) await once(call, "drain");
    }
    call.end();
    const { reply } = await answer;
    equal("requests and bytes", [reply.received, reply.receivedBytes], [500, 5_000_000]);
    return { requests: reply.received };
  },

  async bidi({ client }) {
    const call = client.Bidi(within(CALL_TIMEOUT));
    const ended = once(call, "status");
    const replies = call[Symbol.asyncIterator]();
    for (let turn = 0; turn < 50; turn++) {
      call.write({ payload: Buffer.from(`${turn}`), replies: 2 });
      for (const number of [2 * turn, 2 * turn + 1]) {
        const { value } = await replies.next();
        equal("reply", [`${value.payload}`, value.number, value.received], [`${turn}`, number, turn + 1]);
      }
    }
    call.end();
    equal("after the last reply", (await replies.next()).done, true);
    equal("status", (await ended)[0].code, status.OK);
    return { turns: 50 };
  },

  async "half-close"({ client }) {
    const call = client.Bidi(within(CALL_TIMEOUT));
    for (let turn = 0; turn < 5; turn++) {
      call.write({ payload: Buffer.from(`${turn}`), replies: 1, hold: true, delayMs: 50 });
    }
    call.end();
    const replies = [];
    for await (const reply of call) replies.push([`${reply.payload}`, reply.received]);
    equal("replies after the half-close", replies, [0, 1, 2, 3, 4].map((turn) => [`${turn}`, 5]));
    return { replies: replies.length };
  },

  async cancel({ client }) {
    const [key, streamKey] = [crypto.randomUUID(), crypto.randomUUID()];
    const call = client.Bidi(within(CALL_TIMEOUT)).on("error", () => {});
    call.write({ key, replies: 1 });
    await once(call, "data");
    call.cancel();
    const seen = await sight(client, key);
    equal("cancelled, as the server saw it", seen.cancelled, true);

    const request = { key: streamKey, replies: 100_000, delayMs: 5 };
    const stream = client.ServerStream(request, within(CALL_TIMEOUT)).on("error", () => {});
    await once(stream, "data");
    stream.cancel();
    const streamed = await sight(client, streamKey);
    equal("a stream cancelled, as the server saw it", streamed.cancelled, true);
    return { received: seen.received, sent: streamed.sent };
  },

  async deadline({ client }) {
    const { reply } = await unary(client, {}, { timeout: 10_000 });
    between("time left of 10 s", reply.timeoutMs, 5_000, 10_000);
    const key = crypto.randomUUID();
    const began = Date.now();
    const error = await failed(unary(client, { key, delayMs: 20_000 }, { timeout: 500 }));
    const took = Date.now() - began;
    endedWith(error, status.DEADLINE_EXCEEDED);
    between("milliseconds until a deadline of 500 was exceeded", took, 400, 10_000);
    const seen = await sight(client, key);
    equal("cancelled, as the server saw it", seen.cancelled, true);
    between("time left of 500 ms", seen.timeoutMs, 1, 500);
    return { left_ms: reply.timeoutMs, took_s: took / 1e3 };
  },

  async metadata({ client }) {
    const sent = new grpc.Metadata();
    sent.add("x-echo-text", "one");
    sent.add("x-echo-text", "two");
    sent.add("x-echo-spaces", "a b, c");
    sent.add("x-echo-data-bin", BINARY);
    sent.add("x-echo-data-bin", Buffer.from([0]));
    const trailers = [
      { name: "x-text", value: Buffer.from("first") },
      { name: "x-text", value: Buffer.from("second") },
      { name: "x-data-bin", value: BINARY },
    ];
    const { initial, trailing } = await unary(client, { echoMetadata: true, trailers }, { metadata: sent });
    equal("text", text(initial, "x-echo-text"), "one, two");
    equal("text with a comma", text(initial, "x-echo-spaces"), "a b, c");
    equal("binary", initial.get("x-echo-data-bin"), [BINARY, Buffer.from([0])]);
    equal("trailing text", text(trailing, "x-text"), "first, second");
    equal("trailing binary", trailing.get("x-data-bin"), [BINARY]);
    return { fields: 5, trailers: trailers.length };
  },

  async gzip({ channel, session, options }) {
    const payload = pattern(100_000);
    const compressing = channel({ "grpc.default_compression_algorithm": 2 });
    const { reply } = await unary(compressing, { payload, gzip: true });
    equal("the payload is the same", reply.payload.equals(payload), true);
    compressing.close();

    const fields = { "grpc-encoding": "gzip", "grpc-accept-encoding": "gzip" };
    const message = serialized({ payload, gzip: true });
    const answer = await raw(session, options, frame(zlib.gzipSync(message), 1), fields);
    equal("status of a compressed call", answer.trailers["grpc-status"], "0");
    // A server need not compress what it answers, but what says that it is compressed must be.
    const compressed = answer.body[0] === 1;
    const body = compressed ? zlib.gunzipSync(answer.body.subarray(5)) : answer.body.subarray(5);
    if (compressed) equal("grpc-encoding of the answer", answer.headers["grpc-encoding"], "gzip");
    equal("the payload is the same", deserialized(body).payload.equals(payload), true);
    return { bytes: payload.length, reply_compressed: compressed };
  },

  async status({ client }) {
    const outcome = { code: status.FAILED_PRECONDITION, message: MESSAGE, details: BINARY };
    const trailers = [{ name: "x-text", value: Buffer.from("kept") }];
    const call = client.ServerStream({ replies: 3, outcome, trailers }, within(CALL_TIMEOUT));
    let replies = 0;
    const error = await failed((async () => {
      for await (const _ of call) replies += 1;
    })());
    endedWith(error, status.FAILED_PRECONDITION, MESSAGE);
    equal("replies before it", replies, 3);
    equal("details", error.metadata.get("grpc-status-details-bin"), [BINARY]);
    equal("a trailer beside it", text(error.metadata, "x-text"), "kept");
    return { replies, message: MESSAGE };
  },

  async "trailers-only"({ client, session, options }) {
    const codes = Object.values(status).filter((code) => typeof code === "number" && code !== status.OK);
    for (const code of codes) {
      const message = `${status[code]} ☂`;
      const error = await failed(unary(client, { outcome: { code, message, details: BINARY } }));
      endedWith(error, code, message);
      equal("details", error.metadata.get("grpc-status-details-bin"), [BINARY]);
    }
    const request = serialized({ outcome: { code: status.NOT_FOUND, message: "gone" } });
    const answer = await raw(session, options, frame(request, 0), {});
    equal("the head ends the stream", answer.endStream, true);
    equal("status in the head", answer.headers["grpc-status"], `${status.NOT_FOUND}`);
    equal("body", answer.body.length, 0);
    return { codes: codes.length };
  },

  async "early-status"({ client }) {
    const { call, answer } = clientStream(client);
    const ended = failed(answer);
    let over = false;
    ended.then(() => (over = true), () => (over = true));
    call.write({ payload: pattern(1_000), outcome: { code: status.RESOURCE_EXHAUSTED, message: "enough" } });
    let written = 1;
    for (; written < 1_000 && !over; written++) {
      call.write({ payload: pattern(10_000) });
      await pause(5);
    }
    equal("the call had ended before a thousand requests were written", over, true);
    endedWith(await ended, status.RESOURCE_EXHAUSTED, "enough");
    return { requests_written: written };
  },

  async calls({ client }) {
    const began = Date.now();
    let next = 0;
    const caller = async () => {
      while (next < CALLS) {
        const payload = Buffer.from(`${next}`);
        const { reply } = await unary(client, { payload, delayMs: next++ % 3 });
        equal("payload", `${reply.payload}`, `${payload}`);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, caller));
    return { calls: CALLS, took_s: (Date.now() - began) / 1e3 };
  },

  async open({ client, options }) {
    const call = client.Bidi(within(options.seconds * 1_000 + CALL_TIMEOUT));
    const ended = once(call, "status");
    const replies = call[Symbol.asyncIterator]();
    call.write({ payload: Buffer.from("first"), replies: 1 });
    equal("the first reply", `${(await replies.next()).value.payload}`, "first");
    await pause(options.seconds * 1_000);
    call.write({ payload: Buffer.from("last"), replies: 1 });
    equal("the last reply", `${(await replies.next()).value.payload}`, "last");
    call.end();
    equal("after the last reply", (await replies.next()).done, true);
    equal("status", (await ended)[0].code, status.OK);
    return { seconds: options.seconds };
  },
};

function equal(what, got, wanted) {
  if (!isDeepStrictEqual(got, wanted)) {
    throw new Error(`${what}: got ${short(got)}, not ${short(wanted)}`);
  }
}

function short(value) {
  return inspect(value, { breakLength: Infinity }).slice(0, 200);
}

function between(what, got, least, most) {
  if (!(least <= got && got <= most)) throw new Error(`${what}: must be ${least} to ${most}, got ${got}`);
}

function endedWith(error, code, message) {
  equal("status", status[error.code] ?? `${error}`, status[code]);
  if (message !== undefined) equal("message", error.details, message);
}

function within(milliseconds) {
  return { deadline: Date.now() + milliseconds };
}

/** One call with one reply: the reply and both kinds of metadata. */
function unary(client, request, { metadata = new grpc.Metadata(), timeout = CALL_TIMEOUT } = {}) {
  return new Promise((resolve, reject) => {
    const seen = {};
    const call = client.Unary(request, metadata, within(timeout), (error, reply) => {
      seen.reply = reply;
      if (error) reject(error);
    });
    call.on("metadata", (initial) => (seen.initial = initial));
    call.on("status", ({ code, metadata: trailing }) => {
      if (code === status.OK) setImmediate(() => resolve({ ...seen, trailing }));
    });
  });
}

function clientStream(client) {
  let call;
  const answer = new Promise((resolve, reject) => {
    call = client.ClientStream(within(CALL_TIMEOUT), (error, reply) => (error ? reject(error) : resolve({ reply })));
  });
  return { call, answer };
}

/** The error that a call ends with. */
async function failed(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("the call succeeded");
}

/** What the server saw of the call with this key, once that is over. */
async function sight(client, key) {
  const end = Date.now() + 10_000;
  for (;;) {
    const seen = await new Promise((resolve, reject) => {
      client.Seen({ key }, within(CALL_TIMEOUT), (error, reply) => (error ? reject(error) : resolve(reply)));
    });
    if (seen.ended) return seen;
    if (Date.now() > end) throw new Error(`the server saw only ${short(seen)}`);
    await pause(20);
  }
}

/** The values of a field that is text, joined as any peer may do with them (RFC 9110 §5.3). */
function text(metadata, name) {
  return metadata.get(name).join(", ");
}

function pattern(size) {
  return Buffer.alloc(size, BINARY.subarray(0, 251));
}

function serialized(request) {
  return Echo.service.Unary.requestSerialize(request);
}

function deserialized(bytes) {
  return Echo.service.Unary.responseDeserialize(bytes);
}

/** A message as gRPC frames it. */
function frame(message, compressed) {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed, 0);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** One unary call in frames of our own. */
async function raw(session, options, body, fields) {
  const connection = session();
  const stream = connection.request({
    ":method": "POST",
    ":path": "/weft.test.Echo/Unary",
    ":authority": options.authority,
    "content-type": "application/grpc",
    te: "trailers",
    ...fields,
  });
  const seen = { trailers: {} };
  stream.on("response", (headers, flags) => {
    seen.headers = headers;
    seen.endStream = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
  });
  stream.on("trailers", (trailers) => (seen.trailers = trailers));
  stream.end(body);
  const parts = [];
  for await (const part of stream) parts.push(part);
  connection.destroy();
  return { ...seen, body: Buffer.concat(parts) };
}

async function main() {
  const options = readOptions(CASES);
  const channel = (settings) =>
    new Echo(options.target, grpc.credentials.createInsecure(), {
      "grpc.default_authority": options.authority,
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
      ...settings,
    });
  const session = () => http2.connect(`http://${options.target}`).on("error", () => {});
  await runCases(CASES, options, { channel, session, options, client: channel({}) });
}

main();
