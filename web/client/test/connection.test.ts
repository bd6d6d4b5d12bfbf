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
  await vi.advanceTimersByTimeAsync(5_600);
  expect(hearer.missed).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(5_600);
  expect(hearer.missed).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(5_600);
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
