/** Full jitter: anything between nothing and the doubled rest, so that clients which were cut off together come back apart. */
export class Backoff {
  #failures = 0;

  constructor(
    private readonly firstMs: number,
    private readonly mostMs: number,
    private readonly random: () => number = Math.random,
  ) {}

  next(): number {
    const ceiling = Math.min(this.mostMs, this.firstMs * 2 ** this.#failures);
    this.#failures += 1;
    // Never at once, for a server that refuses at once would be asked in a loop.
    return Math.round(ceiling * (0.25 + 0.75 * this.random()));
  }

  reset(): void {
    this.#failures = 0;
  }
}
