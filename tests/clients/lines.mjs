// How these clients talk with the test that started them: a JSON object a line, in and out.

import { createInterface } from 'node:readline';

export const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

export const setting = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};

// Ends when the test goes.
export async function* commands() {
  for await (const line of createInterface({ input: process.stdin })) yield JSON.parse(line);
}
