import { Backoff } from './backoff.js';
import type { Http } from './http.js';
import type { Hearer, Transport } from './transport.js';
import type { ChatEvent, EventType } from './types.js';

/** What is used of a pusher-js channel. */
export interface PusherChannel {
  bind(event: string, hear: (data: never) => void): unknown;
  unbind(): unknown;
}

/** What is used of pusher-js, so that it stays an optional peer. */
export interface PusherLike {
  connection: { state: string; bind(event: string, hear: (data: never) => void): unknown; unbind(): unknown };
  subscribe(channel: string): PusherChannel;
  unsubscribe(channel: string): void;
  connect(): void;
  disconnect(): void;
}

export interface PusherSettings {
  /** `import Pusher from 'pusher-js'`: the class itself. */
  Pusher: new (
    key: string,
    // biome-ignore lint/suspicious/noExplicitAny: of an optional peer, whose types are not ours to name
    options: any,
  ) => PusherLike;
  key: string;
  cluster?: string;
  /** Whatever else pusher-js takes: `wsHost`, `wsPort`, `forceTLS`… */
  options?: Record<string, unknown>;
}

const NAMES: readonly EventType[] = [
  'message.created',
  'message.updated',
  'message.deleted',
  'reaction.changed',
  'chat.updated',
  'chat.deleted',
  'member.added',
  'member.removed',
  'read',
  'reply.started',
  'reply.reasoning',
  'reply.delta',
  'reply.ended',
  'typing',
  'presence',
];

/** A person's channel; ids with characters that Pusher does not allow are base64url after `=`. */
export function personalChannel(userId: string): string {
  if (/^[A-Za-z0-9_\-@,.;]+$/.test(userId)) return `private-user-${userId}`;
  const bytes = Array.from(new TextEncoder().encode(userId), (byte) => String.fromCharCode(byte)).join('');
  return `private-user-=${btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`;
}

const roomOf = (chatId: string) => `presence-chat-${chatId}`;

/** Pusher's channels of one person: fast, and without a promise that everything arrives. */
export class PusherTransport implements Transport {
  readonly name = 'pusher';
  #hearer: Hearer | null = null;
  #pusher: PusherLike | null = null;
  #watched: readonly string[] = [];
  readonly #rooms = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #rest = new Backoff(1_000, 60_000);

  constructor(
    private readonly settings: PusherSettings,
    private readonly http: Http,
    private readonly userId: () => string,
  ) {}

  start(hearer: Hearer): void {
    this.#hearer = hearer;
    const { Pusher, key, cluster = '', options = {} } = this.settings;
    const pusher = new Pusher(key, {
      cluster,
      enabledTransports: ['ws', 'wss'],
      disableStats: true,
      // A connection that was cut without a word is noticed in seconds; left alone, in two and a half minutes.
      activityTimeout: 20_000,
      pongTimeout: 5_000,
      ...options,
      channelAuthorization: {
        endpoint: '',
        transport: 'ajax',
        customHandler: (
          asked: { socketId: string; channelName: string },
          answer: (error: Error | null, data: unknown) => void,
        ) => {
          this.#authorize(asked.socketId, asked.channelName).then(
            (data) => answer(null, data),
            (error: Error) => answer(error, null),
          );
        },
      },
    });
    this.#pusher = pusher;
    pusher.connection.bind('state_change', (({ current, previous }: { current: string; previous: string }) => {
      if (pusher !== this.#pusher) return;
      if (previous === 'connected' || current === 'unavailable' || current === 'failed') this.#hearer?.down();
    }) as never);
    this.#subscribe();
  }

  stop(): void {
    this.#hearer = null;
    clearTimeout(this.#timer);
    const pusher = this.#pusher;
    this.#pusher = null;
    this.#rooms.clear();
    pusher?.connection.unbind();
    pusher?.disconnect();
  }

  wake(): void {
    // It waits up to fifteen seconds by itself.
    if (this.#pusher && this.#pusher.connection.state !== 'connected') this.#pusher.connect();
  }

  watch(chatIds: readonly string[]): void {
    this.#watched = chatIds;
    const pusher = this.#pusher;
    if (!pusher) return;
    for (const id of this.#rooms) {
      if (chatIds.includes(id)) continue;
      this.#rooms.delete(id);
      pusher.unsubscribe(roomOf(id));
    }
    for (const id of chatIds) {
      if (this.#rooms.has(id)) continue;
      this.#rooms.add(id);
      const channel = pusher.subscribe(roomOf(id));
      channel.bind('pusher:subscription_succeeded', (({ members = {} }: { members?: Record<string, unknown> }) => {
        for (const userId of Object.keys(members)) this.#sees(id, userId, true);
      }) as never);
      channel.bind('pusher:member_added', ((member: { id: string }) => this.#sees(id, member.id, true)) as never);
      channel.bind('pusher:member_removed', ((member: { id: string }) => this.#sees(id, member.id, false)) as never);
    }
  }

  /** What the server would say of somebody's coming and going, without the way by the server. */
  #sees(chatId: string, userId: string, online: boolean): void {
    if (userId === this.userId()) return;
    const lastSeenAt = new Date().toISOString();
    this.#hearer?.event({ type: 'presence', chatId, data: { userId, online, lastSeenAt } });
  }

  #subscribe(): void {
    const pusher = this.#pusher;
    if (!pusher) return;
    const name = personalChannel(this.userId());
    const channel = pusher.subscribe(name);
    channel.bind('pusher:subscription_succeeded', (() => {
      this.#rest.reset();
      this.#hearer?.up();
      this.watch(this.#watched);
    }) as never);
    channel.bind('pusher:subscription_error', (() => {
      this.#hearer?.down();
      channel.unbind();
      pusher.unsubscribe(name);
      this.#timer = setTimeout(() => this.#subscribe(), this.#rest.next());
    }) as never);
    for (const type of NAMES) {
      const heard = type === 'message.created' ? 'chat-message' : type;
      channel.bind(heard, ((event: ChatEvent) => this.#hearer?.event(event)) as never);
    }
  }

  async #authorize(socketId: string, channelName: string): Promise<unknown> {
    const body = new URLSearchParams({ socket_id: socketId, channel_name: channelName });
    return this.http.json('/api/pusher/auth', { method: 'POST', body });
  }
}
