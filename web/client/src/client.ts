import { Api } from './api.js';
import { Backoff } from './backoff.js';
import { type ChatHost, ChatSession } from './chat.js';
import { type ChatFilter, ChatList } from './chat-list.js';
import { Connection, type ConnectionState, type Listener } from './connection.js';
import { type Fetch, Http, type TokenProvider } from './http.js';
import { NoticeFeed } from './notices.js';
import { type Readable, Value } from './observable.js';
import { defaultOutbox, type OutboxStorage } from './outbox.js';
import { PollingTransport } from './polling-transport.js';
import { ApiError } from './problem.js';
import { type PusherSettings, PusherTransport } from './pusher-transport.js';
import { Sender } from './sender.js';
import { canStream } from './sse.js';
import { SseTransport } from './sse-transport.js';
import { canShare, Tabs } from './tabs.js';
import type { Transport, TransportName } from './transport.js';
import type { Chat, ChatEvent } from './types.js';

export interface BacktalkOptions {
  /** Where the API is, without `/api`. */
  baseUrl: string;
  /** A JWT, or what answers one: asked again when the last one is refused. */
  token: string | TokenProvider;
  /** Without it, polling delivers. */
  pusher?: PusherSettings;
  /**
   * Which transports are used, the best first [default: `['pusher', 'polling']`]. `'sse'`, the event stream, is for servers that
   * hold many streams in one process: on AWS Lambda each is a process of its own, for as long as the page is open.
   */
  transports?: readonly TransportName[];
  /** Where messages wait that could not be sent yet [default: `localStorage`, if there is one]. */
  outbox?: (userId: string) => OutboxStorage;
  fetch?: Fetch;
  /** One connection for all tabs of a person [default: yes, where the browser can]. */
  shareTabs?: boolean;
  /** Tell others that a message is on this device [default: yes, in direct chats]. */
  deliveryReceipts?: boolean;
  /** Whether answers of `fetch` can be read while they come [default: found out]. */
  canStream?: boolean;
}

export interface PersonPresence {
  online: boolean;
  lastSeenAt: string | null;
}

export interface Unread {
  /** As a badge shows it: muted chats count only what names me. */
  total: number;
}

const HOLE_PATIENCE_MS = 60;
/** What Pusher lost is found by then, however quiet it is. */
const LOOK_EVERY_MS = 30_000;
/** Twice in the time after which the server takes somebody to be gone. */
const HERE_EVERY_MS = 25_000;
const DELIVERED_AFTER_MS = 1_000;
/** While nobody looks, every so manieth time. */
const HIDDEN_LOOKS = 10;
/** A hand at the keys says no more than this. */
const STIR_EVERY_MS = 1_000;

const isVisible = () => typeof document === 'undefined' || document.visibilityState !== 'hidden';

/** A JWT's `sub`, which is the person's id: known without a network. */
function subject(token: string): string | null {
  try {
    const [, payload = ''] = token.split('.');
    const bytes = atob(payload.replaceAll('-', '+').replaceAll('_', '/'));
    const text = new TextDecoder().decode(Uint8Array.from(bytes, (letter) => letter.charCodeAt(0)));
    const { sub } = JSON.parse(text) as { sub?: unknown };
    return typeof sub === 'string' ? sub : null;
  } catch {
    return null;
  }
}

