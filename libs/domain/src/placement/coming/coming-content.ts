/** A prompt whose pictures others may have, too. */
export interface PicturePrompt {
  readonly tokenIds: readonly number[];
  readonly pictures: readonly ComingPicture[];
}

export interface ComingPicture {
  /** The same for the same picture in the same cache domain alone. */
  readonly name: string;
  readonly offset: number;
  readonly length: number;
}

/** What of a prompt a worker is about to have, since it computes it for another request. */
export interface Coming {
  /** Tokens from the prompt's beginning to the end of the last picture that both have there. */
  readonly prefixTokens: number;
  /** Indices of the prompt's pictures. */
  readonly pictures: ReadonlySet<number>;
}

interface Sent {
  readonly workerId: string;
  readonly prompt: PicturePrompt;
  /** When it is about to come no longer; infinite until the request is answered. */
  untilMs: number;
}

/** A worker tells what it holds about when it answers; so long it may take until that is known. */
const TELLING_MS = 1_000;

/** Prompts with pictures that workers have been sent and have not told of yet. */
export class ComingContent {
  readonly #byName = new Map<string, Set<Sent>>();
  /** Answered, in the order in which they end. */
  #answered: Sent[] = [];

  /** Pictures that are about to come somewhere. */
  get size(): number {
    return this.#byName.size;
  }

  /** A worker is sent a prompt; the returned function is called with whether it was computed, and has an effect once. */
  send(workerId: string, prompt: PicturePrompt): (isComputed: boolean, nowMs: number) => void {
    const sent: Sent = { workerId, prompt, untilMs: Infinity };
    for (const { name } of prompt.pictures) {
      const all = this.#byName.get(name);
      if (all) all.add(sent);
      else this.#byName.set(name, new Set([sent]));
    }
    return (isComputed, nowMs) => {
      this.#forgetTold(nowMs);
      if (sent.untilMs !== Infinity) return;
      sent.untilMs = nowMs + TELLING_MS;
      if (isComputed) this.#answered.push(sent);
      else this.#forget(sent);
    };
  }

  /** By worker. */
  of(prompt: PicturePrompt, nowMs: number): ReadonlyMap<string, Coming> {
    this.#forgetTold(nowMs);
    const coming = new Map<string, { prefixTokens: number; readonly pictures: Set<number> }>();
    const seen = new Set<Sent>();
    for (const [index, { name }] of prompt.pictures.entries()) {
      for (const sent of this.#byName.get(name) ?? []) {
        let there = coming.get(sent.workerId);
        if (!there) coming.set(sent.workerId, (there = { prefixTokens: 0, pictures: new Set() }));
        there.pictures.add(index);
        if (seen.has(sent)) continue;
        seen.add(sent);
        there.prefixTokens = Math.max(there.prefixTokens, sharedTokens(sent.prompt, prompt));
      }
    }
    return coming;
  }

  #forgetTold(nowMs: number): void {
    let told = 0;
    for (let sent = this.#answered[told]; sent && sent.untilMs <= nowMs; sent = this.#answered[told]) {
      this.#forget(sent);
      told += 1;
    }
    if (told > 0) this.#answered = this.#answered.slice(told);
  }

  #forget(sent: Sent): void {
    for (const { name } of sent.prompt.pictures) {
      const all = this.#byName.get(name);
      all?.delete(sent);
      if (all?.size === 0) this.#byName.delete(name);
    }
  }
}

/** Up to the end of the last picture before which both are alike. */
function sharedTokens(a: PicturePrompt, b: PicturePrompt): number {
  let shared = 0;
  for (const [index, picture] of a.pictures.entries()) {
    const other = b.pictures[index];
    if (other?.name !== picture.name || other.offset !== picture.offset) break;
    const end = picture.offset + picture.length;
    for (let at = shared; at < end; at += 1) if (a.tokenIds[at] !== b.tokenIds[at]) return shared;
    shared = end;
  }
  return shared;
}
