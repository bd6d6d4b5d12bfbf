import type { BacktalkClient, BacktalkOptions, KeyValueStorage } from '@backtalk/client';
import { expect, test } from '@playwright/test';
import { ReactNative } from './react-native.js';
import { API_URL, ask, fresh, type Person, texts } from './stack.js';
import { Way } from './way.js';

let app: ReactNative;
const clients: BacktalkClient[] = [];
test.beforeEach(() => {
  app = new ReactNative();
});
test.afterEach(() => {
  for (const client of clients.splice(0)) client.stop();
  app.close();
});

const connect = async (person: Person, options: Partial<BacktalkOptions> = {}) => {
  const client = new app.client.BacktalkClient({ baseUrl: API_URL, token: person.token, ...options });
  clients.push(client);
  await client.start();
  await expect.poll(() => client.connection.get().isConnected).toBe(true);
  return client;
};

const say = (person: Person, chatId: string, content: string) =>
  ask(person, 'POST', `/api/chat/${chatId}/messages`, { clientId: content, content });

const directChat = async (anna: Person, ben: Person) => {
  const body = { kind: 'direct', members: [ben.id] };
  return (await ask<{ chat: { id: string } }>(anna, 'POST', '/api/chat', body)).chat.id;
};

test('React Native: messages go and come, also those from before', async () => {
  const [anna, ben] = await Promise.all([fresh('Anna'), fresh('Ben')]);
  const id = await directChat(anna, ben);
  for (let number = 1; number <= 55; number += 1) await say(ben, id, `line ${number}`);
  const client = await connect(anna);
  expect(client.canStream).toBe(false);
  expect(client.connection.get().transport).toBe('polling');
  client.watch(id);
  await expect.poll(() => texts(client, id).length).toBe(50);
  await client.chat(id).loadOlder();
  const lines = Array.from({ length: 55 }, (_, index) => `line ${index + 1} (sent)`);
  expect(texts(client, id)).toEqual(lines);
  client.chat(id).send('Hello from the phone');
  await expect.poll(() => texts(client, id).at(-1)).toBe('Hello from the phone (sent)');
  await say(ben, id, 'Hello to the phone');
  await expect.poll(() => texts(client, id).at(-1)).toBe('Hello to the phone (sent)');
  expect(texts(client, id)).toHaveLength(57);
});

test('React Native: an answer is seen while it is written, and arrives whole', async () => {
  const anna = await fresh('Anna');
  const client = await connect(anna);
  const { id } = await client.startAssistant('Ask');
  client.watch(id);
  const chat = client.chat(id);
  const lengths = new Set<number>();
  chat.state.subscribe(() => lengths.add(chat.state.get().reply?.text.length ?? 0));
  chat.send('/script {"words": 40, "delayMs": 100}');
  await expect.poll(() => texts(client, id).length, { timeout: 30_000 }).toBe(2);
  await expect.poll(() => chat.state.get().messages[1]?.status, { timeout: 30_000 }).toBe('sent');
  const { messages } = await ask<{ messages: { content: string }[] }>(anna, 'GET', `/api/chat/${id}/messages`);
  expect(chat.state.get().messages[1]?.content).toBe(messages[1]?.content);
  expect(messages[1]?.content).toContain('word40');
  expect(chat.state.get().reply).toBeNull();
  expect(lengths.size).toBeGreaterThan(2);
});

test('React Native: where Pusher falls polling delivers, until it is back', async () => {
  const { PUSHER_HOST = '', PUSHER_PORT = '', PUSHER_KEY = '' } = process.env;
  const way = await Way.to(PUSHER_HOST, Number(PUSHER_PORT));
  const [anna, ben] = await Promise.all([fresh('Anna'), fresh('Ben')]);
  const id = await directChat(anna, ben);
  const options = { wsHost: '127.0.0.1', wsPort: way.port, forceTLS: false };
  const client = await connect(anna, { pusher: { Pusher: app.Pusher, key: PUSHER_KEY, options } });
  await expect.poll(() => client.connection.get().transport).toBe('pusher');
  client.watch(id);
  const said: string[] = [];
  const hear = async (content: string) => {
    await say(ben, id, content);
    said.push(`${content} (sent)`);
    await expect.poll(() => texts(client, id)).toEqual(said);
  };
  await hear('by Pusher');
  await way.cut();
  await expect.poll(() => client.connection.get().transport).toBe('polling');
  await hear('by polling');
  await way.mend();
  client.wake();
  await expect.poll(() => client.connection.get().transport).toBe('pusher');
  await hear('by Pusher again');
  await way.close();
});

test('React Native: an app that comes back asks at once', async () => {
  const [anna, ben] = await Promise.all([fresh('Anna'), fresh('Ben')]);
  const id = await directChat(anna, ben);
  await say(ben, id, 'before');
  const client = await connect(anna);
  client.watch(id);
  await expect.poll(() => texts(client, id)).toEqual(['before (sent)']);
  app.sleep();
  await say(ben, id, 'meanwhile');
  // As `AppState` says that the app is active.
  client.wake();
  await expect.poll(() => texts(client, id)).toEqual(['before (sent)', 'meanwhile (sent)']);
});

/** As `AsyncStorage` is: asynchronous, and it lists its keys. */
class AsyncStorage implements KeyValueStorage {
  readonly kept = new Map<string, string>();
  getItem = async (key: string) => this.kept.get(key) ?? null;
  setItem = async (key: string, value: string) => void this.kept.set(key, value);
  removeItem = async (key: string) => void this.kept.delete(key);
  getAllKeys = async () => [...this.kept.keys()];
}

test('React Native: what could not be sent is sent by the app when it is started anew', async () => {
  const [anna, ben] = await Promise.all([fresh('Anna'), fresh('Ben')]);
  const id = await directChat(anna, ben);
  const storage = new AsyncStorage();
  const way = await Way.to(new URL(API_URL).hostname, Number(new URL(API_URL).port));
  const outbox = (userId: string) => app.client.storedOutbox(storage, userId);
  const first = await connect(anna, { outbox, baseUrl: `http://127.0.0.1:${way.port}` });
  first.watch(id);
  await expect.poll(() => first.chat(id).isOpen).toBe(true);
  await way.cut();
  first.chat(id).send('from the tunnel');
  await expect.poll(() => storage.kept.size).toBe(1);
  first.stop();
  await way.close();

  app.close();
  app = new ReactNative();
  const next = await connect(anna, { outbox });
  next.watch(id);
  await expect.poll(() => texts(next, id)).toEqual(['from the tunnel (sent)']);
  expect(storage.kept.size).toBe(0);
});

test('React Native: the hooks are there without the components', () => {
  const hooks = Object.keys(app.hooks).sort();
  expect(hooks).toContain('ChatProvider');
  for (const name of ['useChat', 'useChats', 'useUnread', 'useStartChat', 'usePresence', 'useNotices', 'useFollowUp'])
    expect(hooks).toContain(name);
});
