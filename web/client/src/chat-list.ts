import type { Api } from './api.js';
import { Backoff } from './backoff.js';
import { Value } from './observable.js';
import { ApiError, mayPass } from './problem.js';
import type { Chat, ChatEvent, ChatKind } from './types.js';

export interface ChatFilter {
  kind?: ChatKind;
  archived?: boolean;
}

export interface ChatListState {
  /** Newest activity first. */
  chats: readonly Chat[];
  total: number;
  isLoading: boolean;
  hasMore: boolean;
  error: Error | null;
}

/** Events of one moment make one request. */
const GATHER_MS = 250;

const activity = (chat: Chat): string => chat.lastMessageAt ?? chat.createdAt;

/**
 * A person's chats. What events say is shown at once; what they cannot say exactly (unread counts, new chats) is read
 * again, by ETag.
 */
export class ChatList {
  readonly state = new Value<ChatListState>({ chats: [], total: 0, isLoading: true, hasMore: false, error: null });
  #etag: string | null = null;
  #cursor: string | null = null;
  #pages = 1;
  #reading: Promise<void> | null = null;
  #isStale = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #rest = new Backoff(500, 30_000);

  constructor(
    private readonly api: Pick<Api, 'chats'>,
    readonly filter: ChatFilter,
    private readonly userId: () => string,
    private readonly hasRead: (chats: readonly Chat[], isWhole: boolean) => void = () => {},
  ) {}

  /** Reads the list, unless nothing has happened. */
  refresh(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#reading) {
      // What is being read may be from before what the caller knows of.
      this.#isStale = true;
      return this.#reading;
    }
    this.#isStale = false;
    this.#reading = this.#read().finally(() => {
      this.#reading = null;
      if (this.#isStale) this.#soon(GATHER_MS);
    });
    return this.#reading;
  }

  #soon(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), ms);
  }

  async #read(): Promise<void> {
    try {
      const first = await this.api.chats(this.filter, this.#etag);
      this.#rest.reset();
      if (!first) {
        this.state.update({ isLoading: false, error: null });
        return;
      }
      const chats = [...first.body.chats];
      let cursor = first.body.nextCursor;
      for (let page = 1; page < this.#pages && cursor; page += 1) {
        const next = await this.api.chats({ ...this.filter, cursor } as ChatFilter, null);
        if (!next) break;
        chats.push(...next.body.chats);
        cursor = next.body.nextCursor;
      }
      this.#etag = first.etag;
      this.#cursor = cursor;
      this.state.set({ chats, total: first.body.total, isLoading: false, hasMore: cursor !== null, error: null });
      this.hasRead(chats, cursor === null);
    } catch (error) {
      this.state.update({ isLoading: false, error: error instanceof Error ? error : new Error(String(error)) });
      if (!mayPass(error)) return;
      const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
      this.#soon(Math.max(asked, this.#rest.next()));
    }
  }

  async loadMore(): Promise<void> {
    if (!this.#cursor || this.#reading) return;
    this.#pages += 1;
    // All pages of a list are of the order of its first, so the first is not asked for by ETag.
    this.#etag = null;
    await this.refresh();
  }

  take(event: ChatEvent): void {
    const known = this.state.get().chats.find((chat) => chat.id === event.chatId);
    switch (event.type) {
      case 'reply.started':
      case 'reply.reasoning':
      case 'reply.delta':
      case 'reply.ended':
      case 'typing':
        return;
      case 'presence':
        if (known) this.#changeMember(known, event);
        return;
      case 'read':
        if (known && event.data && 'userId' in event.data && event.data.userId !== this.userId()) {
          this.#changeMember(known, event);
          return;
        }
        break;
      case 'message.created':
        if (known && 'senderId' in event.data && (event.seq ?? 0) > known.lastSeq) this.#said(known, event.data);
        break;
      case 'chat.deleted':
        this.#show(this.state.get().chats.filter((chat) => chat.id !== event.chatId));
        break;
      default:
    }
    // Whatever was under way is from before this.
    if (this.#reading) this.#isStale = true;
    else this.#soon(GATHER_MS);
  }

  #said(chat: Chat, message: NonNullable<Chat['lastMessage']>): void {
    const isMine = message.senderId === this.userId();
    this.change(chat.id, {
      lastSeq: message.seq,
      lastMessage: message,
      lastMessageAt: message.createdAt,
      unreadCount: isMine ? chat.unreadCount : chat.unreadCount + 1,
    });
  }

  #changeMember(chat: Chat, event: ChatEvent): void {
    if (event.type !== 'read' && event.type !== 'presence') return;
    const { userId, ...change } = event.data;
    const members = chat.members.map((member) => (member.userId === userId ? { ...member, ...change } : member));
    this.change(chat.id, { members });
  }

  /** What is known here before the list says so. */
  change(chatId: string, change: Partial<Chat>): void {
    const { chats } = this.state.get();
    if (!chats.some((chat) => chat.id === chatId)) return;
    const changed = chats.map((chat) => (chat.id === chatId ? { ...chat, ...change } : chat));
    this.#show(changed.sort((one, other) => activity(other).localeCompare(activity(one))));
  }

  #show(chats: readonly Chat[]): void {
    this.state.update({ chats });
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
