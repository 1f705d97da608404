// The page of `kohort up`, as a person sees it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { kohort, up } from './server.mjs';

const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const UP = [0x3d, 0xbd, 0x8d];
const DOWN = [0xee, 0x6a, 0x67];

let server;
let browser;
let page;
const complaints = [];

before(async () => {
  server = await up();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: QUIET });
  page = await browser.newPage({ viewport: { width: 1500, height: 900 } });
  page.on('pageerror', (error) => complaints.push(error.stack));
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
  await page.goto(server.url);
}, { timeout: 120_000 });

after(async () => {
  await browser?.close();
  await server?.stop('SIGKILL');
});

const chart = (field) => page.evaluate((name) => document.getElementById('chart').dataset[name] ?? '', field);
const until = (what, ...args) => page.waitForFunction(what, args, { timeout: 60_000 });

test('the list has pairs with prices', async () => {
  await until(() => document.querySelectorAll('#pairs .pair').length >= 3);
  const prices = await page.$$eval('#pairs .pair .right b', (nodes) => nodes.map((node) => node.textContent));
  assert.ok(prices.every((price) => /\d/.test(price)), prices.join(' '));
});

test('the chart has candles, drawn', async () => {
  await until(() => Number(document.getElementById('chart').dataset.bars) >= 10);
  await page.waitForTimeout(300); // One frame of the chart; what follows looks at pixels.
  const coloured = await page.evaluate(([up, down]) => {
    const near = (data, at, [r, g, b]) => Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b) < 12;
    const count = { up: 0, down: 0 };
    for (const canvas of document.querySelectorAll('#chart canvas')) {
      if (!canvas.width || !canvas.height) continue;
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      for (let at = 0; at < data.length; at += 4) {
        if (near(data, at, up)) count.up += 1;
        if (near(data, at, down)) count.down += 1;
      }
    }
    return count;
  }, [UP, DOWN]);
  assert.ok(coloured.up > 100 && coloured.down > 100, JSON.stringify(coloured));
});

test('the chart moves: changes come by WebSocket and the last price changes', async () => {
  const before = { updates: Number(await chart('updates')), close: await chart('close') };
  await until(([was]) => {
    const { updates, close } = document.getElementById('chart').dataset;
    return Number(updates) >= was.updates + 3 && close !== was.close;
  }, before);
  assert.equal(await page.getAttribute('#link', 'data-state'), 'live');
});

test('the group panel shows members, who owns what, and what happened', async () => {
  await until(() => Number(document.getElementById('group-body').dataset.members) >= 1);
  await until(() => document.querySelectorAll('#group-body tbody tr').length >= 1);
  await until(() => document.getElementById('group-state').textContent === 'Stable');
  await until(() => document.querySelectorAll('#timeline li').length >= 2);
  await until(() => Number(document.getElementById('group-body').dataset.generation) >= 1);
  const lags = await page.$$eval('#group-body td.lag', (cells) => cells.map((cell) => cell.textContent.trim()));
  assert.ok(lags.length > 0 && lags.every((lag) => /^([\d,]+|–)$/.test(lag)), lags.join(' '));
});

test('intervals switch by key and by click, and the address keeps them', async () => {
  const minutes = Number(await chart('bars'));
  await page.keyboard.press('2');
  await until(([was]) => { const now = Number(document.getElementById('chart').dataset.bars); return now > 0 && now < was; }, minutes);
  assert.match(page.url(), /\/5m$/);
  await page.click('#intervals button:has-text("1m")');
  await until(([was]) => Number(document.getElementById('chart').dataset.bars) >= was, minutes);
  assert.match(page.url(), /\/1m$/);
});

test('the keyboard walks the list and finds a pair', async () => {
  await page.focus('#pairs');
  const name = await page.textContent('#pair-name');
  await page.keyboard.press('ArrowDown');
  await until(([was]) => document.getElementById('pair-address').textContent && document.querySelectorAll('.pair')[1].getAttribute('aria-selected') === 'true', name);
  await page.keyboard.press('/');
  await page.keyboard.type('no pair is called so');
  await until(() => document.querySelectorAll('.pair').length === 0);
  await page.keyboard.press('Escape');
  await until(() => document.querySelectorAll('.pair').length >= 3);
  await page.keyboard.press('Home');
});

