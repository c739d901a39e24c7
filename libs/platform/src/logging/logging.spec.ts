import { execFileSync, spawnSync } from 'node:child_process';
import { openSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { createLogger } from './index.js';

function logged(write: (logger: ReturnType<typeof createLogger>) => void): string {
  let text = '';
  write(createLogger({ name: 'test', level: 'info' }, { write: (line) => (text += line) }));
  return text;
}

describe('createLogger', () => {
  it('writes one JSON line with name, level and message', () => {
    const line = logged((logger) => logger.warn({ workerId: 'w1' }, 'worker is gone'));
    expect(JSON.parse(line)).toMatchObject({
      name: 'test',
      level: 40,
      workerId: 'w1',
      msg: 'worker is gone',
    });
    expect(line.endsWith('\n')).toBe(true);
  });

  it('leaves out what is below its level', () => {
    expect(logged((logger) => logger.debug('quiet'))).toBe('');
  });

  it('redacts secrets and users’ content', () => {
    const line = logged((logger) =>
      logger.info({
        apiKey: 'sekret',
        redisUrl: 'sekret',
        messages: ['sekret'],
        req: { url: '/?sekret', headers: { authorization: 'sekret', cookie: 'sekret' } },
        request: { prompt: 'sekret', content: 'sekret' },
      }),
    );
    expect(line).toContain('[redacted]');
    expect(line).not.toContain('sekret');
  });

  it('takes in what Node warns of, as a line for each', () => {
    const module = JSON.stringify(new URL('index.ts', import.meta.url).href);
    const program = `import { createLogger, logWarnings } from ${module};
      import { Socket } from 'node:net';
      logWarnings(createLogger({ name: 'test', level: 'info' }));
      const socket = new Socket();
      for (let at = 0; at < 11; at += 1) socket.on('close', () => undefined);
      process.emitWarning('plain', 'OddWarning');`;
    const args = ['--conditions=@kvcapsule/source', '--input-type=module', '-e', program];
    const { stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    const lines = stderr.trim().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      expect.objectContaining({ name: 'test', level: 40, warning: 'MaxListenersExceededWarning' }),
      expect.objectContaining({ name: 'test', level: 40, warning: 'OddWarning', msg: 'plain' }),
    ]);
    expect(stderr.length).toBeLessThan(4_000);
  });

  it('loses lines that stderr does not take, and the process goes on', () => {
    const module = JSON.stringify(new URL('index.ts', import.meta.url).href);
    const program = `import { createLogger } from ${module};
      createLogger({ name: 'test', level: 'info' }).info('nobody keeps this');
      setTimeout(() => process.stdout.write('alive'), 50);`;
    const full = openSync('/dev/full', 'w');
    const args = ['--conditions=@kvcapsule/source', '--input-type=module', '-e', program];
    expect(execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', full] })).toBe(
      'alive',
    );
  });
});
