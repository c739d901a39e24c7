import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { useSize } from './use-size.js';

interface Props<Item> {
  readonly label: string;
  readonly heads: readonly string[];
  /** Of CSS: `grid-template-columns`. */
  readonly columns: string;
  readonly items: readonly Item[];
  readonly keyOf: (item: Item) => string | number;
  readonly row: (item: Item) => readonly ComponentChildren[];
  /** Columns from here on are numbers. */
  readonly numbersFrom: number;
}

const ROW = 36;
const SPARE = 6;

/** A table of any length, of which only the rows in sight are in the page. */
export function VirtualRows<Item>({ label, heads, columns, items, keyOf, row, numbersFrom }: Props<Item>) {
  const [top, setTop] = useState(0);
  const [holder, { height }] = useSize<HTMLDivElement>();
  const first = Math.max(0, Math.floor(top / ROW) - SPARE);
  const shown = items.slice(first, first + Math.ceil(height / ROW) + 2 * SPARE);
  const classOf = (column: number) => (column >= numbersFrom ? 'cell number num' : 'cell');
  return (
    <div
      ref={holder}
      class="rows"
      role="region"
      aria-label={label}
      tabIndex={0}
      onScroll={({ currentTarget }) => setTop(currentTarget.scrollTop)}
    >
      <div class="rows-table" role="table" aria-label={label} aria-rowcount={items.length + 1}>
        <div class="rows-head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: columns }}>
          {heads.map((head, column) => (
            <span key={head} class={classOf(column)} role="columnheader">
              {head}
            </span>
          ))}
        </div>
        <div class="rows-space" role="rowgroup" style={{ height: `${items.length * ROW}px` }}>
          {shown.map((item, at) => (
            <div
              key={keyOf(item)}
              class="rows-row"
              role="row"
              aria-rowindex={first + at + 2}
              style={{ gridTemplateColumns: columns, transform: `translateY(${(first + at) * ROW}px)` }}
            >
              {row(item).map((cell, column) => (
                <span key={heads[column]} class={classOf(column)} role="cell">
                  {cell}
                </span>
              ))}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}
