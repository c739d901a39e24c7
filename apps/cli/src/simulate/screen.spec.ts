import { describe, expect, it } from 'vitest';
import { DEFAULT_MODEL_DIR } from '../paths.js';
import { endedLine, startedScreen } from './screen.js';

const STARTED = { workers: 20, model: 'emoji-vlm', modelFolder: DEFAULT_MODEL_DIR, speedup: 1 };

describe('the screen of simulate', () => {
  it('tells how a router joins, with the URL of a private Redis in the environment', () => {
    const privateUrl = 'redis://:secret@127.0.0.1:7000';
    expect(startedScreen({ ...STARTED, privateUrl })).toMatch(
      /KVCAPSULE_REDIS=redis:\/\/:secret@127\.0\.0\.1:7000 \S+kvcapsule serve router --model \S+/,
    );
  });

  it('leaves the URL of a Redis that is not its own to the reader', () => {
    const screen = startedScreen({ ...STARTED, speedup: 4, privateUrl: undefined });
    expect(screen).toContain("KVCAPSULE_REDIS='URL of that Redis' ");
    expect(screen).toContain('20 simulated workers of emoji-vlm, 4 times as fast as the measured engine');
  });

  it('tells in the end what was done', () => {
    const requests = new Map([
      ['stop', 3],
      ['abort', 1],
    ]);
    const tokens = new Map([
      ['prompt', 120],
      ['completion', 40],
    ]);
    expect(endedLine(requests, tokens)).toBe(
      '4 requests ended (3 stop, 1 abort); 120 prompt tokens, 40 answer tokens\n',
    );
    expect(endedLine(new Map(), new Map())).toBe('0 requests ended; 0 prompt tokens, 0 answer tokens\n');
  });
});
