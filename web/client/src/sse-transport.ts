import type { Api } from './api.js';
import { Backoff } from './backoff.js';
import { ApiError } from './problem.js';
import { CROWDED_REST_MS, readEvents } from './sse.js';
import type { Hearer, Transport } from './transport.js';
import type { ChatEvent, Problem } from './types.js';

/** So long after the last tab was hidden the stream is left: on AWS an open one is paid for by the second. */
export const HIDDEN_PATIENCE_MS = 30_000;
/** A stream that is not there by then never comes. */
const PATIENCE_MS = 10_000;
/** When the network is said to be back, a try is given so long before another: pages say it in bursts. */
const YOUNG_MS = 1_000;

/** The event stream of one person, over `fetch`, which can send a token with it. */
export class SseTransport implements Transport {
  readonly name = 'sse';
  #hearer: Hearer | null = null;
  #leave: AbortController | null = null;
  /** Since when the present try waits for the server; 0 while events come, or nobody tries. */
  #triedAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hiding: ReturnType<typeof setTimeout> | undefined;
  #isVisible = true;
  /** Left because nobody looks. */
  #isAsleep = false;
  /** Where to go on; nothing between two connections is missed. */
  #last: string | null = null;
  readonly #rest = new Backoff(500, 30_000);

  constructor(private readonly api: Pick<Api, 'events'>) {}

  start(hearer: Hearer): void {
    this.#hearer = hearer;
    // What happened while another transport was heard is known from there.
    this.#last = null;
    this.#isAsleep = false;
    this.#rest.reset();
    this.see(this.#isVisible);
    void this.#connect();
  }

  stop(): void {
    this.#hearer = null;
    this.#disconnect();
    clearTimeout(this.#hiding);
  }

  wake(): void {
    if (!this.#hearer || this.#isAsleep) return;
    if (this.#leave) {
      if (!this.#triedAt) return;
      // A try that began while the network was cut hangs until its patience ends.
      const young = this.#triedAt + YOUNG_MS - Date.now();
      if (young > 0) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.wake(), young);
        return;
      }
      this.#disconnect();
    }
    this.#rest.reset();
    void this.#connect();
  }

  see(isVisible: boolean): void {
    this.#isVisible = isVisible;
    clearTimeout(this.#hiding);
    if (!this.#hearer) return;
    if (!isVisible) {
      this.#hiding = setTimeout(() => this.#sleep(), HIDDEN_PATIENCE_MS);
    } else if (this.#isAsleep) {
      this.#isAsleep = false;
      this.wake();
    }
  }

  #sleep(): void {
    if (this.#isAsleep) return;
    this.#isAsleep = true;
    this.#disconnect();
    // What follows this one goes on meanwhile, if there is any.
    this.#hearer?.down();
  }

  #disconnect(): void {
    clearTimeout(this.#timer);
    this.#leave?.abort();
    this.#leave = null;
    this.#triedAt = 0;
  }

  async #connect(): Promise<void> {
    clearTimeout(this.#timer);
    const leave = new AbortController();
    this.#leave = leave;
    this.#triedAt = Date.now();
    /** Nobody answers: that is no wish of ours, as to leave is. */
    const late = new AbortController();
    const patience = setTimeout(() => late.abort(), PATIENCE_MS);
    leave.signal.addEventListener('abort', () => late.abort());
    let isPlanned = false;
    let wait = 0;
    try {
      const answer = await this.api.events(this.#last, late.signal);
      await readEvents(answer, ({ id, event, data }) => {
        if (leave.signal.aborted) return;
        if (id) this.#last = id;
        if (event === 'ready') {
          clearTimeout(patience);
          clearTimeout(this.#timer);
          this.#triedAt = 0;
          this.#rest.reset();
          this.#hearer?.up();
        } else if (event === 'resync') {
          this.#hearer?.missed();
        } else if (event === 'reconnect') {
          isPlanned = true;
        } else if (event === 'error') {
          if ((JSON.parse(data) as Problem).type === 'too-many-streams') wait = CROWDED_REST_MS;
        } else if (data) {
          this.#hearer?.event(JSON.parse(data) as ChatEvent);
        }
      });
    } catch (error) {
      if (error instanceof ApiError) wait = error.retryAfterMs ?? 0;
    } finally {
      clearTimeout(patience);
    }
    if (leave.signal.aborted) return;
    this.#leave = null;
    this.#triedAt = 0;
    // A planned end is no fault: whoever listens hears on.
    if (!isPlanned) this.#hearer?.down();
    this.#timer = setTimeout(() => void this.#connect(), isPlanned ? 0 : Math.max(wait, this.#rest.next()));
  }
}
