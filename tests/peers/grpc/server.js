// A gRPC server on grpc-js for Weft's tests: the service Echo of echo.proto.
//
// Prints "listening PORT" and ends with its standard input. It cannot compress replies: grpc-js has no way to.
"use strict";

const { setTimeout: pause } = require("node:timers/promises");
const { once } = require("node:events");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const REPLY_BYTES_MAX = 64 << 20;
const REPLIES_MAX = 100_000;
const DELAY_MS_MAX = 600_000;
const KEYS_MAX = 1_000;
const CANCELLED_WITHIN = 50; // milliseconds

/** What the last calls that have a key looked like, oldest first. */
const sights = new Map();

/** What is known of one call, and how it is answered. */
class Call {
  constructor(call) {
    this.call = call;
    this.receivedBytes = 0;
    this.number = 0;
    this.trailers = new grpc.Metadata();
    this.over = new AbortController();
    this.sight = { known: true, ended: false, cancelled: false, received: 0, sent: 0, timeoutMs: this.timeoutMs() };
    call.on("cancelled", () => {
      // grpc-js says so of calls that ended by themselves, too.
      this.sight.cancelled ||= !this.sight.ended;
      this.sight.ended = true;
      this.over.abort();
    });
  }

  timeoutMs() {
    const left = Number(this.call.getDeadline()) - Date.now();
    return Number.isFinite(left) ? Math.max(0, left) : 0;
  }

  /** Notes a request, and does what it asks for before the first reply. */
  take(request) {
    this.sight.received += 1;
    this.receivedBytes += request.payload.length;
    if (request.key) remember(request.key, this.sight);
    for (const [name, value, limit] of [
      ["reply_bytes", request.replyBytes, REPLY_BYTES_MAX],
      ["replies", request.replies, REPLIES_MAX],
      ["delay_ms", request.delayMs, DELAY_MS_MAX],
    ]) {
      if (value > limit) {
        throw failure(grpc.status.INVALID_ARGUMENT, `${name}: must be at most ${limit}, got ${value}`, this.trailers);
      }
    }
    for (const { name, value } of request.trailers) {
      this.trailers.add(name, name.endsWith("-bin") ? value : value.toString("ascii"));
    }
    if (request.echoMetadata) this.call.sendMetadata(this.echoed());
  }

  echoed() {
    const echoed = new grpc.Metadata();
    for (const name of Object.keys(this.call.metadata.getMap())) {
      if (!name.startsWith("x-echo-")) continue;
      for (const value of this.call.metadata.get(name)) echoed.add(name, value);
    }
    return echoed;
  }

  /** The requests as they come, each noted. Leaving the loop leaves the call as it is. */
  async *requests() {
    for await (const request of this.call.iterator({ destroyOnReturn: false })) {
      this.take(request);
      yield request;
    }
    // A call that is cancelled looks as if its caller had closed its side; that it is cancelled comes a moment later.
    await pause(CANCELLED_WITHIN, undefined, { signal: this.over.signal });
  }

  async pause(request) {
    if (request.delayMs > 0) await pause(request.delayMs, undefined, { signal: this.over.signal });
  }

  reply(request) {
    this.sight.sent += 1;
    return {
      payload: request.replyBytes ? pattern(request.replyBytes) : request.payload,
      number: this.number++,
      received: this.sight.received,
      receivedBytes: this.receivedBytes,
      timeoutMs: this.timeoutMs(),
      authority: this.call.getHost(),
    };
  }

  /** The replies to one request of a call that streams them, and the end where it asks for one. */
  async answer(request) {
    for (let count = 0; count < request.replies; count++) {
      await this.pause(request);
      if (!this.call.write(this.reply(request))) await once(this.call, "drain", { signal: this.over.signal });
    }
    this.end(request.outcome);
  }

  /** Ends the call as asked; returns where it is to go on. */
  end(outcome) {
    if (outcome?.details.length) this.trailers.set("grpc-status-details-bin", outcome.details);
    if (outcome?.code) throw failure(outcome.code, outcome.message, this.trailers);
  }

  /** Runs what answers this call with one reply. */
  async single(callback, body) {
    try {
      const reply = await body();
      this.sight.ended = true;
      callback(null, reply, this.trailers);
    } catch (error) {
      if (this.failed(error)) callback(error);
    }
  }

  /** Runs what answers this call with many. */
  async many(body) {
    try {
      await body();
      this.sight.ended = true;
      this.call.end(this.trailers);
    } catch (error) {
      if (this.failed(error)) this.call.emit("error", error);
    }
  }

  /** Whether anybody is left to be told of this error. */
  failed(error) {
    if (this.over.signal.aborted) return false;
    if (error.code === undefined) console.error(error);
    this.sight.ended = true;
    return true;
  }
}

const Echo = {
  Unary(call, callback) {
    const { request } = call;
    const own = new Call(call);
    own.single(callback, async () => {
      own.take(request);
      await own.pause(request);
      own.end(request.outcome);
      return own.reply(request);
    });
  },

  ServerStream(call) {
    const own = new Call(call);
    own.many(async () => {
      own.take(call.request);
      await own.answer(call.request);
    });
  },

  ClientStream(call, callback) {
    const own = new Call(call);
    own.single(callback, async () => {
      let last = { payload: Buffer.alloc(0), replyBytes: 0, delayMs: 0 };
      for await (last of own.requests()) {
        own.end(last.outcome);
      }
      await own.pause(last);
      return own.reply(last);
    });
  },

  Bidi(call) {
    const own = new Call(call);
    own.many(async () => {
      const held = [];
      for await (const request of own.requests()) {
        if (request.hold) held.push(request);
        else await own.answer(request);
      }
      for (const request of held) await own.answer(request);
    });
  },

  Seen(call, callback) {
    callback(null, sights.get(call.request.key) ?? {});
  },
};

function failure(code, details, metadata) {
  return Object.assign(new Error(details), { code, details, metadata });
}

function remember(key, sight) {
  sights.set(key, sight);
  while (sights.size > KEYS_MAX) sights.delete(sights.keys().next().value);
}

function pattern(size) {
  return Buffer.alloc(size, Buffer.from(Array.from({ length: 251 }, (_, index) => index)));
}

function main() {
  const definition = loader.loadSync(path.join(__dirname, "echo.proto"), { defaults: true, longs: Number });
  const { Echo: service } = grpc.loadPackageDefinition(definition).weft.test;
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  server.addService(service.service, Echo);
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    console.log(`listening ${port}`);
  });
  process.stdin.resume().on("end", () => server.forceShutdown());
}

main();
