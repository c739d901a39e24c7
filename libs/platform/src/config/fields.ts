import { type z } from 'zod';

export type ConfigSchema = z.ZodObject<Record<string, z.ZodType>>;

/** What `.meta({...})` of a field may say besides its description. */
interface FieldMeta {
  readonly description?: string;
  /** Never printed. */
  readonly secret?: boolean;
  /** Name of the flag without dashes; the field's name in kebab case otherwise. */
  readonly flag?: string;
  /** Of a list: each flag is one entry, commas and blanks included. */
  readonly verbatim?: boolean;
}

export type FieldKind = 'boolean' | 'number' | 'string' | 'list';

/** One setting, as flags, environment and file see it. */
export interface Field {
  readonly key: string;
  readonly flag: string;
  readonly env: string;
  readonly kind: FieldKind;
  readonly secret: boolean;
  readonly verbatim: boolean;
  readonly description: string;
  readonly choices: readonly string[];
  readonly required: boolean;
  /** The value without any setting, where there is one. */
  readonly fallback: unknown;
}

/** Reads the fields out of the schema. Flat: one field, one setting. */
export function fieldsOf(schema: ConfigSchema): Field[] {
  return Object.entries(schema.shape).map(([key, type]) => {
    const { core, meta } = unwrap(type);
    const absent = type.safeParse(undefined);
    const kebab = key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return {
      key,
      flag: meta.flag ?? kebab,
      env: `KVCAPSULE_${kebab.replaceAll('-', '_').toUpperCase()}`,
      kind: kindOf(core),
      secret: meta.secret ?? false,
      verbatim: meta.verbatim ?? false,
      description: meta.description ?? '',
      choices: core.def.type === 'enum' ? (core as z.ZodEnum).options.map(String) : [],
      required: !absent.success,
      fallback: absent.data,
    };
  });
}

interface Wrapper {
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
}

/** Takes defaults, optionals and pipes off; what is said further out wins. */
function unwrap(type: z.ZodType): { core: z.ZodType; meta: FieldMeta } {
  const def = type.def as Wrapper;
  const own = (type.meta() ?? {}) as FieldMeta;
  const inner = def.innerType ?? def.in;
  if (inner === undefined) {
    return { core: type, meta: own };
  }
  const { core, meta } = unwrap(inner);
  return { core, meta: { ...meta, ...own } };
}

function kindOf(core: z.ZodType): FieldKind {
  switch (core.def.type) {
    case 'boolean':
    case 'number':
      return core.def.type;
    case 'array':
      return 'list';
    default:
      return 'string';
  }
}
