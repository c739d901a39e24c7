import ts from 'typescript';
import { KINDS } from './kinds.js';

const PROBE = `${import.meta.dirname}/kinds.probe.ts`;

/** Types of the kinds, read by the compiler once. */
let known: { readonly checker: ts.TypeChecker; readonly types: ReadonlyMap<string, ts.Type> } | undefined;

function read() {
  const kinds = Object.entries(KINDS);
  const text = kinds
    .map(
      ([, module], index) =>
        `export type K${index} = import('${module}').I${module.slice(module.lastIndexOf('/') + 1)};`,
    )
    .join('\n');
  const options = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2022.d.ts'],
    skipLibCheck: true,
    strict: true,
    types: [],
    noEmit: true,
  };
  const host = ts.createCompilerHost(options);
  const fileExists = host.fileExists.bind(host);
  const getSourceFile = host.getSourceFile.bind(host);
  host.fileExists = (path) => path === PROBE || fileExists(path);
  host.getSourceFile = (path, ...rest) =>
    path === PROBE
      ? ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true)
      : getSourceFile(path, ...rest);
  const program = ts.createProgram([PROBE], options, host);
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(PROBE);
  const types = new Map<string, ts.Type>();
  source?.statements.forEach((statement, index) => {
    const kind = kinds[index]?.[0];
    if (kind !== undefined && ts.isTypeAliasDeclaration(statement))
      types.set(kind, checker.getTypeAtLocation(statement.name));
  });
  return { checker, types };
}

/**
 * Paths of fields that the published types of a kind do not have: what an API server answers with `unknown field`, and
 * validators made of its OpenAPI schema let pass.
 */
export function unknownFields(kind: string, value: unknown): string[] {
  known ??= read();
  const type = known.types.get(kind);
  if (type === undefined) return [`there is no kind ${kind}`];
  return walk(known.checker, type, value, '');
}

function walk(checker: ts.TypeChecker, type: ts.Type, value: unknown, path: string): string[] {
  if (Array.isArray(value)) {
    const item = objectPart(checker, type, true);
    const element = item && checker.getIndexTypeOfType(item, ts.IndexKind.Number);
    return element === undefined
      ? [`${path}: a list where none is known`]
      : value.flatMap((entry, index) => walk(checker, element, entry, `${path}[${index}]`));
  }
  if (typeof value !== 'object' || value === null) return [];
  const shape = objectPart(checker, type, false);
  if (shape === undefined) return isFree(type) ? [] : [`${path}: an object where none is known`];
  return Object.entries(value).flatMap(([key, entry]) => {
    const property = checker.getPropertyOfType(shape, key);
    const at = path === '' ? key : `${path}.${key}`;
    const of = property
      ? checker.getTypeOfSymbol(property)
      : checker.getIndexTypeOfType(shape, ts.IndexKind.String);
    return of === undefined ? [`${at}: unknown field`] : walk(checker, of, entry, at);
  });
}

const isFree = (type: ts.Type) => (type.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) !== 0;

/** Of a union, such as one with `undefined`, the member that is a list or an object. */
function objectPart(checker: ts.TypeChecker, type: ts.Type, isList: boolean): ts.Type | undefined {
  const members = type.isUnion() ? type.types : [type];
  return members.find(
    (member) =>
      (member.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) !== 0 &&
      checker.isArrayType(member) === isList,
  );
}
