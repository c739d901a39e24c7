import type { PageChange } from '@kvcapsule/domain/scheduling';
import { PageOp, type StepPlan } from '@kvcapsule/engine';

/** One row of a plan with its place. */
export interface PlanRow {
  readonly slot: number;
  readonly segment: number;
  readonly token: number;
  readonly position: number;
  readonly handle: number;
  readonly imageRow: number;
}

/** The rows of a plan, chunk by chunk. */
export function planRows(plan: StepPlan): PlanRow[] {
  const rows: PlanRow[] = [];
  for (let at = 0; at < plan.chunks.length; at += 3) {
    const [slot = 0, segment = 0, count = 0] = plan.chunks.subarray(at, at + 3);
    for (let index = 0; index < count; index += 1) {
      const row = rows.length;
      rows.push({
        ...{ slot, segment, token: plan.tokens[row] ?? 0, position: plan.positions[row] ?? 0 },
        ...{ handle: plan.imageHandles[row] ?? -1, imageRow: plan.imageRows[row] ?? 0 },
      });
    }
  }
  if (rows.length !== plan.tokens.length) throw new Error('a plan whose chunks are not its rows');
  return rows;
}

/** The page operations of a plan; throws where the stream is cut off or an operation has another number of arguments. */
export function planChanges({ ops }: Pick<StepPlan, 'ops'>): PageChange[] {
  const changes: PageChange[] = [];
  for (let at = 0; at < ops.length;) {
    const [code = 0, slot = 0, count = -1] = ops.subarray(at, at + 3);
    const end = at + 3 + count;
    if (count < 0 || end > ops.length) throw new Error('a page operation is cut off');
    changes.push(readChange(code, slot, new Arguments(ops.subarray(at + 3, end))));
    at = end;
  }
  return changes;
}

class Arguments {
  #at = 0;

  constructor(private readonly values: Int32Array) {}

  next(): number {
    const value = this.values[this.#at];
    if (value === undefined) throw new Error('a page operation has too few arguments');
    this.#at += 1;
    return value;
  }

  take(count: number): number[] {
    return Array.from({ length: count }, () => this.next());
  }

  rest(): number[] {
    return this.take(this.values.length - this.#at);
  }

  end<T>(value: T): T {
    if (this.#at !== this.values.length) throw new Error('a page operation has too many arguments');
    return value;
  }
}

function readChange(code: number, slot: number, args: Arguments): PageChange {
  switch (code) {
    case PageOp.Open:
      return args.end({ kind: 'open', slot });
    case PageOp.Close:
      return args.end({ kind: 'close', slot });
    case PageOp.Segment:
      return args.end({ kind: 'segment', slot });
    case PageOp.Blocks:
      return { kind: 'blocks', slot, segment: args.next(), blocks: args.rest() };
    case PageOp.Compress: {
      const [segment, format] = [args.next(), args.next()];
      const [pages, blocks] = [args.take(args.next()), args.take(args.next())];
      const restRows = args.take(args.next());
      return args.end({ kind: 'compress', slot, segment, format, pages, blocks, restRows });
    }
    case PageOp.AttachBlocks:
      return { kind: 'attachBlocks', slot, segment: args.next(), tokens: args.next(), blocks: args.rest() };
    case PageOp.AttachStored:
      return { kind: 'attachStored', slot, format: args.next(), tokens: args.next(), pages: args.rest() };
    case PageOp.CopyBlock:
      return args.end({ kind: 'copyBlock', from: args.next(), to: args.next() });
    case PageOp.Split:
      return args.end({ kind: 'split', slot, segment: args.next(), tokens: args.next() });
    default:
      throw new Error('a page operation that is not known');
  }
}
