// @vitest-environment jsdom

import type { BacktalkClient, Chat } from '@backtalk/client';
import { act, renderHook, waitFor } from '@testing-library/react';
import { type ReactNode, StrictMode } from 'react';
import { afterEach, expect, test, vi } from 'vitest';
import {
  ChatProvider,
  useChat,
  useChats,
  useFollowUp,
  useNotices,
  usePresence,
  useStartChat,
  useUnread,
} from '../src/index.js';
import './setup.js';
import { Site } from './site.js';

afterEach(() => void vi.useRealTimers());

const within =
  (client: BacktalkClient) =>
  ({ children }: { children: ReactNode }) => <ChatProvider client={client}>{children}</ChatProvider>;

const withChat = (change: Partial<Chat> = {}) => {
  const site = new Site();
  site.add('c', { kind: 'direct', ...change }, ['hello']);
  return site;
};

const contents = (messages: readonly { content: string; status: string }[]) =>
  messages.map(({ content, status }) => `${content} (${status})`);

test('useChat shows a chat, says when it has it, and by which way it hears of more', async () => {
  const site = withChat();
  const { result } = renderHook(() => useChat('c'), { wrapper: within(site.client()) });
  expect(result.current).toMatchObject({ isLoading: true, isConnected: false, transport: null, messages: [] });
  await waitFor(() => expect(result.current.isConnected).toBe(true));
  await waitFor(() => expect(contents(result.current.messages)).toEqual(['hello (sent)']));
  expect(result.current).toMatchObject({ isLoading: false, transport: 'sse', chatId: 'c', seq: 1, isGone: false });
  act(() => void site.say('c', 'again'));
  await waitFor(() => expect(contents(result.current.messages)).toEqual(['hello (sent)', 'again (sent)']));
});

test('useChat sends at once, marks what was refused, and tries it again under the same key', async () => {
  const site = withChat();
  const { result } = renderHook(() => useChat('c'), { wrapper: within(site.client()) });
  await waitFor(() => expect(result.current.isLoading).toBe(false));
  site.refuses = 'Be kind.';
  let clientId = '';
  act(() => {
    clientId = result.current.send('rude');
  });
  expect(contents(result.current.messages)).toEqual(['hello (sent)', 'rude (sending)']);
  const key = result.current.messages[1]?.key;
  await waitFor(() => expect(result.current.messages[1]).toMatchObject({ status: 'failed', error: 'Be kind.', key }));
  site.refuses = null;
  act(() => result.current.retry(clientId));
  await waitFor(() => expect(result.current.messages[1]).toMatchObject({ status: 'sent', key }));
  expect(site.chats.get('c')?.messages).toHaveLength(2);
});

test('useChat says who types, and that an answer is being written, which can be stopped', async () => {
  const site = withChat({ kind: 'assistant' });
  const { result } = renderHook(() => useChat('c'), { wrapper: within(site.client()) });
  await waitFor(() => expect(result.current.isConnected).toBe(true));
  await waitFor(() => expect(result.current.isLoading).toBe(false));
  expect(result.current.isTyping).toBe(false);
  act(() => site.tell({ type: 'typing', chatId: 'c', data: { userId: 'ben', isTyping: true } }));
  await waitFor(() => expect(result.current.typingUsers).toEqual(['ben']));
  expect(result.current).toMatchObject({ isTyping: true, isAnswering: false });
  act(() => site.tell({ type: 'typing', chatId: 'c', data: { userId: 'ben', isTyping: false } }));
  await waitFor(() => expect(result.current.isTyping).toBe(false));
  act(() => site.tell({ type: 'reply.started', chatId: 'c', data: { messageId: 'r', attempt: 1 } }));
  await waitFor(() => expect(result.current).toMatchObject({ isAnswering: true, isThinking: false }));
  act(() => site.tell({ type: 'reply.reasoning', chatId: 'c', data: { messageId: 'r', attempt: 1 } }));
  await waitFor(() => expect(result.current).toMatchObject({ isAnswering: true, isThinking: true }));
  act(() =>
    site.tell({ type: 'reply.delta', chatId: 'c', data: { messageId: 'r', attempt: 1, offset: 0, text: 'Well' } }),
  );
  await waitFor(() => expect(contents(result.current.messages).at(-1)).toBe('Well (streaming)'));
  expect(result.current).toMatchObject({ isTyping: true, isAnswering: true, isThinking: false });
  await act(() => result.current.stop());
  expect(site.count('POST /api/chat/c/stop')).toBe(1);
});