test('an empty page says so, and shows the first trades soon after they are sent', async () => {
  const empty = await up('--no-feed');
  const other = await browser.newPage();
  try {
    other.on('pageerror', (error) => complaints.push(error.stack));
    await other.goto(empty.url);
    await other.waitForFunction(() => document.getElementById('pair-name').textContent === 'No pair yet');
    await other.waitForFunction(() => document.getElementById('link').dataset.state === 'live');
    // Nobody has committed anything: no lag is known, and so none is 0.
    await other.waitForFunction(() => /^[1-9]/.test(document.getElementById('vital-members').textContent));
    assert.equal(await other.textContent('#vital-lag'), '–');
    // All at once, of long ago, and nothing after them: what the page does not see now it sees never.
    const trade = (block) => JSON.stringify({ chain_id: '1', pair_addr: 'mine', type: 'buy', token_amount: 1, total_usd: 2, token_price_usd: 2 + block / 10,
      block_num: block, block_time: 1704412800 + 60 * block });
    kohort(empty.broker, ['produce', 'eth-trades'], Array.from({ length: 9 }, (_, block) => `[${trade(block + 1)}]`).join('\n'));
    await other.waitForFunction(() => document.getElementById('chart').dataset.bars === '9', undefined, { timeout: 8000 });
    assert.equal(await other.textContent('#pairs .pair .name i'), 'mine');
    // Many groups: the one that is shown is one with members, and stays in sight; names are told apart by their ends.
    const name = (n) => `all-groups-of-one-team-have-a-very-long-name-${n}`;
    for (let n = 10; n < 26; n += 1) kohort(empty.broker, ['consume', 'eth-trades', '--group', name(n), '--offset', 'first', '--exit']);
    await other.waitForFunction(() => document.querySelectorAll('#group-tabs button').length >= 21);
    await other.reload();
    await other.waitForFunction(() => document.querySelectorAll('#group-tabs button').length >= 21 && document.getElementById('group-body').dataset.members > 0);
    const cut = await other.evaluate(() => {
      const [list, body] = ['group-tabs', 'group-body'].map((id) => document.getElementById(id).getBoundingClientRect());
      const names = [...document.querySelectorAll('#group-tabs button > span:first-child > span:last-child')];
      const chosen = document.querySelector('#group-tabs [aria-selected="true"]').getBoundingClientRect();
      return { below: body.top - list.top, seen: chosen.top >= list.top - 1 && chosen.bottom <= list.bottom + 1,
        outside: names.filter((node) => node.getBoundingClientRect().right > list.right).length };
    });
    assert.ok(cut.below < 400 && cut.seen && cut.outside === 0, JSON.stringify(cut));
  } finally {
    await other.close();
    await empty.stop('SIGKILL');
  }
});

test('on a phone nothing is cut off and everything is there', async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  await until(() => document.getElementById('chart').clientWidth > 300 && document.getElementById('chart').clientWidth < 390);
  const { wide, seen } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth,
    seen: ['pairs', 'chart', 'group-body', 'timeline'].map((id) => document.getElementById(id).getBoundingClientRect().height) }));
  assert.equal(wide, 390);
  assert.ok(seen.every((height) => height > 100), seen.join(' '));
  await page.setViewportSize({ width: 1500, height: 900 });
});

if (process.env.KOHORT_SCREENSHOT) {
  test('a picture is kept', async () => {
    await page.click('.pair >> nth=0');
    await page.mouse.move(700, 20);
    await page.click('#group-tabs button >> nth=-1');
    await page.evaluate(() => document.activeElement?.blur());
    await page.waitForTimeout(4000); // A few seconds of trades, for the eye.
    await page.screenshot({ path: process.env.KOHORT_SCREENSHOT });
  });
}

test('what could not be handled is shown with the group that reads it', async () => {
  assert.ok(await page.isHidden('#vital-letters'));
  kohort(server.broker, ['produce', 'eth-trades'], 'no trade\n');
  await until(() => document.getElementById('vital-letters').textContent === '1');
  await page.click('#group-tabs button:has-text("group10")');
  await until(() => /1 record of eth-trades could not be handled.*group10\.dlq.*broken JSON/s.test(document.querySelector('.letters')?.textContent));
  await until(() => document.querySelectorAll('#group-body tbody tr').length >= 1);
});

test('nothing was complained of, and the server says each line once', () => {
  assert.deepEqual(complaints, []);
  assert.equal(server.output().match(/^broker listening on 127\.0\.0\.1:\d+$/mg)?.length, 1);
  assert.equal(server.output().match(/^http listening on http:\/\/127\.0\.0\.1:\d+$/mg)?.length, 1);
});

test('Ctrl-C ends everything within 3 s, and the page says that the connection is lost', async () => {
  const began = Date.now();
  const ended = await server.stop('SIGINT');
  assert.deepEqual(ended, { code: 0, signal: null }, server.errors());
  assert.ok(Date.now() - began < 3000, `${Date.now() - began} ms`);
  await until(() => document.getElementById('link').dataset.state === 'lost');
});
