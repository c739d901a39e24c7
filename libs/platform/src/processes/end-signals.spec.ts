import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { onEndSignals } from './end-signals.js';

describe('onEndSignals', () => {
  function heard(...signals: readonly (readonly [atMs: number, signal: string])[]): string[] {
    const said: string[] = [];
    const process = new EventEmitter();
    let nowMs = 0;
    onEndSignals({ first: () => said.push('first'), again: () => said.push('again') }, process, () => nowMs);
    for (const [atMs, signal] of signals) {
      nowMs = atMs;
      process.emit(signal);
    }
    return said;
  }

  it('takes signals that come together for one wish, whoever hands them on', () => {
    expect(heard([7, 'SIGINT'], [7, 'SIGTERM'], [400, 'SIGTERM'])).toEqual(['first']);
  });

  it('hears a terminal that closes where that is asked for', () => {
    const process = new EventEmitter();
    const said: string[] = [];
    const say = (word: string) => () => said.push(word);
    onEndSignals({ signals: ['SIGHUP'], first: say('first'), again: say('again') }, process);
    for (const signal of ['SIGTERM', 'SIGHUP', 'SIGHUP']) process.emit(signal);
    expect(said).toEqual(['first']);
  });

  it('hears who does not want to wait', () => {
    expect(heard([7, 'SIGINT'], [600, 'SIGINT'])).toEqual(['first', 'again']);
    expect(heard([0, 'SIGTERM'], [100, 'SIGTERM'], [900, 'SIGINT'])).toEqual(['first', 'again']);
  });
});
