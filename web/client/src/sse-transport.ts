import type { Api } from './api.js';
import { Backoff } from './backoff.js';
import { ApiError } from './problem.js';
import { readEvents } from './sse.js';
import type { Hearer, Transport } from './transport.js';
import type { ChatEvent } from './types.js';

/** The event stream of one person, over `fetch`, which can send a token with it. */
export class SseTransport implements Transport {
  readonly name = 'sse';
  #hearer: Hearer | null = null;
  #leave: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Where to go on; nothing between two connections is missed. */
  #last: string | null = null;
  readonly #rest = new Backoff(500, 30_000);

  constructor(private readonly api: Pick<Api, 'events'>) {}

  start(hearer: Hearer): void {
    this.#hearer = hearer;
    // What happened while another transport was heard is known from there.
    this.#last = null;
    this.#rest.reset();
    void this.#connect();
  }

  stop(): void {
    this.#hearer = null;
    clearTimeout(this.#timer);
    this.#leave?.abort();
    this.#leave = null;
  }

  wake(): void {
    if (this.#leave || !this.#hearer) return;
    this.#rest.reset();
    void this.#connect();
  }

  async #connect(): Promise<void> {
    clearTimeout(this.#timer);
    const leave = new AbortController();
    this.#leave = leave;
    let isPlanned = false;
    let wait = 0;
    try {
      const answer = await this.api.events(this.#last, leave.signal);
      await readEvents(answer, ({ id, event, data }) => {
        if (leave.signal.aborted) return;
        if (id) this.#last = id;
        if (event === 'ready') {
          this.#rest.reset();
          this.#hearer?.up();
        } else if (event === 'resync') {
          this.#hearer?.missed();
        } else if (event === 'reconnect') {
          isPlanned = true;
        } else if (event !== 'error' && data) {
          this.#hearer?.event(JSON.parse(data) as ChatEvent);
        }
      });
    } catch (error) {
      if (error instanceof ApiError) wait = error.retryAfterMs ?? 0;
    }
    if (leave.signal.aborted) return;
    this.#leave = null;
    // A planned end is no fault: whoever listens hears on.
    if (!isPlanned) this.#hearer?.down();
    this.#timer = setTimeout(() => void this.#connect(), isPlanned ? 0 : Math.max(wait, this.#rest.next()));
  }
}