test('useChat finds the chat of a post by the id of the post', async () => {
  const site = new Site();
  site.add('chat-of-post', { kind: 'post' }, ['Welcome']);
  site.posts.set('post-1', 'chat-of-post');
  const { result } = renderHook(() => useChat('post-1'), { wrapper: within(site.client()) });
  await waitFor(() => expect(contents(result.current.messages)).toEqual(['Welcome (sent)']));
  expect(result.current).toMatchObject({ chatId: 'chat-of-post', isGone: false });
});

test('useChat says that a chat is gone, once it is known to be no post either', async () => {
  const site = new Site();
  const seen: boolean[] = [];
  const { result } = renderHook(
    () => {
      const chat = useChat('nowhere');
      seen.push(chat.isGone && !site.asked.includes('GET /api/posts/nowhere'));
      return chat;
    },
    { wrapper: within(site.client()) },
  );
  await waitFor(() => expect(result.current.isGone).toBe(true));
  expect(seen).not.toContain(true);
});

test('useChats lists, by kind, and page by page', async () => {
  const site = new Site();
  site.pageSize = 2;
  for (const id of ['one', 'two', 'three']) site.add(id, { kind: 'channel' });
  site.add('direct', { kind: 'direct' });
  const wrapper = within(site.client());
  const all = renderHook(() => useChats(), { wrapper });
  await waitFor(() => expect(all.result.current.chats).toHaveLength(2));
  expect(all.result.current).toMatchObject({ total: 4, hasMore: true, isLoading: false });
  await act(() => all.result.current.loadMore());
  await waitFor(() => expect(all.result.current.chats).toHaveLength(4));
  expect(all.result.current.hasMore).toBe(false);
  const direct = renderHook(() => useChats({ kind: 'direct' }), { wrapper });
  await waitFor(() => expect(direct.result.current.chats.map(({ id }) => id)).toEqual(['direct']));
});

test('useUnread: of many badges each shows its own number, and together they ask no more than one', async () => {
  vi.useFakeTimers();
  const pass = () => act(() => vi.advanceTimersByTimeAsync(5000));
  const askedBy = async (badges: number) => {
    const site = new Site();
    site.add('muted', { kind: 'channel', muted: true, unreadCount: 9, unreadMentions: 1 });
    site.add('direct', { kind: 'direct', unreadCount: 2 });
    const show = () => [useUnread(), useUnread({ kind: 'direct' }), useUnread({ chatId: 'muted' })];
    const { result, unmount } = renderHook(() => Array.from({ length: badges }, show), {
      wrapper: within(site.client()),
    });
    await pass();
    expect(result.current).toEqual(Array.from({ length: badges }, () => [3, 2, 1]));
    act(() => void site.say('direct', 'one more'));
    await pass();
    expect(result.current).toEqual(Array.from({ length: badges }, () => [4, 3, 1]));
    unmount();
    return site.asked;
  };
  const one = await askedBy(1);
  expect(one).toContain('GET /api/chat');
  expect(await askedBy(12)).toEqual(one);
});

test('useStartChat opens the chat with a person, and says why it cannot', async () => {
  const site = new Site();
  const started = vi.fn();
  const { result } = renderHook(() => useStartChat(started), { wrapper: within(site.client()) });
  await act(async () => void (await result.current.startChat('ben')));
  expect(started).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ id: 'started', kind: 'direct' }));
  expect(result.current).toMatchObject({ isLoading: false, error: null });
  let answer: Chat | null | undefined;
  await act(async () => {
    answer = await result.current.startChat('nobody');
  });
  expect(answer).toBeNull();
  expect(result.current.error?.message).toBe('There is no such person.');
  expect(started).toHaveBeenCalledTimes(1);
});

test('usePresence says who is here, once anything is known of them', async () => {
  const site = withChat();
  const { result } = renderHook(() => [usePresence('ben'), usePresence('cleo'), usePresence(undefined)], {
    wrapper: within(site.client()),
  });
  await waitFor(() => expect(result.current).toEqual([{ online: false, lastSeenAt: null }, null, null]));
  await waitFor(() => expect(site.listeners).toBe(1));
  const lastSeenAt = '2026-11-21T11:00:00Z';
  act(() => site.tell({ type: 'presence', chatId: 'c', data: { userId: 'ben', online: true, lastSeenAt } }));
  await waitFor(() => expect(result.current[0]?.online).toBe(true));
  act(() => site.tell({ type: 'presence', chatId: 'c', data: { userId: 'ben', online: false, lastSeenAt } }));
  await waitFor(() => expect(result.current[0]).toEqual({ online: false, lastSeenAt }));
});

