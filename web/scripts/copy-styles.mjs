import { copyFileSync } from 'node:fs';

copyFileSync(new URL('../react/src/styles.css', import.meta.url), new URL('../react/dist/styles.css', import.meta.url));
