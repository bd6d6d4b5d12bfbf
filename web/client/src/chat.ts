import type { Api } from './api.js';
import { Backoff } from './backoff.js';
import { Value } from './observable.js';
import { freshId, type Unsent } from './outbox.js';
import { ApiError, mayPass } from './problem.js';
import { type Joined, ReplyText } from './running-reply.js';
import { CROWDED_REST_MS, readEvents } from './sse.js';
import { Timeline } from './timeline.js';
import type {
  Chat,
  ChatEvent,
  Draft,
  Member,
  Message,
  Problem,
  ReplyDelta,
  ReplyState,
  RunningReply,
} from './types.js';

/** A message as a page shows it: also those that are not numbered yet. */
export interface ShownMessage extends Omit<Message, 'status' | 'seq'> {
  /** The same while it is sent and afterwards. */
  key: string;
  /** `null` until the server has it, and while an answer is being written. */
  seq: number | null;
  status: 'sending' | 'streaming' | 'sent' | 'failed';
  /** Its model thinks, and has not said a word yet. */
  isThinking?: boolean;
  /** Why it failed, for people. */
  error: string | null;
}

export interface ChatState {
  chat: Chat | null;
  messages: readonly ShownMessage[];
  /** The answer that is being written. */
  reply: RunningReply | null;
  /** Who else is typing. */
  typing: readonly string[];
  /** Up to where all is known. */
  seq: number;
  isLoading: boolean;
  isLoadingOlder: boolean;
  hasOlder: boolean;
  /** Deleted, left, or never mine. */
  isGone: boolean;
  error: Error | null;
}

export type ChatApi = Pick<
  Api,
  | 'openChat'
  | 'changes'
  | 'history'
  | 'joinReply'
  | 'stop'
  | 'regenerate'
  | 'regenerateStreaming'
  | 'read'
  | 'typing'
  | 'editMessage'
  | 'deleteMessage'
  | 'react'
>;

/** What a chat needs of its client. */
export interface ChatHost {
  readonly api: ChatApi;
  readonly userId: () => string;
  readonly canStream: boolean;
  /** Whether events arrive by themselves, texts of answers included. */
  readonly isLive: () => boolean;
  readonly unsent: (chatId: string) => readonly Unsent[];
  readonly send: (chatId: string, draft: Draft) => string;
  readonly retry: (clientId: string) => void;
  readonly discard: (clientId: string) => void;
  /** The chat's seq has reached this message. */
  readonly arrived: (message: Message) => void;
  readonly wasRead: (chatId: string, readSeq: number, unreadCount: number) => void;
  /** How long a hole may close by itself: events of one moment overtake each other. */
  readonly patienceMs: number;
}

/** Farther behind than this, the newest page is read anew instead of all that changed. */
const MOST_TO_CATCH_UP = 1000;
const SAY_TYPING_EVERY_MS = 3_000;
const STOP_TYPING_AFTER_MS = 4_000;
const LOOK_AT_REPLY_EVERY_MS = 1_000;
const TYPING_EXPIRES_AFTER_S = 6;

/** An answer of which nothing is heard for so long is asked for: what ended it may have been lost. */
const REPLY_SILENCE_MS = 10_000;

/** After its message the end of an answer is told at once; else the answer may have been written again since. */
const END_FOLLOWS_WITHIN_MS = 500;

const isOver = (state: string) => state === 'completed' || state === 'failed' || state === 'stopped';

const withMembers = (chat: Chat, members: Member[]): Chat => ({
  ...chat,
  members,
  memberCount: chat.memberCount + members.length - chat.members.length,
});

/** One chat: its messages in order, what is being said in it, and what one does in it. */
export class ChatSession {
  readonly state: Value<ChatState>;
  readonly #timeline = new Timeline((event) => this.#applied(event));
  #chat: Chat | null = null;
  /** The seq that `#chat` is true for. */
  #chatSeq = 0;
  #reply: ReplyText | null = null;
  /** Up to which attempt an answer has ended, so that its stragglers do not begin it again. */
  readonly #ended = new Map<string, number>();
  readonly #typing = new Map<string, ReturnType<typeof setTimeout>>();
  #opening: Promise<void> | null = null;
  #syncing: Promise<void> | null = null;
  /** From where changes are to be read again, though later ones are in. */
  #staleAfter: number | null = null;
  /** The highest seq that was heard of. */
  #target = 0;
  #isGone = false;
  #isOpen = false;
  #error: Error | null = null;
  #isLoadingOlder = false;
  #following: AbortController | null = null;
  readonly #rest = new Backoff(500, 30_000);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #replyTimer: ReturnType<typeof setTimeout> | undefined;
  #saidTypingAt = 0;
  #typingTimer: ReturnType<typeof setTimeout> | undefined;
  #reading: { wanted: number; isAsking: boolean } = { wanted: 0, isAsking: false };
  #shown = new Map<string, { from: Message; shown: ShownMessage }>();

