import { expect, it } from 'vitest';
import { itemOf, requestOf } from './item.js';

it('says which of several requests of one id it is', () => {
  expect(requestOf(itemOf({ id: 'a.b-c_1', serial: 12 }))).toEqual({ id: 'a.b-c_1', serial: 12 });
  expect(requestOf('a')).toEqual({ id: 'a', serial: undefined });
});
