import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Backoff } from '../src/backoff.js';
import { Connection } from '../src/connection.js';
import { Http } from '../src/http.js';
import { PollingTransport } from '../src/polling-transport.js';
import { ApiError } from '../src/problem.js';
import { personalChannel } from '../src/pusher-transport.js';
import { SseTransport } from '../src/sse-transport.js';
import type { Hearer, Transport, TransportName } from '../src/transport.js';
import type { ChatEvent } from '../src/types.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

class FakeTransport implements Transport {
  hearer: Hearer | null = null;
  wakes = 0;

  constructor(readonly name: TransportName) {}

  start(hearer: Hearer): void {
    this.hearer = hearer;
  }

  stop(): void {
    this.hearer = null;
  }

  wake(): void {
    this.wakes += 1;
  }
}

const typing: ChatEvent = { type: 'typing', chatId: 'c', data: { userId: 'ben', isTyping: true } };

function connected() {
  const pusher = new FakeTransport('pusher');
  const sse = new FakeTransport('sse');
  const polling = new FakeTransport('polling');
  const listener = { event: vi.fn(), catchUp: vi.fn() };
  const connection = new Connection([pusher, sse, polling], listener, 4000);
  connection.start();
  return { pusher, sse, polling, listener, connection };
}

test('the best transport that works is kept, and the others rest', async () => {
  const { pusher, sse, listener, connection } = connected();
  expect(sse.hearer).toBeNull();
  pusher.hearer?.up();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(sse.hearer).toBeNull();
  expect(connection.state.get()).toEqual({ transport: 'pusher', isConnected: true });
  expect(listener.catchUp).toHaveBeenCalledTimes(1);
});

test('one that does not come up in time is helped by the next, and that by the next', async () => {
  const { sse, polling, connection } = connected();
  await vi.advanceTimersByTimeAsync(4000);
  expect(sse.hearer).not.toBeNull();
  sse.hearer?.down();
  expect(polling.hearer).not.toBeNull();
  polling.hearer?.up();
  expect(connection.state.get().transport).toBe('polling');
});

test('one that falls is followed at once, and takes over again when it is back: both times what was missed is read', () => {
  const { pusher, sse, listener, connection } = connected();
  pusher.hearer?.up();
  pusher.hearer?.down();
  expect(connection.state.get()).toEqual({ transport: null, isConnected: false });
  sse.hearer?.up();
  expect(connection.state.get().transport).toBe('sse');
  expect(listener.catchUp).toHaveBeenCalledTimes(2);
  sse.hearer?.event(typing);
  pusher.hearer?.up();
  expect(connection.state.get().transport).toBe('pusher');
  expect(listener.catchUp).toHaveBeenCalledTimes(3);
  expect(sse.hearer).toBeNull();
  expect(listener.event).toHaveBeenCalledTimes(1);
});

test('what rests is not heard, and what is started is woken', () => {
  const { pusher, sse, polling, listener, connection } = connected();
  pusher.hearer?.down();
  const old = sse.hearer;
  pusher.hearer?.up();
  old?.event(typing);
  old?.up();
  expect(listener.event).not.toHaveBeenCalled();
  expect(connection.state.get().transport).toBe('pusher');
  connection.wake();
  expect([pusher.wakes, sse.wakes, polling.wakes]).toEqual([1, 0, 0]);
});

const hears = () => ({ up: vi.fn(), down: vi.fn(), event: vi.fn(), missed: vi.fn() });
const stream = (...lines: string[]) => new Response(lines.join(''));

test('an event stream goes on where it ended, and says when it is down', async () => {
  const ready = 'id: 7\nevent: ready\ndata: {}\n\n';
  const said = `id: 8\nevent: typing\ndata: ${JSON.stringify(typing)}\n\n`;
  const events = vi
    .fn()
    .mockResolvedValueOnce(stream(ready, said, 'event: reconnect\ndata: {}\n\n'))
    .mockResolvedValueOnce(stream(ready.replace('7', '8')))
    .mockImplementation(() => new Promise(() => {}));
  const hearer = hears();
  const sse = new SseTransport({ events });
  sse.start(hearer);
  await vi.advanceTimersByTimeAsync(1);
  expect(hearer.event).toHaveBeenCalledExactlyOnceWith(typing);
  // The planned end was none; the second connection just broke.
  expect(hearer.down).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(events.mock.calls.map(([after]) => after)).toEqual([null, '8', '8']);
  sse.stop();
});

