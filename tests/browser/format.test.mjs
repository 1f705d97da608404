// Numbers as a person reads them, tiny and huge.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ago, change, compact, price, shorten, sum } from '../../web/src/format.js';

test('prices of every size fit a column', () => {
  const table = [
    [61837.63, '61,837.63'], [2268.611, '2,268.61'], [134.7, '134.70'], [5.8, '5.8000'], [1, '1.0000'], [0.3279315, '0.3279'],
    [0.012297141, '0.01230'], [0.0012, '0.001200'], [0.00011714, '0.0₃1171'], [0.000000001234, '0.0₈1234'], [1e-12, '0.0₁₁1'],
    [0, '0'], [2e6, '2,000,000.00'], [1.5e10, '15.00B'], [1e18, '1.0000e+18'], [NaN, '–'], [undefined, '–'], [Infinity, '–'],
  ];
  for (const [value, text] of table) assert.equal(price(value), text, String(value));
});

test('no price is shown as nothing', () => {
  for (let exponent = -30; exponent < 30; exponent += 1) {
    const text = price(3.21 * 10 ** exponent);
    assert.match(text, /3/, `1e${exponent}: ${text}`);
    assert.ok(text.length <= 14, text);
  }
});

test('sums are short', () => {
  const table = [[1234567, '1.23M'], [999.94, '999.9'], [999960, '1.00M'], [42, '42.00'], [1e12, '1.00T'], [0, '0.00'], [undefined, '–']];
  for (const [value, text] of table) assert.equal(compact(value), text, String(value));
});

test('a sum of what nobody knows is not nothing', () => {
  assert.deepEqual([[], [null, undefined], [null, 0], [3, null, 4]].map(sum), [null, null, 0, 7]);
});

test('changes carry their sign, and a change that rounds to nothing carries none', () => {
  assert.deepEqual([0.0123, -0.0004, 0, 0.00001, -1, 123.4, NaN].map(change), ['+1.23%', '−0.04%', '0.00%', '0.00%', '−100.0%', '+12.34K%', '–']);
});

test('times are told in one unit', () => {
  assert.deepEqual([0, 5000, 90_000, 7_200_000, 3 * 86_400_000].map((ms) => ago(0, ms)), ['now', '5 s', '1 min', '2 h', '3 d']);
});

test('long ids lose their middle', () => {
  assert.equal(shorten('0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640'), '0x88e6…5640');
  assert.equal(shorten('short'), 'short');
});
