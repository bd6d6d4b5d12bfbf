import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A way to a server that can be cut: what is open breaks, and nothing new gets through. */
export class Way {
  port = 0;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;

  private constructor(
    private readonly host: string,
    private readonly to: number,
  ) {}

  static async to(host: string, port: number): Promise<Way> {
    const way = new Way(host, port);
    await way.mend();
    return way;
  }

  async mend(): Promise<void> {
    const server = createServer((near) => {
      const far = connect(this.to, this.host);
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one);
        one.on('error', () => other.destroy());
        one.on('close', () => this.#sockets.delete(one));
        one.pipe(other);
      }
    });
    server.listen(this.port, '127.0.0.1');
    await once(server, 'listening');
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async cut(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = null;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  close(): Promise<void> {
    return this.cut();
  }
}
