// @vitest-environment jsdom

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BacktalkClient } from '@backtalk/client';
import { act, fireEvent, render, screen, waitFor, within } from '@testing-library/react';
import { type ReactElement, useState } from 'react';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ChatButton, ChatInterface, ChatList, ChatPanel, ChatProvider, Identicon, PostEditor } from '../src/index.js';
import './setup.js';
import { ME, Site } from './site.js';

afterEach(() => void vi.useRealTimers());

const show = (client: BacktalkClient, element: ReactElement) =>
  render(<ChatProvider client={client}>{element}</ChatProvider>);

const direct = { kind: 'direct', user: { id: 'ben', name: 'Ben', image: null } } as const;

const bubbles = () =>
  within(screen.getByRole('list', { name: 'Messages' }))
    .getAllByRole('listitem')
    .map((item) => item.querySelector('.bt-bubble')?.textContent);

const composer = () => screen.getByRole<HTMLTextAreaElement>('textbox', { name: 'Write a message' });

test('ChatInterface lists the chats, opens the one that is chosen, and goes back', async () => {
  const site = new Site();
  site.add('c', { ...direct, unreadCount: 120 }, ['hello']);
  site.add('all', { kind: 'channel', title: 'Everybody' }, ['welcome']);
  show(site.client(), <ChatInterface />);
  const entry = await screen.findByRole('button', { name: /Ben.*hello.*99\+ ?unread/s });
  expect(entry.getAttribute('aria-current')).toBeNull();
  expect(screen.getByText('Choose a chat.')).toBeDefined();
  fireEvent.click(entry);
  await waitFor(() => expect(bubbles()).toEqual(['hello']));
  expect(entry.getAttribute('aria-current')).toBe('true');
  // What is looked at is read.
  await waitFor(() => expect(entry.textContent).not.toContain('unread'));
  fireEvent.click(screen.getByRole('button', { name: 'Back to chats' }));
  expect(screen.getByText('Choose a chat.')).toBeDefined();
});

test('ChatList says that there is nothing, that it loads, and which are chosen by its filter', async () => {
  const site = new Site();
  const chosen = vi.fn();
  const { unmount } = show(site.client(), <ChatList onSelect={chosen} />);
  expect(screen.getByText('Loading…')).toBeDefined();
  await screen.findByText('No chats yet.');
  unmount();
  site.add('c', direct, ['hello']);
  site.add('all', { kind: 'channel', title: 'Everybody' }, []);
  show(site.client(), <ChatList onSelect={chosen} filter={(chat) => chat.kind === 'channel'} />);
  fireEvent.click(await screen.findByRole('button', { name: /Everybody/ }));
  expect(chosen).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ id: 'all' }));
  expect(screen.queryByRole('button', { name: /Ben/ })).toBeNull();
});

test('ChatPanel sends by Enter, breaks lines by Shift and Enter, and leaves Enter to who composes a word', async () => {
  const site = new Site();
  site.add('c', direct, ['hello']);
  show(site.client(), <ChatPanel id="c" />);
  await waitFor(() => expect(bubbles()).toEqual(['hello']));
  fireEvent.change(composer(), { target: { value: '  one\ntwo  ' } });
  fireEvent.keyDown(composer(), { key: 'Enter', shiftKey: true });
  fireEvent.keyDown(composer(), { key: 'Enter', isComposing: true });
  expect(composer().value).toBe('  one\ntwo  ');
  fireEvent.keyDown(composer(), { key: 'Enter' });
  expect(composer().value).toBe('');
  await waitFor(() => expect(bubbles()).toEqual(['hello', 'one\ntwo']));
  await screen.findByText('Sent');
  expect(site.chats.get('c')?.messages.at(-1)?.content).toBe('one\ntwo');
  fireEvent.keyDown(composer(), { key: 'Enter' });
  expect(bubbles()).toHaveLength(2);
});

