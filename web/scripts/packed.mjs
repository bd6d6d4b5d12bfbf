// What `npm pack` makes of the packages, installed in an empty Vite app: it type-checks and builds.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const web = join(import.meta.dirname, '..');
const pinned = (name) => JSON.parse(readFileSync(join(web, 'node_modules', name, 'package.json'), 'utf8')).version;
const app = mkdtempSync(join(tmpdir(), 'backtalk-app-'));
const run = (command, args, cwd = app) => execFileSync(command, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'] });

try {
  const packed = join(app, 'packed');
  mkdirSync(packed);
  for (const name of ['client', 'react'])
    run('npm', ['pack', '--silent', '--pack-destination', packed], join(web, name));
  const tarball = (name) => `file:packed/${readdirSync(packed).find((file) => file.startsWith(`backtalk-${name}`))}`;
  const versions = (names) => Object.fromEntries(names.map((name) => [name, pinned(name)]));
  const manifest = {
    private: true,
    type: 'module',
    dependencies: {
      '@backtalk/client': tarball('client'),
      '@backtalk/react': tarball('react'),
      ...versions(['react', 'react-dom', 'pusher-js']),
    },
    devDependencies: versions(['typescript', 'vite', '@types/react', '@types/react-dom']),
  };
  const compilerOptions = {
    target: 'ES2022',
    module: 'ESNext',
    moduleResolution: 'Bundler',
    strict: true,
    noEmit: true,
    jsx: 'react-jsx',
    types: ['vite/client'],
  };
  writeFileSync(join(app, 'package.json'), JSON.stringify(manifest));
  writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['src'] }));
  writeFileSync(join(app, 'index.html'), '<div id="app"></div><script type="module" src="/src/main.tsx"></script>');
  mkdirSync(join(app, 'src'));
  // The quick starts, as their readers copy them.
  for (const [guide, language, file] of [
    ['react', 'tsx', 'main.tsx'],
    ['client', 'ts', 'client.ts'],
  ]) {
    const text = readFileSync(join(web, guide, 'README.md'), 'utf8');
    const [, example] = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(text) ?? [];
    if (!example) throw new Error(`${guide}/README.md has no quick start`);
    writeFileSync(join(app, 'src', file), example);
  }
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--silent']);
  // Next.js would run hooks on its server, if it were not told.
  if (!readFileSync(join(app, 'node_modules/@backtalk/react/dist/index.js'), 'utf8').startsWith("'use client'"))
    throw new Error("@backtalk/react does not begin with 'use client'");
  run('npx', ['tsc', '-p', '.']);
  run('npx', ['vite', 'build', '--logLevel', 'error']);
  console.log('the packed packages install, type-check and build in an empty Vite app');
} finally {
  rmSync(app, { recursive: true, force: true });
}
