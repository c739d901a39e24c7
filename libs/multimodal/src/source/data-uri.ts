/** Bytes that are worked on between two turns of the event loop, in decoding (0.2 ms) and unwrapping (5 ms). */
const SLICE_BYTES = 1 << 20;

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
 * Bytes of strict base64 in either alphabet, padded or not; undefined where anything else is in it. Node's decoder
 * passes over what it does not know, and then makes fewer bytes than so many characters stand for.
 */
export async function decodeBase64(padded: Buffer): Promise<Buffer | undefined> {
  const text = withoutPadding(padded);
  // A remainder of one character cannot come from whole bytes.
  if (text.length % 4 === 1) return undefined;
  const bytes = Buffer.allocUnsafeSlow(Math.floor((text.length * 3) / 4));
  let written = 0;
  for (let start = 0; start < text.length; start += SLICE_BYTES) {
    if (start > 0) await nextTurn();
    const slice = text.toString('latin1', start, start + SLICE_BYTES);
    const made = bytes.write(slice, written, 'base64');
    if (made !== Math.floor((slice.length * 3) / 4)) return undefined;
    written += made;
  }
  return bytes;
}

/**
 * Bytes of percent-coded text (RFC 3986), without white space where that is asked for; undefined where a % is not
 * followed by two hex digits.
 */
export async function unwrap(text: Buffer, dropsSpace: boolean): Promise<Buffer | undefined> {
  const bytes = Buffer.allocUnsafeSlow(text.length);
  let written = 0;
  let sliceEnd = SLICE_BYTES;
  for (let at = 0; at < text.length; at += 1) {
    let byte = text[at] ?? 0;
    if (byte === PERCENT) {
      const [high = NO_DIGIT, low = NO_DIGIT] = [HEX[text[at + 1] ?? 0], HEX[text[at + 2] ?? 0]];
      if (high === NO_DIGIT || low === NO_DIGIT) return undefined;
      byte = high * 16 + low;
      at += 2;
    }
    if (!dropsSpace || !SPACES.has(byte)) bytes[written++] = byte;
    if (at < sliceEnd) continue;
    await nextTurn();
    sliceEnd += SLICE_BYTES;
  }
  return bytes.subarray(0, written);
}
