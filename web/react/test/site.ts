import {
  BacktalkClient,
  type BacktalkOptions,
  type Chat,
  type ChatEvent,
  type Fetch,
  type Message,
} from '@backtalk/client';
import { chatOf, message } from '../../client/test/server.js';

export const ME = 'anna';

const problem = (status: number, title: string, detail = title) =>
  Response.json({ type: title.toLowerCase(), title, status, detail }, { status });

/** The server's routes in memory, behind `fetch`: all of the client above it is the real one. */
export class Site {
  /** What was asked, as `GET /api/chat`. */
  readonly asked: string[] = [];
  readonly bodies: unknown[] = [];
  readonly chats = new Map<string, { chat: Chat; messages: Message[] }>();
  /** Which chat is a post's. */
  readonly posts = new Map<string, string>();
  /** The notices of tasks that are unread. */
  readonly notices = new Map<string, { id: string; content: string; read: boolean }[]>();
  /** Whether chats may be opened. */
  isClosed = false;
  /** Why sending is refused. */
  refuses: string | null = null;
  pageSize = 100;
  readonly #streams = new Set<ReadableStreamDefaultController<unknown>>();

  client(options: Partial<BacktalkOptions> = {}): BacktalkClient {
    const token = `x.${btoa(JSON.stringify({ sub: ME }))}.x`;
    return new BacktalkClient({
      baseUrl: 'http://site',
      token,
      fetch: this.fetch,
      transports: ['sse', 'polling'],
      ...options,
    });
  }

  add(id: string, change: Partial<Chat> = {}, texts: readonly string[] = []): void {
    const messages = texts.map((content, index) =>
      message(index + 1, { id: `${id}-${index + 1}`, chatId: id, content }),
    );
    const members = [ME, 'ben'].map((userId) => ({
      userId,
      name: userId === ME ? 'Anna' : 'Ben',
      image: null,
      role: 'member' as const,
      readSeq: 0,
      readAt: null,
      deliveredSeq: 0,
      lastSeenAt: null,
      online: false,
    }));
    const chat = chatOf(messages.length, { id, members, lastMessage: messages.at(-1) ?? null, ...change });
    this.chats.set(id, { chat, messages });
  }

  /** Ben says something, and everybody hears of it. */
  say(chatId: string, content: string, change: Partial<Message> = {}): Message {
    const said = this.#store(chatId, content, change);
    this.tell({ type: 'message.created', chatId, seq: said.seq, data: said });
    return said;
  }

