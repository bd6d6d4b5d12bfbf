import type { Connection, ConnectionState, Listener } from './connection.js';
import { Value } from './observable.js';
import { freshId } from './outbox.js';
import type { ChatEvent } from './types.js';

/** What is on a tab. */
interface Sight {
  chatIds: readonly string[];
  isVisible: boolean;
}

type Said =
  // By the one that has the connection.
  | { is: 'state'; state: ConnectionState }
  | { is: 'event'; event: ChatEvent }
  | { is: 'catchUp' }
  | { is: 'leader' }
  // By the others.
  | { is: 'newcomer' }
  | { is: 'sight'; tab: string; sight: Sight | null }
  | { is: 'wake' }
  | { is: 'stir' };

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
  readonly #id = freshId();
  #sight: Sight = { chatIds: [], isVisible: true };
  /** What is on the other tabs, for the one that has the connection. */
  readonly #others = new Map<string, Sight>();
  #unsubscribe: (() => void) | null = null;

  constructor(
    private readonly name: string,
    private readonly makeConnection: (listener: Listener) => Connection,
    private readonly listener: Listener,
    private readonly isAlone: boolean,
  ) {}

  /** What is on this tab: the connection is told of what is on any. */
  see(sight: Sight): void {
    this.#sight = sight;
    if (this.#connection) this.#tellSights();
    else this.#say({ is: 'sight', tab: this.#id, sight });
  }

  /** Whether somebody looks at any of the tabs. */
  get isVisible(): boolean {
    return [this.#sight, ...this.#others.values()].some((sight) => sight.isVisible);
  }

  /** The page or the network is back. */
  wake(): void {
    if (this.#connection) this.#connection.wake();
    else this.#say({ is: 'wake' });
  }

  /** Somebody does something on this page. */
  stir(): void {
    if (this.#connection) this.#connection.stir();
    else this.#say({ is: 'stir' });
  }

  #tellSights(): void {
    const sights = [this.#sight, ...this.#others.values()];
    this.#connection?.see(this.isVisible);
    this.#connection?.watch([...new Set(sights.flatMap(({ chatIds }) => chatIds))]);
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
    if (!this.#connection) this.#say({ is: 'sight', tab: this.#id, sight: null });
    this.#others.clear();
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
    this.#say({ is: 'leader' });
    this.#tellSights();
    connection.start();
  }

  #heard(said: Said): void {
    if (this.#connection) {
      if (said.is === 'newcomer') this.#say({ is: 'state', state: this.#connection.state.get() });
      else if (said.is === 'wake') this.#connection.wake();
      else if (said.is === 'stir') this.#connection.stir();
      else if (said.is === 'sight') {
        if (said.sight) this.#others.set(said.tab, said.sight);
        else this.#others.delete(said.tab);
        this.#tellSights();
      }
      return;
    }
    if (said.is === 'event') this.listener.event(said.event);
    else if (said.is === 'catchUp') this.listener.catchUp();
    else if (said.is === 'state') this.state.set({ ...said.state, isShared: true });
    else if (said.is === 'leader') this.see(this.#sight);
  }

  #say(said: Said): void {
    this.#channel?.postMessage(said);
  }
}
