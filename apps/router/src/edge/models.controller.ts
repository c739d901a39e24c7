import type { Model, ModelList } from '@kvcapsule/contracts/openai';
import { Controller, Get, Param } from '@nestjs/common';
import { ApiBearerAuth, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { ModelCatalogue, type CatalogueEntry } from '../catalogue/model-catalogue.js';
import { ModelFleet } from '../catalogue/model-fleet.service.js';
import { openApi } from './open-api.js';

@ApiTags('models')
@ApiBearerAuth()
@Controller('v1/models')
export class ModelsController {
  readonly #created = Math.floor(Date.now() / 1000);

  constructor(
    private readonly catalogue: ModelCatalogue,
    private readonly fleet: ModelFleet,
  ) {}

  @Get()
  @ApiOperation({ summary: 'The models that are served' })
  @ApiOkResponse({ schema: openApi('ModelList') })
  list(): ModelList {
    return { object: 'list', data: this.catalogue.all.map((model) => this.#model(model)) };
  }

  @Get(':id')
  @ApiOperation({ summary: 'One model' })
  @ApiOkResponse({ schema: openApi('Model') })
  get(@Param('id') id: string): Model {
    return this.#model(this.catalogue.resolve(id));
  }

  #model(entry: CatalogueEntry): Model {
    const model = this.fleet.serving(entry);
    return {
      id: model.name,
      object: 'model',
      created: this.#created,
      owned_by: 'kvcapsule',
      max_model_len: this.fleet.contextTokens(model),
      kv_codecs: [...this.fleet.kvCodecs(model)],
      precisions: this.fleet.precisions(model),
    };
  }
}
