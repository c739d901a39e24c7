import { z } from 'zod';

/** What of JSON Schema (draft 7, which Helm 3 reads, too) the chart's values use. */
export interface JsonSchema {
  readonly $schema?: string;
  readonly type?: string;
  readonly description?: string;
  default?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly propertyNames?: JsonSchema;
  readonly items?: JsonSchema;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly examples?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
}

/** The schema of the values, each with the default that holds. */
export function jsonSchema(values: z.ZodType, defaults: object): JsonSchema {
  const schema = z.toJSONSchema(values, {
    target: 'draft-7',
    io: 'input',
    unrepresentable: 'any',
    override: ({ jsonSchema: own }) => {
      // of the parts' settings: how flags of theirs are called
      for (const key of ['flag', 'secret', 'verbatim']) delete own[key];
      if (own.maximum === Number.MAX_SAFE_INTEGER) delete own.maximum;
      if (own.minimum === Number.MIN_SAFE_INTEGER) delete own.minimum;
    },
  }) as JsonSchema;
  setDefaults(schema, defaults);
  return schema;
}

function setDefaults(schema: JsonSchema, defaults: object): void {
  for (const [key, value] of Object.entries(defaults)) {
    const field = schema.properties?.[key];
    if (field === undefined) throw new Error(`there is no value ${key} that a default could be of`);
    if (isSection(field)) setDefaults(field, value as object);
    else field.default = value;
  }
}

/** An object whose fields the chart names, other than one of Kubernetes' form. */
export const isSection = (schema: JsonSchema): boolean => Object.keys(schema.properties ?? {}).length > 0;
