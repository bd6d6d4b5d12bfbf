// @vitest-environment jsdom

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Site } from '../../react/test/site.js';
import type { BacktalkClient, BacktalkOptions } from '../src/index.js';

const started: BacktalkClient[] = [];
beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
});
afterEach(() => {
  for (const client of started.splice(0)) client.stop();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

async function begin(site: Site, options: Partial<BacktalkOptions> = {}) {
  const client = site.client(options);
  started.push(client);
  void client.start();
  await pass(1000);
  return client;
}

const contents = (client: BacktalkClient, chatId: string) =>
  client
    .chat(chatId)
    .state.get()
    .messages.map(({ content, status }) => `${content} (${status})`);

const hide = (isHidden: boolean) =>
  vi.spyOn(document, 'visibilityState', 'get').mockReturnValue(isHidden ? 'hidden' : 'visible');

const turns: [string, () => void, boolean][] = [
  ['the network is back', () => window.dispatchEvent(new Event('online')), true],
  ['the page is looked at', () => document.dispatchEvent(new Event('visibilitychange')), true],
  [
    'the page comes out of the cache',
    () => window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })),
    true,
  ],
  ['the page is shown for the first time', () => window.dispatchEvent(new PageTransitionEvent('pageshow')), false],
  [
    'the page is looked at no more',
    () => {
      hide(true);
      document.dispatchEvent(new Event('visibilitychange'));
    },
    false,
  ],
];

test.each(turns)('where %s, what waits tries at once: %s', async (_name, happen, isWoken) => {
  const site = new Site();
  site.add('c', { kind: 'direct' }, ['hello']);
  const client = await begin(site, { transports: ['polling'] });
  client.watch('c');
  await pass(1000);
  const asked = site.asked.length;
  site.say('c', 'meanwhile');
  happen();
  // Sooner than the next poll.
  await pass(100);
  const news = site.asked.slice(asked);
  expect(news.includes('GET /api/chat-messages')).toBe(isWoken);
  expect(contents(client, 'c').includes('meanwhile (sent)')).toBe(isWoken);
});

test('what waits without a network is sent as soon as it is back, by the page that comes after a reload as well', async () => {
  const site = new Site();
  site.add('c', { kind: 'direct' }, ['hello']);
  const client = await begin(site);
  client.watch('c');
  await pass(1000);
  const online = vi.spyOn(navigator, 'onLine', 'get').mockReturnValue(false);
  client.chat('c').send('one');
  client.chat('c').send('two');
  await pass(60_000);
  expect(contents(client, 'c')).toEqual(['hello (sent)', 'one (sending)', 'two (sending)']);
  expect(Object.keys(localStorage).filter((key) => key.startsWith('backtalk:unsent:anna:'))).toHaveLength(2);
  client.stop();

  const next = await begin(site);
  next.watch('c');
  await pass(1000);
  expect(contents(next, 'c')).toEqual(['hello (sent)', 'one (sending)', 'two (sending)']);
  online.mockReturnValue(true);
  window.dispatchEvent(new Event('online'));
  await pass(1000);
  expect(contents(next, 'c')).toEqual(['hello (sent)', 'one (sent)', 'two (sent)']);
  expect(site.chats.get('c')?.messages.map(({ content }) => content)).toEqual(['hello', 'one', 'two']);
  expect(Object.keys(localStorage)).toEqual([]);
});

test('another tab that sends a message has this one forget it', async () => {
  const site = new Site();
  site.add('c', { kind: 'direct' }, ['hello']);
  const client = await begin(site);
  client.watch('c');
  await pass(1000);
  const online = vi.spyOn(navigator, 'onLine', 'get').mockReturnValue(false);
  client.chat('c').send('one');
  await pass(1000);
  const [key = ''] = Object.keys(localStorage);
  localStorage.removeItem(key);
  window.dispatchEvent(new StorageEvent('storage', { key, newValue: null }));
  await pass(1000);
  expect(contents(client, 'c')).toEqual(['hello (sent)']);
  online.mockReturnValue(true);
  window.dispatchEvent(new Event('online'));
  await pass(10_000);
  expect(site.count('POST /api/chat/c/messages')).toBe(0);
});

test('a token is asked for again when it is refused, and a person is known by it without a network', async () => {
  const site = new Site();
  const token = vi.fn(() => `x.${btoa(JSON.stringify({ sub: 'anna' }))}.x`);
  const client = await begin(site, { token });
  expect(client.userId).toBe('anna');
  expect(site.count('GET /api/me')).toBe(0);
  expect(token).toHaveBeenCalledExactlyOnceWith({ isRefused: false });
});
