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
  /** `AsyncStorage` has this; of `localStorage` the keys are its own properties. */
  getAllKeys?(): Promise<readonly string[]>;
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

/** One key a message, so that tabs which write at once do not undo each other. */
export function storedOutbox(storage: KeyValueStorage, userId: string): OutboxStorage {
  const prefix = prefixOf(userId);
  return {
    async load() {
      const keys = storage.getAllKeys ? await storage.getAllKeys() : Object.keys(storage);
      const entries: Unsent[] = [];
      for (const key of keys.filter((key) => key.startsWith(prefix))) {
        const text = await storage.getItem(key);
        try {
          if (text) entries.push(JSON.parse(text) as Unsent);
        } catch {
          await storage.removeItem(key);
        }
      }
      return entries.sort((one, other) => one.createdAt.localeCompare(other.createdAt));
    },
    // A full or forbidden storage must not keep a message from being sent.
    put: async (entry) => {
      try {
        await storage.setItem(prefix + entry.clientId, JSON.stringify(entry));
      } catch {}
    },
    remove: async (clientId) => {
      try {
        await storage.removeItem(prefix + clientId);
      } catch {}
    },
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
