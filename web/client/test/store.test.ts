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
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Something happens in the chat. */
function happen(server: SimulatedServer, random: Random): void {
  const place = random.below(Math.max(1, server.messages.length));
  switch (random.below(15)) {
    case 0:
      return server.change(place, 'edit');
    case 1:
      return server.change(place, 'delete');
    case 2:
      return server.change(place, 'react');
    case 3:
      return server.rename();
    case 4:
      return random.chance(0.5) ? server.askReply() : server.reopenReply(random);
    case 5:
    case 6:
      return server.growReply(random.pick(['Hel', 'lo ', 'wörld ', '👍🏽', 'ß']));
    case 7:
      return random.chance(0.3) ? server.beginReply() : server.endReply();
    case 9:
      return server.beginReply();
    case 10:
      return server.think(random.pick(['', 'Hm ', 'grün ', '🤔']));
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
  // How long a back-off rests is a part of what happens.
  vi.spyOn(Math, 'random').mockImplementation(() => random.next());
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
  if (random.chance(0.5)) server.endReply();
  wire.carryAll();
  // The network is whole again, and the next look at the list of chats shows the chat's end.
  await vi.advanceTimersByTimeAsync(120_000);
  session.compare(server.chat());
  await vi.advanceTimersByTimeAsync(120_000);

  const state = session.state.get();
  // What is being written again is shown as it comes.
  const isStored = ({ id }: { id: string }) => id !== server.running?.messageId;
  const window = server.messages.filter((one) => one.seq >= (state.messages[0]?.seq ?? 1));
  const shown = state.messages.map(({ key: _key, error: _error, ...rest }) => rest);
  expect(shown.filter(isStored), `seed ${seed}`).toEqual(window.filter(isStored));
  expect(state.seq, `seed ${seed}`).toBe(server.seq);
  expect(state.chat?.title, `seed ${seed}`).toBe(server.title);
  expect(state.reply, `seed ${seed}`).toEqual(server.running);
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
    api.openChat = async () => ({ chat: chatOf(lastSeq), messages, hasMore: false });
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

  test('of few but long messages has older ones, where the server says so', async () => {
    const messages = Array.from({ length: 30 }, (_, index) => message(index + 1));
    const api = { ...overNetwork(new SimulatedServer(), new Random(1), 0) };
    api.openChat = async () => ({ chat: chatOf(30), messages: messages.slice(-20), hasMore: true });
    const history = vi.fn(async () => ({ messages: messages.slice(0, 10), hasMore: false, seq: 30 }));
    const session = new ChatSession('chat', hostOf({ ...api, history }, { patienceMs: 50 }));
    await session.open();
    expect(session.state.get().hasOlder).toBe(true);
    await session.loadOlder();
    expect(history.mock.calls).toEqual([['chat', 11]]);
    expect(session.state.get()).toMatchObject({ hasOlder: false });
    expect(session.state.get().messages.map((one) => one.seq)).toEqual(messages.map((one) => one.seq));
  });

  test('keeps the members that an entry of a list leaves out', async () => {
    const { session } = await opened(1);
    const member = (userId: string, readSeq = 0) =>
      ({ userId, name: userId, image: null, role: 'member', readSeq, readAt: null, deliveredSeq: 0 }) as never;
    const all = Array.from({ length: 30 }, (_, index) => member(`u${index}`));
    session.compare(chatOf(1, { members: all }));
    session.compare(chatOf(1, { members: [member('u3', 1), member('u9')], memberCount: 30 }));
    const { chat } = session.state.get();
    expect([chat?.memberCount, chat?.members.length, chat?.members[3]?.readSeq]).toEqual([30, 30, 1]);
    session.take({ type: 'member.removed', chatId: 'chat', seq: 2, data: { userId: 'u9' } } as ChatEvent);
    expect(session.state.get().chat).toMatchObject({ memberCount: 29 });
    expect(session.state.get().chat?.members.length).toBe(29);
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
    const { session, changes } = await opened(1);
    changes.mockResolvedValue({ messages: [], seq: 2, hasMore: false });
    const tell = (type: string, data: object) => session.take({ type, chatId: 'chat', data } as unknown as ChatEvent);
    tell('reply.started', { messageId: 'r', attempt: 1 });
    const said = (attempt: number, offset: number, text: string) =>
      tell('reply.delta', { messageId: 'r', attempt, offset, text });
    said(1, 0, 'Grü');
    said(1, 0, 'Grüß');
    said(1, 4, 'ß dich');
    tell('reply.started', { messageId: 'r', attempt: 1 });
    said(1, 0, 'Grü');
    said(1, 4, 'ß dich');
    expect(session.state.get().reply?.text).toBe('Grüß dich');
    expect(session.state.get().messages.at(-1)).toMatchObject({ status: 'streaming', content: 'Grüß dich', seq: null });
    tell('reply.started', { messageId: 'r', attempt: 2 });
    expect(session.state.get().reply?.text).toBe('');
    said(1, 0, 'late');
    expect(session.state.get().reply?.text).toBe('');
    session.take({ ...created(2), data: message(2, { id: 'r', role: 'assistant', content: 'Hallo' }) } as ChatEvent);
    tell('reply.ended', { messageId: 'r', attempt: 2, state: 'completed' });
    said(2, 0, 'late');
    tell('reply.started', { messageId: 'r', attempt: 2 });
    await vi.advanceTimersByTimeAsync(0);
    expect(session.state.get().reply).toBeNull();
    expect(session.state.get().messages).toHaveLength(2);
  });

  test('knows that a model thinks, and what, until its first word or its next attempt', async () => {
    const { session, changes } = await opened(1);
    changes.mockResolvedValue({ messages: [], seq: 1, hasMore: false });
    const tell = (type: string, data: object) => session.take({ type, chatId: 'chat', data } as unknown as ChatEvent);
    const running = () => session.state.get().reply;
    const shown = () => session.state.get().messages.at(-1);
    tell('reply.started', { messageId: 'r', attempt: 1 });
    expect(running()).toMatchObject({ isThinking: false });
    tell('reply.reasoning', { messageId: 'r', attempt: 1 });
    expect(running()).toMatchObject({ isThinking: true, text: '' });
    expect(running()).not.toHaveProperty('reasoning');
    expect(shown()).toMatchObject({ status: 'streaming', isThinking: true, content: '' });
    // Heard from two sources, each piece once.
    for (const [offset, text] of [
      [0, 'Hm'],
      [0, 'Hm, grü'],
      [4, 'grün'],
    ] as const)
      tell('reply.reasoning', { messageId: 'r', attempt: 1, offset, text });
    expect(running()).toMatchObject({ isThinking: true, reasoning: 'Hm, grün' });
    tell('reply.delta', { messageId: 'r', attempt: 1, offset: 0, text: 'Green' });
    expect(running()).toMatchObject({ isThinking: false, reasoning: 'Hm, grün', text: 'Green' });
    expect(shown()).toMatchObject({ isThinking: false, reasoning: 'Hm, grün', content: 'Green' });
    tell('reply.started', { messageId: 'r', attempt: 2 });
    expect(running()).toMatchObject({ isThinking: false, text: '' });
    expect(running()).not.toHaveProperty('reasoning');
    tell('reply.reasoning', { messageId: 'r', attempt: 1, offset: 9, text: ' late' });
    expect(running()).toMatchObject({ isThinking: false });
  });

  test('loads that a model thinks, and what it has thought', async () => {
    const { session } = await opened(1);
    const reply = { messageId: 'r', attempt: 1, state: 'streaming', text: '', isThinking: true, reasoning: 'Hm' };
    session.compare(chatOf(1, { reply } as object));
    expect(session.state.get().reply).toMatchObject({ isThinking: true, reasoning: 'Hm' });
    session.take({
      type: 'reply.reasoning',
      chatId: 'chat',
      data: { messageId: 'r', attempt: 1, offset: 2, text: ', so' },
    } as unknown as ChatEvent);
    expect(session.state.get().reply).toMatchObject({ reasoning: 'Hm, so' });
  });

  test('takes what is told late of one attempt for nothing of the next', async () => {
    const { session, changes } = await opened(1);
    changes.mockResolvedValue({ messages: [], seq: 2, hasMore: false });
    const tell = (type: string, data: object) => session.take({ type, chatId: 'chat', data } as unknown as ChatEvent);
    const isWritten = () => session.state.get().reply?.state === 'streaming';
    tell('reply.delta', { messageId: 'm1', attempt: 1, offset: 0, text: 'It has its message.' });
    expect(isWritten()).toBe(false);
    tell('reply.started', { messageId: 'r', attempt: 1 });
    tell('reply.started', { messageId: 'r', attempt: 2 });
    tell('reply.delta', { messageId: 'r', attempt: 2, offset: 0, text: 'Good' });
    session.take({ ...created(2), data: message(2, { id: 'r', role: 'assistant', content: 'Hel' }) } as ChatEvent);
    tell('reply.delta', { messageId: 'r', attempt: 1, offset: 3, text: 'lo there' });
    tell('reply.ended', { messageId: 'r', attempt: 1, state: 'stopped' });
    session.compare(chatOf(2, { reply: { messageId: 'r', attempt: 1, state: 'queued', text: '', isThinking: false } }));
    await session.sync();
    expect(session.state.get().reply).toEqual({
      messageId: 'r',
      attempt: 2,
      state: 'streaming',
      text: 'Good',
      isThinking: false,
    });
    tell('reply.ended', { messageId: 'r', attempt: 2, state: 'stopped' });
    expect(isWritten()).toBe(false);
    await vi.advanceTimersByTimeAsync(0);
    expect(session.state.get().reply).toBeNull();

    // Stopped before it began, and asked for again.
    tell('reply.ended', { messageId: 'later', attempt: 0, state: 'stopped' });
    tell('reply.started', { messageId: 'later', attempt: 1 });
    expect(isWritten()).toBe(true);
  });

  test('leaves an answer alone that is written again while it still reads how the one before ended', async () => {
    const messages = [message(1), message(2, { id: 'r', role: 'assistant', content: 'Hel' })];
    let answer = (_nothing: unknown) => {};
    const changes = vi.fn(() => new Promise((resolve) => (answer = resolve)));
    const reply = { messageId: 'r', attempt: 1, state: 'streaming', text: '' };
    const api = {
      ...overNetwork(new SimulatedServer(), new Random(1), 0),
      openChat: async () => ({ chat: chatOf(1, { reply } as object), messages: messages.slice(0, 1), hasMore: false }),
      joinReply: vi
        .fn()
        .mockResolvedValueOnce(new Response(null, { status: 204 }))
        .mockReturnValue(new Promise(() => {})),
      changes,
    };
    const session = new ChatSession('chat', hostOf(api as unknown as ChatHost['api']));
    await session.open();
    await vi.waitFor(() => expect(changes).toHaveBeenCalled());
    session.take({ ...created(2), data: messages[1] } as ChatEvent);
    session.take({ type: 'reply.started', chatId: 'chat', data: { messageId: 'r', attempt: 2 } });
    answer({ messages: [], seq: 2, hasMore: false });
    await vi.advanceTimersByTimeAsync(0);
    expect(session.state.get().reply).toMatchObject({ messageId: 'r', attempt: 2 });
    session.close();
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
