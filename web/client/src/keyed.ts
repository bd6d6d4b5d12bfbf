import { Backoff } from './backoff.js';
import { ApiError, NetworkError } from './problem.js';

/** So often is it tried in all. */
const TRIES = 4;

/** Whether it may have been done all the same: no answer came, or one that says nothing of that. */
const isUncertain = (error: unknown): boolean =>
  error instanceof NetworkError || (error instanceof ApiError && error.status >= 500 && error.isRetryable);

/** Asks again while nobody knows whether it was done. What is asked has a key, so that it is done once. */
export async function keyed<T>(ask: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const rest = new Backoff(300, 4_000);
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!isUncertain(error) || tries >= TRIES || signal?.aborted) throw error;
      await new Promise((go) => setTimeout(go, rest.next()));
    }
  }
}
