import type { Api } from './api.js';
import { Backoff } from './backoff.js';
import { ApiError } from './problem.js';
import type { Hearer, Transport } from './transport.js';

/** While nobody looks, for those who hear of badges alone. */
const HIDDEN_EVERY_MS = 30_000;

/** Asks again and again whether anything happened, by an ETag; what it was is read by those whom it concerns. */
export class PollingTransport implements Transport {
  readonly name = 'polling';
  #hearer: Hearer | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #etag: string | null = null;
  #everyMs = 5_000;
  #isUp = false;
  /** Answers that come after a stop and another start are not of this round. */
  #round = 0;
  readonly #rest = new Backoff(1_000, 60_000);

  constructor(
    private readonly api: Pick<Api, 'unread'>,
    private readonly isLookedAt: () => boolean = () => true,
  ) {}

  start(hearer: Hearer): void {
    this.#hearer = hearer;
    this.#etag = null;
    this.#isUp = false;
    this.#rest.reset();
    void this.#ask();
  }

  stop(): void {
    this.#hearer = null;
    this.#round += 1;
    clearTimeout(this.#timer);
  }

  wake(): void {
    if (this.#hearer) void this.#ask();
  }

  async #ask(): Promise<void> {
    clearTimeout(this.#timer);
    this.#round += 1;
    const round = this.#round;
    let next: number;
    try {
      const news = await this.api.unread(1, this.#etag);
      if (round !== this.#round) return;
      this.#rest.reset();
      if (!this.#isUp) {
        this.#isUp = true;
        this.#hearer?.up();
      } else if (news) {
        this.#hearer?.missed();
      }
      if (news) {
        this.#etag = news.etag;
        this.#everyMs = news.body.pollAfterMs;
      }
      next = this.isLookedAt() ? this.#everyMs : Math.max(HIDDEN_EVERY_MS, this.#everyMs);
      next *= 0.9 + 0.2 * Math.random();
    } catch (error) {
      if (round !== this.#round) return;
      if (this.#isUp) {
        this.#isUp = false;
        this.#hearer?.down();
      }
      const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
      next = Math.max(asked, this.#rest.next());
    }
    if (this.#hearer) this.#timer = setTimeout(() => void this.#ask(), next);
  }
}
