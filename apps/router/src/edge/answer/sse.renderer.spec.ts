import { ChatCompletionChunk } from '@kvcapsule/contracts/openai';
import { FinishReason } from '@kvcapsule/contracts/worker';
import { describe, expect, it } from 'vitest';
import { Transcript } from '../../generation/transcript.js';
import { SseRenderer, type Told } from './sse.renderer.js';

const nothing = () => undefined;

function scene(usage: Told['usage'], prefill = false) {
  const transcript = new Transcript({
    ...{ windowBytes: 1_000_000, scored: false },
    owner: { abandoned: nothing, closed: nothing },
    observer: { started: nothing, appended: nothing, ended: nothing },
  });
  const renderer = new SseRenderer('demo', { usage, prefill });
  const subscriber = {
    wake: nothing,
    prefilled: nothing,
    cutOff: nothing,
  };
  const reader = transcript.subscribe(subscriber);
  transcript.start({ promptTokens: 3, cachedTokens: 1 });
  const append = (text: string, tokens: number) => {
    transcript.append(0, { text, tokenIds: new Array<number>(tokens).fill(7), logprobs: [] });
  };
  const end = {
    reason: FinishReason.FINISH_REASON_STOP,
    text: '',
    usage: { promptTokens: 3, completionTokens: 4, cachedTokens: 1, kv: undefined },
  };
  const rendered = () =>
    (renderer.entries(reader.take(), transcript) + renderer.finished(end, transcript))
      .split('\n\n')
      .filter((line) => line.startsWith('data: {'))
      .map((line) => ChatCompletionChunk.parse(JSON.parse(line.slice('data: '.length))));
  return { transcript, append, rendered };
}

describe('the fingerprint in a stream', () => {
  it('is that of the worker which the event comes from', () => {
    const { transcript, append, rendered } = scene({ last: true, continuous: false });
    transcript.lieWith('fp_a');
    append('a', 1);
    append('b', 1);
    transcript.lieWith('fp_b');
    append('c', 1);
    const told = rendered().map(({ system_fingerprint, choices }) => [
      system_fingerprint,
      choices[0]?.delta.content,
    ]);
    expect(told).toEqual([
      ...['', 'a', 'b'].map((text) => ['fp_a', text]),
      ['fp_b', 'c'],
      ...[1, 2].map(() => ['fp_b', undefined]),
    ]);
  });

  it('is there where the answer has no text', () => {
    const { transcript, rendered } = scene({ last: false, continuous: false });
    transcript.lieWith('fp_a');
    expect(new Set(rendered().map(({ system_fingerprint }) => system_fingerprint))).toEqual(
      new Set(['fp_a']),
    );
  });
});

describe('usage in a stream', () => {
  it('comes with every event when asked for, of the tokens so far', () => {
    const { append, rendered } = scene({ last: true, continuous: true });
    append('a', 1);
    append('', 1);
    append('bc', 1);
    const counts = rendered().map(({ usage }) => [usage?.completion_tokens, usage?.total_tokens]);
    expect(counts).toEqual([
      [1, 4],
      [1, 4],
      [3, 6],
      [4, 7],
      [4, 7],
    ]);
  });

  it('goes on with the answer from worker to worker', () => {
    const { transcript, append, rendered } = scene({ last: true, continuous: true });
    append('', 5);
    transcript.lieWith('fp_b');
    append('a', 1);
    expect(rendered()[0]?.usage).toMatchObject({ completion_tokens: 6 });
  });

  it('is null until the last event otherwise, and absent when nobody asks', () => {
    const asked = scene({ last: true, continuous: false });
    asked.append('a', 1);
    expect(asked.rendered().map(({ usage }) => usage?.completion_tokens ?? usage)).toEqual([
      null,
      null,
      null,
      4,
    ]);
    const plain = scene({ last: false, continuous: false });
    plain.append('a', 1);
    expect(plain.rendered().map(({ usage }) => usage)).toEqual([undefined, undefined, undefined]);
  });
});
