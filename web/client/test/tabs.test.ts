import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Connection } from '../src/connection.js';
import { Tabs } from '../src/tabs.js';
import type { Hearer, Transport } from '../src/transport.js';
import type { ChatEvent } from '../src/types.js';

/** The browser's locks, as far as they are used: one holder, the others in their order. */
class Locks {
  readonly #waiting: { work: () => Promise<void> | undefined; signal: AbortSignal }[] = [];
  #isHeld = false;

  request(_name: string, { signal }: { signal: AbortSignal }, work: () => Promise<void> | undefined): Promise<void> {
    this.#waiting.push({ work, signal });
    this.#next();
    return new Promise((_, refuse) => signal.addEventListener('abort', () => refuse(new Error('aborted'))));
  }

  #next(): void {
    if (this.#isHeld) return;
    const next = this.#waiting.shift();
    if (!next) return;
    if (next.signal.aborted) return this.#next();
    this.#isHeld = true;
    void Promise.resolve(next.work()).then(() => {
      this.#isHeld = false;
      this.#next();
    });
  }
}

class Wire implements Transport {
  readonly name = 'pusher';
  hearer: Hearer | null = null;
  watched: readonly string[] = [];
  wakes = 0;
  start(hearer: Hearer): void {
    this.hearer = hearer;
    hearer.up();
  }
  stop(): void {
    this.hearer = null;
  }
  wake(): void {
    this.wakes += 1;
  }
  watch(chatIds: readonly string[]): void {
    this.watched = chatIds;
  }
}

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 30_000 });

const opened: Tabs[] = [];
beforeEach(() => vi.stubGlobal('navigator', { locks: new Locks() }));
afterEach(() => {
  for (const tabs of opened.splice(0)) tabs.stop();
  vi.unstubAllGlobals();
});

let number = 0;
function person() {
  number += 1;
  const name = `tabs-${number}`;
  const wires: Wire[] = [];
  const open = () => {
    const listener = { event: vi.fn(), catchUp: vi.fn() };
    const make = (hearer: ConstructorParameters<typeof Connection>[1]) => {
      const wire = new Wire();
      wires.push(wire);
      return new Connection([wire], hearer);
    };
    const tabs = new Tabs(name, make, listener, false);
    opened.push(tabs);
    tabs.start();
    return { tabs, listener };
  };
  return { open, wires };
}

const typing: ChatEvent = { type: 'typing', chatId: 'c', data: { userId: 'ben', isTyping: true } };
const up = { transport: 'pusher', isConnected: true };

test('three tabs have one connection, and each hears each event once', async () => {
  const { open, wires } = person();
  const [one, two, three] = [open(), open(), open()];
  await eventually(() => expect(three.tabs.state.get()).toEqual({ ...up, isShared: true }));
  await eventually(() => expect(two.tabs.state.get()).toEqual({ ...up, isShared: true }));
  expect(one.tabs.state.get()).toEqual({ ...up, isShared: false });
  expect(wires).toHaveLength(1);
  wires[0]?.hearer?.event(typing);
  for (const { listener } of [one, two, three]) {
    await eventually(() => expect(listener.event).toHaveBeenCalledWith(typing));
    expect(listener.event).toHaveBeenCalledTimes(1);
  }
});

test('when the tab that has the connection goes, the next one connects, and all read what they missed', async () => {
  const { open, wires } = person();
  const [one, two, three] = [open(), open(), open()];
  await eventually(() => expect(three.tabs.state.get().isShared).toBe(true));
  const before = [two, three].map(({ listener }) => listener.catchUp.mock.calls.length);
  one.tabs.stop();
  await eventually(() => expect(two.tabs.state.get()).toEqual({ ...up, isShared: false }));
  await eventually(() => expect(three.listener.catchUp.mock.calls.length).toBeGreaterThan(before[1] ?? 0));
  expect(two.listener.catchUp.mock.calls.length).toBeGreaterThan(before[0] ?? 0);
  expect(wires.map((wire) => wire.hearer !== null)).toEqual([false, true]);
  expect(three.tabs.state.get()).toEqual({ ...up, isShared: true });
});

test('the connection is told of the chats of all tabs, also the next one, and no more of those of a closed tab', async () => {
  const { open, wires } = person();
  const one = open();
  one.tabs.see({ chatIds: ['a'], isVisible: false });
  const [two, three] = [open(), open()];
  two.tabs.see({ chatIds: ['b'], isVisible: true });
  three.tabs.see({ chatIds: ['b', 'c'], isVisible: false });
  const watched = (place: number) => [...(wires[place]?.watched ?? [])].sort();
  await eventually(() => expect(watched(0)).toEqual(['a', 'b', 'c']));
  // The one that has it is hidden, another is not.
  expect(one.tabs.isVisible).toBe(true);
  one.tabs.stop();
  await eventually(() => expect(watched(1)).toEqual(['b', 'c']));
  three.tabs.stop();
  await eventually(() => expect(watched(1)).toEqual(['b']));
  two.tabs.see({ chatIds: ['b'], isVisible: false });
  expect(two.tabs.isVisible).toBe(false);
});

test('any tab that is looked at again wakes the connection', async () => {
  const { open, wires } = person();
  const [one, two] = [open(), open()];
  await eventually(() => expect(two.tabs.state.get().isShared).toBe(true));
  two.tabs.wake();
  await eventually(() => expect(wires[0]?.wakes).toBe(1));
  one.tabs.wake();
  expect(wires[0]?.wakes).toBe(2);
});
