import type { Api } from './api.js';
import { Backoff } from './backoff.js';
import type { ChatSession } from './chat.js';
import { freshId, type OutboxStorage, type Unsent } from './outbox.js';
import { ApiError, isOffline, mayPass, NetworkError } from './problem.js';
import { readEvents } from './sse.js';
import type { ChatEvent, Draft, Message, ReplyState } from './types.js';

const isOver = (state: ReplyState) => state === 'completed' || state === 'failed' || state === 'stopped';

/** So often is a message tried before it is shown as failed. */
const TRIES = 4;

export interface SenderHost {
  readonly api: Pick<Api, 'send' | 'sendStreaming'>;
  readonly session: (chatId: string) => ChatSession;
  /** Whether the answer is streamed in the response. */
  readonly streams: (chatId: string) => boolean;
  readonly isLive: () => boolean;
  readonly isOnline: () => boolean;
}

/**
 * Brings messages to the server, those of one chat one after the other. However often one is tried, its `clientId` makes
 * it one message.
 */
export class Sender {
  readonly #entries = new Map<string, Unsent>();
  readonly #busy = new Set<string>();
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  /** How often each was tried in vain. */
  readonly #tries = new Map<string, { count: number; rest: Backoff }>();
  /** What another tab has sent or given up. */
  readonly #elsewhere = new Set<string>();
  #storage: OutboxStorage | null = null;
  #unwatch: (() => void) | undefined;

  constructor(private readonly host: SenderHost) {}

