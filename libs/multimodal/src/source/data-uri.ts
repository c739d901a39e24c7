/** Bytes that are worked on between two turns of the event loop, in decoding (0.2 ms) and unwrapping (5 ms). */
const TURN_BYTES = 1 << 20;

/** Characters decoded at a time: their string is young and small, and goes without a collection of the whole heap. */
const SLICE_BYTES = 1 << 16;

const PERCENT = 0x25;
const PADDING = 0x3d;
const SPACES: ReadonlySet<number> = new Set(Buffer.from('\t\n\f\r '));
const NO_DIGIT = 16;
const HEX = Uint8Array.from({ length: 256 }, (_, byte) => {
  const digit = Number.parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(digit) ? NO_DIGIT : digit;
});

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

function withoutPadding(text: Buffer): Buffer {
  let end = text.length;
  while (end > text.length - 2 && text[end - 1] === PADDING) end -= 1;
  return text.subarray(0, end);
}

/**
 * Decodes base64 in either alphabet, padded or not, into the place where it stands, up to where anything else is in
 * it: megabytes that are allocated anew cost a collection every few requests. `read` characters have become `written`
 * bytes at the beginning of the text; what follows them is as it was. Node's decoder passes over what it does not
 * know, and then makes fewer bytes than so many characters stand for.
 */
export async function decodeInPlace(padded: Buffer): Promise<{ read: number; written: number }> {
  const text = withoutPadding(padded);
  let written = 0;
  for (let read = 0; read < text.length; read += SLICE_BYTES) {
    if (read % TURN_BYTES === 0 && read > 0) await nextTurn();
    const slice = text.toString('latin1', read, read + SLICE_BYTES);
    const made = text.write(slice, written, 'base64');
    // A remainder of one character cannot come from whole bytes.
    if (slice.length % 4 === 1 || made !== Math.floor((slice.length * 3) / 4)) {
      text.write(slice, read, 'latin1');
      return { read, written };
    }
    written += made;
  }
  return { read: padded.length, written };
}

/**
 * Bytes of percent-coded text (RFC 3986), without white space where that is asked for; undefined where a % is not
 * followed by two hex digits.
 */
export async function unwrap(text: Buffer, dropsSpace: boolean): Promise<Buffer | undefined> {
  const bytes = Buffer.allocUnsafeSlow(text.length);
  let written = 0;
  let turnEnd = TURN_BYTES;
  for (let at = 0; at < text.length; at += 1) {
    let byte = text[at] ?? 0;
    if (byte === PERCENT) {
      const [high = NO_DIGIT, low = NO_DIGIT] = [HEX[text[at + 1] ?? 0], HEX[text[at + 2] ?? 0]];
      if (high === NO_DIGIT || low === NO_DIGIT) return undefined;
      byte = high * 16 + low;
      at += 2;
    }
    if (!dropsSpace || !SPACES.has(byte)) bytes[written++] = byte;
    if (at < turnEnd) continue;
    await nextTurn();
    turnEnd += TURN_BYTES;
  }
  return bytes.subarray(0, written);
}