test('useNotices lists those of a task, or all that are unread, and marks them one by one', async () => {
  const site = new Site();
  site.notices.set('t1', [
    { id: 'a', content: 'Begun.', read: false },
    { id: 'b', content: 'Done.', read: false },
  ]);
  site.notices.set('t2', [{ id: 'c', content: 'Which room?', read: false }]);
  const { result } = renderHook(() => [useNotices('t1'), useNotices()] as const, { wrapper: within(site.client()) });
  const ids = () => result.current.map(({ notices }) => notices.map(({ id }) => id));
  await waitFor(() =>
    expect(ids()).toEqual([
      ['a', 'b'],
      ['a', 'b', 'c'],
    ]),
  );
  await act(() => result.current[1].markRead(['b']));
  await waitFor(() =>
    expect(ids()).toEqual([
      ['a', 'b'],
      ['a', 'c'],
    ]),
  );
});

test('useFollowUp asks once the text has rested for two seconds, and about the last of it', async () => {
  const site = new Site();
  const client = site.client();
  vi.useFakeTimers();
  const { result, unmount } = renderHook(() => useFollowUp('p'), { wrapper: within(client) });
  const asked = () => site.count('POST /api/posts/p/follow-up');
  const type = (text: string) => act(() => result.current.followUp(text));
  type('Ten letter');
  await vi.advanceTimersByTimeAsync(5000);
  expect(asked()).toBe(0);
  type('A text of some length');
  await vi.advanceTimersByTimeAsync(1999);
  type('A text of some length, and more');
  await vi.advanceTimersByTimeAsync(1999);
  expect(asked()).toBe(0);
  await vi.advanceTimersByTimeAsync(1);
  expect(asked()).toBe(1);
  expect(site.bodies).toContainEqual({ postContent: 'A text of some length, and more', trigger: 'edit' });
  type('A text that its writer leaves');
  unmount();
  await vi.advanceTimersByTimeAsync(5000);
  expect(asked()).toBe(1);
});

test('in StrictMode, which mounts everything twice, there is one connection, and one reading of the chat', async () => {
  const site = withChat();
  const client = site.client();
  const wrapper = ({ children }: { children: ReactNode }) => (
    <StrictMode>
      <ChatProvider client={client}>{children}</ChatProvider>
    </StrictMode>
  );
  const { result } = renderHook(() => useChat('c'), { wrapper });
  await waitFor(() => expect(result.current.isConnected).toBe(true));
  await waitFor(() => expect(result.current.isLoading).toBe(false));
  expect(site.listeners).toBe(1);
  expect(site.count('GET /api/chat/stream')).toBe(1);
  expect(site.count('GET /api/chat/c')).toBe(1);
});

test('what leaves the page leaves nothing behind: no connection, no question, and it can come back', async () => {
  const site = withChat();
  const client = site.client();
  const first = renderHook(() => [useChat('c'), useChats(), useUnread(), useNotices()], { wrapper: within(client) });
  await waitFor(() => expect(site.listeners).toBe(1));
  vi.useFakeTimers();
  first.unmount();
  await vi.advanceTimersByTimeAsync(1);
  expect(site.listeners).toBe(0);
  const asked = site.asked.length;
  window.dispatchEvent(new Event('online'));
  document.dispatchEvent(new Event('visibilitychange'));
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  expect(site.asked.slice(asked)).toEqual([]);
  vi.useRealTimers();
  const again = renderHook(() => useChat('c'), { wrapper: within(client) });
  await waitFor(() => expect(again.result.current.isConnected).toBe(true));
  act(() => void site.say('c', 'welcome back'));
  await waitFor(() => expect(contents(again.result.current.messages).at(-1)).toBe('welcome back (sent)'));
  expect(site.listeners).toBe(1);
});

test('a chat that nobody looks at any more is not asked for', async () => {
  vi.useFakeTimers();
  const site = withChat();
  // Beyond the first page of the list, which would tell of it.
  site.add('other', { kind: 'direct' }, ['there']);
  site.pageSize = 1;
  const pass = () => act(() => vi.advanceTimersByTimeAsync(5000));
  const { result, rerender } = renderHook(({ id }) => useChat(id), {
    wrapper: within(site.client()),
    initialProps: { id: 'other' },
  });
  await pass();
  expect(contents(result.current.messages)).toEqual(['there (sent)']);
  const askedBy = async (happen: () => void) => {
    const before = site.asked.length;
    happen();
    await pass();
    return site.asked.slice(before);
  };
  const wake = () => void window.dispatchEvent(new Event('online'));
  expect(await askedBy(wake)).toContain('GET /api/chat/other/messages');
  rerender({ id: 'c' });
  await pass();
  expect(contents(result.current.messages)).toEqual(['hello (sent)']);
  expect(await askedBy(wake)).not.toContain('GET /api/chat/other/messages');
});
