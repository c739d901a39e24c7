import type { ServerResponse } from 'node:http';

/** Tells when more may be written. */
interface Full {
  once(event: 'drain', listener: () => void): unknown;
}

/**
 * Writes a response's body part by part. Node's response hands a part to its socket in four pieces, a turn later and
 * with `writev`, which takes half as long again as the one string that a part is made into here.
 */
export class BodyWriter {
  #hasHeadLeft = false;

  constructor(private readonly response: ServerResponse) {}

  /** Once the response's head has been made. Returns what will drain where it is full. */
  write(text: string): Full | undefined {
    const { response } = this;
    const { socket } = response;
    // The first part leaves with the head. Without a socket another answer of the connection is not over yet.
    const isChunk = this.#hasHeadLeft && response.chunkedEncoding && socket !== null;
    this.#hasHeadLeft = true;
    if (!isChunk) return response.write(text) ? undefined : response;
    const bytes = Buffer.byteLength(text);
    const chunk = `${bytes.toString(16)}\r\n${text}\r\n`;
    return socket.write(chunk, bytes === text.length ? 'latin1' : 'utf8') ? undefined : socket;
  }
}
