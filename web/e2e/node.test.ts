// The client without a page, in Node itself.

import { BacktalkClient, type BacktalkOptions, memoryOutbox } from '@backtalk/client';
import { expect, test } from '@playwright/test';
import { API_URL, fresh, type Person, texts } from './stack.js';

const connect = async (person: Person, options: Partial<BacktalkOptions> = {}) => {
  const client = new BacktalkClient({
    baseUrl: API_URL,
    token: person.token,
    outbox: memoryOutbox,
    ...options,
  });
  await client.start();
  await expect.poll(() => client.connection.get().isConnected).toBe(true);
  return client;
};

const byStream: Partial<BacktalkOptions> = { transports: ['sse', 'polling'] };

test('in Node, by polling unless the event stream is asked for', async () => {
  const client = await connect(await fresh('Anna'));
  expect(client.connection.get().transport).toBe('polling');
  client.stop();
});

test('in Node, by the event stream', async () => {
  const [anna, ben] = await Promise.all([fresh('Anna'), fresh('Ben')]);
  const [annas, bens] = await Promise.all([connect(anna, byStream), connect(ben, byStream)]);
  expect(annas.connection.get().transport).toBe('sse');
  const { id } = await annas.startDirect(ben.id);
  annas.watch(id);
  bens.watch(id);
  for (let number = 1; number <= 5; number += 1) annas.chat(id).send(`message ${number}`);
  const all = [1, 2, 3, 4, 5].map((number) => `message ${number} (sent)`);
  await expect.poll(() => texts(annas, id)).toEqual(all);
  await expect.poll(() => texts(bens, id)).toEqual(all);
  await expect.poll(() => bens.unread.get().total).toBe(5);
  await bens.chat(id).markRead();
  expect(bens.unread.get().total).toBe(0);
  await expect
    .poll(
      () =>
        annas
          .chat(id)
          .state.get()
          .chat?.members.find((member) => member.userId === ben.id)?.readSeq,
    )
    .toBe(5);
  annas.stop();
  bens.stop();
});
