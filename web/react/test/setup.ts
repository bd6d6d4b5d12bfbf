import { cleanup, configure } from '@testing-library/react';
import { afterEach, beforeEach, vi } from 'vitest';

/** jsdom draws nothing, so that nothing has a size: a list that draws what is in sight has to be told of one. */
class Sizes {
  constructor(private readonly hear: (entries: { target: Element; contentRect: object }[]) => void) {}
  observe(target: Element): void {
    const isList = target.classList.contains('bt-messages');
    queueMicrotask(() => this.hear([{ target, contentRect: { width: 600, height: isList ? 800 : 40 } }]));
  }
  unobserve(): void {}
  disconnect(): void {}
}

// Not how long it takes, but that it comes.
configure({ asyncUtilTimeout: 30_000 });

beforeEach(() => {
  vi.stubGlobal('ResizeObserver', Sizes);
  Object.defineProperty(window, 'ResizeObserver', { value: Sizes, configurable: true });
  Object.defineProperty(HTMLElement.prototype, 'offsetParent', { get: () => document.body, configurable: true });
  Element.prototype.scrollTo = () => {};
  localStorage.clear();
});
afterEach(cleanup);
