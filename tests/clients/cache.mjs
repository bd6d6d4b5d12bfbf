// Asks for the same address by the tokens of several people in turn, with a plain `fetch` of one page in Chromium and what
// its cache makes of it: TOKENS is a JSON array, and each line of input is a path.

import { browser } from './chromium.mjs';
import { commands, say, setting } from './lines.mjs';

const api = setting('API_URL');
const tokens = JSON.parse(setting('TOKENS'));
const page = await browser.newPage();
// A page without an origin has no cache.
await page.goto(`${api}/api/openapi.json`);
const ask = async (url, token) => {
  const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  return { status: answer.status, body: await answer.json() };
};
for await (const path of commands()) {
  const answers = [];
  for (const token of tokens) answers.push(await page.evaluate(ask, `${api}${path}`, token));
  say({ on: 'answered', path, answers });
}
await browser.close();
process.exit(0);
