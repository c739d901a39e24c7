import type { PageChange } from '@kvcapsule/domain/scheduling';

import { PageOp } from '../native.js';

/** One change as the engine reads it: `opcode, slot, argument count, arguments`. */
export function encodeChange(change: PageChange): number[] {
  switch (change.kind) {
    case 'open':
      return [PageOp.Open, change.slot, 0];
    case 'close':
      return [PageOp.Close, change.slot, 0];
    case 'segment':
      return [PageOp.Segment, change.slot, 0];
    case 'blocks':
      return [PageOp.Blocks, change.slot, 1 + change.blocks.length, change.segment, ...change.blocks];
    case 'compress': {
      const { segment, format, pages, blocks, restRows } = change;
      const counted = [pages, blocks, restRows].flatMap((list) => [list.length, ...list]);
      return [PageOp.Compress, change.slot, 2 + counted.length, segment, format, ...counted];
    }
    case 'attachBlocks': {
      const { slot, segment, tokens, blocks } = change;
      return [PageOp.AttachBlocks, slot, 2 + blocks.length, segment, tokens, ...blocks];
    }
    case 'split':
      return [PageOp.Split, change.slot, 2, change.segment, change.tokens];
    case 'attachStored': {
      const { slot, format, tokens, pages } = change;
      return [PageOp.AttachStored, slot, 2 + pages.length, format, tokens, ...pages];
    }
    case 'copyBlock':
      return [PageOp.CopyBlock, -1, 2, change.from, change.to];
  }
}