test('ChatPanel sends an image without words, and shows it without an empty bubble', async () => {
  vi.stubGlobal('fetch', async () => new Response(null));
  const site = new Site();
  site.add('c', direct, ['hello']);
  const { unmount } = show(site.client(), <ChatPanel id="c" />);
  await waitFor(() => expect(bubbles()).toEqual(['hello']));
  const [send] = screen.getAllByRole<HTMLButtonElement>('button', { name: 'Send' });
  expect(send?.disabled).toBe(true);
  const file = new File(['bytes'], 'a.png', { type: 'image/png' });
  fireEvent.change(screen.getByLabelText('Images'), { target: { files: [file] } });
  await waitFor(() => expect(send?.disabled).toBe(false));
  fireEvent.click(send as HTMLButtonElement);
  await screen.findByText('Sent');
  const sent = site.chats.get('c')?.messages.at(-1);
  expect(sent).toMatchObject({ content: '', attachments: [{ url: 's3://bucket/key' }] });
  expect(document.querySelectorAll('.bt-bubble')).toHaveLength(1);
  // Where it is spoken of, it has a word.
  unmount();
  const replyPreview = { id: sent?.id ?? '', senderId: ME, role: 'user' as const, content: '', deletedAt: null };
  site.say('c', 'nice', { replyTo: sent?.id ?? null, replyPreview });
  show(site.client(), <ChatPanel id="c" />);
  await waitFor(() => expect(document.querySelector('blockquote')?.textContent).toBe('Image'));
  vi.unstubAllGlobals();
});

test('ChatPanel says why a message was not sent, and offers to try again and to give it up', async () => {
  const site = new Site();
  site.add('c', direct, ['hello']);
  site.refuses = 'Be kind.';
  show(site.client(), <ChatPanel id="c" />);
  await waitFor(() => expect(bubbles()).toEqual(['hello']));
  fireEvent.change(composer(), { target: { value: 'rude' } });
  fireEvent.keyDown(composer(), { key: 'Enter' });
  expect((await screen.findByRole('alert')).textContent).toContain('Not sent: Be kind.');
  site.refuses = null;
  fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
  await waitFor(() => expect(screen.queryByRole('alert')).toBeNull());
  await screen.findByText('Sent');
  site.refuses = 'No.';
  fireEvent.change(composer(), { target: { value: 'worse' } });
  fireEvent.keyDown(composer(), { key: 'Enter' });
  fireEvent.click(await screen.findByRole('button', { name: 'Discard' }));
  await waitFor(() => expect(bubbles()).toEqual(['hello', 'rude']));
});

test('ChatPanel says what others have said, once, and whole: not what was there, nor what one says oneself', async () => {
  const site = new Site();
  site.add('c', direct, ['hello']);
  show(site.client(), <ChatPanel id="c" />);
  const said = () => screen.getByRole('log').textContent;
  await waitFor(() => expect(bubbles()).toEqual(['hello']));
  await waitFor(() => expect(site.listeners).toBe(1));
  expect(said()).toBe('');
  act(() => void site.say('c', 'my own words', { senderId: ME, clientId: 'elsewhere' }));
  await waitFor(() => expect(bubbles()).toHaveLength(2));
  expect(said()).toBe('');
  act(() => void site.say('c', 'are you there?'));
  await waitFor(() => expect(said()).toBe('Ben: are you there?'));
});

test('ChatPanel says that the assistant thinks, shows what it thought, and what it did not see', async () => {
  const site = new Site();
  site.add('c', { kind: 'assistant' }, ['hello']);
  show(site.client(), <ChatPanel id="c" />);
  await waitFor(() => expect(bubbles()).toEqual(['hello']));
  const tell = (type: string, data: object) => act(() => site.tell({ type, chatId: 'c', data } as never));
  tell('reply.started', { messageId: 'r', attempt: 1 });
  await screen.findByRole('img', { name: 'writing' });
  tell('reply.reasoning', { messageId: 'r', attempt: 1 });
  await screen.findByRole('img', { name: 'thinking' });
  expect(screen.getByText('Thinking…')).toBeDefined();
  // For who hears the page, once.
  expect(screen.getByText('The assistant is thinking').closest('[aria-live="polite"]')).not.toBeNull();
  tell('reply.reasoning', { messageId: 'r', attempt: 1, offset: 0, text: 'A harbour.' });
  await screen.findByText('What it thinks');
  tell('reply.delta', { messageId: 'r', attempt: 1, offset: 0, text: 'Ships' });
  await waitFor(() => expect(screen.queryByText('Thinking…')).toBeNull());
  expect(screen.queryByText('The assistant is thinking')).toBeNull();
  expect(screen.getByText('What it thought')).toBeDefined();
  act(() => {
    site.say('c', 'Ships.', {
      id: 'r',
      role: 'assistant',
      senderId: null,
      reasoning: 'A harbour.',
      metadata: { omitted: ['images'] },
    });
  });
  tell('reply.ended', { messageId: 'r', attempt: 1, state: 'completed' });
  await screen.findByText(/Written without seeing an image/);
  expect(screen.getByText('A harbour.')).toBeDefined();
});