  constructor(
    readonly id: string,
    private readonly host: ChatHost,
  ) {
    this.state = new Value<ChatState>({
      chat: null,
      messages: [],
      reply: null,
      typing: [],
      seq: 0,
      isLoading: true,
      isLoadingOlder: false,
      hasOlder: true,
      isGone: false,
      error: null,
    });
    this.show();
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get seq(): number {
    return this.#timeline.seq;
  }

  /** Reads the chat, unless that was done. A network that is missing is waited for. */
  open(): Promise<void> {
    if (this.#isOpen || this.#isGone) return Promise.resolve();
    this.#opening ??= this.#load().finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  async #load(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const { chat, messages, hasMore } = await this.host.api.openChat(this.id);
      // A server from before it said so ended its page by rows alone.
      const isFull = (messages[0]?.seq ?? 0) > 1 && messages.length >= 50;
      // A page may be newer than its chat, never older.
      this.#timeline.open(messages, chat.lastSeq, hasMore ?? isFull);
      for (const message of messages) this.host.arrived(message);
      this.#isOpen = true;
      this.#error = null;
      this.#staleAfter = null;
      this.#rest.reset();
      this.#reply = null;
      this.#takeChat(chat);
      if (this.#isMissing) this.#fillSoon();
    } catch (error) {
      this.#failed(error, () => this.open());
    }
    this.show();
  }

  #failed(error: unknown, again: () => Promise<void>): void {
    if (error instanceof ApiError && error.status === 404) {
      this.#isGone = true;
    } else if (mayPass(error)) {
      const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void again(), Math.max(asked, this.#rest.next()));
    }
    this.#error = error instanceof Error ? error : new Error(String(error));
  }

  /** An event of this chat, from wherever, as often as it comes. */
  take(event: ChatEvent): void {
    if (this.#isGone) return;
    // Too large for its transport: what it says is read.
    const isPointer = typeof event.data === 'object' && event.data !== null && 'fetch' in event.data;
    if (event.seq === undefined) {
      if (!isPointer) this.#passing(event);
      if (event.type.startsWith('reply.')) this.#awaitReply();
      this.show();
      return;
    }
    this.#target = Math.max(this.#target, event.seq);
    if (!this.#isOpen) return;
    if (!isPointer) this.#timeline.take(event);
    if (this.#isMissing) this.#fillSoon();
    this.show();
  }

  /** The chat as a list has it: whether it has more than we do. */
  compare(chat: Chat): void {
    if (!this.#isOpen || this.#isGone) return;
    this.#target = Math.max(this.#target, chat.lastSeq);
    if (chat.lastSeq >= this.seq) this.#takeChat(this.#withAllMembers(chat));
    if (this.#isMissing) this.#fillSoon();
    this.show();
  }

  /** A list names some of a large channel's members. The others are known; whoever comes or goes takes a seq. */
  #withAllMembers(chat: Chat): Chat {
    if (!this.#chat || !(chat.members.length < chat.memberCount)) return chat;
    const listed = new Map(chat.members.map((member) => [member.userId, member]));
    return { ...chat, members: this.#chat.members.map((member) => listed.get(member.userId) ?? member) };
  }

  get #isMissing(): boolean {
    return this.#staleAfter !== null || this.#timeline.hasGap || this.seq < this.#target;
  }

  #fillSoon(afterMs: number = this.host.patienceMs): void {
    if (this.#syncing || this.#opening) return;
    clearTimeout(this.#timer);
    const fill = () => {
      if (this.#isMissing) void this.sync();
    };
    if (afterMs === 0) fill();
    else this.#timer = setTimeout(fill, afterMs);
  }

  /** Reads what changed since, until nothing is missing. */
  sync(): Promise<void> {
    if (this.#isGone) return Promise.resolve();
    if (!this.#isOpen) return this.open();
    if (this.#syncing) return this.#syncing;
    const before = this.seq;
    this.#syncing = this.#catchUp().finally(() => {
      this.#syncing = null;
      this.show();
      // Something was heard meanwhile that what was read does not have.
      const hasGrown = this.seq > before;
      if (this.#isMissing && this.#error === null) this.#fillSoon(hasGrown ? this.host.patienceMs : this.#rest.next());
    });
    return this.#syncing;
  }

  async #catchUp(): Promise<void> {
    clearTimeout(this.#timer);
    let after = Math.min(this.#staleAfter ?? this.seq, this.seq);
    this.#staleAfter = null;
    try {
      if (this.#target - after > MOST_TO_CATCH_UP) {
        this.#isOpen = false;
        await this.open();
        return;
      }
      for (;;) {
        const page = await this.host.api.changes(this.id, after);
        this.#timeline.fill(page);
        for (const message of page.messages) this.host.arrived(message);
        if (page.chat) this.#takeChat(page.chat);
        if (!page.hasMore) break;
        after = page.seq;
        this.show();
      }
      this.#error = null;
      this.#endReplyIfOver();
    } catch (error) {
      if (after < this.seq) this.#staleAfter = Math.min(this.#staleAfter ?? after, after);
      this.#failed(error, () => this.sync());
      return;
    }
    if (!this.#isMissing) this.#rest.reset();
  }

  async loadOlder(): Promise<void> {
    const first = this.#timeline.messages[0];
    if (!this.#timeline.hasOlder || this.#isLoadingOlder || !first) return;
    this.#isLoadingOlder = true;
    this.show();
    try {
      const page = await this.host.api.history(this.id, first.seq);
      // The window was begun anew meanwhile.
      if (this.#timeline.messages[0]?.seq === first.seq) {
        const stale = this.#timeline.prepend(page);
        if (stale !== null) {
          this.#staleAfter = Math.min(this.#staleAfter ?? stale, stale);
          this.#fillSoon(0);
        }
      }
    } catch (error) {
      if (!mayPass(error)) throw error;
    } finally {
      this.#isLoadingOlder = false;
      this.show();
    }
  }

  #takeChat(chat: Chat): void {
    if (chat.lastSeq < this.#chatSeq) return;
    const { reply: running, ...rest } = chat;
    this.#chat = rest;
    this.#chatSeq = chat.lastSeq;
    if (running && this.#takeRunning(running)) {
      this.#awaitReply();
      void this.follow();
    }
  }

  /** An answer as it was when it was read, which may be a while ago. Whether it is still written, as far as we know. */
  #takeRunning(running: RunningReply): boolean {
    if (isOver(running.state) || this.#hasEnded(running)) return false;
    const known = this.#reply?.messageId === running.messageId ? this.#reply : null;
    if (known && running.attempt < known.attempt) return true;
    // One that waits has no text: what its last attempt said is void.
    if (!known || running.attempt > known.attempt || running.state === 'queued') this.#reply = ReplyText.of(running);
    else known.become(running);
    return true;
  }

  #hasEnded({ messageId, attempt, state }: { messageId: string; attempt: number; state?: ReplyState }): boolean {
    // Opened again, it waits with the attempt that it ended with.
    if (state === 'queued') return false;
    // No message comes before the first attempt is over.
    const ended = this.#ended.get(messageId) ?? (this.#timeline.byId(messageId) ? 1 : -1);
    return ended >= attempt;
  }

  /** What takes no seq; it can be read from the chat as well. */
  #passing(event: ChatEvent): void {
    switch (event.type) {
      case 'chat.deleted':
        this.#isGone = true;
        this.close();
        break;
      case 'chat.updated':
        if (this.#chat) {
          const { muted = this.#chat.muted, archived = this.#chat.archived } = event.data;
          this.#chat = { ...this.#chat, muted, archived };
        }
        break;
      case 'read': {
        const { userId, readSeq, readAt, deliveredSeq } = event.data;
        this.#changeMember(userId, (member) => ({ ...member, readSeq, readAt, deliveredSeq }));
        if (this.#chat && userId === this.host.userId()) this.#chat = { ...this.#chat, readSeq };
        break;
      }
      case 'presence':
        this.#changeMember(event.data.userId, (member) => ({
          ...member,
          online: event.data.online,
          lastSeenAt: event.data.lastSeenAt ?? member.lastSeenAt,
        }));
        break;
      case 'typing':
        this.#heardTyping(event.data.userId, event.data.isTyping, event.data.expiresInSeconds);
        break;
      case 'reply.started': {
        const { messageId, attempt } = event.data;
        if (this.#hasEnded(event.data)) break;
        if (this.#reply?.messageId !== messageId) this.#reply = new ReplyText(messageId, attempt);
        this.#reply.begin(attempt);
        // Written again on another device, or a straggler of what is over: asking tells.
        if (this.#timeline.byId(messageId)) void this.follow();
        break;
      }
      case 'reply.reasoning': {
        const { offset, text } = event.data;
        this.#heardOfReply(event.data, (reply) => reply.think(offset ?? 0, text ?? ''));
        break;
      }
      case 'reply.delta': {
        const { offset, text } = event.data;
        this.#heardOfReply(event.data, (reply) => reply.join(offset, text));
        break;
      }
      case 'reply.ended': {
        const { messageId, attempt, state } = event.data;
        this.#ended.set(messageId, Math.max(attempt, this.#ended.get(messageId) ?? 0));
        // Of an earlier attempt it comes late: the answer is being written again.
        if (this.#reply?.messageId !== messageId || this.#reply.attempt > attempt) break;
        this.#reply.state = state;
        // Its message is told before, or it said nothing; where events were lost, this finds it.
        if (this.#isOpen) void this.sync();
        break;
      }
      default:
    }
  }

  #awaitReply(silenceMs: number = REPLY_SILENCE_MS): void {
    clearTimeout(this.#replyTimer);
    if (!this.#reply) return;
    this.#replyTimer = setTimeout(() => {
      void this.follow();
      this.#awaitReply();
    }, silenceMs);
  }

  #heardOfReply(
    { messageId, attempt }: Pick<ReplyDelta, 'messageId' | 'attempt'>,
    join: (reply: ReplyText) => Joined,
  ): void {
    if (this.#hasEnded({ messageId, attempt })) return;
    if (this.#reply?.messageId !== messageId) this.#reply = new ReplyText(messageId, attempt);
    if (attempt < this.#reply.attempt) return;
    this.#reply.begin(attempt);
    // What came before is missing: it is read from its beginning, or from where we are.
    if (join(this.#reply) === 'gap') void this.follow();
  }

  /** Applied in its order, once. */
  #applied(event: ChatEvent): void {
    switch (event.type) {
      case 'message.created':
      case 'message.updated':
      case 'message.deleted': {
        const message = event.data;
        if (event.type === 'message.created') {
          this.host.arrived(message);
          if (message.senderId) this.#heardTyping(message.senderId, false);
        }
        if (this.#reply?.messageId === message.id) this.#replyWasSaid(this.#reply);
        break;
      }
      default:
    }
    if (!this.#chat || (event.seq ?? 0) <= this.#chatSeq) return;
    switch (event.type) {
      case 'message.created':
        this.#chat = {
          ...this.#chat,
          lastMessage: event.data,
          lastSeq: event.data.seq,
          lastMessageAt: event.data.createdAt,
        };
        break;
      case 'chat.updated': {
        const { title = this.#chat.title, members = [] } = event.data;
        const roles = new Map(members.map(({ userId, role }) => [userId, role]));
        this.#chat = {
          ...this.#chat,
          title,
          members: this.#chat.members.map((member) => ({ ...member, role: roles.get(member.userId) ?? member.role })),
        };
        break;
      }
      case 'member.added': {
        // Whether they are here is not told with it.
        const unseen = { lastSeenAt: null, online: false };
        const added = new Map(event.data.members.map((member) => [member.userId, { ...unseen, ...member }]));
        const kept = this.#chat.members.filter((member) => !added.has(member.userId));
        this.#chat = withMembers(this.#chat, [...kept, ...added.values()]);
        break;
      }
      case 'member.removed':
        if (event.data.userId === this.host.userId()) {
          this.#isGone = true;
          this.close();
        }
        this.#chat = withMembers(
          this.#chat,
          this.#chat.members.filter((member) => member.userId !== event.data.userId),
        );
        break;
      default:
    }
  }

  #changeMember(userId: string, change: (member: Member) => Member): void {
    if (!this.#chat) return;
    const members = this.#chat.members.map((member) => (member.userId === userId ? change(member) : member));
    this.#chat = { ...this.#chat, members };
  }

  #endReplyIfOver(): void {
    if (this.#reply && (isOver(this.#reply.state) || this.#hasEnded(this.#reply))) this.#endReply();
  }

  /** An answer's message comes when it is whole: of this attempt, or of one before, if it is written again. */
  #replyWasSaid(reply: ReplyText): void {
    if (reply.attempt <= 1 || this.#hasEnded(reply)) this.#endReply();
    else this.#awaitReply(END_FOLLOWS_WITHIN_MS);
  }

  #endReply(): void {
    const reply = this.#reply;
    if (!reply) return;
    this.#ended.set(reply.messageId, Math.max(reply.attempt, this.#ended.get(reply.messageId) ?? 0));
    this.#reply = null;
  }

  /** An answer was promised, and is not begun. */
  expect(messageId: string): void {
    if (this.#reply || this.#ended.has(messageId) || this.#timeline.byId(messageId)) return;
    this.#reply = new ReplyText(messageId, 0);
    this.#reply.state = 'queued';
    this.#awaitReply();
    this.show();
  }

  /**
   * Joins the answer that is being written, from what we have of it, until it ends: after a reload, where a stream broke, and
   * where nothing tells of it by itself.
   */
  async follow(messageId: string = this.#reply?.messageId ?? this.id): Promise<void> {
    if (this.#following || this.#isGone) return;
    const leave = new AbortController();
    this.#following = leave;
    const rest = new Backoff(500, 10_000);
    /** What was under way when the last answer of the server was asked for. */
    let asked: number | null = null;
    try {
      while (!leave.signal.aborted) {
        try {
          asked = this.#reply?.messageId === messageId ? this.#reply.attempt : null;
          const known = this.#reply?.bytes;
          const isOn = this.host.canStream ? await this.#join(messageId, leave.signal) : await this.#look();
          if (!isOn) break;
          if (this.#reply?.bytes !== known) rest.reset();
          await pause(this.host.canStream ? rest.next() : LOOK_AT_REPLY_EVERY_MS);
        } catch (error) {
          if (leave.signal.aborted || !mayPass(error)) break;
          const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
          await pause(Math.max(asked, rest.next()));
        }
      }
    } finally {
      this.#following = null;
    }
    if (leave.signal.aborted) return;
    // Whatever ran is over; its message is there. It may have been begun again meanwhile.
    await this.sync();
    if (this.#reply?.messageId === messageId && this.#reply.attempt === asked && !this.#error) this.#endReply();
    this.show();
  }

  /** Whether it goes on elsewhere. */
  async #join(messageId: string, signal: AbortSignal): Promise<boolean> {
    const known = this.#reply?.messageId === messageId ? this.#reply : null;
    const from = known && known.attempt > 0 ? { offset: known.bytes, attempt: known.attempt } : { offset: 0 };
    const answer = await this.host.api.joinReply(this.id, messageId, from, signal);
    if (answer.status === 204) return false;
    return !(await this.hear(answer));
  }

  /** Where a `fetch` cannot stream: the text so far, again and again. */
  async #look(): Promise<boolean> {
    const { chat } = await this.host.api.openChat(this.id);
    const isOn = chat.reply ? this.#takeRunning(chat.reply) : false;
    this.show();
    return isOn;
  }

  /** Takes the events of a streamed answer. Whether it came to its end. */
  async hear(answer: Response): Promise<boolean> {
    let isEnded = false;
    let refused: Problem | null = null;
    await readEvents(answer, ({ event, data }) => {
      if (event === 'reconnect' || !data) return;
      if (event === 'error') {
        refused = JSON.parse(data) as Problem;
        return;
      }
      this.take(JSON.parse(data) as ChatEvent);
      if (event === 'reply.ended') isEnded = true;
    });
    const problem = refused as Problem | null;
    if (problem?.type === 'too-many-streams') throw new ApiError(problem, CROWDED_REST_MS);
    return isEnded;
  }

  /** Says something. It is shown at once; answers its `clientId`. */
  send(content: string | Draft): string {
    clearTimeout(this.#typingTimer);
    this.#saidTypingAt = 0;
    return this.host.send(this.id, typeof content === 'string' ? { content } : content);
  }

  retry(clientId: string): void {
    this.host.retry(clientId);
  }

  /** Gives up a message that failed. */
  discard(clientId: string): void {
    this.host.discard(clientId);
  }

  /** Ends what is being answered; what was said so far is kept. */
  async stop(): Promise<void> {
    await this.host.api.stop(this.id);
  }

  /** Has an answer written again, the newest one unless said otherwise. */
  async regenerate(messageId?: string): Promise<void> {
    const clientId = freshId();
    if (!this.host.canStream) {
      await this.host.api.regenerate(this.id, clientId, messageId);
      if (!this.host.isLive()) void this.follow(this.id);
      return;
    }
    const leave = new AbortController();
    const answer = await this.host.api.regenerateStreaming(this.id, clientId, messageId, leave.signal);
    const isEnded = await this.hear(answer).catch(() => false);
    if (!isEnded) await this.follow(this.#reply?.messageId ?? this.id);
  }

  async edit(messageId: string, content: string): Promise<void> {
    await this.host.api.editMessage(this.id, messageId, content);
    await this.sync();
  }

  async delete(messageId: string): Promise<void> {
    await this.host.api.deleteMessage(this.id, messageId);
    await this.sync();
  }

  /** Reacts, or takes it back. */
  async react(messageId: string, emoji: string): Promise<void> {
    const reactions = this.#timeline.byId(messageId)?.reactions ?? [];
    const mine = reactions.some((one) => one.emoji === emoji && one.userIds.includes(this.host.userId()));
    await this.host.api.react(this.id, messageId, emoji, !mine);
    await this.sync();
  }

  /** To be called with every key: the others hear of it every few seconds. */
  typing(): void {
    const now = Date.now();
    clearTimeout(this.#typingTimer);
    this.#typingTimer = setTimeout(() => this.stopTyping(), STOP_TYPING_AFTER_MS);
    if (now - this.#saidTypingAt < SAY_TYPING_EVERY_MS) return;
    this.#saidTypingAt = now;
    this.host.api.typing(this.id, true).catch(() => {});
  }

  stopTyping(): void {
    clearTimeout(this.#typingTimer);
    if (this.#saidTypingAt === 0) return;
    this.#saidTypingAt = 0;
    this.host.api.typing(this.id, false).catch(() => {});
  }

  /** Read up to a seq, or all of it. Many calls in a row are one or two requests. */
  async markRead(seq: number = this.seq): Promise<void> {
    const known = Math.max(this.#chat?.readSeq ?? 0, this.#reading.wanted);
    if (seq <= known && (this.#chat?.unreadCount ?? 0) === 0) return;
    this.#reading.wanted = Math.max(seq, this.#reading.wanted);
    if (this.#reading.isAsking) return;
    this.#reading.isAsking = true;
    try {
      for (let asked = 0; asked < this.#reading.wanted; ) {
        asked = this.#reading.wanted;
        const read = await this.host.api.read(this.id, { seq: asked });
        this.#wasRead(read.readSeq, read.unreadCount);
      }
    } catch (error) {
      // The next look at the chat asks again.
      this.#reading.wanted = 0;
      if (!mayPass(error)) throw error;
    } finally {
      this.#reading.isAsking = false;
    }
  }

  /** Unread from this message on. */
  async markUnread(seq: number): Promise<void> {
    const read = await this.host.api.read(this.id, { unreadFrom: seq });
    this.#reading.wanted = 0;
    this.#wasRead(read.readSeq, read.unreadCount);
  }

  #wasRead(readSeq: number, unreadCount: number): void {
    if (this.#chat) this.#chat = { ...this.#chat, readSeq, unreadCount };
    this.#changeMember(this.host.userId(), (member) => ({ ...member, readSeq }));
    this.host.wasRead(this.id, readSeq, unreadCount);
    this.show();
  }

  #heardTyping(userId: string, isTyping: boolean, seconds = TYPING_EXPIRES_AFTER_S): void {
    clearTimeout(this.#typing.get(userId));
    this.#typing.delete(userId);
    if (!isTyping || userId === this.host.userId()) return;
    const forget = () => {
      this.#typing.delete(userId);
      this.show();
    };
    this.#typing.set(userId, setTimeout(forget, seconds * 1000));
  }

  /** Leaves all that is under way; the messages stay. */
  close(): void {
    this.stopTyping();
    clearTimeout(this.#timer);
    clearTimeout(this.#replyTimer);
    this.#following?.abort();
    for (const timer of this.#typing.values()) clearTimeout(timer);
    this.#typing.clear();
  }

  /** Makes the state of what is known, and says so. */
  show(): void {
    const me = this.host.userId();
    const reply = this.#reply;
    const stored = this.#timeline.messages.map((message) => this.#showStored(message));
    const unsent = this.host
      .unsent(this.id)
      .filter((entry) => !entry.sent || !this.#timeline.byId(entry.sent.id))
      .map((entry) => showUnsent(entry, me));
    const messages = [...stored, ...unsent.filter((message) => message.status !== 'failed')];
    if (reply) {
      const rewritten = messages.findIndex((message) => message.id === reply.messageId);
      const known = rewritten >= 0 ? messages[rewritten] : undefined;
      const shown = showReply(this.id, reply, known);
      if (known) messages[rewritten] = shown;
      else messages.push(shown);
    }
    messages.push(...unsent.filter((message) => message.status === 'failed'));
    this.state.set({
      chat: this.#chat,
      messages,
      reply: reply && {
        messageId: reply.messageId,
        state: reply.state,
        attempt: reply.attempt,
        text: reply.text,
        isThinking: reply.isThinking,
        ...(reply.reasoning && { reasoning: reply.reasoning }),
      },
      typing: [...this.#typing.keys()],
      seq: this.seq,
      isLoading: !this.#isOpen && !this.#isGone,
      isLoadingOlder: this.#isLoadingOlder,
      hasOlder: this.#isOpen && this.#timeline.hasOlder,
      isGone: this.#isGone,
      error: this.#error,
    });
  }

  /** The same object for the same message, so that a page draws again only what changed. */
  #showStored(message: Message): ShownMessage {
    const known = this.#shown.get(message.id);
    if (known?.from === message) return known.shown;
    const key = message.clientId && message.senderId ? `${message.senderId}/${message.clientId}` : message.id;
    const shown = { ...message, key, error: null };
    this.#shown.set(message.id, { from: message, shown });
    return shown;
  }
}

const pause = (ms: number) => new Promise<void>((go) => setTimeout(go, ms));

function showUnsent(entry: Unsent, me: string): ShownMessage {
  const key = `${me}/${entry.clientId}`;
  if (entry.sent) return { ...entry.sent, key, error: null };
  return {
    ...blank(entry.chatId, entry.clientId, 'user'),
    key,
    senderId: me,
    clientId: entry.clientId,
    content: entry.draft.content ?? '',
    metadata: entry.draft.metadata ?? {},
    attachments: entry.draft.attachments ?? [],
    mentions: entry.draft.mentions ?? [],
    replyTo: entry.draft.replyTo ?? null,
    createdAt: entry.createdAt,
    status: entry.state,
    error: entry.error,
  };
}

function showReply(chatId: string, reply: ReplyText, known: ShownMessage | undefined): ShownMessage {
  const message = known ?? blank(chatId, reply.messageId, 'assistant');
  const { text, reasoning, isThinking } = reply;
  // What was thought about an answer before is not thought about this one.
  return { ...message, content: text, reasoning: reasoning || undefined, isThinking, status: 'streaming' };
}

const blank = (chatId: string, id: string, role: 'user' | 'assistant'): ShownMessage => ({
  id,
  key: id,
  chatId,
  seq: null,
  changedSeq: 0,
  role,
  type: 'TEXT',
  status: 'sending',
  senderId: null,
  clientId: null,
  content: '',
  metadata: {},
  attachments: [],
  mentions: [],
  replyTo: null,
  replyPreview: null,
  reactions: [],
  usage: null,
  createdAt: new Date().toISOString(),
  editedAt: null,
  deletedAt: null,
  version: 1,
  error: null,
});
