import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { prefers } from '@kvcapsule/platform/http';
import fastifyStatic from '@fastify/static';
import { Injectable } from '@nestjs/common';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { Settings } from '../settings.js';

/**
 * Scripts, styles and requests of this server alone, and pictures that the page itself has made; nobody frames it, and
 * no form leaves it.
 */
const POLICY = [
  "default-src 'none'",
  ...['script', 'style', 'font', 'connect'].map((kind) => `${kind}-src 'self'`),
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
} as const;

/** The console's page, as it was built; the server is as useful without. */
@Injectable()
export class ConsolePage {
  readonly #html?: string;

  constructor({ consoleFolder }: Settings) {
    const file = join(consoleFolder ?? '', 'index.html');
    if (consoleFolder !== undefined && existsSync(file)) this.#html = readFileSync(file, 'utf8');
  }

  /** Whether a client that accepts these types gets it; one that takes anything is a program. */
  isFor(accept: string | undefined): boolean {
    return this.#html !== undefined && prefers(accept, 'text/html', 'application/json');
  }

  send(reply: FastifyReply): void {
    void reply
      .headers({ ...HEADERS, 'cache-control': 'no-cache', vary: 'accept' })
      .type('text/html; charset=utf-8')
      .send(this.#html);
  }
}

/** What the page loads. Names change with content, so browsers keep it. */
export async function serveConsoleAssets(
  fastify: FastifyInstance,
  { consoleFolder }: Settings,
): Promise<void> {
  if (consoleFolder === undefined) return;
  const root = join(consoleFolder, 'assets');
  if (!existsSync(root)) return;
  await fastify.register(fastifyStatic, {
    root,
    prefix: '/assets/',
    // a route for each file: other paths are not found, as anywhere else
    wildcard: false,
    index: false,
    // small enough to be sent whole
    acceptRanges: false,
    decorateReply: false,
    immutable: true,
    maxAge: '1y',
    setHeaders: (reply) => {
      void reply.headers(HEADERS);
    },
  });
}
