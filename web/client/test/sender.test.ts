import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ChatSession } from '../src/chat.js';
import { memoryOutbox, type OutboxStorage, storedOutbox } from '../src/outbox.js';
import { ApiError, NetworkError } from '../src/problem.js';
import { Sender } from '../src/sender.js';
import type { Draft } from '../src/types.js';
import { Random } from './random.js';
import { ME, overNetwork, SimulatedServer } from './server.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function begun(): SimulatedServer {
  const server = new SimulatedServer();
  server.send('before');
  return server;
}

async function sending(storage = memoryOutbox(), { server = begun(), isUp = true } = {}) {
  const network = { isUp, isOnline: true, refuses: false };
  const tried: string[] = [];
  const send = vi.fn(async (_chat: string, clientId: string, { content = '' }: Draft) => {
    tried.push(content);
    if (!network.isUp) throw new NetworkError('cut');
    if (network.refuses) throw new ApiError({ type: 'message-refused', title: 'Refused', status: 422, detail: 'No.' });
    const known = server.messages.find((message) => message.clientId === clientId);
    const message = known ?? server.send(content, { senderId: ME, clientId, id: `id-${clientId}` });
    return { message, reply: null, pusherSent: true };
  });
  let session: ChatSession;
  const sender: Sender = new Sender({
    api: { send, sendStreaming: vi.fn() },
    session: () => session,
    streams: () => false,
    isLive: () => true,
    isOnline: () => network.isOnline,
  });
  session = new ChatSession('chat', {
    api: overNetwork(server, new Random(1), 0),
    userId: () => ME,
    canStream: true,
    isLive: () => true,
    unsent: (id) => sender.of(id),
    send: (id, draft) => sender.send(id, draft),
    retry: (id) => sender.retry(id),
    discard: (id) => sender.discard(id),
    arrived: (message) => sender.arrived(message),
    wasRead: () => {},
    patienceMs: 0,
  });
  await session.open();
  await sender.begin(storage);
  const shown = () => session.state.get().messages.map((message) => [message.content, message.status]);
  return { server, network, tried, sender, session, shown, storage, send };
}

test('a message is shown at once, and stays itself when it is sent', async () => {
  const { session, shown, storage } = await sending();
  session.send('hello');
  expect(shown()).toEqual([
    ['before', 'sent'],
    ['hello', 'sending'],
  ]);
  const key = session.state.get().messages[1]?.key;
  await vi.advanceTimersByTimeAsync(10);
  expect(shown()).toEqual([
    ['before', 'sent'],
    ['hello', 'sent'],
  ]);
  expect(session.state.get().messages[1]?.key).toBe(key);
  expect(await storage.load()).toEqual([]);
});

test('messages keep their order while the network fails, are marked as failed, and are sent once when it is back', async () => {
  const { server, network, session, sender, shown } = await sending();
  network.isUp = false;
  session.send('one');
  session.send('two');
  await vi.advanceTimersByTimeAsync(60_000);
  expect(shown().slice(1)).toEqual([
    ['one', 'failed'],
    ['two', 'failed'],
  ]);
  network.isUp = true;
  sender.wake();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(shown()).toEqual([
    ['before', 'sent'],
    ['one', 'sent'],
    ['two', 'sent'],
  ]);
  expect(server.messages.map((message) => message.content)).toEqual(['before', 'one', 'two']);
});

test('an answer that was lost makes no second message', async () => {
  const { server, session, shown, send } = await sending();
  const whole = send.getMockImplementation();
  send.mockImplementationOnce(async (...asked) => {
    await whole?.(...asked);
    throw new NetworkError('the answer was lost');
  });
  session.send('once');
  await vi.advanceTimersByTimeAsync(10_000);
  expect(server.messages.filter((message) => message.content === 'once')).toHaveLength(1);
  expect(shown()).toEqual([
    ['before', 'sent'],
    ['once', 'sent'],
  ]);
});

test('a refusal is said and waits for its sender: the network coming back does not repeat it', async () => {
  const { network, session, sender, shown, tried } = await sending();
  network.refuses = true;
  const clientId = session.send('rude');
  await vi.advanceTimersByTimeAsync(10);
  expect(session.state.get().messages[1]).toMatchObject({ status: 'failed', error: 'No.' });
  sender.wake();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(tried).toEqual(['rude']);
  network.refuses = false;
  session.retry(clientId);
  await vi.advanceTimersByTimeAsync(10);
  expect(shown()[1]).toEqual(['rude', 'sent']);
});

test('what could not be sent is sent by the next page', async () => {
  const storage = memoryOutbox();
  const first = await sending(storage);
  first.network.isOnline = false;
  first.session.send('later');
  await vi.advanceTimersByTimeAsync(60_000);
  expect(first.tried).toEqual([]);
  expect(first.shown()[1]).toEqual(['later', 'sending']);
  const next = await sending(storage);
  await vi.advanceTimersByTimeAsync(10);
  expect(next.shown()).toEqual([
    ['before', 'sent'],
    ['later', 'sent'],
  ]);
  expect(await storage.load()).toEqual([]);
});

test('a message that is given up is not sent', async () => {
  const { network, session, shown, storage } = await sending();
  network.refuses = true;
  const clientId = session.send('never mind');
  await vi.advanceTimersByTimeAsync(10);
  session.discard(clientId);
  expect(shown()).toEqual([['before', 'sent']]);
  expect(await storage.load()).toEqual([]);
});

/** As a browser's tabs have it: one storage, and each is told what another removes. */
class TwoTabs {
  readonly #shared = memoryOutbox();
  readonly #heard = [new Set<(clientId: string) => void>(), new Set<(clientId: string) => void>()];

