import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

const MODEL = 'emoji-vlm';

const textBody = (text: string, more: object = {}): string =>
  JSON.stringify({ model: MODEL, max_tokens: 4, messages: [{ role: 'user', content: text }], ...more });

function head(length: number, more: readonly string[] = []): string {
  const lines = [
    ...['POST /v1/chat/completions HTTP/1.1', 'host: soak', 'content-type: application/json'],
    ...[`content-length: ${String(length)}`, ...more],
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** Sends all of it, takes whatever comes for a moment, and leaves. */
async function say(port: number, ...parts: readonly (string | Buffer)[]): Promise<void> {
  const socket = await open(port);
  socket.resume();
  for (const part of parts) socket.write(part);
  await Promise.race([once(socket, 'close'), sleep(2_000)]);
  socket.destroy();
}

const whole = (body: string | Buffer, more: readonly string[] = []): (string | Buffer)[] => [
  head(Buffer.byteLength(body), more),
  body,
];

/** A stream whose reader takes a little a second, then nothing, then goes. */
async function readSlowly(port: number): Promise<void> {
  const socket = await open(port);
  const body = textBody('Describe the image.', {
    stream: true,
    max_tokens: 400,
    ignore_eos: true,
    logprobs: true,
  });
  socket.pause();
  for (const part of whole(body)) socket.write(part);
  for (let second = 0; second < 5 && !socket.destroyed; second += 1) {
    await sleep(1_000);
    socket.read(512);
  }
  socket.destroy();
}

/** A body that comes byte by byte and never ends. */
async function trickle(port: number): Promise<void> {
  const socket = await open(port);
  socket.resume();
  socket.write(head(1_000_000));
  for (let byte = 0; byte < 20 && !socket.destroyed; byte += 1) {
    socket.write(' ');
    await sleep(100);
  }
  socket.destroy();
}

async function breakOff(port: number, reset: boolean): Promise<void> {
  const socket = await open(port);
  const body = textBody('x'.repeat(100_000));
  socket.write(head(body.length));
  socket.write(body.slice(0, 40_000));
  await sleep(20);
  if (reset) socket.resetAndDestroy();
  else socket.end();
  await sleep(50);
  socket.destroy();
}

const nested = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
const messages = JSON.stringify({
  model: MODEL,
  messages: Array.from({ length: 30_000 }, () => ({ role: 'user', content: '' })),
});
const bomb = gzipSync(Buffer.alloc(80 * 2 ** 20, 32));

/** What no well-meant client does; none of it may cost the others more than its own request does. */
const ATTACKS: Readonly<Record<string, (port: number) => Promise<void>>> = {
  'slow reader': readSlowly,
  'trickled body': trickle,
  'body and FIN': (port) => breakOff(port, false),
  'body and RST': (port) => breakOff(port, true),
  'nested arrays': (port) => say(port, ...whole(nested)),
  'empty messages': (port) => say(port, ...whole(messages)),
  'gzip bomb': (port) => say(port, ...whole(bomb, ['content-encoding: gzip'])),
  'no UTF-8': (port) =>
    say(
      port,
      ...whole(Buffer.concat([Buffer.from('{"model":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')])),
    ),
  'large headers': (port) =>
    say(port, `GET /v1/models HTTP/1.1\r\nhost: a\r\ncookie: ${'c'.repeat(20_000)}\r\n\r\n`),
  'no HTTP': (port) => say(port, '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03hello\r\n\r\n'),
  pipelined: (port) => say(port, ...Array.from({ length: 20 }, () => whole(textBody('hi')).join(''))),
  'broken picture': (port) =>
    say(
      port,
      ...whole(
        textBody('', {
          messages: [
            {
              role: 'user',
              content: [
                {
                  type: 'image_url',
                  image_url: { url: `data:image/png;base64,iVBORw0KGgo${'A'.repeat(4_000)}` },
                },
              ],
            },
          ],
        }),
      ),
    ),
};

/** One of each, in turns, a few at a time; resolves to how often each was tried. */
export async function attack(url: string, endMs: number, atOnce = 3): Promise<Record<string, number>> {
  const port = Number(new URL(url).port);
  const names = Object.keys(ATTACKS);
  const tried: Record<string, number> = {};
  let next = 0;
  const attacker = async (): Promise<void> => {
    while (Date.now() < endMs) {
      const name = names[next++ % names.length] ?? '';
      tried[name] = (tried[name] ?? 0) + 1;
      await ATTACKS[name]?.(port);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, attacker));
  return tried;
}
