// Each page and state of the demo, light and dark, on a desk and on a phone: axe looks for faults, and a picture is taken to be
// looked at, in test-results/screens.

import { AxeBuilder } from '@axe-core/playwright';
import { expect, test } from '@playwright/test';
import { ask, Desk, fresh, type Person } from './stack.js';

const open = async (person: Person, chat: object) =>
  (await ask<{ chat: { id: string } }>(person, 'POST', '/api/chat', chat)).chat.id;

const say = async (person: Person, chatId: string, content: string) => {
  const body = { clientId: content, content };
  return (await ask<{ message: { id: string } }>(person, 'POST', `/api/chat/${chatId}/messages`, body)).message.id;
};

for (const scheme of ['light', 'dark'] as const) {
  for (const [width, viewport] of [
    ['desktop', { width: 1280, height: 800 }],
    ['phone', { width: 390, height: 844 }],
  ] as const) {
    test(`axe finds no serious fault: ${scheme}, ${width}`, async ({ browser }) => {
      test.setTimeout(150_000);
      const people = await Promise.all([fresh('Anna'), fresh('Ben')]);
      const [anna, ben] = people;
      const direct = await open(ben, { kind: 'direct', members: [anna.id] });
      await say(ben, direct, 'Good morning! Did you see the draft?');
      await say(anna, direct, 'I did. The second paragraph is long.');
      const suggestion = await say(ben, direct, 'I would say it like this: fewer words, and the date first.');
      await ask(anna, 'PUT', `/api/chat/${direct}/messages/${suggestion}/reactions/${encodeURIComponent('👍')}`);
      await say(
        ben,
        direct,
        'https://example.com/a/very/long/address/that-does-not-fit-into-one-line/of-a-bubble?at=all',
      );
      const channel = await open(ben, { kind: 'channel', title: 'Everybody', members: [anna.id] });
      await say(ben, channel, 'Welcome, everybody.');
      const desk = await Desk.open(browser, people, anna, { viewport, colorScheme: scheme });
      const { page } = desk;
      const look = async (name: string) => {
        const path = `test-results/screens/${name}-${width}-${scheme}.png`;
        await page.screenshot({ path, animations: 'disabled' });
        const { violations } = await new AxeBuilder({ page }).analyze();
        const serious = violations
          .filter(({ impact }) => impact === 'serious' || impact === 'critical')
          .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' | ')}`);
        expect(serious, name).toEqual([]);
      };
      const back = async () => {
        const button = page.getByRole('button', { name: 'Back to chats' });
        if (await button.isVisible()) await button.click();
      };

      await page.getByRole('button', { name: /Ben.*unread/s }).waitFor();
      await look('list');
      await page.getByRole('button', { name: /Ben.*unread/s }).click();
      await desk.say('Yes. I will change it before ten.');
      await expect(desk.bubble('before ten')).toContainText('Sent');
      await look('direct');
      await desk.bubble('before ten').hover();
      await look('actions');
      await desk.bubble('before ten').getByRole('button', { name: 'Reply' }).click();
      const buffer = Buffer.from('<svg/>');
      await page
        .getByLabel('Images', { exact: true })
        .setInputFiles({ name: 'shop.svg', mimeType: 'image/svg+xml', buffer });
      await expect(page.getByRole('alert')).toContainText('shop.svg');
      await look('reply');
      await page.getByRole('button', { name: 'Remove shop.svg' }).click();
      await desk.composer.press('Escape');
      await back();
      await page.getByRole('button', { name: /Everybody/ }).click();
      await expect(desk.bubble('Welcome')).toBeVisible();
      await look('channel');
      await back();
      await desk.start('AI chat');
      await expect(page.getByRole('heading', { name: 'Ask anything' })).toBeVisible();
      await look('empty');
      await desk.say('/script {"words": 400, "delayMs": 150}');
      await expect(page.locator('.bt-message.is-streaming .bt-bubble')).toContainText('word12');
      await look('stream');
      await page.getByRole('button', { name: 'Stop', exact: true }).click();
      await expect(page.locator('.bt-message.is-streaming')).toHaveCount(0);
      await look('stopped');
      await desk.view('Post');
      await look('new-post');
      await page.getByRole('textbox', { name: 'A new post' }).fill('We open a second shop in March. Come and see it!');
      await page.getByRole('button', { name: 'Write it with the assistant' }).click();
      await expect(desk.messages).toHaveCount(1);
      await look('post');
      await desk.view('Notices');
      await look('no-notices');
      for (const name of ['Info', 'Clarification']) await page.getByRole('button', { name }).click();
      await expect(desk.bubble('Which room?')).toBeVisible();
      await look('notices');
      await desk.view('Inside');
      await expect(page.getByText('Tokens', { exact: true })).toBeVisible();
      await look('inside');
      await page.getByRole('checkbox', { name: 'Network' }).check();
      await desk.view('Chats');
      await back();
      await page.getByRole('button', { name: /^Ben/ }).last().click();
      await desk.say('Into the void');
      await expect(desk.bubble('Into the void')).toContainText('Not sent', { timeout: 30_000 });
      await look('offline');
      await page.getByRole('button', { name: 'Sign out' }).click();
      await expect(page.getByRole('button', { name: 'Sign in as Ben' })).toBeVisible();
      await look('sign-in');
    });
  }
}
