import { createHmac, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import type { BacktalkClient } from '@backtalk/client';
import { type Browser, type BrowserContext, expect, type Locator, type Page } from '@playwright/test';

const setting = (name: string): string => {
  const value = process.env[name];
  if (!value)
    throw new Error(`${name} is not set: these tests run against a stack that \`cargo xtask up\` has started`);
  return value;
};

export const API_URL = setting('API_URL');

export interface Person {
  id: string;
  name: string;
  token: string;
}

/** Somebody of whom no other test knows, so that tests do not meet. */
export async function fresh(name: string): Promise<Person> {
  const id = `${name.toLowerCase()}-${randomUUID().slice(0, 8)}`;
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: id, name, iss: setting('JWT_ISSUER'), aud: setting('JWT_AUDIENCE'), iat: now, exp: now + 3600 };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  const token = `${text}.${createHmac('sha256', setting('JWT_SECRET')).update(text).digest('base64url')}`;
  const person = { id, name, token };
  await ask(person, 'GET', '/api/me');
  return person;
}

export async function ask<T>(person: Person, method: string, path: string, body?: object): Promise<T> {
  const headers = { authorization: `Bearer ${person.token}`, 'content-type': 'application/json' };
  const answer = await fetch(`${API_URL}${path}`, { method, headers, body: body && JSON.stringify(body) });
  expect(answer.ok, `${method} ${path}: ${answer.status}`).toBe(true);
  return answer.status === 204 ? (undefined as T) : ((await answer.json()) as T);
}

/** Sends a signal to the stack's own Pusher server; where that ends it, the stack starts it again. */
export function signalPusher(signal: 'SIGKILL' | 'SIGSTOP'): void {
  const isIts = (pid: string): boolean => {
    try {
      const [program = '', , config = ''] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return program.endsWith('/sockudo') && readFileSync(config, 'utf8').includes(setting('PUSHER_KEY'));
    } catch {
      // It ended while we looked, or is somebody else's.
      return false;
    }
  };
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && isIts(name));
  expect(pids).toHaveLength(1);
  process.kill(Number(pids[0]), signal);
}

/** The demo page in a browser window of its own, signed in as one of these people. */
export class Desk {
  private constructor(
    readonly page: Page,
    readonly context: BrowserContext,
    readonly me: Person,
  ) {}

  static async open(browser: Browser, people: Person[], me: Person, options = {}): Promise<Desk> {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    await page.route('**/config.json', async (route) => {
      const config = await (await route.fetch()).json();
      await route.fulfill({ json: { ...config, people } });
    });
    await page.goto(`/?as=${me.id}`);
    const desk = new Desk(page, context, me);
    await expect(desk.transport).not.toHaveText('offline');
    return desk;
  }

  get transport(): Locator {
    return this.page.getByTestId('transport');
  }

  get unread(): Locator {
    return this.page.getByTestId('unread');
  }

  get messages(): Locator {
    return this.page.getByRole('list', { name: 'Messages' }).getByRole('listitem');
  }

  get composer(): Locator {
    return this.page.getByRole('textbox', { name: 'Write a message' });
  }

  bubble(text: string | RegExp): Locator {
    return this.messages.filter({ has: this.page.locator('.bt-bubble', { hasText: text }) });
  }

  async start(name: string): Promise<void> {
    await this.page.locator('.toolbar').getByRole('button', { name, exact: true }).click();
    await expect(this.composer).toBeVisible();
  }

  async say(text: string): Promise<void> {
    await this.composer.fill(text);
    await this.composer.press('Enter');
  }

  async view(name: string): Promise<void> {
    await this.page.locator('.bar').getByRole('button', { name }).click();
  }

  async cut(part: string, isCut: boolean): Promise<void> {
    await this.view('Inside');
    await this.page.getByRole('checkbox', { name: part }).setChecked(isCut);
    await this.view('Chats');
  }

  /** Which messages are shown, in their order: those that a long list has drawn. */
  async texts(): Promise<string[]> {
    return this.page.locator('.bt-bubble').allInnerTexts();
  }
}

/** What a client has of a chat, with the state of each message. */
export const texts = (client: BacktalkClient, chatId: string) =>
  client
    .chat(chatId)
    .state.get()
    .messages.map((message) => `${message.content} (${message.status})`);
