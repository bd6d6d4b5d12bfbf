import { Value } from './observable.js';
import type { Hearer, Transport, TransportName } from './transport.js';
import type { ChatEvent } from './types.js';

export interface ConnectionState {
  /** By which way events come now. */
  transport: TransportName | null;
  isConnected: boolean;
}

export interface Listener {
  event(event: ChatEvent): void;
  /** Whatever was missed has to be read: a transport came up, or came back. */
  catchUp(): void;
}

/** How long a transport may take to come up before the next one is started beside it. */
export const PATIENCE_MS = 4_000;

/**
 * Keeps the best transport that works. All before it go on trying; all after it rest. Two may be up at once for a moment:
 * their events are the same, and a chat takes each once.
 */
export class Connection {
  readonly state = new Value<ConnectionState>({ transport: null, isConnected: false });
  readonly #parts: { transport: Transport; isStarted: boolean; isUp: boolean; timer?: ReturnType<typeof setTimeout> }[];
  #isRunning = false;

  constructor(
    transports: readonly Transport[],
    private readonly listener: Listener,
    private readonly patienceMs = PATIENCE_MS,
  ) {
    this.#parts = transports.map((transport) => ({ transport, isStarted: false, isUp: false }));
  }

  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#begin(0);
  }

  stop(): void {
    this.#isRunning = false;
    this.#endFrom(0);
    this.state.set({ transport: null, isConnected: false });
  }

  wake(): void {
    for (const part of this.#parts) {
      if (part.isStarted) part.transport.wake();
    }
  }

  stir(): void {
    for (const { transport } of this.#parts) transport.stir?.();
  }

  see(isVisible: boolean): void {
    for (const { transport } of this.#parts) transport.see?.(isVisible);
  }

  watch(chatIds: readonly string[]): void {
    for (const { transport } of this.#parts) transport.watch?.(chatIds);
  }

  #begin(place: number): void {
    const part = this.#parts[place];
    if (!part || part.isStarted || !this.#isRunning) return;
    part.isStarted = true;
    const isLast = place === this.#parts.length - 1;
    if (!isLast) part.timer = setTimeout(() => this.#begin(place + 1), this.patienceMs);
    part.transport.start(this.#hearer(place));
  }

  #hearer(place: number): Hearer {
    const part = this.#parts[place];
    const isOn = () => this.#isRunning && part?.isStarted === true;
    return {
      up: () => {
        if (!part || !isOn()) return;
        clearTimeout(part.timer);
        part.isUp = true;
        this.#show();
        // First what was missed, for the one that told of things until now ends here.
        this.listener.catchUp();
        this.#endFrom(place + 1);
      },
      down: () => {
        if (!part || !isOn()) return;
        clearTimeout(part.timer);
        part.isUp = false;
        this.#begin(place + 1);
        this.#show();
      },
      event: (event) => {
        if (isOn()) this.listener.event(event);
      },
      missed: () => {
        if (isOn()) this.listener.catchUp();
      },
    };
  }

  #endFrom(place: number): void {
    for (const part of this.#parts.slice(place)) {
      clearTimeout(part.timer);
      if (part.isStarted) part.transport.stop();
      part.isStarted = false;
      part.isUp = false;
    }
    this.#show();
  }

  #show(): void {
    const up = this.#parts.find((part) => part.isUp);
    const before = this.state.get();
    const transport = up?.transport.name ?? null;
    if (before.transport !== transport) this.state.set({ transport, isConnected: transport !== null });
  }
}
