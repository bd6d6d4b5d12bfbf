// The quick starts of the READMEs, pasted and run as they are written: only the addresses that they make up lead here.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, type Page, test } from '@playwright/test';
import { build } from 'vite';
import { API_URL, ask, fresh, type Person } from './stack.js';

// What the page still asks for is nobody's business any more.
test.afterEach(({ page }) => page.unrouteAll({ behavior: 'ignoreErrors' }));

const web = join(import.meta.dirname, '..');

const example = (guide: string, language: string): string => {
  const text = readFileSync(join(web, guide), 'utf8');
  const [, code] = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(text) ?? [];
  if (!code) throw new Error(`${guide} has no quick start`);
  return code;
};

/** A page of this example, with the site that it supposes around it: its API, and its token for one person. */
const paste = async (page: Page, name: string, code: string, me: Person) => {
  const root = join(web, 'test-results', name);
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  writeFileSync(join(root, 'index.html'), '<div id="app"></div><script type="module" src="/main.tsx"></script>');
  writeFileSync(join(root, 'main.tsx'), code);
  // As an app of Vite's template for React has it in its tsconfig.json.
  await build({ root, logLevel: 'error', configFile: false, esbuild: { jsx: 'automatic' } });
  await page.route('https://site.example/**', (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === '/my/chat-token') return route.fulfill({ body: me.token });
    return route.fulfill({ path: join(root, 'dist', pathname === '/' ? 'index.html' : pathname) });
  });
  await page.route('https://chat.example.com/**', async (route) => {
    const { pathname, search } = new URL(route.request().url());
    // What a route answers is whole, which a stream never is.
    if (pathname === '/api/chat/stream') return route.abort();
    const answer = await route.fetch({ url: `${API_URL}${pathname}${search}` });
    await route.fulfill({ response: answer });
  });
  await page.goto('https://site.example/');
};

test('the quick start of @backtalk/react shows the chats, and one can write', async ({ page }) => {
  const [anna, ben] = await Promise.all([fresh('Anna'), fresh('Ben')]);
  const chat = { kind: 'direct', members: [anna.id] };
  const { id } = (await ask<{ chat: { id: string } }>(ben, 'POST', '/api/chat', chat)).chat;
  await ask(ben, 'POST', `/api/chat/${id}/messages`, { clientId: '1', content: 'Is it running?' });
  await paste(page, 'quick-start-react', example('react/README.md', 'tsx'), anna);
  await page.getByRole('button', { name: /Ben.*Is it running/s }).click();
  await page.getByRole('textbox', { name: 'Write a message' }).fill('It is.');
  await page.getByRole('button', { name: 'Send' }).click();
  const messages = async () =>
    (await ask<{ messages: { content: string }[] }>(ben, 'GET', `/api/chat/${id}/messages`)).messages;
  await expect.poll(async () => (await messages()).map(({ content }) => content)).toEqual(['Is it running?', 'It is.']);
});

test('the quick start of @backtalk/client opens a chat, hears of it, and says something', async ({ page }) => {
  const anna = await fresh('Anna');
  // The example writes to a person of this id.
  await ask({ ...anna, token: process.env.BEN_TOKEN ?? '' }, 'GET', '/api/me');
  const said: string[] = [];
  page.on('console', (message) => said.push(message.text()));
  await paste(page, 'quick-start-client', example('client/README.md', 'ts'), anna);
  await expect.poll(() => said.some((line) => line.includes('Are you there?'))).toBe(true);
  const last = async () => {
    const { chats } = await ask<{ chats: { lastMessage: { content: string } | null }[] }>(anna, 'GET', '/api/chat');
    return chats[0]?.lastMessage?.content;
  };
  await expect.poll(last).toBe('Are you there?');
});
