// A page in Chromium.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

// Unpacked beside its package, for what one user unpacks in /tmp another cannot run.
process.env.TMPDIR = join(import.meta.dirname, 'node_modules', '.chromium');
mkdirSync(process.env.TMPDIR, { recursive: true });
// Says to the package that libraries may be missing, so that it brings its own: a fresh Debian has none of a browser's.
process.env.AWS_EXECUTION_ENV ??= 'AWS_Lambda_nodejs22.x';
const { default: chromium } = await import('@sparticuz/chromium');
const { default: puppeteer } = await import('puppeteer-core');

export const browser = await puppeteer.launch({
  args: chromium.args,
  executablePath: await chromium.executablePath(),
  headless: 'shell',
  // A pipe, for Chromium ends when it closes: so it does when the test ends this process by force.
  pipe: true,
});