  of(tab: 0 | 1): OutboxStorage {
    return {
      ...this.#shared,
      remove: async (clientId) => {
        await this.#shared.remove(clientId);
        for (const gone of this.#heard[1 - tab] ?? []) gone(clientId);
      },
      watch: (gone) => {
        this.#heard[tab]?.add(gone);
        return () => this.#heard[tab]?.delete(gone);
      },
    };
  }
}

test('what one tab sends or gives up, another tab that waited with it does not send', async () => {
  const storage = new TwoTabs();
  const first = await sending(storage.of(0));
  first.network.isUp = false;
  const given = first.session.send('given up');
  first.session.send('sent by the other tab');
  await vi.advanceTimersByTimeAsync(60_000);
  const other = await sending(storage.of(1), { server: first.server, isUp: false });
  await vi.advanceTimersByTimeAsync(60_000);
  const both = ['given up', 'sent by the other tab'];
  expect(
    first
      .shown()
      .slice(1)
      .map(([content]) => content),
  ).toEqual(both);
  expect(
    other
      .shown()
      .slice(1)
      .map(([content]) => content),
  ).toEqual(both);
  first.session.discard(given);
  await vi.advanceTimersByTimeAsync(1);
  other.network.isUp = true;
  other.sender.wake();
  await vi.advanceTimersByTimeAsync(10_000);
  // Though nothing tells the first tab of the message, and it could not send itself.
  for (const { shown } of [first, other]) {
    expect(shown()).toEqual([
      ['before', 'sent'],
      ['sent by the other tab', 'sent'],
    ]);
  }
  expect(first.server.messages).toHaveLength(2);
});

test('the outbox of one person is in their own keys of the storage, and what is no message is dropped', async () => {
  const kept = new Map<string, string>();
  const storage = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
    getAllKeys: async () => [...kept.keys()],
  };
  const [annas, bens] = [storedOutbox(storage, 'anna'), storedOutbox(storage, 'ben')];
  const entry = { chatId: 'c', draft: { content: 'x' }, state: 'sending', error: null, isOffline: false } as const;
  await annas.put({ ...entry, clientId: 'second', createdAt: '2026-11-21T10:00:02Z' });
  await annas.put({ ...entry, clientId: 'first', createdAt: '2026-11-21T10:00:01Z' });
  await bens.put({ ...entry, clientId: 'bens', createdAt: '2026-11-21T10:00:00Z' });
  kept.set('backtalk:unsent:anna:broken', '{');
  expect((await annas.load()).map(({ clientId }) => clientId)).toEqual(['first', 'second']);
  expect(kept.has('backtalk:unsent:anna:broken')).toBe(false);
  await annas.remove('first');
  expect((await annas.load()).map(({ clientId }) => clientId)).toEqual(['second']);
  expect((await bens.load()).map(({ clientId }) => clientId)).toEqual(['bens']);
});

/** Nothing but what one can do with one key, at once or after a moment. */
const plain = (kept: Map<string, string>, isAsync: boolean) => {
  const later = <T>(done: T): T | Promise<T> => (isAsync ? Promise.resolve().then(() => done) : done);
  return {
    getItem: (key: string) => later(kept.get(key) ?? null),
    setItem: (key: string, value: string) => later<void>(void kept.set(key, value)),
    removeItem: (key: string) => later<void>(void kept.delete(key)),
  };
};

test.each([false, true])(
  'a storage that does not say its keys gives back what it keeps (asynchronous: %s)',
  async (isAsync) => {
    const kept = new Map<string, string>();
    const entry = { chatId: 'c', draft: { content: 'x' }, state: 'sending', error: null, isOffline: false } as const;
    const page = storedOutbox(plain(kept, isAsync), 'anna');
    const written = [1, 2, 3].map((number) =>
      page.put({ ...entry, clientId: `m${number}`, createdAt: `2026-11-21T10:00:0${number}Z` }),
    );
    // Sent before it was written.
    written.push(
      page.remove('m3'),
      storedOutbox(plain(kept, isAsync), 'ben').put({ ...entry, clientId: 'b', createdAt: '' }),
    );
    await vi.advanceTimersByTimeAsync(200);
    await Promise.all(written);
    const loaded = storedOutbox(plain(kept, isAsync), 'anna').load();
    await vi.advanceTimersByTimeAsync(200);
    expect((await loaded).map(({ clientId }) => clientId)).toEqual(['m1', 'm2']);
    const gone = ['m1', 'm2'].map((clientId) => page.remove(clientId));
    await vi.advanceTimersByTimeAsync(200);
    await Promise.all(gone);
    // Nothing is left behind.
    expect([...kept.keys()].filter((key) => key.includes('anna'))).toEqual([]);
  },
);

test('what waits in a storage that does not say its keys is sent by the page that comes after', async () => {
  const kept = new Map<string, string>();
  const before = await sending(storedOutbox(plain(kept, true), ME));
  before.network.isUp = false;
  before.session.send('written in a tunnel');
  await vi.advanceTimersByTimeAsync(1_000);
  before.sender.stop();
  const { shown } = await sending(storedOutbox(plain(kept, true), ME));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(shown()[1]).toEqual(['written in a tunnel', 'sent']);
  expect([...kept.keys()]).toEqual([]);
});

test('a storage that is full keeps no message from being sent', async () => {
  const full = () => {
    throw new Error('full');
  };
  const storage = storedOutbox(
    { getItem: () => null, setItem: full, removeItem: full, getAllKeys: async () => [] },
    ME,
  );
  const { session, shown } = await sending(storage);
  session.send('hello');
  await vi.advanceTimersByTimeAsync(10);
  expect(shown()[1]).toEqual(['hello', 'sent']);
});
