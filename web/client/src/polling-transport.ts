import type { Api } from './api.js';
import { Backoff } from './backoff.js';
import { ApiError } from './problem.js';
import type { Hearer, Transport } from './transport.js';

/** While something happens; the server may want it slower, by `pollAfterMs`. */
const BUSY_EVERY_MS = 2_000;
/** While nothing does, and while nobody looks. */
const IDLE_EVERY_MS = 30_000;
/** A poll every fifteenth part of the quiet so far: every 2 s for half a minute, every 4 s after one, every 30 s after eight. */
const POLLS_A_QUIET = 15;
/** Whatever has not answered by then is cut off, whatever the browser thinks. */
const PATIENCE_MS = 8_000;

/** Asks again and again whether anything happened, by an ETag; what it was is read by those whom it concerns. */
export class PollingTransport implements Transport {
  readonly name = 'polling';
  #hearer: Hearer | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #etag: string | null = null;
  #everyMs = BUSY_EVERY_MS;
  #isUp = false;
  #isVisible = true;
  /** When something happened last, here or elsewhere. */
  #busyAt = 0;
  #askedAt = 0;
  /** How the present poll, or the last one, went. */
  #isAsking = false;
  #hasFailed = false;
  /** Answers that come after a stop and another start are not of this round. */
  #round = 0;
  readonly #rest = new Backoff(1_000, 60_000);

  constructor(private readonly api: Pick<Api, 'unread'>) {}

  start(hearer: Hearer): void {
    this.#hearer = hearer;
    this.#etag = null;
    this.#isUp = false;
    this.#rest.reset();
    this.#busyAt = Date.now();
    void this.#ask();
  }

  stop(): void {
    this.#hearer = null;
    this.#round += 1;
    clearTimeout(this.#timer);
  }

  wake(): void {
    if (!this.#hearer) return;
    this.#busyAt = Date.now();
    void this.#ask();
  }

  /** Somebody does something, so that others may answer: no faster than while busy, and not before a server's refusal allows. */
  stir(): void {
    this.#busyAt = Date.now();
    if (!this.#hearer || this.#isAsking || this.#hasFailed) return;
    this.#askIn(Math.max(0, this.#askedAt + this.#pause() - Date.now()));
  }

  see(isVisible: boolean): void {
    this.#isVisible = isVisible;
  }

  #pause(): number {
    const quietMs = this.#isVisible ? (Date.now() - this.#busyAt) / POLLS_A_QUIET : IDLE_EVERY_MS;
    const everyMs = Math.max(this.#everyMs, Math.min(IDLE_EVERY_MS, quietMs));
    // Never less: the server may mean it.
    return everyMs * (1 + 0.2 * Math.random());
  }

  #askIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), ms);
  }

  async #ask(): Promise<void> {
    clearTimeout(this.#timer);
    this.#round += 1;
    const round = this.#round;
    this.#askedAt = Date.now();
    this.#isAsking = true;
    const leave = new AbortController();
    const patience = setTimeout(() => leave.abort(), PATIENCE_MS);
    let next: number;
    try {
      const news = await this.api.unread(1, this.#etag, leave.signal);
      if (round !== this.#round) return;
      this.#rest.reset();
      this.#hasFailed = false;
      if (!this.#isUp) {
        this.#isUp = true;
        this.#hearer?.up();
      } else if (news) {
        this.#busyAt = Date.now();
        this.#hearer?.missed();
      }
      if (news) {
        this.#etag = news.etag;
        this.#everyMs = news.body.pollAfterMs;
      }
      next = this.#pause();
    } catch (error) {
      if (round !== this.#round) return;
      this.#hasFailed = true;
      if (this.#isUp) {
        this.#isUp = false;
        this.#hearer?.down();
      }
      const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
      next = Math.max(asked, this.#rest.next());
    } finally {
      clearTimeout(patience);
      if (round === this.#round) this.#isAsking = false;
    }
    if (this.#hearer) this.#askIn(next);
  }
}
