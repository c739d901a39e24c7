import type { ApiResponseNoStatusOptions } from '@nestjs/swagger';
import { z } from 'zod';

type Schema = Extract<ApiResponseNoStatusOptions, { schema: unknown }>['schema'];

/** A contract’s schema as the OpenAPI document shows it. */
export function openApi(schema: z.ZodType): Schema {
  return z.toJSONSchema(schema, { target: 'openapi-3.0', unrepresentable: 'any' }) as Schema;
}
