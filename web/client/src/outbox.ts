import type { Draft, Message } from './types.js';

/** A message on its way. */
export interface Unsent {
  clientId: string;
  chatId: string;
  draft: Draft;
  createdAt: string;
  state: 'sending' | 'failed';
  /** Why it failed, for people. */
  error: string | null;
  /** Failed for want of a network alone, so that it is tried again when there is one. */
  isOffline: boolean;
  /** The server has it; it stands here until its chat has reached its seq. */
  sent?: Message;
}

/** Where unsent messages outlive the page. */
export interface OutboxStorage {
  load(): Promise<Unsent[]>;
  put(entry: Unsent): Promise<void>;
  remove(clientId: string): Promise<void>;
  /** Tells what another tab has sent or given up. Answers what ends that. */
  watch?(gone: (clientId: string) => void): () => void;
}

/** The part of `localStorage`, or of React Native's `AsyncStorage`, that an outbox needs. */
export interface KeyValueStorage {
  getItem(key: string): string | null | Promise<string | null>;
  setItem(key: string, value: string): void | Promise<void>;
  removeItem(key: string): void | Promise<void>;
  /** `AsyncStorage` has this. */
  getAllKeys?(): Promise<readonly string[]>;
  /** `localStorage` has these. */
  readonly length?: number;
  key?(place: number): string | null;
}

export function memoryOutbox(): OutboxStorage {
  const entries = new Map<string, Unsent>();
  return {
    load: async () => [...entries.values()],
    put: async (entry) => void entries.set(entry.clientId, entry),
    remove: async (clientId) => void entries.delete(clientId),
  };
}

const prefixOf = (userId: string) => `backtalk:unsent:${userId}:`;

/** Which messages there are, where a storage does not say which keys it has. */
class Index {
  readonly #key: string;

  constructor(
    private readonly storage: KeyValueStorage,
    userId: string,
  ) {
    this.#key = `backtalk:unsent-of:${userId}`;
  }

  async read(): Promise<string[]> {
    const text = await this.storage.getItem(this.#key);
    try {
      const ids: unknown = JSON.parse(text ?? '[]');
      return Array.isArray(ids) ? ids.filter((id): id is string => typeof id === 'string') : [];
    } catch {
      return [];
    }
  }

  /** Reads before it writes: one change after the other. */
  async change(clientId: string, isThere: boolean): Promise<void> {
    const known = await this.read();
    if (known.includes(clientId) === isThere) return;
    const ids = isThere ? [...known, clientId] : known.filter((id) => id !== clientId);
    if (ids.length > 0) await this.storage.setItem(this.#key, JSON.stringify(ids));
    else await this.storage.removeItem(this.#key);
  }
}

/** One key a message, so that tabs which write at once do not undo each other. */
export function storedOutbox(storage: KeyValueStorage, userId: string): OutboxStorage {
  const prefix = prefixOf(userId);
  const hasKeys = storage.getAllKeys !== undefined || storage.key !== undefined;
  const index = hasKeys ? null : new Index(storage, userId);
  const allKeys = async (): Promise<readonly string[]> => {
    if (index) return (await index.read()).map((clientId) => prefix + clientId);
    if (storage.getAllKeys) return storage.getAllKeys();
    return Array.from({ length: storage.length ?? 0 }, (_, place) => storage.key?.(place) ?? '');
  };
  let writes = Promise.resolve();
  // A full or forbidden storage must not keep a message from being sent.
  const write = (work: () => Promise<void>): Promise<void> => {
    const tried = () => work().catch(() => {});
    if (!index) return tried();
    writes = writes.then(tried);
    return writes;
  };
  return {
    async load() {
      await writes;
      const entries: Unsent[] = [];
      for (const key of (await allKeys()).filter((key) => key.startsWith(prefix))) {
        const text = await storage.getItem(key);
        try {
          if (text) entries.push(JSON.parse(text) as Unsent);
        } catch {
          await storage.removeItem(key);
        }
      }
      return entries.sort((one, other) => one.createdAt.localeCompare(other.createdAt));
    },
    put: (entry) =>
      write(async () => {
        // First, for what is not in it is never found.
        if (index) await index.change(entry.clientId, true);
        await storage.setItem(prefix + entry.clientId, JSON.stringify(entry));
      }),
    remove: (clientId) =>
      write(async () => {
        await storage.removeItem(prefix + clientId);
        await index?.change(clientId, false);
      }),
  };
}

/** `localStorage` where there is one that may be used, memory elsewhere. */
export function defaultOutbox(userId: string): OutboxStorage {
  try {
    if (typeof localStorage !== 'undefined') return { ...storedOutbox(localStorage, userId), watch: watching(userId) };
  } catch {
    // A browser that forbids it throws at the mere look.
  }
  return memoryOutbox();
}

/** A browser tells each tab what the others have changed. */
const watching = (userId: string) => (gone: (clientId: string) => void) => {
  const prefix = prefixOf(userId);
  const heard = ({ key, newValue }: StorageEvent) => {
    if (key?.startsWith(prefix) && newValue === null) gone(key.slice(prefix.length));
  };
  window.addEventListener('storage', heard);
  return () => window.removeEventListener('storage', heard);
};

/** Unique also where `crypto.randomUUID` is missing: on pages without TLS, and in React Native. */
export function freshId(): string {
  if (typeof crypto !== 'undefined' && typeof crypto.randomUUID === 'function') return crypto.randomUUID();
  const random = () => Math.random().toString(36).slice(2, 12).padEnd(10, '0');
  return `${Date.now().toString(36)}-${random()}${random()}`;
}
