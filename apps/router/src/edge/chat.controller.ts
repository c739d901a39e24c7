import { KvcError } from '@kvcapsule/contracts/errors';
import { ChatCompletionRequest } from '@kvcapsule/contracts/openai';
import { Body, Controller, HttpCode, Post, Res } from '@nestjs/common';
import { ApiBearerAuth, ApiDefaultResponse, ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { GenerationService } from '../generation/generation.service.js';
import { Inflight } from '../operations/inflight.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import { Settings } from '../settings.js';
import { type Answer, JsonAnswer, StreamAnswer } from './answer.js';
import { toKvcError } from './error.filter.js';
import { generationRequest } from './generation-request.js';
import { noteFault } from './http/access-log.js';
import { inlineDataOf } from './http/inline-data.js';
import { openApi } from './open-api.js';

@ApiTags('chat')
@ApiBearerAuth()
@Controller('v1/chat/completions')
export class ChatController {
  constructor(
    private readonly settings: Settings,
    private readonly generation: GenerationService,
    private readonly inflight: Inflight,
    private readonly telemetry: Telemetry,
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
    const { modelName } = this.settings;
    if (body.model !== modelName) {
      throw new KvcError('MODEL_NOT_FOUND', 'This server does not serve that model.', { param: 'model' });
    }
    const answer: Answer = body.stream
      ? new StreamAnswer(reply, modelName, body.stream_options?.include_usage ?? false)
      : new JsonAnswer(reply, modelName, body.logprobs ?? false);
    const signal = this.inflight.start(reply, () => answer.probe());
    const watch = this.telemetry.watch(answer);
    try {
      await this.generation.run(generationRequest(body, inlineDataOf(reply.request.raw)), watch, signal);
      this.telemetry.ended(200);
    } catch (fault) {
      if (!answer.begun) throw fault;
      const error = toKvcError(fault);
      noteFault(reply, error.code);
      this.telemetry.ended(200, error);
      answer.fail(error);
    } finally {
      watch.close();
    }
  }
}
