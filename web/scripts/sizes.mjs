// The size of each package as a page gets it: bundled with what it brings along, minified, gzipped; React and pusher-js,
// which the page has anyway, apart.

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

/** In KiB: what is larger was not meant to be. */
const LIMITS = { client: 17, react: 14 };

let isTooLarge = false;
for (const [name, limit] of Object.entries(LIMITS)) {
  const { outputFiles } = await build({
    entryPoints: [new URL(`../${name}/dist/index.js`, import.meta.url).pathname],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    external: ['react', 'react-dom', 'react/jsx-runtime', '@backtalk/client'],
  });
  const size = gzipSync(outputFiles[0].contents).length / 1024;
  console.log(`@backtalk/${name}: ${size.toFixed(1)} KiB gzipped (at most ${limit})`);
  isTooLarge ||= size > limit;
}
process.exit(isTooLarge ? 1 : 0);
