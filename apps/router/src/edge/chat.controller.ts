import { ChatCompletionRequest } from '@kvcapsule/contracts/openai';
import { Body, Controller, HttpCode, Post, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiDefaultResponse, ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { ModelCatalogue } from '../catalogue/model-catalogue.js';
import { ModelFleet } from '../catalogue/model-fleet.service.js';
import { GenerationService } from '../generation/generation.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import { Settings } from '../settings.js';
import { Delivery } from './answer/delivery.js';
import { JsonRenderer } from './answer/json.renderer.js';
import { Pacer } from './answer/pacer.service.js';
import type { Renderer } from './answer/renderer.js';
import { SseRenderer } from './answer/sse.renderer.js';
import { callerOf } from './auth.js';
import { toKvcError } from './error.filter.js';
import { generationRequest } from './generation-request.js';
import { noteFault, noteTrace } from './http/access-log.js';
import { inlineDataOf } from './http/inline-data.js';
import { openApi } from './open-api.js';

@ApiTags('chat')
@ApiBearerAuth()
@Controller('v1/chat/completions')
export class ChatController {
  constructor(
    private readonly settings: Settings,
    private readonly catalogue: ModelCatalogue,
    private readonly models: ModelFleet,
    private readonly generation: GenerationService,
    private readonly telemetry: Telemetry,
    private readonly pacer: Pacer,
  ) {}

  @Post()
  @HttpCode(200)
  @ApiOperation({ summary: 'Answers a conversation, pictures included; streamed with `stream: true`' })
  @ApiResponse({
    status: 200,
    description: 'The answer, or a stream of chunks that ends with `data: [DONE]`',
    content: {
      'application/json': { schema: openApi('ChatCompletion') },
      'text/event-stream': { schema: openApi('ChatCompletionChunk') },
    },
  })
  @ApiDefaultResponse({ description: 'An error, also as one event of a stream', schema: openApi('Error') })
  async complete(
    @Body({ schema: ChatCompletionRequest }) body: z.infer<typeof ChatCompletionRequest>,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const model = this.models.serving(this.catalogue.resolve(body.model));
    const { raw } = reply.request;
    const [data, caller] = [inlineDataOf(raw), callerOf(raw)];
    const span = this.telemetry.trace(raw.headers.traceparent, { id: reply.request.id, model: model.name });
    if (span) noteTrace(reply, span.traceId);
    const transcript = this.generation.begin(
      generationRequest(body, { id: reply.request.id, model, caller, data, span }),
    );
    const renderer = rendererFor(body, model.name);
    const { pacer } = this;
    const { stallMs, keepAliveMs } = this.settings;
    const wantsReceipt = raw.headers['x-kvcapsule-receipt'] === '1';
    const delivery = new Delivery({
      ...{ reply, transcript, renderer, pacer, wantsReceipt, stallMs, keepAliveMs },
    });
    const fault = await delivery.ended;
    span?.end(fault === undefined ? undefined : toKvcError(fault).code.toLowerCase());
    if (fault === undefined) this.telemetry.ended(model.name, 200);
    else if (delivery.begun) {
      const error = toKvcError(fault);
      noteFault(reply, error.code);
      this.telemetry.ended(model.name, 200, error);
    } else throw toKvcError(fault);
  }
}

function rendererFor(body: ChatCompletionRequest, model: string): Renderer {
  if (!body.stream) return new JsonRenderer(model, body.logprobs ?? false);
  const last = body.stream_options?.include_usage ?? false;
  const continuous = last && (body.stream_options?.continuous_usage_stats ?? false);
  const prefill = body.stream_options?.include_prefill_progress ?? false;
  return new SseRenderer(model, { usage: { last, continuous }, prefill });
}