test('an event stream that lost too much has everything read anew', async () => {
  const events = vi.fn().mockResolvedValue(stream('event: resync\ndata: {}\n\n'));
  const hearer = hears();
  const sse = new SseTransport({ events });
  sse.start(hearer);
  await vi.advanceTimersByTimeAsync(1);
  expect(hearer.missed).toHaveBeenCalled();
  sse.stop();
});

test('an event stream whose place newer ones have taken does not take it back, until its page is looked at again', async () => {
  const crowded = { type: 'too-many-streams', title: 'Too many open streams', status: 429 };
  const ready = 'id: 7\nevent: ready\ndata: {}\n\n';
  const events = vi.fn(async () => stream(ready, `event: error\ndata: ${JSON.stringify(crowded)}\n\n`));
  const hearer = hears();
  const sse = new SseTransport({ events });
  sse.start(hearer);
  await vi.advanceTimersByTimeAsync(1);
  expect(hearer.down).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(55_000);
  expect(events).toHaveBeenCalledTimes(1);
  sse.wake();
  await vi.advanceTimersByTimeAsync(1);
  expect(events).toHaveBeenCalledTimes(2);
  await vi.advanceTimersByTimeAsync(61_000);
  expect(events).toHaveBeenCalledTimes(3);
  sse.stop();
});

test('an event stream that nobody answers is given up, and tried again', async () => {
  const signals: AbortSignal[] = [];
  const events = vi.fn((_after: string | null, signal: AbortSignal) => {
    signals.push(signal);
    return new Promise<Response>((_, refuse) => signal.addEventListener('abort', () => refuse(new Error('left'))));
  });
  const hearer = hears();
  const sse = new SseTransport({ events });
  sse.start(hearer);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(events.mock.calls.length).toBeGreaterThan(2);
  expect(signals.slice(0, -1).every((signal) => signal.aborted)).toBe(true);
  expect(hearer.down).toHaveBeenCalled();
  sse.stop();
});

/** How often it polls in so many seconds. */
function pollingWith(pollAfterMs = 2000) {
  const page = { messages: [], total: 0, hasMore: false, pollAfterMs };
  const unread = vi.fn().mockResolvedValueOnce({ body: page, etag: '"1"' }).mockResolvedValue(null);
  const hearer = hears();
  const polling = new PollingTransport({ unread });
  polling.start(hearer);
  const polls = async (seconds: number) => {
    const before = unread.mock.calls.length;
    await vi.advanceTimersByTimeAsync(seconds * 1000);
    return unread.mock.calls.length - before;
  };
  const news = () => unread.mockResolvedValueOnce({ body: page, etag: '"2"' });
  return { unread, hearer, polling, polls, news };
}

test('polls are 2 s apart while something happens, and up to 30 s while nothing does', async () => {
  const { polling, polls, news, hearer } = pollingWith();
  const busy = await polls(30);
  expect(busy).toBeGreaterThanOrEqual(12);
  expect(busy).toBeLessThanOrEqual(16);
  await polls(10 * 60);
  const idle = await polls(10 * 60);
  expect(idle).toBeGreaterThanOrEqual(16);
  expect(idle).toBeLessThanOrEqual(21);
  news();
  await polls(37);
  expect(hearer.missed).toHaveBeenCalledTimes(1);
  expect(await polls(20), 'what was heard may be answered').toBeGreaterThanOrEqual(6);
  polling.stop();
});

test('polls differ, so that clients which began together do not ask together', async () => {
  const times: number[] = [];
  const unread = vi.fn(async () => {
    times.push(Date.now());
    return null;
  });
  const polling = new PollingTransport({ unread });
  polling.start(hears());
  await vi.advanceTimersByTimeAsync(25_000);
  const pauses = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  expect(new Set(pauses).size).toBeGreaterThan(2);
  polling.stop();
});

