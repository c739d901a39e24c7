import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { ROOT, SAMPLES_DIR } from '../paths.js';
import { curlCommand, firstScreen } from './first-screen.js';

describe('firstScreen', () => {
  it('prints a command whose body is valid JSON with the picture in it', () => {
    const command = curlCommand(
      'http://127.0.0.1:8000',
      'emoji-vlm',
      `${SAMPLES_DIR}/bird-microscope.png`,
      false,
    );
    const body = execFileSync('sh', ['-c', command.replace(/^curl .*-d @- /, 'cat ')], { encoding: 'utf8' });
    const parsed = JSON.parse(body) as { messages: [{ content: [{ image_url: { url: string } }] }] };
    expect(parsed.messages[0].content[0].image_url.url).toMatch(/^data:image\/png;base64,iVBOR/);
  });

  it('names a key only where one is needed, and paths as short as they can be', () => {
    const screen = {
      ...{ url: 'http://127.0.0.1:9000', models: ['my model'], cwd: ROOT },
      logFolder: `${ROOT}/.kvcapsule/log/one`,
    };
    const open = firstScreen({ ...screen, withKey: false });
    expect(open).toContain('serves my model at');
    expect(open).toContain('Logs: .kvcapsule/log/one ');
    expect(open).not.toContain('authorization');
    expect(open).toContain(
      './kvcapsule ask samples/bird-microscope.png "What is at D2?" --url http://127.0.0.1:9000',
    );
    expect(firstScreen({ ...screen, withKey: true })).toContain('authorization: Bearer $KVCAPSULE_API_KEY');
  });

  it('names Prometheus where it runs', () => {
    const screen = {
      ...{ url: 'http://127.0.0.1:8000', models: ['m'], cwd: ROOT, withKey: false },
      logFolder: `${ROOT}/log`,
    };
    expect(firstScreen(screen)).not.toContain('Prometheus asks');
    expect(firstScreen({ ...screen, prometheusUrl: 'http://127.0.0.1:9090' })).toContain(
      'Prometheus asks all of them at http://127.0.0.1:9090 ',
    );
  });

  it('quotes whatever a shell would take apart', () => {
    const model = 'a "b" $(id) `id` \\ c';
    const command = curlCommand('http://127.0.0.1:8000', model, `${SAMPLES_DIR}/bird-microscope.png`, false);
    const body = execFileSync('sh', ['-c', command.replace(/^curl .*-d @- /, 'cat ')], { encoding: 'utf8' });
    expect((JSON.parse(body) as { model: string }).model).toBe(model);
  });
});
