// React Native as far as the client sees it: the language, timers, and what its JavaScript environment has, and nothing else.
// Its `fetch` is whatwg-fetch on XMLHttpRequest: no body that streams; there is no EventSource, no document, no
// localStorage, no TextDecoder. Its Pusher is pusher-js's own build for it.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createContext, runInContext } from 'node:vm';
import type * as Client from '@backtalk/client';
import type * as Hooks from '@backtalk/react/headless';
import { buildSync } from 'esbuild';
import { JSDOM } from 'jsdom';

const find = createRequire(import.meta.url).resolve;

type Timer = ReturnType<typeof setTimeout>;

export class ReactNative {
  readonly client: typeof Client;
  readonly hooks: typeof Hooks;
  readonly Pusher: Client.PusherSettings['Pusher'];
  /** What the app sees of its network: each request, by method and path. */
  readonly requests: string[] = [];
  readonly #dom = new JSDOM('', { url: 'http://localhost/' });
  readonly #timers = new Set<Timer>();
  #isAsleep = false;

  constructor() {
    const { XMLHttpRequest, WebSocket, Blob, File, FileReader, FormData } = this.#dom.window;
    const { requests } = this;
    class Observed extends XMLHttpRequest {
      override open(method: string, url: string | URL): void {
        requests.push(`${method} ${new URL(url).pathname}`);
        super.open(method, url, true);
      }
    }
    const global: Record<string, unknown> = {
      console,
      XMLHttpRequest: Observed,
      WebSocket,
      Blob,
      File,
      FileReader,
      FormData,
      URLSearchParams,
      AbortController: this.#dom.window.AbortController,
      setTimeout: this.#timer(setTimeout),
      setInterval: this.#timer(setInterval),
      clearTimeout,
      clearInterval,
      navigator: { product: 'ReactNative' },
    };
    global.window = global;
    createContext(global);
    // A module as Metro makes one of it.
    const run = (code: string, require: (name: string) => unknown) => {
      const module = { exports: {} as Record<string, unknown> };
      const wrapped = `(function (module, exports, require) {${code}\n})`;
      runInContext(wrapped, global).call(global, module, module.exports, require);
      return module.exports;
    };
    const none = (name: string): never => {
      throw new Error(`React Native has no ${name}`);
    };
    Object.assign(global, pick(run(readFileSync(find('whatwg-fetch'), 'utf8'), none)));
    const netInfo = { fetch: async () => ({ type: 'wifi' }), addEventListener: () => {} };
    const pusher = readFileSync(find('pusher-js/dist/react-native/pusher.js'), 'utf8');
    this.Pusher = run(pusher, () => netInfo).Pusher as Client.PusherSettings['Pusher'];
    const bundle = (name: string) =>
      buildSync({ entryPoints: [find(name)], bundle: true, format: 'cjs', target: 'es2022', write: false })
        .outputFiles[0]?.text ?? '';
    this.client = run(bundle('@backtalk/client'), none) as unknown as typeof Client;
    this.hooks = run(bundle('@backtalk/react/headless'), none) as unknown as typeof Hooks;
  }

  /** In the background: whatever wants to happen in a second or later does not. */
  sleep(): void {
    this.#isAsleep = true;
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#dom.window.close();
  }

  #timer = (start: typeof setTimeout | typeof setInterval) => (act: () => void, ms?: number) => {
    const awake = () => {
      if (!(this.#isAsleep && (ms ?? 0) >= 1000)) act();
    };
    const timer = (start as typeof setTimeout)(awake, ms);
    this.#timers.add(timer);
    return timer;
  };
}

const pick = ({ fetch, Headers, Request, Response }: Record<string, unknown>) => ({
  fetch,
  Headers,
  Request,
  Response,
});
