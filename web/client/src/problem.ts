import type { Problem } from './types.js';

/** A refusal by the server, as it explained itself. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    readonly problem: Problem,
    /** What `Retry-After` said, in milliseconds. */
    readonly retryAfterMs: number | null = null,
  ) {
    super(problem.detail || problem.title);
  }

  get status(): number {
    return this.problem.status;
  }

  /** Whether the same request may succeed later. */
  get isRetryable(): boolean {
    return this.problem.retryable ?? (this.status >= 500 || this.status === 429 || this.status === 408);
  }
}

/** No answer came: no network, a closed connection, a server that is gone. */
export class NetworkError extends Error {
  override readonly name = 'NetworkError';
}

export const mayPass = (error: unknown): boolean =>
  error instanceof NetworkError || (error instanceof ApiError && error.isRetryable);

export const isOffline = (error: unknown): boolean => error instanceof NetworkError;