test('ChatPanel answers one message, which Escape gives up', async () => {
  const site = new Site();
  site.add('c', direct, ['hello', 'are you there?']);
  show(site.client(), <ChatPanel id="c" />);
  await waitFor(() => expect(bubbles()).toHaveLength(2));
  const reply = () => screen.getAllByRole('button', { name: 'Reply' })[0] as HTMLElement;
  fireEvent.change(composer(), { target: { value: 'Hello yourself' } });
  fireEvent.click(reply());
  expect(screen.getByText('Reply to Ben: hello')).toBeDefined();
  expect(document.activeElement).toBe(composer());
  fireEvent.keyDown(composer(), { key: 'Escape' });
  expect(screen.queryByText('Reply to Ben: hello')).toBeNull();
  expect(composer().value).toBe('Hello yourself');
  fireEvent.click(reply());
  fireEvent.keyDown(composer(), { key: 'Enter' });
  await screen.findByText('Sent');
  expect(screen.queryByText('Reply to Ben: hello')).toBeNull();
  const [first, , last] = site.chats.get('c')?.messages ?? [];
  expect(last).toMatchObject({ content: 'Hello yourself', replyTo: first?.id });
});

test('ChatPanel edits a message, and keeps what was being written meanwhile', async () => {
  const site = new Site();
  site.add('c', direct, []);
  site.say('c', 'helo', { senderId: ME, clientId: 'mine' });
  show(site.client(), <ChatPanel id="c" />);
  await waitFor(() => expect(bubbles()).toEqual(['helo']));
  fireEvent.change(composer(), { target: { value: 'a draft' } });
  fireEvent.click(screen.getByRole('button', { name: 'Edit' }));
  const editor = screen.getByRole<HTMLTextAreaElement>('textbox', { name: 'Edit the message' });
  expect([editor.value, document.activeElement]).toEqual(['helo', editor]);
  fireEvent.change(editor, { target: { value: 'hello' } });
  fireEvent.keyDown(editor, { key: 'Enter' });
  await waitFor(() => expect(site.bodies).toContainEqual({ content: 'hello' }));
  expect(composer().value).toBe('a draft');
});

test('what cannot be loaded says why, and that it is tried again where there is no network', async () => {
  const site = new Site();
  site.add('c', direct, ['hello']);
  site.isClosed = true;
  const { unmount } = show(site.client(), <ChatPanel id="c" />);
  await screen.findByText('Your subscription has ended.');
  unmount();
  const offline = () => Promise.reject(new TypeError('Failed to fetch'));
  show(
    site.client({ fetch: offline }),
    <>
      <ChatPanel id="c" />
      <ChatList onSelect={() => {}} />
    </>,
  );
  await waitFor(() => expect(screen.getAllByText('No connection. Trying again…')).toHaveLength(2));
});

test('ChatPanel says that a chat is not there', async () => {
  show(new Site().client(), <ChatPanel id="nowhere" />);
  await screen.findByText('This chat is not here any more.');
});

test('ChatButton opens the chat with a person, and says why it cannot', async () => {
  const site = new Site();
  const started = vi.fn();
  show(
    site.client(),
    <>
      <ChatButton userId="ben" onStarted={started} />
      <ChatButton userId="nobody">Write to nobody</ChatButton>
    </>,
  );
  fireEvent.click(screen.getByRole('button', { name: 'Message' }));
  await waitFor(() => expect(started).toHaveBeenCalledWith(expect.objectContaining({ id: 'started' })));
  fireEvent.click(screen.getByRole('button', { name: 'Write to nobody' }));
  expect((await screen.findByRole('alert')).textContent).toBe('There is no such person.');
});

