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
  await pass(500);
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

test('without Pusher it polls; the event stream is asked for by name alone', async () => {
  const site = new Site();
  const client = await begin(site, { transports: undefined });
  expect(client.connection.get()).toEqual({ transport: 'polling', isConnected: true, isShared: false });
  await pass(60_000);
  expect(site.count('GET /api/chat/stream')).toBe(0);
  const other = await begin(site, { transports: ['sse', 'polling'] });
  expect(other.connection.get().transport).toBe('sse');
});

test('nobody is said to be connected while everything is cut, though nothing refuses, and the connection comes back', async () => {
  const site = new Site();
  site.add('c', { kind: 'direct' }, ['hello']);
  let isCut = false;
  const unanswered = (signal: AbortSignal | null | undefined) =>
    new Promise<never>((_, refuse) =>
      signal?.addEventListener('abort', () => refuse(new DOMException('left', 'AbortError'))),
    );
  const fetch: typeof site.fetch = (url, init) => (isCut ? unanswered(init?.signal) : site.fetch(url, init));
  for (const transports of [['polling'], ['sse', 'polling'], ['sse']] as const) {
    // The network may come back at any moment of a try that hangs, or of the rest between two.
    for (let longerMs = 0; longerMs < 40_000; longerMs += 700) {
      const client = await begin(site, { transports, fetch });
      expect(client.connection.get().isConnected).toBe(true);
      isCut = true;
      site.endStreams();
      await pass(15_000);
      expect(client.connection.get(), transports.join()).toMatchObject({ transport: null, isConnected: false });
      // And it stays so, however long it lasts.
      await pass(60_000 + longerMs);
      expect(client.connection.get(), transports.join()).toMatchObject({ transport: null, isConnected: false });
      isCut = false;
      client.wake();
      await pass(2_000);
      expect(client.connection.get(), transports.join()).toMatchObject({ transport: transports[0], isConnected: true });
      client.stop();
    }
  }
});

test('who writes is answered soon, though nothing had happened for long', async () => {
  const site = new Site();
  site.add('c', { kind: 'direct' }, ['hello']);
  const client = await begin(site, { transports: ['polling'] });
  client.watch('c');
  const polls = () => site.count('GET /api/chat-messages');
  await pass(20 * 60_000);
  let before = polls();
  await pass(60_000);
  expect(polls() - before).toBeLessThanOrEqual(3);
  for (const act of [
    () => void client.chat('c').send('hello?'),
    () => void document.dispatchEvent(new Event('keydown')),
    () => void document.dispatchEvent(new Event('pointerdown')),
  ]) {
    before = polls();
    act();
    await pass(3_000);
    expect(polls() - before).toBeGreaterThanOrEqual(1);
    await pass(20 * 60_000);
  }
});

test('a page that nobody looks at leaves its event stream, and has it again when it is looked at', async () => {
  const site = new Site();
  site.add('c', { kind: 'direct' }, ['hello']);
  const client = await begin(site, { transports: ['sse', 'polling'] });
  expect(site.listeners).toBe(1);
  hide(true);
  document.dispatchEvent(new Event('visibilitychange'));
  await pass(29_000);
  expect(site.listeners, 'who looks away for a moment keeps it').toBe(1);
  await pass(2_000);
  expect(site.listeners).toBe(0);
  expect(client.connection.get().transport).toBe('polling');
  const before = site.count('GET /api/chat-messages');
  await pass(10 * 60_000);
  expect(site.count('GET /api/chat-messages') - before).toBeLessThanOrEqual(23);
  window.dispatchEvent(new Event('online'));
  await pass(1_000);
  expect(site.listeners, 'the network alone does not wake it').toBe(0);
  hide(false);
  document.dispatchEvent(new Event('visibilitychange'));
  await pass(100);
  expect(site.listeners).toBe(1);
  expect(client.connection.get().transport).toBe('sse');
});

test('a token is asked for again when it is refused, and a person is known by it without a network', async () => {
  const site = new Site();
  const token = vi.fn(() => `x.${btoa(JSON.stringify({ sub: 'anna' }))}.x`);
  const client = await begin(site, { token });
  expect(client.userId).toBe('anna');
  expect(site.count('GET /api/me')).toBe(0);
  expect(token).toHaveBeenCalledExactlyOnceWith({ isRefused: false });
});
