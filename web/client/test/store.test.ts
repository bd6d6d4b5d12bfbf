import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ChatHost } from '../src/chat.js';
import { ChatSession } from '../src/chat.js';
import type { ChatEvent } from '../src/types.js';
import { Random } from './random.js';
import { chatOf, ME, message, overNetwork, SimulatedServer } from './server.js';

// One of them alone: SEED=688 SEQUENCES=688.
const FIRST = Number(process.env.SEED ?? 1);
const SEQUENCES = Number(process.env.SEQUENCES ?? 10_000);

export function hostOf(api: ChatHost['api'], change: Partial<ChatHost> = {}): ChatHost {
  return {
    api,
    userId: () => ME,
    canStream: true,
    isLive: () => true,
    unsent: () => [],
    send: () => '',
    retry: () => {},
    discard: () => {},
    arrived: () => {},
    wasRead: () => {},
    patienceMs: 0,
    ...change,
  };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Something happens in the chat. */
function happen(server: SimulatedServer, random: Random): void {
  const place = random.below(Math.max(1, server.messages.length));
  switch (random.below(12)) {
    case 0:
      return server.change(place, 'edit');
    case 1:
      return server.change(place, 'delete');
    case 2:
      return server.change(place, 'react');
    case 3:
      return server.rename();
    case 4:
      return server.startReply();
    case 5:
    case 6:
      return server.growReply(random.pick(['Hel', 'lo ', 'wörld ', '👍🏽', 'ß']));
    case 7:
      return random.chance(0.3) ? server.retryReply() : server.endReply();
    case 8: {
      const original = server.messages[place];
      return original ? server.replyTo(original) : undefined;
    }
    default:
      server.send(`said ${server.seq}`);
  }
}

/** What one client hears: each event lost, doubled, late or in its turn. */
class BadWire {
  #late: ChatEvent[] = [];
  #told = 0;

  constructor(
    private readonly server: SimulatedServer,
    private readonly random: Random,
    private readonly session: ChatSession,
  ) {}

  carry(): void {
    for (; this.#told < this.server.made.length; this.#told += 1) {
      const event = this.server.made[this.#told] as ChatEvent;
      const fate = this.random.next();
      if (fate < 0.2) continue;
      if (fate < 0.45) {
        this.#late.push(event);
        continue;
      }
      this.session.take(event);
      if (fate > 0.85) this.session.take(event);
    }
    while (this.#late.length > 0 && this.random.chance(0.4)) this.#tellOneLate();
  }

  carryAll(): void {
    this.carry();
    while (this.#late.length > 0) this.#tellOneLate();
  }

  #tellOneLate(): void {
    const [event] = this.#late.splice(this.random.below(this.#late.length), 1);
    if (event) this.session.take(event);
  }
}

async function run(seed: number): Promise<void> {
  const random = new Random(seed);
  const server = new SimulatedServer();
  for (let before = random.chance(0.2) ? 60 + random.below(40) : random.below(10); before > 0; before -= 1) {
    server.send('before');
  }
  const session = new ChatSession('chat', hostOf(overNetwork(server, random, random.chance(0.3) ? 0.1 : 0)));
  const wire = new BadWire(server, random, session);
  void session.open();
  for (let step = 10 + random.below(30); step > 0; step -= 1) {
    happen(server, random);
    wire.carry();
    if (random.chance(0.1)) void session.loadOlder();
    for (let rest = random.below(5); rest > 0; rest -= 1) await null;
    if (random.chance(0.05)) await vi.advanceTimersByTimeAsync(1000);
  }
  server.endReply();
  wire.carryAll();
  // The network is whole again, and the next look at the list of chats shows the chat's end.
  await vi.advanceTimersByTimeAsync(120_000);
  session.compare(server.chat());
  await vi.advanceTimersByTimeAsync(120_000);

  const state = session.state.get();
  const window = server.messages.filter((one) => one.seq >= (state.messages[0]?.seq ?? 1));
  const shown = state.messages.map(({ key: _key, error: _error, ...rest }) => rest);
  expect(shown, `seed ${seed}`).toEqual(window);
  expect(state.seq, `seed ${seed}`).toBe(server.seq);
  expect(state.chat?.title, `seed ${seed}`).toBe(server.title);
  expect(state.reply, `seed ${seed}`).toBeNull();
  expect(state.hasOlder || window.length === server.messages.length, `seed ${seed}`).toBe(true);
  session.close();
}

describe('a chat', () => {
  test(`ends in the server's state after ${SEQUENCES} sequences of events lost, doubled and reordered`, async () => {
    for (let seed = FIRST; seed <= SEQUENCES; seed += 1) await run(seed);
  });

  const opened = async (lastSeq: number, changes = vi.fn()) => {
    const messages = Array.from({ length: lastSeq }, (_, index) => message(index + 1));
    const server = new SimulatedServer();
    const api = { ...overNetwork(server, new Random(1), 0), changes };
    api.openChat = async () => ({ chat: chatOf(lastSeq), messages });
    const session = new ChatSession('chat', hostOf(api, { patienceMs: 50 }));
    await session.open();
    return { session, changes, messages };
  };
  const created = (seq: number): ChatEvent => ({
    type: 'message.created',
    chatId: 'chat',
    seq,
    data: message(seq),
  });

  test('reads just the hole, and only once it does not close by itself', async () => {
    const { session, changes } = await opened(3);
    session.take(created(5));
    session.take(created(4));
    await vi.advanceTimersByTimeAsync(1000);
    expect(changes).not.toHaveBeenCalled();
    changes.mockResolvedValueOnce({ messages: [message(6), message(7)], seq: 7, hasMore: false });
    session.take(created(7));
    await vi.advanceTimersByTimeAsync(49);
    expect(changes).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(changes.mock.calls).toEqual([['chat', 5]]);
    expect(session.state.get().messages.map((one) => one.seq)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  test('asks nothing about what it knows', async () => {
    const { session, changes } = await opened(3);
    for (const seq of [3, 1, 4, 4, 2]) session.take(created(seq));
    await vi.advanceTimersByTimeAsync(1000);
    expect(changes).not.toHaveBeenCalled();
    expect(session.state.get().messages.map((one) => one.seq)).toEqual([1, 2, 3, 4]);
  });

  test('reads an event that was too large to be sent whole', async () => {
    const { session, changes } = await opened(1);
    changes.mockResolvedValueOnce({ messages: [message(2, { content: 'long' })], seq: 2, hasMore: false });
    const pointer = { type: 'message.created', chatId: 'chat', seq: 2, data: { fetch: '/api/…' } };
    session.take(pointer as unknown as ChatEvent);
    await vi.advanceTimersByTimeAsync(50);
    expect(session.state.get().messages.at(-1)?.content).toBe('long');
  });

  test('draws anew only what has changed', async () => {
    const { session } = await opened(3);
    const before = session.state.get().messages;
    const data = { ...message(2), changedSeq: 4, content: 'new' };
    session.take({ type: 'message.updated', chatId: 'chat', seq: 4, data });
    const after = session.state.get().messages;
    expect(after[0]).toBe(before[0]);
    expect(after[1]).not.toBe(before[1]);
    expect(after[2]).toBe(before[2]);
  });

  test('hears an answer from two sources once, and not its stragglers', async () => {
    const { session } = await opened(1);
    const tell = (type: string, data: object) => session.take({ type, chatId: 'chat', data } as unknown as ChatEvent);
    tell('reply.started', { messageId: 'r', attempt: 1 });
    tell('reply.delta', { messageId: 'r', offset: 0, text: 'Grü' });
    tell('reply.delta', { messageId: 'r', offset: 0, text: 'Grüß' });
    tell('reply.delta', { messageId: 'r', offset: 4, text: 'ß dich' });
    tell('reply.started', { messageId: 'r', attempt: 1 });
    tell('reply.delta', { messageId: 'r', offset: 0, text: 'Grü' });
    tell('reply.delta', { messageId: 'r', offset: 4, text: 'ß dich' });
    expect(session.state.get().reply?.text).toBe('Grüß dich');
    expect(session.state.get().messages.at(-1)).toMatchObject({ status: 'streaming', content: 'Grüß dich', seq: null });
    tell('reply.started', { messageId: 'r', attempt: 2 });
    expect(session.state.get().reply?.text).toBe('');
    session.take({ ...created(2), data: message(2, { id: 'r', role: 'assistant', content: 'Hallo' }) } as ChatEvent);
    tell('reply.ended', { messageId: 'r', state: 'completed' });
    tell('reply.delta', { messageId: 'r', offset: 0, text: 'late' });
    tell('reply.started', { messageId: 'r', attempt: 2 });
    expect(session.state.get().reply).toBeNull();
    expect(session.state.get().messages).toHaveLength(2);
  });

  test('forgets who types, when they say something or no more', async () => {
    const { session } = await opened(1);
    const types = (userId: string, isTyping: boolean): ChatEvent => ({
      type: 'typing',
      chatId: 'chat',
      data: { userId, isTyping, expiresInSeconds: 6 },
    });
    session.take(types('ben', true));
    session.take(types('cleo', true));
    session.take(types(ME, true));
    expect(session.state.get().typing).toEqual(['ben', 'cleo']);
    session.take(created(2));
    expect(session.state.get().typing).toEqual(['cleo']);
    await vi.advanceTimersByTimeAsync(6000);
    expect(session.state.get().typing).toEqual([]);
  });

  test('is gone where it is not found', async () => {
    const { ApiError } = await import('../src/problem.js');
    const { session, changes } = await opened(1);
    changes.mockRejectedValueOnce(new ApiError({ type: 'not-found', title: 'Not Found', status: 404 }));
    await session.sync();
    expect(session.state.get().isGone).toBe(true);
  });
});