/** Everything of one person: their chats, what happens in them, and how it is heard of. */
export class BacktalkClient {
  readonly api: Api;
  readonly http: Http;
  readonly presence = new Value<ReadonlyMap<string, PersonPresence>>(new Map());
  readonly unread = new Value<Unread>({ total: 0 });
  readonly chats: ChatList;
  readonly canStream: boolean;
  readonly #connection = new Value<ConnectionState & { isShared: boolean }>({
    transport: null,
    isConnected: false,
    isShared: false,
  });
  readonly #sender: Sender;
  readonly #sessions = new Map<string, ChatSession>();
  readonly #watched = new Map<string, number>();
  readonly #lists = new Map<string, ChatList>();
  readonly #feeds = new Map<string, NoticeFeed>();
  readonly #listeners = new Set<(event: ChatEvent) => void>();
  readonly #delivered = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #posts = new Map<string, Promise<string>>();
  #tabs: Tabs | null = null;
  #userId = '';
  #starting: Promise<void> | null = null;
  #stopped: AbortController | null = null;
  #stirredAt = 0;
  #looks = 0;

  constructor(private readonly options: BacktalkOptions) {
    const { token } = options;
    const provider: TokenProvider = typeof token === 'string' ? () => token : token;
    // Called without its window, a browser's fetch refuses.
    const send: Fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.http = new Http(options.baseUrl.replace(/\/+$/, ''), provider, send);
    this.api = new Api(this.http);
    this.canStream = options.canStream ?? canStream();
    this.#sender = new Sender({
      api: this.api,
      session: (chatId) => this.chat(chatId),
      streams: (chatId) => this.canStream && this.#isAnswered(chatId),
      isLive: this.#isLive,
      isOnline: () => typeof navigator === 'undefined' || navigator.onLine !== false,
    });
    this.chats = this.list({});
  }

  /** By which way events come, and whether they do. */
  get connection(): Readable<ConnectionState & { isShared: boolean }> {
    return this.#connection;
  }

  get userId(): string {
    return this.#userId;
  }

  readonly #isLive = (): boolean => {
    const { transport } = this.#connection.get();
    return transport === 'pusher' || transport === 'sse';
  };

  #isAnswered(chatId: string): boolean {
    const kind = this.chat(chatId).state.get().chat?.kind ?? this.#known(chatId)?.kind;
    return kind === 'assistant' || kind === 'post';
  }

  #known(chatId: string): Chat | undefined {
    for (const list of this.#lists.values()) {
      const found = list.state.get().chats.find((chat) => chat.id === chatId);
      if (found) return found;
    }
    return undefined;
  }

  /** Connects, and stays connected until {@link stop}. */
  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  async #start(): Promise<void> {
    const stopped = new AbortController();
    this.#stopped = stopped;
    const { outbox = defaultOutbox } = this.options;
    const rest = new Backoff(500, 30_000);
    while (!this.#userId && !stopped.signal.aborted) {
      try {
        this.#userId = subject(await this.http.token()) ?? (await this.api.me()).user.id;
      } catch (error) {
        this.chats.state.update({ error: error instanceof Error ? error : new Error(String(error)) });
        await new Promise((go) => setTimeout(go, rest.next()));
      }
    }
    if (stopped.signal.aborted) return;
    this.#listen(stopped.signal);
    await this.#sender.begin(outbox(this.#userId));
    if (stopped.signal.aborted) return;
    const isAlone = !(this.options.shareTabs ?? true) || !canShare();
    const listener: Listener = { event: (event) => this.#heard(event), catchUp: () => this.#catchUp() };
    const name = `backtalk:${this.http.baseUrl}:${this.#userId}`;
    const tabs = new Tabs(name, (hearer) => new Connection(this.#transports(), hearer), listener, isAlone);
    this.#tabs = tabs;
    tabs.state.subscribe(() => this.#connection.set(tabs.state.get()));
    tabs.start();
    this.#tellWatched();
    this.#catchUp();
    void this.#sayHere();
  }

  stop(): void {
    this.#stopped?.abort();
    this.#starting = null;
    this.#tabs?.stop();
    this.#tabs = null;
    this.#sender.stop();
    for (const session of this.#sessions.values()) session.close();
    for (const list of this.#lists.values()) list.stop();
    for (const timer of this.#delivered.values()) clearTimeout(timer);
    this.#connection.set({ transport: null, isConnected: false, isShared: false });
  }

  #transports(): Transport[] {
    const { pusher, transports = ['pusher', 'polling'] } = this.options;
    return transports.flatMap((name): Transport[] => {
      if (name === 'pusher') return pusher ? [new PusherTransport(pusher, this.http, () => this.#userId)] : [];
      if (name === 'sse') return this.canStream ? [new SseTransport(this.api)] : [];
      return [new PollingTransport(this.api)];
    });
  }

  /** The page or the network is back: everything that waits tries at once. Call it for React Native's `AppState`. */
  wake(): void {
    this.#tabs?.wake();
    this.#sender.wake();
    this.#catchUp();
  }

  #listen(signal: AbortSignal): void {
    const look = setInterval(() => this.#look(), LOOK_EVERY_MS);
    const here = setInterval(() => void this.#sayHere(), HERE_EVERY_MS);
    signal.addEventListener('abort', () => {
      clearInterval(look);
      clearInterval(here);
    });
    if (typeof window === 'undefined' || typeof window.addEventListener !== 'function') return;
    const wake = () => this.wake();
    window.addEventListener('online', wake, { signal });
    // Whether anything can still be reached is known by trying.
    window.addEventListener('offline', () => this.#tabs?.wake(), { signal });
    window.addEventListener('pageshow', (event) => event.persisted && wake(), { signal });
    if (typeof document === 'undefined') return;
    const seen = () => {
      this.#tellWatched();
      if (isVisible()) wake();
    };
    document.addEventListener('visibilitychange', seen, { signal });
    for (const sign of ['pointerdown', 'keydown'])
      document.addEventListener(sign, () => this.#stir(), { signal, passive: true, capture: true });
  }

  /** Somebody does something here, so that more may happen soon. */
  #stir(): void {
    const now = Date.now();
    if (now - this.#stirredAt < STIR_EVERY_MS) return;
    this.#stirredAt = now;
    this.#tabs?.stir();
  }

  /** Whether Pusher or the event stream lost anything: a poll would have told. */
  #look(): void {
    this.#looks += 1;
    if (this.#connection.get().transport === 'polling') return;
    if (isVisible() || this.#looks % HIDDEN_LOOKS === 0) this.#catchUp();
  }

  async #sayHere(): Promise<void> {
    // Pusher's presence rooms say it for us.
    const isInRoom = this.#connection.get().transport === 'pusher' && this.#watched.size > 0;
    if (!isVisible() || isInRoom) return;
    // Said again soon; what fails is no harm.
    await this.api.isHere().catch(() => {});
  }

  #heard(event: ChatEvent): void {
    this.#sessions.get(event.chatId)?.take(event);
    for (const list of this.#lists.values()) list.take(event);
    for (const feed of this.#feeds.values()) feed.take(event);
    if (event.type === 'presence') this.#seen(event.data.userId, event.data);
    if (event.type === 'message.created') this.#acknowledge(event);
    this.#countUnread();
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** Reads whatever was missed, wherever it was. */
  #catchUp(): void {
    for (const list of this.#lists.values()) void list.refresh();
    for (const feed of this.#feeds.values()) void feed.refresh();
    // The list has the newest of them; the others ask for themselves.
    for (const [chatId, session] of this.#sessions) {
      if (this.#watched.has(chatId) && !(session.isOpen && this.#isListed(chatId))) void session.sync();
    }
  }

  #isListed(chatId: string): boolean {
    return this.chats.state.get().chats.some((chat) => chat.id === chatId);
  }

  #listRead(chats: readonly Chat[], isWhole: boolean, list: ChatList): void {
    for (const chat of chats) {
      this.#sessions.get(chat.id)?.compare(chat);
      for (const { userId, online, lastSeenAt } of chat.members) this.#seen(userId, { online, lastSeenAt });
    }
    if (list !== this.chats) return;
    this.#countUnread();
    // What is beyond the pages that were read counts as well.
    if (!isWhole)
      this.api.me().then(
        ({ unreadTotal }) => this.unread.set({ total: unreadTotal }),
        () => {},
      );
  }

  #countUnread(): void {
    const { chats, hasMore } = this.chats.state.get();
    if (hasMore) return;
    const total = chats.reduce((sum, chat) => sum + (chat.muted ? chat.unreadMentions : chat.unreadCount), 0);
    if (total !== this.unread.get().total) this.unread.set({ total });
  }

  #seen(userId: string, { online, lastSeenAt }: PersonPresence): void {
    const known = this.presence.get().get(userId);
    const seenAt = lastSeenAt ?? known?.lastSeenAt ?? null;
    if (known?.online === online && known.lastSeenAt === seenAt) return;
    this.presence.set(new Map(this.presence.get()).set(userId, { online, lastSeenAt: seenAt }));
  }

  #acknowledge({ chatId, data }: ChatEvent & { type: 'message.created' }): void {
    if (!(this.options.deliveryReceipts ?? true) || data.senderId === this.#userId) return;
    if (this.#connection.get().isShared || this.#known(chatId)?.kind !== 'direct' || this.#delivered.has(chatId))
      return;
    const timer = setTimeout(() => {
      this.#delivered.delete(chatId);
      const deliveredSeq = this.#known(chatId)?.lastSeq;
      const isRead = (this.#known(chatId)?.unreadCount ?? 0) === 0;
      if (deliveredSeq && !isRead) this.api.read(chatId, { deliveredSeq }).catch(() => {});
    }, DELIVERED_AFTER_MS);
    this.#delivered.set(chatId, timer);
  }

  /** Hears every event, in the order in which they came, some of them twice. */
  onEvent(listener: (event: ChatEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** One chat. {@link watch} opens it and keeps it up to date. */
  chat(chatId: string): ChatSession {
    const known = this.#sessions.get(chatId);
    if (known) return known;
    const host: ChatHost = {
      api: this.api,
      userId: () => this.#userId,
      canStream: this.canStream,
      isLive: this.#isLive,
      unsent: (id) => this.#sender.of(id),
      send: (id, draft) => {
        this.#tabs?.stir();
        return this.#sender.send(id, draft);
      },
      retry: (clientId) => this.#sender.retry(clientId),
      discard: (clientId) => this.#sender.discard(clientId),
      arrived: (message) => this.#sender.arrived(message),
      wasRead: (id, readSeq, unreadCount) => {
        const change = unreadCount === 0 ? { readSeq, unreadCount, unreadMentions: 0 } : { readSeq, unreadCount };
        for (const list of this.#lists.values()) list.change(id, change);
        this.#countUnread();
      },
      patienceMs: HOLE_PATIENCE_MS,
    };
    const session = new ChatSession(chatId, host);
    this.#sessions.set(chatId, session);
    return session;
  }

  /** Opens a chat and keeps it up to date until the returned function is called. */
  watch(chatId: string): () => void {
    this.#watched.set(chatId, (this.#watched.get(chatId) ?? 0) + 1);
    const session = this.chat(chatId);
    const begun = this.start().then(() => (session.isOpen ? session.sync() : session.open()));
    begun.catch(() => {});
    this.#tellWatched();
    this.#stir();
    return () => {
      const left = (this.#watched.get(chatId) ?? 1) - 1;
      if (left > 0) {
        this.#watched.set(chatId, left);
      } else {
        this.#watched.delete(chatId);
        session.stopTyping();
      }
      this.#tellWatched();
    };
  }

  #tellWatched(): void {
    this.#tabs?.see({ chatIds: [...this.#watched.keys()], isVisible: isVisible() });
  }

  /** My chats of one kind, or the archived ones. */
  list(filter: ChatFilter): ChatList {
    const key = `${filter.kind ?? ''}/${filter.archived ?? false}`;
    const known = this.#lists.get(key);
    if (known) return known;
    const list: ChatList = new ChatList(
      this.api,
      filter,
      () => this.#userId,
      (chats, isWhole) => this.#listRead(chats, isWhole, list),
    );
    this.#lists.set(key, list);
    if (this.#tabs) void list.refresh();
    return list;
  }

  /** The notices of a task, or without one those of all tasks that are unread. */
  notices(taskId: string | null = null): NoticeFeed {
    const key = taskId ?? '';
    const known = this.#feeds.get(key);
    if (known) return known;
    const feed = new NoticeFeed(this.api, taskId);
    this.#feeds.set(key, feed);
    void this.start().then(
      () => feed.refresh(),
      () => {},
    );
    return feed;
  }

  /** The chat of a post. Given a chat's id, it answers that. */
  async chatIdOf(id: string): Promise<string> {
    const listed = this.chats.state.get().chats.find((chat) => chat.id === id || chat.postId === id);
    if (listed) return listed.id;
    const known = this.#posts.get(id);
    if (known) return known;
    const asked = this.api.post(id).then(
      (post) => post.chatId,
      (error: unknown) => {
        if (error instanceof ApiError && [400, 404].includes(error.status)) return id;
        this.#posts.delete(id);
        throw error;
      },
    );
    this.#posts.set(id, asked);
    return asked;
  }

  /** The chat of two people, opened if there was none. */
  startDirect(userId: string): Promise<Chat> {
    return this.#created(this.api.createChat({ kind: 'direct', members: [userId] }));
  }

  startChannel(title: string, members: string[] = []): Promise<Chat> {
    return this.#created(this.api.createChat({ kind: 'channel', title, members }));
  }

  startAssistant(title?: string): Promise<Chat> {
    return this.#created(this.api.createChat({ kind: 'assistant', title }));
  }

  async #created(asked: Promise<Chat>): Promise<Chat> {
    const chat = await asked;
    for (const list of this.#lists.values()) void list.refresh();
    return chat;
  }

  /** Uploads an image; what it answers goes into a message's `attachments`. */
  async upload(file: Blob & { name?: string }) {
    const announced = await this.api.announceUpload({ mimeType: file.type, size: file.size, fileName: file.name });
    const { method, url, headers } = announced.upload;
    const answer = await globalThis.fetch(url, { method, headers, body: file });
    if (!answer.ok) throw new Error(`the upload was refused: ${answer.status}`);
    return announced.attachment;
  }
}
