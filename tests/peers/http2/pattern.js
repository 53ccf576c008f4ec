// The bytes of large bodies: byte i is i modulo 251, so that a piece that is lost or out of place is seen.
"use strict";

const PERIOD = 251;
const LONG = Buffer.alloc(PERIOD * 1024, Buffer.from(Array.from({ length: PERIOD }, (_, index) => index)));

/** `size` bytes of it from byte `start` on. */
function pattern(start, size) {
  const offset = start % PERIOD;
  if (offset + size <= LONG.length) return LONG.subarray(offset, offset + size);
  return Buffer.alloc(size, Buffer.concat([LONG.subarray(offset, PERIOD), LONG.subarray(0, offset)]));
}

module.exports = { pattern };
