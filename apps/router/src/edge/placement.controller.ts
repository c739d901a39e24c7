import {
  ChatCompletionRequest,
  type PlacementExplanation,
  type PlacementReceipt,
} from '@kvcapsule/contracts/openai';
import { KvcError } from '@kvcapsule/contracts/errors';
import { Body, Controller, Get, HttpCode, Param, Post, Req } from '@nestjs/common';
import { ApiBearerAuth, ApiDefaultResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { ModelCatalogue } from '../catalogue/model-catalogue.js';
import { ModelFleet } from '../catalogue/model-fleet.service.js';
import { Inflight } from '../operations/inflight.service.js';
import { Explainer } from '../placement/explainer.service.js';
import { Receipts } from '../placement/receipts.service.js';
import { callerOf } from './auth.js';
import { generationRequest } from './generation-request.js';
import { inlineDataOf } from './http/inline-data.js';
import { openApi } from './open-api.js';

@ApiTags('operations')
@ApiBearerAuth()
@Controller('v1/placement')
export class PlacementController {
  constructor(
    private readonly catalogue: ModelCatalogue,
    private readonly models: ModelFleet,
    private readonly explainer: Explainer,
    private readonly inflight: Inflight,
    private readonly receipts: Receipts,
  ) {}

  @Get('receipts/:id')
  @ApiOperation({ summary: 'Says which workers a request was given to lately and why; needs an admin key' })
  @ApiOkResponse({ schema: openApi('PlacementReceipt') })
  @ApiDefaultResponse({ description: 'None is kept', schema: openApi('Error') })
  receipt(@Param('id') id: string): PlacementReceipt {
    return this.receipts.of(id);
  }

  @Post('explain')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Says where a chat completion would go and why, and runs nothing; needs an admin key',
  })
  @ApiOkResponse({ schema: openApi('PlacementExplanation') })
  @ApiDefaultResponse({ description: 'An error, as for a chat completion', schema: openApi('Error') })
  async explain(
    @Body({ schema: ChatCompletionRequest }) body: z.infer<typeof ChatCompletionRequest>,
    @Req() { id, raw }: FastifyRequest,
  ): Promise<PlacementExplanation> {
    const model = this.models.serving(this.catalogue.resolve(body.model));
    const [data, caller] = [inlineDataOf(raw), callerOf(raw)];
    const request = generationRequest(body, { id, model, caller, data });
    const { signal, abort, close } = this.inflight.open();
    const gone = () => {
      abort(new KvcError('ABORTED', 'The client went away.'));
    };
    raw.socket.once('close', gone);
    try {
      return await this.explainer.explain(request, signal);
    } finally {
      raw.socket.off('close', gone);
      close();
    }
  }
}
