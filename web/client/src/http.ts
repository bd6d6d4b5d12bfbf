import { ApiError, NetworkError } from './problem.js';
import type { Problem } from './types.js';

/** Answers a JWT. Called with `isRefused` after the last one was refused: then it must be a fresh one. */
export type TokenProvider = (asked: { isRefused: boolean }) => string | Promise<string>;

export type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

export interface Ask {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  query?: Record<string, string | number | boolean | null | undefined>;
  /** Sent as JSON; a form is sent as it is. */
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Goes on when the page is closed. */
  keepalive?: boolean;
}

const REQUEST_PATIENCE_MS = 30_000;

/** Requests as one person: the token, the problem documents and the time limits. */
export class Http {
  #token: Promise<string> | null = null;

  constructor(
    readonly baseUrl: string,
    private readonly provider: TokenProvider,
    private readonly fetch: Fetch,
  ) {}

  token(): Promise<string> {
    return this.#fresh(false);
  }

  /** One refresh for all requests that were refused together. */
  #fresh(isRefused: boolean): Promise<string> {
    if (isRefused) this.#token = null;
    if (!this.#token) {
      const asked = Promise.resolve()
        .then(() => this.provider({ isRefused }))
        .catch((error: unknown) => {
          // What fetch says when there is no network.
          throw error instanceof TypeError ? new NetworkError(error.message) : error;
        });
      this.#token = asked;
      asked.catch(() => {
        if (this.#token === asked) this.#token = null;
      });
    }
    return this.#token;
  }

  url(path: string, query: Ask['query'] = {}): string {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    const text = given.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&');
    return `${this.baseUrl}${path}${text ? `?${text}` : ''}`;
  }

  /** The answer's head, whatever its status but 401, which is asked again with a fresh token. */
  async request(path: string, ask: Ask = {}): Promise<Response> {
    const asked = this.token();
    const answer = await this.#send(path, ask, await asked);
    if (answer.status !== 401) return answer;
    // Another request may have had it refreshed meanwhile.
    const next = this.#token === asked ? this.#fresh(true) : this.token();
    return this.#send(path, ask, await next);
  }

  async #send(path: string, ask: Ask, token: string): Promise<Response> {
    const headers: Record<string, string> = { authorization: `Bearer ${token}`, ...ask.headers };
    const isForm = ask.body instanceof URLSearchParams;
    if (isForm) headers['content-type'] = 'application/x-www-form-urlencoded';
    else if (ask.body !== undefined) headers['content-type'] = 'application/json';
    try {
      return await this.fetch(this.url(path, ask.query), {
        method: ask.method ?? 'GET',
        headers,
        body: ask.body === undefined ? undefined : isForm ? String(ask.body) : JSON.stringify(ask.body),
        signal: ask.signal,
        keepalive: ask.keepalive,
        // What was said stays in no cache of a shared machine. Whoever asks by an ETag has what it names.
        cache: 'no-store',
      });
    } catch (error) {
      if (ask.signal?.aborted) throw error;
      throw new NetworkError(error instanceof Error ? error.message : 'no answer');
    }
  }

  /** The same, of an answer that is read while it comes: its head is waited for no longer than a whole answer elsewhere. */
  async head(path: string, ask: Ask): Promise<Response> {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), REQUEST_PATIENCE_MS);
    // Left, too, while its body comes.
    ask.signal?.addEventListener('abort', () => patience.abort());
    if (ask.signal?.aborted) patience.abort();
    try {
      return await this.request(path, { ...ask, signal: patience.signal });
    } catch (error) {
      if (patience.signal.aborted && !ask.signal?.aborted) throw new NetworkError('no answer in time');
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The answer's JSON; `null` where it has none. A refusal is an {@link ApiError}. */
  json<T>(path: string, ask: Ask = {}): Promise<T> {
    return this.#patiently(ask, async (asked) => {
      const answer = await this.request(path, asked);
      if (!answer.ok) throw await refusal(answer);
      if (answer.status === 204) return null as T;
      return (await answer.json()) as T;
    });
  }

  /** Like {@link json}, with what is known by its ETag: `null` where nothing has changed. */
  ifChanged<T>(path: string, ask: Ask, etag: string | null): Promise<{ body: T; etag: string | null } | null> {
    return this.#patiently(ask, async (asked) => {
      const headers = etag ? { ...asked.headers, 'if-none-match': etag } : asked.headers;
      const answer = await this.request(path, { ...asked, headers });
      if (answer.status === 304) return null;
      if (!answer.ok) throw await refusal(answer);
      return { body: (await answer.json()) as T, etag: answer.headers.get('etag') };
    });
  }

  async #patiently<T>(ask: Ask, work: (ask: Ask) => Promise<T>): Promise<T> {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), REQUEST_PATIENCE_MS);
    const leave = () => patience.abort();
    ask.signal?.addEventListener('abort', leave);
    try {
      return await work({ ...ask, signal: patience.signal });
    } catch (error) {
      if (ask.signal?.aborted) throw error;
      if (patience.signal.aborted) throw new NetworkError('no answer in time');
      // A body that broke off.
      if (error instanceof TypeError || error instanceof SyntaxError) throw new NetworkError(error.message);
      throw error;
    } finally {
      clearTimeout(timer);
      ask.signal?.removeEventListener('abort', leave);
    }
  }
}

export async function refusal(answer: Response): Promise<ApiError> {
  const retryAfter = Number(answer.headers.get('retry-after'));
  const fallback: Problem = { type: 'about:blank', title: `HTTP ${answer.status}`, status: answer.status };
  const body: unknown = await answer.json().catch(() => null);
  const isProblem = typeof body === 'object' && body !== null && 'title' in body;
  // A gateway's own refusal has no problem document.
  const problem = isProblem ? { ...fallback, ...(body as Problem), status: answer.status } : fallback;
  return new ApiError(problem, retryAfter > 0 ? retryAfter * 1000 : null);
}