test('PostEditor shows the chat of its post, and asks for a word once the text has rested', async () => {
  const site = new Site();
  site.add('chat-of-post', { kind: 'post' }, ['Welcome']);
  site.posts.set('p', 'chat-of-post');
  function Page() {
    const [text, setText] = useState('');
    return <PostEditor postId="p" value={text} onChange={setText} />;
  }
  show(site.client(), <Page />);
  await waitFor(() => expect(bubbles()).toEqual(['Welcome']));
  vi.useFakeTimers();
  const text = screen.getByRole<HTMLTextAreaElement>('textbox', { name: 'Post' });
  fireEvent.change(text, { target: { value: 'A post of some length' } });
  expect(text.value).toBe('A post of some length');
  await act(() => vi.advanceTimersByTimeAsync(2000));
  expect(site.bodies).toContainEqual({ postContent: 'A post of some length', trigger: 'edit' });
});

describe('Identicon', () => {
  const picture = (id: string) => render(<Identicon id={id} />).container.innerHTML;

  test('draws the same for the same id, everywhere, and another for another', () => {
    expect(picture('anna')).toBe(picture('anna'));
    expect(picture('anna')).toMatchInlineSnapshot(
      `"<svg class="bt-identicon" viewBox="0 0 7 7" width="36" height="36" aria-hidden="true" focusable="false"><rect width="7" height="7" fill="hsl(98 45% 90%)"></rect><path d="M1 2h1v1h-1zM5 2h1v1h-1zM1 4h1v1h-1zM5 4h1v1h-1zM1 5h1v1h-1zM5 5h1v1h-1zM2 1h1v1h-1zM4 1h1v1h-1zM2 4h1v1h-1zM4 4h1v1h-1zM3 1h1v1h-1zM3 3h1v1h-1zM3 4h1v1h-1zM3 5h1v1h-1z" fill="hsl(98 50% 42%)"></path></svg>"`,
    );
    const ids = Array.from({ length: 100 }, (_, index) => `person-${index}`);
    expect(new Set(ids.map(picture)).size).toBe(100);
  });

  test('is the picture that somebody has', () => {
    const { container } = render(<Identicon id="anna" image="https://site/anna.png" size={20} />);
    const image = container.querySelector('img');
    expect([image?.src, image?.width, image?.alt]).toEqual(['https://site/anna.png', 20, '']);
  });
});

describe('styles', () => {
  const css = readFileSync(join(import.meta.dirname, '../src/styles.css'), 'utf8');
  const block = (head: string) => {
    const from = css.indexOf(head);
    let depth = 0;
    for (let place = css.indexOf('{', from); place < css.length; place += 1) {
      if (css[place] === '{') depth += 1;
      if (css[place] === '}') depth -= 1;
      if (depth === 0) return css.slice(from, place);
    }
    throw new Error(`no ${head}`);
  };

  test('each colour is one for light and another for dark', () => {
    const colours = Array.from(block(':root').matchAll(/(--bt-[\w-]+): ([^;]*(?:#|light-dark)[^;]*);/g));
    expect(colours.length).toBeGreaterThan(8);
    for (const [, name, value = ''] of colours) {
      const [, light, dark] = /^light-dark\((.+), (.+)\)$/.exec(value) ?? [];
      expect(light, name).toBeDefined();
      expect(light, name).not.toBe(dark);
    }
    expect(css.replace(block(':root'), '')).not.toMatch(/#[0-9a-f]{3,8}\b/);
  });

  test('whatever moves rests where the system says so', () => {
    const reduced = block('@media (prefers-reduced-motion: reduce)');
    const moving = css.replace(reduced, '').matchAll(/([^{}]+)\{[^{}]*(?:animation|transition):[^{}]*\}/g);
    const selectors = Array.from(moving, ([, selector = '']) => selector.trim());
    expect(selectors.length).toBeGreaterThan(0);
    for (const selector of selectors) expect(reduced).toContain(selector);
  });
});
