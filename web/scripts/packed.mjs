// What `npm pack` makes of the packages, installed in an empty Vite app: it type-checks and builds, and so does each block of TypeScript
// in the documentation. tests/docs/check.py says what the comments above a block mean.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

const web = join(import.meta.dirname, '..');
const pinned = (name) => JSON.parse(readFileSync(join(web, 'node_modules', name, 'package.json'), 'utf8')).version;
const app = mkdtempSync(join(tmpdir(), 'backtalk-app-'));
const repository = join(web, '..');
const NOT_OURS = ['node_modules', 'target', 'dist', '.local', '.git', 'test-results'];

/** Every Markdown file beneath a folder. */
const markdown = (folder) =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return NOT_OURS.includes(entry.name) ? [] : markdown(path);
    return entry.name.endsWith('.md') ? [path] : [];
  });

/** The blocks of TypeScript in a file, each with what its comment says is there before it. */
const blocks = (path) => {
  const text = readFileSync(path, 'utf8');
  const fences = text.matchAll(/(?: *<!-- ([\w ]+?): ([^\n]*?) -->\n)?^( *)```(tsx?|js)\n(.*?)^ *```/gms);
  return Array.from(fences)
    .filter(([, mark]) => mark !== 'not checked')
    .map(([, mark, said, indent, language, code], index) => ({
      name: `${relative(repository, path).replaceAll(/\W/g, '-')}-${index}.${language === 'tsx' ? 'tsx' : 'ts'}`,
      code: `${mark === 'types' ? said : ''}\n${code.replaceAll(new RegExp(`^${indent}`, 'gm'), '')}\nexport {};\n`,
    }));
};

const run = (command, args, cwd = app) => execFileSync(command, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'] });

try {
  const packed = join(app, 'packed');
  mkdirSync(packed);
  for (const name of ['client', 'react'])
    run('npm', ['pack', '--silent', '--pack-destination', packed], join(web, name));
  const tarball = (name) => `file:packed/${readdirSync(packed).find((file) => file.startsWith(`backtalk-${name}`))}`;
  const versions = (names) => Object.fromEntries(names.map((name) => [name, pinned(name)]));
  // What the end-to-end tests drive with, too.
  const clients = JSON.parse(readFileSync(join(repository, 'tests/clients/package.json'), 'utf8'));
  const manifest = {
    private: true,
    type: 'module',
    dependencies: {
      '@backtalk/client': tarball('client'),
      '@backtalk/react': tarball('react'),
      ...versions(['react', 'react-dom', 'pusher-js']),
      ...Object.fromEntries(['ai', '@ai-sdk/react', 'zod'].map((name) => [name, clients.dependencies[name]])),
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
    // The AI SDK's own declarations name Node's types.
    skipLibCheck: true,
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
  const documented = markdown(repository).flatMap(blocks);
  mkdirSync(join(app, 'src/docs'));
  for (const { name, code } of documented) writeFileSync(join(app, 'src/docs', name), code);
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--silent']);
  // Next.js would run hooks on its server, if it were not told.
  if (!readFileSync(join(app, 'node_modules/@backtalk/react/dist/index.js'), 'utf8').startsWith("'use client'"))
    throw new Error("@backtalk/react does not begin with 'use client'");
  execFileSync('npx', ['tsc', '-p', '.'], { cwd: app, stdio: 'inherit' });
  run('npx', ['vite', 'build', '--logLevel', 'error']);
  console.log('the packed packages install, type-check and build in an empty Vite app');
  console.log(`${documented.length} blocks of TypeScript in the documentation type-check`);
} finally {
  rmSync(app, { recursive: true, force: true });
}
