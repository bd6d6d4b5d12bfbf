// Serves the built page on this machine alone. `/config.json` has the local stack's addresses and the tokens of its demo
// people, from the environment: nothing of them is in the files, so that a copy of the page elsewhere knows nobody.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';

const here = join(import.meta.dirname, 'dist');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css' };

const { env } = process;
const config = JSON.stringify({
  apiUrl: env.API_URL,
  pusher: env.PUSHER_KEY
    ? {
        key: env.PUSHER_KEY,
        cluster: env.PUSHER_CLUSTER ?? '',
        host: env.PUSHER_HOST ?? null,
        port: env.PUSHER_PORT ? Number(env.PUSHER_PORT) : null,
        isSecure: env.PUSHER_SCHEME !== 'http',
      }
    : null,
  people: [
    { id: 'anna', name: 'Anna', token: env.ANNA_TOKEN },
    { id: 'ben', name: 'Ben', token: env.BEN_TOKEN },
  ],
  agentToken: env.AGENT_TOKEN,
});

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  // A page of another site that names us by a host of its own must not read the tokens.
  const host = (request.headers.host ?? '').replace(/:\d+$/, '');
  if (host !== '127.0.0.1' && host !== 'localhost') {
    response.writeHead(403).end();
    return;
  }
  response.setHeader('cache-control', 'no-store');
  if (pathname === '/config.json') {
    response.writeHead(200, { 'content-type': 'application/json' }).end(config);
    return;
  }
  const path = normalize(pathname === '/' ? '/index.html' : decodeURIComponent(pathname));
  try {
    const file = await readFile(join(here, path));
    response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(file);
  } catch {
    response.writeHead(404).end();
  }
});
server.listen(Number(env.WEB_PORT), '127.0.0.1');
