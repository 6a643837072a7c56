/** The child's side of a bench process: it does what its parent asks over IPC, and ends with it. */

/** Plain values only: they travel as JSON. */
export type Handlers = Readonly<Record<string, (argument: never) => unknown>>;

export interface Command {
  readonly id: number;
  readonly command: string;
  readonly argument: unknown;
}

export interface Reply {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

export function answerCommands(handlers: Handlers): void {
  process.on('message', (message) => void answer(handlers, message as Command));
  process.on('disconnect', () => process.exit(0));
  // Ctrl-C reaches the whole group: the parent decides in which order things end.
  process.on('SIGINT', () => undefined);
}

async function answer(handlers: Handlers, { id, command, argument }: Command): Promise<void> {
  try {
    const handler = handlers[command];
    if (!handler) throw new Error(`unknown command ${command}`);
    reply({ id, result: await handler(argument as never) });
  } catch (error) {
    reply({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

function reply(message: Reply): void {
  process.send?.(message);
}
