import fc from 'fast-check';
import { Histogram, type Metric, Registry } from 'prom-client';
import { expect, it } from 'vitest';
import { LabelledHistogram, PlainHistogram } from './histogram.js';

it('says what a histogram of prom-client says, whatever is observed', async () => {
  const bound = fc.integer({ min: 1, max: 50 }).map((tenths) => tenths / 10);
  const observed = fc.array(fc.oneof(bound, fc.double({ min: 0, max: 10, noNaN: true })), { maxLength: 60 });
  const buckets = fc
    .uniqueArray(bound, { minLength: 1, maxLength: 8 })
    .map((all) => all.sort((a, b) => a - b));
  await fc.assert(
    fc.asyncProperty(buckets, observed, async (bounds, values) => {
      const [theirs, ours] = [new Registry(), new Registry()];
      const options = { name: 'x_seconds', help: 'a "help"', buckets: bounds };
      const reference = new Histogram({ ...options, registers: [theirs] });
      const plain = new PlainHistogram(options);
      ours.registerMetric(plain as unknown as Metric);
      for (const value of values) {
        reference.observe(value);
        plain.observe(value);
      }
      expect(await ours.metrics()).toBe(await theirs.metrics());
    }),
    { seed: 1, numRuns: 200 },
  );
});

it('observes seconds with a timer', async () => {
  const plain = new PlainHistogram({ name: 'x_seconds', help: 'x', buckets: [60] });
  plain.startTimer()();
  const { values } = await plain.get();
  expect(values.map(({ value }) => value)).toEqual([1, 1, expect.closeTo(0, 1), 1]);
});

it('keeps series with labels apart, as one of prom-client does', async () => {
  const [theirs, ours] = [new Registry(), new Registry()];
  const options = { name: 'x_seconds', help: 'x', buckets: [1, 2] };
  const reference = new Histogram({ ...options, labelNames: ['a', 'b'], registers: [theirs] });
  const labelled = new LabelledHistogram<'a' | 'b'>(options);
  ours.registerMetric(labelled as unknown as Metric);
  for (const [a, b, value] of [
    ['1', '2', 0.5],
    ['1', '"2"', 1.5],
    ['1', '2', 9],
  ] as const) {
    reference.labels({ a, b }).observe(value);
    labelled.labels({ a, b }).observe(value);
  }
  expect(await ours.metrics()).toBe(await theirs.metrics());
});
