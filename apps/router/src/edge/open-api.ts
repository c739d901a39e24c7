import {
  ClusterAdmission,
  ClusterDelta,
  ClusterFormat,
  ClusterFormats,
  ClusterPages,
  ClusterRequest,
  ClusterRequestDetail,
  ClusterSnapshot,
  ClusterTotals,
  ClusterWorker,
  ClusterPoint,
} from '@kvcapsule/contracts/cluster';
import {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionRequest,
  ErrorBody,
  Model,
  ModelList,
  PlacementExplanation,
  PlacementReceipt,
} from '@kvcapsule/contracts/openai';
import { VERSION } from '@kvcapsule/platform/telemetry';
import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { z } from 'zod';

/** What the document names; anything else in a schema stands where it is used. */
const NAMED = {
  ChatCompletionRequest,
  ChatCompletion,
  ChatCompletionChunk,
  Model,
  ModelList,
  PlacementExplanation,
  PlacementReceipt,
  ClusterAdmission,
  ClusterDelta,
  ClusterFormat,
  ClusterFormats,
  ClusterPages,
  ClusterPoint,
  ClusterRequest,
  ClusterRequestDetail,
  ClusterSnapshot,
  ClusterTotals,
  ClusterWorker,
  Error: ErrorBody,
} as const satisfies Record<string, z.ZodType>;

type Schemas = NonNullable<NonNullable<OpenAPIObject['components']>['schemas']>;

const refTo = (id: string) => `#/components/schemas/${id}`;

/** One of the contracts' schemas, for a response of a route. */
export function openApi(id: keyof typeof NAMED): { $ref: string } {
  return { $ref: refTo(id) };
}

function componentSchemas(): Schemas {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(NAMED)) registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, {
    target: 'openapi-3.0',
    io: 'input',
    unrepresentable: 'any',
    uri: refTo,
  });
  // Both name the schema as JSON Schema does, which OpenAPI 3.0 has no room for.
  return Object.fromEntries(
    Object.entries(schemas).map(([id, { $id: _id, $schema: _schema, ...schema }]) => [id, schema]),
  ) as Schemas;
}

/** Serves the document at /openapi.json, and as a page at /docs. */
export function serveOpenApi(app: INestApplication): void {
  const config = new DocumentBuilder()
    .setTitle('KVCapsule')
    .setDescription('Answers questions about pictures, in the shape of OpenAI’s chat completions.')
    .setVersion(VERSION)
    .addBearerAuth()
    .build();
  const document = SwaggerModule.createDocument(app, config);
  document.components = { ...document.components, schemas: componentSchemas() };
  SwaggerModule.setup('docs', app, document, { jsonDocumentUrl: 'openapi.json', raw: ['json'] });
}
