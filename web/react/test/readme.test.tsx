// @vitest-environment jsdom

// What the README promises is there, by its name.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderHook } from '@testing-library/react';
import type { ReactNode } from 'react';
import { expect, test } from 'vitest';
import * as react from '../src/index.js';
import './setup.js';
import { Site } from './site.js';

const readme = readFileSync(join(import.meta.dirname, '../README.md'), 'utf8');

/** The code of the right column of each table of a part. */
const ours = (part: string): string[] =>
  part
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| ---'))
    .flatMap((line) => {
      const cells = line.split(/(?<!\\)\|/);
      return Array.from((cells[2] ?? '').matchAll(/`([^`]+)`/g), ([, code = '']) => code);
    });

test('each line of the tables for moving over names what there is', () => {
  const site = new Site();
  site.add('c', {}, ['hello']);
  const client = site.client();
  const wrapper = ({ children }: { children: ReactNode }) => (
    <react.ChatProvider client={client}>{children}</react.ChatProvider>
  );
  const { result } = renderHook(
    () => ({
      useChat: react.useChat('c'),
      useNotices: react.useNotices(),
      useFollowUp: react.useFollowUp('p'),
      useClient: react.useClient(),
    }),
    { wrapper },
  );
  const hooks: Record<string, object> = result.current;
  const chat = result.current.useChat;
  const codes = ours(readme.slice(readme.indexOf('## Moving over')));
  expect(codes.length).toBeGreaterThan(60);
  for (const code of codes) {
    const has = (thing: object, name: string | undefined) => expect(name && name in thing, code).toBe(true);
    const [, hook, member] = /^(use[A-Z]\w+)\([^)]*\)(?:\.(\w+))?/.exec(code) ?? [];
    if (hook) {
      has(react, hook);
      if (member) has(hooks[hook] ?? {}, member);
      continue;
    }
    const [, component, props = ''] = /^<(\w+)([^>]*)>/.exec(code) ?? [];
    if (component) {
      has(react, component);
      const documented = new RegExp(`^\\| \`${component}\` .*`, 'm').exec(readme)?.[0] ?? '';
      for (const [prop] of props.matchAll(/\b[a-z]\w*(?=[ ={/>]|$)(?![^{]*\})/g))
        expect(documented, code).toMatch(prop);
      continue;
    }
    const [, path] = /^client\.([\w.]+)/.exec(code) ?? [];
    if (path) {
      path.split('.').reduce<object>((thing, name) => {
        has(thing, name);
        return (thing as Record<string, object>)[name] ?? {};
      }, client);
      continue;
    }
    const [, act] = /^(\w+)\(/.exec(code) ?? [];
    if (act) has(chat, act);
    const [, field] = /^message(?:s\[\])?\.(\w+)$/.exec(code) ?? [];
    // Of what is shown alone, and the name of an event.
    if (field === undefined || ['key', 'error', 'created'].includes(field)) continue;

    has(site.chats.get('c')?.messages[0] ?? {}, field);
  }
});

test('each hook and component of the list is exported, and nothing that is not in it', () => {
  const listed = Array.from(readme.matchAll(/^\| `(\w+)/gm), ([, name = '']) => name);
  const exported = Object.keys(react).filter((name) => name !== 'useValue');
  expect(exported.filter((name) => !listed.includes(name))).toEqual([]);
  for (const name of [
    'ChatProvider',
    'ChatInterface',
    'ChatList',
    'ChatPanel',
    'ChatButton',
    'Identicon',
    'PostEditor',
  ])
    expect(exported).toContain(name);
});
