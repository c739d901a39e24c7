import { Controller, Get, Req, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ConsolePage } from './console.js';

const LANDING = {
  name: 'kvcapsule',
  chat: '/v1/chat/completions',
  models: '/v1/models',
  cluster: '/v1/cluster',
  docs: '/docs',
  metrics: '/metrics',
  targets: '/metrics/targets',
  health: '/health/ready',
} as const;

/** People get the console, programs get where to find what. */
@ApiExcludeController()
@Controller()
export class LandingController {
  constructor(private readonly page: ConsolePage) {}

  @Get()
  landing(@Req() { headers }: FastifyRequest, @Res() reply: FastifyReply): void {
    if (this.page.isFor(headers.accept)) this.page.send(reply);
    else void reply.header('vary', 'accept').send(LANDING);
  }
}
