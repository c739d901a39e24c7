import { KvcError } from '@kvcapsule/contracts/errors';
import type { Model, ModelList } from '@kvcapsule/contracts/openai';
import { Controller, Get, Param } from '@nestjs/common';
import { ApiBearerAuth, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { GenerationService } from '../generation/generation.service.js';
import { Settings } from '../settings.js';
import { openApi } from './open-api.js';

@ApiTags('models')
@ApiBearerAuth()
@Controller('v1/models')
export class ModelsController {
  readonly #created = Math.floor(Date.now() / 1000);

  constructor(
    private readonly settings: Settings,
    private readonly generation: GenerationService,
  ) {}

  @Get()
  @ApiOperation({ summary: 'The models that are served' })
  @ApiOkResponse({ schema: openApi('ModelList') })
  list(): ModelList {
    return { object: 'list', data: [this.#model()] };
  }

  @Get(':id')
  @ApiOperation({ summary: 'One model' })
  @ApiOkResponse({ schema: openApi('Model') })
  get(@Param('id') id: string): Model {
    if (id === this.settings.modelName) return this.#model();
    throw new KvcError('MODEL_NOT_FOUND', 'This server does not serve that model.', { param: 'model' });
  }

  #model(): Model {
    return {
      id: this.settings.modelName,
      object: 'model',
      created: this.#created,
      owned_by: 'kvcapsule',
      max_model_len: this.generation.contextTokens,
      kv_codecs: this.generation.kvCodecs,
    };
  }
}
