import { KvcError } from '@kvcapsule/contracts/errors';
import { readSmallFile } from '@kvcapsule/platform/config';
import { visit } from 'jsonc-parser';
import type { z } from 'zod';

const MOST_BYTES = 4 * 1024 * 1024;
const MOST_FAULTS = 10;

interface JsonFile<S extends z.ZodType> {
  /** That names the file: `--tenants`. */
  readonly flag: string;
  readonly file: string;
  readonly schema: S;
  /** What the schema cannot tell, each with its place: `tenants.0.name: …`. */
  readonly faultsOf: (content: z.output<S>) => readonly string[];
}

/** Throws `CONFIG_INVALID` naming the file and the places at fault; values only where `faultsOf` names them. */
export function readJsonFile<S extends z.ZodType>({
  flag,
  file,
  schema,
  faultsOf,
}: JsonFile<S>): z.output<S> {
  const invalid = (what: string) => new KvcError('CONFIG_INVALID', `${flag}: ${file}: ${what}`);
  const result = schema.safeParse(contentOf(file, invalid));
  const faults = result.success ? faultsOf(result.data) : schemaFaults(result.error);
  if (result.success && faults.length === 0) return result.data;
  throw invalid(faults.slice(0, MOST_FAULTS).join('; '));
}

/** Of each place the first: what is of another type is also measured, a text by its letters in place of entries. */
function schemaFaults({ issues }: z.ZodError): string[] {
  const faults = new Map<string, string>();
  for (const { path, message } of issues) {
    const place = path.join('.') || 'the file';
    if (!faults.has(place)) faults.set(place, `${place}: ${message}`);
  }
  return [...faults.values()];
}

function contentOf(file: string, invalid: (what: string) => KvcError): unknown {
  let text: string;
  try {
    // some editors put a byte order mark before the text
    text = readSmallFile(file, MOST_BYTES).replace(/^\uFEFF/, '');
  } catch (error) {
    throw invalid((error as Error).message);
  }
  let content: unknown;
  let line: number | undefined;
  try {
    content = JSON.parse(text);
    line = lineOfRepeatedKey(text);
  } catch {
    throw invalid(`is not valid JSON${placeOfFault(text)}`);
  }
  if (line !== undefined) throw invalid(`line ${line}: a key is given twice in one object`);
  return content;
}

/** JSON.parse's own words quote what they refuse. Nothing where the fault is not of syntax, but of depth. */
function placeOfFault(json: string): string {
  let place = '';
  const onError = (_code: number, _offset: number, _length: number, line: number, character: number) => {
    place ||= ` at line ${line + 1}, column ${character + 1}`;
  };
  try {
    visit(json, { onError }, { disallowComments: true });
  } catch {
    return '';
  }
  return place;
}

/** From 1; of JSON.parse's two values the last would stand, and nobody could tell which was meant. */
function lineOfRepeatedKey(json: string): number | undefined {
  const open: Set<string>[] = [];
  let repeated: number | undefined;
  visit(json, {
    onObjectBegin: () => void open.push(new Set()),
    onObjectEnd: () => void open.pop(),
    onObjectProperty: (name, _offset, _length, line) => {
      const names = open.at(-1);
      if (names?.has(name)) repeated ??= line + 1;
      names?.add(name);
    },
  });
  return repeated;
}