  /** Takes up what an earlier page could not send. */
  async begin(storage: OutboxStorage): Promise<void> {
    this.#storage = storage;
    this.#unwatch?.();
    this.#unwatch = storage.watch?.((clientId) => this.#wentElsewhere(clientId));
    for (const entry of this.#entries.values()) await storage.put(entry);
    for (const entry of await storage.load()) {
      if (this.#entries.has(entry.clientId)) continue;
      this.#entries.set(entry.clientId, entry);
      this.#show(entry.chatId);
    }
    this.wake();
  }

  of(chatId: string): readonly Unsent[] {
    return [...this.#entries.values()].filter((entry) => entry.chatId === chatId);
  }

  send(chatId: string, draft: Draft): string {
    const entry: Unsent = {
      clientId: freshId(),
      chatId,
      draft,
      createdAt: new Date().toISOString(),
      state: 'sending',
      error: null,
      isOffline: false,
    };
    this.#keep(entry);
    void this.#pump(chatId);
    return entry.clientId;
  }

  retry(clientId: string): void {
    const entry = this.#entries.get(clientId);
    if (entry?.state !== 'failed') return;
    this.#keep({ ...entry, state: 'sending', error: null, isOffline: false });
    void this.#pump(entry.chatId);
  }

  discard(clientId: string): void {
    const entry = this.#entries.get(clientId);
    if (!entry) return;
    this.#forget(entry);
    this.#show(entry.chatId);
  }

  /** The network is back. */
  wake(): void {
    for (const entry of [...this.#entries.values()]) {
      if (entry.state === 'failed' && entry.isOffline) this.retry(entry.clientId);
    }
    for (const chatId of new Set([...this.#entries.values()].map((entry) => entry.chatId))) {
      if (this.#timers.has(chatId)) {
        clearTimeout(this.#timers.get(chatId));
        this.#timers.delete(chatId);
        this.#busy.delete(chatId);
      }
      void this.#pump(chatId);
    }
  }

  /** A chat has this message in its place. */
  arrived(message: Message): void {
    if (!message.clientId) return;
    const entry = this.#entries.get(message.clientId);
    if (entry?.chatId === message.chatId) this.#forget(entry);
  }

  stop(): void {
    this.#unwatch?.();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#busy.clear();
  }

  #keep(entry: Unsent): void {
    this.#entries.set(entry.clientId, entry);
    if (entry.sent) void this.#storage?.remove(entry.clientId);
    else void this.#storage?.put(entry);
    this.#show(entry.chatId);
  }

  #forget(entry: Unsent): void {
    this.#entries.delete(entry.clientId);
    this.#tries.delete(entry.clientId);
    void this.#storage?.remove(entry.clientId);
  }

  #wentElsewhere(clientId: string): void {
    const entry = this.#entries.get(clientId);
    // What this tab has sent itself is removed as well, and stands here until its chat has it.
    if (!entry || entry.sent) return;
    this.#elsewhere.add(clientId);
    const forget = () => {
      this.#elsewhere.delete(clientId);
      this.#entries.delete(clientId);
      this.#tries.delete(clientId);
      this.#show(entry.chatId);
    };
    // If it was sent, its message takes its place; if it was given up, nothing does.
    const session = this.host.session(entry.chatId);
    if (session.isOpen) void session.sync().then(forget);
    else forget();
  }

  #show(chatId: string): void {
    this.host.session(chatId).show();
  }

  async #pump(chatId: string): Promise<void> {
    if (this.#busy.has(chatId)) return;
    this.#busy.add(chatId);
    for (;;) {
      const next = this.of(chatId).find(
        (entry) => entry.state === 'sending' && !entry.sent && !this.#elsewhere.has(entry.clientId),
      );
      if (!next || !this.host.isOnline()) break;
      try {
        await this.#deliver(next);
      } catch (error) {
        // It was given up, or came by another way.
        if (!this.#entries.has(next.clientId)) continue;
        const tries = this.#tries.get(next.clientId) ?? { count: 0, rest: new Backoff(600, 8_000) };
        this.#tries.set(next.clientId, tries);
        tries.count += 1;
        if (!mayPass(error) || tries.count >= TRIES) {
          const reason = isOffline(error) ? 'no connection' : error instanceof Error ? error.message : String(error);
          this.#keep({ ...next, state: 'failed', error: reason, isOffline: isOffline(error) });
          this.#tries.delete(next.clientId);
          continue;
        }
        const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
        const timer = setTimeout(
          () => {
            this.#timers.delete(chatId);
            this.#busy.delete(chatId);
            void this.#pump(chatId);
          },
          Math.max(asked, tries.rest.next()),
        );
        this.#timers.set(chatId, timer);
        return;
      }
    }
    this.#busy.delete(chatId);
  }

  async #deliver(entry: Unsent): Promise<void> {
    const session = this.host.session(entry.chatId);
    if (!this.host.streams(entry.chatId)) {
      const { message, reply } = await this.host.api.send(entry.chatId, entry.clientId, entry.draft);
      this.#accepted(entry, message, session);
      if (reply && !isOver(reply.state)) session.expect(reply.id);
      if (reply && !this.host.isLive()) void session.follow(reply.id);
      return;
    }
    const leave = new AbortController();
    const answer = await this.host.api.sendStreaming(entry.chatId, entry.clientId, entry.draft, leave.signal);
    await this.#stream(entry, answer, session);
  }

  /** Until the message is accepted; the answer is heard on. */
  #stream(entry: Unsent, answer: Response, session: ChatSession): Promise<void> {
    return new Promise<void>((accept, refuse) => {
      let isEnded = false;
      const hear = ({ event, data }: { event?: string; data: string }) => {
        if (event === 'reconnect' || !data) return;
        if (event === 'error') {
          refuse(new ApiError(JSON.parse(data)));
          return;
        }
        const heard = JSON.parse(data) as ChatEvent;
        if (heard.type === 'message.created' && heard.data.clientId === entry.clientId) {
          this.#accepted(entry, heard.data, session);
          accept();
        }
        session.take(heard);
        if (heard.type === 'reply.ended') isEnded = true;
      };
      readEvents(answer, hear)
        .catch(() => {})
        .then(() => {
          refuse(new NetworkError('the answer broke off'));
          // Nothing refuses what was accepted before.
          if (!isEnded && !this.#isWaiting(entry)) void session.follow();
        });
    });
  }

  #isWaiting(entry: Unsent): boolean {
    const now = this.#entries.get(entry.clientId);
    return now !== undefined && !now.sent;
  }

  #accepted(entry: Unsent, message: Message, session: ChatSession): void {
    if (!this.#entries.has(entry.clientId)) return;
    if (session.isOpen && session.seq < message.seq) {
      // Shown as sent at once; it moves to its place when the chat has reached its seq.
      this.#keep({ ...entry, sent: message });
      session.take({
        type: 'message.created',
        chatId: message.chatId,
        seq: message.seq,
        at: message.createdAt,
        data: message,
      });
    } else {
      this.#forget(entry);
      session.show();
    }
  }
}
