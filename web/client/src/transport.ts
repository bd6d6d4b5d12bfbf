import type { ChatEvent } from './types.js';

export type TransportName = 'pusher' | 'sse' | 'polling';

/** What a transport tells of itself and of what happens. */
export interface Hearer {
  /** It hears from now on; what happened before has to be caught up with. */
  up(): void;
  /** It hears nothing any more, and tries to come back by itself. */
  down(): void;
  event(event: ChatEvent): void;
  /** Something may have happened that it did not hear of. */
  missed(): void;
}

export interface Transport {
  readonly name: TransportName;
  start(hearer: Hearer): void;
  stop(): void;
  /** The network or the page is back: try at once. */
  wake(): void;
  /** Somebody does something, so that more may happen soon. */
  stir?(): void;
  /** Whether anybody looks. */
  see?(isVisible: boolean): void;
  /** Which chats are on a page, for transports that have rooms. */
  watch?(chatIds: readonly string[]): void;
}
