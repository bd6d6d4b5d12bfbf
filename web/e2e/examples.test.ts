// examples/page.html as it is opened from a disk.

import { join } from 'node:path';
import { expect, test } from '@playwright/test';
import { API_URL, fresh } from './stack.js';

test('the minimal page shows a reply as it streams', async ({ page }) => {
  const anna = await fresh('Anna');
  const file = join(import.meta.dirname, '../../examples/page.html');
  await page.goto(`file://${file}#api=${encodeURIComponent(API_URL)}&token=${anna.token}`);
  await page.getByRole('textbox', { name: 'Message' }).fill('Is it short?');
  await page.getByRole('button', { name: 'Send' }).click();
  const log = page.getByRole('log');
  await expect(log).toContainText('You: Is it short?');
  await expect(log).toContainText(/Assistant: [^…(]/);
  await expect(log).not.toContainText('Error');
});
