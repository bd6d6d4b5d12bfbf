import { expect, test } from 'vitest';
import { Api } from '../src/api.js';
import { Http } from '../src/http.js';
import { ApiError } from '../src/index.js';

type Told = Record<string, unknown>;

/** The API over a network that answers what it is told to, one after the other, and what was asked of it. */
function api(answers: (() => Response)[]) {
  const bodies: Told[] = [];
  const http = new Http(
    'https://api',
    () => 'token',
    async (_url, init) => {
      bodies.push(JSON.parse(String(init?.body)) as Told);
      const answer = answers.shift();
      if (!answer) throw new Error('asked once too often');
      return answer();
    },
  );
  return { api: new Api(http), bodies };
}

const lost = (): Response => {
  throw new TypeError('Failed to fetch');
};
const down = () => Response.json({ type: 'unavailable', title: 'Down', status: 503, retryable: true }, { status: 503 });
const refused = () => Response.json({ type: 'too-many-chats', title: 'No', status: 403 }, { status: 403 });
const all = { chat: { id: 'c' }, post: { id: 'p' }, reply: { id: 'r' }, messageId: 'm' };
const done = () => Response.json(all);

const asked: [string, string, (api: Api) => Promise<unknown>][] = [
  ['a chat', 'clientId', (api) => api.createChat({ kind: 'assistant' })],
  ['a post', 'clientId', (api) => api.createPost({ content: 'hello' })],
  ['an answer', 'clientId', (api) => api.regenerate('c', 'r-1')],
  ['a notice', 'key', (api) => api.sendNotice({ userId: 'a', taskId: 't', type: 'INFO', content: 'hi' })],
];

test.each(asked)('%s whose answer is lost is asked for again by the same key', async (_what, key, ask) => {
  const { api: it, bodies } = api([lost, down, done]);
  await ask(it);
  expect(bodies).toHaveLength(3);
  expect(bodies[0]?.[key]).toBeTruthy();
  expect(new Set(bodies.map((body) => JSON.stringify(body))).size).toBe(1);
});

test('what was refused is not asked for again, and another wish has another key', async () => {
  const { api: it, bodies } = api([refused, done, done]);
  await expect(it.createChat({ kind: 'assistant' })).rejects.toBeInstanceOf(ApiError);
  await it.createChat({ kind: 'assistant' });
  await it.createChat({ kind: 'assistant', clientId: 'mine' });
  expect(new Set(bodies.map(({ clientId }) => clientId)).size).toBe(3);
  expect(bodies[2]?.clientId).toBe('mine');
});
