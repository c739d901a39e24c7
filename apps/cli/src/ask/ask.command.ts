import type { Command } from 'commander';
import { CliError } from '../failure.js';
import { serverOf, serverOptions } from '../server.js';
import { servedModel, streamAnswer } from './chat-client.js';
import { pictureDataUri } from './picture.js';
import { prefillLine } from './prefill-line.js';
import { summaryLine } from './summary.js';

interface AskOptions {
  readonly url: string;
  readonly model?: string;
  readonly apiKey?: string;
  readonly maxTokens: string;
  readonly kvCodec?: string;
}

const EXAMPLES = `
Examples:
  kvcapsule ask samples/bird-microscope.png "What is at D2?"
  kvcapsule ask photo.jpg "Describe the image." --url http://127.0.0.1:9000
  kvcapsule ask samples/bird-microscope.png "What is at D2?" --kv-codec raw`;

export function registerAsk(program: Command): void {
  serverOptions(program.command('ask').description('ask a running server about a picture'))
    .argument('<picture>', 'PNG, JPEG, WebP or GIF file')
    .argument('<question>', 'what to ask')
    .option('--model <id>', 'model to ask (default: the first that is served)')
    .option('--max-tokens <count>', 'longest answer', '256')
    .option('--kv-codec <codec>', 'how the KV of the picture is kept (default: as the server does)')
    .addHelpText('after', EXAMPLES)
    .action(ask);
}

async function ask(picture: string, question: string, options: AskOptions): Promise<void> {
  if (!/^[1-9]\d{0,6}$/.test(options.maxTokens))
    throw new CliError('--max-tokens must be a whole number of at least 1.');
  const imageUrl = await pictureDataUri(picture);
  const server = serverOf(options);
  const model = options.model ?? (await servedModel(server));
  const progress = prefillLine(process.stderr);
  const sentMs = performance.now();
  let firstMs: number | undefined;
  const usage = await streamAnswer(
    server,
    { model, imageUrl, question, maxTokens: Number(options.maxTokens), kvCodec: options.kvCodec },
    {
      text: (text) => {
        if (firstMs === undefined) progress?.clear();
        firstMs ??= performance.now();
        process.stdout.write(text);
      },
      ...(progress && { prefilled: progress.show }),
    },
  ).finally(() => progress?.clear());
  const doneMs = performance.now();
  firstMs ??= doneMs;
  process.stdout.write(
    `\n\n${summaryLine(usage, { firstTokenMs: firstMs - sentMs, decodeMs: doneMs - firstMs })}\n`,
  );
}
