/** Longest event that is waited for: what is longer is no stream of tokens. */
const LONGEST_BYTES = 8 * 2 ** 20;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const DATA = Buffer.from('data:');
const SPACE = 0x20;

/**
 * Takes a body of server-sent events apart where it lies: no strings are made of it. Events of the API have one line of
 * data each, so a line is an event.
 */
export class EventLines {
  #rest: Buffer | undefined;

  /**
   * @param take gets each line of data, from `start` to before `end` of `bytes`
   * @returns false when a line is longer than any event
   */
  push(chunk: Buffer, take: (bytes: Buffer, start: number, end: number) => void): boolean {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      const last = end > start && bytes[end - 1] === RETURN ? end - 1 : end;
      if (isData(bytes, start, last)) {
        const from = start + DATA.length;
        take(bytes, bytes[from] === SPACE ? from + 1 : from, last);
      }
      start = end + 1;
    }
    this.#rest = start < bytes.length ? bytes.subarray(start) : undefined;
    return bytes.length - start <= LONGEST_BYTES;
  }

  /** Whether the body broke off within a line. */
  get isOpen(): boolean {
    return this.#rest !== undefined;
  }
}

function isData(bytes: Buffer, start: number, end: number): boolean {
  if (end - start < DATA.length) return false;
  for (let at = 0; at < DATA.length; at += 1) if (bytes[start + at] !== DATA[at]) return false;
  return true;
}
