import { type Fetch, type PusherSettings, Value } from '@backtalk/client';
import Pusher from 'pusher-js';

export interface Cuts {
  pusher: boolean;
  sse: boolean;
  network: boolean;
}

export interface PusherAddress {
  key: string;
  cluster: string;
  host: string | null;
  port: number | null;
  isSecure: boolean;
}

/** A network that can be cut in parts, to watch what a client does then. */
export class Switches {
  readonly cuts = new Value<Cuts>({ pusher: false, sse: false, network: false });
  readonly #pushers = new Set<Pusher>();
  readonly #running = new Map<AbortController, { isEventStream: boolean }>();

  set(part: keyof Cuts, isCut: boolean): void {
    this.cuts.update({ [part]: isCut });
    const { pusher, sse, network } = this.cuts.get();
    for (const one of this.#pushers) {
      if (pusher || network) one.disconnect();
      else if (one.connection.state === 'disconnected') one.connect();
    }
    for (const [request, { isEventStream }] of this.#running) {
      if (network || (sse && isEventStream)) request.abort();
    }
  }

  readonly fetch: Fetch = async (url, init = {}) => {
    const { sse, network } = this.cuts.get();
    const isEventStream = new URL(url).pathname === '/api/chat/stream';
    if (network || (sse && isEventStream)) throw new TypeError('cut');
    const request = new AbortController();
    const leave = () => request.abort();
    init.signal?.addEventListener('abort', leave);
    this.#running.set(request, { isEventStream });
    const answer = await fetch(url, { ...init, signal: request.signal }).catch((error: unknown) => {
      this.#running.delete(request);
      throw init.signal?.aborted ? error : new TypeError('cut');
    });
    // Cut also while its body comes, so it stays in the map until the map is large.
    if (this.#running.size > 200) this.#running.delete(this.#running.keys().next().value as AbortController);
    return answer;
  };

  pusher({ key, cluster, host, port, isSecure }: PusherAddress): PusherSettings {
    const pushers = this.#pushers;
    const cuts = this.cuts;
    class Cuttable extends Pusher {
      constructor(...given: ConstructorParameters<typeof Pusher>) {
        super(...given);
        pushers.add(this);
      }
      override connect(): void {
        if (!cuts.get().pusher && !cuts.get().network) super.connect();
      }
    }
    const own = host === null ? {} : { wsHost: host, wsPort: port ?? 80, wssPort: port ?? 443, forceTLS: isSecure };
    return { Pusher: Cuttable as unknown as PusherSettings['Pusher'], key, cluster, options: own };
  }
}