test('what somebody does has polling ask soon, but no faster than while busy, and not before a refusal allows', async () => {
  const { unread, polling, polls } = pollingWith();
  await polls(20 * 60);
  // In the middle of half a minute's pause.
  for (let second = 0; second < 40 && (await polls(1)) === 0; second += 1);
  await polls(5);
  polling.stir();
  expect(await polls(0.1)).toBe(1);
  const before = unread.mock.calls.length;
  for (let tenth = 0; tenth < 100; tenth += 1) {
    polling.stir();
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(unread.mock.calls.length - before).toBeLessThanOrEqual(6);
  unread.mockRejectedValueOnce(new ApiError({ type: 'rate-limited', title: 'Slow', status: 429 }, 20_000));
  await polls(3);
  const refused = unread.mock.calls.length;
  for (let second = 0; second < 16; second += 1) {
    polling.stir();
    await vi.advanceTimersByTimeAsync(1000);
  }
  expect(unread.mock.calls.length).toBe(refused);
  polling.stop();
});

test('while nobody looks polls are 30 s apart, and a server that wants them slower has its way', async () => {
  const { polling, polls } = pollingWith();
  await polls(5);
  polling.see(false);
  expect(await polls(10 * 60)).toBeLessThanOrEqual(23);
  polling.see(true);
  polling.wake();
  expect(await polls(10)).toBeGreaterThanOrEqual(4);
  polling.stop();
  const slow = pollingWith(60_000);
  expect(await slow.polls(10 * 60)).toBeLessThanOrEqual(12);
  slow.polling.stop();
});

test('a poll that nobody answers is no connection', async () => {
  const unread = vi.fn().mockResolvedValueOnce(null);
  unread.mockImplementation(
    (_limit: number, _etag: string | null, signal?: AbortSignal) =>
      new Promise((_, refuse) => signal?.addEventListener('abort', () => refuse(new Error('left')))),
  );
  const hearer = hears();
  const polling = new PollingTransport({ unread });
  polling.start(hearer);
  await vi.advanceTimersByTimeAsync(1);
  expect(hearer.up).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(12_000);
  expect(hearer.down).toHaveBeenCalledTimes(1);
  polling.stop();
});

test('polling asks by ETag at the pace the server wants, and rests when it is refused', async () => {
  const page = { messages: [], total: 0, hasMore: false, pollAfterMs: 5000 };
  const unread = vi.fn().mockResolvedValueOnce({ body: page, etag: '"1"' }).mockResolvedValueOnce(null);
  unread.mockResolvedValueOnce({ body: page, etag: '"2"' });
  unread.mockRejectedValueOnce(new ApiError({ type: 'rate-limited', title: 'Slow', status: 429 }, 20_000));
  unread.mockResolvedValue(null);
  const hearer = hears();
  const polling = new PollingTransport({ unread });
  polling.start(hearer);
  await vi.advanceTimersByTimeAsync(1);
  expect(hearer.up).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(6_100);
  expect(hearer.missed).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(6_100);
  expect(hearer.missed).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(6_100);
  expect(hearer.down).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(unread).toHaveBeenCalledTimes(4);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(hearer.up).toHaveBeenCalledTimes(2);
  expect(unread.mock.calls.map(([, etag]) => etag)).toEqual([null, '"1"', '"1"', '"2"', '"2"']);
  polling.stop();
});

test('a refused token is refreshed once for all requests, and the requests are repeated', async () => {
  const provider = vi.fn(({ isRefused }: { isRefused: boolean }) => (isRefused ? 'new' : 'old'));
  const send = vi.fn(async (_url: string, init?: RequestInit) => {
    const isNew = new Headers(init?.headers).get('authorization') === 'Bearer new';
    return isNew ? Response.json({ ok: true }) : Response.json({ title: 'Unauthorized' }, { status: 401 });
  });
  const http = new Http('http://x', provider, send);
  await Promise.all([http.json('/a'), http.json('/b'), http.json('/c')]);
  expect(provider.mock.calls).toEqual([[{ isRefused: false }], [{ isRefused: true }]]);
  expect(send).toHaveBeenCalledTimes(6);
});

test('rests grow up to a limit, and differ', () => {
  const rest = new Backoff(100, 1000, () => 1);
  expect([rest.next(), rest.next(), rest.next(), rest.next(), rest.next()]).toEqual([100, 200, 400, 800, 1000]);
  rest.reset();
  expect(rest.next()).toBe(100);
  expect(new Backoff(100, 1000, () => 0).next()).toBe(25);
});

test('a personal channel is named as the server names it', () => {
  expect(personalChannel('anna')).toBe('private-user-anna');
  expect(personalChannel('anna b')).toBe('private-user-=YW5uYSBi');
});
