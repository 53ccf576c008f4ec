// As much of RFC 6455 as an echo needs: unfragmented frames, both ways.
"use strict";

const crypto = require("node:crypto");

const OPCODE = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 };
const FRAME_BYTES_MAX = 16 << 20;

/** One frame with the whole of a message; a client's is masked (§5.3). */
function encode(opcode, payload, { masked }) {
  const length = payload.length;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + extended);
  head[0] = 0x80 | opcode;
  head[1] = extended === 0 ? length : extended === 2 ? 126 : 127;
  if (extended === 2) head.writeUInt16BE(length, 2);
  if (extended === 8) head.writeBigUInt64BE(BigInt(length), 2);
  if (!masked) return Buffer.concat([head, payload]);
  head[1] |= 0x80;
  const mask = crypto.randomBytes(4);
  return Buffer.concat([head, mask, unmask(payload, mask)]);
}

function unmask(payload, mask) {
  return Buffer.from(payload.map((byte, index) => byte ^ mask[index % 4]));
}

/** The frame that `bytes` begins with, and its length; nothing while it is incomplete. */
function decode(bytes) {
  if (bytes.length < 2) return undefined;
  const short = bytes[1] & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  const masked = (bytes[1] & 0x80) !== 0;
  const start = 2 + extended + (masked ? 4 : 0);
  if (bytes.length < start) return undefined;
  const length = extended === 2 ? bytes.readUInt16BE(2) : extended === 8 ? Number(bytes.readBigUInt64BE(2)) : short;
  if (length > FRAME_BYTES_MAX) throw new Error(`a frame of ${length} bytes; the bound is ${FRAME_BYTES_MAX}`);
  if (bytes.length < start + length) return undefined;
  const payload = bytes.subarray(start, start + length);
  return {
    opcode: bytes[0] & 0x0f,
    masked,
    payload: masked ? unmask(payload, bytes.subarray(start - 4, start)) : Buffer.from(payload),
    size: start + length,
  };
}

/** The frames that come over a stream. */
async function* frames(stream, head = Buffer.alloc(0)) {
  let held = head;
  for await (const part of stream) {
    held = Buffer.concat([held, part]);
    for (let frame = decode(held); frame; frame = decode(held)) {
      held = held.subarray(frame.size);
      yield frame;
    }
  }
}

/** What a server answers to this key (§4.2.2). */
function accept(key) {
  return crypto.createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

module.exports = { OPCODE, accept, encode, frames };
