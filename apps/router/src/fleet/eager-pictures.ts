import type { Picture } from '@kvcapsule/contracts/worker';

/** The protocol's bound of all files that come with one request. */
const EAGER_BYTES = 64 * 1024;
/** Names that are remembered of what one worker was sent: about 100 bytes each. */
const REMEMBERED = 1_024;

/**
 * Which pictures travel with their request to one worker, instead of being asked for: small ones that it was not sent
 * before. To be asked costs both sides a message and a call, about a millisecond of CPU.
 */
export class EagerPictures {
  /** In the order in which they were sent. */
  readonly #sent = new Set<string>();

  /** The pictures, with those of their files that travel along. */
  attach(pictures: readonly Picture[], files: readonly Buffer[]): Picture[] {
    let roomBytes = EAGER_BYTES;
    return pictures.map((picture, index) => {
      const file = files[index];
      if (!file || file.length > roomBytes || !this.#isNew(picture)) return picture;
      roomBytes -= file.length;
      return { ...picture, file };
    });
  }

  #isNew({ contentSha256 }: Picture): boolean {
    const name = contentSha256.toString('latin1');
    if (this.#sent.has(name)) return false;
    this.#sent.add(name);
    const [oldest] = this.#sent;
    if (oldest !== undefined && this.#sent.size > REMEMBERED) this.#sent.delete(oldest);
    return true;
  }
}