  tell(event: ChatEvent): void {
    const text = `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
    for (const stream of this.#streams) stream.enqueue(new TextEncoder().encode(text));
  }

  /** As when the server goes. */
  endStreams(): void {
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
  }

  /** How many hear events now. */
  get listeners(): number {
    return this.#streams.size;
  }

  count(asked: string): number {
    return this.asked.filter((one) => one === asked).length;
  }

  #store(chatId: string, content: string, change: Partial<Message>): Message {
    const kept = this.chats.get(chatId);
    if (!kept) throw new Error(`no chat ${chatId}`);
    const seq = kept.chat.lastSeq + 1;
    const said = message(seq, { id: `${chatId}-${seq}`, chatId, content, ...change });
    kept.messages.push(said);
    const unreadCount = said.senderId === ME ? kept.chat.unreadCount : kept.chat.unreadCount + 1;
    kept.chat = { ...kept.chat, lastSeq: seq, lastMessage: said, lastMessageAt: said.createdAt, unreadCount };
    return said;
  }

  readonly fetch: Fetch = async (url, init = {}) => {
    const { pathname, searchParams } = new URL(url);
    const method = init.method ?? 'GET';
    this.asked.push(`${method} ${pathname}`);
    const body = typeof init.body === 'string' ? JSON.parse(init.body) : null;
    if (body) this.bodies.push(body);
    const answer = this.#answer(method, pathname, searchParams, body, init.signal ?? null);
    const isKnown = answer.headers.get('etag') === new Headers(init.headers).get('if-none-match');
    return isKnown && answer.headers.has('etag') ? new Response(null, { status: 304 }) : answer;
  };

  #answer(
    method: string,
    path: string,
    query: URLSearchParams,
    // biome-ignore lint/suspicious/noExplicitAny: of many shapes
    body: any,
    signal: AbortSignal | null,
  ): Response {
    const [, , noun = '', id = '', part = ''] = path.split('/');
    const empty = () => new Response(null, { status: 204 });
    if (path === '/api/chat/stream') return this.#stream(signal);
    if (path === '/api/me') return Response.json({ user: { id: ME, name: 'Anna', image: null }, unreadTotal: 0 });
    if (path === '/api/me/presence') return empty();
    if (noun === 'chat-messages') return this.#noticeRoutes(id, body);
    if (noun === 'posts') {
      if (part === 'follow-up') return Response.json({}, { status: 202 });
      const chatId = this.posts.get(id);
      return chatId ? Response.json({ post: { id, chatId, content: '' } }) : problem(404, 'not-found');
    }
    if (noun === 'attachments') {
      const attachment = { type: 'image', url: 's3://bucket/key', fileName: body.fileName };
      const upload = { method: 'PUT', url: 'https://bucket/key', headers: {} };
      return Response.json({ attachment, upload }, { status: 201 });
    }
    if (path === '/api/chat' && method === 'POST') {
      if (body.members?.[0] === 'nobody') return problem(404, 'not-found', 'There is no such person.');
      this.add('started', { kind: body.kind });
      return Response.json({ chat: this.chats.get('started')?.chat }, { status: 201 });
    }
    if (path === '/api/chat') {
      const kind = query.get('kind');
      const all = [...this.chats.values()].map(({ chat }) => chat).filter((chat) => !kind || chat.kind === kind);
      const from = Number(query.get('cursor') ?? 0);
      const end = from + this.pageSize;
      const chats = all.slice(from, end);
      return Response.json({ chats, total: all.length, nextCursor: end < all.length ? String(end) : null });
    }
    if (this.isClosed) return problem(403, 'forbidden', 'Your subscription has ended.');
    const kept = this.chats.get(id);
    if (!kept) return problem(404, 'not-found');
    if (part === '') return Response.json({ chat: kept.chat, messages: kept.messages, hasMore: false });
    if (part === 'read') {
      kept.chat = { ...kept.chat, readSeq: body.seq ?? kept.chat.readSeq, unreadCount: 0 };
      return Response.json({ userId: ME, readSeq: kept.chat.readSeq, readAt: null, deliveredSeq: 0, unreadCount: 0 });
    }
    if (part === 'stop') return Response.json({ stopped: [] });
    if (part === 'messages' && method === 'POST') {
      if (this.refuses) return problem(422, 'message-refused', this.refuses);
      const said = this.#store(id, body.content ?? '', {
        senderId: ME,
        clientId: body.clientId,
        attachments: body.attachments ?? [],
        replyTo: body.replyTo ?? null,
      });
      return Response.json({ message: said, reply: null, pusherSent: null }, { status: 201 });
    }
    if (part === 'messages' && method === 'GET' && !path.endsWith('/stream')) {
      const after = Number(query.get('changedAfter') ?? 0);
      const messages = kept.messages.filter((one) => one.changedSeq > after);
      return Response.json({ messages, seq: kept.chat.lastSeq, hasMore: false, chat: kept.chat });
    }
    return empty();
  }

  #noticeRoutes(id: string, body: { messageIds: string[] } | null): Response {
    const shown = (taskId: string) =>
      (this.notices.get(taskId) ?? []).map((notice) => ({ ...notice, type: 'INFO', taskId, chatId: taskId, seq: 1 }));
    if (id === 'mark-read') {
      const all = [...this.notices.values()].flat().filter((notice) => body?.messageIds.includes(notice.id));
      for (const notice of all) notice.read = true;
      return Response.json({ success: true, markedCount: all.length });
    }
    if (id !== '') return Response.json({ taskId: id, messages: shown(id), count: shown(id).length });
    const messages = [...this.notices.keys()].flatMap(shown).filter((notice) => !notice.read);
    const seqs = [...this.chats.values()].map(({ chat }) => `${chat.lastSeq}.${chat.readSeq}`);
    const etag = `"${[...seqs, messages.length].join('-')}"`;
    const page = { messages, total: messages.length, hasMore: false, pollAfterMs: 2000 };
    return Response.json(page, { headers: { etag } });
  }

  #stream(signal: AbortSignal | null): Response {
    let mine: ReadableStreamDefaultController<unknown>;
    const leave = () => void this.#streams.delete(mine);
    const stream = new ReadableStream({
      start: (controller: ReadableStreamDefaultController<unknown>) => {
        mine = controller;
        this.#streams.add(controller);
        controller.enqueue(new TextEncoder().encode('id: 1\nevent: ready\ndata: {}\n\n'));
      },
      cancel: leave,
    });
    signal?.addEventListener('abort', () => {
      if (this.#streams.has(mine)) mine.error(new DOMException('left', 'AbortError'));
      leave();
    });
    return new Response(stream);
  }
}
