import type { Connection, ConnectionState, Listener } from './connection.js';
import { Value } from './observable.js';
import type { ChatEvent } from './types.js';

type Said =
  | { is: 'state'; state: ConnectionState }
  | { is: 'event'; event: ChatEvent }
  | { is: 'catchUp' }
  | { is: 'newcomer' };

/** Whether tabs can agree on one of them: not in Node, nor in React Native. */
export const canShare = (): boolean =>
  typeof BroadcastChannel === 'function' && typeof navigator !== 'undefined' && 'locks' in navigator;

/**
 * One connection for all tabs of a person. Whoever holds the lock has it and passes on what it hears; when that tab goes,
 * the browser hands the lock to the next, which connects and has everybody catch up.
 */
export class Tabs {
  readonly state = new Value<ConnectionState & { isShared: boolean }>({
    transport: null,
    isConnected: false,
    isShared: false,
  });
  #channel: BroadcastChannel | null = null;
  #leave: AbortController | null = null;
  #release: (() => void) | null = null;
  #connection: Connection | null = null;
  #unsubscribe: (() => void) | null = null;

  constructor(
    private readonly name: string,
    private readonly makeConnection: (listener: Listener) => Connection,
    private readonly listener: Listener,
    private readonly isAlone: boolean,
  ) {}

  get connection(): Connection | null {
    return this.#connection;
  }

  start(): void {
    if (this.#leave) return;
    this.#leave = new AbortController();
    if (this.isAlone) {
      this.#lead();
      return;
    }
    this.#channel = new BroadcastChannel(this.name);
    this.#channel.onmessage = ({ data }: MessageEvent<Said>) => this.#heard(data);
    const { signal } = this.#leave;
    navigator.locks
      .request(this.name, { signal }, () => {
        if (signal.aborted) return undefined;
        this.#lead();
        return new Promise<void>((release) => {
          this.#release = release;
        });
      })
      .catch((error: unknown) => {
        // Storage is forbidden here, so that there are no locks either: each tab for itself.
        if (!signal.aborted && error instanceof Error) this.#lead();
      });
    this.#say({ is: 'newcomer' });
  }

  stop(): void {
    this.#leave?.abort();
    this.#leave = null;
    this.#release?.();
    this.#release = null;
    this.#unsubscribe?.();
    this.#connection?.stop();
    this.#connection = null;
    this.#channel?.close();
    this.#channel = null;
    this.state.set({ transport: null, isConnected: false, isShared: false });
  }

  #lead(): void {
    const connection = this.makeConnection({
      event: (event) => {
        this.listener.event(event);
        this.#say({ is: 'event', event });
      },
      catchUp: () => {
        this.listener.catchUp();
        this.#say({ is: 'catchUp' });
      },
    });
    this.#connection = connection;
    const show = () => {
      this.state.set({ ...connection.state.get(), isShared: false });
      this.#say({ is: 'state', state: connection.state.get() });
    };
    this.#unsubscribe = connection.state.subscribe(show);
    show();
    connection.start();
  }

  #heard(said: Said): void {
    if (this.#connection) {
      if (said.is === 'newcomer') this.#say({ is: 'state', state: this.#connection.state.get() });
      return;
    }
    if (said.is === 'event') this.listener.event(said.event);
    else if (said.is === 'catchUp') this.listener.catchUp();
    else if (said.is === 'state') this.state.set({ ...said.state, isShared: true });
  }

  #say(said: Said): void {
    this.#channel?.postMessage(said);
  }
}
